package cronaudit

import (
	"context"
	"fmt"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/worker/queue"
)

// Scheduler is what an [Admin] needs of a scheduler whose entries have IDs of a
// type. A *cron.Cron of robfig/cron is one.
type Scheduler[ID any] interface {
	Start()
	Stop() context.Context
	Remove(id ID)
}

// Admin does to a scheduler and its jobs what operators do to them, on record:
// each call is a job of its own, of the principal and for the reason that its
// Submission gives; the action and the resource are filled in. A log that cannot
// be written keeps nobody from acting: see [queue.Act].
type Admin[ID any] struct {
	audit     *Audit
	scheduler Scheduler[ID]
}

// NewAdmin returns an Admin that acts on a scheduler.
func NewAdmin[ID any](a *Audit, scheduler Scheduler[ID]) *Admin[ID] {
	return &Admin[ID]{audit: a, scheduler: scheduler}
}

// RunNow runs a job now, as a tick would, and returns when it has run. name says
// which one it is. If [Job] made it, the tick is a child of the operator's job,
// and says on whose behalf it runs. What the run returns goes to OnError.
func (a *Admin[ID]) RunNow(ctx context.Context, by jobaudit.Submission, name string, job interface{ Run() }) error {
	return a.act(ctx, by, "cron-job-run", "cron job "+name, func(_ context.Context, act *jobaudit.Trail) error {
		t, ours := job.(ticker)
		if !ours || act == nil { // nil if the Recorder is closed
			job.Run()
			return nil
		}
		t.tick(act.Context(a.audit.opts.BaseContext()))
		return nil
	})
}

// Remove takes an entry from the scheduler. A run of it that is at work goes on.
func (a *Admin[ID]) Remove(ctx context.Context, by jobaudit.Submission, id ID) error {
	return a.act(ctx, by, "cron-job-remove", fmt.Sprint("cron entry ", id), func(context.Context, *jobaudit.Trail) error {
		a.scheduler.Remove(id)
		return nil
	})
}

// Stop stops the scheduler. Runs that are at work go on: the context that it
// returns is done when they have ended.
func (a *Admin[ID]) Stop(ctx context.Context, by jobaudit.Submission) (running context.Context, err error) {
	err = a.act(ctx, by, "cron-scheduler-stop", scheduler, func(context.Context, *jobaudit.Trail) error {
		running = a.scheduler.Stop()
		return nil
	})
	return running, err
}

// Start starts the scheduler, or starts it again after Stop.
func (a *Admin[ID]) Start(ctx context.Context, by jobaudit.Submission) error {
	return a.act(ctx, by, "cron-scheduler-start", scheduler, func(context.Context, *jobaudit.Trail) error {
		a.scheduler.Start()
		return nil
	})
}

// scheduler is the resource of acts on the whole of it.
const scheduler = "cron scheduler"

func (a *Admin[ID]) act(ctx context.Context, by jobaudit.Submission, action, resource string,
	do func(context.Context, *jobaudit.Trail) error,
) error {
	by.Action, by.Resource = action, resource
	return queue.Act(ctx, a.audit.rec, by, do)
}
