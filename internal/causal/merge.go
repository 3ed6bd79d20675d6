package causal

import (
	"bytes"
	"cmp"
	"container/heap"
	"maps"
	"slices"

	"github.com/google/uuid"
)

// Merge returns the order of the events of several logs, each given as its
// events in its order. An event may be in several logs. The order of the logs
// does not matter:
//
//   - no event stands before one that it follows;
//   - the events of one log keep its order otherwise;
//   - of submissions of one job in different logs, none of which follows from
//     the other, those by verified principals come first, and otherwise the
//     lower event ID: the first one counts;
//   - of outcomes of one job in different logs, none of which follows from the
//     other, a verdict comes first, as it rests on what had been recorded until
//     then, and otherwise the lower event ID;
//   - what nothing else decides, the lower event ID does, and verdicts wait.
func (g *Graph) Merge(logs [][]int) []int {
	sorted := make([][]int, len(logs))
	for n, log := range logs {
		sorted[n] = g.sorted(log)
	}
	if len(logs) == 1 {
		return sorted[0]
	}
	m := &merger{Graph: g, logs: sorted, before: slices.Clone(g.before)}
	for i := range m.before {
		m.before[i] = slices.Clip(m.before[i])
	}
	m.decideContests()
	return m.merge()
}

type merger struct {
	*Graph
	logs   [][]int
	before [][]int // the graph's, and what is decided here

	in [][]int // the logs that each event is in
	at [][]int // and its positions there
	// links has, for an event of one log and the position of the furthest event of
	// another that it follows, the latter by the former: from one log to the others.
	links []map[int]*furthest
	reach []int // of a search: how many of each log's events are followed
}

// merge takes from the logs what each goes on with, the lowest rank first.
func (m *merger) merge() []int {
	all := make([]int, len(m.events))
	for i := range all {
		all[i] = i
	}
	s := newSorter(m.before, all, m.byID())
	heads := make([]int, len(m.logs))
	lead := func(n int) { // the first event of the log that has not been placed
		log := m.logs[n]
		for heads[n] < len(log) && s.placed[log[heads[n]]] {
			heads[n]++
		}
		if heads[n] < len(log) && s.waits[log[heads[n]]] == 0 {
			heap.Push(&s.leading, log[heads[n]])
		}
	}
	for n := range m.logs {
		lead(n)
	}
	return s.run(func(i int) {
		for _, n := range m.in[i] {
			lead(n)
		}
		for _, next := range s.after[i] {
			for _, n := range m.in[next] {
				if s.waits[next] == 0 && heads[n] < len(m.logs[n]) && m.logs[n][heads[n]] == next {
					heap.Push(&s.leading, next)
				}
			}
		}
	})
}

// contest is what events of different logs contend for: to be the submission of
// a job, or its outcome.
type contest struct {
	job     uuid.UUID
	outcome bool
}

// decideContests lets the submissions of one job that stand in different logs
// follow the one that counts, and its outcomes likewise.
func (m *merger) decideContests() {
	m.in, m.at = make([][]int, len(m.events)), make([][]int, len(m.events))
	m.links, m.reach = make([]map[int]*furthest, len(m.logs)), make([]int, len(m.logs))
	first := make(map[contest][]int) // the first event of each log
	for n, log := range m.logs {
		m.links[n] = make(map[int]*furthest)
		decided := make(map[contest]bool)
		for at, i := range log {
			m.in[i], m.at[i] = append(m.in[i], n), append(m.at[i], at)
			for _, c := range []contest{{m.events[i].Submission, false}, {m.events[i].Outcome, true}} {
				if c.job != uuid.Nil && !decided[c] {
					decided[c] = true
					first[c] = append(first[c], i)
				}
			}
		}
	}
	for i, before := range m.before {
		m.link(i, i)
		for _, p := range before {
			m.link(i, p)
		}
	}
	contests := slices.SortedFunc(maps.Keys(first), func(a, b contest) int {
		if a.outcome != b.outcome {
			return falseFirst(a.outcome, b.outcome)
		}
		return bytes.Compare(a.job[:], b.job[:])
	})
	for _, c := range contests {
		events := first[c]
		slices.SortFunc(events, func(a, b int) int {
			x, y := &m.events[a], &m.events[b]
			if !c.outcome {
				return cmp.Or(falseFirst(x.Claimed, y.Claimed), compare(x, y, -1))
			}
			return compare(x, y, -1)
		})
		if events = slices.Compact(events); len(events) > 1 {
			m.decide(events)
		}
	}
}

func falseFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// decide lets events follow the first of them that follows none of them.
func (m *merger) decide(events []int) {
	at := slices.IndexFunc(events, func(i int) bool {
		return !slices.ContainsFunc(events, func(other int) bool { return other != i && m.follows(i, other) })
	})
	if at < 0 {
		return // they follow each other in a circle: forged ones
	}
	for _, i := range events {
		if i != events[at] && !m.follows(i, events[at]) {
			m.before[i] = append(m.before[i], events[at])
			m.link(i, events[at])
		}
	}
}

// link notes that event b follows event a, or is it, for the searches.
func (m *merger) link(b, a int) {
	for x, from := range m.in[b] {
		for y, to := range m.in[a] {
			if from == to && m.at[a][y] <= m.at[b][x] {
				continue // by the log's own order
			}
			if m.links[from][to] == nil {
				m.links[from][to] = newFurthest(len(m.logs[from]))
			}
			m.links[from][to].put(m.at[b][x], m.at[a][y]+1)
		}
	}
}

// follows reports whether event b comes after event a, by what it follows or by
// a log's order. What follows an event of a log follows all before it there, so
// that a search goes from log to log and not from event to event: there may be as
// many contests as events.
func (m *merger) follows(b, a int) bool {
	clear(m.reach)
	var todo []int
	for x, n := range m.in[b] {
		m.reach[n] = m.at[b][x] + 1
		todo = append(todo, n)
	}
	for len(todo) > 0 {
		n := todo[0]
		todo = todo[1:]
		for to, link := range m.links[n] {
			if count := link.upTo(m.reach[n] - 1); count > m.reach[to] {
				m.reach[to] = count
				todo = append(todo, to)
			}
		}
	}
	for y, n := range m.in[a] {
		if m.at[a][y] < m.reach[n] {
			return true
		}
	}
	return false
}

// furthest holds numbers at positions, and tells the greatest up to a position: a
// tree of maxima over ranges whose lengths are powers of two (Fenwick's).
type furthest struct{ max []int32 }

func newFurthest(n int) *furthest { return &furthest{make([]int32, n+1)} }

// put sets the number at a position, if it is greater than what is there.
func (f *furthest) put(at, n int) {
	for i := at + 1; i < len(f.max); i += i & -i {
		f.max[i] = max(f.max[i], int32(n)) // no log in memory has more events
	}
}

// upTo returns the greatest number up to a position, 0 if there is none.
func (f *furthest) upTo(at int) int {
	n := int32(0)
	for i := at + 1; i > 0; i -= i & -i {
		n = max(n, f.max[i])
	}
	return int(n)
}
