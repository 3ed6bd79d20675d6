package jobaudit_test

import (
	"context"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// switched is a sink that can be told what to answer.
type switched struct {
	*memsink.Sink
	fault atomic.Pointer[func(records []jobaudit.Record) error]
}

func newSwitched() *switched { return &switched{Sink: memsink.New(nil)} }

func (s *switched) set(fault func([]jobaudit.Record) error) {
	if fault == nil {
		s.fault.Store(nil)
		return
	}
	s.fault.Store(&fault)
}

func (s *switched) Append(ctx context.Context, records []jobaudit.Record) error {
	if fault := s.fault.Load(); fault != nil {
		if err := (*fault)(records); err != nil {
			return err
		}
	}
	return s.Sink.Append(ctx, records)
}

// refusing refuses events of a type, as what says.
func refusing(typ jobaudit.EventType, what error) func([]jobaudit.Record) error {
	return func(records []jobaudit.Record) error {
		for _, r := range records {
			if r.Type() == typ {
				return &jobaudit.RecordError{ID: r.ID(), Err: what}
			}
		}
		return nil
	}
}

// An outcome that the sink refuses, rightly or wrongly, is in the fallback, as
// exact bytes, and the log says why.
func TestAnOutcomeThatTheSinkRefusesGoesToTheFallback(t *testing.T) {
	for name, what := range map[string]error{"refused": errWork, "a wrong conflict": jobaudit.ErrConflict} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, spare := newSwitched(), memsink.New(nil)
				rec := open(t, store, &jobaudit.Options{Fallback: spare, OnError: func(context.Context, *jobaudit.AuditError) {}})
				store.set(refusing(jobaudit.JobSucceeded, what))
				id, err := run(t.Context(), rec, func(ctx context.Context) error {
					trail(ctx).Log(ctx, "a line")
					return nil
				})
				require.NoError(t, err)
				require.Len(t, of(spare.Trail(id), jobaudit.JobSucceeded), 1)
				synctest.Wait()
				degraded := of(events(t, store), jobaudit.AuditDegraded)
				require.Len(t, degraded, 1)
				require.Equal(t, spare.Trail(id)[0].ID, degraded[0].Data.Degraded.Event)
				require.Contains(t, degraded[0].Data.Degraded.Reason, what.Error())
				require.EqualValues(t, 1, rec.Stats().InFallback)

				store.set(nil)
				require.NoError(t, rec.Drain(t.Context()))
				require.Equal(t, jobaudit.Success, jobOf(t, store, id).State)
				require.Zero(t, rec.Stats().InFallback)
				require.Zero(t, rec.Stats().Lost)
				require.NoError(t, rec.Close(t.Context()))
			})
		})
	}
}

// Without a fallback the stream ends there, and the log says so.
func TestWithoutAFallbackARefusedOutcomeIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newSwitched()
		rec := open(t, store, &jobaudit.Options{OnError: func(context.Context, *jobaudit.AuditError) {}})
		store.set(refusing(jobaudit.JobSucceeded, errWork))
		_, err := run(t.Context(), rec, func(context.Context) error { return nil })
		require.NoError(t, err)
		synctest.Wait()
		require.Len(t, of(events(t, store), jobaudit.AuditDegraded), 1)
		require.EqualValues(t, 1, rec.Stats().Lost)
		require.NoError(t, rec.Close(t.Context()))
	})
}

// What an earlier process left in the fallback reaches the sink when a Recorder opens,
// and after an outage without a job in between.
func TestTheFallbackComesHomeByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, spare := newSwitched(), memsink.New(nil)
		opts := &jobaudit.Options{
			Timeout: time.Second, OutcomeTimeout: 2 * time.Second, Fallback: spare,
			OnError: func(context.Context, *jobaudit.AuditError) {},
		}
		rec := open(t, store, opts)
		first := begun(t, rec)
		store.set(func([]jobaudit.Record) error { return errWork })
		require.NoError(t, first.Succeed(t.Context()))
		require.Error(t, rec.Healthy())
		require.Error(t, rec.Close(t.Context()))
		store.set(nil)

		rec = open(t, store, opts)
		synctest.Wait()
		require.Equal(t, jobaudit.Success, jobOf(t, store, first.JobID()).State, "after a restart")

		second := begun(t, rec)
		store.set(func([]jobaudit.Record) error { return errWork })
		require.NoError(t, second.Succeed(t.Context()))
		time.Sleep(time.Minute)
		store.set(nil)
		time.Sleep(time.Minute)
		require.Equal(t, jobaudit.Success, jobOf(t, store, second.JobID()).State, "nothing else was recorded meanwhile")
		require.NoError(t, rec.Close(t.Context()))
	})
}

