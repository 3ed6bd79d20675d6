package s3mirror

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/jobaudit/jobaudit/mirror"
)

// ErrNotLocked means that a bucket does not keep what is stored in it from being
// changed: see [Options.AllowUnlocked].
var ErrNotLocked = errors.New("the bucket does not lock what is stored in it")

// A HiddenError says that an object is hidden by a delete marker. What was locked
// is still there and is read; somebody wanted it not to be seen.
type HiddenError struct {
	// Name is the object's, and Marker the delete marker's version.
	Name, Marker string
	// Time is when that was, by the server's clock.
	Time time.Time
}

func (e *HiddenError) Error() string {
	return fmt.Sprintf("s3mirror: %s is hidden by the delete marker %s of %s; its versions are read all the same", e.Name, e.Marker, e.Time.UTC().Format(time.RFC3339))
}

// MaxRetention bounds [Options.Retention]: ten years.
const MaxRetention = 10 * 366 * 24 * time.Hour

// Options adjust a [Store]. The zero value, like nil, gives the defaults.
type Options struct {
	// Prefix stands before the names of the objects, as in "web-1/": one bucket
	// holds the mirrors of many logs, and each node may write under its own.
	Prefix string
	// Retention locks each object for so long from when it is stored, by the
	// server's date: our own clock, if it is wrong, could lock for decades in
	// compliance mode. Default: what the bucket gives; at most [MaxRetention].
	Retention time.Duration
	// Mode is the mode that goes with Retention: COMPLIANCE (the default), which
	// nobody can lift, or GOVERNANCE, which a role of its own can.
	Mode types.ObjectLockRetentionMode
	// AllowUnlocked stores in a bucket without versioning or without lock, too.
	// The mirror is then only as safe as who can write to the bucket.
	AllowUnlocked bool
	// OnError is called with each [*HiddenError]. It must not wait. Default:
	// slog.Default.
	OnError func(error)
}

// recheck is how long what is known of the bucket is believed.
const recheck = time.Hour

// A Store is a mirror.Store in a bucket. It is safe for concurrent use.
type Store struct {
	client *s3.Client
	bucket string
	opts   Options

	mu      sync.Mutex // guards what follows
	lock    string
	checked time.Time
	ahead   time.Duration // the server's clock is ahead of ours by this
}

var _ mirror.Store = (*Store)(nil)

// Open looks at a bucket and returns a Store in it. The error is [ErrNotLocked],
// wrapped, if it does not lock what is stored.
func Open(ctx context.Context, client *s3.Client, bucket string, o *Options) (*Store, error) {
	s := &Store{client: client, bucket: bucket}
	if o != nil {
		s.opts = *o
	}
	if s.opts.OnError == nil {
		s.opts.OnError = func(err error) { slog.Default().Error("job audit mirror", slog.Any("error", err)) }
	}
	if s.opts.Mode == "" {
		s.opts.Mode = types.ObjectLockRetentionModeCompliance
	}
	if s.opts.Retention < 0 || s.opts.Retention > MaxRetention {
		return nil, fmt.Errorf("s3mirror: a retention of %v is out of range: 0 to %v", s.opts.Retention, MaxRetention)
	}
	if err := s.check(ctx); err != nil {
		return nil, fmt.Errorf("s3mirror: bucket %s: %w", bucket, err)
	}
	return s, nil
}

// Lock says how what is stored is locked: "COMPLIANCE for 365 days", or "none".
func (s *Store) Lock() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lock
}

// check finds out how the bucket locks what is stored.
func (s *Store) check(ctx context.Context) error {
	lock, at, err := s.bucketLock(ctx)
	if errors.Is(err, ErrNotLocked) && s.opts.AllowUnlocked {
		lock, err = "none", nil
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lock, s.checked = lock, time.Now()
	if !at.IsZero() {
		s.ahead = time.Until(at)
	}
	return nil
}

func (s *Store) bucketLock(ctx context.Context) (lock string, at time.Time, err error) {
	v, err := s.client.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &s.bucket})
	if err != nil {
		return "", at, err
	}
	at, _ = awsmiddleware.GetServerTime(v.ResultMetadata)
	if v.Status != types.BucketVersioningStatusEnabled {
		return "", at, fmt.Errorf("%w: versioning is not enabled; make the bucket with Object Lock, or set Options.AllowUnlocked", ErrNotLocked)
	}
	c, err := s.client.GetObjectLockConfiguration(ctx, &s3.GetObjectLockConfigurationInput{Bucket: &s.bucket})
	if status(err) == http.StatusNotFound {
		return "", at, fmt.Errorf("%w: it has no Object Lock configuration", ErrNotLocked)
	}
	if err != nil {
		return "", at, err
	}
	configuration := c.ObjectLockConfiguration
	if configuration == nil || configuration.ObjectLockEnabled != types.ObjectLockEnabledEnabled {
		return "", at, fmt.Errorf("%w: Object Lock is not enabled", ErrNotLocked)
	}
	if s.opts.Retention > 0 {
		return fmt.Sprintf("%s for %v", s.opts.Mode, s.opts.Retention), at, nil
	}
	if rule := configuration.Rule; rule != nil && rule.DefaultRetention != nil {
		d := rule.DefaultRetention
		switch {
		case aws.ToInt32(d.Days) > 0:
			return fmt.Sprintf("%s for %d days", d.Mode, *d.Days), at, nil
		case aws.ToInt32(d.Years) > 0:
			return fmt.Sprintf("%s for %d years", d.Mode, *d.Years), at, nil
		}
	}
	return "", at, fmt.Errorf("%w: it has no default retention; give it one, or set Options.Retention", ErrNotLocked)
}

