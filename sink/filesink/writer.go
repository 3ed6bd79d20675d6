package filesink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"sync"

	"github.com/google/uuid"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/disk"
)

// A live is the segment that is written.
type live struct {
	first   int64
	size    int64 // up to the newest durable commit line
	file    disk.File
	info    disk.Info
	entries []entry // shared with readers: only ever appended to
	lives   []life  // the same
	ids     keyRange
}

// A writer is the one goroutine that writes a log; only it touches these
// fields. What it publishes goes to the Sink's view.
type writer struct {
	*Sink
	live    *live // nil between segments
	tree    auditlog.Tree
	head    auditlog.Checkpoint
	history history
	filing  sync.WaitGroup // the index of the segment that was closed last
	// unfiled are closed segments whose indexes could not be written yet. They are
	// of the goroutine that filing waits for.
	unfiled []*closedSegment

	spare *batch // to gather in next
	// pinned is a batch that could not be stored: its signed head may have
	// been seen, so that these very bytes have to be the next to be stored.
	pinned *batch
	// broken is the segment in which a write failed. It is cut once the batch
	// is durable elsewhere.
	broken *live
	// ours is the first index of a segment that we began and could not finish,
	// else -1: a file of that name is not a stranger's.
	ours     int64
	uncut    []*closedSegment // could not be cut yet
	failed   error            // for good
	anchored bool             // since the open
	known    auditlog.Head    // that every anchor holds, if each commit is anchored
}

// run commits what comes in until the commit queue is closed.
func (w *writer) run() {
	for w.queue.wait() {
		if err := w.retryPinned(); err != nil {
			w.refuse(err)
			continue
		}
		b := w.take()
		if len(b.entries) == 0 { // all of it is durable already
			b.outcome.end(w.anchorNow())
			w.recycle(b)
			continue
		}
		if err := w.commit(b); err != nil {
			w.pinned = b
			b.outcome.end(err)
			continue
		}
		b.outcome.end(w.anchorNow())
		w.gather(b.waiters)
		w.recycle(b)
	}
}

// gather lets the callers run first whose commit has just completed, if they are
// few. They may append again at once, and each commit that they share with the
// callers that wait already saves an fsync and a signature. Many are better
// gathered while the next batch is written.
func (w *writer) gather(waited int) {
	const few = 64
	if n := waited + w.queue.waiters(); n > 1 && n <= few {
		runtime.Gosched()
	}
}

// retryPinned stores the batch that could not be stored before.
func (w *writer) retryPinned() error {
	if w.failed != nil || w.pinned == nil {
		return w.failed
	}
	b := w.pinned
	if err := w.commit(b); err != nil {
		return err
	}
	w.pinned = nil
	w.recycle(b)
	return nil
}

// refuse ends the batch that gathers behind one that cannot be stored.
func (w *writer) refuse(err error) {
	before := w.tree
	if w.pinned != nil {
		before = w.pinned.tree
	}
	w.queue.refuse(before, err)
}

// take returns the next batch, once all its requests are in it.
func (w *writer) take() *batch {
	another := w.spare
	if w.spare = nil; another == nil {
		another = new(batch)
	}
	for {
		b, lookups := w.queue.take(another)
		if b != nil {
			return b
		}
		for _, r := range lookups {
			if r.err = w.look(r); r.err == nil {
				r.err = w.queue.admitAgain(r)
			}
		}
	}
}

func (w *writer) recycle(b *batch) {
	b.reset()
	w.spare = b
}

// commit makes a batch durable, publishes it and sees to the anchors. An error
// means that it has to be tried again, unless w.failed is set.
func (w *writer) commit(b *batch) error {
	if err := b.sign(w.key.signer); err != nil {
		return err
	}
	if w.live != nil && w.live.size+int64(len(b.bytes)) > w.opts.SegmentSize {
		w.closeSegment(w.live)
		w.live = nil
	}
	if err := w.store(b); err != nil {
		err = fmt.Errorf("filesink: %d events from index %d on are not known to be stored: %w", len(b.entries), b.first, err)
		if errors.Is(err, ErrReplaced) {
			w.fail(err)
		}
		return err
	}
	w.publish(b)
	// The first head of each segment is anchored at once: of those behind it
	// that a crash and a cut file may hide, at most a segment's are at stake.
	if begun := w.live.first == b.first; !w.opts.AnchorEveryCommit && (!w.anchored || begun) {
		w.anchored = true
		w.keeper.report(w.keeper.advance(context.Background(), b.head))
	}
	w.keeper.later(b.head)
	return nil
}

