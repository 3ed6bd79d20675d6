package riveraudit

import (
	"context"
	"slices"
	"time"

	"github.com/riverqueue/river/rivertype"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/worker/queue"
)

// story is what is on record of a job of River's table.
type story struct {
	opened
	logs    *queue.Logs
	past    queue.Past
	allowed bool // the authorization is on record
}

// story reads what is on record of a job. If that job has ended and River's
// has not, or not so, River was asked to run it again: the story is then that of
// the job that took its place.
func (a *Audit) story(ctx context.Context, row *rivertype.JobRow, o opened) (*story, error) {
	for {
		past, err := a.logs.Past(ctx, o.trail.JobID())
		if err != nil {
			return nil, err
		}
		s := &story{opened: o, logs: a.logs, past: past}
		job := past.Job
		if !past.Known {
			return s, nil
		}
		if o.found && past.Submitted() { // what was prepared for it is never sent: it is on record
			if o.trail, err = a.rec.Resume(ctx, past.First.Carrier(), inputsOf(row.EncodedArgs)); err != nil {
				return nil, err
			}
			s.trail = o.trail
		}
		if !job.State.Terminal() || outcome(row.State) == job.State && (job.Attempt == 0 || row.Attempt <= job.Attempt) {
			return s, o.trail.Observe(job)
		}
		ended := o.trail
		if o, err = a.retryOf(ctx, row, job); err != nil {
			return nil, err
		}
		o.retried = ended
	}
}

// read is story for a row whose Trail is not open.
func (a *Audit) read(ctx context.Context, row *rivertype.JobRow) (*story, error) {
	if a.logs.None() {
		return nil, queue.ErrNoLogs
	}
	o, err := a.open(ctx, row)
	if err != nil {
		return nil, err
	}
	return a.story(ctx, row, o)
}

// retryOf prepares the job that takes the place of one that has ended.
func (a *Audit) retryOf(ctx context.Context, row *rivertype.JobRow, ended jobaudit.Job) (o opened, err error) {
	o.found = true
	o.trail, err = a.rec.Prepare(ctx, jobaudit.Submission{
		ID: retryID(ended.ID), Action: ended.Metadata.Action, Inputs: inputsOf(row.EncodedArgs),
		Principal: a.opts.Service, OrgID: ended.Metadata.OrgID,
		Trigger: jobaudit.Trigger{
			Kind: jobaudit.OnRetry, Reason: "River was asked to run it again after it had ended",
		},
		CorrelationID: ended.CorrelationID, RetryOf: ended.ID, Queue: a.queueRef(row), Detached: true,
	})
	return o, err
}

// lost reports whether the submission is missing, and is to be recorded. The
// error is [queue.ErrPartialLog] if it is on record elsewhere.
func (s *story) lost(ctx context.Context) (bool, error) {
	if s.past.Submitted() {
		return false, nil
	}
	if s.found {
		return true, nil
	}
	return s.logs.Lost(ctx, s.carrier, s.past, s.trail.JobID())
}

// submit records the submission, if no log holds it.
func (s *story) submit(ctx context.Context) error {
	lost, err := s.lost(ctx)
	if err != nil || !lost {
		return err
	}
	return s.trail.Reconstruct(s.inserted, func() error { return s.trail.Submit(ctx) })
}

// comparison is what a comparison of rows with the logs goes by, and counts.
type comparison struct {
	opts   queue.ReconcileOptions
	report queue.Report
	watch  *queue.Watch // nil if nothing is to settle
	// ending is how an operator ended the job, just now, if one did.
	ending func(context.Context, *jobaudit.Trail) error
}

// compare compares one row of River's table with what is on record and records
// what is missing: the submission, the attempts that River shows, the
// outcome. It is for rows that no worker has: what happens meanwhile may
// be recorded twice. The error is [queue.ErrPartialLog], and nothing is
// recorded, if the row shows what stands in none of the logs.
func (a *Audit) compare(ctx context.Context, row *rivertype.JobRow, c *comparison) error {
	if ours, err := a.verdict(ctx, row); ours {
		if err == nil && row.State != rivertype.JobStateRunning {
			c.report.Ended++
		}
		return err
	}
	defer a.keys.lock(row.ID)()
	s, err := a.read(ctx, row)
	if err != nil {
		return err
	}
	missing, err := s.lost(ctx)
	if err != nil {
		return err
	}
	if !s.found && !c.opts.Unaudited && tellsMore(row, s.past.Job) {
		return queue.Partial(s.trail.JobID())
	}
	if c.watch != nil && s.lacks(row, missing) && !c.watch.Settled(s.trail.JobID(), s.past,
		row.State, row.Attempt, len(row.Errors), moment(row.AttemptedAt), moment(row.FinalizedAt)) {
		c.report.Unsettled++
		return nil
	}
	before := c.report.Added()
	if missing {
		c.report.Submitted++
		if err := s.submit(ctx); err != nil {
			return err
		}
	}
	if s.past.Job.State.Terminal() {
		return nil
	}
	if err := a.attempts(ctx, s, row, c); err != nil {
		return err
	}
	if final := outcome(row.State); final != "" {
		c.report.Ended++
		return a.conclude(ctx, s, row, final, c)
	}
	if c.report.Added() > before {
		return s.trail.Flush(ctx)
	}
	return nil
}

