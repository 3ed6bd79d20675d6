package watchdog_test

import (
	"context"
	"fmt"
	"time"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/watchdog"
)

// A program runs the watchdog all the time, or sweeps from a job of its own.
// This one's clock is set forward, so that nobody has to wait.
func Example() {
	ctx := context.Background()
	now := time.Date(2026, 2, 3, 9, 30, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	log := memsink.New(nil)
	recorder, err := jobaudit.Open(ctx, log, jobaudit.Source{System: "reports", Environment: "production"},
		&jobaudit.Options{Now: clock})
	if err != nil {
		fmt.Println(err)
		return
	}
	trail, err := recorder.Submit(ctx, jobaudit.Submission{
		Action:    "rebuild-index",
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada"},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "the index is old"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	// The job promises a sign of life within a minute. Then its process is gone.
	if err := trail.Start(ctx, jobaudit.Execution{Deadline: time.Minute}); err != nil {
		fmt.Println(err)
		return
	}
	watcher := watchdog.New(recorder, []jobaudit.AuditReader{log}, &watchdog.Options{Now: clock})
	for range 5 {
		report, err := watcher.Sweep(ctx)
		fmt.Println(report.Open, "at work,", len(report.Findings), "found", err)
		now = now.Add(30 * time.Second) // the default interval
	}
	job, err := jobaudit.Replay(log.Records(ctx, jobaudit.Query{JobID: trail.JobID()}))
	fmt.Println(job.State, job.Error.Code, err)
	// Output:
	// 1 at work, 0 found <nil>
	// 1 at work, 0 found <nil>
	// 1 at work, 0 found <nil>
	// 1 at work, 0 found <nil>
	// 0 at work, 1 found <nil>
	// failed ABANDONED <nil>
}
