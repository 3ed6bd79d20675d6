// Package delivery hands the events of many streams over to a sink that may be
// slow, fail, hang or refuse, and keeps each stream in order.
//
// A [Queue] is a delivery queue with batching, retries and failover. It has one
// queue of streams per sink: the main sink's and the fallback's. Workers take
// streams from it, put their next events together into one call of the sink's
// Append, and tell the callers that wait for an event what became of it.
//
// An event gets its place in its stream when it is handed over for the first
// time. From then on it is a record, whose bytes do not change. A call that
// fails leaves open which of its records are stored: they are ambiguous, and
// those records, and only those, are sent again until the sink has taken or
// refused them. Records are linked by their hashes, so a later one is not sent
// before an earlier one is resolved: a stream has at most one batch under way or
// ambiguous.
//
// Retries go on while a stream holds anything but Admission events that nobody waits
// for any more. A stream goes over to the fallback when its owner calls FailOver or
// when the sink refuses one of its records, and never back. A sink must return when
// its context ends, accept a record again that it holds already, and allow calls
// beside each other; one that ignores its context keeps a worker for as long as it
// does.
//
// The owner of a Queue is the recorder of an audit log, and its streams are those of
// jobs and of the recorder itself. A resumed stream is a new one, which counts from 1
// again; its first event names the last one of the stream that it follows. In the
// comments here, a caller adds (or queues) events, a call is one call of a sink's
// Append, and a callback is one of the functions in [Options].
//
// # Fault isolation
//
// When a call that carries several streams fails, its streams are sent again in
// groups of a third of the size, until one stream fails alone. The time that these
// calls get is in proportion to the group's part of all such streams. So, however many
// streams fail, those for which the sink works are found and stored before their
// callers give up, provided that the sink is as fast as before. A stream whose short
// call of its own timed out gets the whole time, later.
// On one sink at most four calls run at once; at most two of them carry ambiguous
// batches, and at most one of these is for a stream whose own call timed out. The
// others stay free for streams for which the sink works. As soon as a stream is stored that
// had failed alone, the sink is presumed to have recovered, and others that have failed
// no worse than it may share calls again.
package delivery