// lacks reports whether a row shows what is not on record.
func (s *story) lacks(row *rivertype.JobRow, submission bool) bool {
	job := s.past.Job
	if submission || job.State.Terminal() {
		return submission
	}
	return outcome(row.State) != "" || slices.ContainsFunc(row.Errors, func(e rivertype.AttemptError) bool {
		return e.Attempt > job.Attempt || e.Attempt == job.Attempt && s.past.Open() != nil
	})
}

// conclude records the outcome that River's table shows.
func (a *Audit) conclude(ctx context.Context, s *story, row *rivertype.JobRow, final jobaudit.JobState, c *comparison) error {
	if c.ending != nil && final == jobaudit.Cancelled {
		return c.ending(ctx, s.trail)
	}
	return s.trail.Reconstruct(moment(row.FinalizedAt), func() error { return end(ctx, s.trail, row, final, nil) })
}

func moment(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

// tellsMore reports whether a row shows attempts whose start is not on
// record. A worker with the adapter records it before it works.
func tellsMore(row *rivertype.JobRow, job jobaudit.Job) bool {
	if job.State.Terminal() {
		return false
	}
	for _, e := range row.Errors {
		if e.Attempt > job.Attempt {
			return true
		}
	}
	switch outcome(row.State) {
	case jobaudit.Success, jobaudit.Failed:
		return !worked(row, job)
	case jobaudit.Cancelled:
		return row.Attempt > job.Attempt
	}
	return false
}

// worked reports whether the last attempt of a row is on record. One that was
// put off gave its number back, to another attempt.
func worked(row *rivertype.JobRow, job jobaudit.Job) bool {
	n := len(job.Executions)
	return n > 0 && job.Attempt >= row.Attempt && job.Executions[n-1].End != jobaudit.AttemptDeferred
}

// attempts records the attempts that River shows and the record does not.
// The last one of a job that has ended is left open, for the outcome.
func (a *Audit) attempts(ctx context.Context, s *story, row *rivertype.JobRow, c *comparison) error {
	known, open := s.past.Job.Attempt, s.past.Open() != nil
	final := outcome(row.State)
	for _, e := range row.Errors {
		last := final != "" && e.Attempt >= row.Attempt
		switch {
		case e.Attempt > known:
			if err := a.start(ctx, s, row, e.Attempt, c); err != nil {
				return err
			}
			known = e.Attempt
		case e.Attempt < known || !open:
			continue // it is on record
		}
		if !last {
			c.report.Attempts++
			_ = s.trail.Reconstruct(e.At, func() error {
				s.trail.Retrying(ctx, attemptError(e))
				return nil
			})
		}
	}
	if final == jobaudit.Success || final == jobaudit.Failed {
		if known < row.Attempt || known == s.past.Job.Attempt && !worked(row, s.past.Job) {
			return a.start(ctx, s, row, row.Attempt, c)
		}
	}
	return nil
}

// start records that an attempt was started, after the fact. Of the last one
// River tells when.
func (a *Audit) start(ctx context.Context, s *story, row *rivertype.JobRow, attempt int, c *comparison) error {
	var at time.Time
	if attempt == row.Attempt {
		at = moment(row.AttemptedAt)
	}
	c.report.Attempts++
	return s.trail.Reconstruct(at, func() error {
		if len(s.past.Job.Executions) == 0 && !s.allowed {
			err := s.trail.Authorize(ctx, jobaudit.Decision{
				Allowed: true, By: a.opts.System, Reason: "River had run it before this was recorded",
			})
			if err != nil {
				return err
			}
			s.allowed = true
		}
		x := a.execution(row)
		x.Attempt = attempt
		return s.trail.Start(ctx, x)
	})
}
