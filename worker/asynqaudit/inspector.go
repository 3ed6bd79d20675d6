package asynqaudit

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/jobaudit/jobaudit"
)

// Inspector is an asynq.Inspector whose changes to single tasks are recorded,
// with who made them and why. [Inspector.Reconcile] finds what others have
// changed, and what asynq's methods for many tasks at once have.
type Inspector struct {
	*asynq.Inspector
	client *Client
}

// NewInspector returns an Inspector, as asynq.NewInspector does.
func (a *Adapter) NewInspector(r asynq.RedisConnOpt) *Inspector {
	return newInspector(a.NewClient(r))
}

// NewInspectorFromRedisClient returns an Inspector, as
// asynq.NewInspectorFromRedisClient does. It adds a hook to c, which stays the
// caller's to close.
func (a *Adapter) NewInspectorFromRedisClient(c redis.UniversalClient) *Inspector {
	return newInspector(a.NewClientFromRedisClient(c))
}

func newInspector(c *Client) *Inspector { return &Inspector{c.inspector, c} }

// Close closes the connection to Redis, unless that is the caller's.
func (i *Inspector) Close() error { return i.client.Close() }

// By says who changes a task, and why. Both are required.
type By struct {
	Principal jobaudit.Principal
	Reason    string // free text
}

func (by By) did(what string) string {
	assurance := "claimed"
	if by.Principal.Verified {
		assurance = "verified"
	}
	return fmt.Sprintf("%s by %s %s (%s): %s", what, by.Principal.Kind, by.Principal.ID, assurance, by.Reason)
}

func (by By) check() error {
	switch {
	case by.Principal.Kind == "":
		return &jobaudit.FieldError{Field: "by.principal.kind", Problem: "is required"}
	case by.Principal.ID == "":
		return &jobaudit.FieldError{Field: "by.principal.id", Problem: "is required"}
	case by.Reason == "":
		return &jobaudit.FieldError{Field: "by.reason", Problem: "is required"}
	}
	return nil
}

// open returns a task and a Trail of its job that knows what the log does.
func (i *Inspector) open(ctx context.Context, queue, id string, by By) (*asynq.TaskInfo, *jobaudit.Trail, jobaudit.Job, error) {
	var job jobaudit.Job
	if err := by.check(); err != nil {
		return nil, nil, job, err
	}
	info, err := i.GetTaskInfo(queue, id)
	if err != nil {
		return nil, nil, job, err
	}
	trail, err := i.client.a.trail(ctx, taskOf(info))
	if err != nil {
		return nil, nil, job, err
	}
	job, known, err := i.client.a.job(ctx, trail.JobID())
	if err != nil {
		return nil, nil, job, err
	}
	if !known { // what the queue tells
		job = jobaudit.Job{ID: trail.JobID(), State: jobaudit.Pending, Attempt: info.Retried}
		if info.Retried > 0 || info.LastErr != "" {
			job.State = jobaudit.Running
		}
	}
	return info, trail, job, trail.Observe(job)
}

// CancelProcessing asks the worker that runs the task to stop, once it is on
// record who asks. What becomes of the task is asynq's to say: it may be tried
// again, as after any error.
func (i *Inspector) CancelProcessing(ctx context.Context, queue, id string, by By) error {
	_, trail, _, err := i.open(ctx, queue, id, by)
	if err != nil {
		return err
	}
	trail.Log(ctx, by.did("the worker was asked to stop"))
	if err := trail.Flush(ctx); err != nil {
		return err
	}
	return i.Inspector.CancelProcessing(id)
}

// DeleteTask deletes the task and records that its job is cancelled, if it had
// no end. The error may be asynq's, or, of a task that has been deleted, an
// [*jobaudit.AuditError].
func (i *Inspector) DeleteTask(ctx context.Context, queue, id string, by By) error {
	info, trail, job, err := i.open(ctx, queue, id, by)
	if err != nil {
		return err
	}
	if err := i.Inspector.DeleteTask(queue, id); err != nil {
		return err
	}
	if job.State.Terminal() || info.State == asynq.TaskStateArchived || info.State == asynq.TaskStateCompleted {
		trail.Log(ctx, by.did("the task was deleted"))
		return trail.Flush(ctx)
	}
	return trail.Cancel(ctx, by.did("deleted"))
}

// ArchiveTask archives the task and records that its job has failed, or, if it
// never ran, that it is cancelled. The error is as with
// [Inspector.DeleteTask].
func (i *Inspector) ArchiveTask(ctx context.Context, queue, id string, by By) error {
	_, trail, job, err := i.open(ctx, queue, id, by)
	if err != nil {
		return err
	}
	if err := i.Inspector.ArchiveTask(queue, id); err != nil {
		return err
	}
	switch {
	case job.State.Terminal():
		return nil
	case job.State == jobaudit.Pending:
		return trail.Cancel(ctx, by.did("archived"))
	}
	return trail.Fail(ctx, errors.New(by.did("archived")))
}

// RunTask makes the task run now. The job of an archived task has ended: what
// runs is a copy of the task and another job, a retry of the first, which is
// deleted from the archive. RunTask returns the task that will run.
func (i *Inspector) RunTask(ctx context.Context, queue, id string, by By) (*asynq.TaskInfo, error) {
	info, trail, job, err := i.open(ctx, queue, id, by)
	if err != nil {
		return nil, err
	}
	if info.State == asynq.TaskStateArchived {
		return i.runAgain(ctx, info, job, by)
	}
	trail.Log(ctx, by.did("the task was told to run now"))
	if err := trail.Flush(ctx); err != nil {
		return nil, err
	}
	if err := i.Inspector.RunTask(queue, id); err != nil {
		return nil, err
	}
	return i.GetTaskInfo(queue, id)
}

func (i *Inspector) runAgain(ctx context.Context, info *asynq.TaskInfo, job jobaudit.Job, by By) (*asynq.TaskInfo, error) {
	correlation := job.CorrelationID
	if correlation == uuid.Nil {
		correlation = job.ID
	}
	again := &Task{
		Type: info.Type, Payload: info.Payload, Headers: info.Headers,
		Options: slices.Concat(limits(info), []asynq.Option{asynq.Queue(info.Queue)}),
		Submission: jobaudit.Submission{
			Action: job.Metadata.Action, OrgID: job.Metadata.OrgID, Principal: by.Principal,
			Trigger: jobaudit.Trigger{Kind: jobaudit.OnRetry, Reason: by.Reason},
			RetryOf: job.ID, CorrelationID: correlation,
		},
	}
	next, err := i.client.Enqueue(ctx, again)
	if err != nil {
		return nil, err
	}
	return next, i.Inspector.DeleteTask(info.Queue, info.ID)
}

// limits are the options that a task was enqueued with, as far as asynq tells.
func limits(info *asynq.TaskInfo) []asynq.Option {
	opts := []asynq.Option{asynq.MaxRetry(info.MaxRetry)}
	if info.Timeout > 0 {
		opts = append(opts, asynq.Timeout(info.Timeout))
	}
	if !info.Deadline.IsZero() {
		opts = append(opts, asynq.Deadline(info.Deadline))
	}
	if info.Retention > 0 {
		opts = append(opts, asynq.Retention(info.Retention))
	}
	return opts
}
