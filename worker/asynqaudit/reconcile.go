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
)

// ReconcileOptions adjust [Inspector.Reconcile]. The zero value, like nil,
// gives the defaults.
type ReconcileOptions struct {
	// Settle is how long a job must have been quiet before anything is
	// concluded about it: longer than it takes to enqueue a task after its
	// submission, and to record an outcome after asynq's verdict. Default: 2
	// minutes.
	Settle time.Duration
	// Since limits the search for tasks that have disappeared to jobs that have
	// events from then on. Default: all.
	Since time.Time
	// Unaudited says that these queues have workers without the adapter. Of a
	// task that has disappeared nobody can tell then whether it ran; it is
	// reported in Unresolved and its job stays as it is.
	Unaudited bool
}

// Report is what [Inspector.Reconcile] has found and recorded.
type Report struct {
	Tasks     int // tasks in all queues
	Submitted int // submissions recorded, of tasks that nobody had submitted a job for
	Attempts  int // ends recorded of attempts that asynq has given up
	Ended     int // outcomes recorded
	Unsettled int // jobs that differ from their tasks, but changed only just now
	// Unresolved are jobs whose task is gone, and the log does not tell how.
	Unresolved []uuid.UUID
}

// Added is how many events were missing.
func (r Report) Added() int { return r.Submitted + r.Attempts + r.Ended }

// errNoLog says that [Options.Log] is not set.
var errNoLog = errors.New("asynqaudit: Reconcile needs Options.Log")

// Reconcile compares all tasks of all queues with the log, and records what is
// missing there: what passed no worker with the adapter, or was lost with the
// process that was to record it. Run it every few minutes, in one process at a
// time: if two do, both may record the same end, and the second counts as
// late. After a normal run it finds nothing.
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
//     if its worker died before it recorded that, nobody knows: the job has
//     failed, ABANDONED. Give tasks a Retention longer than the time between
//     two calls of Reconcile, and this does not happen.
//
// After an error, what was recorded before it stays; the next call does the
// rest.
func (i *Inspector) Reconcile(ctx context.Context, opts *ReconcileOptions) (Report, error) {
	r := reconciliation{i: i, a: i.client.a, met: map[uuid.UUID]bool{}}
	if opts != nil {
		r.opts = *opts
	}
	if r.opts.Settle == 0 {
		r.opts.Settle = 2 * time.Minute
	}
	if r.a.opts.Log == nil {
		return r.report, errNoLog
	}
	open, err := r.openJobs(ctx) // before the tasks: a job that is submitted now is not missed
	if err != nil {
		return r.report, err
	}
	if err := r.tasks(ctx); err != nil {
		return r.report, err
	}
	for id, ref := range open {
		if !r.met[id] {
			if err := r.gone(ctx, id, ref); err != nil {
				return r.report, err
			}
		}
	}
	return r.report, nil
}

type reconciliation struct {
	i      *Inspector
	a      *Adapter
	opts   ReconcileOptions
	met    map[uuid.UUID]bool // jobs whose task was met
	report Report
}

// openJobs returns the jobs in asynq's queues that have no end in the log, and
// where their tasks are.
func (r *reconciliation) openJobs(ctx context.Context) (map[uuid.UUID]jobaudit.Ref, error) {
	open, ended := map[uuid.UUID]jobaudit.Ref{}, map[uuid.UUID]bool{}
	query := jobaudit.Query{Since: r.opts.Since, Types: []jobaudit.EventType{
		jobaudit.JobSubmitted, jobaudit.JobDeduplicated, jobaudit.JobDenied, jobaudit.JobStarted, jobaudit.AttemptStarted,
		jobaudit.JobSucceeded, jobaudit.JobFailed, jobaudit.JobCancelled,
	}}
	for record, err := range r.a.opts.Log.Records(ctx, query) {
		if err != nil {
			return nil, err
		}
		e := record.Event()
		switch {
		case e.Job.State.Terminal():
			ended[e.Job.ID] = true
			delete(open, e.Job.ID)
		case e.Job.Queue.System == system && !ended[e.Job.ID]:
			open[e.Job.ID] = e.Job.Queue
		}
	}
	return open, nil
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
			if err := errors.Join(ctx.Err(), r.task(ctx, info)); err != nil {
				return err
			}
		}
		if len(infos) < size {
			return nil
		}
	}
}

// task records what is missing of one task's job.
func (r *reconciliation) task(ctx context.Context, info *asynq.TaskInfo) error {
	r.report.Tasks++
	before := r.report.Submitted
	trail, err := r.trail(ctx, taskOf(info))
	if err != nil {
		return err
	}
	r.met[trail.JobID()] = true
	job, newest, err := r.job(ctx, trail.JobID())
	if err != nil {
		return err
	}
	if job.State.Terminal() || !r.differs(info, job) {
		return nil
	}
	if r.report.Submitted == before && time.Since(newest) < r.opts.Settle {
		r.report.Unsettled++
		return nil
	}
	if err := trail.Observe(job); err != nil {
		return err
	}
	switch info.State {
	case asynq.TaskStateCompleted, asynq.TaskStateArchived:
		return r.end(ctx, info, trail, job)
	}
	r.report.Attempts++
	if info.Retried >= job.Attempt {
		trail.Retrying(ctx, failureOf(info))
	} else {
		trail.Deferring(ctx, "the task is back in its queue")
	}
	return trail.Flush(ctx)
}

