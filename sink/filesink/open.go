package filesink

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"slices"
	"syscall"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/boundanchor"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/disk"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Open opens the log in a directory for writing, or makes an empty one. It
// takes the log's process lock; the error is [ErrLocked] if another writer has
// it. It checks the newest head: that the key signed it, that the tree leads
// to it, and that the anchors agree. If they do not, the error is a
// [*RefusedError], and nothing in the directory was changed but the file of hashes
// named tree. What lies in a cache's place and is no file, or none that can be used, gets
// another name (tree.found.1) when the log was found to be good; [Options.OnError] is told.
// Options may be nil.
//
// After a clean [Sink.Close], opening reads little, however long the log is.
// After a crash it reads and copies the newest segment; ctx ends that early.
func Open(ctx context.Context, dir string, key *Key, opts *Options) (*Sink, error) {
	all, err := opts.withDefaults(key)
	if err != nil {
		return nil, err
	}
	o := &opening{ctx: ctx, path: dir, key: key, opts: all}
	sink, err := o.open()
	if err != nil {
		o.abandon()
		return nil, fmt.Errorf("filesink: open: %w", err)
	}
	return sink, nil
}

// opening is the state of an Open: first it looks and changes nothing but
// the tree of hashes, then it repairs, then it hands over to the Sink.
type opening struct {
	ctx  context.Context
	path string
	key  *Key
	opts Options

	dir    disk.Dir
	lock   io.Closer
	locked disk.Info // the lock's file, if the disk tells
	cache  *treeCache
	firsts []int64 // of the segments that stay

	head    auditlog.Checkpoint // newest commit; zero if there is none
	tree    auditlog.Tree       // at head
	base    auditlog.Checkpoint // head, signed by our own key
	noTree  error               // why the cache has no file
	rebuilt bool                // the tree's hashes were
	taken   bool                // the tree at the newest segment's first leaf is nobody's word yet
	clean   bool                // the newest segment was ended in order
	repairs []repair            // newest segment first
	torn    hash.Hash           // of all that goes to torn/
	closed  []*closedSegment
	last    *content // of the segment that is to be continued, or nil
	live    *live    // that segment
	history history

	anchors  []*kept
	outside  *auditlog.Head // the newest head of an anchor
	recovery jobaudit.Recovery
}

// A repair is a segment that was not ended in order.
type repair struct {
	first int64
	scan
	tail auditlog.TornTail // behind its newest good commit line
}

