package jobaudit_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/faultsink"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// crowded calls f with a Trail of a submitted job whose next events wait, as
// the sink is busy for two seconds.
func crowded(t *testing.T, f func(t *testing.T, store *memsink.Sink, tr *jobaudit.Trail)) {
	synctest.Test(t, func(t *testing.T) {
		store := memsink.New(nil)
		sink := faultsink.New(store)
		rec := open(t, sink, nil)
		tr, err := rec.Submit(t.Context(), submission())
		require.NoError(t, err)
		callers := occupy(t, rec, sink)
		sink.Set()
		time.AfterFunc(2*time.Second, sink.Release)
		f(t, store, tr)
		callers.Wait()
		require.NoError(t, rec.Close(t.Context()))
		events(t, store)
	})
}

// giveUp makes a call that gives up after a second.
func giveUp(t *testing.T, call func(context.Context) error) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	require.ErrorIs(t, call(ctx), context.DeadlineExceeded)
}

func TestWhoGivesUpLeavesAnotherCallersEventInPlace(t *testing.T) {
	crowded(t, func(t *testing.T, store *memsink.Sink, tr *jobaudit.Trail) {
		started := make(chan error, 1)
		go func() {
			time.Sleep(time.Millisecond)
			started <- tr.Start(t.Context(), jobaudit.Execution{})
		}()
		giveUp(t, func(ctx context.Context) error { return tr.Authorize(ctx, jobaudit.Decision{Allowed: true}) })
		require.NoError(t, <-started)
		require.NoError(t, tr.Succeed(t.Context()))
		require.Equal(t, []jobaudit.EventType{
			jobaudit.JobSubmitted, jobaudit.JobAuthorized, jobaudit.JobStarted, jobaudit.JobSucceeded,
		}, types(store.Trail(tr.JobID())), "what the start builds on is there")
	})
}

func TestAFlushOutlivesTheCallWhoseEventItWaitedFor(t *testing.T) {
	crowded(t, func(t *testing.T, store *memsink.Sink, tr *jobaudit.Trail) {
		tr.Log(t.Context(), "line")
		flushed := make(chan error, 1)
		go func() {
			time.Sleep(time.Millisecond)
			flushed <- tr.Flush(t.Context())
		}()
		giveUp(t, func(ctx context.Context) error { return tr.Authorize(ctx, jobaudit.Decision{Allowed: true}) })
		began := time.Now()
		require.NoError(t, <-flushed)
		require.LessOrEqual(t, time.Since(began), 2*time.Second)
		require.NoError(t, tr.Start(t.Context(), jobaudit.Execution{}))
		require.NoError(t, tr.Succeed(t.Context()))
	})
}

// What others have built on is not taken back: it is settled by the next call,
// like all that is in doubt.
func TestAStartThatALineFollowsIsNotTakenBack(t *testing.T) {
	crowded(t, func(t *testing.T, store *memsink.Sink, tr *jobaudit.Trail) {
		time.AfterFunc(time.Millisecond, func() { tr.Log(t.Context(), "line") })
		giveUp(t, func(ctx context.Context) error { return tr.Start(ctx, jobaudit.Execution{}) })
		require.NoError(t, tr.Start(t.Context(), jobaudit.Execution{}))
		require.NoError(t, tr.Succeed(t.Context()))
		require.Equal(t, []jobaudit.EventType{
			jobaudit.JobSubmitted, jobaudit.JobAuthorized, jobaudit.JobStarted, jobaudit.JobLogged,
			jobaudit.AttemptSuperseded, jobaudit.AttemptStarted, jobaudit.JobSucceeded,
		}, types(store.Trail(tr.JobID())))
	})
}

func TestAStartThatIsTakenBackNeverWas(t *testing.T) {
	crowded(t, func(t *testing.T, store *memsink.Sink, tr *jobaudit.Trail) {
		giveUp(t, func(ctx context.Context) error { return tr.Start(ctx, jobaudit.Execution{}) })
		require.ErrorIs(t, tr.Succeed(t.Context()), jobaudit.ErrTransition, "it has not started")
		require.NoError(t, tr.Cancel(t.Context(), "gave up"))
		require.Equal(t, []jobaudit.EventType{jobaudit.JobSubmitted, jobaudit.JobCancelled}, types(store.Trail(tr.JobID())))
	})
}
