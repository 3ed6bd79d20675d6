package jobaudit_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/faultsink"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// A job that is put into a queue within a database transaction: its Carrier goes
// in with it, and the submission is recorded when the transaction is committed.
// A transaction that is rolled back leaves no record.
func ExampleRecorder_Prepare() {
	ctx := context.Background()
	sink := memsink.New(nil)
	recorder, err := jobaudit.Open(ctx, sink, where, nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, committed := range []bool{false, true} {
		trail, err := recorder.Prepare(ctx, jobaudit.Submission{
			Action:    "resize-image",
			Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada", Verified: true},
			Trigger:   jobaudit.Trigger{Kind: jobaudit.OnEvent, Reason: "an image was uploaded"},
		})
		if err != nil {
			log.Fatal(err)
		}
		_ = trail.Carrier() // INSERT INTO jobs (audit, …) VALUES ($1, …)
		if committed {
			if err := trail.Submit(ctx); err != nil {
				log.Fatal(err)
			}
		}
		fmt.Println("committed:", committed, "jobs on record:", len(sink.Jobs()))
	}
	// Output:
	// committed: false jobs on record: 0
	// committed: true jobs on record: 1
}

// A framework that calls the job itself, and then decides whether it has failed
// or will be tried again: KeepAlive records the heartbeats meanwhile, and stop
// tells how the function ended if it did not return.
func ExampleTrail_KeepAlive() {
	ctx := context.Background()
	sink := memsink.New(nil)
	recorder, err := jobaudit.Open(ctx, sink, where, nil)
	if err != nil {
		log.Fatal(err)
	}
	trail, err := recorder.Submit(ctx, jobaudit.Submission{
		Action:    "resize-image",
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada", Verified: true},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.OnEvent, Reason: "an image was uploaded"},
	})
	if err != nil {
		log.Fatal(err)
	}
	framework := func(job func(context.Context) error) { // it recovers from panics
		defer func() { _ = recover() }()
		_ = job(ctx)
	}
	framework(func(ctx context.Context) (err error) {
		if err := trail.Start(ctx, jobaudit.Execution{}); err != nil {
			return err // not recorded, so not run
		}
		jobCtx, stop := trail.KeepAlive(ctx)
		defer func() {
			if err := errors.Join(err, stop()); err != nil {
				trail.Retrying(ctx, err)
			}
		}()
		return resize(jobCtx)
	})
	if err := trail.Flush(ctx); err != nil { // Retrying does not wait
		log.Fatal(err)
	}
	job, err := jobaudit.Replay(sink.Records(ctx, jobaudit.Query{JobID: trail.JobID()}))
	fmt.Println(job.State, job.Executions[0].End, err)
	// Output: running attempt.failed <nil>
}

func resize(context.Context) error { panic("the image has no pixels") }

// An outcome that the sink does not take goes to the Fallback, and Drain brings
// it back when the sink works again.
func ExampleRecorder_Drain() {
	ctx := context.Background()
	memory, fallback := memsink.New(nil), memsink.New(nil)
	sink := faultsink.New(memory)
	recorder, err := jobaudit.Open(ctx, sink, where, &jobaudit.Options{
		Fallback:       fallback,
		OutcomeTimeout: time.Millisecond, // a program leaves it at half a minute
		OnError:        func(context.Context, *jobaudit.AuditError) {},
	})
	if err != nil {
		log.Fatal(err)
	}
	err = recorder.Run(ctx, jobaudit.Submission{
		Action:    "send-report",
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada"},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "the board meets tomorrow"},
	}, func(context.Context) error {
		sink.Set(faultsink.Rule{Fault: faultsink.Fail}) // while the job runs
		return nil
	})
	fmt.Println("the function's own error:", err)
	fmt.Println("in the fallback:", fallback.States(fallback.Jobs()[0]))

	sink.Set() // it works again
	if err := recorder.Drain(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("in the sink:", memory.States(memory.Jobs()[0]))
	// Output:
	// the function's own error: <nil>
	// in the fallback: [success]
	// in the sink: [pending running success]
}

// Jobs lists the jobs of a log, the newest first, each as Replay gives it.
func ExampleJobs() {
	ctx := context.Background()
	sink := memsink.New(nil)
	recorder, err := jobaudit.Open(ctx, sink, where, nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, action := range []string{"send-report", "import-prices"} {
		_ = recorder.Run(ctx, jobaudit.Submission{
			Action:    action,
			Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada"},
			Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "the board meets tomorrow"},
		}, func(context.Context) error {
			if action == "import-prices" {
				return errors.New("the file is empty")
			}
			return nil
		})
	}
	for job, err := range jobaudit.Jobs(ctx, sink, jobaudit.Query{PrincipalID: "ada"}) {
		fmt.Println(job.Metadata.Action, job.State, err)
	}
	for job, err := range jobaudit.Jobs(ctx, sink, jobaudit.Query{State: jobaudit.Failed}) {
		fmt.Println("failed:", job.Metadata.Action, job.Error.Message, err)
	}
	// Output:
	// import-prices failed <nil>
	// send-report success <nil>
	// failed: import-prices the file is empty <nil>
}
