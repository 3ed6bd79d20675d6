package filesink

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/jobaudit/jobaudit/sink/filesink/internal/disk"
)

// store makes a batch durable: at the end of the live segment or, if there is
// none or a write to it failed, in a new one.
func (w *writer) store(b *batch) error {
	var cause error
	if w.live != nil {
		cause = w.extend(w.live, b)
		if cause == nil || errors.Is(cause, ErrReplaced) {
			return cause
		}
		// After a failed fsync it is unknown what of the file is durable, and
		// trying again does not show it.
		w.broken, w.live = w.live, nil
	}
	if err := w.begin(b); err != nil {
		return errors.Join(cause, err)
	}
	if cause != nil {
		w.opts.OnError(fmt.Errorf("filesink: a new segment was begun: %w", cause))
	}
	if w.broken != nil {
		w.retire(w.broken)
		w.broken = nil
	}
	return nil
}

// A strayError is about bytes behind the live segment's end that this process
// did not write. They may be evidence: nothing is written over them, and the
// next open keeps them aside.
type strayError struct {
	name  string
	bytes int64
}

func (e *strayError) Error() string {
	return fmt.Sprintf("%s: somebody else wrote %d bytes behind the log's end", e.name, e.bytes)
}

// extend writes a batch behind the segment's end.
func (w *writer) extend(l *live, b *batch) error {
	info, err := l.file.Stat()
	if err != nil {
		return err
	}
	switch {
	case info.Size < l.size: // writing would fill what was cut with zeros
		return fmt.Errorf("%w: %s has %d bytes instead of %d", ErrReplaced, segmentPath(l.first), info.Size, l.size)
	case info.Size > l.size:
		return &strayError{segmentPath(l.first), info.Size - l.size}
	}
	if _, err := l.file.WriteAt(b.bytes, l.size); err != nil {
		return err
	}
	if err := l.file.Sync(); err != nil {
		return err
	}
	return w.inPlace(l, l.size+int64(len(b.bytes)))
}

// inPlace checks that the log's path leads to the file that was written. One
// call looks at all of it: the directory, the one inside, the file.
func (w *writer) inPlace(l *live, size int64) error {
	info, err := w.dir.Reach(segmentPath(l.first))
	switch {
	case err != nil:
		return replaced(err)
	case !info.Same(l.info):
		return fmt.Errorf("%w: %s is another file", ErrReplaced, segmentPath(l.first))
	case !w.holdsLock():
		return fmt.Errorf("%w: the file %s was removed or replaced, so another writer could have opened the log", ErrReplaced, lockFile)
	case info.Size < size: // more is seen to before the next write
		return fmt.Errorf("%w: %s has %d bytes instead of %d", ErrReplaced, segmentPath(l.first), info.Size, size)
	}
	return nil
}

// holdsLock reports whether the lock that others would try is ours.
func (w *writer) holdsLock() bool {
	if !w.locked.Same(w.locked) { // the disk does not tell
		return true
	}
	info, err := w.dir.Reach(lockFile)
	return err == nil && info.Same(w.locked)
}

// replaced tells files that are gone from a disk that does not answer.
func replaced(err error) error {
	if disk.Gone(err) {
		return fmt.Errorf("%w: %w", ErrReplaced, err)
	}
	return err
}

// begin writes a batch to a new segment.
func (w *writer) begin(b *batch) (err error) {
	name := segmentPath(b.first)
	f, err := w.dir.Create(name, false)
	if errors.Is(err, fs.ErrExist) {
		if w.ours != b.first {
			return fmt.Errorf("%w: %s is there already", ErrReplaced, name)
		}
		f, err = createAnew(w.dir, name)
	}
	if err != nil {
		return replaced(err)
	}
	w.ours = b.first
	l := &live{first: b.first, file: f}
	defer func() {
		if err != nil {
			_ = f.Close() // it will be created again
		}
	}()
	if _, err := f.WriteAt(b.bytes, 0); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := w.dir.Sync(entriesDir); err != nil {
		return replaced(err)
	}
	if l.info, err = f.Stat(); err != nil {
		return err
	}
	if err := w.inPlace(l, int64(len(b.bytes))); err != nil {
		return err
	}
	w.live, w.ours = l, -1
	return nil
}