func (o *opening) open() (*Sink, error) {
	if err := o.enter(); err != nil {
		return nil, err
	}
	var err error
	if err := checkFormat(o.dir); err != nil {
		return nil, err
	}
	if o.lock, err = o.dir.Lock(lockFile); err != nil {
		return nil, fmt.Errorf("lock %s: %w", o.path, lockError(err))
	}
	o.locked, _ = o.dir.Stat(lockFile) // it is only compared
	if o.firsts, err = listSegments(o.dir); err != nil {
		return nil, err
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	o.report()
	if err := o.repair(); err != nil {
		return nil, err
	}
	if err := o.finishClosed(); err != nil {
		return nil, err
	}
	if err := o.putFirst(); err != nil {
		return nil, err
	}
	if err := o.continueLast(); err != nil {
		return nil, err
	}
	o.warn()
	return o.sink()
}

// lockError says what to do where the file system has no locks.
func lockError(err error) error {
	if errors.Is(err, syscall.ENOLCK) || errors.Is(err, syscall.ENOSYS) || errors.Is(err, syscall.EOPNOTSUPP) {
		return fmt.Errorf("the file system gives no locks, without which two writers could fork the log: keep it on a local one, or mount this one with locks: %w", err)
	}
	return err
}

// check looks at all that may be a reason not to write to the log, and changes
// nothing but caches.
func (o *opening) check() error {
	if err := checkBeginning(o.firsts); err != nil {
		return o.refuse(auditlog.Head{Size: o.firsts[0]}, fmt.Errorf("%w. %s", err, withoutCopy))
	}
	for _, look := range []func() error{o.findHead, o.checkTails, o.checkAnchors, o.checkCheckpoint, o.checkCopy, o.loadClosed, o.loadLast} {
		if err := look(); err != nil {
			return err
		}
	}
	return nil
}

// abandon lets go of what a failed open holds.
func (o *opening) abandon() {
	if o.live != nil {
		_ = o.live.file.Close() // nothing was written to it
	}
	if o.cache != nil {
		_ = o.cache.close() // a cache
	}
	if o.lock != nil {
		_ = o.lock.Close() // the process's end would do it too
	}
	if o.dir != nil {
		_ = o.dir.Close() // nothing was written through it
	}
}

// enter opens the directory. One that is not there is compared with the
// anchors before it is made: otherwise a deleted log would leave an empty one
// behind.
func (o *opening) enter() error {
	if err := checkOutside(o.opts.disk, o.path, o.opts.AnchorPath); err != nil {
		return err
	}
	file := newFileAnchor(o.opts.disk, o.opts.AnchorPath)
	o.anchors = []*kept{{name: o.opts.AnchorPath, Anchor: boundanchor.New(file)}}
	if o.opts.Anchor != nil {
		o.anchors = append(o.anchors, &kept{name: "Options.Anchor", Anchor: boundanchor.New(o.opts.Anchor)})
	}
	dir, err := o.opts.disk.OpenDir(o.path, false)
	if errors.Is(err, fs.ErrNotExist) {
		if err := o.checkAnchors(); err != nil {
			return err
		}
		dir, err = o.opts.disk.OpenDir(o.path, true)
	}
	o.dir = dir
	return err
}

func (o *opening) keys() []note.Verifier {
	keys := []note.Verifier{o.key.verifier}
	if p := o.opts.Predecessor; p != nil {
		keys = append(append(keys, p), o.opts.Earlier...)
	}
	return keys
}

// refuse makes the error that says why the log is not opened, and how to go on.
func (o *opening) refuse(log auditlog.Head, err error) error {
	if signedWrongly(err) {
		err = fmt.Errorf("%w. %s", err, o.itsKey(log.Origin))
	}
	return o.refusal(log, err)
}

// refusal is refuse for an error that says how to go on.
func (o *opening) refusal(log auditlog.Head, err error) error {
	refusal := &RefusedError{Dir: o.path, Log: log, Err: err}
	for _, a := range o.anchors {
		ctx, cancel := context.WithTimeout(o.ctx, anchorTimeout)
		signed, err := a.Latest(ctx)
		cancel()
		if err != nil {
			continue // the refusal stands without this evidence
		}
		if c, err := auditlog.OpenCheckpoint(signed, o.key.verifier); err == nil && (refusal.Anchor == "" || c.Head().Size > refusal.Outside.Size) {
			refusal.Anchor, refusal.Outside = a.name, c.Head()
		}
	}
	return refusal
}

// findHead finds the newest commit and the tree at it. Segments without one,
// and what lies behind it, will be repaired.
func (o *opening) findHead() error {
	o.cache, o.noTree = openTree(o.dir)
	for n := len(o.firsts); n > 0; n-- {
		clean, err := o.findClean(n - 1)
		if err != nil || clean {
			o.clean = clean && len(o.repairs) == 0
			return err
		}
		m, err := o.scanTail(n - 1)
		if foreign, ok := errors.AsType[*errForeign](err); ok {
			log, err := claimedHead(o.dir, o.firsts)
			if err != nil {
				log = foreign.claimed
			}
			// What is newer may be no commit, but what is left of a write.
			return o.refusal(log, fmt.Errorf("%w. %s", foreign.err, o.itsKey(foreign.claimed.Origin)))
		}
		if err != nil {
			return err
		}
		o.repairs = append(o.repairs, m)
		if !m.head.IsZero() {
			o.head, o.tree = m.head, m.scan.tree
			return nil
		}
	}
	return nil
}

// findClean takes the head of the newest segment if it was ended in order: the
// index says so, and the segment ends with that very commit line.
func (o *opening) findClean(n int) (bool, error) {
	x, err := openIndex(o.dir, o.firsts[n], o.keys())
	if err != nil {
		return false, nil // a cache
	}
	defer x.close()
	f, err := o.dir.Open(segmentPath(o.firsts[n]))
	if err != nil {
		return false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size != x.Size || x.Size == 0 {
		return false, err
	}
	text, err := lastCommit(f, x.Size)
	if errors.Is(err, auditlog.ErrFormat) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	c, err := openCommit(text, o.keys())
	if errors.Is(err, auditlog.ErrOrigin) || errors.Is(err, auditlog.ErrUnknownKey) {
		claimed, _ := auditlog.CommitHead(text) // it parsed before
		return false, o.refuse(claimed, err)
	}
	if err != nil || c.Head().Size != x.End || c.Head().Root != x.Root {
		return false, nil
	}
	if o.history, err = x.history(); err != nil {
		return false, nil
	}
	o.head = c
	return true, o.resume(c)
}

// resume takes the tree at a commit from the cache, or rebuilds it.
func (o *opening) resume(c auditlog.Checkpoint) error {
	var err error
	o.cache.rewind(c.Head().Size)
	if o.tree, err = auditlog.ResumeTree(c, o.cache.hashes()); err == nil {
		return nil
	}
	return o.rebuild(c)
}

func (o *opening) rebuild(c auditlog.Checkpoint) error {
	o.rebuilt = true
	tree, err := rebuildTree(o.ctx, o.dir, o.firsts, c.Head(), o.cache)
	if err == nil {
		o.tree = tree
	}
	if _, wrong := errors.AsType[*auditlog.HeadError](err); wrong {
		return o.refuse(c.Head(), fmt.Errorf("%w: the entries do not lead to the newest commit: %w. %s", ErrDamaged, err, putBack))
	}
	return err
}

// scanTail reads a segment that was not ended in order.
func (o *opening) scanTail(n int) (repair, error) {
	first := o.firsts[n]
	m := repair{first: first}
	if err := o.before(n); err != nil {
		if gap, ok := errors.AsType[*gapError](err); ok {
			return o.behindGap(n, gap, err)
		}
		return m, err
	}
	f, err := o.dir.Open(segmentPath(first))
	if err != nil {
		return m, err
	}
	defer f.Close()
	read := func() error {
		o.cache.rewind(first)
		m.scan, err = scanSegment(o.ctx, f, first, o.history, scanner{keys: o.keys(), tree: o.tree, hashes: o.cache.hold, until: -1})
		return err
	}
	if err := read(); err != nil {
		return m, err
	}
	if o.taken && !m.head.IsZero() {
		// This head covers the entries before the segment: what they say is proven now.
		o.base = m.head
		if _, o.history, err = o.loadOne(n-1, nil); err != nil {
			return m, err
		}
		if err := read(); err != nil {
			return m, err
		}
	}
	o.history = m.content.history
	return m, nil
}

// before takes the tree and the history at a segment's first leaf.
func (o *opening) before(n int) error {
	o.tree, o.history, o.taken = auditlog.Tree{}, history{}, false
	first := o.firsts[n]
	if first == 0 {
		return nil
	}
	s, h, err := o.loadOne(n-1, nil)
	if err != nil {
		return err
	}
	f, err := o.dir.Open(segmentPath(s.first))
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := lastCommit(f, s.size)
	if err != nil {
		return err
	}
	c, err := openCommit(text, o.keys())
	if errors.Is(err, auditlog.ErrOrigin) || errors.Is(err, auditlog.ErrUnknownKey) {
		return o.take(n, text, h)
	}
	if err != nil {
		claimed, _ := auditlog.CommitHead(text) // the error says enough
		return o.refuse(claimed, err)
	}
	if err := o.resume(c); err != nil {
		return err
	}
	if h.unproven {
		o.base = c
		if _, h, err = o.loadOne(n-1, nil); err != nil {
			return err
		}
	}
	o.history = h
	return nil
}

// take is before for a segment behind entries of a log whose key was not given, as a
// successor's first one may be. Their tree is computed from them, and proves nothing: a
// commit line in the segment does, if it is signed by a given key and has that tree's
// root. Without one the segment before is looked at, and refused.
func (o *opening) take(n int, commit []byte, h history) error {
	claimed, err := auditlog.CommitHead(commit)
	if err != nil {
		return err
	}
	o.rebuilt = true
	if o.tree, err = rebuildTree(o.ctx, o.dir, o.firsts[:n], claimed, o.cache); err != nil {
		if _, wrong := errors.AsType[*auditlog.HeadError](err); wrong {
			return o.refuse(claimed, fmt.Errorf("%w: the entries do not lead to the commit before %s: %w. %s", ErrDamaged, segmentPath(o.firsts[n]), err, putBack))
		}
		return err
	}
	o.history, o.taken = h, true
	return nil
}

// report fills in what the recorder's audit.opened event says.
func (o *opening) report() {
	r := &o.recovery
	if len(o.repairs) > 0 {
		o.history = o.repairs[len(o.repairs)-1].content.history
	}
	r.Incarnation, r.Closed, r.Policies = o.history.incarnation, o.history.closed && o.clean, o.history.policies
	if !o.head.IsZero() {
		head := o.head.Head()
		r.Head = &tlog.Tree{N: head.Size, Hash: head.Root}
		if head.Origin != o.key.signer.Name() {
			r.Predecessor = head.Origin
		}
	}
	if o.outside != nil {
		r.Anchor = &tlog.Tree{N: o.outside.Size, Hash: o.outside.Root}
	}
	for _, m := range o.repairs {
		if h := m.tail.Head; h != nil && !slices.Contains(r.TornHeads, tlog.Tree{N: h.Size, Hash: h.Root}) {
			r.TornHeads = append(r.TornHeads, tlog.Tree{N: h.Size, Hash: h.Root})
		}
	}
}
