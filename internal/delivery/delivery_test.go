package delivery

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/tools/size"
)

// answers gives one answer after the other, the last for good.
func answers(list ...error) func(context.Context, []record) error {
	return func(context.Context, []record) error {
		err := list[0]
		if len(list) > 1 {
			list = list[1:]
		}
		return err
	}
}

func TestWhatBecomesOfAnEvent(t *testing.T) {
	for name, test := range map[string]struct {
		urgency  Urgency
		main     func(context.Context, []record) error
		fallback func(context.Context, []record) error // nil: there is none
		want     error                                 // what its caller is told
		stored   bool                                  // by the main sink
		spare    bool                                  // by the fallback
		told     []string
	}{
		"the sink takes it":       {urgency: Admission, main: nil, stored: true},
		"the sink takes it later": {urgency: Outcome, main: answers(errNo, errNo, nil), stored: true},
		"no work begins after an error": {
			urgency: Admission, main: answers(errNo), want: errNo,
		},
		"the sink refuses it": {
			urgency: Outcome, main: answers(errRefused), want: errRefused, told: []string{"1 lost: refused for good"},
		},
		"the fallback gets what the sink refuses": {
			urgency: Outcome, main: answers(errRefused), fallback: answers(nil), spare: true,
			told: []string{"0 lost: refused for good"},
		},
		"the fallback gets what the sink refuses at last": {
			urgency: Outcome, main: answers(errNo, errNo, errRefused), fallback: answers(errNo, nil), spare: true,
			told: []string{"0 lost: refused for good"},
		},
		"both refuse it": {
			urgency: Outcome, main: answers(errRefused), fallback: answers(errRefused), want: errRefused,
			told: []string{"0 lost: refused for good", "1 lost: refused for good"},
		},
		"no work begins on the fallback": {
			urgency: Admission, main: answers(errRefused), fallback: answers(nil), want: errRefused,
			told: []string{"1 lost: refused for good"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				main := newMedium(t)
				main.answer = test.main
				var fallback *medium
				if test.fallback != nil {
					fallback = newMedium(t)
					fallback.answer = test.fallback
				}
				q, w := newQueue(t, main, fallback)
				err := store(t, q, openStream(q), test.urgency, time.Minute)
				require.ErrorIs(t, err, test.want)
				synctest.Wait()
				require.Len(t, main.stored, map[bool]int{true: 1}[test.stored])
				if fallback != nil {
					require.Len(t, fallback.stored, map[bool]int{true: 1}[test.spare])
				}
				require.Equal(t, test.told, w.told())
			})
		})
	}
}

// Whatever a sink does instead of answering, what it did not acknowledge is sent
// again, and the queue goes on.
func TestASinkThatDoesNotAnswerIsAskedAgain(t *testing.T) {
	for name, fault := range map[string]func(context.Context){
		"panics":             func(context.Context) { panic("no") },
		"ends its goroutine": func(context.Context) { runtime.Goexit() },
		"never returns":      func(ctx context.Context) { <-ctx.Done() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sink := newMedium(t)
				first := true
				sink.answer = func(ctx context.Context, _ []record) error {
					if first {
						first = false
						fault(ctx)
						return ctx.Err()
					}
					return nil
				}
				q, _ := newQueue(t, sink, nil)
				require.NoError(t, store(t, q, openStream(q), Outcome, time.Minute))
				require.Len(t, sink.stored, 1)
			})
		})
	}
}

// A sink that refuses one record of a batch stores those before it, and the
// fallback gets the rest: nothing is lost, and the chain is one.
func TestTheFallbackGetsExactlyWhatTheSinkDidNotStore(t *testing.T) {
	for at := range 7 {
		synctest.Test(t, func(t *testing.T) {
			main, fallback := newMedium(t), newMedium(t)
			main.answer = func(_ context.Context, records []record) error {
				for i, r := range records {
					if r.seq == uint64(at+1) {
						main.keep(records[:i])
						return errRefused
					}
				}
				return nil
			}
			q, w := newQueue(t, main, fallback)
			s := openStream(q)
			for range 5 {
				require.True(t, offer(t, q, s, Background))
			}
			require.True(t, offer(t, q, s, Reserved))
			require.NoError(t, store(t, q, s, Outcome, time.Minute))
			require.Len(t, main.stored, at)
			require.Len(t, fallback.stored, 7-at)
			require.Equal(t, 7, gapless(t, s.ID, main, fallback))
			synctest.Wait()
			require.Equal(t, []string{"0 lost: refused for good"}, w.told())
			require.Zero(t, q.Stats().Lost)
			require.NotZero(t, w.failedOver)
		})
	}
}

