package delivery

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"
)

// Bounds of one call of Append. A call that has reached one takes no further stream,
// but for those of one SendTogether; the batch of the last one that it took may lie
// beyond it.
const (
	MaxBatchRecords = 256
	maxBatchBytes   = 1 << 20
)

// maxCalls bounds the calls that run at once on one sink: 4 in all, 2 of them for what
// is ambiguous, 1 of these for a stream whose own call timed out. While so many run,
// events gather for the next.
var maxCalls = [...]int{clean: 4, suspect: 2, hanging: 1}

// Waits after failed calls of a stream's own: they double with each failure, up to a
// bound. A wait is at least as long as the call that failed, and up to half as long
// again.
const (
	firstBackoff = 10 * time.Millisecond
	maxBackoff   = 2 * time.Second
)

// A short call, as the first with a batch is, gets so small a part of Timeout, or so
// many times what the longest call of late took if that is more: it may be that one
// stream of many hangs.
const (
	shortPart   = 8
	shortFactor = 8
)

// splitInto says into how many calls a call that failed is split. Two would take
// more rounds until each stream is alone, and more time with it; many would cost
// a sink that is down as many calls.
const splitInto = 3

// sinkQueue is the per-sink queue: the streams that wait for a worker, and what
// is known of the sink.
type sinkQueue[R Record] struct {
	sink       Sink[R] // nil if there is none
	immediate  bool
	waiting    [len(maxCalls)]list[R]
	calls      [len(maxCalls)]int    // under way, by the trust of their streams
	recoveries [len(maxCalls)]uint64 // how often streams were stored that had failed on their own, as badly or worse
	workers    int                   // goroutines that make calls, those of callers who make theirs included
	gathering  bool                  // one of them is about to begin: what is queued now goes with it
	recentMax  time.Duration         // the longest call of late that succeeded
	peak       int                   // the most suspect streams that have waited at once since none waited or was in a call
}

// call is one call of Append: one batch of each of several streams, its parts.
type call[R Record] struct {
	to           *sinkQueue[R]
	trust        trust
	parts        []*Stream[R]
	one          [1]*Stream[R] // most calls have one part
	records      []R           // a copy of theirs: sinks may do to it what they must not
	few          [3]R          // most calls have no more
	unplaceable  []unplaceableEntry[R]
	direct       bool // made by a caller that waits for it
	ctx          callContext
	shortTimeout bool
	timeout      time.Duration
	took         time.Duration
	err          error
}

// enqueue gives a stream that has something to store its place in the queue.
func (q *Queue[R]) enqueue(s *Stream[R]) {
	q.active[s] = struct{}{}
	if s.state == parked || s.state == backoff {
		q.unqueue(s)
		s.to.resetIfRecovered(s)
		s.state = queued
		s.to.push(s)
	}
	q.dispatch(s.to)
}

// enqueueUnlessBackoff is for events that no caller waits for.
func (q *Queue[R]) enqueueUnlessBackoff(s *Stream[R]) {
	if s.state != backoff {
		q.enqueue(s)
	}
}

// unqueue parks a stream: out of the queue, or of its wait for a retry.
func (q *Queue[R]) unqueue(s *Stream[R]) {
	switch s.state {
	case backoff:
		s.retry.Stop()
		s.retry = nil
	case queued:
		s.to.waiting[s.trust].remove(s)
	case ended:
		return
	}
	s.state = parked
}

// push makes a stream wait for a worker.
func (l *sinkQueue[R]) push(s *Stream[R]) {
	if s.trust == suspect && l.waiting[suspect].first == nil && l.calls[suspect] == 0 {
		l.peak = 0
	}
	l.waiting[s.trust].push(s)
	l.peak = max(l.peak, l.waiting[suspect].n)
}

// resetIfRecovered lets a stream share calls again if another has been stored since
// that had failed on its own, as badly: the sink takes again what it did not.
func (l *sinkQueue[R]) resetIfRecovered(s *Stream[R]) {
	if l.hasRecovered(s) {
		s.trust, s.maxParts, s.recoveries = suspect, MaxBatchRecords, l.recoveries[suspect]
		s.shared, s.probed = 0, false
	}
}

func (l *sinkQueue[R]) hasRecovered(s *Stream[R]) bool {
	return s.trust != clean && s.recoveries != l.recoveries[s.trust]
}

// direct reports whether a caller may make a stream's call: the sink does not
// let it wait, and there is nothing that it would have to share the call with or
// would overtake.
func (l *sinkQueue[R]) direct(s *Stream[R]) bool {
	return l.immediate && s.state == parked && s.trust == clean && l.workers < maxCalls[clean] &&
		l.waiting[clean].first == nil && l.waiting[suspect].first == nil && l.waiting[hanging].first == nil
}

