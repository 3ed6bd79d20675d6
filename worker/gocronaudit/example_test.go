package gocronaudit_test

import (
	"context"
	"fmt"
	"time"

	"github.com/go-co-op/gocron/v2"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/worker/gocronaudit"
)

func ExampleAudit_Job() {
	ctx := context.Background()
	sink := memsink.New(nil) // filesink, in earnest
	recorder, err := jobaudit.Open(ctx, sink, jobaudit.Source{System: "cleaner", Environment: "example"}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	audit := gocronaudit.New(recorder, nil)
	scheduler, err := gocron.NewScheduler(audit.SchedulerOption())
	if err != nil {
		fmt.Println(err)
		return
	}
	done := make(chan struct{})
	task, option := audit.Job(func(context.Context) jobaudit.Submission {
		return jobaudit.Submission{
			Action:    "clean-up",
			Principal: jobaudit.Principal{Kind: jobaudit.Service, ID: "cleaner"},
			Trigger:   jobaudit.Trigger{Kind: jobaudit.Scheduled, Reason: "once, now"},
		}
	}, func(context.Context) error { close(done); return nil })
	if _, err := scheduler.NewJob(gocron.OneTimeJob(gocron.OneTimeJobStartDateTime(time.Now().Add(time.Second))), task, option); err != nil {
		fmt.Println(err)
		return
	}
	scheduler.Start()
	<-done
	if err := scheduler.Shutdown(); err != nil { // then close the recorder
		fmt.Println(err)
	}
	if err := recorder.Close(ctx); err != nil {
		fmt.Println(err)
	}
	fmt.Println(sink.States(sink.Jobs()[0]))
	// Output: [pending running success]
}