// An event that can have no place is lost, and the stream goes on without it.
func TestAStreamGoesOnWithoutAnEventThatCanHaveNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := newMedium(t)
		q, w := newQueue(t, sink, nil)
		s := openStream(q)
		bad := Entry[record]{Event: &event{id: uuid.New(), size: 9, err: errRefused}, Urgency: Outcome, Ack: NewAck()}
		good := entryOf(Outcome)
		require.NoError(t, q.Send(s, entryOf(Admission), bad, good))
		require.ErrorIs(t, q.Wait(t.Context(), s, bad.Ack, time.Minute), errRefused)
		require.NoError(t, q.Wait(t.Context(), s, good.Ack, time.Minute))
		require.Equal(t, 2, gapless(t, s.ID, sink))
		require.NoError(t, q.Drain(t.Context()))
		require.Equal(t, []string{"1 lost: refused for good"}, w.told())
		require.EqualValues(t, 1, q.Stats().Lost)
	})
}

func TestAnEventThatIsAloneAndHasNoPlaceIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := newMedium(t)
		q, w := newQueue(t, sink, nil)
		s := openStream(q)
		bad := Entry[record]{Event: &event{id: uuid.New(), size: 9, err: errRefused}, Urgency: Outcome, Ack: NewAck()}
		require.NoError(t, q.Send(s, bad))
		require.ErrorIs(t, q.Wait(t.Context(), s, bad.Ack, time.Minute), errRefused)
		require.NoError(t, q.Drain(t.Context()))
		require.Zero(t, sink.calls)
		require.Len(t, w.told(), 1)
	})
}

// The streams of one tenant hang. Whatever their number, the others are stored,
// none later than a caller waits.
func TestStreamsThatHangStopNobodyElse(t *testing.T) {
	for _, hanging := range []int{1, 4, 12, 50, 200} {
		synctest.Test(t, func(t *testing.T) {
			q, bad := hangingFor(t)
			for range hanging {
				require.NoError(t, q.Send(bad(), entryOf(Outcome)))
			}
			refused, waits := 0, make([]time.Duration, 0, 3000)
			for range cap(waits) {
				time.Sleep(20 * time.Millisecond)
				begun := time.Now()
				if store(t, q, openStream(q), Admission, 5*time.Second) != nil {
					refused++
				}
				waits = append(waits, time.Since(begun))
			}
			slices.Sort(waits)
			t.Logf("hanging %3d: others refused %d, their wait: p50 %v, p99 %v, longest %v", hanging, refused,
				waits[len(waits)/2], waits[len(waits)*99/100], waits[len(waits)-1])
			require.Zero(t, refused)
			require.Less(t, waits[len(waits)*99/100], time.Second)
		})
	}
}

// Streams begin to hang at any moment, in any number of calls, beside admissions
// that share these calls.
func TestStreamsThatBeginToHangBesideOthersStopNoneOfThem(t *testing.T) {
	var longest time.Duration
	for seed := range uint64(size.Times(40, 10)) {
		random := rand.New(rand.NewPCG(seed, 0))
		synctest.Test(t, func(t *testing.T) {
			q, bad := hangingFor(t)
			waits := make(chan time.Duration, 200)
			for range 1 + random.IntN(200) {
				at := time.Duration(random.IntN(1+random.IntN(1500))) * time.Millisecond
				s := bad()
				time.AfterFunc(at, func() { _ = q.Send(s, entryOf(Outcome)) })
			}
			for range cap(waits) {
				at := time.Duration(random.IntN(2000)) * time.Millisecond
				time.AfterFunc(at, func() {
					begun := time.Now()
					err := store(t, q, openStream(q), Admission, 5*time.Second)
					assert.NoError(t, err, "seed %d", seed)
					waits <- time.Since(begun)
				})
			}
			for range cap(waits) {
				longest = max(longest, <-waits)
			}
		})
	}
	t.Logf("the longest wait beside streams that begin to hang: %v", longest)
}

