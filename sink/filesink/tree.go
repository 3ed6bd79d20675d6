package filesink

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/disk"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	// treeFlush is how many bytes of hashes are written to the tree's file at
	// a time, treeMost how many wait while it cannot be written.
	treeFlush = 64 << 10
	treeMost  = 8 << 20
)

var errNoTree = errors.New("the tree's hashes are in memory: there is no file for them")

var errTreeLost = errors.New("the tree's hashes could not be written: they are made again when the log is next opened")

// A treeCache holds the log's stored hashes: a file, and those that are not in
// it yet. It is a cache; every use checks it against a signed root.
type treeCache struct {
	mu      sync.Mutex
	file    disk.File // nil: all hashes are pending
	kept    int64     // hashes in the file
	pending []byte    // those behind them
	lost    bool      // some hashes are in neither
	failed  bool      // hold could not write, and tries no more
}

// openTree opens the cache, or makes an empty one. With an error the hashes are kept in
// memory: what lies in its place may be a stranger's, and is not touched before the log
// is known to be good.
func openTree(dir disk.Dir) (*treeCache, error) {
	mode, there, err := typeOf(dir, treeFile)
	if err == nil && there && !mode.IsRegular() {
		err = disk.ErrNotRegular // also a link, which could lead to entries
	}
	if err != nil {
		return &treeCache{}, fmt.Errorf("tree: its hashes are kept in memory: %w", err)
	}
	f, err := dir.Edit(treeFile)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = dir.Create(treeFile, false)
	}
	if err != nil {
		return &treeCache{}, fmt.Errorf("tree: its hashes are kept in memory: %w", err)
	}
	return &treeCache{file: f}, nil
}

// place puts the cache on disk that was kept in memory.
func (t *treeCache) place(dir disk.Dir) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	f, err := dir.Create(treeFile, false)
	if err == nil {
		t.file = f
	}
	return err
}

// rewind makes the hashes count up to a size only.
func (t *treeCache) rewind(size int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	count := tlog.StoredHashCount(size)
	if waiting := count - t.kept; waiting > 0 && waiting*tlog.HashSize <= int64(len(t.pending)) {
		t.pending = t.pending[:waiting*tlog.HashSize] // they are not in the file yet
		return
	}
	t.kept, t.pending, t.lost = count, nil, false
}

// add takes the hashes that the log's newest leaves completed. An error is
// about the cache only.
func (t *treeCache) add(hashes []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lost {
		return nil
	}
	t.pending = append(t.pending, hashes...)
	if len(t.pending) < treeFlush {
		return nil
	}
	err := t.flush()
	t.bound()
	return err
}

// hold is add while the log is opened, which needs all hashes: those that cannot be
// written wait, however many they are, and sync says why.
func (t *treeCache) hold(hashes []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pending = append(t.pending, hashes...); len(t.pending) >= treeFlush && !t.failed {
		t.failed = t.flush() != nil
	}
	return nil
}

// opened ends the time in which hashes are held.
func (t *treeCache) opened() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bound()
}

// bound gives up hashes that cannot be written if they take too much memory. The caller
// holds t.mu.
func (t *treeCache) bound() {
	if len(t.pending) > treeMost {
		t.lost, t.pending = true, nil
	}
}

// flush writes what is pending. The caller holds t.mu.
func (t *treeCache) flush() error {
	if t.lost {
		return errTreeLost
	}
	if len(t.pending) == 0 {
		return nil
	}
	if t.file == nil {
		return errNoTree
	}
	if _, err := t.file.WriteAt(t.pending, t.kept*tlog.HashSize); err != nil {
		return fmt.Errorf("tree: %w", err)
	}
	t.kept += int64(len(t.pending)) / tlog.HashSize
	t.pending = t.pending[:0]
	return nil
}

// sync makes all hashes durable.
func (t *treeCache) sync() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.flush(); err != nil {
		return err
	}
	if t.file == nil {
		return nil
	}
	return t.file.Sync()
}

func (t *treeCache) close() error {
	if t.file == nil {
		return nil
	}
	return t.file.Close()
}

// ReadAt reads stored hashes. It is for [auditlog.StoredHashes], which asks
// for whole ones.
func (t *treeCache) ReadAt(b []byte, off int64) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lost {
		return 0, errTreeLost
	}
	filed := t.kept * tlog.HashSize
	n := 0
	if off < filed {
		if t.file == nil {
			return 0, errNoTree
		}
		part := b[:min(int64(len(b)), filed-off)]
		if err := readFull(t.file, part, off); err != nil {
			return 0, err
		}
		n = len(part)
	}
	if n < len(b) {
		at := off + int64(n) - filed
		if at < int64(len(t.pending)) {
			n += copy(b[n:], t.pending[at:])
		}
	}
	if n < len(b) {
		return n, errors.New("the hash is not stored")
	}
	return n, nil
}

// hashes returns the stored hashes for proofs.
func (t *treeCache) hashes() tlog.HashReader { return auditlog.StoredHashes(t) }
