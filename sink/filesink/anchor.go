package filesink

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/disk"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// anchorSuffix makes a key's path the path of the default anchor.
const anchorSuffix = ".anchor"

// FileAnchor returns an anchor that keeps the newest head in a file, which is
// replaced as a whole (write, fsync, rename, directory fsync) and holds the
// signed checkpoint and nothing else. The file's directory is made when it is
// needed.
// Processes that put heads to one file hinder each other in nothing; which of them may go
// before which is for them to settle, as [auditlog.AdvanceAnchor] says. A Put is refused, with
// an [auditlog.HeadError], where the file has a larger head of that log, or another of that size:
// one that comes back late does not move it back, unless another Put comes in the same moment.
func FileAnchor(path string) auditlog.Anchor { return newFileAnchor(disk.OS{}, path) }

// maxCheckpoint bounds a signed head in bytes: it may carry the signatures of
// witnesses.
const maxCheckpoint = 64 << 10

type fileAnchor struct {
	disk  disk.Disk
	path  string
	swept sync.Once // of what processes left that were killed
}

func newFileAnchor(d disk.Disk, path string) *fileAnchor { return &fileAnchor{disk: d, path: path} }

// Put is [auditlog.Anchor]'s. Its temporary file is of this call alone: by a shared name a
// process could put what another one is writing, in part or instead of its own head.
func (a *fileAnchor) Put(ctx context.Context, c auditlog.Checkpoint) error {
	folder, err := a.disk.OpenDir(filepath.Dir(a.path), true)
	if err != nil {
		return err
	}
	a.swept.Do(func() { a.sweep(folder) })
	base := filepath.Base(a.path)
	for range anchorSweeps {
		err = replaceIf(folder, base+"."+rand.Text()+tempSuffix, base, c.Signed(), true, func() error { return keptBehind(folder, base, c) })
		if !errors.Is(err, fs.ErrNotExist) || ctx.Err() != nil {
			break
		}
	}
	return errors.Join(err, folder.Close())
}

// keptBehind returns an error if the file has a head of the log that is newer than c, or
// contradicts it. Whatever else it has is replaced.
func keptBehind(folder disk.Dir, base string, c auditlog.Checkpoint) error {
	signed, err := readAll(folder, base, maxCheckpoint)
	if err != nil {
		return nil
	}
	unproven := errors.New("no proof is asked for")
	err = auditlog.CompareKept(signed, c, func(int64) (tlog.TreeProof, error) { return nil, unproven })
	kept, ok := errors.AsType[*auditlog.HeadError](err)
	if ok && kept.Outside.Origin == c.Head().Origin && kept.Outside.Size >= c.Head().Size {
		return err
	}
	return nil
}

// anchorSweeps is how often a head is written again that is swept away meanwhile: each
// other process does that once, when it begins.
const anchorSweeps = 100

// sweep removes temporary files of this anchor, also those of versions that had one name
// for them. What it cannot remove is in nobody's way.
func (a *fileAnchor) sweep(folder disk.Dir) {
	names, err := folder.List(".")
	if err != nil {
		return
	}
	base := filepath.Base(a.path)
	for _, name := range names {
		middle, isTemp := strings.CutSuffix(name, tempSuffix)
		random, ours := strings.CutPrefix(middle, base+".")
		if isTemp && (middle == base || ours && len(random) == len(rand.Text()) && !strings.Contains(random, ".")) {
			_ = folder.Remove(name)
		}
	}
}

func (a *fileAnchor) Latest(context.Context) ([]byte, error) {
	folder, err := a.disk.OpenDir(filepath.Dir(a.path), false)
	var signed []byte
	if err == nil {
		signed, err = readAll(folder, filepath.Base(a.path), maxCheckpoint)
		err = errors.Join(err, folder.Close())
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, auditlog.ErrNoHead
	}
	return signed, err
}