// next moves hanging streams that may share calls again, and returns which streams a
// worker takes; ok is false if there are none, or too many calls of their kind.
func (l *sinkQueue[R]) next() (t trust, ok bool) {
	for s := l.waiting[hanging].first; s != nil && l.hasRecovered(s); s = l.waiting[hanging].first {
		l.waiting[hanging].remove(s)
		l.resetIfRecovered(s)
		l.push(s)
	}
	if l.calls[suspect]+l.calls[hanging] < maxCalls[suspect] {
		switch {
		case l.waiting[hanging].first != nil && l.calls[hanging] < maxCalls[hanging]:
			return hanging, true
		case l.waiting[suspect].first != nil:
			return suspect, true
		}
	}
	return clean, l.waiting[clean].first != nil
}

// dispatch sees to it that what is queued gets a worker, while there may be one
// more. Where none is at work that is at once. Else the worker lets those go
// first who are about to add to its call: the more share it, the less each of
// them costs.
func (q *Queue[R]) dispatch(l *sinkQueue[R]) {
	if l.gathering || l.workers == maxCalls[clean] {
		return
	}
	if _, ok := l.next(); !ok {
		return
	}
	l.workers++
	if l.workers == 1 {
		go q.work(l, q.assemble(l))
		return
	}
	l.gathering = true
	go func() {
		runtime.Gosched()
		q.mu.Lock()
		l.gathering = false
		q.mu.Unlock()
		q.work(l, q.nextCall(l))
	}()
}

// work is a worker: it makes one call after another until there is none to make.
func (q *Queue[R]) work(l *sinkQueue[R], c *call[R]) {
	ended := false
	defer func() {
		if ended {
			return
		}
		// A sink or a callback has ended the goroutine: another takes over.
		q.mu.Lock()
		defer q.mu.Unlock()
		l.workers--
		q.dispatch(l)
	}()
	for c != nil {
		q.makeCall(c)
		c = q.nextCall(l)
	}
	ended = true
}

// nextCall assembles a call; nil, and one worker less, if there is none to make.
func (q *Queue[R]) nextCall(l *sinkQueue[R]) *call[R] {
	q.mu.Lock()
	defer q.mu.Unlock()
	c := q.assemble(l)
	if c == nil {
		l.workers--
	}
	q.dispatch(l)
	return c
}

// assemble puts the next batches into a call; nil if there are none.
func (q *Queue[R]) assemble(l *sinkQueue[R]) *call[R] {
	t, ok := l.next()
	if !ok {
		return nil
	}
	c := &call[R]{to: l, trust: t}
	c.parts, c.records = c.one[:0], c.few[:0]
	size, sharing, group := 0, MaxBatchRecords, uint64(0)
	for s := l.waiting[t].first; s != nil; s = l.waiting[t].first {
		l.resetIfRecovered(s)
		sharing = min(sharing, s.maxParts)
		full := len(c.parts) >= sharing || len(c.records) >= MaxBatchRecords || size >= maxBatchBytes
		if full && group != 0 && s.group == group {
			full = false
		}
		if len(c.parts) > 0 && (s.alone() || full) {
			break
		}
		group, s.group = s.group, 0
		l.waiting[t].remove(s)
		size += q.addPart(c, s)
		if s.alone() {
			break
		}
	}
	l.calls[t]++
	q.limit(c)
	return c
}

// limit says how long a call may take. Calls of clean streams, shared calls, and calls
// that split a failed one are short; before the first success none is, as nothing is
// known of the sink. Where failed calls are split, a call gets its part by how many of all
// such streams it has: one round of calls for all of them takes half of a short call's
// time in all, however many they are and whatever calls they failed in. No call gets less
// than several times what the longest of late took.
func (q *Queue[R]) limit(c *call[R]) {
	n, shared := len(c.parts), c.parts[0].shared
	splitting := c.trust == suspect && shared > 1 && !c.parts[0].isolating
	c.shortTimeout = c.trust == clean || n > 1 || splitting
	c.timeout = q.opts.Timeout
	if !c.shortTimeout || c.to.recentMax == 0 {
		return
	}
	short := c.timeout / shortPart
	if splitting {
		short = short / 2 * time.Duration(n) / time.Duration(max(c.to.peak, shared, n))
	}
	c.timeout = min(max(shortFactor*c.to.recentMax, short), c.timeout)
}