// forgetful is a fallback that can forget, and counts what is read of it.
type forgetful struct {
	mu      sync.Mutex
	records []jobaudit.Record
	read    int
}

func (f *forgetful) Append(_ context.Context, records []jobaudit.Record) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.records = append(f.records, records...)
	return nil
}

func (f *forgetful) Records(_ context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := slices.Clone(f.records)
	if i := slices.IndexFunc(list, func(r jobaudit.Record) bool { return r.ID() == q.After }); i >= 0 {
		list = list[i+1:]
	}
	f.read += len(list)
	return func(yield func(jobaudit.Record, error) bool) {
		for _, r := range list {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// remembering is a fallback that cannot forget.
type remembering struct{ *forgetful }

func (f *forgetful) Forget(_ context.Context, ids []uuid.UUID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.records = slices.DeleteFunc(f.records, func(r jobaudit.Record) bool { return slices.Contains(ids, r.ID()) })
	return nil
}

func (remembering) Forget() {} // hides the method

// A record of the fallback is read once, and forgotten if that is possible.
func TestTheFallbackIsReadOnce(t *testing.T) {
	for name, test := range map[string]struct {
		fallback func(*forgetful) jobaudit.AuditSink
		left     int
	}{
		"it forgets":   {func(f *forgetful) jobaudit.AuditSink { return f }, 0},
		"it remembers": {func(f *forgetful) jobaudit.AuditSink { return remembering{f} }, 5},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				spare, store := &forgetful{}, newSwitched()
				rec := open(t, store, &jobaudit.Options{Fallback: test.fallback(spare), OnError: func(context.Context, *jobaudit.AuditError) {}})
				for range 5 {
					tr := begun(t, rec)
					store.set(func([]jobaudit.Record) error { return errWork })
					require.NoError(t, tr.Succeed(t.Context()))
					store.set(nil)
					require.NoError(t, rec.Drain(t.Context()))
					require.Equal(t, jobaudit.Success, jobOf(t, store, tr.JobID()).State)
					time.Sleep(time.Minute) // the next try by itself comes while the sink is well
				}
				require.NoError(t, rec.Close(t.Context()))
				require.Len(t, spare.records, test.left)
				require.Equal(t, 5, spare.read)
			})
		})
	}
}

// partly is a fallback with a place that cannot be read behind the last record, and
// more before each.
type partly struct {
	jobaudit.AuditSink
	before int
}

func (p partly) Records(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		damaged := &jobaudit.UnreadableError{Err: errWork}
		for r, err := range p.AuditSink.(jobaudit.AuditReader).Records(ctx, q) {
			for range p.before {
				if !yield(jobaudit.Record{}, damaged) {
					return
				}
			}
			if !yield(r, err) {
				return
			}
		}
		yield(jobaudit.Record{}, damaged)
	}
}

// What cannot be read of the fallback is counted and told once, and is not looked at
// again and again.
func TestWhatTheFallbackCannotReadIsToldOnce(t *testing.T) {
	for name, fallback := range map[string]func(*forgetful) jobaudit.AuditSink{
		"it forgets":   func(f *forgetful) jobaudit.AuditSink { return forgetting{partly{f, 0}, f} },
		"it remembers": func(f *forgetful) jobaudit.AuditSink { return partly{f, 2} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var told atomic.Int64
				spare, store := &forgetful{}, newSwitched()
				rec := open(t, store, &jobaudit.Options{Fallback: fallback(spare), OnError: func(_ context.Context, err *jobaudit.AuditError) {
					if err.Op == "drain" {
						told.Add(1)
					}
				}})
				kept := uint64(1) // what stands behind the last record
				for range 3 {
					tr := begun(t, rec)
					store.set(func([]jobaudit.Record) error { return errWork })
					require.NoError(t, tr.Succeed(t.Context()))
					store.set(nil)
					time.Sleep(time.Hour)
					require.Equal(t, jobaudit.Success, jobOf(t, store, tr.JobID()).State)
					if name == "it remembers" {
						kept += 2
					}
					require.Equal(t, kept, rec.Stats().InFallback)
				}
				before := told.Load()
				require.LessOrEqual(t, before, int64(12))
				time.Sleep(24 * time.Hour)
				require.Equal(t, before, told.Load())
				require.Equal(t, kept, rec.Stats().InFallback)
				require.Error(t, rec.Drain(t.Context()), "who asks is told")
				require.Equal(t, kept, rec.Stats().InFallback)
				require.NoError(t, rec.Close(t.Context()))
			})
		})
	}
}

