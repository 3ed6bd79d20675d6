package causal_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/causal"
	"github.com/jobaudit/jobaudit/internal/tools/size"
)

func id(kind byte, n int) uuid.UUID {
	return uuid.UUID{0: kind, 1: byte(n >> 16), 2: byte(n >> 8), 3: byte(n), 6: 0x70, 8: 0x80}
}

func hash(n int) [32]byte { return [32]byte{1, byte(n >> 16), byte(n >> 8), byte(n)} }

// history returns the events of some streams in an order in which they may have
// happened, and for each those that it follows directly. IDs say nothing of the
// order. With forged ones, some links lead to what comes later.
func history(rng *rand.Rand, n int, forged bool) ([]causal.Event, [][]int) {
	ids := rng.Perm(n)
	events, before := make([]causal.Event, n), make([][]int, n)
	newest := make([]int, 1+rng.IntN(4)) // of each stream
	for s := range newest {
		newest[s] = -1
	}
	for i := range events {
		e := &events[i]
		s := rng.IntN(len(newest))
		*e = causal.Event{ID: id(1, ids[i]), Hash: hash(ids[i]), Stream: id(2, s), Seq: 1}
		if rng.IntN(8) == 0 {
			e.ID[6] = 0x80 // of a verdict
		}
		if p := newest[s]; p >= 0 {
			e.Seq, e.Prev = events[p].Seq+1, events[p].Hash
			before[i] = append(before[i], p)
		} else if i > 0 && rng.IntN(2) == 0 {
			p := rng.IntN(i)
			e.Resumes.Stream, e.Resumes.Seq, e.Resumes.Hash = events[p].Stream, events[p].Seq, events[p].Hash
			before[i] = append(before[i], p)
		}
		newest[s] = i
		if i > 0 && rng.IntN(3) == 0 {
			p := rng.IntN(i)
			e.Cause = events[p].ID
			before[i] = append(before[i], p)
		}
		if rng.IntN(6) == 0 {
			e.Outcome = id(3, rng.IntN(2))
		}
	}
	for range n / 4 {
		if i := rng.IntN(n); forged {
			events[i].Cause = events[rng.IntN(n)].ID
		}
	}
	return events, before
}

// shuffled returns the events in another order, and where each one is then.
func shuffled(rng *rand.Rand, events []causal.Event) (again []causal.Event, at []int) {
	at = rng.Perm(len(events))
	again = make([]causal.Event, len(events))
	for i, to := range at {
		again[to] = events[i]
	}
	return again, at
}

func TestNoEventStandsBeforeOneThatItFollows(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2_000 {
		events, before := history(rng, 1+rng.IntN(40), false)
		again, at := shuffled(rng, events)
		place := make([]int, len(events))
		for n, i := range causal.NewGraph(again).Order() {
			place[i] = n
		}
		for i, preds := range before {
			for _, p := range preds {
				require.Less(t, place[at[p]], place[at[i]])
			}
		}
	}
}

// The order is the one that is found by looking for the first event, in the
// events' own order, that follows none of those that are left.
func TestTheOrderIsOtherwiseTheEventsOwn(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 2_000 {
		events, _ := history(rng, 1+rng.IntN(40), false)
		events, _ = shuffled(rng, events)
		g := causal.NewGraph(events)
		var want []int
		for len(want) < len(events) {
			for i := range events {
				if !slices.Contains(want, i) && !slices.ContainsFunc(g.Before(i), func(p int) bool { return !slices.Contains(want, p) }) {
					want = append(want, i)
					break
				}
			}
		}
		require.Equal(t, want, g.Order())
	}
}

// ids names events in an order, whatever their indices are.
func ids(events []causal.Event, order []int) []uuid.UUID {
	list := make([]uuid.UUID, len(order))
	for n, i := range order {
		list[n] = events[i].ID
	}
	return list
}

func TestTheOrderOfTheLogsDoesNotMatterWhateverTheyHold(t *testing.T) {
	for _, forged := range []bool{false, true} {
		rng := rand.New(rand.NewPCG(5, 6))
		for range size.Times(2_000, 500) {
			events, before := history(rng, 1+rng.IntN(30), forged)
			logs := make([][]int, 1+rng.IntN(4))
			for i := range events {
				n := rng.IntN(len(logs))
				logs[n] = append(logs[n], i)
				if copied := rng.IntN(len(logs)); copied != n && rng.IntN(3) == 0 {
					logs[copied] = append(logs[copied], i)
				}
			}
			if rng.IntN(4) == 0 { // and it may contradict the others
				n := rng.IntN(len(logs))
				rng.Shuffle(len(logs[n]), func(a, b int) { logs[n][a], logs[n][b] = logs[n][b], logs[n][a] })
			}
			order := causal.NewGraph(events).Merge(logs)
			require.Len(t, order, len(events))
			if !forged {
				for i, preds := range before {
					for _, p := range preds {
						require.Less(t, slices.Index(order, p), slices.Index(order, i))
					}
				}
			}
			want := ids(events, order)

			again, at := shuffled(rng, events)
			for n := range logs {
				for k := range logs[n] {
					logs[n][k] = at[logs[n][k]]
				}
			}
			rng.Shuffle(len(logs), func(a, b int) { logs[a], logs[b] = logs[b], logs[a] })
			if len(logs) > 1 {
				require.Equal(t, want, ids(again, causal.NewGraph(again).Merge(logs)))
			}
		}
	}
}