import (
	"context"
	"errors"
	"sync/atomic"
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

// Event is an encoded event that lacks its place.
type Event[R Record] interface {
	ID() uuid.UUID
	Size() int // in bytes, without what says its place
	// Place makes the event a record. It is called once. The record's bytes may
	// be made in the free part of buf, of which what is left is returned. An
	// error says that the event can never be stored: the stream goes on without it.
	Place(p Position, buf []byte) (r R, left []byte, err error)
}

// Position is an event's place in its stream. After is nil but on the first
// event of a resumed stream.
type Position struct {
	Stream uuid.UUID
	Seq    uint64
	Prev   tlog.Hash
	After  *Head
}

// Head names an event of a stream. Event may be the zero UUID.
type Head struct {
	Stream uuid.UUID
	Seq    uint64
	Hash   tlog.Hash
	Event  uuid.UUID
}

// Urgency says who waits for an event, and what room it has.
type Urgency int8

const (
	Background Urgency = iota // no caller waits: it is dropped when the buffer is full
	Snapshot                  // it has room while less than half of what is reserved is taken
	Reserved                  // it has room in all that is reserved
	JobRefused                // says that a job was refused: it has a room of its own, and is sent on when its caller gives up
	Admission                 // a caller waits who must know before work begins: it fails with the first call that fails, and is not retried once nobody waits
	Outcome                   // it is retried until stored; that nobody waits changes nothing
)

// Entry is an event on its way to the sink, or, with a gap, a place where events
// were dropped.
type Entry[R Record] struct {
	Event   Event[R] // nil once it has its place
	Urgency Urgency
	Ack     *Ack  // nil if no caller waits
	size    int   // what it takes of its room; 0 if it takes none
	since   int64 // when it was added, by the Queue's now
	tried   bool  // a call of its stream has begun since it was added
	gap     *gap[R]
}

// Loss counts events that were dropped one after the other.
type Loss struct {
	Count    int
	Types    []string
	From, To time.Time
}

// gap is a loss, and what makes the event that records it.
type gap[R Record] struct {
	Loss
	encode func(Loss) Event[R]
}

// events is how many events an entry stands for.
func (e *Entry[R]) events() int {
	if e.gap != nil {
		return e.gap.Count
	}
	return 1
}

// bytes is the size of an event that has no place yet.
func (e *Entry[R]) bytes() int {
	if e.Event == nil {
		return 0
	}
	return e.Event.Size()
}

// Ack is an acknowledgement that callers wait for. The queue's lock guards done
// and waiting, and err until it is answered.
type Ack struct {
	answered atomic.Bool
	done     chan struct{} // closed when there is an answer; nil while no caller waits
	err      error         // the answer: nil once the event is stored
	waiting  int           // callers who wait for it, or are going to
}

// NewAck returns an acknowledgement that one caller waits for.
func NewAck() *Ack { return new(Ack).Awaited() }

// Awaited makes a zero Ack one that one caller waits for.
func (a *Ack) Awaited() *Ack {
	a.waiting = 1
	return a
}

// resolved reports whether there is an answer. No Ack is as good as one that
// has its answer.
func (a *Ack) resolved() bool { return a == nil || a.answered.Load() }

func (a *Ack) resolve(err error) {
	if a.resolved() {
		return
	}
	a.err, a.waiting = err, 0
	a.answered.Store(true)
	if a.done != nil {
		close(a.done)
	}
}

// Options are what a Queue needs to know of its owner. The functions are called
// from the queue's goroutines, and from those that call Make, with no lock held:
// beside each other and in any order, after Stop too; FailedOver and Recovered alone
// come one after the other. They may call the Queue, but for Make, and must not wait.
type Options[R Record] struct {
	Immediate bool          // the main sink's Append does not wait: see SendDirect
	Timeout   time.Duration // of one Append, at most
	Capacity  int           // background events kept at most
	Closed    error         // what the Queue's methods return once it is stopped
	// Definite reports whether an error, which may be nil, says that a record will
	// never be stored.
	Definite func(error) bool
	// Bounded returns a sink's error, or one with its text if it cannot be unwrapped
	// in bounded time, as when its chain has no end.
	Bounded func(error) error
	// Failed is called when a stream's own call has failed and its outcome is
	// unknown: once, until the sink takes the stream's records again.
	Failed func(s *Stream[R], err error)
	// Refused is called with an event that the sink refuses for good. lost is how
	// many events are lost by that, the event included, and those that Drop counted
	// before: 0 if the fallback gets them. The stream goes on without an event that can
	// have no place.
	Refused func(s *Stream[R], event uuid.UUID, lost int, err error)
	// FailedOver is called each time that the fallback has taken records, Recovered
	// once when the main sink takes some after that.
	FailedOver, Recovered func()
}

// ErrFull says that there is no room for an event that may not be dropped.
var ErrFull = errors.New("the buffer is full until the sink takes events again: events that no caller waits for are dropped meanwhile, and counted in an audit.lost event")

// errGoexit is the answer of a sink that gave none.
var errGoexit = errors.New("the sink's Append ended its goroutine")

// Stats are what a Queue has done, and what it holds.
type Stats struct {
	Stored   uint64    // events that the main sink has acknowledged
	Fallback uint64    // events that the fallback has acknowledged
	Lost     uint64    // events that were dropped or refused, or left over by Stop
	Buffered int       // events that are to be sent, or are being sent
	Oldest   time.Time // when the oldest of these was added; zero if there is none
	Err      error     // why the newest call of the main sink failed; nil if it did not
	FailedAt time.Time // when a call of the main sink failed last; zero if never
	LastErr  error     // and why
}
