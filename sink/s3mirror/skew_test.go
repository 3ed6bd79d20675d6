package s3mirror_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/sink/s3mirror"
)

// skewed is a server with a clock of its own, which answers what Open and Put ask.
type skewed struct {
	ahead time.Duration
	until string // the retention that was asked for
}

func (s *skewed) Do(r *http.Request) (*http.Response, error) {
	body := ""
	header := http.Header{"Date": {time.Now().Add(s.ahead).UTC().Format(http.TimeFormat)}}
	switch query := r.URL.Query(); {
	case query.Has("versioning"):
		body = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
	case query.Has("object-lock"):
		body = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>"
	case r.Method == http.MethodPut:
		s.until = r.Header.Get("X-Amz-Object-Lock-Retain-Until-Date")
		header.Set("X-Amz-Version-Id", "1")
		header.Set("X-Amz-Checksum-Sha256", r.Header.Get("X-Amz-Checksum-Sha256"))
		_, _ = io.Copy(io.Discard, r.Body)
	case query.Has("versions"):
		body = "<ListVersionsResult><Version><Key>x</Key><VersionId>1</VersionId></Version><DeleteMarker><VersionId>2</VersionId></DeleteMarker></ListVersionsResult>"
	default:
		return nil, fmt.Errorf("an unexpected request: %s %s", r.Method, r.URL)
	}
	return &http.Response{StatusCode: http.StatusOK, Header: header, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

func newClient(server *skewed) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: aws.String("http://s3.example"), Region: "us-east-1", UsePathStyle: true, HTTPClient: server, Retryer: aws.NopRetryer{},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "a", SecretAccessKey: "b"}, nil
		}),
	})
}

func TestAServerThatListsWhatWasNotAskedForEndsNoProgram(t *testing.T) {
	s, err := s3mirror.Open(t.Context(), newClient(&skewed{}), "audit", &s3mirror.Options{Prefix: "web-1/", Retention: time.Hour, OnError: func(error) {}})
	require.NoError(t, err)
	for name, err := range s.List(t.Context(), "heads/", "") {
		require.NoError(t, err)
		require.Equal(t, "x", name)
	}
}

func TestTheRetentionCountsFromTheServersDateAndNotFromOurs(t *testing.T) {
	for _, ahead := range []time.Duration{-24 * time.Hour, 0, 24 * time.Hour, 30 * 365 * 24 * time.Hour} {
		server := &skewed{ahead: ahead}
		s, err := s3mirror.Open(t.Context(), newClient(server), "audit", &s3mirror.Options{Retention: 1000 * time.Hour})
		require.NoError(t, err)
		require.NoError(t, s.Put(t.Context(), "x", []byte("x")))
		until, err := time.Parse(time.RFC3339, server.until)
		require.NoError(t, err)
		// Within what a slow machine needs.
		require.InDelta(t, 1000, until.Sub(time.Now().Add(ahead)).Hours(), 1)
	}
}
