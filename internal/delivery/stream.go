package delivery

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/tlog"
)

// Record is an event that has its place in a stream: what a sink stores.
type Record interface {
	ID() uuid.UUID
	Hash() tlog.Hash
	Len() int
}

// Sink stores records, as jobaudit.AuditSink says.
type Sink[R Record] interface {
	Append(ctx context.Context, records []R) error
}

// Event is an encoded event that lacks its place. Mint is called once.
type Event[R Record] interface {
	ID() uuid.UUID
	Size() int // in bytes, without what says its place
	Mint(Position) R
}

// Position is an event's place in its stream. After is nil but on the first
// event of a resumed stream.
type Position struct {
	Stream uuid.UUID
	Seq    uint64
	Prev   tlog.Hash
	After  *Head
}

// Head names an event of a stream. Event may be nil.
type Head struct {
	Stream uuid.UUID
	Seq    uint64
	Hash   tlog.Hash
	Event  uuid.UUID
}

// Urgency says who waits for an event.
type Urgency int8

const (
	Background Urgency = iota // nobody: it is dropped when the buffer is full
	Notice                    // nobody for long: it says why no work is done
	Admission                 // a caller who must know before work begins
	Outcome                   // a caller who waits through retries
)

// Entry is an event on its way to the sink, or, with loss set, a place where
// events were dropped.
type Entry[R Record] struct {
	Event   Event[R] // nil once it is minted
	Urgency Urgency
	Ticket  *Ticket
	size    int  // what it counts for in the buffer, or among the notices
	tried   bool // a flight that has begun since decides over it
	loss    *loss[R]
}

// Loss counts events that were dropped one after the other.
type Loss struct {
	Count    int
	Types    []string
	From, To time.Time
}

type loss[R Record] struct {
	Loss
	encode func(Loss) Event[R]
}

// Ticket lets callers wait for an entry. A courier's lock guards waiting, and
// err until done is closed.
type Ticket struct {
	done    chan struct{} // closed when there is an answer
	err     error         // the answer: nil once the entry is stored
	waiting int           // callers who wait for it
}

func NewTicket() *Ticket { return &Ticket{done: make(chan struct{}), waiting: 1} }

// resolved reports whether there is an answer. No ticket is as good as one
// that has its answer.
func (t *Ticket) resolved() bool {
	if t == nil {
		return true
	}
	select {
	case <-t.done:
		return true
	default:
		return false
	}
}

func (t *Ticket) resolve(err error) {
	if !t.resolved() {
		t.err, t.waiting = err, 0
		close(t.done)
	}
}

// stream is the events of one writer, in order, on their way. Its courier's
// lock guards what stands below mu.
type Stream[R Record] struct {
	ID  uuid.UUID
	Job uuid.UUID // whose events they are; zero for the recorder's own

	_       struct{}   // guarded by courier.mu:
	after   *Head      // of a resumed stream, until its first event is minted
	pending []Entry[R] // not handed over yet
	frozen  []Entry[R] // handed over and not resolved
	records []R        // of frozen, one for one
	seq     uint64     // of the newest record minted
	prev    tlog.Hash  // and its hash
	acked   *Head      // the newest event known to be stored

	lane     *lane[R]
	queued   bool // in the lane's queue, between these:
	prior    *Stream[R]
	next     *Stream[R]
	flight   int  // number of the newest flight
	flying   bool // it has not landed
	doubt    bool // frozen may be stored, in part or in whole
	again    bool // fly again at once: somebody came too late for a flight that failed
	oneByOne bool // a record of frozen is refused: find out which
	single   bool // its one event flies alone, and a refusal is for its caller to judge
	failures int
	retry    *time.Timer
	refused  error // the stream has ended: why
}

// streamQueue holds streams in the order in which they came. A stream is in one
// queue at most.
type streamQueue[R Record] struct{ first, last *Stream[R] }

func (q *streamQueue[R]) push(s *Stream[R]) {
	s.queued, s.prior = true, q.last
	if q.last != nil {
		q.last.next = s
	} else {
		q.first = s
	}
	q.last = s
}

