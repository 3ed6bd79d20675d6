package s3mirror_test

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/mirror"
	"github.com/jobaudit/jobaudit/sink/s3mirror"
)

// as returns a client of another user of the gateway.
func (g *gateway) as(user string) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: &g.url, Region: "us-east-1", UsePathStyle: true, HTTPClient: g, Retryer: aws.NopRetryer{},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: user, SecretAccessKey: user + "secret"}, nil
		}),
	})
}

// policies takes the policies of the page, the node's and that of who holds, and gives
// them to users of a bucket.
func policies(t *testing.T, bucket string, users ...string) *string {
	t.Helper()
	page, err := os.ReadFile("../../docs/operations.md")
	require.NoError(t, err)
	_, section, ok := strings.Cut(string(page), "\n## A bucket\n")
	require.True(t, ok)
	var all []any
	for _, user := range users {
		i := strings.Index(section, `    {"Version"`)
		require.GreaterOrEqual(t, i, 0)
		section = section[i:]
		var policy struct {
			Version   string
			Statement []map[string]any
		}
		d := json.NewDecoder(strings.NewReader(strings.ReplaceAll(section, "audit-mirror", bucket)))
		require.NoError(t, d.Decode(&policy))
		for _, s := range policy.Statement {
			s["Principal"] = map[string]any{"AWS": []string{user}}
			all = append(all, s)
		}
		section = section[1:]
	}
	text, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": all})
	require.NoError(t, err)
	return aws.String(string(text))
}

// TestExtraANodeWithThePagesPolicyMirrorsAndCanDoNothingElse gives a user of the
// gateway the policy of docs/operations.md and no more.
func TestExtraANodeWithThePagesPolicyMirrorsAndCanDoNothingElse(t *testing.T) {
	size.Extra(t)
	g, ctx := newGateway(t), t.Context()
	name := bucketOf(t)
	root := g.bucket(t, name, types.ObjectLockRetentionModeGovernance, 1)
	_, err := root.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: &name, Policy: policies(t, name, "node", "holder")})
	require.NoError(t, err)
	_, err = root.PutObject(ctx, &s3.PutObjectInput{Bucket: &name, Key: aws.String("web-2/x"), Body: strings.NewReader("x")})
	require.NoError(t, err)

	c := g.as("node")
	var r reports
	s := open(t, c, &s3mirror.Options{Prefix: "web-1/", OnError: r.add})
	n := newNode(t)
	anchor, err := mirror.NewAnchor(s, n.keys, nil)
	require.NoError(t, err)
	for range 3 {
		n.append(3)
		_, err := n.sync(s, r.add)
		require.NoError(t, err)
		require.NoError(t, anchor.Put(ctx, n.sink.Checkpoint()))
	}
	require.Empty(t, r.all)
	n.holds(s, r.add)

	key := aws.String("web-1/branches/001")
	head, err := root.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &name, Key: key})
	require.NoError(t, err)
	id := head.VersionId
	on := &types.ObjectLockLegalHold{Status: types.ObjectLockLegalHoldStatusOn}
	off := &types.ObjectLockLegalHold{Status: types.ObjectLockLegalHoldStatusOff}
	soon := &types.ObjectLockRetention{Mode: types.ObjectLockRetentionModeGovernance, RetainUntilDate: aws.Time(time.Now().Add(time.Minute))}
	for what, err := range map[string]error{
		"hide":          second(c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &name, Key: key})),
		"delete":        second(c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &name, Key: key, VersionId: id})),
		"bypass":        second(c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &name, Key: key, VersionId: id, BypassGovernanceRetention: aws.Bool(true)})),
		"shorten":       second(c.PutObjectRetention(ctx, &s3.PutObjectRetentionInput{Bucket: &name, Key: key, VersionId: id, Retention: soon, BypassGovernanceRetention: aws.Bool(true)})),
		"hold":          second(c.PutObjectLegalHold(ctx, &s3.PutObjectLegalHoldInput{Bucket: &name, Key: key, LegalHold: on})),
		"suspend":       second(c.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{Bucket: &name, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusSuspended}})),
		"unlock":        second(c.PutObjectLockConfiguration(ctx, &s3.PutObjectLockConfigurationInput{Bucket: &name, ObjectLockConfiguration: &types.ObjectLockConfiguration{ObjectLockEnabled: types.ObjectLockEnabledEnabled}})),
		"permit":        second(c.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: &name, Policy: policies(t, name, "node", "holder")})),
		"remove all":    second(c.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &name})),
		"write another": second(c.PutObject(ctx, &s3.PutObjectInput{Bucket: &name, Key: aws.String("web-2/y"), Body: strings.NewReader("y")})),
		"read another":  second(c.GetObject(ctx, &s3.GetObjectInput{Bucket: &name, Key: aws.String("web-2/x")})),
		"list another":  second(c.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: &name, Prefix: aws.String("web-2/")})),
		"list all":      second(c.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: &name})),
	} {
		requireDenied(t, err, what)
	}
	n.holds(s, r.add)
	require.Empty(t, r.all)

	// Who holds cannot delete, and a hold keeps what governance would not.
	h := g.as("holder")
	_, err = h.PutObjectLegalHold(ctx, &s3.PutObjectLegalHoldInput{Bucket: &name, Key: key, LegalHold: on})
	require.NoError(t, err)
	deleted := func(c *s3.Client) error {
		return second(c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &name, Key: key, VersionId: id, BypassGovernanceRetention: aws.Bool(true)}))
	}
	require.Error(t, deleted(root), "held")
	requireDenied(t, deleted(h), "the holder deletes")
	requireDenied(t, second(h.PutObject(ctx, &s3.PutObjectInput{Bucket: &name, Key: aws.String("web-1/z"), Body: strings.NewReader("z")})), "the holder writes")
	requireDenied(t, second(c.PutObjectLegalHold(ctx, &s3.PutObjectLegalHoldInput{Bucket: &name, Key: key, LegalHold: off})), "the node lifts")
	n.holds(s, r.add)
	_, err = h.PutObjectLegalHold(ctx, &s3.PutObjectLegalHoldInput{Bucket: &name, Key: key, LegalHold: off})
	require.NoError(t, err)
	require.NoError(t, deleted(root), "governance, and nothing held: a role of its own can")
}

func second[T any](_ T, err error) error { return err }

func requireDenied(t *testing.T, err error, what string) {
	t.Helper()
	require.Error(t, err, what)
	var answer interface{ HTTPStatusCode() int }
	require.ErrorAs(t, err, &answer, what)
	require.Equal(t, http.StatusForbidden, answer.HTTPStatusCode(), "%s: %v", what, err)
}
