package delivery

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// An Admission that failed has had its answer. That its stream fails is told
// all the same, as soon as something is behind it that is to be stored.
func TestThatAStreamFailsIsToldOnceSomethingInItIsWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		main := newMedium(t)
		main.answer = func(context.Context, []record) error { return errNo }
		q, w := newQueue(t, main, nil)
		s := openStream(q)
		require.ErrorIs(t, store(t, q, s, Admission, time.Minute), errNo)
		require.Zero(t, w.failures())
		require.True(t, offer(t, q, s, Background))
		time.Sleep(time.Minute)
		require.Equal(t, 1, w.failures())
		main.heal()
		require.NoError(t, store(t, q, s, Outcome, time.Minute))
		require.Equal(t, 1, w.failures())
	})
}

func TestDrainEndsWhenTheQueueIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		main := newMedium(t)
		main.answer = func(ctx context.Context, _ []record) error { <-ctx.Done(); return ctx.Err() }
		q, _ := newQueue(t, main, nil)
		require.True(t, offer(t, q, openStream(q), Reserved))
		drained := make(chan error, 1)
		go func() { drained <- q.Drain(context.Background()) }()
		synctest.Wait()
		require.Equal(t, 1, q.Stop())
		require.ErrorIs(t, <-drained, errClosed)
		require.ErrorIs(t, q.Drain(context.Background()), errClosed)
		require.Zero(t, q.Stop(), "what is lost is counted once")
		synctest.Wait()
		stats := q.Stats()
		require.EqualValues(t, 1, stats.Lost)
		require.Zero(t, stats.Buffered)
		require.Zero(t, stats.Stored)
	})
}

func TestACallbackThatEndsItsGoroutineStopsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		main := newMedium(t)
		main.answer = func(context.Context, []record) error { return errRefused }
		w := &watcher{}
		opts := w.options(time.Second, 100)
		opts.Refused = func(*Stream[record], uuid.UUID, int, error) { runtime.Goexit() }
		q := New[record](main, nil, opts)
		defer q.Stop()
		for range 10 {
			require.ErrorIs(t, store(t, q, openStream(q), Outcome, time.Minute), errRefused)
		}
		main.heal()
		require.NoError(t, store(t, q, openStream(q), Outcome, time.Minute))
	})
}

func TestWhatIsTakenBackFreesItsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		main := newMedium(t)
		release := make(chan struct{})
		main.answer = func(context.Context, []record) error { <-release; return nil }
		q, _ := newQueue(t, main, nil)
		s := openStream(q)
		require.True(t, offer(t, q, s, Background)) // it keeps the sink busy
		synctest.Wait()
		entries := []Entry[record]{entryOf(Reserved), entryOf(Outcome)}
		require.NoError(t, q.Send(s, entries...))
		require.Equal(t, 1, q.reserved.events)
		require.Error(t, q.Wait(t.Context(), s, entries[1].Ack, time.Millisecond))
		require.True(t, q.Withdraw(s, entries))
		require.Zero(t, q.reserved.events)
		require.NoError(t, q.Wait(t.Context(), s, nil, time.Second), "nothing to wait for")
		close(release)
		require.NoError(t, q.Drain(t.Context()))
	})
}