func TestOfTwoOutcomesAVerdictIsFirstThenTheLowerID(t *testing.T) {
	outcome := func(n int, verdict bool) causal.Event {
		e := causal.Event{ID: id(1, n), Hash: hash(n), Stream: id(2, n), Seq: 1, Outcome: id(3, 0)}
		if verdict {
			e.ID[6] = 0x80
		}
		return e
	}
	other := causal.Event{ID: id(1, 0), Hash: hash(0), Stream: id(2, 9), Seq: 1} // which a log begins with
	for name, tt := range map[string]struct {
		events []causal.Event
		first  int
	}{
		"the lower ID":           {[]causal.Event{outcome(2, false), outcome(1, false), other}, 1},
		"a verdict":              {[]causal.Event{outcome(1, false), outcome(2, true), other}, 1},
		"of verdicts the lower":  {[]causal.Event{outcome(2, true), outcome(1, true), other}, 1},
		"one that others follow": {[]causal.Event{outcome(2, false), func() causal.Event { e := outcome(1, true); e.Cause = id(1, 2); return e }(), other}, 0},
	} {
		order := causal.NewGraph(tt.events).Merge([][]int{{0}, {2, 1}})
		require.Less(t, slices.Index(order, tt.first), slices.Index(order, 1-tt.first), name)
	}
}

// Events that share a number in a stream are forged, or the writer's memory was
// lost. The hash says which one is meant.
func TestAForkOfAStreamMovesNoEventOfIt(t *testing.T) {
	stream := make([]causal.Event, 4)
	for i := range stream {
		stream[i] = causal.Event{ID: id(1, i+10), Hash: hash(i + 10), Stream: id(2, 0), Seq: uint64(i + 1)}
		if i > 0 {
			stream[i].Prev = stream[i-1].Hash
		}
	}
	forged := causal.Event{ID: id(1, 1), Hash: hash(1), Stream: id(2, 0), Seq: 2, Prev: stream[0].Hash, Cause: stream[3].ID}
	for at := range len(stream) + 1 {
		events := slices.Insert(slices.Clone(stream), at, forged)
		slices.Reverse(events)
		order := causal.NewGraph(events).Order()
		require.Equal(t, []uuid.UUID{stream[0].ID, stream[1].ID, stream[2].ID, stream[3].ID, forged.ID}, ids(events, order))
	}
}

// An attacker may write many events that follow each other in circles, or that
// end a job many times. If that cost the square of their number, these tests
// would not end in time; that of "make test-386", which has no race detector, takes
// the most of them.
func many() int {
	if size.Race {
		return size.Times(50_000, 5_000)
	}
	return 100_000
}

func TestCirclesAndManyOutcomesCostNoMoreThanOthers(t *testing.T) {
	n := many()
	for name, link := range map[string]func(i int) int{
		"pairs":     func(i int) int { return i ^ 1 },
		"one":       func(i int) int { return (i + 1) % n },
		"a funnel":  func(i int) int { return max(i-1, 1) ^ (i & 1) },
		"backwards": func(i int) int { return min(i+1, n-1) },
	} {
		events := make([]causal.Event, n)
		logs := make([][]int, 2)
		for i := range events {
			events[i] = causal.Event{ID: id(1, i), Hash: hash(i), Stream: id(2, i), Seq: 1, Cause: id(1, link(i)), Outcome: id(3, 0)}
			logs[i%2] = append(logs[i%2], i)
		}
		g := causal.NewGraph(events)
		require.Len(t, g.Order(), n, name)
		require.Len(t, g.Merge(logs), n, name)
	}
}

// A queue that gives tasks out twice may leave as many jobs that end in two logs as
// there are jobs.
func TestManyJobsThatEndInTwoLogsCostNoMoreThanOthers(t *testing.T) {
	n := many()
	events, logs := make([]causal.Event, 2*n), make([][]int, 2)
	for i := range events {
		events[i] = causal.Event{ID: id(1, i), Hash: hash(i), Stream: id(2, i), Seq: 1, Outcome: id(3, i/2)}
		logs[i%2] = append(logs[i%2], i)
	}
	require.Len(t, causal.NewGraph(events).Merge(logs), 2*n)
}

func TestWhatFollowsACircleStandsBehindIt(t *testing.T) {
	one := func(n, cause int) causal.Event {
		return causal.Event{ID: id(1, n), Hash: hash(n), Stream: id(2, n), Seq: 1, Cause: id(1, cause)}
	}
	// 2 and 3 follow each other; 1 follows 2, 4 follows 1.
	for _, perm := range [][]int{{0, 1, 2, 3}, {3, 2, 1, 0}, {0, 3, 1, 2}} {
		all := []causal.Event{one(1, 2), one(2, 3), one(3, 2), one(4, 1)}
		events := make([]causal.Event, len(all))
		for i, to := range perm {
			events[to] = all[i]
		}
		order := ids(events, causal.NewGraph(events).Order())
		require.Less(t, slices.Index(order, id(1, 2)), slices.Index(order, id(1, 1)), fmt.Sprint(perm))
		require.Less(t, slices.Index(order, id(1, 1)), slices.Index(order, id(1, 4)), fmt.Sprint(perm))
	}
}
