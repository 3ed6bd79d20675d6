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

	in       [][]int // the logs that each event is in
	previous [][]int // and the events before it there
	reached  []int   // by the search of the number
	searches int
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
	m.in, m.previous = make([][]int, len(m.events)), make([][]int, len(m.events))
	m.reached = make([]int, len(m.events))
	first := make(map[contest][]int) // the first event of each log
	for n, log := range m.logs {
		decided := make(map[contest]bool)
		for at, i := range log {
			m.in[i] = append(m.in[i], n)
			if at > 0 {
				m.previous[i] = append(m.previous[i], log[at-1])
			}
			for _, c := range []contest{{m.events[i].Submission, false}, {m.events[i].Outcome, true}} {
				if c.job != uuid.Nil && !decided[c] {
					decided[c] = true
					first[c] = append(first[c], i)
				}
			}
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
		}
	}
}

// follows reports whether event b comes after event a, by what it follows or by
// a log's order.
func (m *merger) follows(b, a int) bool {
	m.searches++
	todo := []int{b}
	for len(todo) > 0 {
		i := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if i == a {
			return true
		}
		if m.reached[i] == m.searches {
			continue
		}
		m.reached[i] = m.searches
		todo = append(append(todo, m.before[i]...), m.previous[i]...)
	}
	return false
}
