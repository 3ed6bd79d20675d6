package s3mirror_test

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/mirror"
	"github.com/jobaudit/jobaudit/sink/s3mirror"
)

// stored is a version of an object in a memBucket, the answer to who reads it, and whether
// it is a delete marker.
type stored struct {
	key, id, data string
	refusal       string // "STATUS CODE"
	marker        bool
}

// memBucket is a server in memory, with one bucket that keeps versions.
type memBucket struct{ all []stored }

func (b *memBucket) put(v stored) stored {
	v.id = fmt.Sprint(len(b.all) + 1)
	b.all = append(b.all, v)
	return v
}

func (b *memBucket) Do(r *http.Request) (*http.Response, error) {
	key := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/audit"), "/")
	query, header := r.URL.Query(), http.Header{}
	answer := func(status int, body string) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: r}, nil
	}
	failed := func(status int, code string) (*http.Response, error) {
		return answer(status, "<Error><Code>"+code+"</Code><Message>says the test</Message></Error>")
	}
	switch {
	case query.Has("versioning"):
		return answer(200, "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>")
	case query.Has("versions"):
		return answer(200, b.list(query.Get("prefix"), query.Get("key-marker")))
	case query.Has("object-lock"):
		return failed(404, "ObjectLockConfigurationNotFoundError")
	case r.Method == http.MethodPut:
		for _, v := range slices.Backward(b.all) {
			if v.key == key && !v.marker {
				return failed(412, "PreconditionFailed")
			}
			if v.key == key {
				break
			}
		}
		data, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		header.Set("X-Amz-Checksum-Sha256", r.Header.Get("X-Amz-Checksum-Sha256"))
		header.Set("X-Amz-Version-Id", b.put(stored{key: key, data: string(data)}).id)
		return answer(200, "")
	}
	i := slices.IndexFunc(b.all, func(v stored) bool { return v.key == key && v.id == query.Get("versionId") })
	if i < 0 {
		return failed(404, "NoSuchVersion")
	}
	if of := b.all[i].refusal; of != "" {
		var status int
		var code string
		_, _ = fmt.Sscan(of, &status, &code)
		return failed(status, code)
	}
	return answer(200, b.all[i].data)
}

func (b *memBucket) list(prefix, behind string) string {
	all := slices.Clone(b.all)
	slices.Reverse(all)
	slices.SortStableFunc(all, func(a, b stored) int { return cmp.Compare(a.key, b.key) })
	var out strings.Builder
	out.WriteString("<ListVersionsResult>")
	for _, v := range all {
		kind := "Version"
		if v.marker {
			kind = "DeleteMarker"
		}
		if strings.HasPrefix(v.key, prefix) && v.key > behind {
			fmt.Fprintf(&out, "<%s><Key>%s</Key><VersionId>%s</VersionId></%s>", kind, v.key, v.id, kind)
		}
	}
	return out.String() + "</ListVersionsResult>"
}

func (b *memBucket) open(t *testing.T) *s3mirror.Store {
	t.Helper()
	client := newClient(nil)
	client = s3.New(client.Options(), func(o *s3.Options) { o.HTTPClient = b })
	s, err := s3mirror.Open(t.Context(), client, "audit", &s3mirror.Options{AllowUnlocked: true, OnError: func(error) {}})
	require.NoError(t, err)
	return s
}

// refusals are how a server says that an object may not be read: it has no rights for it, it is
// archived, or encrypted with a key that is not given or may not be used.
var refusals = []string{"403 AccessDenied", "403 InvalidObjectState", "403 Whatever", "400 InvalidRequest", "400 KMS.DisabledException", "400 InvalidEncryptionAlgorithmError"}

