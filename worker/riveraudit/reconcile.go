package riveraudit

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river/rivertype"

	"github.com/jobaudit/jobaudit"
)

// ErrNoLog means that Options has no Log to compare River's table with.
var ErrNoLog = errors.New("riveraudit: no log to reconcile with")

// story is what is on record of a job of River's table.
type story struct {
	trail    *jobaudit.Trail
	job      jobaudit.Job // zero if nothing is
	recorded bool
	allowed  bool // the authorization is on record
	changed  bool // something was recorded now
}

// story reads what is on record of a job. If that job has ended and River's
// has not, or not so, River was told to run it again: the story is then that of
// the job that took its place.
func (a *Audit) story(ctx context.Context, row *rivertype.JobRow, trail *jobaudit.Trail) (*story, error) {
	for {
		job, recorded, err := a.replay(ctx, trail.JobID())
		if err != nil {
			return nil, err
		}
		if !recorded {
			return &story{trail: trail}, nil
		}
		if !job.State.Terminal() || outcome(row.State) == job.State && (job.Attempt == 0 || row.Attempt <= job.Attempt) {
			return &story{trail: trail, job: job, recorded: true}, trail.Observe(job)
		}
		if trail, err = a.retryOf(ctx, row, job); err != nil {
			return nil, err
		}
	}
}

// read is story for a row whose Trail is not open.
func (a *Audit) read(ctx context.Context, row *rivertype.JobRow) (*story, error) {
	if a.opts.Log == nil {
		return nil, ErrNoLog
	}
	trail, _, err := a.open(ctx, row)
	if err != nil {
		return nil, err
	}
	return a.story(ctx, row, trail)
}

func (a *Audit) replay(ctx context.Context, id uuid.UUID) (job jobaudit.Job, recorded bool, err error) {
	var records []jobaudit.Record
	for r, err := range a.opts.Log.Records(ctx, jobaudit.Query{JobID: id}) {
		if err != nil {
			return job, false, err
		}
		records = append(records, r)
	}
	if len(records) == 0 {
		return job, false, nil
	}
	job, err = jobaudit.Replay(func(yield func(jobaudit.Record, error) bool) {
		for _, r := range records {
			if !yield(r, nil) {
				return
			}
		}
	})
	return job, true, err
}

// retryOf prepares the job that takes the place of one that has ended.
func (a *Audit) retryOf(ctx context.Context, row *rivertype.JobRow, ended jobaudit.Job) (*jobaudit.Trail, error) {
	return a.rec.Prepare(ctx, jobaudit.Submission{
		ID: retryID(ended.ID), Action: ended.Metadata.Action, Inputs: inputsOf(row.EncodedArgs),
		Principal: a.opts.Principal, OrgID: ended.Metadata.OrgID,
		Trigger: jobaudit.Trigger{
			Kind: jobaudit.OnRetry, Reason: "River was told to run it again after it had ended",
		},
		CorrelationID: ended.CorrelationID, RetryOf: ended.ID, Queue: a.QueueRef(row), Detached: true,
	})
}

// complete records the submission, if no log holds it.
func (s *story) complete(ctx context.Context) error {
	if s.recorded && !s.job.Incomplete {
		return nil
	}
	s.changed = true
	return s.trail.Submit(ctx)
}

// Reconcile compares one row of River's table with what is on record, records
// what is missing, and reports whether that was anything: the submission, the
// attempts that River tells of, the outcome. note says why the job was
// cancelled, for one that was and whose record lacks it; it may be empty. It is
// for rows that nobody is working on: what happens meanwhile may be recorded
// twice.
func (a *Audit) Reconcile(ctx context.Context, row *rivertype.JobRow, note string) (changed bool, err error) {
	if ours, err := a.Verdict(ctx, row); ours {
		return err == nil && row.State != rivertype.JobStateRunning, err
	}
	defer a.keys.lock(row.ID)()
	s, err := a.read(ctx, row)
	if err != nil {
		return false, err
	}
	if err := s.complete(ctx); err != nil {
		return false, err
	}
	if err := a.attempts(ctx, s, row); err != nil {
		return s.changed, err
	}
	final := outcome(row.State)
	if final != "" && !s.job.State.Terminal() {
		s.changed = true
		if err := end(ctx, s.trail, row, final, nil, note); err != nil {
			return true, err
		}
	}
	if s.changed {
		err = s.trail.Flush(ctx)
	}
	return s.changed, err
}

