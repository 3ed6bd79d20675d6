package delivery

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func newImmediate(t testing.TB, main *medium) *Queue[record] {
	opts := (&watcher{}).options(5*time.Second, 10_000)
	opts.Immediate = true
	q := New[record](main, nil, opts)
	t.Cleanup(func() { q.Stop() })
	return q
}

func TestACallerMakesItsOwnCallWhereTheSinkDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := newMedium(t)
		q := newImmediate(t, sink)
		e := entryOf(Admission)
		c, err := q.SendDirect(openStream(q), e)
		require.NoError(t, err)
		synctest.Wait()
		require.Zero(t, sink.calls, "it is not the caller's")
		q.Make(c)
		require.Equal(t, 1, sink.calls)
		require.True(t, e.Ack.resolved(), "without a goroutine")
		require.NoError(t, e.Ack.err)
		require.Zero(t, q.Stats().Buffered)
		require.NoError(t, q.Drain(t.Context()))
	})
}

func TestNoCallerMakesACallOfASinkThatMayWait(t *testing.T) {
	q, _ := newQueue(t, newMedium(t), nil)
	c, err := q.SendDirect(openStream(q), entryOf(Admission))
	require.NoError(t, err)
	require.Nil(t, c)
	require.NoError(t, q.Drain(t.Context()))
}

// A caller that is about to make its call holds up nothing else.
func TestWhatIsSentBesideADirectCallIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := newMedium(t)
		q := newImmediate(t, sink)
		s := openStream(q)
		mine := entryOf(Admission)
		c, err := q.SendDirect(s, mine)
		require.NoError(t, err)
		require.NoError(t, store(t, q, openStream(q), Outcome, time.Second), "another stream's")
		behind := entryOf(Outcome)
		second, err := q.SendDirect(s, behind)
		require.NoError(t, err)
		require.Nil(t, second, "an event behind one that is under way")
		q.Make(c)
		require.NoError(t, q.Wait(t.Context(), s, behind.Ack, time.Second))
		require.NoError(t, q.Wait(t.Context(), s, mine.Ack, time.Second))
		require.Equal(t, 2, gapless(t, s.ID, sink))
	})
}

// What fails is sent again as it would have been without.
func TestADirectCallThatFailsIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := newMedium(t)
		sink.answer = answers(errNo, errNo, nil)
		q := newImmediate(t, sink)
		s, e := openStream(q), entryOf(Outcome)
		c, err := q.SendDirect(s, e)
		require.NoError(t, err)
		q.Make(c)
		require.False(t, e.Ack.resolved())
		require.NoError(t, q.Wait(t.Context(), s, e.Ack, time.Minute))
		require.Equal(t, 3, sink.calls)
	})
}

func TestTheContextOfACallEndsWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var kept, derived context.Context
		sink := newMedium(t)
		sink.answer = func(ctx context.Context, _ []record) error {
			require.NoError(t, ctx.Err())
			kept = ctx
			var stop context.CancelFunc
			derived, stop = context.WithCancel(ctx)
			t.Cleanup(stop)
			deadline, ok := ctx.Deadline()
			require.True(t, ok)
			require.Equal(t, 5*time.Second, time.Until(deadline))
			return nil
		}
		q := newImmediate(t, sink)
		require.NoError(t, store(t, q, openStream(q), Outcome, time.Second))
		synctest.Wait()
		require.ErrorIs(t, kept.Err(), context.Canceled)
		require.ErrorIs(t, derived.Err(), context.Canceled)
		<-kept.Done()

		sink.answer = func(ctx context.Context, _ []record) error { kept = ctx; return nil } // which asks for nothing
		require.NoError(t, store(t, q, openStream(q), Outcome, time.Second))
		synctest.Wait()
		<-kept.Done()
		require.ErrorIs(t, kept.Err(), context.Canceled)

		c := &callContext{parent: t.Context(), deadline: time.Now().Add(time.Second)}
		require.NoError(t, c.Err())
		time.Sleep(2 * time.Second)
		require.ErrorIs(t, c.Err(), context.DeadlineExceeded)
		c.end()
		require.ErrorIs(t, c.Err(), context.DeadlineExceeded)
	})
}