// hangingFor returns a queue whose sink works, but for the streams that bad opens.
func hangingFor(t *testing.T) (q *Queue[record], bad func() *Stream[record]) {
	var hangs sync.Map
	sink := newMedium(t)
	sink.answer = func(ctx context.Context, records []record) error {
		for _, r := range records {
			if _, ok := hangs.Load(r.stream); ok {
				<-ctx.Done()
				return ctx.Err()
			}
		}
		time.Sleep(time.Millisecond)
		return nil
	}
	q, _ = newQueue(t, sink, nil)
	require.NoError(t, store(t, q, openStream(q), Admission, time.Second))
	return q, func() *Stream[record] {
		s := openStream(q)
		hangs.Store(s.ID, true)
		return s
	}
}

// When a sink that took nothing works again, streams share calls at once.
func TestAfterAnOutageStreamsShareCalls(t *testing.T) {
	for name, fault := range map[string]func(context.Context) error{
		"that answers": func(context.Context) error { return errNo },
		"that hangs":   func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sink := newMedium(t)
				q, _ := newQueue(t, sink, nil)
				sink.answer = func(ctx context.Context, _ []record) error { return fault(ctx) }
				streams := size.Times(1_000, 300)
				for range streams {
					require.NoError(t, q.Send(openStream(q), entryOf(Outcome)))
				}
				time.Sleep(time.Minute)
				before := sink.heal()
				require.NoError(t, q.Drain(t.Context()))
				require.Len(t, sink.stored, streams)
				require.Less(t, sink.calls-before, 100)
			})
		})
	}
}

// One stream of many that the sink refuses or hangs for is found in a number of
// calls that grows with the logarithm of theirs.
func TestOneOfManyIsFoundInFewCalls(t *testing.T) {
	for _, many := range []int{2, 16, 100, 250} {
		synctest.Test(t, func(t *testing.T) {
			sink := newMedium(t)
			q, _ := newQueue(t, sink, nil)
			hold := make(chan struct{})
			sink.answer = func(context.Context, []record) error { <-hold; return nil }
			for range maxCalls[clean] {
				require.NoError(t, q.Send(openStream(q), entryOf(Outcome)))
				synctest.Wait() // all workers are at work: what comes gathers
			}
			var bad uuid.UUID
			for i := range many {
				s := openStream(q)
				if i == many/3 {
					bad = s.ID
				}
				require.NoError(t, q.Send(s, entryOf(Outcome)))
			}
			sink.answer = func(_ context.Context, records []record) error {
				if slices.ContainsFunc(records, func(r record) bool { return r.stream == bad }) {
					return errRefused
				}
				return nil
			}
			close(hold)
			require.NoError(t, q.Drain(t.Context()))
			require.Len(t, sink.stored, many-1+maxCalls[clean])
			require.Less(t, sink.calls, maxCalls[clean]+4+4*bits(many))
		})
	}
}

func bits(n int) (b int) {
	for ; n > 0; n /= 2 {
		b++
	}
	return b
}

// A wait is at least as long as the call that failed, and no two streams wait
// equally long.
func TestWaitsAreAsLongAsTheCallThatFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := newMedium(t)
		var ends []time.Time
		var waits []time.Duration
		sink.answer = func(ctx context.Context, _ []record) error {
			if len(ends) > 0 {
				waits = append(waits, time.Since(ends[len(ends)-1]))
			}
			<-ctx.Done()
			ends = append(ends, time.Now())
			return ctx.Err()
		}
		q, _ := newQueue(t, sink, nil)
		require.NoError(t, q.Send(openStream(q), entryOf(Outcome)))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		require.Greater(t, len(waits), 10)
		for _, w := range waits {
			require.GreaterOrEqual(t, w, 5*time.Second)
			require.LessOrEqual(t, w, 7500*time.Millisecond)
		}
		require.Greater(t, slices.Max(waits), slices.Min(waits))
	})
}

