// A program outside this repository: it wraps a function and reads its trail.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	sink := memsink.New(nil)
	recorder, err := jobaudit.Open(ctx, sink, jobaudit.Source{System: "outside", Environment: "test"}, nil)
	if err != nil {
		return err
	}
	wrapped := recorder.Wrap(submission, func(ctx context.Context) error {
		trail, ok := jobaudit.FromContext(ctx)
		if !ok {
			return errors.New("the context carries no trail")
		}
		trail.Log(ctx, "working")
		return nil
	})
	if err := wrapped(ctx); err != nil {
		return err
	}
	if err := recorder.Close(ctx); err != nil {
		return err
	}
	return show(ctx, sink)
}

func submission(context.Context) jobaudit.Submission {
	return jobaudit.Submission{
		Action:    "send-report",
		Inputs:    map[string]string{"month": "2026-01"},
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "u-1"},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "monthly report"},
	}
}

// show prints the types of the stored events and the state of the only job.
func show(ctx context.Context, sink jobaudit.AuditReader) error {
	query := jobaudit.Query{Action: "send-report"}
	for record, err := range sink.Records(ctx, query) {
		if err != nil {
			return err
		}
		fmt.Println(record.Type())
	}
	job, err := jobaudit.Replay(sink.Records(ctx, query))
	if err != nil {
		return err
	}
	fmt.Println(job.State, job.Logs)
	return nil
}