// attempts records the attempts that River tells of and the record does not.
// The last one of a job that has ended is left open, for the outcome.
func (a *Audit) attempts(ctx context.Context, s *story, row *rivertype.JobRow) error {
	if s.job.State.Terminal() {
		return nil
	}
	known := s.job.Attempt
	final := outcome(row.State)
	for _, e := range row.Errors {
		last := final != "" && e.Attempt >= row.Attempt
		switch {
		case e.Attempt > known:
			if err := a.start(ctx, s, row, e.Attempt); err != nil {
				return err
			}
			known = e.Attempt
		case e.Attempt < known || !open(s.job):
			continue // it is on record
		}
		if !last {
			s.changed = true
			s.trail.Retrying(ctx, attemptError(e))
		}
	}
	if row.Attempt > known && (final == jobaudit.Success || final == jobaudit.Failed) {
		return a.start(ctx, s, row, row.Attempt)
	}
	return nil
}

// open reports whether the newest execution has no end on record.
func open(job jobaudit.Job) bool {
	n := len(job.Executions)
	return n > 0 && job.Executions[n-1].End == ""
}

// start records that an attempt was started, after the fact.
func (a *Audit) start(ctx context.Context, s *story, row *rivertype.JobRow, attempt int) error {
	if len(s.job.Executions) == 0 && !s.allowed {
		err := s.trail.Authorize(ctx, jobaudit.Decision{
			Allowed: true, By: a.opts.System, Reason: "River had run it before this was recorded",
		})
		if err != nil {
			return err
		}
		s.allowed = true
	}
	s.changed = true
	x := a.execution(row)
	x.Attempt = attempt
	return s.trail.Start(ctx, x)
}

// Strays records the end of jobs that are on record for this River, have no
// end, and are not in its table: they were rolled back, or deleted. table holds
// the recorded IDs of all jobs in it, read after since; a job that something
// was recorded of since is left alone. It returns how many there were.
func (a *Audit) Strays(ctx context.Context, table map[uuid.UUID]struct{}, since time.Time) (int, error) {
	if a.opts.Log == nil {
		return 0, ErrNoLog
	}
	lost, err := a.openJobs(ctx, table, since)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, e := range lost {
		if err := a.endStray(ctx, e); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// openJobs returns the newest submission or start of each job that has no end.
func (a *Audit) openJobs(ctx context.Context, table map[uuid.UUID]struct{}, since time.Time) (map[uuid.UUID]jobaudit.Event, error) {
	open, ended := map[uuid.UUID]jobaudit.Event{}, map[uuid.UUID]bool{}
	for r, err := range a.opts.Log.Records(ctx, jobaudit.Query{Types: []jobaudit.EventType{
		jobaudit.JobSubmitted, jobaudit.JobStarted, jobaudit.AttemptStarted, jobaudit.JobDenied, jobaudit.JobDeduplicated,
		jobaudit.JobSucceeded, jobaudit.JobFailed, jobaudit.JobCancelled,
	}}) {
		if err != nil {
			return nil, err
		}
		e := r.Event()
		switch {
		case e.Job.State.Terminal():
			ended[e.Job.ID] = true
			delete(open, e.Job.ID)
		case ended[e.Job.ID] || e.Job.Queue.System != a.opts.System:
		default:
			open[e.Job.ID] = e
		}
	}
	for id, e := range open {
		if _, there := table[id]; there || !e.Time.Before(since) {
			delete(open, id)
		}
	}
	return open, nil
}

func (a *Audit) endStray(ctx context.Context, e jobaudit.Event) error {
	job, recorded, err := a.replay(ctx, e.Job.ID)
	if err != nil || !recorded || job.State.Terminal() {
		return err
	}
	trail, err := a.rec.Prepare(ctx, jobaudit.Submission{
		ID: e.Job.ID, Action: e.What.Action, Principal: claimed(e.Who.Principal), OrgID: e.Who.OrgID, Trigger: e.Why,
		Upstream: e.Who.Upstream, CorrelationID: e.CorrelationID, RequestID: e.RequestID, TraceParent: e.TraceParent,
		RetryOf: e.Job.RetryOf, Queue: e.Job.Queue, Detached: true,
	})
	if err != nil {
		return err
	}
	if err := trail.Observe(job); err != nil {
		return err
	}
	return trail.Cancel(ctx, "River has no such job: its insert was rolled back, or it was deleted")
}

func claimed(p jobaudit.Principal) jobaudit.Principal {
	p.Verified = false
	return p
}

// StoryID returns the ID of the job that is on record for a row of River's
// table now: [Audit.JobID], or the job that took its place when it had ended
// and River ran it again.
func (a *Audit) StoryID(ctx context.Context, row *rivertype.JobRow) (uuid.UUID, error) {
	s, err := a.read(ctx, row)
	if err != nil {
		return uuid.Nil, err
	}
	return s.trail.JobID(), nil
}