// TestWhatTheServerRefusesMakesNoLogShorterAndHoldsUpNoMirror: as in a directory, what stands in
// the mirror's way is passed by, and what may hold more than was read is an error of the reader.
func TestWhatTheServerRefusesMakesNoLogShorterAndHoldsUpNoMirror(t *testing.T) {
	n := newNode(t)
	written := &memBucket{}
	for range 2 {
		n.append(2)
		_, err := n.sync(written.open(t), func(err error) { require.NoError(t, err) })
		require.NoError(t, err)
	}
	events := func(n *node, b *memBucket) (read int, err error) {
		r, err := mirror.OpenReader(t.Context(), b.open(t), &mirror.ReaderOptions{Keys: n.keys})
		require.NoError(t, err)
		for _, recordErr := range r.Records(t.Context(), jobaudit.Query{}) {
			if err = recordErr; err == nil {
				read++
			}
		}
		return read, err
	}
	chunk := func(first int) string { return fmt.Sprintf("001/chunks/%020d", first) }
	head := func(size int64) string { return fmt.Sprintf("001/heads/%016d.%d", int64(1<<53)-size, size) }
	for _, refusal := range refusals {
		for name, read := range map[string]int{chunk(0): 0, chunk(2): 2, head(4): 4, head(2): 4} {
			b := &memBucket{slices.Clone(written.all)}
			for i := range b.all {
				if b.all[i].key == name {
					b.all[i].refusal = refusal
				}
			}
			got, err := events(n, b)
			require.Equal(t, read, got, "%s: %s", name, refusal)
			if read == 4 {
				require.NoError(t, err, "%s: %s", name, refusal)
				continue
			}
			require.ErrorIs(t, err, fs.ErrPermission)
			answer, ok := errors.AsType[interface {
				error
				ErrorCode() string
			}](err)
			require.True(t, ok, err)
			require.Contains(t, refusal, answer.ErrorCode())
		}
	}
	for _, refusal := range refusals { // what somebody else puts where the mirror is to write
		n, b := newNode(t), &memBucket{}
		grow := func() {
			n.append(2)
			status, err := n.sync(b.open(t), func(error) {})
			require.NoError(t, err, refusal)
			require.Equal(t, n.sink.Checkpoint().Head(), status.Head)
		}
		grow()
		for _, name := range []string{chunk(2), head(4), head(6), "contacts/0"} {
			b.put(stored{key: name, refusal: refusal})
		}
		got, err := events(n, b)
		require.Equal(t, 2, got)
		require.ErrorIs(t, err, fs.ErrPermission, refusal)
		grow()
		got, err = events(n, b)
		require.Equal(t, 4, got)
		require.ErrorIs(t, err, fs.ErrPermission, "a head of 6 events may be there: %s", refusal)
		grow()
		got, err = events(n, b)
		require.NoError(t, err, "what they may hold was read otherwise: %s", refusal)
		require.Equal(t, 6, got)
		b.put(stored{key: "branches/002", refusal: refusal})
		grow()
		_, err = events(n, b)
		require.ErrorIs(t, err, fs.ErrPermission, refusal)
	}
}

// TestAVersionThatTheServerRefusesHidesNoOther: somebody else's, that was put before and deleted.
func TestAVersionThatTheServerRefusesHidesNoOther(t *testing.T) {
	for _, refusal := range refusals {
		b := &memBucket{}
		b.put(stored{key: "x", refusal: refusal})
		b.put(stored{key: "x", marker: true})
		s := b.open(t)
		require.NoError(t, s.Put(t.Context(), "x", []byte("mine")))
		var got []string
		var last error
		for data, err := range s.Get(t.Context(), "x", 100) {
			if last = err; err == nil {
				got = append(got, string(data))
			}
		}
		require.Equal(t, []string{"mine"}, got)
		require.ErrorIs(t, last, fs.ErrPermission)
	}
}

// TestWhatConcernsTheCallerOrTheServerIsNoRefusalOfAnObject: it is not passed by.
func TestWhatConcernsTheCallerOrTheServerIsNoRefusalOfAnObject(t *testing.T) {
	for _, answer := range []string{"403 ExpiredToken", "400 ExpiredToken", "403 InvalidAccessKeyId", "403 SignatureDoesNotMatch", "403 RequestTimeTooSkewed", "400 InvalidToken", "400 TokenRefreshRequired", "500 InternalError", "503 SlowDown", "400 BadDigest"} {
		b := &memBucket{}
		b.put(stored{key: "x", refusal: answer})
		for _, err := range b.open(t).Get(t.Context(), "x", 100) {
			require.Error(t, err)
			require.NotErrorIs(t, err, fs.ErrPermission, answer)
		}
	}
}
