package jobaudit

import (
	"container/heap"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// heartbeats are the executions of a Recorder that wait for their next heartbeat.
// One timer serves them all: most jobs end before their first.
type heartbeats struct {
	mu    sync.Mutex // guards what follows
	next  heartbeatHeap
	timer *time.Timer
	at    time.Time // when the timer fires; zero if it is not set
}

// heartbeater is the heartbeats of one execution.
type heartbeater struct {
	trail  *Trail
	ctx    context.Context
	asking atomic.Bool

	due     time.Time // guarded by the mutex of the Recorder's heartbeats, as the rest
	at      int       // its place in the heap; -1 if it is not there
	stopped bool
}

// heartbeats records a heartbeat at every interval, and asks again whether the
// job may run, until it is stopped. Neither waits for the other. It is nil where
// the Recorder sends none.
func (t *Trail) heartbeats(ctx context.Context) *heartbeater {
	if t.rec.opts.Heartbeat < 0 {
		return nil
	}
	p := &heartbeater{trail: t, ctx: ctx, at: -1}
	p.goesOn()
	return p
}

func (p *heartbeater) stop() {
	if p == nil {
		return
	}
	l := &p.trail.rec.heartbeats
	l.mu.Lock()
	defer l.mu.Unlock()
	p.stopped = true
	if p.at >= 0 {
		heap.Remove(&l.next, p.at)
	}
}

// goesOn sets the time of the next heartbeat, and reports false once the
// heartbeats are stopped.
func (p *heartbeater) goesOn() bool {
	interval := p.trail.heartbeatInterval()
	l := &p.trail.rec.heartbeats
	l.mu.Lock()
	defer l.mu.Unlock()
	if !p.stopped {
		p.due = time.Now().Add(interval)
		heap.Push(&l.next, p)
		l.set()
	}
	return !p.stopped
}

// set sets the timer for the first heartbeat that is due. One that is stopped
// leaves the timer as it is: the next job most often comes before it fires.
func (l *heartbeats) set() {
	if len(l.next) == 0 || !l.at.IsZero() && !l.next[0].due.Before(l.at) {
		return
	}
	l.at = l.next[0].due
	if l.timer == nil {
		l.timer = time.AfterFunc(time.Until(l.at), l.fire)
		return
	}
	l.timer.Reset(time.Until(l.at))
}

// fire begins the heartbeats that are due, each in a goroutine of its own.
func (l *heartbeats) fire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at = time.Time{}
	for now := time.Now(); len(l.next) > 0 && !l.next[0].due.After(now); {
		go heap.Pop(&l.next).(*heartbeater).tick()
	}
	l.set()
}

func (p *heartbeater) tick() {
	t := p.trail
	if !p.goesOn() {
		return
	}
	if t.running() {
		// It may end meanwhile, and the Recorder be closed.
		if err := t.offerHeartbeat(); !errors.Is(err, ErrTransition) && !p.isStopped() {
			t.report(p.ctx, "heartbeat", err)
		}
	}
	if p.asking.CompareAndSwap(false, true) {
		defer p.asking.Store(false)
		t.reauthorize(p.ctx)
	}
}

func (p *heartbeater) isStopped() bool {
	l := &p.trail.rec.heartbeats
	l.mu.Lock()
	defer l.mu.Unlock()
	return p.stopped
}

// heartbeatHeap has the one first that is due first.
type heartbeatHeap []*heartbeater

func (h heartbeatHeap) Len() int           { return len(h) }
func (h heartbeatHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }

func (h heartbeatHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

func (h *heartbeatHeap) Push(x any) {
	p := x.(*heartbeater)
	p.at = len(*h)
	*h = append(*h, p)
}

func (h *heartbeatHeap) Pop() any {
	last := len(*h) - 1
	p := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	p.at = -1
	return p
}
