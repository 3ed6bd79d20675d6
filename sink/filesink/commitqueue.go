package filesink

import (
	"errors"
	"sync"

	"github.com/google/uuid"
	"github.com/jobaudit/jobaudit/auditlog"
)

// A commitQueue is where Appends come in. Each one adds its records to the batch
// that comes next, on its own goroutine and without touching the disk, while
// the writer makes the batch before it durable.
type commitQueue struct {
	ready chan struct{} // holds a token when there may be something to take

	mu     sync.Mutex
	closed bool
	next   *batch // that gathers
	taken  lines  // of the batch that the writer has and that is not durable yet
	// leaves holds the index in the log of each event that is in no closed
	// segment, by ID; older is the range of the IDs of all others.
	leaves map[uuid.UUID]int64
	older  keyRange
}

// What put returns of requests that are not in the batch.
var (
	errFull   = errors.New("the batch is full")
	errLookup = errors.New("the files have to be looked at")
)

func newCommitQueue(tree auditlog.Tree) *commitQueue {
	q := &commitQueue{ready: make(chan struct{}, 1), next: new(batch), leaves: make(map[uuid.UUID]int64)}
	q.next.begin(tree)
	return q
}

// put adds a request to the next batch, whose outcome it returns. With errFull
// there is no room: it can be tried again when the batch is taken. With
// errLookup the writer keeps the request: one of its IDs may be in the files.
func (q *commitQueue) put(r *request) (*outcome, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.next
	if q.closed {
		return nil, ErrClosed
	}
	if held := len(b.bytes) + b.lookupBytes; held > 0 && held+len(r.lines) > maxBatch {
		return b.outcome, errFull
	}
	err := q.admit(r)
	if err == errLookup {
		b.lookups, b.lookupBytes = append(b.lookups, r), b.lookupBytes+len(r.lines)
	} else if err != nil {
		return nil, err
	}
	if b.waiters++; b.waiters == 1 {
		q.wake()
	}
	return b.outcome, err
}

// admit adds a request's records to the next batch, those that are stored
// already excepted. The caller holds q.mu.
func (q *commitQueue) admit(r *request) error {
	b := q.next
	m := b.mark()
	for i := range r.items {
		it := &r.items[i]
		known, err := q.known(it, r.lines[it.from:it.to])
		if err != nil {
			for _, e := range b.entries[m.entries:] {
				delete(q.leaves, e.id)
			}
			b.rollback(m)
			return err
		}
		if !known {
			q.leaves[it.id] = b.first + int64(len(b.entries))
			b.add(r, it)
		}
	}
	b.grow(m)
	return nil
}

// known reports whether a record is in the files, or will be before the next
// batch is. Other bytes under its ID are a conflict.
func (q *commitQueue) known(it *item, line []byte) (bool, error) {
	if it.stored {
		return true, nil
	}
	leaf, ok := q.leaves[it.id]
	switch {
	case ok && leaf >= q.next.first:
		return true, compare(it.id, q.next.line(leaf), line)
	case ok && leaf >= q.taken.first && len(q.taken.entries) > 0:
		return true, compare(it.id, q.taken.line(leaf), line)
	case ok || !it.absent && q.older.has(it.id):
		return false, errLookup
	}
	return false, nil
}

// wake lets wait look again. The caller holds q.mu.
func (q *commitQueue) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// wait blocks until a caller waits for the next batch, and returns true then. It
// returns false once the commitQueue is closed and no caller waits.
func (q *commitQueue) wait() bool {
	for {
		q.mu.Lock()
		waited, closed := q.next.waiters > 0, q.closed
		q.mu.Unlock()
		if waited || closed {
			return waited
		}
		<-q.ready
	}
}

// waiters returns how many wait for the next batch so far.
func (q *commitQueue) waiters() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.next.waiters
}

// take returns the next batch, and lets another one gather behind it. As long
// as there are requests of which the files have to be looked at, it returns
// those and no batch.
func (q *commitQueue) take(another *batch) (*batch, []*request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.next
	if len(b.lookups) > 0 {
		lookups := b.lookups
		b.lookups, b.lookupBytes = nil, 0
		return nil, lookups
	}
	q.taken = b.lines
	another.begin(b.tree)
	q.next = another
	close(b.outcome.taken)
	return b, nil
}

// leaf returns the index of an event in no closed segment.
func (q *commitQueue) leaf(id uuid.UUID) (int64, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	leaf, ok := q.leaves[id]
	return leaf, ok
}

// admitAgain is admit for a request whose items were looked for.
func (q *commitQueue) admitAgain(r *request) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.admit(r)
}

// durable lets go of the batch that was taken: readers can see it.
func (q *commitQueue) durable() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.taken = lines{}
}

// refuse ends the next batch with an error, as if it had never been.
func (q *commitQueue) refuse(before auditlog.Tree, err error) {
	q.mu.Lock()
	b := q.next
	o := b.outcome
	for _, e := range b.entries {
		delete(q.leaves, e.id)
	}
	b.reset()
	b.begin(before)
	q.mu.Unlock()
	close(o.taken)
	o.end(err)
}

// rotate leaves the events before an index to the closed segments. It returns
// the indexes of all, which are the caller's.
func (q *commitQueue) rotate(older keyRange, from int64) map[uuid.UUID]int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.older.merge(older)
	all := q.leaves
	q.leaves = make(map[uuid.UUID]int64)
	for _, l := range []*lines{&q.taken, &q.next.lines} {
		for i, e := range l.entries {
			if leaf := l.first + int64(i); leaf >= from {
				q.leaves[e.id] = leaf
			}
		}
	}
	return all
}

// close refuses further Appends.
func (q *commitQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.wake()
}

// An outcome is what those who wait for a batch wait for.
type outcome struct {
	taken chan struct{} // closed when the writer has the batch
	done  chan struct{} // closed when err is set
	err   error
}

func newOutcome() *outcome {
	return &outcome{taken: make(chan struct{}), done: make(chan struct{})}
}

func (o *outcome) end(err error) {
	o.err = err
	close(o.done)
}
