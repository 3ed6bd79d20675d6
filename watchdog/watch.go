package watchdog

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
)

// job is what is kept of a job without an end.
type job struct {
	runs []run
	// startBy is when a job that waits for its start expires, and within how
	// long it may wait. Both are zero for others.
	startBy time.Time
	within  time.Duration
}

// run is an execution without an end, as far as the logs have been read. What
// is certain is found out when it is due.
type run struct {
	id  uuid.UUID
	due time.Time // for a sign of life; zero: never
	// beat is the newest heartbeat that told of progress, and moved the first
	// with as much, both by the worker's clock.
	beat, moved time.Time
	done        int64
	told        bool // that it is stalled
}

func (j *job) open() int {
	n := len(j.runs)
	if !j.startBy.IsZero() {
		n++
	}
	return n
}

func (j *job) run(id uuid.UUID) *run {
	i := slices.IndexFunc(j.runs, func(r run) bool { return r.id == id })
	if i < 0 {
		i = len(j.runs)
		j.runs = append(j.runs, run{id: id})
	}
	return &j.runs[i]
}

func (j *job) remove(id uuid.UUID) {
	j.runs = slices.DeleteFunc(j.runs, func(r run) bool { return r.id == id })
}

// telling are the types of events that tell whether a job lives.
var telling = []jobaudit.EventType{
	jobaudit.JobSubmitted, jobaudit.JobDeduplicated, jobaudit.JobDenied, jobaudit.JobStarted, jobaudit.JobHeartbeat,
	jobaudit.JobSucceeded, jobaudit.JobFailed, jobaudit.JobCancelled,
	jobaudit.AttemptStarted, jobaudit.AttemptFailed, jobaudit.AttemptDeferred, jobaudit.AttemptLost,
	jobaudit.AttemptSuperseded, jobaudit.AttemptLate,
}

// read reads what a log has that was not read before.
func (w *Watchdog) read(ctx context.Context, log *watched) error {
	if open, fast := log.AuditReader.(OpenJobs); fast {
		for r, err := range open.OpenJobs(ctx) {
			if err != nil {
				return fmt.Errorf("watchdog: read the open jobs of a log: %w", err)
			}
			e := r.Event()
			w.note(&e, time.Time{})
		}
		return nil
	}
	for r, err := range log.Records(ctx, jobaudit.Query{After: log.after, Types: telling}) {
		if err != nil {
			return fmt.Errorf("watchdog: read a log: %w", err)
		}
		e := r.Event()
		w.note(&e, w.swept)
		log.after = r.ID()
	}
	return nil
}

// note takes from an event what it tells about its job's life. arrived, if not
// zero, is a moment by this watchdog's clock at which the event had not been
// recorded: whatever its own clock says, its worker was alive then.
func (w *Watchdog) note(e *jobaudit.Event, arrived time.Time) {
	j, known := w.jobs[e.Job.ID]
	if !known {
		j = &job{}
		w.jobs[e.Job.ID] = j
	}
	x := e.Job.ExecutionID
	switch e.Type {
	case jobaudit.JobStarted, jobaudit.AttemptStarted, jobaudit.JobHeartbeat, jobaudit.AttemptLost:
		if x == uuid.Nil {
			w.forget(e.Job.ID)
			return
		}
	}
	switch e.Type {
	case jobaudit.JobSubmitted:
		if within := w.startWithin(e); within > 0 {
			j.within, j.startBy = within, e.Time.Add(within)
		}
	case jobaudit.JobStarted, jobaudit.AttemptStarted:
		j.startBy = time.Time{}
		w.alive(j.run(x), e, arrived)
	case jobaudit.JobHeartbeat:
		r := j.run(x)
		w.alive(r, e, arrived)
		r.progress(e)
	case jobaudit.AttemptLost:
		// Whoever found it may not have come to say what becomes of the job.
		j.run(x).due = e.Time
	case jobaudit.AttemptDeferred:
		if !j.startBy.IsZero() {
			j.startBy = e.Time.Add(j.within)
		}
		j.remove(x)
	case jobaudit.AttemptFailed, jobaudit.AttemptSuperseded, jobaudit.AttemptLate:
		j.remove(x)
	default:
		if e.Job.State.Terminal() {
			j.startBy = time.Time{}
			j.remove(x)
		}
	}
	w.forget(e.Job.ID)
}

// forget drops a job of which nothing is open.
func (w *Watchdog) forget(id uuid.UUID) {
	if j := w.jobs[id]; j.open() == 0 {
		delete(w.jobs, id)
	}
}

func (w *Watchdog) startWithin(submission *jobaudit.Event) time.Duration {
	if w.opts.StartWithin == nil || submission.Job.Queue != (jobaudit.Ref{}) {
		return 0
	}
	return w.opts.StartWithin(*submission)
}

// alive notes a sign of life.
func (w *Watchdog) alive(r *run, e *jobaudit.Event, arrived time.Time) {
	patience := w.patience(e)
	if patience <= 0 {
		return
	}
	r.due = latest(r.due, e.Time.Add(patience))
	if !arrived.IsZero() {
		r.due = latest(r.due, arrived.Add(patience))
	}
}

// patience is how long an execution may be silent after a start or a heartbeat:
// as long as it has announced itself, if it has.
func (w *Watchdog) patience(e *jobaudit.Event) time.Duration {
	if announced := e.Data.Heartbeat.Deadline.Sub(e.Time); !e.Data.Heartbeat.Deadline.IsZero() && announced > 0 {
		return announced
	}
	return w.opts.Patience
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// progress notes what a heartbeat tells of progress.
func (r *run) progress(e *jobaudit.Event) {
	p := e.Data.Heartbeat.Progress
	if p == nil {
		return
	}
	if r.moved.IsZero() || p.Done != r.done {
		r.moved, r.done, r.told = e.Time, p.Done, false
	}
	r.beat = latest(r.beat, e.Time)
}

// stalled reports whether the execution has sent heartbeats without progress
// for too long, and that has not been told.
func (w *Watchdog) stalled(r *run) bool {
	return w.opts.StalledAfter > 0 && !r.told && !r.moved.IsZero() && r.beat.Sub(r.moved) >= w.opts.StalledAfter
}

// passed reports whether a moment lies behind, whichever clock it is by.
func (w *Watchdog) passed(moment, now time.Time) bool {
	return !moment.IsZero() && now.After(moment.Add(w.opts.Grace))
}

// due returns the jobs to be judged.
func (w *Watchdog) due(now time.Time) []uuid.UUID {
	var ids []uuid.UUID
	for id, j := range w.jobs {
		if w.passed(j.startBy, now) || slices.ContainsFunc(j.runs, func(r run) bool {
			return w.passed(r.due, now) || w.stalled(&r)
		}) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
	return ids
}
