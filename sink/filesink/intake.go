package filesink

import (
	"errors"
	"sync"

	"github.com/google/uuid"
	"github.com/jobaudit/jobaudit/auditlog"
)

// An intake is where Appends come in. Each one adds its records to the batch
// that comes next, on its own goroutine and without touching the disk, while
// the writer makes the batch before it durable.
type intake struct {
	ready chan struct{} // holds a token when there may be something to take

	mu     sync.Mutex
	closed bool
	next   *batch // that gathers
	taken  lines  // of the batch that the writer has and that is not durable yet
	// leaves holds the index in the log of each event that is in no sealed
	// segment, by ID; sealed is the range of the IDs of all others.
	leaves map[uuid.UUID]int64
	sealed keyRange
}

// What put returns of requests that are not in the batch.
var (
	errFull   = errors.New("the batch is full")
	errUnsure = errors.New("the files have to be looked at")
)

func newIntake(tree auditlog.Tree) *intake {
	in := &intake{ready: make(chan struct{}, 1), next: new(batch), leaves: make(map[uuid.UUID]int64)}
	in.next.begin(tree)
	return in
}

// put adds a request to the next batch, whose outcome it returns. With errFull
// there is no room: it can be tried again when the batch is taken. With
// errUnsure the writer keeps the request: one of its IDs may be in the files.
func (in *intake) put(r *request) (*outcome, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	b := in.next
	if in.closed {
		return nil, ErrClosed
	}
	if held := len(b.bytes) + b.unsureBytes; held > 0 && held+len(r.lines) > maxBatch {
		return b.outcome, errFull
	}
	err := in.admit(r)
	if err == errUnsure {
		b.unsure, b.unsureBytes = append(b.unsure, r), b.unsureBytes+len(r.lines)
	} else if err != nil {
		return nil, err
	}
	if b.waiters++; b.waiters == 1 {
		in.wake()
	}
	return b.outcome, err
}

// admit adds a request's records to the next batch, those that are stored
// already excepted. The caller holds in.mu.
func (in *intake) admit(r *request) error {
	b := in.next
	m := b.mark()
	for i := range r.items {
		it := &r.items[i]
		known, err := in.known(it, r.lines[it.from:it.to])
		if err != nil {
			for _, e := range b.entries[m.entries:] {
				delete(in.leaves, e.id)
			}
			b.rollback(m)
			return err
		}
		if !known {
			in.leaves[it.id] = b.first + int64(len(b.entries))
			b.add(r, it)
		}
	}
	b.grow(m)
	return nil
}

// known tells whether a record is in the files, or will be before the next
// batch is. Other bytes under its ID are a conflict.
func (in *intake) known(it *item, line []byte) (bool, error) {
	if it.stored {
		return true, nil
	}
	leaf, ok := in.leaves[it.id]
	switch {
	case ok && leaf >= in.next.first:
		return true, compare(it.id, in.next.line(leaf), line)
	case ok && leaf >= in.taken.first && len(in.taken.entries) > 0:
		return true, compare(it.id, in.taken.line(leaf), line)
	case ok || !it.absent && in.sealed.has(it.id):
		return false, errUnsure
	}
	return false, nil
}

// wake lets wait look again. The caller holds in.mu.
func (in *intake) wake() {
	select {
	case in.ready <- struct{}{}:
	default:
	}
}

// wait waits until somebody waits for the next batch. It reports false once
// the intake is closed and nobody does.
func (in *intake) wait() bool {
	for {
		in.mu.Lock()
		waited, closed := in.next.waiters > 0, in.closed
		in.mu.Unlock()
		if waited || closed {
			return waited
		}
		<-in.ready
	}
}

// waiters tells how many wait for the next batch so far.
func (in *intake) waiters() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.next.waiters
}

// take returns the next batch, and lets another one gather behind it. As long
// as there are requests of which the files have to be looked at, it returns
// those and no batch.
func (in *intake) take(another *batch) (*batch, []*request) {
	in.mu.Lock()
	defer in.mu.Unlock()
	b := in.next
	if len(b.unsure) > 0 {
		unsure := b.unsure
		b.unsure, b.unsureBytes = nil, 0
		return nil, unsure
	}
	in.taken = b.lines
	another.begin(b.tree)
	in.next = another
	close(b.outcome.taken)
	return b, nil
}

// leaf returns the index of an event in no sealed segment.
func (in *intake) leaf(id uuid.UUID) (int64, bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	leaf, ok := in.leaves[id]
	return leaf, ok
}

// settle is admit for a request whose items were looked for.
func (in *intake) settle(r *request) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.admit(r)
}

// durable lets go of the batch that was taken: readers can see it.
func (in *intake) durable() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.taken = lines{}
}

// refuse ends the next batch with an error, as if it had never been.
func (in *intake) refuse(before auditlog.Tree, err error) {
	in.mu.Lock()
	b := in.next
	o := b.outcome
	for _, e := range b.entries {
		delete(in.leaves, e.id)
	}
	b.reset()
	b.begin(before)
	in.mu.Unlock()
	close(o.taken)
	o.end(err)
}

// rotate leaves the events before an index to the sealed segments. It returns
// the indexes of all, which are the caller's.
func (in *intake) rotate(sealed keyRange, from int64) map[uuid.UUID]int64 {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.sealed.merge(sealed)
	all := in.leaves
	in.leaves = make(map[uuid.UUID]int64)
	for _, l := range []*lines{&in.taken, &in.next.lines} {
		for i, e := range l.entries {
			if leaf := l.first + int64(i); leaf >= from {
				in.leaves[e.id] = leaf
			}
		}
	}
	return all
}

// close refuses further Appends.
func (in *intake) close() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.closed = true
	in.wake()
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
