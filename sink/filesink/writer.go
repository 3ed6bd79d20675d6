package filesink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

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
	entries []entry             // shared with readers: only ever appended to
	ids     map[uuid.UUID]int32 // positions in entries
}

// A writer is the one goroutine that writes a log; only it touches these
// fields. What it publishes goes to the Sink's view.
type writer struct {
	*Sink
	live    *live // nil between segments
	tree    auditlog.Tree
	head    auditlog.Checkpoint
	history history
	sealed  []*sealed // shared with readers: only ever appended to
	ids     keyRange  // of all sealed segments

	batch *batch // the next
	// pinned is a batch that could not be stored: its signed head may have
	// been seen, so that these very bytes have to be the next to be stored.
	pinned *batch
	// broken is the segment in which a write failed. It is cut once the batch
	// is durable elsewhere.
	broken *live
	// ours is the first index of a segment that we began and could not finish,
	// else -1: a file of that name is not a stranger's.
	ours     int64
	uncut    []*sealed // could not be cut yet
	failed   error     // for good
	anchored bool      // since the open
}

// run commits what comes through the queue until that is closed.
func (w *writer) run() {
	var spare []*request
	for {
		reqs, ok := w.queue.take(spare)
		if !ok {
			return
		}
		w.serve(reqs)
		clear(reqs)
		spare = reqs
	}
}

// serve answers all requests.
func (w *writer) serve(reqs []*request) {
	for len(reqs) > 0 {
		if err := w.settle(); err != nil {
			answer(reqs, err)
			return
		}
		reqs = reqs[w.gather(reqs):]
		b := w.batch
		if len(b.entries) == 0 {
			b.answer(nil) // all of it is durable already
			continue
		}
		err := b.sign(w.tree, w.key.signer)
		if err != nil { // nothing was written: it is as if it had never been
			b.answer(err)
			b.reset()
			continue
		}
		err = w.commit(b)
		b.answer(err)
		if err != nil {
			w.pinned, w.batch = b, newBatch()
			continue
		}
		b.reset()
	}
}

// settle stores the batch that could not be stored before.
func (w *writer) settle() error {
	if w.failed != nil || w.pinned == nil {
		return w.failed
	}
	if err := w.commit(w.pinned); err != nil {
		return err
	}
	w.pinned = nil
	return nil
}

// gather makes the next batch of as many requests as fit, and answers those
// that are refused. It returns how many it took.
func (w *writer) gather(reqs []*request) int {
	b := w.batch
	for i, r := range reqs {
		if i > 0 && len(b.bytes)+len(r.lines) > maxBatch {
			return i
		}
		m := b.mark()
		if err := w.admit(r); err != nil {
			b.rollback(m)
			r.done <- err
			continue
		}
		b.reqs = append(b.reqs, r)
	}
	return len(reqs)
}

// admit adds a request's records to the batch, those that are stored already
// excepted.
func (w *writer) admit(r *request) error {
	for _, it := range r.items {
		line := r.lines[it.from:it.to]
		stored, err := w.stored(it.id, line)
		if err != nil {
			return err
		}
		if !stored {
			w.batch.add(r, it)
		}
	}
	return nil
}

// commit makes a signed batch durable, publishes it and sees to the anchors.
// An error means that it has to be tried again, unless w.failed is set.
func (w *writer) commit(b *batch) error {
	if w.live != nil && w.live.size+int64(len(b.bytes)) > w.opts.SegmentSize {
		w.seal(w.live)
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
	if w.opts.AnchorEveryCommit || !w.anchored {
		w.anchored = true
		w.keeper.report(w.keeper.advance(context.Background(), b.head))
	} else {
		w.keeper.later(b.head)
	}
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
		l.ids[e.id] = int32(len(l.entries))
		l.entries = append(l.entries, e)
	}
	l.size += int64(len(b.bytes))
	for _, n := range b.notices {
		w.history.see(n)
	}
	w.tree, w.head = b.tree, b.head
	if err := w.cache.add(b.hashes); err != nil {
		w.opts.OnError(err)
	}
	w.show()
}

// show gives readers the newest state.
func (w *writer) show() {
	v := view{head: w.head, sealed: w.sealed}
	if l := w.live; l != nil {
		v.live = part{first: l.first, size: l.size, entries: l.entries}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.view = v
}

// stored tells whether a record is stored already, or in the batch at hand.
// Other bytes under its ID are a conflict.
func (w *writer) stored(id uuid.UUID, line []byte) (bool, error) {
	if i, ok := w.batch.ids[id]; ok {
		return true, compare(id, w.batch.line(i), line)
	}
	if w.live != nil {
		if i, ok := w.live.ids[id]; ok {
			old, err := readLine(w.live.file, nil, int64(w.live.entries[i].off), w.live.size)
			if err != nil {
				return false, fmt.Errorf("filesink: read event %s again: %w", id, err)
			}
			return true, compare(id, old, line)
		}
	}
	if !w.ids.has(id) {
		return false, nil
	}
	for i := len(w.sealed) - 1; i >= 0; i-- {
		var conflict error
		found, err := w.findSealed(i, id, func(_ place, old []byte) { conflict = compare(id, old, line) })
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

// findSealed looks into a sealed segment. An index that does not read well is
// made anew, in memory: it is written at the next open.
func (w *writer) findSealed(i int, id uuid.UUID, seen func(place, []byte)) (bool, error) {
	found, err := w.sealed[i].find(w.dir, id, seen)
	if err == nil || w.sealed[i].content != nil {
		return found, err
	}
	w.opts.OnError(fmt.Errorf("segment %d: %w", w.sealed[i].first, err))
	c, err := readContent(context.Background(), w.dir, w.sealed[i].first, w.sealed[i].end, history{})
	if err != nil {
		return false, err
	}
	if err := w.dir.Remove(indexPath(c.first)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.opts.OnError(err)
	}
	anew := append([]*sealed(nil), w.sealed...) // readers have the old list
	anew[i] = unfiled(c)
	w.sealed = anew
	return anew[i].find(w.dir, id, seen)
}
