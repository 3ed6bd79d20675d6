package story

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/causal"
)

// Story prints the timeline of all jobs that share a correlation ID, from all
// the logs that hold some of it: [Timeline] of [Merge].
func Story(ctx context.Context, w io.Writer, correlation uuid.UUID, logs ...jobaudit.AuditReader) error {
	m := newMerger()
	for n, log := range logs {
		if err := m.read(n, log.Records(ctx, jobaudit.Query{CorrelationID: correlation})); err != nil {
			return err
		}
	}
	return m.merged().print(w, nil)
}

// merged returns the records in the one order of all logs, as if one log held
// them. Nothing is decoded again.
func (m *merger) merged() *merger {
	one := newMerger()
	one.unreadable = m.unreadable
	order := m.graph().Merge(m.logs)
	one.records, one.events = make([]jobaudit.Record, len(order)), make([]jobaudit.Event, len(order))
	for at, i := range order {
		one.records[at], one.events[at] = m.records[i], m.events[i]
	}
	return one
}

// Merge makes one sequence of the records of several logs, such as
// [jobaudit.Replay], [Timeline] and [Tree] take. The order of the arguments
// does not matter, and times decide nothing:
//
//   - no record stands before one that it follows, by its stream, by the
//     stream that it resumes, by its causation;
//   - the records of one log keep its order otherwise;
//   - of submissions of one job in different logs, none of which follows from
//     the other, those by verified principals stand first, and otherwise the
//     lower event ID; the first one counts unless signed Carriers name another
//     ([jobaudit.Replay]);
//   - of outcomes of one job in different logs, none of which follows from the
//     other, a verdict stands first, as it rests on what had been recorded
//     until then, and otherwise the lower event ID;
//   - what nothing else decides, the lower event ID does, and a verdict waits.
//
// A record that is in several logs comes once; of different records of one
// verdict, the one with the lowest leaf hash comes. Errors that name records
// that cannot be read ([jobaudit.UnreadableError]) come first. Any other error
// of one of the sequences is yielded alone. All records are held in memory.
func Merge(logs ...iter.Seq2[jobaudit.Record, error]) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		m := newMerger()
		for n, log := range logs {
			if err := m.read(n, log); err != nil {
				yield(jobaudit.Record{}, err)
				return
			}
		}
		for _, err := range m.unreadable {
			if !yield(jobaudit.Record{}, err) {
				return
			}
		}
		for _, i := range m.graph().Merge(m.logs) {
			if !yield(m.records[i], nil) {
				return
			}
		}
	}
}

// merger collects the records of logs, each once. Records and events are named
// by their index.
type merger struct {
	records    []jobaudit.Record
	events     []jobaudit.Event
	logs       [][]int // the records of each log, in its order
	byHash     map[jobaudit.Hash]int
	verdicts   map[uuid.UUID]int
	unreadable []error
}

func newMerger() *merger {
	return &merger{byHash: make(map[jobaudit.Hash]int), verdicts: make(map[uuid.UUID]int)}
}

// read takes the records of the nth log, each once.
func (m *merger) read(n int, log iter.Seq2[jobaudit.Record, error]) error {
	for len(m.logs) <= n {
		m.logs = append(m.logs, nil)
	}
	here := make(map[int]bool)
	for r, err := range log {
		if _, one := errors.AsType[*jobaudit.UnreadableError](err); one {
			m.unreadable = append(m.unreadable, err)
			continue
		}
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
		if have, known := m.verdicts[r.ID()]; known {
			kept := m.records[have].Hash()
			if bytes.Compare(hash[:], kept[:]) < 0 {
				m.records[have], m.events[have] = r, r.Event()
			}
			m.byHash[hash] = have
			return have
		}
		m.verdicts[r.ID()] = i
	}
	m.byHash[hash] = i
	m.records, m.events = append(m.records, r), append(m.events, r.Event())
	return i
}

// graph returns what each record follows.
func (m *merger) graph() *causal.Graph {
	links := make([]causal.Event, len(m.records))
	for i := range links {
		links[i] = link(&m.events[i], m.records[i].Hash())
	}
	return causal.NewGraph(links)
}

// link is what an event's place among others depends on.
func link(e *jobaudit.Event, hash jobaudit.Hash) causal.Event {
	l := causal.Event{
		ID: e.ID, Hash: hash, Stream: e.Stream.ID, Seq: e.Stream.Seq, Prev: e.Stream.Prev, Cause: e.CausationID,
	}
	l.Resumes.Stream, l.Resumes.Seq, l.Resumes.Hash = e.Stream.After.Stream, e.Stream.After.Seq, e.Stream.After.Hash
	if e.Type == jobaudit.JobSubmitted {
		l.Submission, l.Claimed = e.Job.ID, !e.Who.Principal.Verified
	}
	if e.Job.State.Terminal() {
		switch e.Type {
		case jobaudit.JobSucceeded, jobaudit.JobFailed, jobaudit.JobCancelled, jobaudit.JobDenied, jobaudit.JobDeduplicated:
			l.Outcome = e.Job.ID
		}
	}
	return l
}
