package asynqaudit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/worker/queue"
)

// Inspector is an asynq.Inspector whose changes to tasks and queues are on record:
// each is a job of its own, of the principal and for the reason that its
// Submission gives; the action and the resource are filled in. What is done to a
// task is also told by its job's record, which names the other; what a change to
// a whole queue ends is found by [Inspector.Reconcile]. A log that cannot be
// written does not keep an operator from acting: see [queue.Act].
type Inspector struct {
	*asynq.Inspector
	client *Client
}

// NewInspector returns an Inspector, as asynq.NewInspector does.
func (a *Audit) NewInspector(r asynq.RedisConnOpt) *Inspector {
	return newInspector(a.NewClient(r))
}

// NewInspectorFromRedisClient returns an Inspector, as
// asynq.NewInspectorFromRedisClient does. It adds a hook to c, which stays the
// caller's to close.
func (a *Audit) NewInspectorFromRedisClient(c redis.UniversalClient) *Inspector {
	return newInspector(a.NewClientFromRedisClient(c))
}

func newInspector(c *Client) *Inspector { return &Inspector{c.inspector, c} }

// Close closes the connection to Redis, unless that is the caller's.
func (i *Inspector) Close() error { return i.client.Close() }

// act does something to a queue, on record as a job of its own: see [queue.Act].
func (i *Inspector) act(ctx context.Context, by jobaudit.Submission, action, resource string,
	do func(context.Context, *jobaudit.Trail) error,
) error {
	by.Action, by.Resource = action, resource
	return queue.Act(ctx, i.client.a.rec, by, do)
}

// task does something to a task and then tells its job's own record of it. An
// error of the latter is not the call's: reconciling makes up for it.
func (i *Inspector) task(ctx context.Context, by jobaudit.Submission, action string, at place, do func() error,
	tell func(trail *jobaudit.Trail, job jobaudit.Job, note string) error,
) error {
	return i.act(ctx, by, action, "asynq task "+at.queueRef().ID, func(ctx context.Context, act *jobaudit.Trail) error {
		info, err := i.GetTaskInfo(at.queue, at.id)
		if err != nil {
			return err
		}
		if err := do(); err != nil || act == nil { // nil if the Recorder is closed
			return err
		}
		trail, job, err := i.open(ctx, info)
		if err == nil {
			act.Log(ctx, "its record: job "+trail.JobID().String())
			err = tell(trail, job, noteOf(by, act))
		}
		if err != nil {
			act.Log(ctx, "not told by its record: "+err.Error())
			i.client.a.report(ctx, err)
		}
		return nil
	})
}

// noteOf says on a job's own record who did something to it and why, and names
// the job that the act is.
func noteOf(by jobaudit.Submission, act *jobaudit.Trail) string {
	return fmt.Sprintf("by %s %s, job %s: %s", by.Principal.Kind, by.Principal.ID, act.JobID(), by.Trigger.Reason)
}

// open returns a Trail of a task's job that knows what the logs do.
func (i *Inspector) open(ctx context.Context, info *asynq.TaskInfo) (*jobaudit.Trail, jobaudit.Job, error) {
	trail, err := i.client.a.trail(ctx, taskOf(info))
	if err != nil {
		return nil, jobaudit.Job{}, err
	}
	past, err := i.client.a.logs.Past(ctx, trail.JobID())
	if err != nil {
		return nil, past.Job, err
	}
	job := past.Job
	if !past.Known { // what the queue tells
		job = jobaudit.Job{ID: trail.JobID(), State: jobaudit.Pending, Attempt: info.Retried}
		if info.Retried > 0 || info.LastErr != "" {
			job.State = jobaudit.Running
		}
	}
	return trail, job, trail.Observe(job)
}

// log records on a job's own record what an operator did to its task.
func log(ctx context.Context, trail *jobaudit.Trail, what string) error {
	trail.Log(ctx, what)
	return trail.Flush(ctx)
}

// CancelProcessing asks the worker that runs the task to stop. What becomes of
// the task is asynq's to say: it may be tried again, as after any error.
func (i *Inspector) CancelProcessing(ctx context.Context, by jobaudit.Submission, name, id string) error {
	return i.task(ctx, by, "asynq-task-cancel", place{name, id}, func() error { return i.Inspector.CancelProcessing(id) },
		func(trail *jobaudit.Trail, _ jobaudit.Job, note string) error {
			return log(ctx, trail, "asked to stop "+note)
		})
}

