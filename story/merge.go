package story

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"iter"
	"slices"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
)

// Story prints the timeline of all jobs that share a correlation ID, from all
// the logs that hold some of it: [Timeline] of [Merge].
func Story(ctx context.Context, w io.Writer, correlation uuid.UUID, logs ...jobaudit.AuditReader) error {
	var passes []iter.Seq2[jobaudit.Record, error]
	for _, log := range logs {
		passes = append(passes, log.Records(ctx, jobaudit.Query{CorrelationID: correlation}))
	}
	return Timeline(w, Merge(passes...))
}

// Merge makes one sequence of the records of several logs, such as
// [jobaudit.Replay], [Timeline] and [Tree] take. The order of the arguments
// does not matter, and times decide nothing:
//
//   - no record stands before one that it follows, by its stream, by the
//     stream that it resumes, by its causation;
//   - the records of one log keep its order otherwise;
//   - of outcomes of one job in different logs, none of which follows from the
//     other, a verdict stands first, as it rests on what had been recorded
//     until then, and otherwise the lower event ID;
//   - what nothing else decides, the lower event ID does, and a verdict waits.
//
// A record that is in several logs comes once; of different records of one
// verdict, the one with the lowest leaf hash comes. An error of one of the
// sequences is yielded alone. All records are held in memory.
func Merge(logs ...iter.Seq2[jobaudit.Record, error]) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		var m merger
		for n, log := range logs {
			if err := m.read(n, log); err != nil {
				yield(jobaudit.Record{}, err)
				return
			}
		}
		for _, i := range m.order() {
			if !yield(m.records[i], nil) {
				return
			}
		}
	}
}

// merger puts the records of logs into one order. Records and events are
// named by their index.
type merger struct {
	records []jobaudit.Record
	events  []jobaudit.Event
	logs    [][]int // the records of each log, in its order
	byHash  map[jobaudit.Hash]int
	verdict map[uuid.UUID]int

	before [][]int // those that each one follows
}

// read takes the records of the nth log, each once.
func (m *merger) read(n int, log iter.Seq2[jobaudit.Record, error]) error {
	if m.byHash == nil {
		m.byHash, m.verdict = make(map[jobaudit.Hash]int), make(map[uuid.UUID]int)
	}
	for len(m.logs) <= n {
		m.logs = append(m.logs, nil)
	}
	here := make(map[int]bool)
	for r, err := range log {
		if err != nil {
			return err
		}
		i, known := m.byHash[r.Hash()]
		if !known {
			i = m.add(r)
		}
		if !here[i] {
			here[i] = true
			m.logs[n] = append(m.logs[n], i)
		}
	}
	return nil
}

// add returns the index of a record that was not seen before. Of two records
// of one verdict the one with the lower hash takes the place of both.
func (m *merger) add(r jobaudit.Record) int {
	hash := r.Hash()
	i := len(m.records)
	if r.ID().Version() == 8 {
		if have, known := m.verdict[r.ID()]; known {
			kept := m.records[have].Hash()
			if bytes.Compare(hash[:], kept[:]) < 0 {
				m.records[have], m.events[have] = r, r.Event()
			}
			m.byHash[hash] = have
			return have
		}
		m.verdict[r.ID()] = i
	}
	m.byHash[hash] = i
	m.records, m.events = append(m.records, r), append(m.events, r.Event())
	return i
}

// order returns the order of the records.
func (m *merger) order() []int {
	m.before = follows(m.events)
	for n := range m.logs {
		m.logs[n] = m.sorted(m.logs[n])
	}
	if len(m.logs) == 1 {
		return m.logs[0]
	}
	m.settleOutcomes()
	order, done := make([]int, 0, len(m.records)), make([]bool, len(m.records))
	heads := make([]int, len(m.logs))
	for len(order) < len(m.records) {
		i := m.next(heads, done)
		done[i] = true
		order = append(order, i)
	}
	return order
}

// next returns which record comes next: of those that the logs go on with, one
// that follows none that is still to come.
func (m *merger) next(heads []int, done []bool) int {
	best := -1
	for n, log := range m.logs {
		for heads[n] < len(log) && done[log[heads[n]]] {
			heads[n]++
		}
		if heads[n] < len(log) && m.ready(log[heads[n]], done) {
			best = m.first(best, log[heads[n]])
		}
	}
	if best >= 0 {
		return best
	}
	// The logs' orders contradict each other, as those of copies may, or
	// records follow each other in a circle, as only forged ones do.
	rest := -1
	for i := range m.records {
		switch {
		case done[i]:
		case m.ready(i, done):
			best = m.first(best, i)
		default:
			rest = m.first(rest, i)
		}
	}
	if best >= 0 {
		return best
	}
	return rest
}

func (m *merger) ready(i int, done []bool) bool {
	return !slices.ContainsFunc(m.before[i], func(p int) bool { return !done[p] })
}

