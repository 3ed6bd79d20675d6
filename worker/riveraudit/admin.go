package riveraudit

import (
	"context"
	"fmt"
	"strconv"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/worker/queue"
)

// AdminClient is what an [Admin] needs of River. A *river.Client of any driver is
// one.
type AdminClient interface {
	JobCancel(ctx context.Context, id int64) (*rivertype.JobRow, error)
	JobDelete(ctx context.Context, id int64) (*rivertype.JobRow, error)
	JobDeleteMany(ctx context.Context, params *river.JobDeleteManyParams) (*river.JobDeleteManyResult, error)
	JobRetry(ctx context.Context, id int64) (*rivertype.JobRow, error)
	QueuePause(ctx context.Context, name string, opts *river.QueuePauseOpts) error
	QueueResume(ctx context.Context, name string, opts *river.QueuePauseOpts) error
}

// Admin does to River's jobs and queues what operators do to them, on record:
// each call is a job of its own, of the principal and for the reason that its
// Submission gives; the action and the resource are filled in. What is done to
// a job is also told by that job's record, which names the other. A log that
// cannot be written does not keep an operator from acting: see [queue.Act].
type Admin struct {
	audit  *Audit
	client AdminClient
}

// NewAdmin returns an Admin that acts through client.
func (a *Audit) NewAdmin(client AdminClient) *Admin { return &Admin{audit: a, client: client} }

// JobCancel cancels a job. One that runs gets its context cancelled: River decides later
// how it ended.
func (a *Admin) JobCancel(ctx context.Context, by jobaudit.Submission, id int64) (*rivertype.JobRow, error) {
	return a.job(ctx, by, "river-job-cancel", id, a.client.JobCancel, func(ctx context.Context, row *rivertype.JobRow, note string) error {
		if !ended(row) {
			return a.log(ctx, row, "asked to stop "+note)
		}
		return a.end(ctx, by, row, "cancelled "+note)
	})
}

// JobDelete deletes a job that does not run. If it had no end, deletion is its
// end.
func (a *Admin) JobDelete(ctx context.Context, by jobaudit.Submission, id int64) (*rivertype.JobRow, error) {
	return a.job(ctx, by, "river-job-delete", id, a.client.JobDelete, func(ctx context.Context, row *rivertype.JobRow, note string) error {
		return a.deleted(ctx, by, row, note)
	})
}

// JobDeleteMany deletes the jobs that match and do not run: it drains a queue. It is
// one job on record, and told by the record of each job that is deleted.
func (a *Admin) JobDeleteMany(ctx context.Context, by jobaudit.Submission, params *river.JobDeleteManyParams) (gone *river.JobDeleteManyResult, err error) {
	err = a.act(ctx, by, "river-queue-drain", "river jobs", func(ctx context.Context, act *jobaudit.Trail) error {
		if gone, err = a.client.JobDeleteMany(ctx, params); err != nil || act == nil {
			return err
		}
		act.SetImpact(fmt.Sprintf("%d jobs", len(gone.Jobs)))
		for _, row := range gone.Jobs {
			a.checkNote(ctx, act, a.deleted(ctx, by, row, noteOf(by, act)))
		}
		return nil
	})
	return gone, err
}

// deleted tells a job's record that an operator has deleted the job.
func (a *Admin) deleted(ctx context.Context, by jobaudit.Submission, row *rivertype.JobRow, note string) error {
	if ended(row) {
		return a.log(ctx, row, "deleted "+note)
	}
	gone := *row
	gone.State = rivertype.JobStateCancelled
	return a.end(ctx, by, &gone, "deleted "+note)
}

// JobRetry has a job run again at once. For one that had ended this is a new
// job on record, a retry of the ended one.
func (a *Admin) JobRetry(ctx context.Context, by jobaudit.Submission, id int64) (*rivertype.JobRow, error) {
	return a.job(ctx, by, "river-job-retry", id, a.client.JobRetry, func(ctx context.Context, row *rivertype.JobRow, note string) error {
		return a.log(ctx, row, "told to run again "+note)
	})
}

