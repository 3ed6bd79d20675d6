package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/jobaudit/jobaudit/sink/s3mirror"
)

// isBucket tells whether a target is a mirror in object storage:
// s3://BUCKET/PREFIX.
func isBucket(target string) bool { return strings.HasPrefix(target, "s3://") }

// openBucket opens a bucket with what the environment says, as other programs for
// S3 have it: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN,
// AWS_REGION, AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL.
func (a *app) openBucket(ctx context.Context, target string) (*s3mirror.Store, error) {
	bucket, prefix, _ := strings.Cut(strings.TrimPrefix(target, "s3://"), "/")
	if bucket == "" {
		return nil, usagef("%q names no bucket: s3://BUCKET/PREFIX", plain(target))
	}
	if prefix != "" && !strings.HasSuffix(prefix, "/") {
		prefix += "/"
	}
	options := s3.Options{Region: os.Getenv("AWS_REGION"), Credentials: aws.CredentialsProviderFunc(environment)}
	if options.Region == "" {
		options.Region = "us-east-1"
	}
	for _, name := range []string{"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"} {
		if endpoint := os.Getenv(name); endpoint != "" {
			options.BaseEndpoint, options.UsePathStyle = &endpoint, true
		}
	}
	return s3mirror.Open(ctx, s3.New(options), bucket, &s3mirror.Options{Prefix: prefix, OnError: func(err error) {
		fmt.Fprintf(a.err, "jobaudit: %s\n", plain(err.Error()))
	}})
}

func environment(context.Context) (aws.Credentials, error) {
	c := aws.Credentials{AccessKeyID: os.Getenv("AWS_ACCESS_KEY_ID"), SecretAccessKey: os.Getenv("AWS_SECRET_ACCESS_KEY"), SessionToken: os.Getenv("AWS_SESSION_TOKEN"), Source: "environment"}
	if c.AccessKeyID == "" || c.SecretAccessKey == "" {
		return c, errors.New("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	}
	return c, nil
}