// addPart makes a stream's next batch a part of a call, and returns its size.
func (q *Queue[R]) addPart(c *call[R], s *Stream[R]) (size int) {
	for _, m := range s.place() {
		c.unplaceable = append(c.unplaceable, m)
		q.resolve(s, &m.entry, m.err)
		if m.entry.gap == nil { // what a gap stands for was counted when it was dropped
			q.stats.Lost++
		}
	}
	s.markTried()
	s.state, s.call = sending, c
	batch := s.nextRecords()
	c.records = append(c.records, batch...)
	c.parts = append(c.parts, s)
	for _, r := range batch {
		size += r.Len()
	}
	return size
}

// makeCall makes a call and takes its answer in. A callback that ends its goroutine
// keeps the others of that call from being called.
func (q *Queue[R]) makeCall(c *call[R]) {
	c.err = errGoexit
	begun := time.Now()
	defer func() {
		c.took = time.Since(begun)
		tell := q.complete(c, c.err != nil && q.opts.Definite(c.err))
		if len(tell) == 0 {
			return
		}
		defer q.callbacksDone()
		for _, f := range tell {
			f()
		}
	}()
	c.ctx.parent, c.ctx.deadline = q.ctx, begun.Add(c.timeout)
	defer c.ctx.end()
	c.err = q.CallSink(&c.ctx, c.to.sink, c.records)
}

// CallSink calls a sink's Append, and turns a panic of it, or of its error's methods,
// into an error.
func (q *Queue[R]) CallSink(ctx context.Context, sink Sink[R], records []R) (err error) {
	if len(records) == 0 {
		return nil
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the sink panicked with a %T", p)
		}
	}()
	if err = sink.Append(ctx, records); err != nil {
		err = q.opts.Bounded(err)
		// What will be asked of the error later must not panic there.
		_, _ = q.opts.Definite(err), err.Error()
	}
	return err
}

// complete takes a call's answer in, and whether it is a definite refusal. It
// returns what the owner is to be told once the lock is free.
func (q *Queue[R]) complete(c *call[R], refused bool) (tell []func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.callbacks++
	l := c.to
	l.calls[c.trust]--
	q.recordHealth(c)
	if len(c.unplaceable) > 0 {
		tell = q.tellUnplaceable(c)
	}
	for _, s := range c.parts {
		if s.call != c {
			continue // it has failed over during the call
		}
		s.state, s.call = parked, nil
		if f := q.completePart(s, c, refused); f != nil {
			tell = append(tell, f)
		}
	}
	if stored := c.err == nil && len(c.records) > 0; stored && l == &q.fallback {
		q.failedOver, q.untoldRecovery = true, true
		tell = append(tell, q.tellFailover)
	} else if stored && q.failedOver {
		q.failedOver = false
		tell = append(tell, q.tellFailover)
	}
	if c.direct {
		l.workers--
	}
	q.dispatch(l)
	if len(tell) == 0 {
		q.callbacks--
		q.checkIdle()
	}
	return tell
}

// tellUnplaceable returns what tells the owner of events that can have no place.
func (q *Queue[R]) tellUnplaceable(c *call[R]) (tell []func()) {
	for i := range c.unplaceable {
		m := &c.unplaceable[i]
		tell = append(tell, func() { q.opts.Refused(m.stream, m.event, m.entry.events(), m.err) })
	}
	return tell
}

// tellFailover tells the owner whether records have gone to the fallback since the
// main sink took some, and once that it has recovered. Two workers may be about
// to tell opposite things: each tells what is true now, one after the other.
func (q *Queue[R]) tellFailover() {
	q.telling.Lock()
	defer q.telling.Unlock()
	q.mu.Lock()
	failedOver, recovered := q.failedOver, !q.failedOver && q.untoldRecovery
	q.untoldRecovery = q.failedOver
	q.mu.Unlock()
	switch {
	case failedOver:
		q.opts.FailedOver()
	case recovered:
		q.opts.Recovered()
	}
}

// recordHealth keeps what a call says of its sink.
func (q *Queue[R]) recordHealth(c *call[R]) {
	l := c.to
	if q.stopped || len(c.records) == 0 {
		return
	}
	switch {
	case c.err == nil:
		l.recentMax = max(c.took, l.recentMax-l.recentMax/8, 1)
	case l == &q.main:
		q.stats.LastErr, q.stats.FailedAt = c.err, time.Now()
	}
	if l == &q.main {
		q.stats.Err = c.err
	}
}

// callbacksDone notes that the functions that complete returned have been called: what
// they recorded is on its way.
func (q *Queue[R]) callbacksDone() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.callbacks--
	q.checkIdle()
}

