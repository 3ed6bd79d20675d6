package delivery

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Queue is a delivery queue: it sends the events of streams to a sink, in
// batches, and again until they are stored. It is safe for concurrent use. Its
// lock is never held during a call of a sink or of a function in [Options]. An
// Event's methods and the function given to Drop are called with it held, and
// must not call the Queue.
type Queue[R Record] struct {
	opts Options[R]

	began  time.Time       // what is waiting is dated by how long after this it came, whatever the wall clock does
	ctx    context.Context // of all calls: it ends when the Queue stops
	cancel context.CancelFunc

	mu             sync.Mutex
	main, fallback sinkQueue[R]
	active         map[*Stream[R]]struct{} // streams that are queued, sending or in backoff
	idle           chan struct{}           // closed when nothing is to be stored, if somebody waits
	background     room
	reserved       room
	refusals       room
	callbacks      int // completed calls whose callbacks have not returned
	stopped        bool
	lastGroup      uint64 // the number of the newest SendTogether
	failedOver     bool   // the fallback has taken records since the main sink took some
	untoldRecovery bool   // and the owner has not been told that it takes some again
	stats          Stats

	telling sync.Mutex // held while the owner learns of failedOver, so that its newest value comes last
}

// New returns a Queue for a sink and, if it is not nil, for the fallback that
// takes streams which the sink does not.
func New[R Record](sink, fallback Sink[R], opts Options[R]) *Queue[R] {
	ctx, cancel := context.WithCancel(context.Background())
	return &Queue[R]{
		opts: opts, began: time.Now(), ctx: ctx, cancel: cancel,
		main:       sinkQueue[R]{sink: sink, immediate: opts.Immediate},
		fallback:   sinkQueue[R]{sink: fallback},
		active:     map[*Stream[R]]struct{}{},
		background: room{maxEvents: opts.Capacity, maxBytes: maxBackgroundBytes},
		reserved:   room{maxEvents: maxReserved, maxBytes: maxReservedBytes},
		refusals:   room{maxEvents: maxRefusals, maxBytes: maxRefusalBytes},
	}
}

// now is the time by the clock that does not step, in nanoseconds, and never 0.
func (q *Queue[R]) now() int64 { return int64(time.Since(q.began)) + 1 }

// Open returns a new stream, which follows after, if that is not nil.
func (q *Queue[R]) Open(id, job uuid.UUID, after *Head) *Stream[R] {
	return q.OpenIn(new(Stream[R]), id, job, after)
}

// OpenIn is Open for a zero Stream that is there already.
func (q *Queue[R]) OpenIn(s *Stream[R], id, job uuid.UUID, after *Head) *Stream[R] {
	s.ID, s.Job, s.after, s.to, s.maxParts = id, job, after, &q.main, MaxBatchRecords
	s.pending = s.ownPending[:0]
	if after != nil {
		s.acked = *after
	}
	return s
}

// OpenSingle returns a stream for one event, which goes in a call of its own. A
// refusal is for its caller to judge: it is not reported otherwise, and the fallback
// does not get the event.
func (q *Queue[R]) OpenSingle(id, job uuid.UUID) *Stream[R] {
	s := q.Open(id, job, nil)
	s.single = true
	return s
}

func (q *Queue[R]) usable(s *Stream[R]) error {
	switch {
	case s.refused != nil:
		return s.refused
	case q.stopped:
		return q.opts.Closed
	}
	return nil
}

// Send puts entries at the end of a stream, to be sent as soon as possible. Only the
// first may be one that needs room: the error is [ErrFull] if it has none.
func (q *Queue[R]) Send(s *Stream[R], entries ...Entry[R]) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.add(s, entries); err != nil {
		return err
	}
	q.enqueue(s)
	return nil
}

// SendTogether puts one entry into each of several new streams; the entries need no
// room. They go in one call, however many they are; what the sink does not take then
// goes in smaller ones.
func (q *Queue[R]) SendTogether(streams []*Stream[R], entries []Entry[R]) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, s := range streams {
		if err := q.usable(s); err != nil {
			return err
		}
	}
	q.lastGroup++
	for i, s := range streams {
		_ = q.add(s, entries[i:i+1])
		q.active[s] = struct{}{}
		s.group, s.state = q.lastGroup, queued
		s.to.waiting[s.trust].push(s)
	}
	q.dispatch(&q.main)
	return nil
}

