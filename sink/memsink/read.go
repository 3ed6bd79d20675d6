package memsink

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/google/uuid"
	"github.com/jobaudit/jobaudit"
)

// Records iterates over the stored records that match, as
// [jobaudit.AuditReader] says. A pass sees the records that were stored when
// it began. No lock is held while the loop's body runs, so it may append.
// Selecting by job or by correlation costs what the selection is long; the
// rest is a scan.
func (s *Sink) Records(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		v, err := s.view(q)
		if err != nil {
			yield(jobaudit.Record{}, err)
			return
		}
		n := 0
		for at := range v.positions(q.NewestFirst) {
			if err := ctx.Err(); err != nil {
				yield(jobaudit.Record{}, err)
				return
			}
			r := v.records[at]
			if !matches(q, r) {
				continue
			}
			if !yield(r, nil) {
				return
			}
			if n++; n == q.Limit {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(jobaudit.Record{}, err)
		}
	}
}

// view is a snapshot of the records, narrowed by the best index.
type view struct {
	records  []jobaudit.Record
	from, to int   // positions outside [from, to) are not in the selection
	index    []int // ascending positions, if indexed
	indexed  bool
}

func (s *Sink) view(q jobaudit.Query) (view, error) {
	if q.JobID == uuid.Nil && q.CorrelationID != uuid.Nil {
		s.correlations.catchUp(s.snapshot())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v := view{records: s.records, to: len(s.records)}
	if q.After != uuid.Nil {
		at, stored := s.byID[q.After]
		switch {
		case !stored:
			return view{}, fmt.Errorf("memsink: no record %s is stored to read on from", q.After)
		case q.NewestFirst:
			v.to = at
		default:
			v.from = at + 1
		}
	}
	switch {
	case q.JobID != uuid.Nil:
		v.index, v.indexed = s.byJob[q.JobID], true
	case q.CorrelationID != uuid.Nil:
		// What was stored since the index caught up came after this pass
		// began: it is not of the snapshot.
		var seen int
		v.index, seen = s.correlations.lookup(q.CorrelationID)
		v.indexed, v.to = true, min(v.to, seen)
	}
	return v, nil
}

func (s *Sink) snapshot() []jobaudit.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.records
}

// positions iterates over the view's positions in the direction of reading.
func (v view) positions(backward bool) iter.Seq[int] {
	first, n, at := v.from, v.to-v.from, func(i int) int { return i }
	if v.indexed {
		first, _ = slices.BinarySearch(v.index, v.from)
		end, _ := slices.BinarySearch(v.index, v.to)
		n, at = end-first, func(i int) int { return v.index[i] }
	}
	return func(yield func(int) bool) {
		for i := range n {
			if backward {
				i = n - 1 - i
			}
			if !yield(at(first + i)) {
				return
			}
		}
	}
}

// matches is q.Match, but decodes the record only where it has to.
func matches(q jobaudit.Query, r jobaudit.Record) bool {
	var known jobaudit.Event
	known.ID, known.Type, known.Time, known.Job.ID = r.ID(), r.Type(), r.Time(), r.JobID()
	shallow := jobaudit.Query{JobID: q.JobID, Types: q.Types, Since: q.Since, Until: q.Until}
	if !shallow.Match(known) {
		return false
	}
	if q.CorrelationID == uuid.Nil && q.RootID == uuid.Nil && q.PrincipalID == "" &&
		q.OrgID == "" && q.Action == "" && q.State == "" {
		return true
	}
	return q.Match(r.Event())
}

// correlationIndex holds the positions of each correlation's records. It is
// filled by readers rather than writers: a correlation stands inside the line,
// and decoding costs more than all else that an Append does.
type correlationIndex struct {
	mu   sync.Mutex
	seen int // records indexed
	byID map[uuid.UUID][]int
}

// catchUp indexes the records that it has not seen.
func (x *correlationIndex) catchUp(records []jobaudit.Record) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.byID == nil {
		x.byID = make(map[uuid.UUID][]int)
	}
	for x.seen < len(records) {
		id := records[x.seen].Event().CorrelationID
		x.byID[id] = append(x.byID[id], x.seen)
		x.seen++
	}
}

func (x *correlationIndex) lookup(id uuid.UUID) (positions []int, seen int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.byID[id], x.seen
}

// Trail returns the events of a job in the order in which they were stored.
func (s *Sink) Trail(jobID uuid.UUID) []jobaudit.Event {
	if jobID == uuid.Nil {
		return nil // not every record, as in a Query
	}
	var events []jobaudit.Event
	for r, err := range s.Records(context.Background(), jobaudit.Query{JobID: jobID}) {
		if err != nil {
			return events // cannot be: nothing ends this context
		}
		events = append(events, r.Event())
	}
	return events
}

// States returns the states that a job went through, each once, as its writers
// saw them.
func (s *Sink) States(jobID uuid.UUID) []jobaudit.JobState {
	var states []jobaudit.JobState
	for _, e := range s.Trail(jobID) {
		if e.Job.State != "" {
			states = append(states, e.Job.State)
		}
	}
	return slices.Compact(states)
}

// Wait returns the first record that matches, as soon as one is stored. It
// returns ctx's error when ctx ends first, and [ErrClosed] if the sink is
// closed and holds none. q.NewestFirst and q.Limit are ignored; an unknown
// q.After is an error.
func (s *Sink) Wait(ctx context.Context, q jobaudit.Query) (jobaudit.Record, error) {
	q.NewestFirst, q.Limit = false, 1
	for {
		// Before reading, so that no change falls between the two.
		changed, last, closed := s.nextChange()
		for r, err := range s.Records(ctx, q) {
			return r, err
		}
		q.After = last
		if closed {
			return jobaudit.Record{}, ErrClosed
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return jobaudit.Record{}, ctx.Err()
		}
	}
}

// nextChange returns a channel that the next change closes, and the ID of the
// newest record before it.
func (s *Sink) nextChange() (changed <-chan struct{}, last uuid.UUID, closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	if n := len(s.records); n > 0 {
		last = s.records[n-1].ID()
	}
	return s.changed, last, s.closed
}
