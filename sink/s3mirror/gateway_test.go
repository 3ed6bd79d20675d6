package s3mirror_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/require"
)

// gateway is a private S3 server with Object Lock.
type gateway struct {
	http *http.Client
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

// program builds the gateway, once.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "s3gateway-*")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "s3gateway")
	cmd := exec.Command("go", "build", "-o", path, ".")
	cmd.Dir = "../../internal/tools/s3gateway"
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.Join(err, errors.New(string(out)))
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if os.Getenv("EXTRA") != "" {
		if path, err := program(); err == nil {
			_ = os.RemoveAll(filepath.Dir(path))
		}
	}
	os.Exit(code)
}

// newGateway starts a gateway, which ends with the test.
func newGateway(t *testing.T) *gateway {
	t.Helper()
	path, err := program()
	require.NoError(t, err)
	dir, err := os.MkdirTemp("", "s3") // a socket's path has to be short
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	args := []string{filepath.Join(dir, "socket")}
	for _, name := range []string{"data", "versions", "metadata"} {
		args = append(args, filepath.Join(dir, name))
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o700))
	}
	cmd := exec.Command(path, args...)
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
	g := &gateway{http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			for {
				c, err := (&net.Dialer{}).DialContext(ctx, "unix", args[0])
				if err == nil || ctx.Err() != nil {
					return c, err
				}
				select { // until it listens
				case <-ctx.Done():
				case <-ended:
					return nil, errors.New("the gateway has ended")
				case <-time.After(time.Millisecond):
				}
			}
		},
	}}}
	return g
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
	answer, err := g.http.Do(r)
	if f == behind && err == nil {
		_ = answer.Body.Close()
		return nil, errors.New("the connection is cut by the test")
	}
	return answer, err
}

// client returns a client of the gateway, which does not repeat requests.
func (g *gateway) client() *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: aws.String("http://s3.example"), Region: "us-east-1", UsePathStyle: true, HTTPClient: g,
		Retryer: aws.NopRetryer{},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "root", SecretAccessKey: "rootsecret"}, nil
		}),
	})
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