// trail opens the job's Trail, and counts if that took a submission.
func (r *reconciliation) trail(ctx context.Context, t task) (*jobaudit.Trail, error) {
	if _, ok := t.carrier(); !ok {
		if _, known, err := r.a.job(ctx, t.adoptedID()); err != nil {
			return nil, err
		} else if !known {
			r.report.Submitted++
		}
	}
	return r.a.trail(ctx, t)
}

// job returns what the log says of a job, and when its newest event was. Of a
// job that the log does not know, the queue's word is all there is.
func (r *reconciliation) job(ctx context.Context, id uuid.UUID) (job jobaudit.Job, newest time.Time, err error) {
	job, err = jobaudit.Replay(func(yield func(jobaudit.Record, error) bool) {
		for record, err := range r.a.opts.Log.Records(ctx, jobaudit.Query{JobID: id}) {
			if record.Time().After(newest) {
				newest = record.Time()
			}
			if !yield(record, err) {
				return
			}
		}
	})
	if newest.IsZero() && ctx.Err() == nil {
		return jobaudit.Job{ID: id, State: jobaudit.Pending}, newest, nil
	}
	return job, newest, err
}

// differs reports whether a job without an end is not what its task is.
func (r *reconciliation) differs(info *asynq.TaskInfo, job jobaudit.Job) bool {
	switch info.State {
	case asynq.TaskStateCompleted, asynq.TaskStateArchived:
		return true
	case asynq.TaskStateActive:
		return false
	}
	return isOpen(job)
}

// isOpen reports whether an execution of the job has no end.
func isOpen(job jobaudit.Job) bool {
	for _, x := range job.Executions {
		if x.End == "" {
			return true
		}
	}
	return false
}

// end records the outcome that asynq keeps of a task.
func (r *reconciliation) end(ctx context.Context, info *asynq.TaskInfo, trail *jobaudit.Trail, job jobaudit.Job) error {
	r.report.Ended++
	done := info.State == asynq.TaskStateCompleted
	if job.State == jobaudit.Pending && !done && info.LastErr == "" {
		return trail.Cancel(ctx, "archived before it ran")
	}
	unseen := job.State == jobaudit.Pending || done && !isOpen(job) && job.Attempt <= info.Retried
	if unseen {
		if err := r.begin(ctx, info, trail); err != nil {
			return err
		}
	}
	if done {
		trail.Log(ctx, "asynq completed the task at "+info.CompletedAt.UTC().Format(time.RFC3339)+", as found in its queue")
		return trail.Succeed(ctx)
	}
	trail.Log(ctx, "asynq archived the task at "+info.LastFailedAt.UTC().Format(time.RFC3339)+", as found in its queue")
	return trail.Fail(ctx, failureOf(info))
}

// begin records the start of an attempt that nobody recorded.
func (r *reconciliation) begin(ctx context.Context, info *asynq.TaskInfo, trail *jobaudit.Trail) error {
	// It has run: the question whether it may comes too late.
	err := trail.Authorize(ctx, jobaudit.Decision{
		Allowed: true, Reason: "nobody was asked: the task ran in a worker that did not record it",
	})
	if err != nil {
		return err
	}
	return trail.Start(ctx, jobaudit.Execution{Attempt: info.Retried + 1, Queue: taskOf(info).ref()})
}

// gone records the end of a job whose task is in no queue.
func (r *reconciliation) gone(ctx context.Context, id uuid.UUID, ref jobaudit.Ref) error {
	if p, ok := placeOf(ref); ok {
		_, err := r.i.GetTaskInfo(p.queue, p.id)
		switch {
		case err == nil: // it moved while the tasks were listed
			return nil
		case !isGone(err):
			return err
		}
	}
	job, newest, err := r.job(ctx, id)
	switch {
	case err != nil:
		return err
	case job.State.Terminal():
		return nil
	case time.Since(newest) < r.opts.Settle:
		r.report.Unsettled++
		return nil
	case r.opts.Unaudited:
		r.report.Unresolved = append(r.report.Unresolved, id)
		return nil
	}
	trail, err := r.resume(ctx, job)
	if err != nil {
		return err
	}
	r.report.Ended++
	switch {
	case isOpen(job):
		return trail.Fail(ctx, abandonedError{})
	case job.State == jobaudit.Pending:
		return trail.Cancel(ctx, "the task is no longer in its queue, and has not been started")
	}
	return trail.Cancel(ctx, "the task is no longer in its queue, where it was to wait for its next attempt")
}

// resume opens a Trail for a job of which only the log tells.
func (r *reconciliation) resume(ctx context.Context, job jobaudit.Job) (*jobaudit.Trail, error) {
	for record, err := range r.a.opts.Log.Records(ctx, jobaudit.Query{JobID: job.ID, Limit: 1}) {
		if err != nil {
			return nil, err
		}
		trail, err := r.a.rec.Resume(ctx, record.Carrier(), nil)
		if err != nil {
			return nil, err
		}
		return trail, trail.Observe(job)
	}
	return nil, fmt.Errorf("asynqaudit: the records of job %s have disappeared", job.ID)
}

// abandonedError is the end of a job of which nobody knows how it ended.
type abandonedError struct{}

func (abandonedError) Error() string {
	return "the task left its queue while it was running, and nothing tells whether it succeeded"
}

// JobErrorCode gives the code of a job without a known end.
func (abandonedError) JobErrorCode() string { return string(jobaudit.CodeAbandoned) }

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
