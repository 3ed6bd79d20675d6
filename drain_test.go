package jobaudit_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// leftOver is what an earlier process has left in a fallback: three batches or more, of
// one job and many streams.
func leftOver(t *testing.T) []jobaudit.Record {
	t.Helper()
	store := newSwitched()
	rec := open(t, store, nil)
	tr := begun(t, rec)
	for range 650 {
		resumed, err := rec.Resume(t.Context(), tr.Carrier(), nil)
		require.NoError(t, err)
		resumed.Log(t.Context(), "line")
	}
	require.NoError(t, rec.Close(t.Context()))
	var records []jobaudit.Record
	for r, err := range store.Records(t.Context(), jobaudit.Query{JobID: tr.JobID()}) {
		require.NoError(t, err)
		records = append(records, r)
	}
	return records
}

// faultAt answers the calls for a job, from the first on; those beyond the list succeed.
func faultAt(of jobaudit.Record, answers ...error) func([]jobaudit.Record) error {
	calls := 0
	return func(records []jobaudit.Record) error {
		if records[0].JobID() != of.JobID() {
			return nil
		}
		if calls++; calls > len(answers) {
			return nil
		}
		return answers[calls-1]
	}
}

// drains runs a test over fallbacks that hold records which the sink has refused for good.
func drains(t *testing.T, test func(t *testing.T, rec *jobaudit.Recorder, store *switched, left []jobaudit.Record)) {
	t.Helper()
	for name, fallback := range map[string]func(*forgetful) jobaudit.AuditSink{
		"it forgets":   func(f *forgetful) jobaudit.AuditSink { return f },
		"it remembers": func(f *forgetful) jobaudit.AuditSink { return remembering{f} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				left := leftOver(t)
				spare, store := &forgetful{}, newSwitched()
				require.NoError(t, spare.Append(t.Context(), left))
				store.set(func(records []jobaudit.Record) error {
					if records[0].JobID() == left[0].JobID() {
						return jobaudit.ErrConflict
					}
					return nil
				})
				rec := open(t, store, &jobaudit.Options{Fallback: fallback(spare), OnError: func(context.Context, *jobaudit.AuditError) {}})
				synctest.Wait()
				require.EqualValues(t, len(left), rec.Stats().InFallback)
				test(t, rec, store, left)
				require.Zero(t, rec.Stats().InFallback)
				require.Len(t, store.Trail(left[0].JobID()), len(left))
				require.NoError(t, rec.Close(t.Context()))
			})
		})
	}
}

// A Drain that fails half way leaves the rest to the next, and the count as it was.
func TestADrainGoesOnWhereTheOneBeforeItFailed(t *testing.T) {
	drains(t, func(t *testing.T, rec *jobaudit.Recorder, store *switched, left []jobaudit.Record) {
		for range 2 {
			store.set(faultAt(left[0], nil, errWork))
			require.ErrorIs(t, rec.Drain(t.Context()), errWork)
			require.EqualValues(t, len(left), rec.Stats().InFallback)
		}
		store.set(faultAt(left[0], nil, errWork))
		require.NoError(t, rec.Drain(t.Context()), "one batch was left")
	})
}

// Who drains has all tried that the sink has refused, also what a Drain that failed has read.
func TestADrainTriesAgainWhatAFailedOneHasLeft(t *testing.T) {
	drains(t, func(t *testing.T, rec *jobaudit.Recorder, store *switched, left []jobaudit.Record) {
		refused := 0
		store.set(func(records []jobaudit.Record) error {
			switch {
			case records[0].JobID() != left[0].JobID():
				return nil
			case refused > 256:
				return errWork
			}
			refused++ // the first batch as a whole, then each of its records
			return jobaudit.ErrConflict
		})
		require.ErrorIs(t, rec.Drain(t.Context()), errWork)
		require.EqualValues(t, len(left), rec.Stats().InFallback)
		store.set(nil)
		require.NoError(t, rec.Drain(t.Context()))
	})
}

