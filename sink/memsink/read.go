package memsink

import (
	"context"
	"errors"
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
		v.iterate(ctx, &q, yield)
	}
}

// Tail iterates over the stored records that match and then over those to come,
// as [jobaudit.AuditReader] says. After Close it yields what is stored and then
// [ErrClosed].
func (s *Sink) Tail(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		if err := s.tail(ctx, q, yield); err != nil {
			yield(jobaudit.Record{}, err)
		}
	}
}

// tail yields until there is an error, or nil if no more is wanted.
func (s *Sink) tail(ctx context.Context, q jobaudit.Query, yield func(jobaudit.Record, error) bool) error {
	if q.NewestFirst {
		return errors.New("memsink: records to come cannot be read newest first")
	}
	for seen := -1; ; {
		// Before reading, so that no change falls between the two.
		changed, closed := s.nextChange()
		v, err := s.view(q)
		if err != nil {
			return err
		}
		v.from = max(v.from, seen)
		if !v.iterate(ctx, &q, yield) {
			return nil
		}
		seen = v.to
		if closed {
			return ErrClosed
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// pass yields what matches. It takes what it yielded off q.Limit, and reports
// false if no more is wanted, or can be had.
func (v view) iterate(ctx context.Context, q *jobaudit.Query, yield func(jobaudit.Record, error) bool) bool {
	for at := range v.positions(q.NewestFirst) {
		if err := ctx.Err(); err != nil {
			yield(jobaudit.Record{}, err)
			return false
		}
		r := v.records[at]
		if !q.Match(r) {
			continue
		}
		if !yield(r, nil) {
			return false
		}
		if q.Limit == 1 {
			return false
		}
		if q.Limit > 0 {
			q.Limit--
		}
	}
	if err := ctx.Err(); err != nil {
		yield(jobaudit.Record{}, err)
		return false
	}
	return true
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
	for r, err := range s.Tail(ctx, q) {
		return r, err
	}
	return jobaudit.Record{}, ctx.Err() // cannot be: a tail ends with a record or an error
}

// nextChange returns a channel that the next change closes.
func (s *Sink) nextChange() (changed <-chan struct{}, closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed, s.closed
}
