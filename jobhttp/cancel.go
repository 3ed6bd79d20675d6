package jobhttp

import (
	"context"
	"net/http"
	"unicode/utf8"

	"github.com/jobaudit/jobaudit"
)

var errNotStopped = problem{code: conflict, message: "the job runs, and cannot be cancelled here"}

// cancel answers DELETE /api/jobs/{id}.
func (a *API) cancel(q *request, c Caller) error {
	ctx, cancel := a.timeout(q)
	defer cancel()
	reason := q.r.URL.Query().Get("reason")
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
	switch {
	case f.State.Terminal():
		return a.ended(q, &f)
	case a.opts.Cancel == nil && f.State == jobaudit.Running:
		return errNotStopped
	}
	if a.opts.Cancel != nil {
		// It goes first: that a job is cancelled is recorded of one that does not
		// run, and so of one that cannot start any more.
		if err := a.opts.Cancel(ctx, f.Job, reason); err != nil {
			return problem{code: unavailable, message: "the job could not be cancelled", cause: err}
		}
	}
	if f, err = a.lookUp(ctx, c, f.ID); err != nil {
		return err
	}
	switch {
	case f.State.Terminal():
		return a.ended(q, &f)
	case f.State == jobaudit.Pending:
		err = a.cancelPending(ctx, c, &f, reason)
	case a.opts.Cancel == nil:
		return errNotStopped
	default: // its worker records the end, not we: it may still succeed
		err = a.rec.Act(ctx, jobaudit.Act{
			Type: jobaudit.AuditReviewed, Principal: c.Principal, OrgID: c.OrgID, Reason: reason,
			Scope: jobaudit.Query{JobID: f.ID, OrgID: c.OrgID}, Data: map[string]string{"outcome": "cancel requested"},
		})
	}
	if err != nil {
		return refused(err)
	}
	if f, err = a.lookUp(ctx, c, f.ID); err != nil {
		return err
	}
	if f.State == jobaudit.Cancelled {
		return q.answerJob(http.StatusOK, &f.Job)
	}
	return q.answerJob(http.StatusAccepted, &f.Job)
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
