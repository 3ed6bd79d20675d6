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
		return a.ended(q, &f)
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
	switch {
	case f.State == jobaudit.Cancelled:
	case f.State.Terminal():
		return a.ended(q, &f)
	case removed && f.State == jobaudit.Pending:
		err = a.cancelPending(ctx, c, &f, reason)
	default: // its worker records the end, not we: it may still succeed
		status = http.StatusAccepted
		err = a.rec.Act(ctx, jobaudit.Act{
			Type: jobaudit.AuditRequested, Principal: c.Principal, OrgID: c.OrgID, Reason: reason,
			Scope: jobaudit.Query{JobID: f.ID, OrgID: c.OrgID}, Data: map[string]string{"request": "cancel"},
		})
	}
	if err != nil {
		return refused(err)
	}
	if f, err = a.lookUp(ctx, c, f.ID); err != nil {
		return err
	}
	return q.answerJob(status, &f.Job)
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
func (a *API) ended(q *request, f *found) error {
	if f.State == jobaudit.Cancelled {
		return q.answerJob(http.StatusOK, &f.Job)
	}
	return problem{code: conflict, message: "the job has ended"}
}
