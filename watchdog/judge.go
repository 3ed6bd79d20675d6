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

// dossier is all that the logs hold of one job, put together anew: what was
// read on the way may have been overtaken.
type dossier struct {
	jobaudit.Job
	queued     bool // a queue owns it
	submission jobaudit.Record
	newest     jobaudit.Record
	putOff     time.Time // when its start was put off last
	executions map[uuid.UUID]*execution
}

// execution is what its own worker has recorded of an execution.
type execution struct {
	evidence jobaudit.Verdict
	stream   uuid.UUID
	patience time.Duration
	due      time.Time // for the next sign of life; zero: never
}

// collect reads all that the logs hold of a job. It is nil if that is nothing.
func (w *Watchdog) collect(ctx context.Context, id uuid.UUID) (*dossier, error) {
	var passes []iter.Seq2[jobaudit.Record, error]
	for _, log := range w.logs {
		passes = append(passes, log.Records(ctx, jobaudit.Query{JobID: id}))
	}
	d := &dossier{executions: make(map[uuid.UUID]*execution)}
	var records []jobaudit.Record
	for r, err := range story.Merge(passes...) {
		if err != nil {
			return nil, fmt.Errorf("watchdog: read job %s: %w", id, err)
		}
		records = append(records, r)
		w.add(d, r)
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
	return d, nil
}

// add takes from a record what bears on a verdict.
func (w *Watchdog) add(d *dossier, r jobaudit.Record) {
	e := r.Event()
	d.newest = r
	d.queued = d.queued || e.Job.Queue != (jobaudit.Ref{})
	switch e.Type {
	case jobaudit.JobSubmitted:
		if d.submission.Len() == 0 {
			d.submission = r
		}
	case jobaudit.AttemptDeferred:
		d.putOff = latest(d.putOff, e.Time)
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
		x.patience = w.patience(&e)
	}
	if x.patience > 0 { // whatever it records, it is alive
		x.due = latest(x.due, e.Time.Add(x.patience))
	}
}

// judge concludes what there is to conclude of a job.
func (w *Watchdog) judge(ctx context.Context, id uuid.UUID, now time.Time) ([]Finding, error) {
	d, err := w.collect(ctx, id)
	if err != nil {
		return nil, err
	}
	j := w.jobs[id]
	defer w.forget(id)
	if d == nil {
		*j = job{}
		return nil, nil
	}
	expired, err := w.judgeStart(ctx, j, d, now)
	lost, lostErr := w.judgeRuns(ctx, j, d, now)
	return append(expired, lost...), errors.Join(err, lostErr)
}

// judgeStart concludes that a job has expired, if it has.
func (w *Watchdog) judgeStart(ctx context.Context, j *job, d *dossier, now time.Time) ([]Finding, error) {
	if !w.passed(j.startBy, now) {
		return nil, nil
	}
	if d.State != jobaudit.Pending || d.queued || d.submission.Len() == 0 {
		j.startBy = time.Time{}
		return nil, nil
	}
	j.startBy = latest(d.submission.Time(), d.putOff).Add(j.within)
	if !w.passed(j.startBy, now) {
		return nil, nil
	}
	f := Finding{
		Kind: Expired, JobID: d.ID, Since: j.startBy,
		Evidence: jobaudit.Verdict{Of: d.submission, Last: d.newest},
	}
	var err error
	if f.Recorded, err = w.recorder.Conclude(ctx, f.Evidence); err != nil {
		return nil, err
	}
	j.startBy = time.Time{}
	return []Finding{f}, nil
}

// judgeRuns concludes which executions are lost, and whether the job has failed
// with them.
func (w *Watchdog) judgeRuns(ctx context.Context, j *job, d *dossier, now time.Time) ([]Finding, error) {
	var findings []Finding
	lost := make(map[uuid.UUID]bool)
	for i := len(j.runs) - 1; i >= 0; i-- {
		r := &j.runs[i]
		at := slices.IndexFunc(d.Executions, func(x jobaudit.JobExecution) bool { return x.ID == r.id })
		if at < 0 || d.Executions[at].End != "" { // nobody knows its start, or it has ended
			j.runs = slices.Delete(j.runs, i, i+1)
			continue
		}
		x := d.executions[r.id]
		if !r.due.IsZero() {
			r.due = latest(r.due, x.due)
		}
		if w.passed(r.due, now) {
			lost[r.id] = true
		} else if w.stalled(r) {
			r.told = true
			findings = append(findings, Finding{
				Kind: Stalled, JobID: d.ID, ExecutionID: r.id, Since: r.moved, Evidence: x.evidence,
			})
		}
	}
	orphan := d.orphan(lost)
	var errs []error
	for _, x := range d.Executions {
		if x.ID == uuid.Nil || !lost[x.ID] && x.ID != orphan {
			continue
		}
		f, err := w.conclude(ctx, d, x.ID, x.ID == orphan)
		if err != nil {
			errs = append(errs, err)
			j.run(x.ID).due = x.StartedAt // to be judged again
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

// orphan returns the execution whose loss is the job's end, if there is one: the
// newest, if it is lost and nobody is left who could bring the job to its end.
func (d *dossier) orphan(lost map[uuid.UUID]bool) uuid.UUID {
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

// conclude records that an execution is lost, and the job with it if it is an
// orphan.
func (w *Watchdog) conclude(ctx context.Context, d *dossier, id uuid.UUID, orphan bool) (Finding, error) {
	x := d.executions[id]
	f := Finding{Kind: Lost, JobID: d.ID, ExecutionID: id, Since: x.due, Evidence: x.evidence}
	f.Evidence.AttemptOnly = !orphan
	if orphan {
		f.Kind = Abandoned
	}
	var err error
	f.Recorded, err = w.recorder.Conclude(ctx, f.Evidence)
	return f, err
}
