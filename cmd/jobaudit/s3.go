package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/jobaudit/jobaudit/sink/s3mirror"
)

// isBucket tells whether a target is a mirror in object storage:
// s3://BUCKET/PREFIX.
func isBucket(target string) bool { return strings.HasPrefix(target, "s3://") }

// openBucket opens a bucket with what the environment says.
func (a *app) openBucket(ctx context.Context, target string) (*s3mirror.Store, error) {
	if strings.HasPrefix(target, "s3:///") || target == "s3://" {
		return nil, usagef("%q names no bucket: s3://BUCKET/PREFIX", plain(target))
	}
	return s3mirror.OpenURL(ctx, target, &s3mirror.Options{OnError: func(err error) {
		fmt.Fprintf(a.err, "jobaudit: %s\n", plain(err.Error()))
	}})
}