// Check is [auditlog.Checker].
func (a *fileAnchor) Check(ctx context.Context, head auditlog.Checkpoint, prove func(int64) (tlog.TreeProof, error)) ([]byte, error) {
	signed, err := a.Latest(ctx)
	if err != nil {
		return nil, err
	}
	return signed, auditlog.CompareKept(signed, head, prove)
}

// anchorDelay is how long after a commit its head goes to the anchors, off the
// commit path (docs/format.md, F6: within a second).
const anchorDelay = 500 * time.Millisecond

// anchorTimeout bounds a call on an anchor.
const anchorTimeout = 5 * time.Second

// A keeper hands durable heads to the anchors.
type keeper struct {
	key     note.Verifier
	hashes  tlog.HashReader
	onError func(error)
	after   func(auditlog.Checkpoint) // called off the commit path, once the anchors had a head

	mu      sync.Mutex // one advance at a time
	anchors []*kept

	newest   sync.Mutex // guards head, degraded and failing
	head     auditlog.Checkpoint
	degraded func(error) // called when the anchors begin to fail; may be nil
	failing  bool
	kick     chan struct{}
	stopped  chan struct{}
	done     sync.WaitGroup
}

// kept is an anchor and what we know it to hold.
type kept struct {
	name string
	auditlog.Anchor
	head auditlog.Checkpoint
}

// start begins to work off the commit path.
func (k *keeper) start() {
	k.kick, k.stopped = make(chan struct{}, 1), make(chan struct{})
	k.done.Go(k.run)
}

func (k *keeper) run() {
	for {
		select {
		case <-k.stopped:
			return
		case <-k.kick:
		}
		timer := time.NewTimer(anchorDelay)
		select {
		case <-k.stopped:
			timer.Stop()
			return
		case <-timer.C:
		}
		k.newest.Lock()
		head := k.head
		k.newest.Unlock()
		k.report(k.advance(context.Background(), head))
		k.after(head)
	}
}

// later hands on a head off the commit path.
func (k *keeper) later(c auditlog.Checkpoint) {
	k.newest.Lock()
	k.head = c
	k.newest.Unlock()
	select {
	case k.kick <- struct{}{}:
	default:
	}
}

// stop ends the work off the commit path.
func (k *keeper) stop() {
	close(k.stopped)
	k.done.Wait()
}

func (k *keeper) report(err error) {
	k.newest.Lock()
	begins := err != nil && !k.failing
	k.failing = err != nil
	degraded := k.degraded
	k.newest.Unlock()
	if err != nil {
		k.onError(err)
	}
	if begins && degraded != nil {
		degraded(err)
	}
}

// advance moves every anchor on to a durable head.
func (k *keeper) advance(ctx context.Context, c auditlog.Checkpoint) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	var errs []error
	for _, a := range k.anchors {
		if err := k.advanceOne(ctx, a, c); err != nil {
			errs = append(errs, fmt.Errorf("anchor %s: %w", a.name, err))
		}
	}
	return errors.Join(errs...)
}

// advanceOne is [auditlog.AdvanceAnchor], but needs no stored hashes as long
// as the anchor holds what it was found to hold, or given, by this Sink: the
// log has only grown since.
func (k *keeper) advanceOne(ctx context.Context, a *kept, c auditlog.Checkpoint) error {
	ctx, cancel := context.WithTimeout(ctx, anchorTimeout)
	defer cancel()
	if !a.head.IsZero() {
		// A newer one may have come before, as two hand heads on: the writer, and
		// what works off the commit path. An anchor never goes back.
		if a.head.Head().Size >= c.Head().Size {
			return nil
		}
		signed, err := a.Latest(ctx)
		if err == nil && string(signed) == string(a.head.Signed()) {
			if err := a.Put(ctx, c); err != nil {
				return fmt.Errorf("put size %d: %w", c.Head().Size, err)
			}
			a.head = c
			return nil
		}
	}
	if err := auditlog.AdvanceAnchor(ctx, a.Anchor, c, k.key, k.hashes); err != nil {
		return err
	}
	a.head = c
	return nil
}
