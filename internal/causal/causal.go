// Package causal puts events into the one order that their links give, whatever
// their hosts' clocks say. The rules are those of docs/format.md, F2: within a stream
// the sequence number decides, within a log the order of acceptance, and across
// logs what a stream resumes and what caused an event. Times decide nothing.
//
// Package jobaudit folds a job by this order and package story merges logs by
// it: the rules must not exist twice.
package causal

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/google/uuid"
)

// Event is what an event's place in the order depends on. Functions of this
// package name events by their index.
type Event struct {
	ID   uuid.UUID
	Hash [32]byte // of its bytes

	Stream uuid.UUID
	Seq    uint64
	Prev   [32]byte // the hash of the event before it in its stream
	// Resumes is the event of another stream that the event's stream goes on
	// from, on its first event only.
	Resumes struct {
		Stream uuid.UUID
		Seq    uint64
		Hash   [32]byte
	}
	Cause uuid.UUID

	// Outcome is the job that the event ends, the zero UUID if it ends none.
	Outcome uuid.UUID
	// Submission is the job that the event submits, the zero UUID if it submits
	// none. Claimed says that its author is not verified.
	Submission uuid.UUID
	Claimed    bool
}

// verdict reports whether the event is of a verdict, which has an ID of its
// own version.
func (e *Event) verdict() bool { return e.ID.Version() == 8 }

// Graph is events and what each of them follows.
type Graph struct {
	events []Event
	before [][]int
}

// NewGraph finds out what each event follows: the one before it in its stream,
// the newest one of the stream that it resumes up to the one it names, and its
// cause. Links to events that are not there are passed over.
func NewGraph(events []Event) *Graph {
	g := &Graph{events: events, before: make([][]int, len(events))}
	streams := make(map[uuid.UUID][]int)
	byID, byHash := make(map[uuid.UUID]int, len(events)), make(map[[32]byte]int, len(events))
	for i := range events {
		e := &events[i]
		streams[e.Stream] = append(streams[e.Stream], i)
		byHash[e.Hash] = i
		if have, twice := byID[e.ID]; !twice || compare(e, &events[have], 1) < 0 {
			byID[e.ID] = i
		}
	}
	for _, stream := range streams {
		slices.SortFunc(stream, func(a, b int) int {
			return cmp.Or(cmp.Compare(events[a].Seq, events[b].Seq), compare(&events[a], &events[b], 1))
		})
	}
	// newest returns the newest event of a stream up to a number. If several
	// share its number, as forged ones may, it is the one with the hash, or else
	// the one with the lowest ID.
	newest := func(stream uuid.UUID, upTo uint64, hash [32]byte) int {
		list := streams[stream]
		n, _ := slices.BinarySearchFunc(list, upTo, func(i int, seq uint64) int {
			if events[i].Seq <= seq {
				return -1
			}
			return 1
		})
		if n == 0 {
			return -1
		}
		newest := events[list[n-1]].Seq
		if i, known := byHash[hash]; known && events[i].Stream == stream && events[i].Seq == newest {
			return i
		}
		n, _ = slices.BinarySearchFunc(list[:n], newest, func(i int, seq uint64) int {
			return cmp.Compare(events[i].Seq, seq)
		})
		return list[n] // the first of those that share the number
	}
	for i := range events {
		e := &events[i]
		preceding := []int{-1, newest(e.Resumes.Stream, e.Resumes.Seq, e.Resumes.Hash), -1}
		if e.Seq > 0 {
			preceding[0] = newest(e.Stream, e.Seq-1, e.Prev)
		}
		if cause, known := byID[e.Cause]; known {
			preceding[2] = cause
		}
		for _, p := range preceding {
			if p >= 0 && p != i {
				g.before[i] = append(g.before[i], p)
			}
		}
	}
	return g
}

// Before returns the events that an event follows directly.
func (g *Graph) Before(i int) []int { return g.before[i] }

// Order returns all events in an order in which none stands before one that it
// follows, and which is otherwise their own.
func (g *Graph) Order() []int {
	all := make([]int, len(g.events))
	for i := range all {
		all[i] = i
	}
	return g.sorted(all)
}

// sorted is Order for some of the events.
func (g *Graph) sorted(log []int) []int {
	rank := make([]int, len(g.events))
	for i := range rank {
		rank[i] = -1
	}
	for at, i := range log {
		rank[i] = at
	}
	before := make([][]int, len(g.events))
	for _, i := range log {
		for _, p := range g.before[i] {
			if rank[p] >= 0 {
				before[i] = append(before[i], p)
			}
		}
	}
	return newSorter(before, log, rank).run(nil)
}

// byID returns each event's rank where nothing else decides: the lower ID comes
// first, and verdicts come last.
func (g *Graph) byID() (rank []int) {
	order := make([]int, len(g.events))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return compare(&g.events[a], &g.events[b], 1) })
	rank = make([]int, len(order))
	for at, i := range order {
		rank[i] = at
	}
	return rank
}

// compare orders events by verdict or not, by ID and by hash. sign is 1 if
// verdicts come last, -1 if they come first.
func compare(a, b *Event, sign int) int {
	verdicts := 0
	switch {
	case a.verdict() && !b.verdict():
		verdicts = sign
	case b.verdict() && !a.verdict():
		verdicts = -sign
	}
	return cmp.Or(verdicts, bytes.Compare(a.ID[:], b.ID[:]), bytes.Compare(a.Hash[:], b.Hash[:]))
}
