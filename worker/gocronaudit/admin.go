package gocronaudit

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/go-co-op/gocron/v2"
	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/worker/queue"
)

// Admin does to a scheduler and its jobs what operators do to them, on record:
// each call is a job of its own, of the principal and for the reason that its
// Submission gives; the action and the resource are filled in. The newest run
// that a removal or a stop cancels says so on its own record, which names the
// other. A log that cannot be written keeps nobody from acting: see [queue.Act].
type Admin struct {
	audit     *Audit
	scheduler gocron.Scheduler
}

// NewAdmin returns an Admin that acts on a scheduler.
func (a *Audit) NewAdmin(scheduler gocron.Scheduler) *Admin { return &Admin{a, scheduler} }

// RunNow has the job run once, now. That run is a job of its own, as each tick's
// is: gocron does not tell the two apart, so nothing but their times ties it to
// the operator's.
func (a *Admin) RunNow(ctx context.Context, by jobaudit.Submission, id uuid.UUID) error {
	return a.act(ctx, by, "gocron-job-run", a.resource(id), func(context.Context, *jobaudit.Trail) error {
		for _, job := range a.scheduler.Jobs() {
			if job.ID() == id {
				return job.RunNow()
			}
		}
		return gocron.ErrJobNotFound
	})
}

// RemoveJob takes the job from the scheduler. A run of it that is at work is
// cancelled.
func (a *Admin) RemoveJob(ctx context.Context, by jobaudit.Submission, id uuid.UUID) error {
	return a.act(ctx, by, "gocron-job-remove", a.resource(id), func(ctx context.Context, act *jobaudit.Trail) error {
		a.tell(ctx, by, act, "its schedule is removed", id)
		return a.scheduler.RemoveJob(id)
	})
}

// RemoveByTags takes the jobs from the scheduler that have at least one of the
// tags, and returns how many they were.
func (a *Admin) RemoveByTags(ctx context.Context, by jobaudit.Submission, tags ...string) (n int, err error) {
	resource := "gocron jobs tagged " + strings.Join(tags, ", ")
	err = a.act(ctx, by, "gocron-job-remove", resource, func(ctx context.Context, act *jobaudit.Trail) error {
		before := a.scheduler.Jobs()
		for _, job := range before {
			if tagged(job, tags) {
				a.tell(ctx, by, act, "its schedule is removed", job.ID())
			}
		}
		a.scheduler.RemoveByTags(tags...)
		n = len(before) - len(a.scheduler.Jobs())
		if act != nil {
			act.SetImpact(fmt.Sprintf("%d jobs", n))
		}
		return nil
	})
	return n, err
}

func tagged(job gocron.Job, tags []string) bool {
	return slices.ContainsFunc(job.Tags(), func(tag string) bool { return slices.Contains(tags, tag) })
}

// StopJobs stops the scheduler: no job runs until Start. Runs that are at work are
// cancelled, and waited for as long as gocron's WithStopTimeout says.
func (a *Admin) StopJobs(ctx context.Context, by jobaudit.Submission) error {
	return a.act(ctx, by, "gocron-scheduler-stop", scheduler, func(ctx context.Context, act *jobaudit.Trail) error {
		for _, job := range a.scheduler.Jobs() {
			a.tell(ctx, by, act, "its scheduler is stopped", job.ID())
		}
		return a.scheduler.StopJobsWithContext(ctx)
	})
}

// Start starts the scheduler, or starts it again after StopJobs.
func (a *Admin) Start(ctx context.Context, by jobaudit.Submission) error {
	return a.act(ctx, by, "gocron-scheduler-start", scheduler, func(context.Context, *jobaudit.Trail) error {
		a.scheduler.Start()
		return nil
	})
}

// scheduler is the resource of acts on the whole of it.
const scheduler = "gocron scheduler"

func (a *Admin) act(ctx context.Context, by jobaudit.Submission, action, resource string,
	do func(context.Context, *jobaudit.Trail) error,
) error {
	if len(resource) > maxResource {
		resource = resource[:maxResource]
	}
	by.Action, by.Resource = action, strings.ToValidUTF8(resource, "")
	return queue.Act(ctx, a.audit.rec, by, do)
}

// maxResource is how long a resource may be, in bytes.
const maxResource = 256

// resource names a job of the scheduler.
func (a *Admin) resource(id uuid.UUID) string {
	for _, job := range a.scheduler.Jobs() {
		if job.ID() == id {
			return "gocron job " + id.String() + " " + job.Name()
		}
	}
	return "gocron job " + id.String()
}

// tell records on the record of a job's newest run who is about to end it, and
// why. It comes before the deed: afterwards the run may have ended.
func (a *Admin) tell(ctx context.Context, by jobaudit.Submission, act *jobaudit.Trail, what string, id uuid.UUID) {
	s := a.audit.schedule(id)
	if s == nil || act == nil { // not on record, or the Recorder is closed
		return
	}
	if run := s.atWork(); run != nil {
		act.Log(ctx, "it cancels job "+run.JobID().String())
		run.Log(ctx, fmt.Sprintf("%s by %s %s, job %s: %s", what, by.Principal.Kind, by.Principal.ID, act.JobID(), by.Trigger.Reason))
	}
}