// status returns the HTTP status of an answer that is an error, 0 if there is none.
func status(err error) int {
	var response interface{ HTTPStatusCode() int }
	if errors.As(err, &response) {
		return response.HTTPStatusCode()
	}
	return 0
}

// conflicts is how often a write is tried again that met another one.
const conflicts = 4

// Put is mirror.Store's: a write on the condition that there is no such object,
// with a checksum that the server compares and sends back.
func (s *Store) Put(ctx context.Context, name string, data []byte) error {
	s.mu.Lock()
	old := time.Since(s.checked) > recheck
	s.mu.Unlock()
	if old {
		if err := s.check(ctx); err != nil {
			return fmt.Errorf("s3mirror: bucket %s: %w", s.bucket, err)
		}
	}
	var err error
	for range conflicts {
		if err = s.put(ctx, name, data); status(err) != http.StatusConflict {
			break
		}
	}
	switch {
	case status(err) == http.StatusPreconditionFailed:
		return fmt.Errorf("s3mirror: put %s: %w", name, mirror.ErrExists)
	case err != nil:
		return fmt.Errorf("s3mirror: put %s: %w", name, err)
	}
	return nil
}

func (s *Store) put(ctx context.Context, name string, data []byte) error {
	sum := sha256.Sum256(data)
	want := base64.StdEncoding.EncodeToString(sum[:])
	in := &s3.PutObjectInput{
		Bucket: &s.bucket, Key: aws.String(s.opts.Prefix + name), Body: bytes.NewReader(data),
		IfNoneMatch: aws.String("*"), ChecksumAlgorithm: types.ChecksumAlgorithmSha256, ChecksumSHA256: &want,
		ContentType: aws.String("text/plain; charset=utf-8"),
	}
	s.mu.Lock()
	if s.lock == "none" {
		in.Metadata = map[string]string{"jobaudit-lock": "none"}
	} else if s.opts.Retention > 0 {
		in.ObjectLockMode = types.ObjectLockMode(s.opts.Mode)
		in.ObjectLockRetainUntilDate = aws.Time(time.Now().Add(s.ahead + s.opts.Retention).UTC())
	}
	locked := s.lock != "none"
	s.mu.Unlock()
	out, err := s.client.PutObject(ctx, in)
	switch {
	case err != nil:
		return err
	case aws.ToString(out.ChecksumSHA256) != "" && *out.ChecksumSHA256 != want:
		return fmt.Errorf("the server stored something else: its SHA-256 is %s, and %s was sent", *out.ChecksumSHA256, want)
	case locked && aws.ToString(out.VersionId) == "":
		return fmt.Errorf("%w: the object has no version", ErrNotLocked)
	case aws.ToString(out.ChecksumSHA256) == "":
		return s.compare(ctx, name, data)
	}
	if at, ok := awsmiddleware.GetServerTime(out.ResultMetadata); ok {
		s.mu.Lock()
		s.ahead = time.Until(at)
		s.mu.Unlock()
	}
	return nil
}

// compare compares what is stored, where the server does not say a checksum.
func (s *Store) compare(ctx context.Context, name string, data []byte) error {
	for stored, err := range s.Get(ctx, name, int64(len(data))) {
		if err != nil {
			return err
		}
		if bytes.Equal(stored, data) {
			return nil
		}
	}
	return errors.New("what was stored is not what was sent")
}

// version is a version of an object.
type version struct {
	name, id string
	marker   bool // a delete marker
	at       time.Time
	latest   bool
}

// versions lists the versions of objects whose names begin with a prefix and come
// behind another: by name, and of each the newest first.
func (s *Store) versions(ctx context.Context, prefix, behind string) iter.Seq2[version, error] {
	return func(yield func(version, error) bool) {
		in := &s3.ListObjectVersionsInput{Bucket: &s.bucket, Prefix: aws.String(s.opts.Prefix + prefix)}
		if behind != "" {
			in.KeyMarker = aws.String(s.opts.Prefix + behind)
		}
		for {
			page, err := s.client.ListObjectVersions(ctx, in)
			if err != nil {
				yield(version{}, err)
				return
			}
			for _, v := range s.page(page) {
				if !yield(v, nil) {
					return
				}
			}
			if !aws.ToBool(page.IsTruncated) {
				return
			}
			in.KeyMarker, in.VersionIdMarker = page.NextKeyMarker, page.NextVersionIdMarker
		}
	}
}

