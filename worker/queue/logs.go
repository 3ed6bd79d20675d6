package queue

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/story"
)

// ErrPartialLog means that the logs that were given do not hold all of a job:
// its queue shows a submission, or attempts, that stand in none of them.
// Nothing was recorded of the job. Give the adapter every log that the jobs of
// the queue are recorded in. An [*jobaudit.AuditError] around it names the job.
var ErrPartialLog = errors.New("not all logs of the job were given")

// Partial is [ErrPartialLog] for a job.
func Partial(job uuid.UUID) error {
	return &jobaudit.AuditError{Op: "reconcile", JobID: job, Err: ErrPartialLog}
}

// Logs are all the logs that the jobs of a queue are recorded in, read as one. It
// is safe for concurrent use if the readers are.
type Logs struct {
	readers []jobaudit.AuditReader
	report  func(context.Context, error)

	mu        sync.Mutex
	recorders map[uuid.UUID]bool // whose audit.opened event was found
}

// NewLogs returns Logs that read from readers. Records that cannot be read are
// given to report and left out.
func NewLogs(readers []jobaudit.AuditReader, report func(context.Context, error)) *Logs {
	return &Logs{readers: readers, report: report, recorders: map[uuid.UUID]bool{}}
}

// None reports whether there is nothing to read.
func (l *Logs) None() bool { return len(l.readers) == 0 }

// Past is what the logs say of a job. It is zero if they do not know the job.
type Past struct {
	Job    jobaudit.Job
	Known  bool
	First  jobaudit.Record // the submission, if it is there
	Newest time.Time       // of the newest record, by the clock of who recorded it

	records int       // how many were read
	mark    uuid.UUID // of which: their IDs, in whatever order
}

// Submitted reports whether the submission is among the records.
func (p Past) Submitted() bool { return p.Known && !p.Job.Incomplete }

// Open returns the newest execution if no end of it is on record, else nil.
func (p Past) Open() *jobaudit.JobExecution {
	n := len(p.Job.Executions)
	if n == 0 || p.Job.Executions[n-1].End != "" {
		return nil
	}
	return &p.Job.Executions[n-1]
}

// Unheard reports whether neither a worker nor the queue has said how the newest
// execution ended: no end is on record, or only what a watchdog concluded, or who
// was about to start the job again. The job may have succeeded.
func (p Past) Unheard() bool {
	n := len(p.Job.Executions)
	for i, x := range p.Job.Executions {
		switch x.End {
		case "", jobaudit.AttemptLost:
			// Which of several is the newest may be for clocks to say, of several logs.
			if i == n-1 || x.Attempt >= p.Job.Attempt {
				return true
			}
		case jobaudit.AttemptSuperseded:
			if i == n-1 {
				return true
			}
		}
	}
	return false
}

// Past reads what the logs say of a job.
func (l *Logs) Past(ctx context.Context, id uuid.UUID) (p Past, err error) {
	passes := make([]iter.Seq2[jobaudit.Record, error], len(l.readers))
	for i, reader := range l.readers {
		passes[i] = l.readable(ctx, reader.Records(ctx, jobaudit.Query{JobID: id}))
	}
	job, err := jobaudit.Replay(func(yield func(jobaudit.Record, error) bool) {
		for r, err := range story.Merge(passes...) {
			if err == nil {
				p.note(r)
			}
			if !yield(r, err) {
				return
			}
		}
	})
	if errors.Is(err, jobaudit.ErrNotFound) {
		return Past{}, nil
	}
	p.Job = job
	return p, err
}

func (p *Past) note(r jobaudit.Record) {
	if !p.Known || r.Type() == jobaudit.JobSubmitted && p.First.Type() != jobaudit.JobSubmitted {
		p.First = r
	}
	if r.Time().After(p.Newest) {
		p.Newest = r.Time()
	}
	p.records++
	for i, b := range r.ID() {
		p.mark[i] ^= b
	}
	p.Known = true
}

// readable leaves out what cannot be read, and reports it.
func (l *Logs) readable(ctx context.Context, records iter.Seq2[jobaudit.Record, error]) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		for r, err := range records {
			if unreadable, ok := errors.AsType[*jobaudit.UnreadableError](err); ok {
				l.report(ctx, unreadable)
				continue
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

// each calls fn for all records of a selection, log by log.
func (l *Logs) each(ctx context.Context, q jobaudit.Query, fn func(jobaudit.Record)) error {
	for _, reader := range l.readers {
		for r, err := range l.readable(ctx, reader.Records(ctx, q)) {
			if err != nil {
				return err
			}
			fn(r)
		}
	}
	return nil
}

// Lost says, of a job whose submission is not among its records, why: true if it
// was lost, as its recorder's log is among these, and [ErrPartialLog] if it must
// stand in another log.
func (l *Logs) Lost(ctx context.Context, c jobaudit.Carrier, p Past, job uuid.UUID) (bool, error) {
	if p.Submitted() {
		return false, nil
	}
	held, err := l.Holds(ctx, c.Recorder())
	if err == nil && !held {
		err = Partial(job)
	}
	return held, err
}

// Holds reports whether one of the logs is the one that a recorder writes to.
func (l *Logs) Holds(ctx context.Context, recorder uuid.UUID) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if recorder == uuid.Nil || l.recorders[recorder] {
		return recorder != uuid.Nil, nil
	}
	err := l.each(ctx, jobaudit.Query{Types: []jobaudit.EventType{jobaudit.AuditOpened}}, func(r jobaudit.Record) {
		l.recorders[r.Event().Stream.ID] = true
	})
	return l.recorders[recorder], err
}

// Unended are the jobs of a queue that have no end on record.
type Unended struct {
	Jobs map[uuid.UUID]jobaudit.Event // the newest submission or start of each
	// Worked says that there are starts of jobs of this queue on record, so
	// that the log of a worker is among these.
	Worked bool
}

// Unended returns the jobs of the queue that System names in job.queue, of those
// that have events from since on.
func (l *Logs) Unended(ctx context.Context, system string, since time.Time) (Unended, error) {
	u, ended := Unended{Jobs: map[uuid.UUID]jobaudit.Event{}}, map[uuid.UUID]bool{}
	err := l.each(ctx, jobaudit.Query{Since: since, Types: []jobaudit.EventType{
		jobaudit.JobSubmitted, jobaudit.JobDeduplicated, jobaudit.JobDenied, jobaudit.JobStarted, jobaudit.AttemptStarted,
		jobaudit.JobSucceeded, jobaudit.JobFailed, jobaudit.JobCancelled,
	}}, func(r jobaudit.Record) {
		e := r.Event()
		start := e.Type == jobaudit.JobStarted || e.Type == jobaudit.AttemptStarted
		u.Worked = u.Worked || start && e.Job.Queue.System == system && !e.Reconstructed
		switch {
		case e.Job.State.Terminal():
			ended[e.Job.ID] = true
			delete(u.Jobs, e.Job.ID)
		case e.Job.Queue.System != system || ended[e.Job.ID]:
		case start || u.Jobs[e.Job.ID].ID == uuid.Nil: // the logs come in no order of time
			u.Jobs[e.Job.ID] = e
		}
	})
	return u, err
}
