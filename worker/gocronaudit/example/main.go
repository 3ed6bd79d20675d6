// Command example puts a job of gocron on record:
//
//	go run -C worker/gocronaudit ./example
//
// The schedule is asked for three runs at once, of a job that runs once at a
// time. One deletes a file, which is a job of its own; two are skipped, and say
// so.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/go-co-op/gocron/v2"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/story"
	"github.com/jobaudit/jobaudit/worker/gocronaudit"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "example:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) error {
	sink := memsink.New(nil)
	recorder, err := jobaudit.Open(ctx, sink, jobaudit.Source{System: "cleaner", Environment: "example"}, nil)
	if err != nil {
		return err
	}
	work := &work{recorder: recorder, begun: make(chan struct{}), skipped: make(chan struct{})}
	if err := schedule(ctx, sink, recorder, work); err != nil {
		return err
	}
	if err := recorder.Close(ctx); err != nil {
		return err
	}
	return story.Tree(out, sink.Records(ctx, jobaudit.Query{}))
}

// schedule runs the job until two ticks have been skipped and one has ended.
func schedule(ctx context.Context, sink *memsink.Sink, recorder *jobaudit.Recorder, work *work) error {
	audit := gocronaudit.New(recorder, nil)
	scheduler, err := gocron.NewScheduler(audit.SchedulerOption())
	if err != nil {
		return err
	}
	task, option := audit.Job(submission, work.cleanUp)
	job, err := scheduler.NewJob(gocron.DurationJob(time.Hour), task, option,
		gocron.WithSingletonMode(gocron.LimitModeReschedule))
	if err != nil {
		return err
	}
	scheduler.Start()
	err = work.watch(ctx, sink, job)
	return errors.Join(err, scheduler.Shutdown())
}

func submission(context.Context) jobaudit.Submission {
	return jobaudit.Submission{
		Action:    "clean-up",
		Principal: jobaudit.Principal{Kind: jobaudit.Service, ID: "gocron"},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Scheduled, Reason: "every hour", Ref: "gocron/clean-up"},
	}
}

type work struct {
	recorder       *jobaudit.Recorder
	begun, skipped chan struct{}
}

// cleanUp takes as long as two ticks are skipped.
func (w *work) cleanUp(ctx context.Context) error {
	close(w.begun)
	<-w.skipped
	return w.recorder.Run(ctx, jobaudit.Submission{
		Action:    "delete-file",
		Principal: jobaudit.Principal{Kind: jobaudit.Service, ID: "cleaner"},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.OnEvent, Reason: "it is older than a month"},
	}, func(context.Context) error { return nil })
}

// watch does not wait for an hour: it asks for the ticks, each when what became
// of the one before it is known.
func (w *work) watch(ctx context.Context, sink *memsink.Sink, job gocron.Job) error {
	if err := job.RunNow(); err != nil {
		return err
	}
	<-w.begun
	q := jobaudit.Query{Action: "clean-up", Types: []jobaudit.EventType{jobaudit.JobCancelled}}
	for range 2 {
		if err := job.RunNow(); err != nil {
			return err
		}
		record, err := sink.Wait(ctx, q)
		if err != nil {
			return err
		}
		q.After = record.Event().ID
	}
	close(w.skipped)
	q.Types = []jobaudit.EventType{jobaudit.JobSucceeded}
	_, err := sink.Wait(ctx, q)
	return err
}
