package faultsink_test

import (
	"context"
	"fmt"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/faultsink"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// No work is done that cannot be recorded.
func Example() {
	ctx := context.Background()
	sink := faultsink.New(memsink.New(nil))
	recorder, err := jobaudit.Open(ctx, sink, jobaudit.Source{System: "indexer", Environment: "test"}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	reindex := jobaudit.Submission{
		Action:    "reindex",
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada"},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "the index is old"},
	}
	work := func(context.Context) error { fmt.Println("reindexing"); return nil }

	sink.Set(faultsink.Rule{Fault: faultsink.Fail}) // from now on
	err = recorder.Run(ctx, reindex, work)
	fmt.Println(err != nil)

	sink.Set() // healthy again
	err = recorder.Run(ctx, reindex, work)
	fmt.Println(err != nil)
	// Output:
	// true
	// reindexing
	// false
}
