package jobaudit_test

import (
	"context"
	"iter"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// deaf is a fallback that does not hear when its context ends.
type deaf struct {
	*memsink.Sink
	release chan struct{}
	reading bool // it is Records that blocks, and Append otherwise
}

func (d deaf) Append(ctx context.Context, records []jobaudit.Record) error {
	if !d.reading {
		<-d.release
	}
	return d.Sink.Append(ctx, records)
}

func (d deaf) Records(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		if d.reading {
			<-d.release
		}
		for r, err := range d.Sink.Records(ctx, q) {
			if !yield(r, err) {
				return
			}
		}
	}
}

func TestAFallbackThatHearsNothingHoldsNobody(t *testing.T) {
	for _, reading := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			store, spare := newSwitched(), deaf{memsink.New(nil), make(chan struct{}), reading}
			rec := open(t, store, &jobaudit.Options{Fallback: spare, OnError: func(context.Context, *jobaudit.AuditError) {}})
			tr := begun(t, rec)
			store.set(func([]jobaudit.Record) error { return errWork })
			began := time.Now()
			_ = tr.Succeed(t.Context())
			require.LessOrEqual(t, time.Since(began), 40*time.Second)
			store.set(nil)
			time.Sleep(time.Minute)
			began = time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			_ = rec.Drain(ctx)
			require.LessOrEqual(t, time.Since(began), 10*time.Second)
			began = time.Now()
			_ = rec.Close(ctx)
			require.LessOrEqual(t, time.Since(began), 30*time.Second)
			close(spare.release)
			time.Sleep(time.Hour)
		})
	}
}

// bottomless is a fallback that yields the same for ever.
type bottomless struct {
	*memsink.Sink
	err error
}

func (e bottomless) Records(context.Context, jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		for yield(jobaudit.Record{}, e.err) {
			time.Sleep(time.Millisecond)
		}
	}
}

func TestAFallbackThatNeverEndsEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spare := bottomless{memsink.New(nil), &jobaudit.UnreadableError{Place: "line 1", Err: errWork}}
		rec := open(t, memsink.New(nil), &jobaudit.Options{Fallback: spare, OnError: func(context.Context, *jobaudit.AuditError) {}})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		require.Error(t, rec.Drain(ctx))
		require.NoError(t, rec.Close(t.Context()))
		synctest.Wait()
	})
}

func TestADeafSinkHoldsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		store := newSwitched()
		rec := open(t, store, &jobaudit.Options{OnError: func(context.Context, *jobaudit.AuditError) {}})
		tr := begun(t, rec)
		store.set(func([]jobaudit.Record) error { <-release; return errWork })
		for range 10 {
			began := time.Now()
			_, err := rec.Submit(t.Context(), plainSubmission())
			require.Error(t, err)
			require.LessOrEqual(t, time.Since(began), 6*time.Second)
		}
		began := time.Now()
		require.Error(t, tr.Succeed(t.Context()))
		require.LessOrEqual(t, time.Since(began), 31*time.Second)
		began = time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		require.Error(t, rec.Close(ctx))
		require.LessOrEqual(t, time.Since(began), 30*time.Second)
		close(release)
		time.Sleep(time.Hour)
	})
}

func TestAnAuthorizationThatNeverAnswersGathersNoGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		release := make(chan struct{})
		rec := open(t, memsink.New(nil), &jobaudit.Options{
			Heartbeat: time.Second, Reauthorize: true, OnError: func(context.Context, *jobaudit.AuditError) {},
			Authorize: func(context.Context, jobaudit.Submission) (jobaudit.Decision, error) {
				if asked.Add(1) > 1 {
					<-release
				}
				return jobaudit.Decision{Allowed: true, By: "x"}, nil
			},
		})
		before := runtime.NumGoroutine()
		require.NoError(t, rec.Run(t.Context(), plainSubmission(), func(ctx context.Context) error {
			time.Sleep(time.Hour)
			require.Less(t, runtime.NumGoroutine()-before, 10)
			return ctx.Err()
		}))
		close(release)
		require.NoError(t, rec.Close(t.Context()))
	})
}
