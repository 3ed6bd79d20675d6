package jobhttp

import (
	"context"
	"net/http"
	"unicode/utf8"

	"github.com/jobaudit/jobaudit"
)

// cancel answers DELETE /api/jobs/{id}.
func (a *API) cancel(q *request, c Caller) error {
	ctx, cancel := a.timeout(q)
	defer cancel()
	reason, err := parameter(q.r, "reason")
	if err != nil {
		return err
	}
	if len(reason) > maxReason || !utf8.ValidString(reason) {
		return invalid("reason")
	}
	if reason == "" {
		reason = "cancelled over HTTP"
	}
	f, err := a.job(ctx, q, c, Cancel)
	if err != nil {
		return err
	}
	removed := a.opts.Cancel == nil && f.State == jobaudit.Pending
	switch {
	case f.State.Terminal():
		return a.ended(ctx, q, c, &f)
	case a.opts.Cancel != nil:
		if removed, err = a.opts.Cancel(ctx, f.Job, reason); err != nil {
			return problem{code: unavailable, message: "the job could not be cancelled", cause: err}
		}
		if f, err = a.lookUp(ctx, c, f.ID); err != nil {
			return err
		}
	case !removed:
		return problem{code: conflict, message: "the job runs, and cannot be cancelled here"}
	}
	status := http.StatusOK
	if removed && f.State == jobaudit.Pending {
		err = a.cancelPending(ctx, c, &f, reason)
	} else { // its worker records the end, not we: it may have done so already, and may still succeed
		if !f.State.Terminal() {
			status = http.StatusAccepted
		}
		err = a.rec.Act(ctx, jobaudit.Act{
			Type: jobaudit.AuditRequested, Principal: c.Principal, OrgID: c.OrgID, Reason: reason,
			Scope: jobaudit.Query{JobID: f.ID, OrgID: c.OrgID}, Data: map[string]string{"request": "cancel"},
		})
	}
	if err != nil {
		return refused(err)
	}
	if f.State.Terminal() {
		return a.ended(ctx, q, c, &f)
	}
	if f, err = a.lookUp(ctx, c, f.ID); err != nil {
		return err
	}
	return a.answerCancelled(ctx, q, c, status, &f)
}

func (a *API) cancelPending(ctx context.Context, c Caller, f *found, reason string) error {
	t, err := a.rec.Resume(ctx, f.first.Carrier(), nil)
	if err != nil {
		return err
	}
	return t.CancelBy(ctx, c.Principal, reason)
}

// ended answers for a job that has its end. One that is cancelled is what the
// caller wants.
func (a *API) ended(ctx context.Context, q *request, c Caller, f *found) error {
	if f.State == jobaudit.Cancelled {
		return a.answerCancelled(ctx, q, c, http.StatusOK, f)
	}
	return problem{code: conflict, message: "the job has ended"}
}

// answerCancelled answers with the job. To see somebody else's is a read, which who may
// cancel it need not be allowed: without it they are told its state and times, as what
// they asked for is done.
func (a *API) answerCancelled(ctx context.Context, q *request, c Caller, status int, f *found) error {
	if !f.isOwn(c) {
		if err := a.mayRead(ctx, c, f); err != nil {
			a.logProblem(q, problemOf(err))
			f.Job = outline(&f.Job)
		}
	}
	return q.answerJob(status, &f.Job)
}

// outline is what of a job is told to those who may cancel it and not read it.
func outline(job *jobaudit.Job) jobaudit.Job {
	return jobaudit.Job{
		ID: job.ID, State: job.State, CreatedAt: job.CreatedAt, StartedAt: job.StartedAt, CompletedAt: job.CompletedAt,
		Metadata: jobaudit.JobMetadata{RequestID: job.ID, OrgID: job.Metadata.OrgID},
	}
}
