// Command watchdog finds the job of a goroutine that died:
//
//	go run ./examples/watchdog
//
// Two goroutines run jobs. One ends without a word, as one whose process was
// killed would; the other says that it is alive, and goes on. When the deadline
// that they announced has passed, a watchdog records that the first is lost. It
// is then that the lost one comes back: its end is kept, and changes nothing.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/story"
	"github.com/jobaudit/jobaudit/watchdog"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "watchdog:", err)
		os.Exit(1)
	}
}

// clock is a clock that is put forward, so that the example need not wait.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func run(ctx context.Context, out io.Writer) error {
	clock := &clock{now: time.Date(2026, 2, 3, 9, 30, 0, 0, time.UTC)}
	sink := memsink.New(nil)
	recorder, err := jobaudit.Open(ctx, sink, jobaudit.Source{System: "reports", Environment: "example", Host: "h1"},
		&jobaudit.Options{Now: clock.Now, Heartbeat: -1})
	if err != nil {
		return err
	}
	lost, err := start(ctx, recorder, "rebuild-index")
	if err != nil {
		return err
	}
	alive, err := start(ctx, recorder, "send-reports")
	if err != nil {
		return err
	}
	if err := watch(ctx, out, recorder, sink, clock, alive); err != nil {
		return err
	}
	if err := lost.Succeed(ctx); err != nil { // too late
		return err
	}
	if err := alive.Succeed(ctx); err != nil {
		return err
	}
	if err := recorder.Close(ctx); err != nil {
		return err
	}
	if err := tell(ctx, out, sink, lost.JobID()); err != nil {
		return err
	}
	fmt.Fprintln(out)
	return story.Tree(out, sink.Records(ctx, jobaudit.Query{}))
}

// start starts a job in a goroutine, which may be silent for a minute, and
// returns when the goroutine is gone.
func start(ctx context.Context, recorder *jobaudit.Recorder, action string) (*jobaudit.Trail, error) {
	trail, err := recorder.Submit(ctx, jobaudit.Submission{
		Action:    action,
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada", Verified: true},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "the board meets tomorrow"},
	})
	if err != nil {
		return nil, err
	}
	var gone sync.WaitGroup
	gone.Go(func() { err = trail.Start(ctx, jobaudit.Execution{Deadline: time.Minute}) })
	gone.Wait()
	return trail, err
}

// watch sweeps at every interval, until it has found something. Meanwhile one
// job gives signs of life.
func watch(ctx context.Context, out io.Writer, recorder *jobaudit.Recorder, log jobaudit.AuditReader, clock *clock, alive *jobaudit.Trail) error {
	const interval = 30 * time.Second
	watcher := watchdog.New(recorder, []jobaudit.AuditReader{log}, &watchdog.Options{Interval: interval, Now: clock.Now})
	for done := int64(1); ; done++ {
		report, err := watcher.Sweep(ctx)
		if err != nil {
			return err
		}
		for _, finding := range report.Findings {
			fmt.Fprintf(out, "%s: %s, silent since %s\n", finding.Evidence.Of.Event().What.Action, finding.Kind,
				finding.Evidence.Last.Time().Format(time.TimeOnly))
		}
		if len(report.Findings) > 0 {
			fmt.Fprintf(out, "%d still at work\n\n", report.Open)
			return nil
		}
		clock.pass(interval)
		alive.Heartbeat(ctx, done, 12)
		if err := alive.Flush(ctx); err != nil {
			return err
		}
	}
}

// tell prints a job's timeline, and what came too late.
func tell(ctx context.Context, out io.Writer, log jobaudit.AuditReader, id uuid.UUID) error {
	if err := story.Timeline(out, log.Records(ctx, jobaudit.Query{JobID: id})); err != nil {
		return err
	}
	job, err := jobaudit.Replay(log.Records(ctx, jobaudit.Query{JobID: id}))
	if err != nil {
		return err
	}
	for _, event := range job.Unapplied {
		fmt.Fprintf(out, "\n%s came %s: the job is %s\n", event.Type, event.Cause, job.State)
	}
	return nil
}
