// Command cron puts a job of robfig/cron on record:
//
//	go run -C examples/cron .
//
// The schedule fires three times, and the first run takes longer than that. Each
// tick is a job: two of them are skipped, and say so.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/story"
	"github.com/jobaudit/jobaudit/worker/cronaudit"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "cron:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) error {
	sink := memsink.New(nil)
	recorder, err := jobaudit.Open(ctx, sink, jobaudit.Source{System: "cleaner", Environment: "example"}, nil)
	if err != nil {
		return err
	}
	work := &work{skips: make(chan struct{}), done: make(chan struct{})}
	audit := cronaudit.New(recorder, nil)
	scheduler := cron.New()
	scheduler.Schedule(&ticks{n: 3}, cronaudit.Job(audit, submission, work.cleanUp,
		cron.NewChain(cron.SkipIfStillRunning(work), cron.Recover(cron.DiscardLogger)).Then))
	scheduler.Start()
	<-work.done
	if _, err := sink.Wait(ctx, jobaudit.Query{Types: []jobaudit.EventType{jobaudit.JobSucceeded}}); err != nil {
		return err
	}
	<-scheduler.Stop().Done()
	if err := recorder.Close(ctx); err != nil {
		return err
	}
	return story.Tree(out, sink.Records(ctx, jobaudit.Query{}))
}

func submission(context.Context) jobaudit.Submission {
	return jobaudit.Submission{
		Action:    "clean-up",
		Principal: jobaudit.Principal{Kind: jobaudit.Service, ID: "cron"},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Scheduled, Reason: "every hour", Ref: "cron/clean-up"},
	}
}

// work is the job. It is the scheduler's logger, too, as skips are logged.
type work struct {
	skips, done chan struct{}
}

// cleanUp takes as long as two ticks are skipped.
func (w *work) cleanUp(context.Context) error {
	<-w.skips
	<-w.skips
	close(w.done)
	return nil
}

// Info is called for each skip.
func (w *work) Info(string, ...any) { w.skips <- struct{}{} }

// Error is never called here.
func (w *work) Error(error, string, ...any) {}

// ticks is a schedule that fires n times.
type ticks struct{ n int }

// Next says when it fires next; the zero time is never.
func (s *ticks) Next(now time.Time) time.Time {
	if s.n--; s.n < 0 {
		return time.Time{}
	}
	return now.Add(time.Millisecond)
}