// closeSegment ends a segment in order. Its index is written beside the commits that
// follow; one that cannot be written is tried again at the next segment's end.
func (w *writer) closeSegment(l *live) *closedSegment {
	w.filing.Wait() // the entries of one segment at most are kept for it
	c := &content{first: l.first, end: l.first + int64(len(l.entries)), size: l.size, root: w.head.Head().Root, entries: l.entries, lives: lastingLives(l.lives), history: w.history, proven: true}
	s := &closedSegment{first: c.first, end: c.end, size: c.size, ids: l.ids, content: c}
	s.noteRare(l.entries)
	_ = l.file.Close() // all of it is durable
	c.leaves = w.queue.rotate(l.ids, s.end)
	w.change(func(v *view) { v.closed, v.live = append(v.closed, s), part{} })
	if err := c.signable(); err != nil {
		w.opts.OnError(fmt.Errorf("filesink: %s has an index without a signature, for this process alone: %w; see Verify", segmentPath(s.first), err))
	}
	// The index does not wait for the tree's hashes: those are made again at the next
	// open if they are not there, which takes entries that lead to the head. Where some
	// do not, these hashes are all that lets the log go on.
	if err := w.cache.sync(); err != nil {
		w.opts.OnError(fmt.Errorf("filesink: %w", err))
	}
	w.filing.Go(func() { w.file(s) })
	return s
}

// file writes the index of a segment that was closed and then those that could not be
// written before, as far as that goes: until then memory holds what is in them.
func (w *writer) file(s *closedSegment) {
	again := w.unfiled
	w.unfiled = nil
	if !w.fileOne(s) {
		w.unfiled = append(w.unfiled, again...)
		return
	}
	for i, old := range again {
		if !w.fileOne(old) { // it goes behind the others, who may fare better
			w.unfiled = append(slices.Clone(again[i+1:]), w.unfiled...)
			return
		}
	}
}

// fileOne writes the index of a segment. It returns false if that cannot be done now,
// and keeps for the next time what lookups need.
func (w *writer) fileOne(s *closedSegment) bool {
	sum, err := writeIndex(w.dir, s.content, w.key.signer, w.opts.OnError)
	if err == nil {
		w.replace(s, s.filed(sum))
		return true
	}
	w.opts.OnError(fmt.Errorf("filesink: %w", err))
	if s.content.leaves != nil {
		lean := s.lean()
		w.replace(s, lean)
		s = lean
	}
	w.unfiled = append(w.unfiled, s)
	return false
}

// retire closes a segment that cannot be written to. What a failed write of
// ours left there is cut; until then readers go by the next segment's first
// index.
func (w *writer) retire(l *live) {
	s := w.closeSegment(l)
	if err := w.cutFailed(s); err != nil {
		w.opts.OnError(fmt.Errorf("filesink: cut %s: %w", segmentPath(s.first), err))
		w.uncut = append(w.uncut, s)
	}
}

// cutFailed cuts what a failed write left behind a segment's end. Other bytes are
// left to the next open, which keeps them aside.
func (w *writer) cutFailed(s *closedSegment) error {
	info, err := w.dir.Stat(segmentPath(s.first))
	if err != nil || info.Size <= s.size {
		return err
	}
	again, err := rewritten(w.dir, s, info.Size-s.size)
	if err != nil || !again {
		return err
	}
	return cut(w.dir, s.first, s.size)
}

// cutAgain cuts what could not be cut before.
func (w *writer) cutAgain() error {
	for len(w.uncut) > 0 {
		if err := w.cutFailed(w.uncut[0]); err != nil {
			return fmt.Errorf("cut %s: %w", segmentPath(w.uncut[0].first), err)
		}
		w.uncut = w.uncut[1:]
	}
	return nil
}
