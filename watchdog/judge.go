package watchdog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/story"
)

// jobRecords is all that the logs hold of one job, read again: what earlier
// sweeps read may be out of date.
type jobRecords struct {
	jobaudit.Job
	queued     bool // a queue owns it
	submission jobaudit.Record
	newest     jobaudit.Record
	putOff     jobaudit.Record    // the newest that puts its next start off
	waits      uuid.UUID          // the newest of those and of its submissions
	verdicts   map[uuid.UUID]bool // the executions that a record says are lost
	executions map[uuid.UUID]*execution
}

// execution is what its own worker has recorded of an execution.
type execution struct {
	evidence         jobaudit.Verdict
	stream           uuid.UUID
	heartbeatTimeout time.Duration
	due              time.Time // for the next sign of life; zero: never
}

// collect reads all that the logs hold of a job. It is nil if that is nothing.
func (w *Watchdog) collect(ctx context.Context, id uuid.UUID) (*jobRecords, error) {
	var passes []iter.Seq2[jobaudit.Record, error]
	for _, log := range w.logs {
		passes = append(passes, w.looking(log.Records(ctx, jobaudit.Query{JobID: id})))
	}
	d := &jobRecords{executions: make(map[uuid.UUID]*execution), verdicts: make(map[uuid.UUID]bool)}
	var records []jobaudit.Record
	for r, err := range story.Merge(passes...) {
		if _, one := errors.AsType[*jobaudit.UnreadableError](err); one {
			continue // the sweep has reported it
		}
		if err != nil {
			return nil, fmt.Errorf("watchdog: read job %s: %w", id, err)
		}
		records = append(records, r)
	}
	if len(records) == 0 {
		return nil, nil
	}
	var err error
	d.Job, err = jobaudit.Replay(func(yield func(jobaudit.Record, error) bool) {
		for _, r := range records {
			if !yield(r, nil) {
				return
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("watchdog: job %s: %w", id, err)
	}
	aside := make(map[uuid.UUID]jobaudit.Cause)
	for _, u := range d.Unapplied {
		aside[u.EventID] = u.Cause
	}
	for _, r := range records {
		switch aside[r.ID()] {
		case jobaudit.CauseForeign:
		case jobaudit.CauseDuplicate:
			d.waits = r.ID()
		default:
			w.add(d, r)
		}
	}
	return d, nil
}

// add takes from a record what bears on a verdict.
func (w *Watchdog) add(d *jobRecords, r jobaudit.Record) {
	e := r.Event()
	d.newest = r
	d.queued = d.queued || e.Job.Queue != (jobaudit.Ref{})
	switch e.Type {
	case jobaudit.JobSubmitted:
		if d.submission.Len() == 0 {
			d.submission = r
		}
		d.waits = r.ID()
	case jobaudit.AttemptDeferred, jobaudit.AttemptFailed, jobaudit.AttemptSuperseded:
		d.putOff, d.waits = r, r.ID()
	case jobaudit.AttemptLost:
		d.verdicts[e.Job.ExecutionID] = d.verdicts[e.Job.ExecutionID] || e.ID.Version() == 8
	case jobaudit.JobStarted, jobaudit.AttemptStarted:
		if _, again := d.executions[e.Job.ExecutionID]; !again {
			d.executions[e.Job.ExecutionID] = &execution{stream: e.Stream.ID, evidence: jobaudit.Verdict{Of: r}}
		}
	}
	x := d.executions[e.Job.ExecutionID]
	if x == nil || e.Stream.ID != x.stream {
		return // others speak of it
	}
	if e.Type == jobaudit.JobHeartbeat {
		x.evidence.Heartbeat = r
	}
	x.evidence.Last = r
	if e.Type == jobaudit.JobHeartbeat || r.ID() == x.evidence.Of.ID() {
		x.heartbeatTimeout = w.heartbeatTimeout(&e)
	}
	if x.heartbeatTimeout > 0 { // whatever it records, it is alive
		x.due = latest(x.due, e.Time.Add(x.heartbeatTimeout))
	}
}

// judge concludes what there is to conclude of a job.
func (w *Watchdog) judge(ctx context.Context, id uuid.UUID, now time.Time) ([]Finding, error) {
	j := w.jobs[id]
	j.judged = w.sweeps
	defer w.forget(id)
	defer w.look()
	d, err := w.collect(ctx, id)
	if definite(err) || d == nil && err == nil {
		j.runs = nil
	}
	if err != nil || d == nil {
		return nil, w.failure(err)
	}
	expired, err := w.judgeStart(ctx, j, d, now)
	lost, lostErr := w.judgeRuns(ctx, j, d, now)
	if len(j.runs) == 0 && len(expired) == 0 {
		w.waitOn(j, d)
	}
	return append(expired, lost...), errors.Join(err, lostErr)
}

// judgeStart concludes that a job has expired, if it has.
func (w *Watchdog) judgeStart(ctx context.Context, j *job, d *jobRecords, now time.Time) ([]Finding, error) {
	r := j.find(uuid.Nil)
	if r == nil || !w.quiet(r, now) {
		return nil, nil
	}
	if !d.waiting() {
		j.remove(uuid.Nil)
		return nil, nil
	}
	w.waitFor(r, d)
	if r.heartbeatTimeout == 0 {
		if !w.isListed(r) { // else the next sweep would ask again
			j.remove(uuid.Nil)
		}
		return nil, nil
	}
	if !w.concludes(r, now) {
		return nil, nil
	}
	f := Finding{
		Kind: Expired, JobID: d.ID, Since: r.due,
		Evidence: jobaudit.Verdict{Of: d.submission, Last: d.newest},
	}
	if err := w.conclude(ctx, &f); err != nil {
		return nil, w.keep(j, uuid.Nil, err)
	}
	j.remove(uuid.Nil)
	return []Finding{f}, nil
}

// waiting reports whether a job is to be started, for the first time or again.
func (d *jobRecords) waiting() bool {
	if d.submission.Len() == 0 || d.State.Terminal() {
		return false
	}
	for _, x := range d.Executions {
		if x.End == "" {
			return false
		}
	}
	n := len(d.Executions)
	return d.State == jobaudit.Pending || n > 0 && d.Executions[n-1].End != jobaudit.AttemptLost
}

// waitFor notes how long a job may wait for its next start, by its records.
func (w *Watchdog) waitFor(r *run, d *jobRecords) {
	submission := d.submission.Event()
	if r.heartbeatTimeout = w.startWithin(&submission); d.queued {
		r.heartbeatTimeout = 0
	}
	waits := d.submission
	if d.putOff.Len() > 0 && (!w.opts.OneShot || d.putOff.Time().After(waits.Time())) {
		waits = d.putOff
	}
	w.hear(r, d.waits)
	r.due = waits.Time().Add(r.heartbeatTimeout)
	if r.heartbeatTimeout == 0 {
		r.due = time.Time{}
	}
}

// waitOn watches a job whose executions have all ended, if it waits for another one
// and may not do so for ever.
func (w *Watchdog) waitOn(j *job, d *jobRecords) {
	if !d.waiting() || w.opts.StartWithin == nil {
		return
	}
	r := j.run(uuid.Nil)
	w.listen(r)
	w.waitFor(r, d)
	if r.heartbeatTimeout == 0 {
		j.remove(uuid.Nil)
	}
}

// definite reports whether an error is about one job, and will not go away.
func definite(err error) bool {
	_, refused := errors.AsType[*jobaudit.RecordError](err)
	_, malformed := errors.AsType[*jobaudit.FieldError](err)
	return refused || malformed || errors.Is(err, errTaken)
}

// failure notes that a sweep has not seen or not recorded all that it should,
// unless the error is about one job only: that must not keep the watchdog from
// finding others.
func (w *Watchdog) failure(err error) error {
	w.failed = w.failed || err != nil && !definite(err)
	return err
}

// keep goes on watching what could not be concluded, unless it never can be.
func (w *Watchdog) keep(j *job, id uuid.UUID, err error) error {
	r := j.run(id)
	r.heartbeatTimeout = max(r.heartbeatTimeout, 1)
	switch {
	case errors.Is(err, errTaken) && !j.taken:
		j.taken = true // the next sweep may be able to read the verdict of another
		return nil
	case definite(err):
		j.remove(id)
	}
	return w.failure(err)
}

// concludes reports whether a run that has been silent for too long is gone. If
// that is not certain yet, the log has to be seen to take records. Otherwise
// the run may be alive and unable to record it.
func (w *Watchdog) concludes(r *run, now time.Time) bool {
	if !w.opts.OneShot && w.quiet(r, now) && r.probed.IsZero() {
		w.probing = true
	}
	return w.gone(r, now)
}

// judgeRuns concludes which executions are lost, and whether the job has failed
// with them.
func (w *Watchdog) judgeRuns(ctx context.Context, j *job, d *jobRecords, now time.Time) ([]Finding, error) {
	findings, lost := w.lostOf(j, d, now)
	orphan := d.orphan(lost)
	var errs []error
	for _, x := range d.Executions {
		if x.ID == uuid.Nil || !lost[x.ID] && x.ID != orphan {
			continue
		}
		f := d.finding(x.ID, x.ID == orphan)
		if err := w.conclude(ctx, &f); err != nil {
			errs = append(errs, w.keep(j, x.ID, err))
			if r := j.find(x.ID); r != nil {
				r.due = x.StartedAt
			}
			continue
		}
		if !lost[x.ID] && !f.Recorded {
			continue // another has just said it
		}
		j.remove(x.ID)
		findings = append(findings, f)
	}
	return findings, errors.Join(errs...)
}

// lostOf returns which of a job's executions are gone without an end. It drops
// those that have ended, and finds those that make no progress.
func (w *Watchdog) lostOf(j *job, d *jobRecords, now time.Time) (findings []Finding, lost map[uuid.UUID]bool) {
	lost = make(map[uuid.UUID]bool)
	for i := len(j.runs) - 1; i >= 0; i-- {
		r := &j.runs[i]
		if r.id == uuid.Nil {
			continue
		}
		at := slices.IndexFunc(d.Executions, func(x jobaudit.JobExecution) bool { return x.ID == r.id })
		if at < 0 || d.Executions[at].End != "" { // its start is not known, or it has ended
			j.runs = slices.Delete(j.runs, i, i+1)
			continue
		}
		x := d.executions[r.id]
		if !r.due.IsZero() {
			r.due = latest(r.due, x.due)
		}
		w.hear(r, x.evidence.Last.ID())
		if w.concludes(r, now) {
			lost[r.id] = true
		} else if w.stalled(r) {
			r.stallReported = true
			findings = append(findings, Finding{
				Kind: Stalled, JobID: d.ID, ExecutionID: r.id, Since: r.moved, Evidence: x.evidence,
			})
		}
	}
	return findings, lost
}

// orphan returns the execution whose loss is the job's end, if there is one: the
// newest, if it is lost and no other execution could bring the job to its end.
func (d *jobRecords) orphan(lost map[uuid.UUID]bool) uuid.UUID {
	if d.State != jobaudit.Running || d.queued || len(d.Executions) == 0 {
		return uuid.Nil
	}
	for _, x := range d.Executions {
		if x.End == "" && !lost[x.ID] {
			return uuid.Nil
		}
	}
	newest := d.Executions[len(d.Executions)-1]
	if lost[newest.ID] || newest.End == jobaudit.AttemptLost {
		return newest.ID
	}
	return uuid.Nil
}

// finding says that an execution is lost, and the job with it if it is an
// orphan.
func (d *jobRecords) finding(id uuid.UUID, orphan bool) Finding {
	x := d.executions[id]
	f := Finding{Kind: Lost, JobID: d.ID, ExecutionID: id, Since: x.due, Evidence: x.evidence}
	f.Evidence.AttemptOnly = !orphan
	if orphan {
		f.Kind = Abandoned
	}
	return f
}

// conclude records a finding.
func (w *Watchdog) conclude(ctx context.Context, f *Finding) error {
	var err error
	if f.Recorded, err = w.recorder.Conclude(ctx, f.Evidence); err != nil {
		return err
	}
	return w.confirm(ctx, f)
}

// errTaken means that the sink holds another record under a verdict's ID.
var errTaken = errors.New("the sink holds a record under the verdict's ID that is not in the watched logs, or is no verdict: " +
	"watch the log that the recorder writes to; if it is watched, somebody has taken the ID to keep the verdict out")

// confirm reads whether the verdict is in force. That the sink holds a record
// under its ID does not say so: anyone can compute the ID. It is unknown if
// the log that the recorder writes to is not watched.
func (w *Watchdog) confirm(ctx context.Context, f *Finding) error {
	d, err := w.collect(ctx, f.JobID)
	if err != nil {
		return err
	}
	ended := d != nil && d.State.Terminal()
	lost := d != nil && d.verdicts[f.ExecutionID]
	switch {
	case f.Kind == Lost && lost, f.Kind != Lost && ended: // an end of the job is one of the execution as well
		return nil
	case f.Recorded && !lost: // its own log is not watched
		return nil
	}
	return fmt.Errorf("watchdog: %s: %w", f.Kind, &jobaudit.AuditError{Op: "conclude", JobID: f.JobID, Err: errTaken})
}
