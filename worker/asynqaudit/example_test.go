package asynqaudit_test

import (
	"context"
	"time"

	"github.com/hibiken/asynq"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/worker/asynqaudit"
)

// A web process enqueues, a worker process serves, and one of them reconciles:
// it reads the logs of both.
func Example_severalProcesses() {
	redis := asynq.RedisClientOpt{Addr: "localhost:6379"}
	web := func(ctx context.Context, recorder *jobaudit.Recorder) error {
		client := asynqaudit.New(recorder, nil).NewClient(redis)
		defer client.Close()
		_, err := client.Enqueue(ctx, asynqaudit.NewTask(jobaudit.Submission{
			Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada", Verified: true},
			Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "a new customer"},
		}, "mail:welcome", []byte(`{"customer":7}`), asynq.Retention(time.Hour)))
		return err
	}
	worker := func(ctx context.Context, recorder *jobaudit.Recorder, own, webs jobaudit.AuditReader) error {
		audit := asynqaudit.New(recorder, &asynqaudit.Options{Logs: []jobaudit.AuditReader{own, webs}})
		server := audit.NewServer(redis, asynq.Config{Concurrency: 10})
		if err := server.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { return nil })); err != nil {
			return err
		}
		defer server.Shutdown() // then close the recorder
		inspector := audit.NewInspector(redis)
		defer inspector.Close()
		_, err := inspector.Reconcile(ctx, nil) // every few minutes
		return err
	}
	_, _ = web, worker
}

// An operator's acts are on record: who, on which task, and why.
func ExampleInspector() {
	stop := func(ctx context.Context, audit *asynqaudit.Audit, redis asynq.RedisConnOpt, id string) error {
		inspector := audit.NewInspector(redis)
		defer inspector.Close()
		return inspector.DeleteTask(ctx, jobaudit.Submission{
			Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "grace", Verified: true},
			Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "the invoice is paid", Ref: "TICKET-7"},
		}, "default", id)
	}
	_ = stop
}
