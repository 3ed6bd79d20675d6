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
	parked  state = iota // nothing is to be sent, or nobody wants it any more
	queued               // it waits for a worker
	sending              // its batch is in a call
	backoff              // it waits until it is sent again
	ended                // the sink has refused an event for good, and there is no fallback
)

// trust says what is known of a stream's batch, and so which calls may take it.
type trust int8

const (
	clean   trust = iota // it has not been sent: nothing is ambiguous
	suspect              // it is ambiguous; it may share calls with others that are
	hanging              // a call of its own did not return in time
)

// Stream is a FIFO queue of one writer's events. Its Queue's lock guards what
// stands below the first two fields.
type Stream[R Record] struct {
	ID  uuid.UUID
	Job uuid.UUID // whose events they are; zero for the recorder's own

	pending []Entry[R] // without a place yet
	handed  []Entry[R] // handed over and not resolved: the batch
	records []R        // of handed, one for one
	seq     uint64     // of the newest record
	prev    tlog.Hash  // and its hash
	after   *Head      // of a resumed stream, until its first event has its place
	acked   *Head      // the newest event known to be stored

	state       state
	to          *sinkQueue[R]
	prior, next *Stream[R] // in its list, if it is queued
	call        *call[R]   // that its batch is in, if it is sending
	retry       *time.Timer

	trust     trust
	forgiven  uint64 // of its sink and trust, when it failed last
	group     int    // how many streams may share its next call
	isolating bool   // a record of the batch is refused: one at a time finds out which
	single    bool   // see Queue.OpenSingle
	failures  int    // of calls of its own, since it was stored last
	refused   error  // why it has ended

	background, reserved usage
}

// alone reports whether the stream's next call is its own.
func (s *Stream[R]) alone() bool { return s.single || s.isolating || s.trust == hanging }

// batch returns the records that the next call gets.
func (s *Stream[R]) batch() []R {
	if s.isolating {
		return s.records[:1]
	}
	return s.records
}

// place gives the next batch its place, unless there is one already. It returns
// the entries that can have none.
func (s *Stream[R]) place() (misfits []misfit[R]) {
	if len(s.handed) > 0 {
		return nil
	}
	size, n := 0, 0
	for n < len(s.pending) && n < MaxBatchRecords && size < maxBatchBytes {
		size += s.pending[n].bytes()
		n++
	}
	if n == len(s.pending) {
		s.handed, s.pending = s.pending, s.handed[:0]
	} else {
		s.handed = append(s.handed[:0], s.pending[:n]...)
		s.pending = slices.Delete(s.pending, 0, n)
	}
	s.records = make([]R, 0, n)
	kept := 0
	for i := range s.handed {
		e := &s.handed[i]
		if e.gap != nil {
			e.Event = e.gap.encode(e.gap.Loss)
		}
		id := e.Event.ID() // which Place may give to another event
		r, err := e.Event.Place(Position{Stream: s.ID, Seq: s.seq + 1, Prev: s.prev, After: s.after})
		if err != nil {
			misfits = append(misfits, misfit[R]{s, *e, id, err})
			continue
		}
		s.seq++
		s.prev, s.after, e.Event = r.Hash(), nil, nil
		s.records = append(s.records, r)
		s.handed[kept] = *e
		kept++
	}
	clear(s.handed[kept:])
	s.handed = s.handed[:kept]
	return misfits
}

// misfit is an entry of a stream that can never be stored.
type misfit[R Record] struct {
	stream *Stream[R]
	entry  Entry[R]
	event  uuid.UUID
	err    error
}

// drop counts an event as dropped, at the end of the stream, and reports whether
// it is the first in a row.
func (s *Stream[R]) drop(at time.Time, typ string, encode func(Loss) Event[R]) bool {
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
	s.pending = append(s.pending, Entry[R]{gap: g, since: now()})
	return true
}

func now() int64 { return time.Now().UnixNano() }

// takeBack takes the last n entries, of which the last has this Ack, out of
// pending, all or none: none if one has been handed over or another entry
// stands behind them. An event that was handed over is no longer its caller's,
// so nothing is asked of events here.
func (s *Stream[R]) takeBack(last *Ack, n int) bool {
	at := len(s.pending) - n
	if at < 0 || s.pending[len(s.pending)-1].Ack != last {
		return false
	}
	s.pending = slices.Delete(s.pending, at, len(s.pending))
	return true
}

// each calls f for all entries, in their order.
func (s *Stream[R]) each(f func(e *Entry[R])) {
	for i := range s.handed {
		f(&s.handed[i])
	}
	for i := range s.pending {
		f(&s.pending[i])
	}
}

// answer gives err to the callers who must know before work begins, but for
// those who came when the call that failed was under way. It reports whether
// there are such.
func (s *Stream[R]) answer(err error) (others bool) {
	s.each(func(e *Entry[R]) {
		switch {
		case e.Urgency != Admission:
		case e.tried:
			e.Ack.resolve(err)
		case !e.Ack.resolved():
			others = true
		}
	})
	return others
}

// tryAll marks all that waits for the call that begins.
func (s *Stream[R]) tryAll() {
	s.each(func(e *Entry[R]) { e.tried = true })
}

// wanted reports whether the stream holds events that are to be stored: all but
// those of callers who gave up before any work began.
func (s *Stream[R]) wanted() (wanted bool) {
	s.each(func(e *Entry[R]) {
		wanted = wanted || e.Urgency != Admission || e.Ack != nil && e.Ack.waiting > 0
	})
	return wanted
}

// empty reports whether all that was sent is resolved.
func (s *Stream[R]) empty() bool { return len(s.handed) == 0 && len(s.pending) == 0 }

// list holds streams in the order in which they came. A stream is in one list at
// most.
type list[R Record] struct{ first, last *Stream[R] }

func (l *list[R]) push(s *Stream[R]) {
	s.prior = l.last
	if l.last != nil {
		l.last.next = s
	} else {
		l.first = s
	}
	l.last = s
}

func (l *list[R]) remove(s *Stream[R]) {
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
