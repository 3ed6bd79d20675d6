package jobhttp

import (
	"context"
	"errors"
	"sync"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
)

// hub tells those who follow jobs that there is something new of theirs. It reads
// the log once for all of them, and only while there are any. What is new each of
// them reads for itself: so a slow client holds up nobody, and nothing is kept for
// it.
type hub struct {
	log      tailer
	panicked func(value any) // is told that the reader has

	mu      sync.Mutex // guards what follows
	jobs    map[uuid.UUID]*follower
	count   int
	stop    context.CancelFunc // of the reading that is at work
	stopped bool
	running sync.WaitGroup
}

// follower is one who follows a job.
type follower struct {
	wake   chan struct{} // closed when there is nobody to say that something is new
	closed bool
	next   *follower // of the same job
}

// follow adds a follower. What is recorded from now on wakes it.
func (h *hub) follow(ctx context.Context, job uuid.UUID) (*follower, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped {
		return nil, jobaudit.ErrClosed
	}
	if h.stop == nil {
		after, err := h.newest(ctx)
		if err != nil {
			return nil, err
		}
		reading, stop := context.WithCancel(context.Background())
		h.stop, h.jobs, h.count = stop, make(map[uuid.UUID]*follower), 0
		h.running.Go(func() { h.read(reading, after) })
	}
	f := &follower{wake: make(chan struct{}, 1), next: h.jobs[job]}
	h.jobs[job] = f
	h.count++
	return f, nil
}

func (h *hub) newest(ctx context.Context) (uuid.UUID, error) {
	for r, err := range h.log.Records(ctx, jobaudit.Query{NewestFirst: true, Limit: 1}) {
		if _, damaged := errors.AsType[*jobaudit.UnreadableError](err); !damaged {
			return r.ID(), err
		}
	}
	return uuid.Nil, nil
}

// leave removes a follower.
func (h *hub) leave(job uuid.UUID, f *follower) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if f.closed {
		return // and removed
	}
	if first := h.jobs[job]; first == f {
		h.jobs[job] = f.next
		if f.next == nil {
			delete(h.jobs, job)
		}
	} else {
		for first.next != f {
			first = first.next
		}
		first.next = f.next
	}
	if h.count--; h.count == 0 {
		h.stop()
		h.stop = nil
	}
}

// read tells followers of what comes, until ctx ends, or the log cannot be read:
// then they all go, and the next client begins again.
func (h *hub) read(ctx context.Context, after uuid.UUID) {
	defer func() {
		if p := recover(); p != nil { // of the reader's: it must not end the program
			h.panicked(p)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if ctx.Err() == nil {
			h.dismiss()
		}
	}()
	for r, err := range h.log.Tail(ctx, jobaudit.Query{After: after}) {
		if _, damaged := errors.AsType[*jobaudit.UnreadableError](err); damaged {
			continue
		}
		if err != nil {
			break
		}
		h.tell(ctx, r.JobID())
	}
}

// tell wakes those who follow a job.
func (h *hub) tell(ctx context.Context, job uuid.UUID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	for f := h.jobs[job]; f != nil; f = f.next {
		select {
		case f.wake <- struct{}{}:
		default: // it has not looked yet
		}
	}
}

// dismiss ends the reading. mu is held.
func (h *hub) dismiss() {
	if h.stop == nil {
		return
	}
	h.stop()
	h.stop = nil
	for _, f := range h.jobs {
		for ; f != nil; f = f.next {
			f.closed = true
			close(f.wake)
		}
	}
	h.jobs = nil
}

func (h *hub) close() {
	h.mu.Lock()
	h.stopped = true
	h.dismiss()
	h.mu.Unlock()
	h.running.Wait()
}