func (s *Store) page(page *s3.ListObjectVersionsOutput) (all []version) {
	of := func(key *string) string { // without what a server that lies may leave out
		name, _ := strings.CutPrefix(aws.ToString(key), s.opts.Prefix)
		return name
	}
	for _, v := range page.Versions {
		all = append(all, version{name: of(v.Key), id: aws.ToString(v.VersionId), at: aws.ToTime(v.LastModified), latest: aws.ToBool(v.IsLatest)})
	}
	for _, v := range page.DeleteMarkers {
		all = append(all, version{name: of(v.Key), id: aws.ToString(v.VersionId), marker: true, at: aws.ToTime(v.LastModified), latest: aws.ToBool(v.IsLatest)})
	}
	slices.SortStableFunc(all, func(a, b version) int { return bytes.Compare([]byte(a.name), []byte(b.name)) })
	return all
}

// Get is mirror.Store's: all versions, the oldest first. An object that the server does
// not let read, as somebody else has encrypted it or put it under other rights, is an
// error that wraps fs.ErrPermission, behind the versions that may be read.
func (s *Store) Get(ctx context.Context, name string, most int64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		var ids []string
		for v, err := range s.versions(ctx, name, "") {
			if err != nil {
				yield(nil, fmt.Errorf("s3mirror: get %s: %w", name, err))
				return
			}
			if v.name != name {
				break // the names behind it, which it begins
			}
			if v.marker {
				s.opts.OnError(&HiddenError{name, v.id, v.at})
				continue
			}
			ids = append(ids, v.id)
		}
		var refusal error
		for _, id := range slices.Backward(ids) {
			data, err := s.read(ctx, name, id, most)
			if err != nil {
				err = fmt.Errorf("s3mirror: get %s, version %s: %w", name, id, err)
			}
			switch {
			case refused(err):
				if refusal == nil {
					refusal = &refusedError{err}
				}
			case err != nil:
				yield(nil, err)
				return
			case !yield(data, nil):
				return
			}
		}
		if refusal != nil {
			yield(nil, refusal)
		}
	}
}

// refusedError is an answer that an object may not be read.
type refusedError struct{ error }

func (e *refusedError) Unwrap() []error { return []error{e.error, fs.ErrPermission} }

// ofCaller are the codes of answers that concern who asks, and no object.
var ofCaller = []string{"ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "RequestTimeTooSkewed", "SignatureDoesNotMatch", "TokenRefreshRequired"}

// refused reports whether the server does not let this object be read: for the rights that
// it has, as it is archived, or as it is encrypted with a key that we have not or may not
// use. Anybody who may put objects can put one of them.
func refused(err error) bool {
	var answer interface{ ErrorCode() string }
	code := ""
	if errors.As(err, &answer) {
		code = answer.ErrorCode()
	}
	switch status(err) {
	case http.StatusForbidden:
		return !slices.Contains(ofCaller, code)
	case http.StatusBadRequest:
		return code == "InvalidRequest" || strings.HasPrefix(code, "InvalidEncryption") || strings.HasPrefix(code, "KMS.")
	}
	return false
}

func (s *Store) read(ctx context.Context, name, id string, most int64) ([]byte, error) {
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{
		Bucket: &s.bucket, Key: aws.String(s.opts.Prefix + name), VersionId: &id, ChecksumMode: types.ChecksumModeEnabled,
	})
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(out.Body, most+1))
	return data, errors.Join(err, out.Body.Close())
}

// List is mirror.Store's. An object that a delete marker hides is listed.
func (s *Store) List(ctx context.Context, prefix, from string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		behind := from
		if n := len(from); n > 0 {
			behind = from[:n-1] // a marker leaves its own name out
		}
		last := ""
		for v, err := range s.versions(ctx, prefix, behind) {
			if err != nil {
				yield("", fmt.Errorf("s3mirror: list %s: %w", prefix, err))
				return
			}
			if v.name < from || v.name == last || v.marker && v.name != last {
				if v.marker && v.latest {
					s.opts.OnError(&HiddenError{v.name, v.id, v.at})
				}
				continue
			}
			last = v.name
			if !yield(last, nil) {
				return
			}
		}
	}
}

// Stored returns when the newest version of an object was stored, by the server's
// clock.
func (s *Store) Stored(ctx context.Context, name string) (time.Time, error) {
	for v, err := range s.versions(ctx, name, "") {
		if err != nil {
			return time.Time{}, fmt.Errorf("s3mirror: %s: %w", name, err)
		}
		if v.name == name && !v.marker {
			return v.at, nil
		}
	}
	return time.Time{}, fmt.Errorf("s3mirror: there is no %s", name)
}
