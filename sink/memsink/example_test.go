package memsink_test

import (
	"context"
	"fmt"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

func Example() {
	ctx := context.Background()
	sink := memsink.New(nil)
	recorder, err := jobaudit.Open(ctx, sink, jobaudit.Source{System: "indexer", Environment: "test"}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	err = recorder.Run(ctx, jobaudit.Submission{
		Action:    "reindex",
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada"},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "the index is old"},
	}, func(context.Context) error { return nil })
	if err != nil {
		fmt.Println(err)
		return
	}
	job := sink.Jobs()[0]
	fmt.Println(sink.States(job))
	for _, e := range sink.Trail(job) {
		fmt.Println(e.Type, "by", e.Who.Principal.ID)
	}
	// Output:
	// [pending running success]
	// job.submitted by ada
	// job.authorized by ada
	// job.started by ada
	// job.succeeded by ada
}