// SendDirect is Send for a caller that is going to wait for the last entry. If the
// sink is immediate and no stream waits for it, the caller makes the call itself: it
// gets one, which it gives to Make once it has released its own locks.
func (q *Queue[R]) SendDirect(s *Stream[R], entries ...Entry[R]) (*call[R], error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.add(s, entries); err != nil {
		return nil, err
	}
	q.active[s] = struct{}{}
	if !s.to.direct(s) {
		q.enqueue(s)
		return nil, nil
	}
	s.to.waiting[clean].push(s)
	s.to.workers++
	c := q.assemble(s.to)
	c.direct = true
	return c, nil
}

// Make makes a call that SendDirect has returned. It does nothing without one.
func (q *Queue[R]) Make(c *call[R]) {
	if c != nil {
		q.makeCall(c)
	}
}

// add puts entries at the end of a stream.
func (q *Queue[R]) add(s *Stream[R], entries []Entry[R]) error {
	if err := q.usable(s); err != nil {
		return err
	}
	if !q.takeRoom(s, &entries[0]) {
		return ErrFull
	}
	at := q.now()
	for i := range entries {
		entries[i].since = at
	}
	if cap(s.pending) == 0 && len(s.batch) == 0 {
		s.pending, s.batch = s.batch, nil // the memory of the last batch
	}
	s.pending = append(s.pending, entries...)
	return nil
}

// Offer puts an event that no caller waits for at the end of a stream if there is
// room, and reports whether there was. It does not hasten a retry.
func (q *Queue[R]) Offer(s *Stream[R], e Entry[R]) (bool, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.usable(s); err != nil {
		return false, err
	}
	if !q.takeRoom(s, &e) {
		return false, nil
	}
	e.since = q.now()
	s.pending = append(s.pending, e)
	q.enqueueUnlessBackoff(s)
	return true, nil
}

// Drop counts an event that Offer had no room for. The event that encode makes
// of the count stands where it would have stood. Drop reports whether it is the
// first in a row.
func (q *Queue[R]) Drop(s *Stream[R], at time.Time, typ string, encode func(Loss) Event[R]) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.usable(s) != nil {
		return false
	}
	q.stats.Lost++
	first := s.drop(at, typ, encode, q.now())
	q.enqueueUnlessBackoff(s)
	return first
}

// Flush returns an acknowledgement of all that the stream holds, nil if it holds
// nothing. It is the last entry's: that of an Admission event may fail early.
func (q *Queue[R]) Flush(s *Stream[R]) (*Ack, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.usable(s); err != nil {
		return nil, err
	}
	last := s.batch
	if len(s.pending) > 0 {
		last = s.pending
	}
	if len(last) == 0 {
		return nil, nil
	}
	e := &last[len(last)-1]
	if e.Ack.resolved() {
		e.Ack = NewAck()
	} else {
		e.Ack.waiting++
	}
	q.enqueue(s)
	return e.Ack, nil
}

// Wait returns the answer, or an error if ctx or the time ends first: the event
// may be stored all the same. If nothing in the stream is wanted any more then, it is
// not sent again but for a shared call that fails, which is split. A nil Ack has
// nothing to wait for.
func (q *Queue[R]) Wait(ctx context.Context, s *Stream[R], a *Ack, timeout time.Duration) error {
	if a == nil {
		return nil
	}
	if a.resolved() { // an answer counts even if the context has ended by then
		return a.err
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	var err error
	select {
	case <-q.answer(a):
		return a.err
	case <-ctx.Done():
		err = fmt.Errorf("not known to be stored: %w", ctx.Err())
	case <-timer.C:
		err = fmt.Errorf("not known to be stored within %v: %w", timeout, context.DeadlineExceeded)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if a.resolved() {
		return a.err
	}
	a.waiting = max(a.waiting-1, 0)
	q.parkUnlessWanted(s)
	return err
}

// answer returns a channel that is closed when there is an answer.
func (q *Queue[R]) answer(a *Ack) <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if a.done == nil {
		a.done = make(chan struct{})
		if a.resolved() {
			close(a.done)
		}
	}
	return a.done
}

// Withdraw takes back the entries of a caller who has given up, and reports
// whether it could. What has been handed over stays, and so does what another
// caller waits for or builds on.
func (q *Queue[R]) Withdraw(s *Stream[R], entries []Entry[R]) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	a := entries[len(entries)-1].Ack
	if a == nil || a.waiting > 0 || !s.takeBack(a, len(entries), func(e *Entry[R]) { q.freeRoom(s, e) }) {
		return false
	}
	q.parkUnlessWanted(s)
	return true
}