// completePart takes in what a call's answer means for one of its streams, and
// returns what the owner is to be told.
func (q *Queue[R]) completePart(s *Stream[R], c *call[R], refused bool) (tell func()) {
	own := len(c.parts) == 1
	// Its short time is over, which says nothing yet of the stream.
	late := c.shortTimeout && !refused && c.err != nil && c.took >= c.timeout && c.timeout < q.opts.Timeout
	switch {
	case c.err == nil:
		q.stored(s)
		q.proceed(s, 0)
	case !own: // whose fault it is will show when it is sent with fewer
		s.shared = max(s.shared, len(c.parts))
		q.setTrust(s, suspect, max(len(c.parts)/splitInto, 1))
		q.proceed(s, 0)
	case late: // it gets the whole time, in the one place for streams that hang
		s.shared, s.probed = max(s.shared, 1), true
		q.setTrust(s, hanging, 1)
		q.proceed(s, 0)
	case refused && len(s.batch) > 1 && !s.isolating:
		s.isolating = true
		q.setTrust(s, suspect, 1)
		q.proceed(s, 0)
	case refused:
		return q.refuse(s, c.err)
	default:
		return q.failed(s, c)
	}
	return nil
}

// setTrust notes that a stream's batch is ambiguous, and how it failed.
func (q *Queue[R]) setTrust(s *Stream[R], t trust, maxParts int) {
	s.trust, s.maxParts, s.recoveries = t, maxParts, s.to.recoveries[t]
}

// stored marks as stored what has just been sent of the stream.
func (q *Queue[R]) stored(s *Stream[R]) {
	n := len(s.nextRecords())
	for i := range s.batch[:n] {
		q.resolve(s, &s.batch[i], nil)
	}
	s.ackedUpTo(n)
	switch {
	case q.stopped: // counted as lost
	case s.to == &q.fallback:
		q.stats.Fallback += uint64(n)
	default:
		q.stats.Stored += uint64(n)
	}
	s.dropResolved(n)
	for t := suspect; t <= s.trust && (s.failures > 0 || s.probed); t++ {
		s.to.recoveries[t]++
	}
	s.failures, s.reported, s.shared, s.probed = 0, false, 0, false
	if len(s.batch) > 0 { // it is isolating
		s.trust = suspect
		return
	}
	s.trust, s.maxParts, s.isolating = clean, MaxBatchRecords, false
}

// resolve ends an entry: its callers get their answer, its room is free.
func (q *Queue[R]) resolve(s *Stream[R], e *Entry[R], err error) {
	e.Ack.resolve(err)
	q.freeRoom(s, e)
}

// failed notes that a call of the stream's own has failed, and that its outcome
// is unknown.
func (q *Queue[R]) failed(s *Stream[R], c *call[R]) (tell func()) {
	t := suspect
	if c.took >= c.timeout {
		t = hanging
	}
	q.setTrust(s, t, 1)
	s.failures++
	delay := time.Duration(0)
	if !s.failAdmissions(c.err) { // else a caller came too late for the call that failed
		delay = max(min(firstBackoff<<min(s.failures-1, 16), maxBackoff), c.took)
		delay += rand.N(delay/2 + 1)
	}
	if !s.reported && !q.stopped && s.wanted() {
		s.reported = true
		tell = func() { q.opts.Failed(s, c.err) }
	}
	q.proceed(s, delay)
	return tell
}

// refuse sends a stream whose next record the sink will never store to the
// fallback. Without one, the stream ends. Callers who must know before work
// begins are refused in any case.
func (q *Queue[R]) refuse(s *Stream[R], err error) (tell func()) {
	event := s.records[0].ID()
	s.each(func(e *Entry[R]) {
		if e.Urgency == Admission {
			e.Ack.resolve(err)
		}
	})
	if s.to == &q.main && q.failOver(s) {
		return func() { q.opts.Refused(s, event, 0, err) }
	}
	lost := 0
	s.each(func(e *Entry[R]) {
		lost += e.events()
		if e.gap == nil && !q.stopped {
			q.stats.Lost++
		}
		q.resolve(s, e, err)
	})
	s.refused = err
	s.batch, s.records, s.pending = nil, nil, nil
	q.park(s)
	s.state = ended
	if s.single {
		return nil
	}
	return func() { q.opts.Refused(s, event, lost, err) }
}

// proceed decides what a stream whose call has completed does next.
func (q *Queue[R]) proceed(s *Stream[R], delay time.Duration) {
	switch {
	case s.empty():
		q.park(s)
	case q.stopped:
	case delay == 0:
		q.enqueue(s)
	case !s.wanted():
		q.park(s)
	default:
		s.state = backoff
		var timer *time.Timer
		timer = time.AfterFunc(delay, func() {
			q.mu.Lock()
			defer q.mu.Unlock()
			if s.retry == timer {
				q.enqueue(s)
			}
		})
		s.retry = timer
	}
}
