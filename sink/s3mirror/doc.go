// Package s3mirror keeps the mirror of a log in object storage that speaks S3,
// under Object Lock: what is stored there cannot be changed or removed before its
// time, by nobody in compliance mode, and by a role of its own in governance mode.
//
//	store, err := s3mirror.Open(ctx, client, "audit-mirror", &s3mirror.Options{Prefix: "web-1/"})
//	m, err := mirror.Start(ctx, sink, store, &mirror.Options{Keys: keys})
//
// A [Store] is a mirror.Store, so mirror.NewAnchor keeps a log's newest head there
// too.
//
// # What is asked of the bucket
//
// Versioning and Object Lock have to be on, with a default retention, or with
// [Options.Retention]. [Open] refuses a bucket without, unless it is told:
// [Store.Lock] and the metadata of each object say so then.
//
// A conditional write looks at the newest version of an object only, and a
// delete marker hides locked versions. So all versions are read, and the mirror
// takes the one that verifies. Delete markers are reported as a [*HiddenError].
//
// The node needs little: s3:PutObject, s3:GetObjectVersion, s3:GetObject and
// s3:ListBucketVersions under its own prefix, s3:GetBucketVersioning and
// s3:GetBucketObjectLockConfiguration; with [Options.Retention],
// s3:PutObjectRetention. It must not have s3:BypassGovernanceRetention,
// s3:DeleteObjectVersion, s3:PutBucketObjectLockConfiguration,
// s3:PutBucketVersioning or s3:PutObjectLegalHold: a legal hold is set and lifted by
// another role. docs/operations.md has the policies as text.
//
// # The library
//
// It uses aws-sdk-go-v2/service/s3, which its vendor keeps, checks checksums both
// ways, and brings 17 modules; the other client that is widely used brings 230.
package s3mirror
