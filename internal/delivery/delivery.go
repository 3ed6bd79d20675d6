package delivery

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Bounds of one Append, and of how many run at once on one sink. While so many
// run, what is recorded gathers for the next.
const (
	maxFlights      = 4
	MaxBatchRecords = 256
	maxBatchBytes   = 1 << 20
)

// Bounds of what is kept that no caller waits for: the size of Background
// events, whose number the user bounds; the number of notices, and the size of
// them and of the events before them that they keep in memory.
const (
	maxBufferBytes = 16 << 20
	maxNotices     = 10_000
	maxNoticeBytes = 16 << 20
)

// Waits between attempts to store the same batch again.
const (
	firstBackoff = 10 * time.Millisecond
	lastBackoff  = 2 * time.Second
)

// courier hands the events of a recorder's streams over to the sink. It
// batches across streams, keeps each stream in order, and has at most one
// batch of a stream in doubt: those records, and only those, are sent again
// until the sink has taken or refused them.
//
// Its lock is never held during a call of the sink or of the user's code.
type Courier[R Record] struct {
	opts Options[R]

	ctx    context.Context // of all flights: it ends when the courier stops
	cancel context.CancelFunc

	mu             sync.Mutex
	main, fallback lane[R]
	active         map[*Stream[R]]struct{} // streams with something to store
	idle           chan struct{}           // closed when active becomes empty, if somebody waits
	events, bytes  int                     // background events kept, and their size
	notices, held  int                     // notices kept, and what they keep in memory
	landing        int                     // flights between land and landed
	stopped        bool
}

// lane is the way to one sink.
type lane[R Record] struct {
	sink     Sink[R] // nil if there is none
	queue    streamQueue[R]
	flights  int  // goroutines that fly
	boarding bool // one of them is about to board: what is queued now goes with it
}

// Options are what a Courier needs to know of its recorder.
type Options[R Record] struct {
	Timeout  time.Duration // of one Append
	Capacity int           // background events kept at most
	Closed   error         // what calls return once the Courier is stopped
	// Definite reports whether an error says that a record will never be stored.
	Definite func(error) bool
	// Failed is told of an Append whose outcome is unknown, Refused of a stream
	// that has ended.
	Failed  func(s *Stream[R], err error)
	Refused func(s *Stream[R], event uuid.UUID, behind int, err error)
}

// ErrFull says that there is no room for a notice.
var ErrFull = errors.New("the buffer is full: events are dropped, and counted in an audit.lost event")

func New[R Record](sink, fallback Sink[R], opts Options[R]) *Courier[R] {
	ctx, cancel := context.WithCancel(context.Background())
	return &Courier[R]{
		opts: opts, ctx: ctx, cancel: cancel,
		main:     lane[R]{sink: sink},
		fallback: lane[R]{sink: fallback},
		active:   map[*Stream[R]]struct{}{},
	}
}

func (c *Courier[R]) Open(id, job uuid.UUID, after *Head) *Stream[R] {
	return &Stream[R]{ID: id, Job: job, after: after, acked: after, lane: &c.main}
}

func (c *Courier[R]) usable(s *Stream[R]) error {
	switch {
	case s.refused != nil:
		return s.refused
	case c.stopped:
		return c.opts.Closed
	}
	return nil
}

// send puts entries at the end of a stream and sees to it that they are handed
// over. A notice goes alone; it has room even when the buffer is full, unless
// there are too many.
func (c *Courier[R]) Send(s *Stream[R], entries ...Entry[R]) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.usable(s); err != nil {
		return err
	}
	if e := &entries[0]; e.Urgency == Notice {
		e.size = s.held() + e.bytes()
		if c.notices >= maxNotices || c.held+e.size > maxNoticeBytes {
			return ErrFull
		}
		c.notices++
		c.held += e.size
	}
	s.pending = append(s.pending, entries...)
	c.enqueue(s)
	return nil
}

// offer puts a background event at the end of a stream if there is room in the
// buffer. It reports whether there was.
func (c *Courier[R]) Offer(s *Stream[R], e Entry[R]) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.usable(s); err != nil {
		return false, err
	}
	if c.events >= c.opts.Capacity || c.bytes+e.bytes() > maxBufferBytes {
		return false, nil
	}
	e.size = e.bytes()
	c.events++
	c.bytes += e.size
	s.pending = append(s.pending, e)
	c.enqueueUnlessWaiting(s)
	return true, nil
}

