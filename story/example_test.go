package story_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/story"
)

func ExampleTimeline() {
	ctx := context.Background()
	sink := memsink.New(nil)
	recorder, err := jobaudit.Open(ctx, sink, jobaudit.Source{
		System: "indexer", Environment: "production", Host: "h1", Instance: "i1", Version: "v1.2",
	}, &jobaudit.Options{
		Now: func() time.Time { return time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	job := id("a job's ID")
	_ = recorder.Run(ctx, jobaudit.Submission{
		ID:        job,
		Action:    "reindex",
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada", Verified: true},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "the index is old"},
	}, func(context.Context) error { return errors.New("no space left") })
	if err := story.Timeline(os.Stdout, sink.Records(ctx, jobaudit.Query{JobID: job})); err != nil {
		fmt.Println(err)
	}
	// Output:
	// Tuesday, 3 February 2026, UTC
	// 04:05:06.000   +0.000000s  job.submitted   pending
	//                              who    user ada (verified)
	//                              what   reindex
	//                              where  indexer in production, host h1, version v1.2, instance i1
	//                              why    manual: the index is old
	//                              job    6d4ede57-7a12-5900-9915-eabc4d477b65
	// 04:05:06.000   +0.000000s  job.authorized  pending  allowed as nothing decides
	// 04:05:06.000   +0.000000s  job.started     running, attempt 1  next sign of life by 04:06:36.000
	// 04:05:06.000   +0.000000s  job.failed      failed  ERROR: no space left [*errors.errorString]
}