// QueuePause pauses a queue, or all of them by the name "*".
func (a *Admin) QueuePause(ctx context.Context, by jobaudit.Submission, name string, opts *river.QueuePauseOpts) error {
	return a.act(ctx, by, "river-queue-pause", "river queue "+name, func(ctx context.Context, _ *jobaudit.Trail) error {
		return a.client.QueuePause(ctx, name, opts)
	})
}

// QueueResume resumes a queue, or all of them by the name "*".
func (a *Admin) QueueResume(ctx context.Context, by jobaudit.Submission, name string, opts *river.QueuePauseOpts) error {
	return a.act(ctx, by, "river-queue-resume", "river queue "+name, func(ctx context.Context, _ *jobaudit.Trail) error {
		return a.client.QueueResume(ctx, name, opts)
	})
}

func (a *Admin) act(ctx context.Context, by jobaudit.Submission, action, resource string,
	do func(context.Context, *jobaudit.Trail) error,
) error {
	by.Action, by.Resource = action, resource
	return queue.Act(ctx, a.audit.rec, by, do)
}

// job does something to a job and then tells the job's own record of it. An
// error of the latter is not the call's: reconciling makes up for it.
func (a *Admin) job(ctx context.Context, by jobaudit.Submission, action string, id int64,
	do func(context.Context, int64) (*rivertype.JobRow, error),
	tell func(context.Context, *rivertype.JobRow, string) error,
) (row *rivertype.JobRow, err error) {
	err = a.act(ctx, by, action, "river job "+strconv.FormatInt(id, 10), func(ctx context.Context, act *jobaudit.Trail) error {
		if row, err = do(ctx, id); err != nil {
			return err
		}
		if act == nil { // the Recorder is closed
			return nil
		}
		if target, err := a.audit.submittedID(ctx, row); err == nil {
			act.Log(ctx, "its record: job "+target.String())
		}
		a.checkNote(ctx, act, tell(ctx, row, noteOf(by, act)))
		return nil
	})
	return row, err
}

// noteOf says on a job's own record who did something to it and why, and names
// the job that the act is.
func noteOf(by jobaudit.Submission, act *jobaudit.Trail) string {
	return fmt.Sprintf("by %s %s, job %s: %s", by.Principal.Kind, by.Principal.ID, act.JobID(), by.Trigger.Reason)
}

// checkNote says on the act's record if a job's own could not tell of it.
func (a *Admin) checkNote(ctx context.Context, act *jobaudit.Trail, err error) {
	if err != nil {
		act.Log(ctx, fmt.Sprintf("not told by its record: %v", err))
		a.audit.report(ctx, err)
	}
}

// end records that an operator has ended a job.
func (a *Admin) end(ctx context.Context, by jobaudit.Submission, row *rivertype.JobRow, how string) error {
	return a.audit.compare(ctx, row, &comparison{ending: func(ctx context.Context, trail *jobaudit.Trail) error {
		return trail.CancelBy(ctx, by.Principal, how)
	}})
}

// log records on a job's own record what an operator did to it.
func (a *Admin) log(ctx context.Context, row *rivertype.JobRow, what string) error {
	o, err := a.audit.open(ctx, row)
	switch {
	case err != nil:
		return err
	case a.audit.logs.None() && o.found:
		return nil // whether it is on record is not known
	case a.audit.logs.None():
		return queue.ErrNoLogs
	}
	s, err := a.audit.story(ctx, row, o)
	if err != nil {
		return err
	}
	trail := s.trail
	switch {
	case s.past.Submitted(), s.past.Known && !s.found:
	case s.retried != nil: // it is to run again, and has not yet
		trail = s.retried
	case s.found: // its submission is not on record yet
		return nil
	}
	trail.Log(ctx, what)
	return trail.Flush(ctx)
}