// lose counts an event that offer had no room for. It reports whether it is
// the first in a row.
func (c *Courier[R]) Lose(s *Stream[R], at time.Time, typ string, encode func(Loss) Event[R]) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.usable(s) != nil {
		return false
	}
	first := s.lose(at, typ, encode)
	c.enqueueUnlessWaiting(s)
	return first
}

// flush returns a ticket for all that the stream holds, nil if it holds
// nothing.
func (c *Courier[R]) Flush(s *Stream[R]) (*Ticket, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.usable(s); err != nil {
		return nil, err
	}
	last := s.frozen
	if len(s.pending) > 0 {
		last = s.pending
	}
	if len(last) == 0 {
		return nil, nil
	}
	e := &last[len(last)-1]
	if e.Ticket.resolved() {
		e.Ticket = NewTicket()
	} else {
		e.Ticket.waiting++
	}
	c.enqueue(s)
	return e.Ticket, nil
}

// wait returns the ticket's answer, or an error if ctx or the time ends first.
func (c *Courier[R]) Wait(ctx context.Context, s *Stream[R], t *Ticket, timeout time.Duration) error {
	if t.resolved() { // an answer counts even if the context has ended by then
		return t.err
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	var err error
	select {
	case <-t.done:
		return t.err
	case <-ctx.Done():
		err = fmt.Errorf("not known to be stored: %w", ctx.Err())
	case <-timer.C:
		err = fmt.Errorf("not known to be stored within %v: %w", timeout, context.DeadlineExceeded)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.resolved() {
		return t.err
	}
	t.waiting = max(t.waiting-1, 0)
	c.rest(s)
	return err
}

// withdraw takes back the entries of a caller who has given up, and reports
// whether it could. What has been handed over stays, and so does what another
// caller waits for or builds on.
func (c *Courier[R]) Withdraw(s *Stream[R], entries []Entry[R]) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := entries[len(entries)-1].Ticket; t.waiting > 0 || !s.takeBack(entries[0].Event.ID(), len(entries)) {
		return false
	}
	c.rest(s)
	return true
}

// rest takes a stream off the courier's hands if nothing in it is wanted any
// more. Its events stay with it, in case the Trail goes on.
func (c *Courier[R]) rest(s *Stream[R]) {
	if s.flying || s.wanted() {
		return
	}
	c.unqueue(s)
	c.release(s)
}

func (c *Courier[R]) release(s *Stream[R]) {
	delete(c.active, s)
	c.checkIdle()
}

func (c *Courier[R]) busy() bool { return len(c.active) > 0 || c.landing > 0 }

func (c *Courier[R]) checkIdle() {
	if !c.busy() && c.idle != nil {
		close(c.idle)
		c.idle = nil
	}
}

// divert sends a stream's events to the fallback sink from now on, those in
// doubt as the very same records. It reports whether what the stream holds is
// on its way there.
func (c *Courier[R]) Divert(s *Stream[R]) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.fallback.sink == nil || c.usable(s) != nil || len(s.frozen)+len(s.pending) == 0:
		return false
	case s.lane == &c.fallback:
		return true
	}
	c.unqueue(s)
	s.lane = &c.fallback
	s.flight++ // what is still under way no longer counts
	s.flying, s.oneByOne, s.failures = false, false, 0
	c.enqueue(s)
	return true
}

// enqueue gives a stream that has something to store its place in the queue.
func (c *Courier[R]) enqueue(s *Stream[R]) {
	c.active[s] = struct{}{}
	if !s.flying && !s.queued {
		c.unqueue(s)
		s.lane.queue.push(s)
	}
	c.dispatch(s.lane)
}

// enqueueUnlessWaiting is for events that nobody waits for: they do not hasten
// a retry.
func (c *Courier[R]) enqueueUnlessWaiting(s *Stream[R]) {
	if s.retry == nil {
		c.enqueue(s)
	}
}

// unqueue takes a stream out of the queue, or ends its wait for a retry.
func (c *Courier[R]) unqueue(s *Stream[R]) {
	if s.retry != nil {
		s.retry.Stop()
		s.retry = nil
	}
	if s.queued {
		s.lane.queue.remove(s)
	}
}

// dispatch sees to it that what is queued boards a flight, while there is room
// for one more. Where nothing flies yet that is at once. Else the flight lets
// those go first who are about to add to it: the more fly together, the less
// each of them costs.
func (c *Courier[R]) dispatch(l *lane[R]) {
	if l.queue.first == nil || l.boarding || l.flights == maxFlights {
		return
	}
	l.flights++
	if l.flights == 1 {
		go c.fly(l, c.board(l))
		return
	}
	l.boarding = true
	go func() {
		runtime.Gosched()
		c.mu.Lock()
		l.boarding = false
		c.mu.Unlock()
		c.fly(l, c.next(l))
	}()
}

