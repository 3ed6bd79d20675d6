package otelaudit

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/jobaudit/jobaudit"
)

// OpenJobs is what a log says of the jobs that have no outcome. The sinks of
// packages filesink and pgsink, and the readers of filesink, have it.
type OpenJobs interface {
	// OpenJobs iterates over the records of all jobs without an outcome.
	OpenJobs(ctx context.Context) iter.Seq2[jobaudit.Record, error]
}

// Metrics registers what [jobaudit.Recorder.Stats] says, as
//
//	jobaudit.events.stored       events that the sink has acknowledged
//	jobaudit.events.lost         events that were dropped or refused
//	jobaudit.events.buffered     events that wait for the sink
//	jobaudit.events.in_fallback  events that the fallback took and the sink has not
//	jobaudit.executions          begun here, and without an end
//	jobaudit.lag                 seconds that the oldest event has waited for the sink
//
// and, if log is not nil, at each collection of that log's jobs without an outcome
//
//	jobaudit.jobs.open           by jobaudit.job.state: pending, running
//	jobaudit.jobs.ghosts         running, whose announced sign of life is overdue
//
// and, if it is a [jobaudit.AuditReader] too, which is read on at each collection,
//
//	jobaudit.jobs.ended          by jobaudit.job.state: success, failed, cancelled
//
// That counts, from the call of Metrics on, by any recorder: a second outcome of a
// job counts once as long as it is among the newest 10,000. For what ended before,
// [jobaudit.Jobs] reads the log. The result ends it.
func Metrics(provider metric.MeterProvider, recorder *jobaudit.Recorder, log OpenJobs) (metric.Registration, error) {
	m, meter := &meters{recorder: recorder, log: log}, provider.Meter(scope)
	if reader, ok := log.(jobaudit.AuditReader); ok {
		var err error
		if m.ends, err = newEnds(reader); err != nil {
			return nil, err
		}
	}
	var errs []error
	counter := func(name, what string) metric.Int64ObservableCounter {
		c, err := meter.Int64ObservableCounter(name, metric.WithDescription(what), metric.WithUnit("{event}"))
		errs = append(errs, err)
		return c
	}
	gauge := func(name, what, unit string) metric.Int64ObservableGauge {
		g, err := meter.Int64ObservableGauge(name, metric.WithDescription(what), metric.WithUnit(unit))
		errs = append(errs, err)
		return g
	}
	m.stored = counter("jobaudit.events.stored", "Events that the sink has acknowledged.")
	m.lost = counter("jobaudit.events.lost", "Events that were dropped or refused.")
	m.buffered = gauge("jobaudit.events.buffered", "Events that wait for the sink.", "{event}")
	m.inFallback = gauge("jobaudit.events.in_fallback", "Events that the fallback took and the sink does not have yet.", "{event}")
	m.executions = gauge("jobaudit.executions", "Executions that were begun here and have no end.", "{execution}")
	m.open = gauge("jobaudit.jobs.open", "Jobs without an outcome in the log.", "{job}")
	m.ghosts = gauge("jobaudit.jobs.ghosts", "Running jobs whose announced sign of life is overdue.", "{job}")
	lag, err := meter.Float64ObservableGauge("jobaudit.lag", metric.WithDescription("How long the oldest event has waited for the sink."), metric.WithUnit("s"))
	m.lag = lag
	ended, endedErr := meter.Int64ObservableCounter("jobaudit.jobs.ended", metric.WithDescription("Jobs that have ended."), metric.WithUnit("{job}"))
	m.ended, errs = ended, append(errs, endedErr)
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, fmt.Errorf("otelaudit: %w", err)
	}
	return meter.RegisterCallback(m.observe, m.stored, m.lost, m.buffered, m.inFallback, m.executions, m.open, m.ghosts, m.lag, m.ended)
}

type meters struct {
	recorder *jobaudit.Recorder
	log      OpenJobs

	ends *ends // nil if the log cannot be read on

	stored, lost, ended                            metric.Int64ObservableCounter
	buffered, inFallback, executions, open, ghosts metric.Int64ObservableGauge
	lag                                            metric.Float64ObservableGauge
}

func (m *meters) observe(ctx context.Context, o metric.Observer) error {
	s := m.recorder.Stats()
	o.ObserveInt64(m.stored, int64(s.Stored))
	o.ObserveInt64(m.lost, int64(s.Lost))
	o.ObserveInt64(m.buffered, int64(s.Buffered))
	o.ObserveInt64(m.inFallback, int64(s.InFallback))
	o.ObserveInt64(m.executions, s.Executions)
	lag := 0.0
	if !s.Oldest.IsZero() {
		lag = max(time.Since(s.Oldest).Seconds(), 0)
	}
	o.ObserveFloat64(m.lag, lag)
	if m.log == nil {
		return nil
	}
	if err := m.observeJobs(ctx, o); err != nil || m.ends == nil {
		return err
	}
	counts, err := m.ends.read(ctx)
	for state, n := range counts {
		o.ObserveInt64(m.ended, n, metric.WithAttributes(attribute.String("jobaudit.job.state", string(state))))
	}
	return err
}

