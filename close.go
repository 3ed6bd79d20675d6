package jobaudit

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Close stores what is still on its way, then an audit.closed event, and ends
// the Recorder: every later call on it or on its Trails returns [ErrClosed].
// Let the jobs end first. It waits until ctx ends, at most OutcomeTimeout and at
// least Timeout, and then Timeout for the Fallback and for its own event. What
// could not be stored by then is lost. The error counts it, and the executions
// that were begun here and have no end: their ends can no longer be recorded.
func (r *Recorder) Close(ctx context.Context) error {
	if err := r.opened("close"); err != nil {
		return err
	}
	if r.closed.Swap(true) {
		return &AuditError{Op: "close", Err: ErrClosed}
	}
	r.home.stop()
	err := r.drained(ctx, r.opts.OutcomeTimeout)
	ctx = context.WithoutCancel(ctx)
	if err != nil {
		err = r.drained(ctx, r.opts.Timeout)
	}
	if err != nil && r.opts.Fallback != nil {
		for _, s := range r.queue.Outstanding() {
			r.queue.FailOver(s)
		}
		err = r.drained(ctx, r.opts.Timeout)
	}
	if err == nil {
		err = r.store(ctx, []entry{r.entry(AuditClosed, payload{})}, r.opts.Timeout)
	}
	lost := r.queue.Stop()
	if err == nil && lost > 0 {
		err = errors.New("they were recorded while it closed")
	}
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%d events are not known to be stored, and %d executions have no end: %w", lost, r.executions.Load(), err)
	return &AuditError{Op: "close", Err: err}
}

// drained waits until nothing is left to store.
func (r *Recorder) drained(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return r.queue.Drain(ctx)
}

// Stats is what a [Recorder] has done, and what it holds.
type Stats struct {
	Stored     uint64    // events that the sink has acknowledged
	Lost       uint64    // events that were dropped or refused
	Buffered   int       // events that wait for the sink
	Oldest     time.Time // when the oldest of these was recorded; zero if none waits
	InFallback uint64    // events that the fallback took here and that have not come home
	Executions int64     // begun here, and without an end
	LastError  error     // of the sink; nil if there was none
	LastFailed time.Time // when that was; zero if never
}

// Stats returns what the Recorder has done and holds, for metrics.
func (r *Recorder) Stats() Stats {
	if r.opened("") != nil {
		return Stats{}
	}
	s := r.queue.Stats()
	return Stats{
		Stored: s.Stored, Lost: s.Lost, Buffered: s.Buffered, Oldest: s.Oldest, InFallback: r.home.missing(s.Fallback),
		Executions: r.executions.Load(), LastError: s.LastErr, LastFailed: s.FailedAt,
	}
}

// Healthy returns nil if a job that is submitted now may be expected to start:
// the Recorder is open, the sink's newest call succeeded, and no event has
// waited longer than Timeout for it. It makes no call to the sink, and is for
// probes.
func (r *Recorder) Healthy() error {
	if err := r.opened("healthy"); err != nil {
		return err
	}
	unhealthy := func(err error) error { return &AuditError{Op: "healthy", Err: err} }
	if r.closed.Load() {
		return unhealthy(ErrClosed)
	}
	s := r.queue.Stats()
	if s.Err != nil {
		return unhealthy(fmt.Errorf("the sink's newest call failed: %w", s.Err))
	}
	if waited := time.Since(s.Oldest); !s.Oldest.IsZero() && waited > r.opts.Timeout {
		return unhealthy(fmt.Errorf("%d events wait for the sink, the oldest for %v", s.Buffered, waited.Round(time.Millisecond)))
	}
	return nil
}

// opened says that a Recorder is not one that Open returned.
func (r *Recorder) opened(op string) error {
	if r == nil || r.queue == nil {
		return &AuditError{Op: op, Err: errNotOpened}
	}
	return nil
}

// opened says that a Trail is not one of a Recorder's.
func (t *Trail) opened(op string) error {
	if t == nil || t.rec == nil {
		return &AuditError{Op: op, Err: errNotOpened}
	}
	return nil
}
