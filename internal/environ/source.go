package environ

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit/internal/fields"
)

// source calls a function of the user's, the clock or the source of IDs, and
// replaces what it must not give. An event, an outcome above all, is never lost
// for that; report is called.
type source[T any] struct {
	option  string
	ask     func() T
	check   func(T) (problem string)
	instead func() T
	report  func(error)
	telling atomic.Bool // an error is being reported: further ones are not, rather than wait
}

func (s *source[T]) next() T {
	v, err := s.call()
	if err == nil {
		return v
	}
	// The caller may hold a lock that report needs.
	if s.telling.CompareAndSwap(false, true) {
		go func() {
			defer s.telling.Store(false)
			s.report(err)
		}()
	}
	return s.instead()
}

// call calls the function in a goroutine of its own: one that ends its goroutine
// must not end the caller's, who may hold a lock.
func (s *source[T]) call() (v T, err error) {
	err = fmt.Errorf("the function in %s ended its goroutine", s.option)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("the function in %s panicked with a %T", s.option, p)
			}
		}()
		v = s.ask()
		err = nil
	}()
	<-done
	if err != nil {
		return v, err
	}
	if problem := s.check(v); problem != "" {
		return v, &fields.Error{Path: s.option, Problem: problem}
	}
	return v, nil
}

// Now returns the clock of a recorder: given, but for times that cannot be
// stored and for panics, which are reported, in a goroutine of their own, and
// replaced by the system's time. A given that is nil is the system's clock.
func Now(given func() time.Time, report func(error)) func() time.Time {
	if given == nil {
		return systemTime
	}
	s := &source[time.Time]{option: "Options.Now", ask: given, check: TimeProblem, instead: systemTime, report: report}
	return s.next
}

// NewID is Now for the source of IDs. A given that is nil makes UUIDs of version
// 7 from the clock and crypto/rand.
func NewID(given func() uuid.UUID, report func(error)) func() uuid.UUID {
	if given == nil {
		return newID
	}
	given = notAgain(given)
	s := &source[uuid.UUID]{option: "Options.NewID", ask: given, check: newIDProblem, instead: newID, report: report}
	return s.next
}

// remembered is how many IDs are known again: a source that repeats itself is
// most often one that gives the same few.
const remembered = 1024

// notAgain makes the nil UUID of one that was given before: a sink would refuse
// what comes under it, outcomes too.
func notAgain(given func() uuid.UUID) func() uuid.UUID {
	var mu sync.Mutex
	seen, ring, at := make(map[uuid.UUID]bool), make([]uuid.UUID, remembered), 0
	return func() uuid.UUID {
		id := given() // it may call the Recorder
		mu.Lock()
		defer mu.Unlock()
		if seen[id] {
			return uuid.Nil
		}
		delete(seen, ring[at])
		seen[id], ring[at], at = true, id, (at+1)%remembered
		return id
	}
}

// TimeProblem says why a time cannot be stored, empty if it can.
func TimeProblem(t time.Time) string {
	if t.Before(fields.MinTime) || t.After(fields.MaxTime) {
		return "gives a time that is not between 1970 and 9999"
	}
	return ""
}

func newIDProblem(id uuid.UUID) string {
	if id[6]>>4 != 7 || id[8]>>6 != 2 {
		return "gives something else than a new UUID of version 7"
	}
	return ""
}

func systemTime() time.Time { return Within(time.Now()) }

// Within returns the time, or the nearest that can be stored.
func Within(t time.Time) time.Time {
	switch {
	case t.Before(fields.MinTime):
		return fields.MinTime
	case t.After(fields.MaxTime):
		return fields.MaxTime
	}
	return t
}

// newID returns a UUID of version 7 (RFC 9562, section 5.7), with the fraction
// of its millisecond in rand_a (section 6.2, method 3). [uuid.NewV7] keeps its
// own in order, behind one lock that all callers share; nothing here reads an
// order out of IDs.
func newID() uuid.UUID {
	var id uuid.UUID
	b := randomPool.Get().(*random)
	if b.left < 8 {
		_, _ = rand.Read(b.bytes[:]) // it never fails
		b.left = len(b.bytes)
	}
	b.left -= 8
	copy(id[8:], b.bytes[b.left:b.left+8])
	randomPool.Put(b)
	now := time.Now().UnixNano()
	fraction := now % 1e6 * (1 << 12) / 1e6
	binary.BigEndian.PutUint64(id[:], uint64(now/1e6)<<16|7<<12|uint64(fraction))
	id[8] = id[8]&0x3f | 0x80
	return id
}

// random is random bytes, read many at once; those before left have not been used.
type random struct {
	bytes [512]byte
	left  int
}

var randomPool = sync.Pool{New: func() any { return new(random) }}