// The lines of one job leave room for another's, and none takes the room that is
// reserved for ends of attempts and snapshots.
func TestEachStreamHasItsShareOfTheRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := newMedium(t)
		sink.answer = answers(errNo)
		q, _ := newQueue(t, sink, nil)
		greedy := openStream(q)
		taken := 0
		for range 10_001 {
			if offer(t, q, greedy, Background) {
				taken++
			} else {
				q.Drop(greedy, time.Now(), "line", lossEvent)
			}
		}
		require.InDelta(t, 8889, taken, 1)
		for range 20 {
			modest := openStream(q)
			for range 20 {
				require.True(t, offer(t, q, modest, Background))
			}
		}
		require.True(t, offer(t, q, greedy, Reserved), "its own end has room as well")
		snapshots := 0
		for offer(t, q, greedy, Snapshot) {
			snapshots++
		}
		require.Greater(t, snapshots, 1000)
		require.True(t, offer(t, q, greedy, Reserved), "snapshots leave room for ends")
		require.True(t, offer(t, q, openStream(q), Reserved))

		sink.heal()
		require.NoError(t, q.Drain(t.Context()))
		stats := q.Stats()
		require.EqualValues(t, 10_001-taken, stats.Lost)
		require.Zero(t, stats.Buffered)
		require.Equal(t, room{maxEvents: 10_000, maxBytes: maxBackgroundBytes}, q.background)
		require.Equal(t, room{maxEvents: maxReserved, maxBytes: maxReservedBytes}, q.reserved)
		require.Equal(t, usage{}, greedy.background)
		require.Equal(t, usage{}, greedy.reserved)
	})
}

func TestRoom(t *testing.T) {
	for name, test := range map[string]struct {
		room   room
		stream usage
		size   int
		want   bool
	}{
		"empty":                      {room{0, 0, 1, 10}, usage{}, 10, true},
		"full":                       {room{1, 10, 1, 100}, usage{}, 10, false},
		"too large for what is left": {room{1, 95, 10, 100}, usage{}, 10, false},
		"a share is taken":           {room{8, 80, 9, 1000}, usage{8, 80}, 10, false},
		"another's share is free":    {room{8, 80, 9, 1000}, usage{}, 10, true},
		"a share of the bytes":       {room{1, 900, 100, 1000}, usage{1, 900}, 10, false},
		"none at all":                {room{}, usage{}, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, test.want, test.room.take(&test.stream, test.size))
		})
	}
}

func TestWhatIsStoppedIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := newMedium(t)
		sink.answer = answers(errNo)
		q, _ := newQueue(t, sink, nil)
		s := openStream(q)
		for range 3 {
			require.True(t, offer(t, q, s, Background))
		}
		q.Drop(s, time.Now(), "line", lossEvent)
		q.Drop(s, time.Now(), "line", lossEvent)
		e := entryOf(Outcome)
		require.NoError(t, q.Send(s, e))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, q.Drain(ctx), context.DeadlineExceeded)
		stats := q.Stats()
		require.Equal(t, 5, stats.Buffered)
		require.False(t, stats.Oldest.IsZero())
		require.ErrorIs(t, stats.Err, errNo)
		require.Equal(t, 6, q.Stop())
		require.ErrorIs(t, q.Wait(t.Context(), s, e.Ack, time.Second), errClosed)
		require.ErrorIs(t, q.Send(s, entryOf(Outcome)), errClosed)
		_, err := q.Offer(s, entryOf(Background))
		require.ErrorIs(t, err, errClosed)
		_, err = q.Flush(s)
		require.ErrorIs(t, err, errClosed)
	})
}

