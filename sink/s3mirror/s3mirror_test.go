package s3mirror_test

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/mirror"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/s3mirror"
	"github.com/jobaudit/jobaudit/sink/sinktest"
)

type reports struct {
	mu  sync.Mutex
	all []error
}

func (r *reports) add(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, err)
}

func has[E error](r *reports) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, err := range r.all {
		if _, ok := errors.AsType[E](err); ok {
			return true
		}
	}
	return false
}

func open(t *testing.T, c *s3.Client, o *s3mirror.Options) *s3mirror.Store {
	t.Helper()
	s, err := s3mirror.Open(t.Context(), c, bucketOf(t), o)
	require.NoError(t, err)
	return s
}

func get(t *testing.T, s mirror.Store, name string) (all []string) {
	t.Helper()
	for data, err := range s.Get(t.Context(), name, 1<<20) {
		require.NoError(t, err)
		all = append(all, string(data))
	}
	return all
}

func list(t *testing.T, s mirror.Store, prefix, from string) (all []string) {
	t.Helper()
	for name, err := range s.List(t.Context(), prefix, from) {
		require.NoError(t, err)
		all = append(all, name)
	}
	return all
}

func TestExtraAStoreStoresAnObjectOnce(t *testing.T) {
	size.Extra(t)
	c := newGateway(t).bucket(t, bucketOf(t), types.ObjectLockRetentionModeCompliance, 1)
	s := open(t, c, &s3mirror.Options{Prefix: "web-1/"})
	require.Equal(t, "COMPLIANCE for 1 days", s.Lock())
	require.Empty(t, get(t, s, "a/b"))
	require.NoError(t, s.Put(t.Context(), "a/b", []byte("one")))
	require.ErrorIs(t, s.Put(t.Context(), "a/b", []byte("two")), mirror.ErrExists)
	require.Equal(t, []string{"one"}, get(t, s, "a/b"))
	for _, name := range []string{"a/b.1", "a/c", "b/a"} {
		require.NoError(t, s.Put(t.Context(), name, nil))
	}
	require.Equal(t, []string{"a/b", "a/b.1", "a/c"}, list(t, s, "a/", ""))
	require.Equal(t, []string{"a/b.1", "a/c"}, list(t, s, "a/", "a/b.1"))
	require.Equal(t, []string{"one"}, get(t, s, "a/b"))
	other := open(t, c, &s3mirror.Options{Prefix: "web-2/"})
	require.Empty(t, list(t, other, "", ""))
	at, err := s.Stored(t.Context(), "a/b")
	require.NoError(t, err)
	require.False(t, at.IsZero())
}

func TestExtraABucketWithoutLockIsRefusedUnlessAllowed(t *testing.T) {
	size.Extra(t)
	g := newGateway(t)
	c := g.client()
	_, err := c.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(bucketOf(t))})
	require.NoError(t, err)
	_, err = s3mirror.Open(t.Context(), c, bucketOf(t), nil)
	require.ErrorIs(t, err, s3mirror.ErrNotLocked)
	s := open(t, c, &s3mirror.Options{AllowUnlocked: true})
	require.Equal(t, "none", s.Lock())
	require.NoError(t, s.Put(t.Context(), "x", []byte("x")))
	head, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(bucketOf(t)), Key: aws.String("x")})
	require.NoError(t, err)
	require.Equal(t, "none", head.Metadata["jobaudit-lock"])

	g.bucket(t, "versioned", "", 0) // lock, and no default retention
	_, err = s3mirror.Open(t.Context(), c, "versioned", nil)
	require.ErrorIs(t, err, s3mirror.ErrNotLocked)
	_, err = s3mirror.Open(t.Context(), c, "versioned", &s3mirror.Options{Retention: time.Hour})
	require.NoError(t, err)
	_, err = s3mirror.Open(t.Context(), c, "versioned", &s3mirror.Options{Retention: 2 * s3mirror.MaxRetention})
	require.ErrorContains(t, err, "out of range")
}

// TestExtraTheLockHoldsAgainstWhoHasAllRights tries on the gateway what a mirror
// rests on.
func TestExtraTheLockHoldsAgainstWhoHasAllRights(t *testing.T) {
	size.Extra(t)
	c := newGateway(t).bucket(t, bucketOf(t), types.ObjectLockRetentionModeCompliance, 1)
	s := open(t, c, &s3mirror.Options{Retention: 2 * time.Hour})
	require.NoError(t, s.Put(t.Context(), "x", []byte("x")))
	head, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(bucketOf(t)), Key: aws.String("x")})
	require.NoError(t, err)
	require.Equal(t, types.ObjectLockModeCompliance, head.ObjectLockMode)
	id := head.VersionId
	_, err = c.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String(bucketOf(t)), Key: aws.String("x"), VersionId: id})
	require.Error(t, err)
	_, err = c.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String(bucketOf(t)), Key: aws.String("x"), VersionId: id, BypassGovernanceRetention: aws.Bool(true)})
	require.Error(t, err)
	_, err = c.PutObjectRetention(t.Context(), &s3.PutObjectRetentionInput{Bucket: aws.String(bucketOf(t)), Key: aws.String("x"), VersionId: id,
		Retention: &types.ObjectLockRetention{Mode: types.ObjectLockRetentionModeCompliance, RetainUntilDate: aws.Time(time.Now().Add(time.Minute))}})
	require.Error(t, err)
	_, err = c.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{Bucket: aws.String(bucketOf(t)), VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusSuspended}})
	require.Error(t, err)
	require.Equal(t, []string{"x"}, get(t, s, "x"))
}

