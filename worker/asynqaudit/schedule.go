package asynqaudit

import (
	"context"
	"errors"
	"sync"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/worker/queue"
)

// NewPeriodicTask returns a task for asynq.Scheduler.Register, or for a
// PeriodicTaskConfigProvider, that can carry a job: each time that it is
// enqueued it carries another one. See [Audit.SchedulerOpts]. A
// GroupAggregator returns one, too.
func NewPeriodicTask(typename string, payload []byte, opts ...asynq.Option) *asynq.Task {
	return asynq.NewTaskWithHeaders(typename, payload, map[string]string{}, opts...)
}

// SchedulerOpts returns opts, which may be nil, with hooks that record the
// submission of a job before each task that the scheduler enqueues. The
// submission's Action is the task's type and its trigger is a schedule, unless
// they are set. Hooks that opts have are called as well.
//
// The tasks come from [NewPeriodicTask]; others, and those whose submission
// could not be recorded, are enqueued without a job and get one when they run.
// A scheduler with these hooks enqueues one task at a time.
func (a *Audit) SchedulerOpts(opts *asynq.SchedulerOpts, submission func(*asynq.Task) jobaudit.Submission) *asynq.SchedulerOpts {
	var own asynq.SchedulerOpts
	if opts != nil {
		own = *opts
	}
	tick := &tick{a: a, submission: submission, pre: own.PreEnqueueFunc, post: own.PostEnqueueFunc}
	own.PreEnqueueFunc, own.PostEnqueueFunc = tick.before, tick.after
	return &own
}

// tick is one task's way into its queue. asynq calls before, enqueues, and
// calls after, on one goroutine; the lock is held all the while, because the
// task's headers are shared by all its ticks and because after is not told
// which task failed.
type tick struct {
	a          *Audit
	submission func(*asynq.Task) jobaudit.Submission
	pre        func(*asynq.Task, []asynq.Option)
	post       func(*asynq.TaskInfo, error)

	mu    sync.Mutex
	trail *jobaudit.Trail // nil if there is no job
}

func (k *tick) before(t *asynq.Task, opts []asynq.Option) {
	k.mu.Lock()
	k.trail = nil
	if k.pre != nil {
		k.pre(t, opts)
	}
	delete(t.Headers(), header)
	if t.Headers() == nil {
		return
	}
	s := k.submission(t)
	if s.ID == uuid.Nil {
		s.ID = uuid.Must(uuid.NewV7())
	}
	if s.Action == "" {
		s.Action = t.Type()
	}
	if s.Trigger.Kind == "" {
		s.Trigger.Kind = jobaudit.Scheduled
	}
	if s.Inputs == nil {
		s.Inputs = inputs(t.Payload())
	}
	s.Queue = anywhere(s.ID)
	trail, err := k.a.rec.Submit(context.Background(), s)
	if err != nil {
		if queue.Unsure(err) { // the task does not carry it
			k.a.withdrawals.Cancel(trail, "its submission could not be recorded in time", k.a.report)
		}
		k.a.report(context.Background(), err)
		return
	}
	k.trail = trail
	t.Headers()[header] = trail.Carrier().String()
}

func (k *tick) after(info *asynq.TaskInfo, err error) {
	trail := k.trail
	k.mu.Unlock()
	ctx := context.Background()
	duplicate := errors.Is(err, asynq.ErrDuplicateTask) || errors.Is(err, asynq.ErrTaskIDConflict)
	if trail != nil && duplicate { // other errors leave it open whether the task arrived
		k.a.report(ctx, trail.Cancel(ctx, "not enqueued: "+err.Error()))
	}
	if k.post != nil {
		k.post(info, err)
	}
}