// A caller who gives up takes its events back, unless another waits for them.
func TestACallerTakesBackWhatWasNotHandedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := newMedium(t)
		sink.answer = func(ctx context.Context, _ []record) error { <-ctx.Done(); return errors.Join(errNo, ctx.Err()) }
		q, _ := newQueue(t, sink, nil)
		s := openStream(q)
		first, second := entryOf(Admission), entryOf(Admission)
		require.NoError(t, q.Send(s, first))
		synctest.Wait()
		require.NoError(t, q.Send(s, second))
		require.ErrorIs(t, q.Wait(t.Context(), s, second.Ack, time.Second), context.DeadlineExceeded)
		require.True(t, q.Withdraw(s, []Entry[record]{second}))
		require.ErrorIs(t, q.Wait(t.Context(), s, first.Ack, time.Second), context.DeadlineExceeded)
		require.False(t, q.Withdraw(s, []Entry[record]{first}), "the sink may have it")
		require.True(t, q.HandedOver(s))
		sink.heal()
		time.Sleep(5 * time.Second) // the call that hangs
		ack, err := q.Flush(s)
		require.NoError(t, err)
		require.NoError(t, q.Wait(t.Context(), s, ack, time.Minute))
		require.Equal(t, 1, gapless(t, s.ID, sink))
		require.EqualValues(t, 1, q.Head(s).Seq)
	})
}

// Others are in the very call in which a tenant's streams begin to hang. They are
// told apart in time: nobody who asks whether it may begin is refused.
func TestWhoSharesTheCallInWhichStreamsBeginToHangIsStoredInTime(t *testing.T) {
	for _, u := range []Urgency{Outcome, Admission} {
		for _, hanging := range []int{1, 4, 12, 50, 200} {
			refused, longest, calls := 0, time.Duration(0), 0
			const rounds = 20
			for round := range rounds {
				synctest.Test(t, func(t *testing.T) {
					r, wait := sharedHang(t, u, hanging, 5, uint64(round))
					refused, longest, calls = refused+r, max(longest, wait), calls+5
				})
			}
			t.Logf("hanging %3d, urgency %d: others refused %d of %d, longest wait %v", hanging, u, refused, calls, longest)
			require.Zero(t, refused)
		}
	}
}

// sharedHang has streams begin to hang in one call with others, in any order.
func sharedHang(t *testing.T, u Urgency, hanging, others int, seed uint64) (refused int, longest time.Duration) {
	rng := rand.New(rand.NewPCG(seed, 8))
	bad := map[uuid.UUID]bool{}
	sink := newMedium(t)
	hold := make(chan struct{})
	sink.answer = func(ctx context.Context, records []record) error {
		<-hold
		for _, r := range records {
			if bad[r.stream] {
				<-ctx.Done()
				return ctx.Err()
			}
		}
		time.Sleep(time.Millisecond)
		return nil
	}
	q, _ := newQueue(t, sink, nil)
	first := entryOf(Outcome)
	s := openStream(q)
	require.NoError(t, q.Send(s, first))
	synctest.Wait()
	close(hold)
	require.NoError(t, q.Wait(t.Context(), s, first.Ack, time.Minute)) // the sink is known to be fast
	hold = make(chan struct{})
	for range maxCalls[clean] {
		require.NoError(t, q.Send(openStream(q), entryOf(Outcome)))
		synctest.Wait() // all workers are at work: what comes gathers
	}
	type waiter struct {
		stream *Stream[record]
		entry  Entry[record]
	}
	var waiting []waiter
	for _, i := range rng.Perm(hanging + others) {
		s, e := openStream(q), entryOf(u)
		if i < hanging {
			bad[s.ID] = true
		} else {
			e = entryOf(Admission)
			waiting = append(waiting, waiter{s, e})
		}
		require.NoError(t, q.Send(s, e))
	}
	begun := time.Now()
	close(hold)
	for _, w := range waiting {
		if q.Wait(t.Context(), w.stream, w.entry.Ack, 5*time.Second-time.Since(begun)) != nil {
			refused++
		}
		longest = max(longest, time.Since(begun))
	}
	return refused, longest
}
