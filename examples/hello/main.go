// Command hello runs one function as a job and prints its record. It is the
// first example of the README.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/story"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "hello:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) error {
	sink := memsink.New(nil)
	recorder, err := jobaudit.Open(ctx, sink, jobaudit.Source{System: "reports", Environment: "production"}, nil)
	if err != nil {
		return err
	}
	err = recorder.Run(ctx, jobaudit.Submission{
		Action:    "send-report",
		Inputs:    map[string]string{"month": "January", "password": "correct horse"},
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada", Verified: true, AuthMethod: "oidc"},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "the board meets tomorrow"},
	}, sendReport)
	if err = errors.Join(err, recorder.Close(ctx)); err != nil {
		return err
	}
	return story.Timeline(out, sink.Records(ctx, jobaudit.Query{Action: "send-report"}))
}

// sendReport stands for a function that exists already.
func sendReport(ctx context.Context) error {
	if trail, ok := jobaudit.FromContext(ctx); ok {
		trail.Log(ctx, "12 pages for 4 readers")
	}
	return nil
}
