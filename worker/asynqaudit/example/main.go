// Command example runs an asynq worker whose tasks are on record: one that
// succeeds at the second attempt, one that runs over its time, one that is
// deleted before it runs, and one that somebody else puts into the queue. It
// prints each job's record. It starts a Redis server of its own, which must be
// installed.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/story"
	"github.com/jobaudit/jobaudit/worker/asynqaudit"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "example:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) error {
	socket, stop, err := startRedis(ctx)
	if err != nil {
		return err
	}
	defer stop()
	redis := asynq.RedisClientOpt{Network: "unix", Addr: socket}

	sink := memsink.New(nil) // filesink, in earnest
	recorder, err := jobaudit.Open(ctx, sink, jobaudit.Source{System: "mailer", Environment: "production"}, nil)
	if err != nil {
		return err
	}
	audit := asynqaudit.New(recorder, &asynqaudit.Options{Logs: []jobaudit.AuditReader{sink}})

	ids, err := work(ctx, audit, redis, sink)
	if err = errors.Join(err, recorder.Close(ctx)); err != nil {
		return err
	}
	for _, id := range ids {
		if err := story.Timeline(out, sink.Records(ctx, jobaudit.Query{JobID: id})); err != nil {
			return err
		}
		fmt.Fprintln(out)
	}
	return nil
}

// work puts tasks into the queue and serves them until all have ended.
func work(ctx context.Context, audit *asynqaudit.Audit, redis asynq.RedisConnOpt, sink *memsink.Sink) ([]uuid.UUID, error) {
	client := audit.NewClient(redis)
	defer client.Close()
	for _, task := range []*asynqaudit.Task{
		asynqaudit.NewTask(requested("a new customer"), "mail:welcome", []byte(`{"customer":7}`), asynq.Retention(time.Hour)),
		asynqaudit.NewTask(requested("the monthly digest"), "mail:digest", nil, asynq.MaxRetry(0), asynq.Timeout(time.Second)),
	} {
		if _, err := client.Enqueue(ctx, task); err != nil {
			return nil, err
		}
	}

	inspector := audit.NewInspector(redis)
	defer inspector.Close()
	unwanted, err := client.Enqueue(ctx, asynqaudit.NewTask(requested("a reminder"), "mail:remind", nil, asynq.ProcessIn(time.Hour)))
	if err != nil {
		return nil, err
	}
	err = inspector.DeleteTask(ctx, jobaudit.Submission{
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "bob", Verified: true},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "the invoice is paid"},
	}, unwanted.Queue, unwanted.ID)
	if err != nil {
		return nil, err
	}

	others := asynq.NewClient(redis) // knows nothing of the audit
	defer others.Close()
	if _, err := others.Enqueue(asynq.NewTask("mail:welcome", []byte(`{"customer":8}`), asynq.Retention(time.Hour))); err != nil {
		return nil, err
	}

	if err := serve(ctx, audit, redis, sink); err != nil {
		return nil, err
	}
	report, err := inspector.Reconcile(ctx, nil)
	if err == nil && report.Added() > 0 {
		err = fmt.Errorf("after a normal run %d events are missing", report.Added())
	}
	return sink.Jobs(), err
}

func requested(reason string) jobaudit.Submission {
	return jobaudit.Submission{
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada", Verified: true, AuthMethod: "oidc"},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: reason},
	}
}

// serve runs the worker until the sink has the end of every job.
func serve(ctx context.Context, audit *asynqaudit.Audit, redis asynq.RedisConnOpt, sink *memsink.Sink) error {
	mux := asynq.NewServeMux()
	mux.HandleFunc("mail:welcome", welcome)
	mux.HandleFunc("mail:digest", digest)
	server := audit.NewServer(redis, asynq.Config{
		Concurrency: 4, LogLevel: asynq.FatalLevel,
		TaskCheckInterval: 10 * time.Millisecond, DelayedTaskCheckInterval: 10 * time.Millisecond,
		RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return 0 },
	})
	if err := server.Start(mux); err != nil {
		return err
	}
	defer server.Shutdown()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !ended(ctx, sink, 4) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
	return nil
}

// ended reports whether so many jobs have ended.
func ended(ctx context.Context, log jobaudit.AuditReader, jobs int) bool {
	n := 0
	for range log.Records(ctx, jobaudit.Query{Types: []jobaudit.EventType{
		jobaudit.JobSucceeded, jobaudit.JobFailed, jobaudit.JobCancelled,
	}}) {
		n++
	}
	return n == jobs
}

// welcome finds the mail server busy at the first attempt.
func welcome(ctx context.Context, _ *asynq.Task) error {
	if retried, _ := asynq.GetRetryCount(ctx); retried == 0 {
		return errors.New("the mail server is busy")
	}
	if trail, ok := jobaudit.FromContext(ctx); ok {
		trail.SetImpact("1 mail sent")
	}
	return nil
}

// digest needs longer than it has, and does not notice.
func digest(context.Context, *asynq.Task) error {
	time.Sleep(1500 * time.Millisecond)
	return nil
}