// node is a log that is mirrored.
type node struct {
	t    *testing.T
	key  *filesink.Key
	sink *filesink.Sink
	keys []note.Verifier
}

func newNode(t *testing.T) *node {
	t.Helper()
	dir := t.TempDir()
	key, err := filesink.LoadOrCreateKey(dir+"/log", dir+"/key", "example.com/jobs")
	require.NoError(t, err)
	s, err := filesink.Open(t.Context(), dir+"/log", key, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return &node{t, key, s, []note.Verifier{key.Verifier()}}
}

func (n *node) append(records int) {
	n.t.Helper()
	require.NoError(n.t, n.sink.Append(n.t.Context(), sinktest.Records(records)))
}

func (n *node) sync(s mirror.Store, report func(error)) (mirror.Status, error) {
	n.t.Helper()
	m, err := mirror.New(n.sink, s, &mirror.Options{Keys: n.keys, OnError: report})
	require.NoError(n.t, err)
	err = m.Sync(n.t.Context())
	return m.Status(), err
}

// holds checks that the mirror holds the log, by restoring it.
func (n *node) holds(s mirror.Store, report func(error)) {
	n.t.Helper()
	r, err := mirror.OpenReader(n.t.Context(), s, &mirror.ReaderOptions{Keys: n.keys, OnError: report})
	require.NoError(n.t, err)
	head, err := filesink.CopyLines(n.t.Context(), r.Lines, filepath.Join(n.t.TempDir(), "restored"), n.keys)
	require.NoError(n.t, err)
	require.Equal(n.t, n.sink.Checkpoint().Head(), head.Head())
}

func TestExtraWhatIsDeletedAndOverwrittenInTheBucketIsReadAllTheSame(t *testing.T) {
	size.Extra(t)
	c := newGateway(t).bucket(t, bucketOf(t), types.ObjectLockRetentionModeGovernance, 1)
	var r reports
	s := open(t, c, &s3mirror.Options{OnError: r.add})
	n := newNode(t)
	for range 3 {
		n.append(4)
		_, err := n.sync(s, r.add)
		require.NoError(t, err)
	}
	require.Empty(t, r.all)
	for i, name := range list(t, s, "", "") {
		if i%2 == 0 {
			_, err := c.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String(bucketOf(t)), Key: &name})
			require.NoError(t, err) // a delete marker
		} else {
			_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucketOf(t)), Key: &name, Body: strings.NewReader("overwritten")})
			require.NoError(t, err) // a version on top
		}
	}
	n.holds(s, r.add)
	require.True(t, has[*s3mirror.HiddenError](&r))
	n.append(1)
	_, err := n.sync(s, r.add)
	require.NoError(t, err)
	n.holds(s, r.add)
}

func TestExtraSquattedKeysAreReportedAndPassedBy(t *testing.T) {
	size.Extra(t)
	c := newGateway(t).bucket(t, bucketOf(t), types.ObjectLockRetentionModeCompliance, 1)
	s := open(t, c, nil)
	n := newNode(t)
	for _, name := range []string{
		"001/chunks/00000000000000000000", fmt.Sprintf("001/heads/%016d.4", int64(1<<53-4)), "001/heads/0000000000000000.9007199254740992",
	} {
		_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(bucketOf(t)), Key: &name, Body: strings.NewReader("squatted")})
		require.NoError(t, err)
	}
	n.append(4)
	var r reports
	status, err := n.sync(s, r.add)
	require.NoError(t, err)
	require.EqualValues(t, 4, status.Head.Size)
	require.True(t, has[*mirror.SquattedError](&r))
	n.holds(s, r.add)
}

// TestExtraAMirrorHoldsWhatItReportedWhateverTheNetworkDoes cuts each request
// before or behind its effect, or answers 503 or 409.
func TestExtraAMirrorHoldsWhatItReportedWhateverTheNetworkDoes(t *testing.T) {
	size.Extra(t)
	g := newGateway(t)
	for _, f := range []fault{before, behind, unavailable, conflict} {
		for step := 1; ; step++ {
			name := fmt.Sprintf("network-%d-%d", f, step)
			c := g.bucket(t, name, types.ObjectLockRetentionModeCompliance, 1)
			s, err := s3mirror.Open(t.Context(), c, name, nil)
			require.NoError(t, err)
			n := newNode(t)
			calls := 0
			g.faults = func(*http.Request) fault {
				if calls++; calls == step {
					return f
				}
				return none
			}
			for range 2 {
				n.append(2)
				if status, err := n.sync(s, func(error) {}); err == nil {
					require.Equal(t, n.sink.Checkpoint().Head(), status.Head)
				}
			}
			g.faults = nil
			_, err = n.sync(s, func(error) {})
			require.NoError(t, err)
			n.holds(s, func(err error) { require.NoError(t, err) })
			if calls < step {
				break
			}
		}
	}
}

func TestExtraAnAnchorUnderLockKeepsTheNewestHead(t *testing.T) {
	size.Extra(t)
	c := newGateway(t).bucket(t, bucketOf(t), types.ObjectLockRetentionModeCompliance, 1)
	s := open(t, c, nil)
	n := newNode(t)
	a, err := mirror.NewAnchor(s, n.keys, nil)
	require.NoError(t, err)
	for range 11 {
		n.append(1)
		require.NoError(t, a.Put(t.Context(), n.sink.Checkpoint()))
	}
	latest, err := a.Latest(t.Context())
	require.NoError(t, err)
	require.Equal(t, n.sink.Checkpoint().Signed(), latest)
}
