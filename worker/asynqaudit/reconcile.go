package asynqaudit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/worker/queue"
)

// Reconcile compares all tasks of all queues with the log, and records what is
// missing there: what passed no worker with the adapter, or was lost with the
// process that was to record it. Run it every few minutes, in one process at a
// time: if two do, both may record the same end, and the second counts as
// late. After a normal run it finds nothing. What changed a moment ago is left to a
// later call, by the same Audit; one that is called once in its process waits with
// [queue.ReconcileOptions.Wait].
//
//   - A task without a submission gets one, by [Options.Service]. Its job's ID
//     follows from its queue and ID, so that all who meet it mean the same job.
//   - The task is completed: the job has succeeded.
//   - It is archived: the job has failed, or, if it never ran, is cancelled.
//   - It is not active, but an attempt has no end: the attempt has failed, or,
//     if asynq has not counted it, was deferred. This is how a killed worker's
//     attempt ends, once asynq has noticed that its lease expired.
//   - It is gone. asynq lets no task disappear that waits for a start unless
//     somebody deletes it: the job is cancelled. A task that was running may
//     have succeeded, since asynq keeps nothing of a success without Retention;
//     if its worker died before it recorded that, it is not known: the job has
//     failed, ABANDONED, whether or not a watchdog has noticed that. Give tasks a Retention longer than the time between
//     two calls of Reconcile, and this does not happen.
//
// What it records says that it is reconstructed, and when it happened by asynq's
// own times. Nothing is recorded of a job that the logs hold a part of, and the
// error is [queue.ErrPartialLog] for each: it is found by the task's Carrier, by
// attempts that asynq knows, and by what servers with the adapter say in
// Redis of their recorders, whose clocks may differ by an hour from those of who
// enqueues. A task that cannot be compared, as its Carrier is refused or its job's
// records contradict each other, keeps it from no other: nothing is recorded of
// its job, and the error joins what went wrong. If Redis or a log cannot be read, or
// the sink takes nothing, it ends; what was recorded before stays, and the next call
// does the rest.
func (i *Inspector) Reconcile(ctx context.Context, opts *queue.ReconcileOptions) (queue.Report, error) {
	o := opts.WithDefaults()
	return o.Run(ctx, func() (queue.Report, error) {
		a := i.client.a
		r := reconciliation{
			i: i, a: a, opts: o, met: map[uuid.UUID]bool{},
			watch: a.settling.Watch(o.Settle), failures: queue.Failures{Recorder: a.rec},
		}
		err := r.run(ctx)
		return r.report, errors.Join(err, r.failures.Err(), r.report.Err())
	})
}

// reconciliation is one comparison.
type reconciliation struct {
	i        *Inspector
	a        *Audit
	opts     queue.ReconcileOptions
	met      map[uuid.UUID]bool // jobs whose task was met
	watch    *queue.Watch
	report   queue.Report
	failures queue.Failures
}

// errEnds ends a comparison whose failures say why.
var errEnds = errors.New("the comparison ends")

// run compares. The error is one that is not in the failures.
func (r *reconciliation) run(ctx context.Context) error {
	if r.a.logs.None() {
		return queue.ErrNoLogs
	}
	unended, err := r.a.logs.Unended(ctx, system, r.opts.Since) // before the tasks: a job that is submitted now is not missed
	if err != nil {
		return err
	}
	if err := r.tasks(ctx); errors.Is(err, errEnds) {
		return nil
	} else if err != nil {
		return err
	}
	unseen, err := r.a.unseen(ctx, r.i.client.redis)
	if err != nil {
		return err
	}
	gone := queue.Gone{Recorder: r.a.rec, Options: r.opts, Watch: r.watch, Complete: func(since time.Time) bool {
		return unseen.Before(since.Add(-presenceSlack))
	}}
	for id, e := range unended.Jobs {
		if r.met[id] {
			continue
		}
		there, err := r.moved(e.Job.Queue)
		if err == nil && !there {
			err = gone.End(ctx, r.a.logs, id, &r.report)
		}
		if r.failed(ctx, id, err) {
			return nil
		}
	}
	r.watch.Done()
	return nil
}

// failed notes an error of one job, and reports whether the comparison is to end.
func (r *reconciliation) failed(ctx context.Context, id uuid.UUID, err error) bool {
	if err == nil {
		return false
	}
	r.report.Failed = append(r.report.Failed, id)
	return r.failures.Add(ctx, err)
}