// ends counts the jobs that end, as a log has them.
type ends struct {
	reader jobaudit.AuditReader

	mu     sync.Mutex
	after  uuid.UUID // the newest event that was looked at
	counts map[jobaudit.JobState]int64
	jobs   map[uuid.UUID]bool // the newest that have ended
	order  []uuid.UUID        // of them, a ring
	next   int
}

// newEnds begins behind the log's newest event.
func newEnds(reader jobaudit.AuditReader) (*ends, error) {
	e := &ends{reader: reader, jobs: make(map[uuid.UUID]bool), counts: map[jobaudit.JobState]int64{
		jobaudit.Success: 0, jobaudit.Failed: 0, jobaudit.Cancelled: 0}}
	for r, err := range reader.Records(context.Background(), jobaudit.Query{NewestFirst: true, Limit: 1}) {
		if _, unreadable := errors.AsType[*jobaudit.UnreadableError](err); unreadable {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("otelaudit: the log's newest event: %w", err)
		}
		e.after = r.ID()
	}
	return e, nil
}

// outcomes are the types that a job can end by.
var outcomes = map[jobaudit.EventType]bool{jobaudit.JobSucceeded: true, jobaudit.JobFailed: true,
	jobaudit.JobCancelled: true, jobaudit.JobDenied: true, jobaudit.JobDeduplicated: true}

// read reads on, and returns how many have ended by now. It asks for all events, so
// that it goes on behind the newest, though none of them may be an outcome.
func (e *ends) read(ctx context.Context) (map[jobaudit.JobState]int64, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	// With a limit, even where there is none, what comes later stands behind it.
	for r, err := range e.reader.Records(ctx, jobaudit.Query{After: e.after, Limit: math.MaxInt}) {
		if _, unreadable := errors.AsType[*jobaudit.UnreadableError](err); unreadable {
			continue
		}
		if err != nil {
			return maps.Clone(e.counts), fmt.Errorf("otelaudit: the log's ended jobs: %w", err)
		}
		e.after = r.ID()
		if !outcomes[r.Type()] {
			continue
		}
		if state := r.Event().Job.State; state.Terminal() && e.first(r.JobID()) {
			e.counts[state]++
		}
	}
	return maps.Clone(e.counts), nil
}

// first reports whether a job is not among the newest that have ended, and notes it.
func (e *ends) first(id uuid.UUID) bool {
	if e.jobs[id] {
		return false
	}
	if e.jobs[id] = true; len(e.order) < known {
		e.order = append(e.order, id)
		return true
	}
	delete(e.jobs, e.order[e.next])
	e.order[e.next] = id
	e.next = (e.next + 1) % known
	return true
}

// openJob is a job as its newest event has it.
type openJob struct {
	state     jobaudit.JobState
	deadlines map[uuid.UUID]time.Time // of its executions that have no end
}

// take notes what an event tells.
func (j *openJob) take(e *jobaudit.Event) {
	j.state = e.Job.State
	switch e.Type {
	case jobaudit.AttemptFailed, jobaudit.AttemptDeferred, jobaudit.AttemptLost, jobaudit.AttemptSuperseded, jobaudit.AttemptLate:
		delete(j.deadlines, e.Job.ExecutionID) // it waits for a retry, and need not tell that it lives
		return
	}
	if at := e.Data.Heartbeat.Deadline; !at.IsZero() {
		if j.deadlines == nil {
			j.deadlines = make(map[uuid.UUID]time.Time)
		}
		j.deadlines[e.Job.ExecutionID] = at
	}
}

// overdue reports whether the newest deadline has passed.
func (j *openJob) overdue(now time.Time) bool {
	var newest time.Time
	for _, at := range j.deadlines {
		if at.After(newest) {
			newest = at
		}
	}
	return j.state == jobaudit.Running && !newest.IsZero() && newest.Before(now)
}

func (m *meters) observeJobs(ctx context.Context, o metric.Observer) error {
	jobs := make(map[uuid.UUID]openJob)
	for r, err := range m.log.OpenJobs(ctx) {
		if _, unreadable := errors.AsType[*jobaudit.UnreadableError](err); unreadable {
			continue
		}
		if err != nil {
			return fmt.Errorf("otelaudit: the log's open jobs: %w", err)
		}
		e := r.Event()
		j := jobs[r.JobID()]
		j.take(&e)
		jobs[r.JobID()] = j
	}
	open, ghosts := map[jobaudit.JobState]int64{jobaudit.Pending: 0, jobaudit.Running: 0}, int64(0)
	now := time.Now()
	for _, j := range jobs {
		open[j.state]++
		if j.overdue(now) {
			ghosts++
		}
	}
	for state, n := range open {
		o.ObserveInt64(m.open, n, metric.WithAttributes(attribute.String("jobaudit.job.state", string(state))))
	}
	o.ObserveInt64(m.ghosts, ghosts)
	return nil
}
