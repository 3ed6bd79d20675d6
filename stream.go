package jobaudit

import (
	"container/list"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
)

// urgency says who waits for an event.
type urgency int8

const (
	background urgency = iota // nobody: it is dropped when the buffer is full
	notice                    // nobody: it says why nothing follows
	admission                 // a caller who must know before work begins
	outcome                   // a caller who waits through retries
)

// entry is an event on its way to the sink, or, with loss set, a place where
// events were dropped.
type entry struct {
	sealed
	urgency urgency
	size    int  // of the sealed event, if it counts towards the buffer
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

// ticket lets callers wait for an entry: done receives nil once it is stored,
// or the error that the caller is to get.
type ticket struct {
	done chan error
	next *ticket // another caller's, for the same entry
}

func newTicket(next *ticket) *ticket { return &ticket{done: make(chan error, 1), next: next} }

func (t *ticket) resolve(err error) {
	for ; t != nil; t = t.next {
		select {
		case t.done <- err:
		default: // it has its answer
		}
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
	place    *list.Element // in the lane's queue
	flight   int           // number of the newest flight
	flying   bool          // it has not landed
	doubt    bool          // frozen may be stored, in part or in whole
	again    bool          // fly again at once: somebody came too late for a flight that failed
	oneByOne bool          // a record of frozen is refused: find out which
	verdict  bool          // its one event flies alone, and a refusal is for its caller to judge
	failures int
	retry    *time.Timer
	refused  error // the stream has ended: why
}

// bufPool holds the buffers that events wait in until they are minted.
var bufPool = sync.Pool{New: func() any { return new([]byte) }}

func releaseBuffer(e *entry) {
	buf := e.buf[:0]
	e.buf = nil
	bufPool.Put(&buf)
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
	s.frozen = slices.Clone(s.pending[:n])
	s.pending = slices.Delete(s.pending, 0, n)
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

// remove takes the entries with these IDs out of pending, all or none.
func (s *stream) remove(ids []uuid.UUID) bool {
	mine := func(e entry) bool { return e.loss == nil && slices.Contains(ids, e.id) }
	found := 0
	for _, e := range s.pending {
		if mine(e) {
			found++
		}
	}
	if found < len(ids) {
		return false
	}
	s.pending = slices.DeleteFunc(s.pending, mine)
	return true
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
			default:
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

// wanted reports whether the stream holds events that are to be stored though
// no caller may be waiting: all but those of a caller who gave up before any
// work began.
func (s *stream) wanted() bool {
	for _, entries := range [][]entry{s.frozen, s.pending} {
		for i := range entries {
			if entries[i].urgency != admission {
				return true
			}
		}
	}
	return false
}