// streams are the records of several jobs, job by job.
func streams(t *testing.T, n int) [][]jobaudit.Record {
	t.Helper()
	store := memsink.New(nil)
	rec := open(t, store, nil)
	var list [][]jobaudit.Record
	for i := range n {
		tr := begun(t, rec)
		for range 1 + i {
			tr.Log(t.Context(), "line")
		}
		require.NoError(t, tr.Succeed(t.Context()))
		var records []jobaudit.Record
		for r, err := range store.Records(t.Context(), jobaudit.Query{JobID: tr.JobID()}) {
			require.NoError(t, err)
			records = append(records, r)
		}
		list = append(list, records)
	}
	require.NoError(t, rec.Close(t.Context()))
	return list
}

// choosy refuses some records for good, or fails with others, as long as it is told to.
// Of a batch it stores what stands before the first of these.
type choosy struct {
	*memsink.Sink
	mu      sync.Mutex
	refuses map[uuid.UUID]error
}

func (c *choosy) set(refuses map[uuid.UUID]error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refuses = refuses
}

func (c *choosy) Append(ctx context.Context, records []jobaudit.Record) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, r := range records {
		if err := c.refuses[r.ID()]; err != nil {
			return errors.Join(c.Sink.Append(ctx, records[:i]), err)
		}
	}
	return c.Sink.Append(ctx, records)
}

// An honest log has no gap, whichever records the sink refuses, how often it changes its
// mind, and whenever the process starts again.
func TestADrainLeavesNoGapInAnyStream(t *testing.T) {
	for seed := range size.Times(60, 8) {
		for _, forgets := range []bool{true, false} {
			t.Run(fmt.Sprint("seed ", seed, " forgets ", forgets), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					drainAtRandom(t, rand.New(rand.NewPCG(uint64(seed), 20)), forgets)
				})
			})
		}
	}
}

func drainAtRandom(t *testing.T, random *rand.Rand, forgets bool) {
	list := streams(t, 1+random.IntN(6))
	store, kept := &choosy{Sink: memsink.New(nil)}, &forgetful{}
	var spare jobaudit.AuditSink = kept
	if !forgets {
		spare = remembering{kept}
	}
	var all []jobaudit.Record
	for i, records := range list {
		all = append(all, records...)
		n := random.IntN(len(records))
		require.NoError(t, store.Append(t.Context(), records[:n])) // before the sink failed
		list[i] = records[n:]
	}
	opts := &jobaudit.Options{Fallback: spare, OnError: func(context.Context, *jobaudit.AuditError) {}}
	rec := open(t, store, opts)
	for range 6 {
		for i, records := range list {
			n := random.IntN(len(records) + 1)
			require.NoError(t, kept.Append(t.Context(), records[:n]))
			list[i] = records[n:]
		}
		refuses := map[uuid.UUID]error{}
		for _, r := range all {
			switch random.IntN(10) {
			case 0:
				refuses[r.ID()] = &jobaudit.RecordError{ID: r.ID(), Err: errWork}
			case 1:
				refuses[r.ID()] = jobaudit.ErrConflict
			case 2:
				if random.IntN(4) == 0 {
					refuses[r.ID()] = errWork
				}
			}
		}
		store.set(refuses)
		switch random.IntN(3) {
		case 0:
			_ = rec.Drain(t.Context())
		case 1:
			_ = rec.Close(t.Context())
			rec = open(t, store, opts)
			synctest.Wait()
		case 2:
			time.Sleep(time.Hour) // by itself, if it fails
			_, err := run(t.Context(), rec, func(context.Context) error { return nil })
			require.NoError(t, err)
		}
		events(t, store)
	}
	for _, records := range list {
		require.NoError(t, kept.Append(t.Context(), records))
	}
	store.set(nil)
	require.NoError(t, rec.Drain(t.Context()))
	require.Zero(t, rec.Stats().InFallback)
	stored := map[uuid.UUID]bool{}
	for _, e := range events(t, store) {
		stored[e.ID] = true
	}
	for _, r := range all {
		require.True(t, stored[r.ID()], "%s is lost", r)
	}
	require.NoError(t, rec.Close(t.Context()))
}