// tasks looks at every task. The states come in the order in which tasks go
// through them, so that one that moves on meanwhile is met nevertheless.
func (r *reconciliation) tasks(ctx context.Context) error {
	queues, err := r.i.Queues()
	if err != nil {
		return err
	}
	for _, queue := range queues {
		groups, err := r.i.Groups(queue)
		if err != nil {
			return err
		}
		type lister = func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error)
		var lists []lister
		for _, group := range groups {
			lists = append(lists, func(queue string, opts ...asynq.ListOption) ([]*asynq.TaskInfo, error) {
				return r.i.ListAggregatingTasks(queue, group.Group, opts...)
			})
		}
		lists = append(lists, r.i.ListScheduledTasks, r.i.ListRetryTasks, r.i.ListPendingTasks,
			r.i.ListActiveTasks, r.i.ListArchivedTasks, r.i.ListCompletedTasks)
		for _, list := range lists {
			if err := r.list(ctx, queue, list); err != nil {
				return fmt.Errorf("asynqaudit: reconcile queue %s: %w", queue, err)
			}
		}
	}
	return nil
}

func (r *reconciliation) list(ctx context.Context, queue string, list func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error)) error {
	const size = 500
	for page := 1; ; page++ {
		infos, err := list(queue, asynq.PageSize(size), asynq.Page(page))
		if err != nil {
			return err
		}
		for _, info := range infos {
			if err := ctx.Err(); err != nil {
				return err
			}
			id, err := r.task(ctx, info)
			if err != nil {
				err = fmt.Errorf("task %q: %w", info.ID, err)
			}
			if r.failed(ctx, id, err) {
				return errEnds
			}
		}
		if len(infos) < size {
			return nil
		}
	}
}

// task records what is missing of one task's job, and returns the job's ID.
func (r *reconciliation) task(ctx context.Context, info *asynq.TaskInfo) (uuid.UUID, error) {
	r.report.Jobs++
	t := taskOf(info)
	carrier, carried := t.carrier()
	if !carried {
		id := t.adoptedID()
		r.met[id] = true
		return id, r.adopted(ctx, info, t)
	}
	id := carrier.JobID()
	r.met[id] = true // also if it is refused: nothing says that the task is not this job's
	trail, err := r.a.rec.Resume(ctx, carrier, inputs(t.payload))
	if err != nil {
		return id, err
	}
	return id, r.carried(ctx, info, carrier, trail)
}

// carried is task for one that carries a job.
func (r *reconciliation) carried(ctx context.Context, info *asynq.TaskInfo, carrier jobaudit.Carrier, trail *jobaudit.Trail) error {
	id := trail.JobID()
	past, err := r.a.logs.Past(ctx, id)
	if err != nil {
		return err
	}
	lost, err := r.a.logs.Lost(ctx, carrier, past, id)
	if err == nil && !r.opts.Unaudited && tellsMore(info, past) {
		err = queue.Partial(id)
	}
	if err != nil {
		return r.report.Skip(id, err)
	}
	if past.Known && r.settling(info, id, past) {
		return nil
	}
	if lost {
		r.report.Submitted++
		if err := trail.Reconstruct(time.Time{}, func() error { return trail.Submit(ctx) }); err != nil {
			return err
		}
	}
	return r.compare(ctx, info, trail, past)
}

// adopted is task for one that carries no job.
func (r *reconciliation) adopted(ctx context.Context, info *asynq.TaskInfo, t task) error {
	past, err := r.a.logs.Past(ctx, t.adoptedID())
	if err != nil {
		return err
	}
	if past.Known && r.settling(info, t.adoptedID(), past) {
		return nil
	}
	if !past.Known {
		r.report.Submitted++
	}
	trail, err := r.a.trail(ctx, t)
	if err != nil {
		return err
	}
	return r.compare(ctx, info, trail, past)
}

// settling reports whether there is nothing to record yet, or at all.
func (r *reconciliation) settling(info *asynq.TaskInfo, id uuid.UUID, past queue.Past) bool {
	if past.Job.State.Terminal() || past.Submitted() && !differs(info, past) {
		return true
	}
	if !r.watch.Settled(id, past, info.State, info.Retried, info.LastFailedAt, info.CompletedAt) {
		r.report.Unsettled++
		return true
	}
	return false
}

// compare records what asynq knows of the task and its job's record does not.
func (r *reconciliation) compare(ctx context.Context, info *asynq.TaskInfo, trail *jobaudit.Trail, past queue.Past) error {
	if !past.Known {
		past.Job.State = jobaudit.Pending
	}
	if past.Job.State.Terminal() || !differs(info, past) {
		return nil
	}
	if past.Known {
		if err := trail.Observe(past.Job); err != nil {
			return err
		}
	}
	switch info.State {
	case asynq.TaskStateCompleted, asynq.TaskStateArchived:
		return r.end(ctx, info, trail, past)
	}
	r.report.Attempts++
	return trail.Reconstruct(info.LastFailedAt, func() error {
		if info.Retried >= past.Job.Attempt {
			trail.Retrying(ctx, failureOf(info))
		} else {
			trail.Deferring(ctx, "the task is back in its queue")
		}
		return trail.Flush(ctx)
	})
}

