// Command errgroup runs the parts of a job in a group of goroutines:
//
//	go run -C examples/errgroup .
//
// Each part is a job, and a child of the job whose context the group has. One of
// them fails; the group cancels the one that is still at work, which is on record
// as cancelled and not as failed.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/story"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "errgroup:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) error {
	sink := memsink.New(nil)
	recorder, err := jobaudit.Open(ctx, sink, jobaudit.Source{System: "backup", Environment: "example"}, nil)
	if err != nil {
		return err
	}
	b := &backup{recorder: recorder}
	err = recorder.Run(ctx, submission("back-up"), b.run)
	fmt.Fprintf(out, "the backup: %v\n\n", err)
	if err := recorder.Close(ctx); err != nil {
		return err
	}
	return story.Tree(out, sink.Records(ctx, jobaudit.Query{}))
}

func submission(action string) jobaudit.Submission {
	return jobaudit.Submission{
		Action:    action,
		Principal: jobaudit.Principal{Kind: jobaudit.Service, ID: "backup"},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Scheduled, Reason: "every night at two"},
	}
}

type backup struct {
	recorder *jobaudit.Recorder
	others   sync.WaitGroup // what the part that fails waits for
}

// run copies everything at once, and gives up when one part fails.
func (b *backup) run(ctx context.Context) error {
	b.others.Add(2)
	return fanOut(ctx, b.recorder, map[string]func(context.Context) error{
		"copy-accounts": b.accounts,
		"copy-orders":   b.orders,
		"copy-images":   b.images,
	})
}

// fanOut runs the parts as jobs of their own. It returns when all have ended,
// and the first error.
func fanOut(ctx context.Context, recorder *jobaudit.Recorder, parts map[string]func(context.Context) error) error {
	group, ctx := errgroup.WithContext(ctx)
	for action, part := range parts {
		group.Go(func() error {
			return recorder.Run(ctx, submission(action), part)
		})
	}
	return group.Wait()
}

// accounts are copied.
func (b *backup) accounts(context.Context) error {
	b.others.Done()
	return nil
}

// orders fails, once the accounts are copied and the images have begun.
func (b *backup) orders(context.Context) error {
	b.others.Wait()
	return errors.New("the disk is full")
}

// images are too many: they are copied until the group gives up.
func (b *backup) images(ctx context.Context) error {
	b.others.Done()
	<-ctx.Done()
	return context.Cause(ctx)
}