// first returns which of two records comes first if nothing else decides. A
// negative one is none.
func (m *merger) first(a, b int) int {
	switch {
	case a < 0:
		return b
	case b < 0:
		return a
	}
	x, y := &m.events[a], &m.events[b]
	if cmp.Or(isVerdict(x)-isVerdict(y), bytes.Compare(x.ID[:], y.ID[:])) > 0 {
		return b
	}
	return a
}

// isVerdict is 1 for an event of a verdict, else 0.
func isVerdict(e *jobaudit.Event) int {
	if e.ID.Version() == 8 {
		return 1
	}
	return 0
}

// settleOutcomes decides between outcomes of one job in different logs, none of
// which follows from the other.
func (m *merger) settleOutcomes() {
	in := make([][]int, len(m.records)) // the logs that each record is in
	previous := make([][]int, len(m.records))
	for n, log := range m.logs {
		for at, i := range log {
			in[i] = append(in[i], n)
			if at > 0 {
				previous[i] = append(previous[i], log[at-1])
			}
		}
	}
	outcomes := make(map[uuid.UUID][]int)
	for i := range m.events {
		if e := &m.events[i]; e.Job.State.Terminal() && ends(e.Type) {
			outcomes[e.Job.ID] = append(outcomes[e.Job.ID], i)
		}
	}
	for i := range m.events { // in one order, whatever the map's is
		list := outcomes[m.events[i].Job.ID]
		delete(outcomes, m.events[i].Job.ID)
		slices.SortFunc(list, func(a, b int) int {
			x, y := &m.events[a], &m.events[b]
			return cmp.Or(isVerdict(y)-isVerdict(x), bytes.Compare(x.ID[:], y.ID[:]))
		})
		for k, b := range list {
			for _, a := range list[:k] {
				if !shareLog(in[a], in[b]) && !m.leads(b, a, previous) && !m.leads(a, b, previous) {
					m.before[b] = append(m.before[b], a)
				}
			}
		}
	}
}

func ends(typ jobaudit.EventType) bool {
	switch typ {
	case jobaudit.JobSucceeded, jobaudit.JobFailed, jobaudit.JobCancelled, jobaudit.JobDenied, jobaudit.JobDeduplicated:
		return true
	}
	return false
}

func shareLog(a, b []int) bool {
	return slices.ContainsFunc(a, func(n int) bool { return slices.Contains(b, n) })
}

// leads reports whether record b comes after record a, by what they follow or
// by the logs' orders.
func (m *merger) leads(a, b int, previous [][]int) bool {
	seen := make(map[int]bool)
	todo := []int{b}
	for len(todo) > 0 {
		i := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if i == a {
			return true
		}
		if seen[i] {
			continue
		}
		seen[i] = true
		todo = append(append(todo, m.before[i]...), previous[i]...)
	}
	return false
}

// sorted returns the records of one log in an order in which none stands before
// one that it follows, and which is otherwise the log's.
func (m *merger) sorted(log []int) []int {
	place := make(map[int]int, len(log))
	for at, i := range log {
		place[i] = at
	}
	after, waits := make([][]int, len(log)), make([]int, len(log))
	var ready []int // ascending
	for at, i := range log {
		for _, p := range m.before[i] {
			if from, here := place[p]; here {
				after[from] = append(after[from], at)
				waits[at]++
			}
		}
		if waits[at] == 0 {
			ready = append(ready, at)
		}
	}
	order := make([]int, 0, len(log))
	for len(ready) > 0 {
		at := ready[0]
		ready = ready[1:]
		order = append(order, log[at])
		for _, next := range after[at] {
			if waits[next]--; waits[next] == 0 {
				i, _ := slices.BinarySearch(ready, next)
				ready = slices.Insert(ready, i, next)
			}
		}
	}
	for at, n := range waits {
		if n > 0 { // events that follow each other in a circle: forged ones
			order = append(order, log[at])
		}
	}
	return order
}

// follows returns for each event the indices of those that it follows.
func follows(events []jobaudit.Event) [][]int {
	streams, byID := make(map[uuid.UUID][]int), make(map[uuid.UUID]int)
	for i := range events {
		streams[events[i].Stream.ID] = append(streams[events[i].Stream.ID], i)
		byID[events[i].ID] = i
	}
	before := make([][]int, len(events))
	for _, stream := range streams {
		slices.SortStableFunc(stream, func(a, b int) int {
			return cmp.Compare(events[a].Stream.Seq, events[b].Stream.Seq)
		})
		for n, i := range stream[1:] {
			before[i] = append(before[i], stream[n])
		}
	}
	for i := range events {
		e := &events[i]
		if cause, known := byID[e.CausationID]; known && cause != i {
			before[i] = append(before[i], cause)
		}
		resumed := streams[e.Stream.After.Stream]
		n, _ := slices.BinarySearchFunc(resumed, e.Stream.After.Seq+1, func(j int, seq uint64) int {
			return cmp.Compare(events[j].Stream.Seq, seq)
		})
		if n > 0 && resumed[n-1] != i {
			before[i] = append(before[i], resumed[n-1])
		}
	}
	return before
}
