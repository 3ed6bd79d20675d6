package filesink

import (
	"context"
	"fmt"
	"sync"

	"github.com/google/uuid"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"golang.org/x/mod/sumdb/tlog"
)

// A request is one Append on its way to the writer.
type request struct {
	items []item
	lines []byte // the items' lines, each with its line feed
	done  chan error
}

// requests keeps the memory of requests, but not their channels: one that was
// made in a test's bubble of time must not be used outside of it.
var requests = sync.Pool{New: func() any { return new(request) }}

// An item is a record in a request.
type item struct {
	id, job, correlation uuid.UUID
	hash                 tlog.Hash
	from, to             int // in the request's lines, without the line feed
	notice               *notice
}

// newRequest encodes what the writer needs, on the caller's goroutine.
func newRequest(records []jobaudit.Record) (*request, error) {
	r := requests.Get().(*request)
	r.items, r.lines, r.done = r.items[:0], r.lines[:0], make(chan error, 1)
	for _, record := range records {
		from := len(r.lines)
		r.lines = record.AppendTo(r.lines)
		line := r.lines[from:]
		if err := auditlog.CheckLeaf(line); err != nil {
			r.free()
			return nil, &jobaudit.RecordError{ID: record.ID(), Err: err}
		}
		r.items = append(r.items, item{
			id: record.ID(), job: record.JobID(), correlation: correlationOf(line),
			hash: record.Hash(), from: from, to: len(r.lines), notice: noticeOf(record),
		})
		r.lines = append(r.lines, '\n')
	}
	if len(r.lines) > maxAppend {
		n := len(r.lines)
		r.free()
		return nil, fmt.Errorf("filesink: an Append of %d bytes, at most %d are possible", n, maxAppend)
	}
	return r, nil
}

// free lets another Append use the request's memory.
func (r *request) free() {
	if cap(r.lines) <= maxBatch {
		requests.Put(r)
	}
}

// Append stores the records, as [jobaudit.AuditSink] says: it returns nil when
// they are durable and under a signed head. Appends that run beside each other
// share one write, one fsync and one signature; the records of one stand next
// to each other.
//
// When ctx ends first the outcome is unknown. An error of the disk is not the
// end: a later Append goes on as soon as the cause is gone, and first stores
// what was under way. After [ErrReplaced] nothing is stored any more.
func (s *Sink) Append(ctx context.Context, records []jobaudit.Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(records) == 0 {
		return nil
	}
	r, err := newRequest(records)
	if err != nil {
		return err
	}
	if err := s.queue.put(r); err != nil {
		r.free()
		return err
	}
	select {
	case err = <-r.done:
	case <-ctx.Done():
		if s.queue.withdraw(r) {
			r.free()
		}
		return ctx.Err() // a request that the writer has is left to it
	}
	r.free()
	return err
}

// A queue holds the requests that the writer has not taken yet.
type queue struct {
	ready chan struct{} // holds a token while there may be something to take

	mu     sync.Mutex
	list   []*request
	closed bool
}

func newQueue() *queue { return &queue{ready: make(chan struct{}, 1)} }

func (q *queue) put(r *request) error {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return ErrClosed
	}
	q.list = append(q.list, r)
	q.mu.Unlock()
	q.wake()
	return nil
}

func (q *queue) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// withdraw takes a request back, if the writer has not taken it.
func (q *queue) withdraw(r *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, other := range q.list {
		if other == r {
			q.list = append(q.list[:i], q.list[i+1:]...)
			return true
		}
	}
	return false
}

// take waits for requests and returns all that there are; none, and false,
// once the queue is closed and empty. It gives spare to those that come next.
func (q *queue) take(spare []*request) ([]*request, bool) {
	for range q.ready {
		q.mu.Lock()
		list, closed := q.list, q.closed
		if len(list) > 0 {
			q.list = spare[:0]
		}
		q.mu.Unlock()
		if len(list) > 0 {
			if closed {
				q.wake()
			}
			return list, true
		}
		if closed {
			break
		}
	}
	return nil, false
}

// close refuses further requests. It reports whether it was the first call.
func (q *queue) close() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	first := !q.closed
	q.closed = true
	q.wake()
	return first
}