// DeleteTask deletes the task. If its job had no end, it is cancelled, by the
// principal who deletes it.
func (i *Inspector) DeleteTask(ctx context.Context, by jobaudit.Submission, name, id string) error {
	return i.task(ctx, by, "asynq-task-delete", place{name, id}, func() error { return i.Inspector.DeleteTask(name, id) },
		func(trail *jobaudit.Trail, job jobaudit.Job, note string) error {
			if job.State.Terminal() {
				return log(ctx, trail, "deleted "+note)
			}
			return trail.CancelBy(ctx, by.Principal, "deleted "+note)
		})
}

// ArchiveTask archives the task. Its job has failed, or, if it never ran, is
// cancelled, by the principal who archives it.
func (i *Inspector) ArchiveTask(ctx context.Context, by jobaudit.Submission, name, id string) error {
	return i.task(ctx, by, "asynq-task-archive", place{name, id}, func() error { return i.Inspector.ArchiveTask(name, id) },
		func(trail *jobaudit.Trail, job jobaudit.Job, note string) error {
			switch {
			case job.State.Terminal():
				return log(ctx, trail, "archived "+note)
			case job.State == jobaudit.Pending:
				return trail.CancelBy(ctx, by.Principal, "archived "+note)
			}
			return trail.Fail(ctx, errors.New("archived "+note))
		})
}

// UpdateTaskPayload exchanges the payload of a scheduled task. What the job's
// submission kept of its inputs stays as it is; the job's record says that they
// were exchanged.
func (i *Inspector) UpdateTaskPayload(ctx context.Context, by jobaudit.Submission, name, id string, payload []byte) error {
	return i.task(ctx, by, "asynq-task-update", place{name, id}, func() error { return i.Inspector.UpdateTaskPayload(name, id, payload) },
		func(trail *jobaudit.Trail, _ jobaudit.Job, note string) error {
			return log(ctx, trail, "payload exchanged "+note)
		})
}

// RunTask makes the task run now. The job of an archived task has ended: what
// runs is a copy of the task and another job, a retry of the first, which is
// deleted from the archive. RunTask returns the task that will run.
func (i *Inspector) RunTask(ctx context.Context, by jobaudit.Submission, name, id string) (next *asynq.TaskInfo, err error) {
	err = i.act(ctx, by, "asynq-task-run", "asynq task "+place{name, id}.queueRef().ID, func(ctx context.Context, act *jobaudit.Trail) error {
		info, err := i.GetTaskInfo(name, id)
		if err != nil {
			return err
		}
		if info.State == asynq.TaskStateArchived {
			next, err = i.runAgain(ctx, by, info)
			return err
		}
		if err := i.Inspector.RunTask(name, id); err != nil {
			return err
		}
		if trail, _, err := i.open(ctx, info); err != nil {
			i.client.a.report(ctx, err)
		} else if act != nil {
			i.client.a.report(ctx, log(ctx, trail, "told to run now "+noteOf(by, act)))
		}
		next, err = i.GetTaskInfo(name, id)
		return err
	})
	return next, err
}

func (i *Inspector) runAgain(ctx context.Context, by jobaudit.Submission, info *asynq.TaskInfo) (*asynq.TaskInfo, error) {
	_, job, err := i.open(ctx, info)
	if err != nil {
		return nil, err
	}
	again := by
	again.Action, again.Resource, again.OrgID = cmp.Or(job.Metadata.Action, info.Type), "", job.Metadata.OrgID
	again.ID, again.Inputs, again.Queue, again.Detached = uuid.Nil, nil, jobaudit.Ref{}, true
	again.Trigger.Kind, again.RetryOf, again.CorrelationID = jobaudit.OnRetry, job.ID, cmp.Or(job.CorrelationID, job.ID)
	next, err := i.client.Enqueue(ctx, &Task{
		Type: info.Type, Payload: info.Payload, Headers: info.Headers,
		Options: slices.Concat(limits(info), []asynq.Option{asynq.Queue(info.Queue)}), Submission: again,
	})
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
