package s3mirror_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/tools/s3server"
)

// gateway is a private S3 server with Object Lock.
type gateway struct {
	url string
	// faults decides what becomes of a request; nil for nothing.
	faults func(*http.Request) fault
}

// fault is what becomes of a request on its way.
type fault int

const (
	none fault = iota
	before
	behind // it is carried out, and the answer is lost
	unavailable
	conflict
)

// server is the one of all tests: each makes buckets of its own.
var server = sync.OnceValues(func() (*s3server.Server, error) { return s3server.Start(context.Background()) })

func TestMain(m *testing.M) {
	code := m.Run()
	if os.Getenv("EXTRA") != "" {
		if s, err := server(); err == nil {
			_ = s.Close() // the directory is left then
		}
	}
	os.Exit(code)
}

func newGateway(t *testing.T) *gateway {
	t.Helper()
	s, err := server()
	require.NoError(t, err)
	return &gateway{url: s.URL()}
}

// Do sends a request, or lets it fail.
func (g *gateway) Do(r *http.Request) (*http.Response, error) {
	f := none
	if g.faults != nil {
		f = g.faults(r)
	}
	switch f {
	case before:
		return nil, errors.New("the connection is cut by the test")
	case unavailable, conflict:
		code := map[fault]int{unavailable: http.StatusServiceUnavailable, conflict: http.StatusConflict}[f]
		return &http.Response{StatusCode: code, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
	}
	answer, err := http.DefaultClient.Do(r)
	if f == behind && err == nil {
		_ = answer.Body.Close()
		return nil, errors.New("the connection is cut by the test")
	}
	return answer, err
}

// client returns a client of the gateway, which does not repeat requests.
func (g *gateway) client() *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: &g.url, Region: "us-east-1", UsePathStyle: true, HTTPClient: g,
		Retryer: aws.NopRetryer{},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: s3server.User, SecretAccessKey: s3server.Secret}, nil
		}),
	})
}

// bucketOf is the name of a test's bucket.
func bucketOf(t *testing.T) string {
	return fmt.Sprintf("audit-%x", sha256.Sum256([]byte(t.Name())))[:40]
}

// bucket makes a bucket with Object Lock and a default retention of days, or
// without if days is 0.
func (g *gateway) bucket(t *testing.T, name string, mode types.ObjectLockRetentionMode, days int32) *s3.Client {
	t.Helper()
	c := g.client()
	_, err := c.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &name, ObjectLockEnabledForBucket: aws.Bool(true)})
	require.NoError(t, err)
	if days > 0 {
		_, err = c.PutObjectLockConfiguration(t.Context(), &s3.PutObjectLockConfigurationInput{Bucket: &name,
			ObjectLockConfiguration: &types.ObjectLockConfiguration{ObjectLockEnabled: types.ObjectLockEnabledEnabled,
				Rule: &types.ObjectLockRule{DefaultRetention: &types.DefaultRetention{Mode: mode, Days: &days}}}})
		require.NoError(t, err)
	}
	return c
}
