package delivery

import (
	"slices"
	"time"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/tlog"
)

// state says where a stream is on its way to its sink.
type state int8

const (
	parked  state = iota // nothing is to be sent, or nothing wanted; also between two other states
	queued               // it waits for a worker
	sending              // its batch is in a call
	backoff              // it waits until it is sent again
	ended                // a sink has refused an event for good, and no fallback took the stream
)

// trust says what is known of a stream's batch, and so which calls may take it.
type trust int8

const (
	clean   trust = iota // it has not been sent to this sink
	suspect              // it is ambiguous; it may share calls with others that are
	hanging              // a call of its own did not return in time
)

// Stream is a FIFO queue of one writer's events. Its Queue's lock guards what
// stands below the first two fields.
type Stream[R Record] struct {
	ID  uuid.UUID
	Job uuid.UUID // whose events they are; zero for the recorder's own

	pending []Entry[R] // without a place yet
	batch   []Entry[R] // handed over and not resolved: the batch
	records []R        // of the batch, one for one
	seq     uint64     // of the newest record
	prev    tlog.Hash  // and its hash
	newest  uuid.UUID  // and the event's ID
	after   *Head      // of a resumed stream, until its first event has its place
	acked   Head       // the newest event known to be stored; zero if there is none

	state       state
	to          *sinkQueue[R]
	prior, next *Stream[R] // in its list, if it is queued
	call        *call[R]   // that its batch is in, if it is sending
	retry       *time.Timer

	trust      trust
	recoveries uint64 // of its sink and trust, when this stream failed last
	maxParts   int    // how many streams its next call may have: a third of those of a call that failed
	shared     int    // how many streams were in the largest call that failed
	probed     bool   // a short call of its own has timed out
	isolating  bool   // a record of the batch is refused: one at a time finds out which
	single     bool   // see Queue.OpenSingle
	group      uint64 // the number of its SendTogether; 0 once it has been in a call
	failures   int    // of calls of its own, since it was stored last; those that only took their short time do not count
	reported   bool   // Failed was called for them
	refused    error  // why it has ended

	background, reserved usage

	// The first memory of pending and records: most jobs need no more.
	ownPending [3]Entry[R]
	ownRecords [3]R
}

// placeBytes is what most events need for their place, in bytes.
const placeBytes = 192

// alone reports whether the stream's next call is its own.
func (s *Stream[R]) alone() bool { return s.single || s.isolating || s.trust == hanging }

// nextRecords returns the records that the next call gets.
func (s *Stream[R]) nextRecords() []R {
	if s.isolating {
		return s.records[:1]
	}
	return s.records
}

// place gives the next batch its place, unless there is one already. It returns
// the entries that can have none.
func (s *Stream[R]) place() (unplaceable []unplaceableEntry[R]) {
	if len(s.batch) > 0 {
		return nil
	}
	size, n := 0, 0
	for n < len(s.pending) && n < MaxBatchRecords && size < maxBatchBytes {
		size += s.pending[n].bytes()
		n++
	}
	if n == len(s.pending) {
		s.batch, s.pending = s.pending, s.batch[:0]
	} else {
		s.batch = append(s.batch[:0], s.pending[:n]...)
		s.pending = slices.Delete(s.pending, 0, n)
	}
	if s.records = s.ownRecords[:0]; n > len(s.ownRecords) {
		s.records = make([]R, 0, n)
	}
	var buf []byte // one for few records: as long as one of them is kept, it keeps the memory of all
	if n > 1 && n <= len(s.ownRecords) {
		buf = make([]byte, 0, size+n*placeBytes)
	}
	kept := 0
	for i := range s.batch {
		e := &s.batch[i]
		if e.gap != nil {
			e.Event = e.gap.encode(e.gap.Loss)
		}
		id := e.Event.ID() // read first: Place may hand the Event's memory to another one
		r, left, err := e.Event.Place(Position{Stream: s.ID, Seq: s.seq + 1, Prev: s.prev, After: s.after}, buf)
		buf = left
		if err != nil {
			unplaceable = append(unplaceable, unplaceableEntry[R]{s, *e, id, err})
			continue
		}
		s.seq++
		s.prev, s.newest, s.after, e.Event = r.Hash(), id, nil, nil
		s.records = append(s.records, r)
		s.batch[kept] = *e
		kept++
	}
	clear(s.batch[kept:])
	s.batch = s.batch[:kept]
	return unplaceable
}