// differs reports whether a job without an end is not what its task is.
func differs(info *asynq.TaskInfo, past queue.Past) bool {
	switch info.State {
	case asynq.TaskStateCompleted, asynq.TaskStateArchived:
		return true
	case asynq.TaskStateActive:
		return false
	}
	return past.Open() != nil
}

// tellsMore reports whether asynq knows attempts whose start is not on
// record. A worker with the adapter records it before it works.
func tellsMore(info *asynq.TaskInfo, past queue.Past) bool {
	job := past.Job
	switch {
	case job.State.Terminal():
		return false
	case info.Retried > job.Attempt:
		return true
	case info.State == asynq.TaskStateCompleted:
		return !worked(info, job)
	case info.State != asynq.TaskStateArchived || past.Unheard() || info.LastErr == asynq.ErrLeaseExpired.Error():
		return false
	}
	n := len(job.Executions)
	if n == 0 {
		return info.LastErr != ""
	}
	return info.LastFailedAt.After(job.Executions[n-1].EndedAt) // archiving by hand does not change it; the end is the worker's own, or asynq's
}

// worked reports whether the attempt that completed a task is on record. One
// that was given back left its number to another.
func worked(info *asynq.TaskInfo, job jobaudit.Job) bool {
	n := len(job.Executions)
	return n > 0 && job.Attempt > info.Retried && job.Executions[n-1].End != jobaudit.AttemptDeferred
}

// end records the outcome that asynq keeps of a task.
func (r *reconciliation) end(ctx context.Context, info *asynq.TaskInfo, trail *jobaudit.Trail, past queue.Past) error {
	r.report.Ended++
	done, job := info.State == asynq.TaskStateCompleted, past.Job
	if job.State == jobaudit.Pending && !done && info.LastErr == "" {
		return trail.Reconstruct(time.Time{}, func() error { return trail.Cancel(ctx, "archived before it ran") })
	}
	if job.State == jobaudit.Pending || done && !worked(info, job) {
		if err := r.begin(ctx, info, trail); err != nil {
			return err
		}
	}
	if done {
		return trail.Reconstruct(info.CompletedAt, func() error { return trail.Succeed(ctx) })
	}
	return trail.Reconstruct(info.LastFailedAt, func() error { return trail.Fail(ctx, failureOf(info)) })
}

// begin records the start of an attempt that is not on record. asynq does not
// tell when that was.
func (r *reconciliation) begin(ctx context.Context, info *asynq.TaskInfo, trail *jobaudit.Trail) error {
	r.report.Attempts++
	return trail.Reconstruct(time.Time{}, func() error {
		// It has run: the question whether it may comes too late.
		err := trail.Authorize(ctx, jobaudit.Decision{
			Allowed: true, By: system, Reason: "asynq had run it before this was recorded",
		})
		if err != nil {
			return err
		}
		return queue.WithRef(taskOf(info).queueRef(), anywhere(trail.JobID()), func(ref jobaudit.Ref) error {
			return trail.Start(ctx, jobaudit.Execution{Attempt: info.Retried + 1, Queue: ref})
		})
	})
}

// moved reports whether a task that was not met is in its queue all the same: it
// has moved on while the tasks were listed.
func (r *reconciliation) moved(ref jobaudit.Ref) (bool, error) {
	p, ok := placeOf(ref)
	if !ok {
		return false, nil
	}
	_, err := r.i.GetTaskInfo(p.queue, p.id)
	if err != nil && isGone(err) {
		return false, nil
	}
	return err == nil, err
}

// failureOf is the error that asynq keeps of a task's last attempt.
func failureOf(info *asynq.TaskInfo) error {
	text := strings.TrimPrefix(info.LastErr, "panic error cause by: ")
	switch {
	case text == "":
		return errors.New("asynq gives no error")
	case text == asynq.ErrLeaseExpired.Error():
		return asynq.ErrLeaseExpired
	case text == context.DeadlineExceeded.Error():
		return context.DeadlineExceeded
	case text == context.Canceled.Error():
		return context.Canceled
	case strings.HasPrefix(text, "panic"):
		frame, _, _ := strings.Cut(strings.TrimPrefix(text, "panic ["), "]: ")
		if len(frame) == len(text) || strings.HasPrefix(frame, "panic") {
			frame = ""
		}
		return &panicked{frame}
	}
	return errors.New(text)
}