// flight is one Append: one batch of each of several streams, or a batch in
// doubt alone.
type flight[R Record] struct {
	lane    *lane[R]
	legs    []leg[R]
	room    [1]leg[R] // most flights have one leg
	records []R
	last    bool // its goroutine carries no other
}

// fly carries flights, one after another, until nothing is queued in the lane.
func (c *Courier[R]) fly(l *lane[R], f *flight[R]) {
	for f != nil {
		c.carry(f)
		if f.last {
			return
		}
		f = c.next(l)
	}
}

// next boards what is queued; nil, and one flight less, if nothing is.
func (c *Courier[R]) next(l *lane[R]) *flight[R] {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.board(l)
	if f == nil {
		l.flights--
	}
	c.dispatch(l)
	return f
}

// leg is a stream's flight, by its number.
type leg[R Record] struct {
	stream *Stream[R]
	number int
}

// board puts the next batches on a flight; nil if there are none.
func (c *Courier[R]) board(l *lane[R]) *flight[R] {
	if l.queue.first == nil {
		return nil
	}
	f := &flight[R]{lane: l}
	f.legs = f.room[:0]
	size := 0
	for l.queue.first != nil && len(f.records) < MaxBatchRecords && size < maxBatchBytes {
		s := l.queue.first
		if s.doubt && len(f.legs) > 0 {
			break
		}
		l.queue.remove(s)
		s.mint()
		s.try()
		s.flying, s.again = true, false
		s.flight++
		f.legs = append(f.legs, leg[R]{s, s.flight})
		batch := s.records
		if s.oneByOne {
			batch = batch[:1]
		}
		if len(f.legs) == 1 {
			f.records = slices.Clip(batch)
		} else {
			f.records = append(f.records, batch...)
		}
		for _, r := range batch {
			size += r.Len()
		}
		if s.doubt {
			break
		}
	}
	return f
}

var errGoexit = errors.New("the sink's Append ended its goroutine")

// carry is one flight.
func (c *Courier[R]) carry(f *flight[R]) {
	err := errGoexit
	defer func() {
		calls := c.land(f, err, c.opts.Definite(err))
		defer c.landed()
		for _, call := range calls {
			call()
		}
	}()
	ctx, cancel := context.WithTimeout(c.ctx, c.opts.Timeout)
	defer cancel()
	err = c.Append(ctx, f.lane.sink, f.records)
}

// appendTo calls the sink and turns a panic of it, or of its error's methods,
// into an error.
func (c *Courier[R]) Append(ctx context.Context, sink Sink[R], records []R) (err error) {
	if len(records) == 0 {
		return nil
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the sink panicked with a %T", p)
		}
	}()
	if err = sink.Append(ctx, records); err != nil {
		// What will be asked of the error later must not panic there.
		_, _ = c.opts.Definite(err), err.Error()
	}
	return err
}

// land takes the sink's answer, and whether it is a definite refusal. It
// returns what is to be called once the lock is free. That may take its time,
// so another goroutine carries the next flight then, as it does where the sink
// has ended this one.
func (c *Courier[R]) land(f *flight[R], err error, refused bool) (calls []func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.landing++
	for _, leg := range f.legs {
		s := leg.stream
		if s.flight != leg.number {
			continue // it has been diverted
		}
		s.flying = false
		switch {
		case err == nil:
			c.stored(s)
		case len(f.legs) > 1: // whose fault it is will show when each flies alone
			s.doubt = true
		case !refused:
			calls = append(calls, c.failed(s, err)...)
		case len(s.frozen) > 1 && !s.oneByOne:
			s.doubt, s.oneByOne, s.failures = true, true, 0
		default:
			calls = append(calls, c.refuse(s, err))
		}
		c.settle(s)
	}
	if f.last = len(calls) > 0 || err == errGoexit; f.last {
		f.lane.flights--
		c.dispatch(f.lane)
	}
	return calls
}

// landed notes that the calls that land asked for have returned: what they
// recorded is on its way.
func (c *Courier[R]) landed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.landing--
	c.checkIdle()
}