func (q *streamQueue[R]) remove(s *Stream[R]) {
	if s.prior != nil {
		s.prior.next = s.next
	} else {
		q.first = s.next
	}
	if s.next != nil {
		s.next.prior = s.prior
	} else {
		q.last = s.prior
	}
	s.queued, s.prior, s.next = false, nil, nil
}

// mint freezes the next batch, unless one is frozen already.
func (s *Stream[R]) mint() {
	if len(s.frozen) > 0 {
		return
	}
	size, n := 0, 0
	for n < len(s.pending) && n < MaxBatchRecords && size < maxBatchBytes {
		size += s.pending[n].bytes()
		n++
	}
	if n == len(s.pending) {
		s.frozen, s.pending = s.pending, s.frozen[:0]
	} else {
		s.frozen = append(s.frozen[:0], s.pending[:n]...)
		s.pending = slices.Delete(s.pending, 0, n)
	}
	s.records = make([]R, 0, n)
	for i := range s.frozen {
		e := &s.frozen[i]
		if e.loss != nil {
			e.Event = e.loss.encode(e.loss.Loss)
		}
		s.seq++
		r := e.Event.Mint(Position{Stream: s.ID, Seq: s.seq, Prev: s.prev, After: s.after})
		s.prev, s.after, e.Event = r.Hash(), nil, nil
		s.records = append(s.records, r)
	}
}

// lose counts an event as dropped, at the end of the stream, and reports
// whether it is the first in a row.
func (s *Stream[R]) lose(at time.Time, typ string, encode func(Loss) Event[R]) bool {
	if n := len(s.pending); n > 0 && s.pending[n-1].loss != nil {
		l := s.pending[n-1].loss
		l.Count++
		l.To = at
		if !slices.Contains(l.Types, typ) {
			l.Types = append(l.Types, typ)
		}
		return false
	}
	l := &loss[R]{Loss: Loss{Count: 1, Types: []string{typ}, From: at, To: at}, encode: encode}
	s.pending = append(s.pending, Entry[R]{loss: l})
	return true
}

// bytes is the size of an event that is not minted yet.
func (e *Entry[R]) bytes() int {
	if e.Event == nil {
		return 0
	}
	return e.Event.Size()
}

// takeBack takes the last n entries, of which the first has this ID, out of
// pending, all or none: none if one has been handed over or another entry
// stands behind them.
func (s *Stream[R]) takeBack(first uuid.UUID, n int) bool {
	at := len(s.pending) - n
	if at < 0 || s.pending[at].loss != nil || s.pending[at].Event.ID() != first {
		return false
	}
	s.pending = slices.Delete(s.pending, at, len(s.pending))
	return true
}

// held is the size of what the stream keeps.
func (s *Stream[R]) held() int {
	size := 0
	for i := range s.records {
		size += s.records[i].Len()
	}
	for i := range s.pending {
		size += s.pending[i].bytes()
	}
	return size
}

// answer gives err to the callers who must know before work begins, but for
// those who came when the flight that failed was under way. It reports whether
// there are such.
func (s *Stream[R]) answer(err error) (others bool) {
	for _, entries := range [][]Entry[R]{s.frozen, s.pending} {
		for i := range entries {
			switch e := &entries[i]; {
			case e.Urgency != Admission:
			case e.tried:
				e.Ticket.resolve(err)
			case !e.Ticket.resolved():
				others = true
			}
		}
	}
	return others
}

// try marks all that waits for the flight that begins.
func (s *Stream[R]) try() {
	for _, entries := range [][]Entry[R]{s.frozen, s.pending} {
		for i := range entries {
			entries[i].tried = true
		}
	}
}

// wanted reports whether the stream holds events that are to be stored: all but
// those of callers who gave up before any work began.
func (s *Stream[R]) wanted() bool {
	for _, entries := range [][]Entry[R]{s.frozen, s.pending} {
		for i := range entries {
			e := &entries[i]
			if e.Urgency != Admission || e.Ticket != nil && e.Ticket.waiting > 0 {
				return true
			}
		}
	}
	return false
}
