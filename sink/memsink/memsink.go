// Package memsink keeps records in memory: the reference implementation of
// [jobaudit.AuditSink] and [jobaudit.AuditReader], and the sink for unit
// tests.
//
//	sink := memsink.New(nil)
//	recorder, err := jobaudit.Open(ctx, sink, where, nil)
//	// … run the worker under test …
//	sink.ExpectStates(t, sink.Jobs()[0], jobaudit.Pending, jobaudit.Running, jobaudit.Success)
//	sink.ExpectAbsent(t, "the token that was among the inputs")
//
// A failed expectation prints the timeline of what was recorded. The helpers
// take a [TB], which a *testing.T is; the package does not import testing.
//
// What it holds is gone when the process ends. Use package filesink where
// records must survive.
package memsink

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/google/uuid"
	"github.com/jobaudit/jobaudit"
)

var (
	// ErrFull means that the batch does not fit into the sink's bound. Nothing
	// of it was stored and nothing stored was dropped for it.
	ErrFull = errors.New("memsink: full")

	// ErrClosed is returned by Append after Close.
	ErrClosed = errors.New("memsink: closed")
)

// defaultMaxBytes is enough for about a million events of a common size.
const defaultMaxBytes = 1 << 30

// Options adjust a [Sink]. The zero value is the default.
type Options struct {
	// MaxBytes bounds the sum of the lengths of all stored lines; indexes come
	// on top, some 250 bytes a record. 0 means 1 GiB, a negative number no
	// bound.
	MaxBytes int64
}

// Sink keeps records in memory. Make one with [New]. It is safe for concurrent
// use, and so is everything that it returns.
//
// A batch is stored whole or not at all, and readers see it so.
type Sink struct {
	maxBytes int64

	mu      sync.Mutex
	closed  bool
	bytes   int64
	records []jobaudit.Record // only ever appended to: a copy of the header is a snapshot
	byID    map[uuid.UUID]int // positions in records
	byJob   map[uuid.UUID][]int
	jobs    []uuid.UUID   // in the order of their first record
	changed chan struct{} // closed by the next change; nil while no call waits

	correlations correlationIndex
}

// New returns an empty sink. The options may be nil.
func New(opts *Options) *Sink {
	s := &Sink{
		maxBytes: defaultMaxBytes,
		byID:     make(map[uuid.UUID]int),
		byJob:    make(map[uuid.UUID][]int),
	}
	if opts != nil && opts.MaxBytes != 0 {
		s.maxBytes = opts.MaxBytes
	}
	return s
}

// Append stores the records, as [jobaudit.AuditSink] says. It never waits: the
// context matters only if it has ended before the call.
func (s *Sink) Append(ctx context.Context, records []jobaudit.Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	first, err := s.admit(records)
	if err != nil {
		s.withdraw(first)
		return err
	}
	for i, r := range s.records[first:] {
		job := r.JobID()
		if job == uuid.Nil {
			continue
		}
		if _, known := s.byJob[job]; !known {
			s.jobs = append(s.jobs, job)
		}
		s.byJob[job] = append(s.byJob[job], first+i)
	}
	if len(s.records) > first {
		s.notify()
	}
	return nil
}

// Immediate returns the sink: Append never waits.
func (s *Sink) Immediate() jobaudit.AuditSink { return s }

// admit adds the records that are not stored yet and returns the position of
// the first of them. After an error they have to be withdrawn. The caller
// holds s.mu.
func (s *Sink) admit(records []jobaudit.Record) (first int, err error) {
	first = len(s.records)
	if first+len(records) > cap(s.records) { // append would grow by a fourth, and copy each record four times
		s.records = slices.Grow(s.records, first+len(records))
	}
	for _, r := range records {
		if r.Len() == 0 {
			return first, &jobaudit.RecordError{ID: r.ID(), Err: errors.New("the record is empty")}
		}
		if at, stored := s.byID[r.ID()]; stored {
			if s.records[at].Hash() != r.Hash() {
				return first, &jobaudit.RecordError{ID: r.ID(), Err: jobaudit.ErrConflict}
			}
			continue
		}
		s.byID[r.ID()] = len(s.records)
		s.records = append(s.records, r)
		s.bytes += int64(r.Len())
	}
	if s.maxBytes >= 0 && s.bytes > s.maxBytes {
		return first, fmt.Errorf("%w: %d bytes are allowed, this batch would make it %d", ErrFull, s.maxBytes, s.bytes)
	}
	return first, nil
}

// withdraw undoes admit. No reader has seen the records yet: snapshots are
// taken under the lock. The caller holds s.mu.
func (s *Sink) withdraw(first int) {
	for _, r := range s.records[first:] {
		delete(s.byID, r.ID())
		s.bytes -= int64(r.Len())
	}
	clear(s.records[first:])
	s.records = s.records[:first]
}

// Close makes further calls of Append return [ErrClosed]. What is stored can
// still be read. It never fails, and may be called again.
func (s *Sink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.notify()
	return nil
}

// notify wakes those that wait. The caller holds s.mu.
func (s *Sink) notify() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// Len returns the number of stored records.
func (s *Sink) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.records)
}

// Jobs returns the IDs of the jobs that have records, in the order of their
// first one.
func (s *Sink) Jobs() []uuid.UUID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.jobs)
}