// Forget takes an entry of a caller who has given up, the one with this Ack, out of a
// stream, unless it has been handed over. What stands behind it must make sense without it.
func (q *Queue[R]) Forget(s *Stream[R], a *Ack) {
	q.mu.Lock()
	defer q.mu.Unlock()
	at := slices.IndexFunc(s.pending, func(e Entry[R]) bool { return e.Ack == a })
	if at < 0 || a.waiting > 0 {
		return
	}
	q.freeRoom(s, &s.pending[at])
	s.pending = slices.Delete(s.pending, at, at+1)
	q.parkUnlessWanted(s)
}

// parkUnlessWanted stops sending a stream if nothing in it is wanted any more.
// Its events stay with it, in case more are sent.
func (q *Queue[R]) parkUnlessWanted(s *Stream[R]) {
	if s.state == sending || s.wanted() {
		return
	}
	q.park(s)
}

func (q *Queue[R]) park(s *Stream[R]) {
	q.unqueue(s)
	delete(q.active, s)
	q.checkIdle()
}

func (q *Queue[R]) busy() bool { return len(q.active) > 0 || q.callbacks > 0 }

func (q *Queue[R]) checkIdle() {
	if !q.busy() && q.idle != nil {
		close(q.idle)
		q.idle = nil
	}
}

// FailOver sends a stream's events to the fallback from now on, ambiguous ones
// as the very same records. It does nothing to a stream that holds nothing that is wanted,
// nor to a single one: its caller is to know that it was not stored. It reports whether what the stream holds is on its way there.
func (q *Queue[R]) FailOver(s *Stream[R]) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.failOver(s)
}

func (q *Queue[R]) failOver(s *Stream[R]) bool {
	switch {
	case q.fallback.sink == nil || q.usable(s) != nil || s.single || !s.wanted():
		return false
	case s.to == &q.fallback:
		return true
	}
	q.unqueue(s)
	s.to = &q.fallback
	s.call = nil // the answer of a call that is under way does not count
	s.trust, s.maxParts, s.isolating, s.failures, s.reported = clean, MaxBatchRecords, false, 0, false
	s.shared, s.probed = 0, false
	q.enqueue(s)
	return true
}

// Drain waits until nothing is left to store and all callbacks have returned, until the
// Queue is stopped, which is an error, or until ctx ends. Streams that are in backoff
// are sent at once.
func (q *Queue[R]) Drain(ctx context.Context) error {
	q.mu.Lock()
	if q.stopped {
		q.mu.Unlock()
		return q.opts.Closed
	}
	for s := range q.active {
		if s.state == backoff {
			q.enqueue(s)
		}
	}
	if !q.busy() {
		q.mu.Unlock()
		return nil
	}
	if q.idle == nil {
		q.idle = make(chan struct{})
	}
	idle := q.idle
	q.mu.Unlock()
	select {
	case <-idle:
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.stopped {
			return q.opts.Closed
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Outstanding returns the streams with something that is to be stored, or is being stored.
func (q *Queue[R]) Outstanding() []*Stream[R] {
	q.mu.Lock()
	defer q.mu.Unlock()
	streams := make([]*Stream[R], 0, len(q.active))
	for s := range q.active {
		streams = append(streams, s)
	}
	return streams
}

// Stop ends all retries and calls, and returns how many events that were still to be
// stored are not known to be, dropped ones included. It does not wait for the calls
// under way: what they answer does not count in Stats.
func (q *Queue[R]) Stop() (lost int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stopped {
		return 0
	}
	q.stopped = true
	q.cancel()
	for s := range q.active {
		q.unqueue(s)
		s.each(func(e *Entry[R]) {
			lost += e.events()
			if e.gap == nil {
				q.stats.Lost++
			}
			e.Ack.resolve(q.opts.Closed)
		})
	}
	clear(q.active)
	if q.idle != nil {
		close(q.idle)
		q.idle = nil
	}
	return lost
}

// Head returns the newest event of the stream known to be stored: the one that a
// resumed stream follows until its own first is stored, nil if there is none.
func (q *Queue[R]) Head(s *Stream[R]) *Head {
	q.mu.Lock()
	defer q.mu.Unlock()
	if s.acked.Seq == 0 {
		return nil
	}
	head := s.acked
	return &head
}

// HandedOver reports whether the sink may have seen anything of the stream.
func (q *Queue[R]) HandedOver(s *Stream[R]) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return s.seq > 0
}

// Stats returns what the Queue has done and holds. It looks at every stream that
// has something to store.
func (q *Queue[R]) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	stats := q.stats
	var oldest int64
	for s := range q.active {
		s.each(func(e *Entry[R]) {
			stats.Buffered++
			if oldest == 0 || e.since < oldest {
				oldest = e.since
			}
		})
	}
	if oldest != 0 {
		stats.Oldest = time.Now().Add(-time.Duration(q.now() - oldest))
	}
	return stats
}
