package verdict

import (
	"context"
	"fmt"
	"strconv"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/worker/riveraudit"
)

// AdminClient is what [Admin] needs of River. A *river.Client of any driver is
// one.
type AdminClient interface {
	JobCancel(ctx context.Context, id int64) (*rivertype.JobRow, error)
	JobDelete(ctx context.Context, id int64) (*rivertype.JobRow, error)
	JobRetry(ctx context.Context, id int64) (*rivertype.JobRow, error)
	QueuePause(ctx context.Context, name string, opts *river.QueuePauseOpts) error
	QueueResume(ctx context.Context, name string, opts *river.QueuePauseOpts) error
}

// Admin does to River's jobs and queues what people do to them, on record: each
// call is a job of its own, of the principal and for the reason that its
// Submission gives; the action and the resource are filled in. Nothing is done
// that could not be recorded. What is done to a job is also told by that job's
// record, which names the other.
type Admin struct {
	rec    *jobaudit.Recorder
	audit  *riveraudit.Audit
	client AdminClient
}

// NewAdmin returns an Admin that acts through client.
func NewAdmin(rec *jobaudit.Recorder, audit *riveraudit.Audit, client AdminClient) *Admin {
	return &Admin{rec: rec, audit: audit, client: client}
}

// JobCancel cancels a job. One that runs is told to stop: River decides later
// how it ended.
func (a *Admin) JobCancel(ctx context.Context, by jobaudit.Submission, id int64) (*rivertype.JobRow, error) {
	return a.job(ctx, by, "river-job-cancel", id, a.client.JobCancel, func(ctx context.Context, row *rivertype.JobRow, note string) error {
		if !ended(row) {
			return nil
		}
		_, err := a.audit.Reconcile(ctx, row, "cancelled "+note)
		return err
	})
}

// JobDelete deletes a job that does not run. If it had no end, deletion is its
// end.
func (a *Admin) JobDelete(ctx context.Context, by jobaudit.Submission, id int64) (*rivertype.JobRow, error) {
	return a.job(ctx, by, "river-job-delete", id, a.client.JobDelete, func(ctx context.Context, row *rivertype.JobRow, note string) error {
		gone := *row
		if !ended(row) {
			gone.State = rivertype.JobStateCancelled
		}
		_, err := a.audit.Reconcile(ctx, &gone, "deleted "+note)
		return err
	})
}

// JobRetry has a job run again at once. For one that had ended this is a new
// job on record, a retry of the ended one.
func (a *Admin) JobRetry(ctx context.Context, by jobaudit.Submission, id int64) (*rivertype.JobRow, error) {
	return a.job(ctx, by, "river-job-retry", id, a.client.JobRetry, func(context.Context, *rivertype.JobRow, string) error {
		return nil // its next start records it, or reconciling
	})
}

// QueuePause pauses a queue, or all of them by the name "*".
func (a *Admin) QueuePause(ctx context.Context, by jobaudit.Submission, name string, opts *river.QueuePauseOpts) error {
	return a.act(ctx, by, "river-queue-pause", "river queue "+name, func(ctx context.Context) error {
		return a.client.QueuePause(ctx, name, opts)
	})
}

// QueueResume resumes a queue, or all of them by the name "*".
func (a *Admin) QueueResume(ctx context.Context, by jobaudit.Submission, name string, opts *river.QueuePauseOpts) error {
	return a.act(ctx, by, "river-queue-resume", "river queue "+name, func(ctx context.Context) error {
		return a.client.QueueResume(ctx, name, opts)
	})
}

func (a *Admin) act(ctx context.Context, by jobaudit.Submission, action, resource string, do func(context.Context) error) error {
	by.Action, by.Resource = action, resource
	return a.rec.Run(ctx, by, do)
}

// job does something to a job and then tells the job's own record of it. An
// error of the latter is not the call's: reconciling makes up for it.
func (a *Admin) job(ctx context.Context, by jobaudit.Submission, action string, id int64,
	do func(context.Context, int64) (*rivertype.JobRow, error),
	tell func(context.Context, *rivertype.JobRow, string) error,
) (row *rivertype.JobRow, err error) {
	err = a.act(ctx, by, action, "river job "+strconv.FormatInt(id, 10), func(ctx context.Context) error {
		if row, err = do(ctx, id); err != nil {
			return err
		}
		trail, _ := jobaudit.FromContext(ctx)
		if target, err := a.audit.JobID(ctx, row); err == nil {
			trail.Log(ctx, "its record: job "+target.String())
		}
		note := fmt.Sprintf("by %s %s, job %s", by.Principal.Kind, by.Principal.ID, trail.JobID())
		if err := tell(ctx, row, note); err != nil {
			trail.Log(ctx, fmt.Sprintf("not told by its record: %v", err))
		}
		return nil
	})
	return row, err
}
