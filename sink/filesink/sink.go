package filesink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/disk"
)

// Sink writes and reads one log. [Open] makes one. It is safe for concurrent
// use.
type Sink struct {
	path     string
	key      *Key
	opts     Options
	dir      disk.Dir
	lock     io.Closer
	locked   disk.Info
	cache    *treeCache
	keeper   *keeper
	queue    *commitQueue
	recovery jobaudit.Recovery
	written  chan struct{} // closed when the writer has ended
	writer   *writer
	close    func() error

	open   openJobs
	cursor lineCursor

	mu      sync.Mutex
	view    view
	closed  bool          // no more will come
	changed chan struct{} // closed when there is more to read; nil if no reader waits
}

// A view is what readers see: what is durable.
type view struct {
	head   auditlog.Checkpoint
	closed []*closedSegment // shared with readers: only ever appended to, or replaced
	live   part             // its size is 0 if there is none
}

// sink starts the Sink when the directory is in order.
func (o *opening) sink() (*Sink, error) {
	if err := o.cache.sync(); err != nil {
		o.opts.OnError(fmt.Errorf("filesink: %w", err))
	}
	o.cache.opened()
	// The next commit is signed over this tree: were it another one, the log's own
	// key would fork the log.
	if head := o.base.Head(); o.tree.Size() != head.Size || o.tree.Root() != head.Root {
		return nil, o.refuse(head, fmt.Errorf("%w: the tree to go on from is not that of the newest commit. %s", ErrDamaged, putBack))
	}
	s := &Sink{
		path: o.path, key: o.key, opts: o.opts, dir: o.dir, lock: o.lock, locked: o.locked, cache: o.cache,
		queue: newCommitQueue(o.tree), recovery: o.recovery, written: make(chan struct{}),
	}
	s.keeper = &keeper{
		key: o.key.verifier, hashes: o.cache.hashes(), anchors: o.anchors,
		onError: func(err error) { s.opts.OnError(fmt.Errorf("filesink: %w", err)) },
		after:   s.noteCheckpoint,
	}
	w := &writer{Sink: s, tree: o.tree, history: o.history, ours: -1}
	if !o.head.IsZero() {
		w.head = o.base // which is under our own key, also on a predecessor's entries
	}
	for _, one := range o.closed {
		s.queue.older.merge(one.ids)
		if one.content != nil { // the disk was full
			w.unfiled = append(w.unfiled, one)
		}
	}
	s.writer = w
	s.close = sync.OnceValue(s.end)
	s.view = view{head: w.head, closed: o.closed}
	if l := o.live; l != nil {
		w.live = l
		s.view.live = part{first: l.first, size: l.size, entries: l.entries, lives: l.lives}
		for i, e := range l.entries {
			s.queue.leaves[e.id] = l.first + int64(i)
		}
	}
	s.keeper.start()
	go func() {
		defer close(s.written)
		w.run()
	}()
	return s, nil
}

// Recovery says what was found when the log was opened. A Recorder stores it
// in its first event.
func (s *Sink) Recovery() jobaudit.Recovery {
	r := s.recovery
	r.TornHeads, r.Overrides, r.Policies = slices.Clone(r.TornHeads), slices.Clone(r.Overrides), slices.Clone(r.Policies)
	r.Warnings, r.TornFiles = slices.Clone(r.Warnings), slices.Clone(r.TornFiles)
	return r
}

// Degraded sets what is called when a head can no longer be kept outside the log.
// A Recorder that opens on the Sink sets it, and records the event.
func (s *Sink) Degraded(report func(error)) {
	s.keeper.newest.Lock()
	defer s.keeper.newest.Unlock()
	s.keeper.degraded = report
}

// Checkpoint returns the newest durable head, signed. It is the zero
// Checkpoint as long as the log has no commit.
func (s *Sink) Checkpoint() auditlog.Checkpoint { return s.current().head }

func (s *Sink) current() view {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.view
}

// change changes what readers see from now on.
func (s *Sink) change(do func(*view)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do(&s.view)
	s.wake()
}

// wake lets those go on who wait for more to read. The caller holds s.mu.
func (s *Sink) wake() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// replace puts another form of a closed segment in its place.
func (s *Sink) replace(old, fresh *closedSegment) {
	s.change(func(v *view) {
		v.closed = slices.Clone(v.closed) // readers have the old list
		v.closed[slices.Index(v.closed, old)] = fresh
	})
}

// Close stores what Append was given before, ends the newest segment, brings
// the anchors up to date and lets another writer in. The error says what of
// that could not be done; the log is closed in any case. Further calls return
// the same.
func (s *Sink) Close() error {
	s.queue.close()
	<-s.written
	return s.close()
}

func (s *Sink) end() error {
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.closed = true
		s.wake()
	}()
	w := s.writer
	w.spare = nil // a Sink that is closed and kept holds no batch
	s.keeper.stop()
	err := w.retryPinned()
	if w.failed == nil && w.live != nil {
		w.closeSegment(w.live)
		w.live = nil
		err = errors.Join(err, w.cutAgain())
	}
	if w.failed == nil && !w.head.IsZero() {
		err = errors.Join(err, s.keeper.advance(context.Background(), w.head))
		s.noteCheckpoint(w.head)
	}
	if w.broken != nil {
		_ = w.broken.file.Close() // the next open sees to it
	}
	if w.failed != nil && w.live != nil {
		_ = w.live.file.Close() // the same
	}
	w.filing.Wait()
	err = errors.Join(err, s.cache.close(), s.lock.Close())
	// The directory stays open for readers; the collector closes it.
	if err != nil {
		return fmt.Errorf("filesink: close: %w", err)
	}
	return nil
}

// noteCheckpoint keeps the newest durable head in the directory: readers in
// other processes may hand out heads up to it, and a log that ends before it
// has lost something.
func (s *Sink) noteCheckpoint(c auditlog.Checkpoint) {
	if err := replaceFile(s.dir, checkpointFile, c.Signed(), true); err != nil {
		s.opts.OnError(fmt.Errorf("filesink: checkpoint: %w", err))
	}
}
