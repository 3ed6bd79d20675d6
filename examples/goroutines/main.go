// Command goroutines runs jobs in goroutines of a job:
//
//	go run ./examples/goroutines
//
// The context says which job makes which: what is submitted under it is a child
// of the job that runs there, in whatever goroutine. One of the children fails,
// which cancels another; the parent then sets off a job that is not its child.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/story"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "goroutines:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) error {
	sink := memsink.New(nil)
	recorder, err := jobaudit.Open(ctx, sink, jobaudit.Source{System: "reports", Environment: "example"}, nil)
	if err != nil {
		return err
	}
	r := &reporter{recorder: recorder}
	err = recorder.Run(ctx, submission("daily-report"), r.report)
	fmt.Fprintf(out, "the report: %v\n\n", err)
	if err := recorder.Close(ctx); err != nil {
		return err
	}
	return story.Tree(out, sink.Records(ctx, jobaudit.Query{}))
}

func submission(action string) jobaudit.Submission {
	return jobaudit.Submission{
		Action:    action,
		Principal: jobaudit.Principal{Kind: jobaudit.Service, ID: "reporter"},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Scheduled, Reason: "every morning at six"},
	}
}

type reporter struct {
	recorder *jobaudit.Recorder
	waiting  sync.WaitGroup // for the sources that take longer than the one that fails
}

// report asks all sources at once, and gives up when one of them fails.
func (r *reporter) report(ctx context.Context) error {
	sources := []struct {
		name  string
		fetch func(context.Context) error
	}{
		{"fetch-prices", r.prices},
		{"fetch-rates", r.rates},
		{"fetch-news", r.news},
	}
	work, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	r.waiting.Add(2)
	var all sync.WaitGroup
	for _, source := range sources {
		trail, err := r.recorder.Submit(work, submission(source.name))
		if err != nil {
			giveUp(err)
			break
		}
		all.Go(func() {
			err := trail.Run(work, jobaudit.Execution{}, source.fetch)
			if _, notRun := errors.AsType[*jobaudit.AuditError](err); notRun { // given up before it could start
				err = errors.Join(err, trail.Cancel(work, "not needed any more"))
			}
			if err != nil {
				giveUp(err) // the first one counts
			}
		})
	}
	all.Wait()
	err := context.Cause(work)
	if err != nil {
		return errors.Join(err, r.alert(ctx))
	}
	return nil
}

// alert is a job of its own: it belongs to those who read alerts.
func (r *reporter) alert(ctx context.Context) error {
	s := submission("send-alert")
	s.Detached = true
	s.Trigger = jobaudit.Trigger{Kind: jobaudit.OnEvent, Reason: "there is no report this morning"}
	return r.recorder.Run(ctx, s, func(context.Context) error { return nil })
}

// prices has children of its own, one page after the other.
func (r *reporter) prices(ctx context.Context) error {
	defer r.waiting.Done()
	for _, page := range []string{"fetch-page-1", "fetch-page-2"} {
		if err := r.recorder.Run(ctx, submission(page), func(context.Context) error { return nil }); err != nil {
			return err
		}
	}
	return nil
}

// rates fails, once prices has ended and news has begun.
func (r *reporter) rates(context.Context) error {
	r.waiting.Wait()
	return errors.New("the bank does not answer")
}

// news never comes: it waits until its result is not needed any more.
func (r *reporter) news(ctx context.Context) error {
	r.waiting.Done()
	<-ctx.Done()
	return context.Cause(ctx)
}
