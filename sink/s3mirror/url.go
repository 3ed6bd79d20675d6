package s3mirror

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// OpenURL is [Open] for s3://BUCKET/PREFIX, with what the environment says, as other
// programs for S3 have it: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, which are
// required, AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL.
// Where these are not enough, make a client and use [Open]. The URL's prefix counts,
// and Options.Prefix does not.
func OpenURL(ctx context.Context, url string, o *Options) (*Store, error) {
	rest, ok := strings.CutPrefix(url, "s3://")
	bucket, prefix, _ := strings.Cut(rest, "/")
	if !ok || bucket == "" {
		return nil, fmt.Errorf("s3mirror: %q names no bucket: s3://BUCKET/PREFIX", url)
	}
	var opts Options
	if o != nil {
		opts = *o
	}
	if opts.Prefix = prefix; prefix != "" && !strings.HasSuffix(prefix, "/") {
		opts.Prefix += "/"
	}
	c := s3.Options{Region: os.Getenv("AWS_REGION"), Credentials: aws.CredentialsProviderFunc(environment)}
	if c.Region == "" {
		c.Region = "us-east-1"
	}
	for _, name := range []string{"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"} {
		if endpoint := os.Getenv(name); endpoint != "" {
			c.BaseEndpoint, c.UsePathStyle = &endpoint, true
		}
	}
	return Open(ctx, s3.New(c), bucket, &opts)
}

func environment(context.Context) (aws.Credentials, error) {
	c := aws.Credentials{AccessKeyID: os.Getenv("AWS_ACCESS_KEY_ID"), SecretAccessKey: os.Getenv("AWS_SECRET_ACCESS_KEY"), SessionToken: os.Getenv("AWS_SESSION_TOKEN"), Source: "environment"}
	if c.AccessKeyID == "" || c.SecretAccessKey == "" {
		return c, errors.New("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	}
	return c, nil
}
