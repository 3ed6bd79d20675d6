package jobaudit

import (
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
)

// urgency says who waits for an event.
type urgency int8

const (
	background urgency = iota // nobody: it is dropped when the buffer is full
	notice                    // nobody for long: it says why no work is done
	admission                 // a caller who must know before work begins
	outcome                   // a caller who waits through retries
)

// entry is an event on its way to the sink, or, with loss set, a place where
// events were dropped.
type entry struct {
	sealed
	pooled  *[]byte // where buf goes back to
	urgency urgency
	size    int  // what it counts for in the buffer, or among the notices
	tried   bool // a flight that has begun since decides over it
	ticket  *ticket
	loss    *loss
}

// loss counts events that were dropped one after the other. It becomes an
// audit.lost event, which takes the first one's ID.
type loss struct {
	draft draft
	data  lostData
}

// ticket lets callers wait for an entry. A courier's lock guards waiting, and
// err until done is closed.
type ticket struct {
	done    chan struct{} // closed when there is an answer
	err     error         // the answer: nil once the entry is stored
	waiting int           // callers who wait for it
}

func newTicket() *ticket { return &ticket{done: make(chan struct{}), waiting: 1} }

// resolved reports whether there is an answer. No ticket is as good as one
// that has its answer.
func (t *ticket) resolved() bool {
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

func (t *ticket) resolve(err error) {
	if !t.resolved() {
		t.err, t.waiting = err, 0
		close(t.done)
	}
}

// stream is the events of one writer, in order, on their way. Its courier's
// lock guards what stands below mu.
type stream struct {
	id  uuid.UUID
	env *envelope

	_       struct{}    // guarded by courier.mu:
	after   *streamHead // of a resumed stream, until its first event is minted
	pending []entry     // not handed over yet
	frozen  []entry     // handed over and not resolved
	records []Record    // of frozen, one for one
	seq     uint64      // of the newest record minted
	prev    Hash        // and its hash
	acked   *streamHead // the newest event known to be stored

	lane     *lane
	queued   bool // in the lane's queue, between these:
	prior    *stream
	next     *stream
	flight   int  // number of the newest flight
	flying   bool // it has not landed
	doubt    bool // frozen may be stored, in part or in whole
	again    bool // fly again at once: somebody came too late for a flight that failed
	oneByOne bool // a record of frozen is refused: find out which
	verdict  bool // its one event flies alone, and a refusal is for its caller to judge
	failures int
	retry    *time.Timer
	refused  error // the stream has ended: why
}

// streamQueue holds streams in the order in which they came. A stream is in one
// queue at most.
type streamQueue struct{ first, last *stream }

func (q *streamQueue) push(s *stream) {
	s.queued, s.prior = true, q.last
	if q.last != nil {
		q.last.next = s
	} else {
		q.first = s
	}
	q.last = s
}

func (q *streamQueue) remove(s *stream) {
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

// bufPool holds the buffers that events wait in until they are minted.
var bufPool = sync.Pool{New: func() any { return new([]byte) }}

// releaseBuffer gives back the buffer of an event that has been minted.
func releaseBuffer(e *entry) {
	if e.pooled != nil {
		*e.pooled = e.buf[:0]
		bufPool.Put(e.pooled)
	}
	e.buf, e.pooled = nil, nil
}

// mint freezes the next batch, unless one is frozen already.
func (s *stream) mint() {
	if len(s.frozen) > 0 {
		return
	}
	size, n := 0, 0
	for n < len(s.pending) && n < maxBatchRecords && size < maxBatchBytes {
		size += len(s.pending[n].buf)
		n++
	}
	if n == len(s.pending) {
		s.frozen, s.pending = s.pending, s.frozen[:0]
	} else {
		s.frozen = append(s.frozen[:0], s.pending[:n]...)
		s.pending = slices.Delete(s.pending, 0, n)
	}
	s.records = make([]Record, 0, n)
	for i := range s.frozen {
		e := &s.frozen[i]
		if e.loss != nil {
			e.loss.draft.data = payload{lost: &e.loss.data}
			e.sealed = s.env.seal(nil, &e.loss.draft)
		}
		s.seq++
		r := e.mint(position{stream: s.id, seq: s.seq, prev: s.prev, after: s.after})
		s.prev, s.after = r.hash, nil
		s.records = append(s.records, r)
		releaseBuffer(e)
	}
}

// lose counts an event as dropped, at the end of the stream, and reports
// whether it is the first in a row.
func (s *stream) lose(d *draft) bool {
	if n := len(s.pending); n > 0 && s.pending[n-1].loss != nil {
		l := &s.pending[n-1].loss.data
		l.count++
		l.to = d.time
		s.pending[n-1].loss.draft.time = d.time
		if !slices.Contains(l.types, d.typ) {
			l.types = append(l.types, d.typ)
		}
		return false
	}
	l := &loss{draft: *d, data: lostData{count: 1, types: []EventType{d.typ}, from: d.time, to: d.time}}
	l.draft.typ, l.draft.redaction, l.draft.data = AuditLost, nil, payload{}
	s.pending = append(s.pending, entry{loss: l})
	return true
}

// takeBack takes the last n entries, of which the first has this ID, out of
// pending, all or none: none if one has been handed over or another entry
// stands behind them.
func (s *stream) takeBack(first uuid.UUID, n int) bool {
	at := len(s.pending) - n
	if at < 0 || s.pending[at].loss != nil || s.pending[at].id != first {
		return false
	}
	s.pending = slices.Delete(s.pending, at, len(s.pending))
	return true
}

// held is the size of what the stream keeps.
func (s *stream) held() int {
	size := 0
	for i := range s.records {
		size += s.records[i].Len()
	}
	for i := range s.pending {
		size += len(s.pending[i].buf)
	}
	return size
}

// answer gives err to the callers who must know before work begins, but for
// those who came when the flight that failed was under way. It reports whether
// there are such.
func (s *stream) answer(err error) (others bool) {
	for _, entries := range [][]entry{s.frozen, s.pending} {
		for i := range entries {
			switch e := &entries[i]; {
			case e.urgency != admission:
			case e.tried:
				e.ticket.resolve(err)
			case !e.ticket.resolved():
				others = true
			}
		}
	}
	return others
}

// try marks all that waits for the flight that begins.
func (s *stream) try() {
	for _, entries := range [][]entry{s.frozen, s.pending} {
		for i := range entries {
			entries[i].tried = true
		}
	}
}

// wanted reports whether the stream holds events that are to be stored: all but
// those of callers who gave up before any work began.
func (s *stream) wanted() bool {
	for _, entries := range [][]entry{s.frozen, s.pending} {
		for i := range entries {
			e := &entries[i]
			if e.urgency != admission || e.ticket != nil && e.ticket.waiting > 0 {
				return true
			}
		}
	}
	return false
}
