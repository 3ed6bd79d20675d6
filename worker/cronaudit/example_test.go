package cronaudit_test

import (
	"context"
	"fmt"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/worker/cronaudit"
)

func ExampleJob() {
	ctx := context.Background()
	sink := memsink.New(nil) // filesink, in earnest
	recorder, err := jobaudit.Open(ctx, sink, jobaudit.Source{System: "cleaner", Environment: "example"}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	audit := cronaudit.New(recorder, nil)
	hourly := cronaudit.Job[interface{ Run() }](audit, func(context.Context) jobaudit.Submission {
		return jobaudit.Submission{
			Action:    "clean-up",
			Principal: jobaudit.Principal{Kind: jobaudit.Service, ID: "cleaner"},
			Trigger:   jobaudit.Trigger{Kind: jobaudit.Scheduled, Reason: "every hour"},
		}
	}, func(context.Context) error { return nil }, nil) // with robfig/cron: the method Then of a Chain
	hourly.Run() // which is the scheduler's to call
	if err := recorder.Close(ctx); err != nil {
		fmt.Println(err)
	}
	for record, err := range sink.Records(ctx, jobaudit.Query{Action: "clean-up"}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		e := record.Event()
		fmt.Println(e.Type, e.Who.Principal.ID, e.Why.Kind)
	}
	// Output:
	// job.submitted cleaner schedule
	// job.authorized cleaner schedule
	// job.started cleaner schedule
	// job.succeeded cleaner schedule
}
