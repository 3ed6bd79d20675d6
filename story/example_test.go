package story_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

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

// familyOfJobs records, in two logs, a job and one that it submits: as a web
// server and a worker with a log each do.
func familyOfJobs(ctx context.Context) (web, worker *memsink.Sink, correlation uuid.UUID, err error) {
	web, worker = memsink.New(nil), memsink.New(nil)
	var ids atomic.Int64
	options := &jobaudit.Options{
		Now: func() time.Time { return time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC) },
		NewID: func() uuid.UUID { // the same at each run of the example
			return uuid.MustParse(fmt.Sprintf("019c0000-0000-7000-8000-%012x", ids.Add(1)))
		},
	}
	recorders := make([]*jobaudit.Recorder, 2)
	for i, log := range []*memsink.Sink{web, worker} {
		where := jobaudit.Source{System: []string{"web", "worker"}[i], Environment: "production", Host: "h1", Instance: "i1", Version: "v1.2"}
		if recorders[i], err = jobaudit.Open(ctx, log, where, options); err != nil {
			return nil, nil, uuid.Nil, err
		}
	}
	submission := func(action string) jobaudit.Submission {
		return jobaudit.Submission{
			Action:    action,
			Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada", Verified: true},
			Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "the index is old"},
		}
	}
	err = recorders[0].Run(ctx, submission("reindex"), func(ctx context.Context) error {
		trail, _ := jobaudit.FromContext(ctx)
		correlation = trail.JobID()
		part, err := recorders[0].Submit(ctx, submission("reindex-part"))
		if err != nil {
			return err
		}
		resumed, err := recorders[1].Resume(ctx, part.Carrier(), nil)
		if err != nil {
			return err
		}
		return resumed.Run(ctx, jobaudit.Execution{}, func(context.Context) error { return nil })
	})
	return web, worker, correlation, err
}

// Merge puts the records of several logs into the one order that causes give,
// whatever the clocks say.
func ExampleMerge() {
	ctx := context.Background()
	web, worker, _, err := familyOfJobs(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	jobs := jobaudit.Query{Action: "reindex-part"}
	for r, err := range story.Merge(worker.Records(ctx, jobs), web.Records(ctx, jobs)) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(r.Type(), "in", r.Event().Where.System)
	}
	// Output:
	// job.submitted in web
	// job.authorized in worker
	// job.started in worker
	// job.succeeded in worker
}

func ExampleTree() {
	ctx := context.Background()
	web, worker, _, err := familyOfJobs(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	all := story.Merge(web.Records(ctx, jobaudit.Query{}), worker.Records(ctx, jobaudit.Query{}))
	if err := story.Tree(os.Stdout, all); err != nil {
		fmt.Println(err)
	}
	// Output:
	// ✓ reindex  success  0s  019c0000-0000-7000-8000-000000000005
	// └─ ✓ reindex-part  success  0s  019c0000-0000-7000-8000-00000000000b
}

// Story prints the timeline of all jobs that belong together, from all logs
// that hold some of it.
func ExampleStory() {
	ctx := context.Background()
	web, worker, correlation, err := familyOfJobs(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := story.Story(ctx, os.Stdout, correlation, web, worker); err != nil {
		fmt.Println(err)
	}
	// Output:
	// Tuesday, 3 February 2026, UTC
	// 04:05:06.000   +0.000000s  #1    job.submitted   pending
	//                                    who    user ada (verified)
	//                                    what   reindex
	//                                    where  web in production, host h1, version v1.2, instance i1
	//                                    why    manual: the index is old
	//                                    job    019c0000-0000-7000-8000-000000000005
	// 04:05:06.000   +0.000000s  #1    job.authorized  pending  allowed as nothing decides
	// 04:05:06.000   +0.000000s  #1    job.started     running, attempt 1  next sign of life by 04:06:36.000
	// 04:05:06.000   +0.000000s  #2    job.submitted   pending
	//                                    what   reindex-part
	//                                    job    019c0000-0000-7000-8000-00000000000b, child of #1
	//                                    who, where, why as in #1
	// 04:05:06.000   +0.000000s  #2    job.authorized  pending  allowed as nothing decides
	//                                    who    user ada (claimed)
	//                                    where  worker in production, host h1, version v1.2, instance i1
	// 04:05:06.000   +0.000000s  #2    job.started     running, attempt 1  next sign of life by 04:06:36.000
	// 04:05:06.000   +0.000000s  #2    job.succeeded   success
	// 04:05:06.000   +0.000000s  #1    job.succeeded   success
}