// ackedUpTo notes that the first n records of the batch are stored, most often all.
// The rest is ackedAt's: copies of a record in this frame would make a worker's stack,
// which begins small, grow.
func (s *Stream[R]) ackedUpTo(n int) {
	switch n {
	case 0:
	case len(s.records):
		s.acked = Head{Stream: s.ID, Seq: s.seq, Hash: s.prev, Event: s.newest}
	default:
		s.ackedAt(n)
	}
}

func (s *Stream[R]) ackedAt(n int) {
	r := s.records[n-1]
	s.acked = Head{Stream: s.ID, Seq: s.seq - uint64(len(s.records)-n), Hash: r.Hash(), Event: r.ID()}
}

// forget takes the first n records, which are resolved, out of the batch.
func (s *Stream[R]) dropResolved(n int) {
	if n < len(s.batch) {
		s.records = s.records[n:]
		s.batch = slices.Delete(s.batch, 0, n)
		return
	}
	clear(s.batch)
	s.batch, s.records = s.batch[:0], nil
	clear(s.ownRecords[:min(n, len(s.ownRecords))])
}

// unplaceableEntry is an entry that can have no place: it can never be stored.
type unplaceableEntry[R Record] struct {
	stream *Stream[R]
	entry  Entry[R]
	event  uuid.UUID
	err    error
}

// drop counts an event as dropped, at the end of the stream, and reports whether
// it is the first in a row.
func (s *Stream[R]) drop(at time.Time, typ string, encode func(Loss) Event[R], since int64) bool {
	if n := len(s.pending); n > 0 && s.pending[n-1].gap != nil {
		g := s.pending[n-1].gap
		g.Count++
		g.To = at
		if !slices.Contains(g.Types, typ) {
			g.Types = append(g.Types, typ)
		}
		return false
	}
	g := &gap[R]{Loss: Loss{Count: 1, Types: []string{typ}, From: at, To: at}, encode: encode}
	s.pending = append(s.pending, Entry[R]{gap: g, since: since})
	return true
}

// takeBack takes the last n entries, of which the last has this Ack, out of
// pending, all or none: none if one has been handed over or another entry
// stands behind them. Their events are not touched: Place may have given their memory
// to others.
func (s *Stream[R]) takeBack(last *Ack, n int, free func(*Entry[R])) bool {
	at := len(s.pending) - n
	if at < 0 || s.pending[len(s.pending)-1].Ack != last {
		return false
	}
	for i := range s.pending[at:] {
		free(&s.pending[at+i])
	}
	s.pending = slices.Delete(s.pending, at, len(s.pending))
	return true
}

// each calls f for all entries, in their order.
func (s *Stream[R]) each(f func(e *Entry[R])) {
	for i := range s.batch {
		f(&s.batch[i])
	}
	for i := range s.pending {
		f(&s.pending[i])
	}
}

// failAdmissions fails the Admission callers whose event was added before the
// call that failed began. It reports whether callers of newer ones still wait.
func (s *Stream[R]) failAdmissions(err error) (others bool) {
	s.each(func(e *Entry[R]) {
		switch {
		case e.Urgency != Admission:
		case e.tried:
			e.Ack.resolve(err)
		case !e.Ack.resolved() && e.Ack.waiting > 0:
			others = true
		}
	})
	return others
}

// markTried says of all that the stream holds that a call has begun since it was
// added. What stands behind the batch counts too: it cannot be stored before it.
func (s *Stream[R]) markTried() {
	s.each(func(e *Entry[R]) { e.tried = true })
}

// wanted reports whether anything in the stream justifies a retry. Admission
// events that no caller waits for any more do not; all others do.
func (s *Stream[R]) wanted() (wanted bool) {
	s.each(func(e *Entry[R]) {
		wanted = wanted || e.Urgency != Admission || e.Ack != nil && e.Ack.waiting > 0
	})
	return wanted
}

// empty reports whether all that was added is resolved.
func (s *Stream[R]) empty() bool { return len(s.batch) == 0 && len(s.pending) == 0 }

// list holds streams in the order in which they came. A stream is in one list at
// most.
type list[R Record] struct {
	first, last *Stream[R]
	n           int
}

func (l *list[R]) push(s *Stream[R]) {
	l.n++
	s.prior = l.last
	if l.last != nil {
		l.last.next = s
	} else {
		l.first = s
	}
	l.last = s
}

func (l *list[R]) remove(s *Stream[R]) {
	l.n--
	if s.prior != nil {
		s.prior.next = s.next
	} else {
		l.first = s.next
	}
	if s.next != nil {
		s.next.prior = s.prior
	} else {
		l.last = s.prior
	}
	s.prior, s.next = nil, nil
}