// forgetting is a fallback that can forget although another one reads it.
type forgetting struct {
	partly
	*forgetful
}

func (f forgetting) Append(ctx context.Context, records []jobaudit.Record) error {
	return f.forgetful.Append(ctx, records)
}

func (f forgetting) Records(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	return f.partly.Records(ctx, q)
}

// Close with a context that has ended still gives a healthy sink its time.
func TestCloseWithAnEndedContextStoresWhatIsBuffered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newSwitched()
		rec := open(t, store, nil)
		tr := begun(t, rec)
		store.set(func([]jobaudit.Record) error { time.Sleep(100 * time.Millisecond); return nil })
		for range 500 {
			tr.Log(t.Context(), "line")
		}
		require.EqualValues(t, 1, rec.Stats().Executions)
		require.Positive(t, rec.Stats().Buffered)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.NoError(t, rec.Close(ctx))
		require.Len(t, of(store.Trail(tr.JobID()), jobaudit.JobLogged), 500)
	})
}

// An OnError that never returns holds up neither Close nor its counts, which are
// of events that are lost and executions that have no end.
func TestAnOnErrorThatBlocksDoesNotHoldClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newSwitched()
		block := make(chan struct{})
		rec := open(t, store, &jobaudit.Options{
			Timeout: time.Second, OutcomeTimeout: 2 * time.Second,
			OnError: func(context.Context, *jobaudit.AuditError) { <-block },
		})
		tr := begun(t, rec)
		other := begun(t, rec)
		store.set(func([]jobaudit.Record) error { return errWork })
		for range 7 {
			tr.Log(t.Context(), "line")
		}
		time.Sleep(time.Second)
		began := time.Now()
		err := rec.Close(t.Context())
		require.ErrorContains(t, err, "7 events are not known to be stored, and 2 executions have no end")
		require.LessOrEqual(t, time.Since(began), 4*time.Second)
		require.ErrorIs(t, rec.Healthy(), jobaudit.ErrClosed)
		require.ErrorIs(t, other.Succeed(t.Context()), jobaudit.ErrClosed)
		close(block)
	})
}

func TestHealthIsTheSinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newSwitched()
		rec := open(t, store, &jobaudit.Options{OnError: func(context.Context, *jobaudit.AuditError) {}})
		require.NoError(t, rec.Healthy())
		tr := begun(t, rec)
		require.EqualValues(t, 4, rec.Stats().Stored)
		store.set(func([]jobaudit.Record) error { return errWork })
		tr.Log(t.Context(), "line")
		synctest.Wait()
		require.ErrorIs(t, rec.Healthy(), errWork)
		require.ErrorIs(t, rec.Stats().LastError, errWork)
		store.set(func([]jobaudit.Record) error { time.Sleep(time.Hour); return nil })
		time.Sleep(time.Minute)
		require.Error(t, rec.Healthy(), "it waits")
		require.False(t, rec.Stats().Oldest.IsZero())
		store.set(nil)
		time.Sleep(4 * time.Hour)
		require.NoError(t, rec.Healthy())
		require.NoError(t, tr.Succeed(t.Context()))
		require.Zero(t, rec.Stats().Executions)
		require.NoError(t, rec.Close(t.Context()))
	})
}

// sequenced is a sink whose events get their place in its order only after they can be
// read.
type sequenced struct{ *memsink.Sink }

func (sequenced) Sequenced(context.Context) error { return nil }

func TestAFallbackWithoutAFinalOrderIsRefused(t *testing.T) {
	_, err := jobaudit.Open(t.Context(), memsink.New(nil), goldenSource, &jobaudit.Options{Fallback: sequenced{memsink.New(nil)}})
	requireField(t, err, "Options.Fallback")
}