// stored marks as stored what has just been sent of the stream.
func (c *Courier[R]) stored(s *Stream[R]) {
	n := len(s.frozen)
	if s.oneByOne {
		n = 1
	}
	for i := range s.frozen[:n] {
		c.discharge(&s.frozen[i], nil)
	}
	if n > 0 {
		r := s.records[n-1]
		s.acked = &Head{Stream: s.ID, Seq: s.seq - uint64(len(s.frozen)-n), Hash: r.Hash(), Event: r.ID()}
	}
	s.records = s.records[n:]
	s.frozen = slices.Delete(s.frozen, 0, n)
	s.failures = 0
	if len(s.frozen) == 0 {
		s.records = nil
		s.doubt, s.oneByOne = false, false
	}
}

// discharge ends an entry: its callers get their answer, its room is free.
func (c *Courier[R]) discharge(e *Entry[R], err error) {
	e.Ticket.resolve(err)
	switch {
	case e.loss != nil:
	case e.Urgency == Background:
		c.events--
		c.bytes -= e.size
	case e.Urgency == Notice:
		c.notices--
		c.held -= e.size
	}
}

// failed notes that the sink did not say what became of the batch.
func (c *Courier[R]) failed(s *Stream[R], err error) []func() {
	s.doubt = true
	s.failures++
	s.again = s.answer(err)
	if s.failures > 1 || !s.wanted() {
		return nil
	}
	return []func(){func() { c.opts.Failed(s, err) }}
}

// refuse ends a stream whose next record will never be stored.
func (c *Courier[R]) refuse(s *Stream[R], err error) func() {
	s.refused = err
	behind := -1
	for _, entries := range [][]Entry[R]{s.frozen, s.pending} {
		for i := range entries {
			behind++
			if l := entries[i].loss; l != nil {
				behind += l.Count - 1
			}
			c.discharge(&entries[i], err)
		}
	}
	event := s.records[0].ID()
	s.frozen, s.records, s.pending = nil, nil, nil
	return func() { c.opts.Refused(s, event, behind, err) }
}

// settle decides what a stream that has landed does next: fly again, wait, or
// rest.
func (c *Courier[R]) settle(s *Stream[R]) {
	switch {
	case len(s.frozen) == 0 && len(s.pending) == 0:
		c.release(s)
	case c.stopped:
	case s.failures == 0 || s.again:
		c.enqueue(s)
	case !s.wanted():
		c.rest(s)
	default:
		delay := min(firstBackoff<<min(s.failures-1, 16), lastBackoff)
		var timer *time.Timer
		timer = time.AfterFunc(delay, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			if s.retry == timer {
				c.enqueue(s)
			}
		})
		s.retry = timer
	}
}

// drain waits until nothing is left to store, or until ctx ends. Whatever waits
// to be sent again is sent at once.
func (c *Courier[R]) Drain(ctx context.Context) error {
	c.mu.Lock()
	for s := range c.active {
		if s.retry != nil {
			c.enqueue(s)
		}
	}
	if !c.busy() {
		c.mu.Unlock()
		return nil
	}
	if c.idle == nil {
		c.idle = make(chan struct{})
	}
	idle := c.idle
	c.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// outstanding returns the streams with something to store.
func (c *Courier[R]) Outstanding() []*Stream[R] {
	c.mu.Lock()
	defer c.mu.Unlock()
	streams := make([]*Stream[R], 0, len(c.active))
	for s := range c.active {
		streams = append(streams, s)
	}
	return streams
}

// stop ends all retries and flights, and returns how many events were not stored.
func (c *Courier[R]) Stop() (lost int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	c.cancel()
	for s := range c.active {
		c.unqueue(s)
		for _, entries := range [][]Entry[R]{s.frozen, s.pending} {
			for i := range entries {
				lost++
				if l := entries[i].loss; l != nil {
					lost += l.Count - 1
				}
				entries[i].Ticket.resolve(c.opts.Closed)
			}
		}
	}
	return lost
}

// head returns the newest event of the stream known to be stored, nil if none.
func (c *Courier[R]) Head(s *Stream[R]) *Head {
	c.mu.Lock()
	defer c.mu.Unlock()
	return s.acked
}

// Single makes a stream of one event that goes alone, and whose refusal is for
// its caller to judge.
func (s *Stream[R]) Single() { s.single, s.doubt = true, true }

// Judged reports whether a refusal of the stream is for its caller to judge.
func (s *Stream[R]) Judged() bool { return s.single }

// begun reports whether anything of the stream has been handed over.
func (c *Courier[R]) Begun(s *Stream[R]) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return s.seq > 0
}
