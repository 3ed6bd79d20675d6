package jobaudit_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/faultsink"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// occupy makes the sink stick and keeps all flights that a recorder may have
// under way in it. What comes next waits until the sink is released.
func occupy(t *testing.T, rec *jobaudit.Recorder, sink *faultsink.Sink) *sync.WaitGroup {
	sink.Set(faultsink.Rule{Fault: faultsink.Stick})
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() { _, _ = rec.Submit(t.Context(), submission()) })
		synctest.Wait()
	}
	return &callers
}

// The bubble ends when all its goroutines have: a flight that begins after
// Close, or one that follows the other without end, would keep it.
func TestNothingGoesOnAfterCloseThoughCallersWaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := faultsink.New(memsink.New(nil))
		rec := open(t, sink, &jobaudit.Options{OnError: new(complaints).add})
		callers := occupy(t, rec, sink)
		callers.Go(func() {
			_, err := rec.Submit(t.Context(), submission())
			if err == nil {
				t.Error("nothing of it can be stored")
			}
		})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.Error(t, rec.Close(ctx))
		callers.Wait()
		begun := sink.Appends()
		sink.Set()
		sink.Release()
		synctest.Wait()
		time.Sleep(time.Hour)
		require.Equal(t, begun, sink.Appends())
	})
}

// blockingClock is a clock that stands still at its next reading until it is
// released.
type blockingClock struct {
	armed atomic.Bool
	gate  chan struct{}
}

func (c *blockingClock) now() time.Time {
	if c.armed.CompareAndSwap(true, false) {
		<-c.gate
	}
	return time.Now()
}

// gatedBy holds the Appends whose last record is of a type, until they are
// released or their context ends.
type gatedBy struct {
	*memsink.Sink
	mu    sync.Mutex
	gates map[jobaudit.EventType]chan struct{}
}

func (g *gatedBy) Append(ctx context.Context, records []jobaudit.Record) error {
	g.mu.Lock()
	gate := g.gates[records[len(records)-1].Type()]
	g.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return g.Sink.Append(ctx, records)
}

func TestCloseTellsOfALineThatCameTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := &blockingClock{gate: make(chan struct{})}
		closing := make(chan struct{})
		store := &gatedBy{Sink: memsink.New(nil), gates: map[jobaudit.EventType]chan struct{}{
			jobaudit.AuditClosed: closing, jobaudit.JobLogged: make(chan struct{}),
		}}
		rec := open(t, store, &jobaudit.Options{Now: clock.now, OnError: new(complaints).add})
		tr, err := rec.Submit(t.Context(), submission())
		require.NoError(t, err)
		clock.armed.Store(true)
		go tr.Log(t.Context(), "late")
		synctest.Wait()
		closed := make(chan error)
		go func() { closed <- rec.Close(t.Context()) }()
		synctest.Wait()
		close(clock.gate)
		synctest.Wait()
		close(closing)
		require.ErrorContains(t, <-closed, "1 events")
	})
}

// The last event is as much worth as an outcome: a call that fails, as on a
// connection that broke while it stood idle, is followed by others.
func TestCloseTriesItsOwnEventAgain(t *testing.T) {
	for _, fault := range []faultsink.Fault{faultsink.Fail, faultsink.Ambiguous, faultsink.Partial} {
		for failures := 1; failures <= 3; failures++ {
			synctest.Test(t, func(t *testing.T) {
				store := memsink.New(nil)
				sink := faultsink.New(store)
				rec := open(t, sink, &jobaudit.Options{OnError: new(complaints).add, Timeout: time.Minute})
				begun := sink.Appends()
				sink.Set(faultsink.Rule{First: begun + 1, Last: begun + failures, Fault: fault})
				require.NoError(t, rec.Close(t.Context()))
				require.Len(t, of(events(t, store), jobaudit.AuditClosed), 1)
			})
		}
	}
}

// A long Timeout is a slow sink's, and not for calls that fail.
func TestCloseWaitsLongForASlowSinkAndNotForOneThatFails(t *testing.T) {
	for _, c := range []struct {
		fault         faultsink.Fault
		outcome, want time.Duration
	}{
		{faultsink.Fail, time.Minute, 5 * time.Second},
		{faultsink.Fail, time.Second, time.Second},
		{faultsink.Stick, time.Minute, time.Hour},
		{faultsink.Stick, time.Second, time.Hour},
	} {
		synctest.Test(t, func(t *testing.T) {
			sink := faultsink.New(memsink.New(nil))
			rec := open(t, sink, &jobaudit.Options{OnError: new(complaints).add, Timeout: time.Hour, OutcomeTimeout: c.outcome})
			sink.Set(faultsink.Rule{Fault: c.fault})
			began := time.Now()
			require.ErrorIs(t, rec.Close(t.Context()), context.DeadlineExceeded)
			require.Equal(t, c.want, time.Since(began))
			sink.Release()
		})
	}
}

// lateToFail is a sink whose calls fail, each after a while.
type lateToFail struct {
	jobaudit.AuditSink
	after atomic.Int64 // nanoseconds; 0: they do not fail
}

func (s *lateToFail) Append(ctx context.Context, records []jobaudit.Record) error {
	if after := time.Duration(s.after.Load()); after > 0 {
		time.Sleep(after)
		return faultsink.ErrInjected
	}
	return s.AuditSink.Append(ctx, records)
}

// A call that fails when Close has begun to wait for a slow sink is not waited for any
// more: nobody sends the event again.
func TestCloseEndsSoonAfterALateCallHasFailed(t *testing.T) {
	for _, outcome := range []time.Duration{time.Millisecond, time.Second, time.Minute} {
		for _, after := range []time.Duration{time.Millisecond, 20 * time.Millisecond, 3 * time.Second, 10 * time.Second, time.Minute} {
			synctest.Test(t, func(t *testing.T) {
				sink := &lateToFail{AuditSink: memsink.New(nil)}
				rec := open(t, sink, &jobaudit.Options{OnError: new(complaints).add, Timeout: time.Hour, OutcomeTimeout: outcome})
				sink.after.Store(int64(after))
				began := time.Now()
				require.Error(t, rec.Close(t.Context()))
				require.LessOrEqual(t, time.Since(began), 5*time.Second+2*after, "%v, %v", outcome, after)
				time.Sleep(after) // the last call ends before the bubble does
				synctest.Wait()
			})
		}
	}
}

// What Close says of a sink that is gone: no event of a job is lost, and why.
func TestCloseSaysWhyItsOwnEventIsNotStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := faultsink.New(memsink.New(nil))
		rec := open(t, sink, &jobaudit.Options{OnError: new(complaints).add})
		sink.Set(faultsink.Rule{Fault: faultsink.Fail})
		began := time.Now()
		err := rec.Close(t.Context())
		require.ErrorContains(t, err, "0 events are not known to be stored, and 0 executions have no end")
		require.ErrorIs(t, err, faultsink.ErrInjected)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 5*time.Second, time.Since(began))
	})
}
