package main_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/s3server"
	"github.com/jobaudit/jobaudit/internal/tools/size"
)

// lockedBucket starts a server, makes a bucket under Object Lock, and tells the
// program where it is.
func lockedBucket(t *testing.T) (*s3server.Server, *s3.Client) {
	t.Helper()
	server, err := s3server.Start(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	t.Setenv("AWS_ENDPOINT_URL_S3", server.URL())
	t.Setenv("AWS_ACCESS_KEY_ID", s3server.User)
	t.Setenv("AWS_SECRET_ACCESS_KEY", s3server.Secret)
	client := s3.New(s3.Options{
		BaseEndpoint: aws.String(server.URL()), Region: "us-east-1", UsePathStyle: true,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: s3server.User, SecretAccessKey: s3server.Secret}, nil
		}),
	})
	_, err = client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("audit"), ObjectLockEnabledForBucket: aws.Bool(true)})
	require.NoError(t, err)
	return server, client
}

// TestExtraEveryCommandTakesALogInABucket: s3://BUCKET/PREFIX wherever a log is named.
func TestExtraEveryCommandTakesALogInABucket(t *testing.T) {
	size.Extra(t)
	server, client := lockedBucket(t)
	const target = "s3://audit/web-1"
	l := newLog(t)
	key := l.verifier(t)
	base := t.TempDir()

	c := run(t, "mirror", l.dir, target, "--key", key, "--once")
	require.Equal(t, 3, c.code, "no default retention")
	require.Contains(t, c.err, "does not lock")
	_, err := client.PutObjectLockConfiguration(t.Context(), &s3.PutObjectLockConfigurationInput{Bucket: aws.String("audit"),
		ObjectLockConfiguration: &types.ObjectLockConfiguration{ObjectLockEnabled: types.ObjectLockEnabledEnabled,
			Rule: &types.ObjectLockRule{DefaultRetention: &types.DefaultRetention{Mode: types.ObjectLockRetentionModeCompliance, Days: aws.Int32(1)}}}})
	require.NoError(t, err)

	// Missing, then there.
	registry := writeRegistry(t, t.TempDir(), target, key, "1000h")
	c = run(t, "check", registry, "--json")
	require.Equal(t, []string{"missing"}, kinds(t, c))
	ok := func(args ...string) string {
		t.Helper()
		c := run(t, args...)
		require.Zero(t, c.code, "%v: %s%s", args, c.out, c.err)
		return c.out
	}
	ok("mirror", l.dir, target, "--key", key, "--once")
	l.job(t, t.Context(), "another", func(context.Context, *jobaudit.Trail) error { return nil })
	l.close(t)
	require.Contains(t, ok("mirror", l.dir, target, "--key", key, "--once", "--max-lag", "0"), "mirrored up to size")
	require.Contains(t, ok("check", registry), "0 findings")

	for _, args := range [][]string{
		{"list", "--json"}, {"jobs", "--json"}, {"tail", "-n", "3"}, {"checkpoint"}, {"show", l.parent.String()}, {"export", "--format", "csv"},
	} {
		of := func(source string) string { return ok(append([]string{args[0], source}, args[1:]...)...) }
		require.Equal(t, of(l.dir), of(target), args)
	}
	require.Contains(t, ok("verify", target, "--key", key, "--anchor", l.anchor()), "verified L2")
	heads := filepath.Join(base, "heads")
	require.NoError(t, os.WriteFile(heads, []byte(ok("checkpoint", target)), 0o600))
	ok("since", heads, target, "--key", key)
	proof := filepath.Join(base, "proof")
	ok("prove", target, l.events(t)[2].ID().String(), "--key", key, "-o", proof)
	ok("check-proof", proof, "--key", key)
	ok("prove", target, "--job", l.parent.String(), "--key", key, "-o", proof)
	ok("report", target, "--html", filepath.Join(base, "page.html"), "--job", l.parent.String(), "--key", key)
	ok("copy", target, filepath.Join(base, "copy"), "--key", key)
	restored := filepath.Join(base, "restored")
	require.Contains(t, ok("restore", target, restored, "--key", key, "--anchor", l.anchor()), "may go on as")
	require.Equal(t, ok("list", l.dir, "--json"), ok("list", restored, "--json"))
	ok("mirror", target, filepath.Join(base, "second"), "--key", key, "--once", "--create") // a mirror of the mirror

	// Several sources of several kinds are one view.
	other := newLog(t).close(t)
	three := ok("list", other.dir, target, filepath.Join(base, "second"), "--json")
	require.Equal(t, len(other.events(t))+len(l.events(t)), strings.Count(three, "\n"), "what two hold is shown once")
	require.Contains(t, ok("show", other.dir, target, l.failed.String()), "disk is full")

	server.Cut(true)
	c = run(t, "check", registry, "--json")
	require.Equal(t, 1, c.code)
	var out struct{ Findings []struct{ Log string } }
	require.NoError(t, json.Unmarshal([]byte(c.out), &out))
	require.Equal(t, "web-1", out.Findings[0].Log)
	require.Equal(t, 3, run(t, "list", target).code)
	server.Cut(false)
	require.Contains(t, ok("check", registry), "0 findings")
}
