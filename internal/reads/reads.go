// Package reads counts who reads what, so that looking again and again is few
// events: PCI DSS 10.2.1.3 asks for a record of reads. Packages jobhttp and webui
// record with it.
package reads

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jobaudit/jobaudit/internal/errtree"
)

// window is the time in which the same reads by one reader are one event.
const window = 5 * time.Minute

// most is how many readers' queries are counted at a time. Beyond that each read is
// an event of its own.
const most = 10_000

// Store records count reads of one reader and query. since is when the first of them
// was, and zero for one that is recorded as it happens. read is the time that they
// asked for: from where the first one began to where the last one ended. For what is
// counted under one key it is not called twice at a time.
type Store func(count int, since time.Time, read Span) error

// sentOn is the error of a Store whose event may be stored later all the same.
type sentOn struct{ error }

func (e *sentOn) Unwrap() error { return e.error }

// SentOn returns the error of a Store so that the reads are not counted again, if it holds
// an E, the recorder's error, that says that the event was not stored in time: the
// recorder sends it on. One that is a context's own error and no more had ended before
// anything was sent; and any other deadline is the application's.
func SentOn[E error](err error) error {
	of, ok := errtree.Find[E](err)
	if !ok {
		return err
	}
	if cause := errors.Unwrap(of); cause != context.DeadlineExceeded && errtree.Is(cause, context.DeadlineExceeded) {
		return &sentOn{err}
	}
	return err
}

// Span is a time between two bounds. A zero one does not bound.
type Span struct{ Since, Until time.Time }

// Counter counts reads. The first read of a key is on record before Note returns;
// those of the next five minutes are counted, and recorded as one event at the end.
// The zero Counter is ready, and safe for concurrent use.
type Counter struct {
	mu     sync.Mutex // guards what follows
	open   map[string]*entry
	closed bool
	first  sync.WaitGroup // first reads that are being recorded, but for those after Close
}

// entry are the reads of one key.
type entry struct {
	store  Store
	stored chan struct{} // closed when the first read is on record, or cannot be
	err    error         // why it cannot
	count  int           // of reads since the last event
	since  time.Time     // when the first of them was
	span   Span
	timer  *time.Timer

	storing chan struct{} // holds something while counted reads are stored
}

// Note returns when the read is on record, or will be. key tells the reader and the
// query, but for the time that it asks for, which may move.
// store outlives ctx: what has begun is recorded though the reader goes.
func (c *Counter) Note(ctx context.Context, key string, span Span, store Store) error {
	c.mu.Lock()
	e := c.open[key]
	if e == nil {
		e = &entry{store: store, stored: make(chan struct{}), storing: make(chan struct{}, 1)}
		if len(c.open) < most && !c.closed {
			if c.open == nil {
				c.open = make(map[string]*entry)
			}
			c.open[key] = e
		}
		if c.closed {
			go c.begin(key, e, span)
		} else {
			c.first.Go(func() { c.begin(key, e, span) })
		}
	} else {
		if e.count == 0 {
			e.since, e.span = time.Now(), span
		}
		e.span.Until = span.Until
		e.count++
	}
	c.mu.Unlock()
	select {
	case <-e.stored:
		return e.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// begin records the first read.
func (c *Counter) begin(key string, e *entry, span Span) {
	err := e.record(1, time.Time{}, span)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err != nil:
		e.err = err
		if c.open[key] == e {
			delete(c.open, key)
		}
	case c.open[key] == e && !c.closed:
		e.timer = time.AfterFunc(window, func() { c.end(key, e) })
	}
	close(e.stored)
}

// record calls store, which may be the application's.
func (e *entry) record(count int, since time.Time, span Span) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errtree.Panic("the function that records reads", p)
		}
	}()
	return e.store(count, since, span)
}

// end records the reads that were counted, and goes on to count if there were any.
func (c *Counter) end(key string, e *entry) {
	e.storing <- struct{}{} // Close waits for what a timer began
	defer func() { <-e.storing }()
	c.mu.Lock()
	count, since, span := e.count, e.since, e.span
	e.count = 0
	if count == 0 && c.open[key] == e {
		delete(c.open, key)
	}
	c.mu.Unlock()
	if count == 0 {
		return
	}
	err := e.record(count, since, span) // the recorder's OnError knows of it, too
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, on := errtree.Find[*sentOn](err); err != nil && !on {
		if e.count > 0 {
			span.Until = e.span.Until
		}
		e.count, e.since, e.span = e.count+count, since, span
	}
	if !c.closed {
		e.timer.Reset(window)
	}
}

// Close records what has been counted, and returns once nothing that was noted before
// it is still being recorded. Reads that come later are recorded one by one.
func (c *Counter) Close() {
	c.mu.Lock()
	c.closed = true
	open := c.open
	c.open = nil
	c.mu.Unlock()
	c.first.Wait()
	for key, e := range open {
		if e.timer != nil {
			e.timer.Stop()
		}
		if e.err == nil {
			c.end(key, e)
		}
	}
}
