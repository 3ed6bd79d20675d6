package causal

import (
	"bytes"
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
	m.decideOutcomes()
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

// decideOutcomes lets the outcomes of one job that stand in different logs
// follow the one that counts.
func (m *merger) decideOutcomes() {
	m.in, m.previous = make([][]int, len(m.events)), make([][]int, len(m.events))
	m.reached = make([]int, len(m.events))
	first := make(map[uuid.UUID][]int) // of each job, the first outcome in each log
	for n, log := range m.logs {
		ended := make(map[uuid.UUID]bool)
		for at, i := range log {
			m.in[i] = append(m.in[i], n)
			if at > 0 {
				m.previous[i] = append(m.previous[i], log[at-1])
			}
			if job := m.events[i].Outcome; job != uuid.Nil && !ended[job] {
				ended[job] = true
				first[job] = append(first[job], i)
			}
		}
	}
	jobs := slices.SortedFunc(maps.Keys(first), func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
	for _, job := range jobs {
		outcomes := first[job]
		slices.SortFunc(outcomes, func(a, b int) int { return compare(&m.events[a], &m.events[b], -1) })
		if outcomes = slices.Compact(outcomes); len(outcomes) > 1 {
			m.decide(outcomes)
		}
	}
}

// decide lets outcomes follow the first of them that follows none.
func (m *merger) decide(outcomes []int) {
	at := slices.IndexFunc(outcomes, func(i int) bool {
		return !slices.ContainsFunc(outcomes, func(other int) bool { return other != i && m.follows(i, other) })
	})
	if at < 0 {
		return // they follow each other in a circle: forged ones
	}
	winner := outcomes[at]
	for _, i := range outcomes {
		if i != winner && !m.follows(i, winner) {
			m.before[i] = append(m.before[i], winner)
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