// What follows a record that the sink has refused stays behind with it, is counted, and
// is told once.
func TestWhatFollowsARefusedRecordStaysBehindWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, spare := newSwitched(), memsink.New(nil)
		rec := open(t, store, &jobaudit.Options{Fallback: spare, OnError: func(context.Context, *jobaudit.AuditError) {}})
		store.set(refusing(jobaudit.JobLogged, errWork))
		id, err := run(t.Context(), rec, func(ctx context.Context) error {
			trail(ctx).Log(ctx, "a line that the sink refuses")
			return trail(ctx).Flush(ctx)
		})
		require.NoError(t, err)
		for range 2 {
			err = rec.Drain(t.Context())
			require.ErrorIs(t, err, errWork)
			require.ErrorContains(t, err, "stays in the fallback behind one")
			require.EqualValues(t, 2, rec.Stats().InFallback)
			require.Equal(t, jobaudit.Running, jobOf(t, store, id).State)
			events(t, store)
		}
		store.set(nil)
		require.NoError(t, rec.Drain(t.Context()))
		require.Equal(t, jobaudit.Success, jobOf(t, store, id).State)
		require.Zero(t, rec.Stats().InFallback)
		events(t, store)
		require.NoError(t, rec.Close(t.Context()))
	})
}

// unruly is a fallback of which a call does not return as calls do, the first times.
type unruly struct {
	*forgetful
	left            atomic.Int64
	records, forget func() error // nil: as it should be
}

func (u *unruly) misbehave(f func() error) error {
	if f == nil || u.left.Add(-1) < 0 {
		return nil
	}
	return f()
}

func (u *unruly) Records(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		if err := u.misbehave(u.records); err != nil {
			yield(jobaudit.Record{}, err)
			return
		}
		u.forgetful.Records(ctx, q)(yield)
	}
}

func (u *unruly) Forget(ctx context.Context, ids []uuid.UUID) error {
	if err := u.misbehave(u.forget); err != nil {
		return err
	}
	return u.forgetful.Forget(ctx, ids)
}

// A fallback that panics, ends its goroutine or returns an error that does, neither ends
// the process nor keeps what it holds from coming home later.
func TestAFallbackThatMisbehavesIsReadAgain(t *testing.T) {
	faults := map[string]func() error{
		"it panics":             func() error { panic("cannot be read now") },
		"it ends its goroutine": func() error { runtime.Goexit(); return nil },
	}
	for name, err := range malignErrors() {
		faults["its error: "+name] = func() error { return err }
	}
	for name, fault := range faults {
		for _, forget := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " in Forget ", forget), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					spare, store := &unruly{forgetful: &forgetful{}}, newSwitched()
					if spare.records = fault; forget {
						spare.records, spare.forget = nil, fault
					}
					spare.left.Store(3)
					rec := open(t, store, &jobaudit.Options{Fallback: spare, Heartbeat: -1, OnError: func(context.Context, *jobaudit.AuditError) {}})
					synctest.Wait()
					tr := begun(t, rec)
					store.set(func([]jobaudit.Record) error { return errWork })
					require.NoError(t, tr.Succeed(t.Context()))
					store.set(nil)
					_ = rec.Drain(t.Context())
					time.Sleep(time.Hour)
					require.Zero(t, rec.Stats().InFallback, "the Recorder sends it to the sink by itself")
					require.Equal(t, jobaudit.Success, jobOf(t, store, tr.JobID()).State)
					require.NoError(t, rec.Close(t.Context()))
				})
			})
		}
	}
}

func TestADrainAfterCloseSaysSo(t *testing.T) {
	for _, opts := range []*jobaudit.Options{nil, {Fallback: memsink.New(nil)}} {
		rec := open(t, memsink.New(nil), opts)
		require.NoError(t, rec.Close(t.Context()))
		require.ErrorIs(t, rec.Drain(t.Context()), jobaudit.ErrClosed)
	}
}