// anchorNow puts the newest head to the anchors, where each commit has to be
// anchored before it is acknowledged. An error means that the events are stored
// and may be lost unseen; sent again, they are acknowledged once the anchors hold
// a head that covers them.
func (w *writer) anchorNow() error {
	if !w.opts.AnchorEveryCommit || w.head.IsZero() || w.known == w.head.Head() {
		return nil
	}
	err := w.keeper.advance(context.Background(), w.head)
	w.keeper.report(err)
	if err != nil {
		return fmt.Errorf("filesink: the events are stored, but their head is not anchored yet: send them again: %w", err)
	}
	w.known = w.head.Head()
	return nil
}

// fail ends the writer. The anchors get the newest head that was acknowledged,
// as evidence for the next open.
func (w *writer) fail(err error) {
	w.failed = err
	if !w.head.IsZero() {
		w.keeper.report(w.keeper.advance(context.Background(), w.head))
	}
}

// publish lets readers see a batch that is durable.
func (w *writer) publish(b *batch) {
	l := w.live
	base := uint32(l.size)
	for _, e := range b.entries {
		e.off += base
		l.ids.add(e.id)
		l.entries = append(l.entries, e)
	}
	for _, one := range b.lives {
		one.off += base
		l.lives = append(l.lives, one)
	}
	l.size += int64(len(b.bytes))
	for _, n := range b.ownEvents {
		w.history.see(n)
	}
	w.tree, w.head = b.tree, b.head
	if err := w.cache.add(b.hashes); err != nil {
		w.opts.OnError(err)
	}
	w.change(func(v *view) {
		v.head, v.live = b.head, part{first: l.first, size: l.size, entries: l.entries, lives: l.lives}
	})
	w.queue.durable()
}

// look finds out which of a request's records are in the files. Other bytes
// under the ID of one are a conflict.
func (w *writer) look(r *request) error {
	for i := range r.items {
		it := &r.items[i]
		line := r.lines[it.from:it.to]
		leaf, ok := w.queue.leaf(it.id)
		if !ok {
			var err error
			if it.stored, err = w.lookClosed(it.id, line); err != nil {
				return err
			}
			it.absent = !it.stored
			continue
		}
		l := w.live
		if l == nil || leaf >= l.first+int64(len(l.entries)) {
			continue // it is in the batch
		}
		old, err := readLine(l.file, nil, int64(l.entries[leaf-l.first].off), l.size)
		if err != nil {
			return fmt.Errorf("filesink: read event %s again: %w", it.id, err)
		}
		if err := compare(it.id, old, line); err != nil {
			return err
		}
		it.stored = true
	}
	return nil
}

// lookClosed reports whether a record is in a closed segment.
func (w *writer) lookClosed(id uuid.UUID, line []byte) (bool, error) {
	for _, s := range slices.Backward(w.current().closed) {
		var conflict error
		found, err := w.findClosed(s, id, func(_ place, old []byte) { conflict = compare(id, old, line) })
		if err != nil {
			return false, fmt.Errorf("filesink: look for event %s: %w", id, err)
		}
		if found {
			return true, conflict
		}
	}
	return false, nil
}

func compare(id uuid.UUID, stored, line []byte) error {
	if string(stored) == string(line) {
		return nil
	}
	return &jobaudit.RecordError{ID: id, Err: jobaudit.ErrConflict}
}

// findClosed looks into a closed segment. An index that does not read well is
// rebuilt in memory, and written at the next open.
func (w *writer) findClosed(s *closedSegment, id uuid.UUID, seen func(place, []byte)) (bool, error) {
	found, err := s.find(w.dir, id, seen)
	if err == nil || s.content != nil {
		return found, err
	}
	w.opts.OnError(fmt.Errorf("segment %d: %w", s.first, err))
	c, err := readContent(context.Background(), w.dir, s.first, s.end, history{})
	if err != nil {
		return false, err
	}
	if err := w.dir.Remove(indexPath(c.first)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.opts.OnError(err)
	}
	fresh := unfiled(c)
	w.replace(s, fresh)
	return fresh.find(w.dir, id, seen)
}
