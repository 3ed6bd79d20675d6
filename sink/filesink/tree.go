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

var errTreeLost = errors.New("the tree's hashes could not be written: they are made again when the log is next opened")

// A treeCache holds the log's stored hashes: a file, and those that are not in
// it yet. It is a cache; every use checks it against a signed root.
type treeCache struct {
	mu      sync.Mutex
	file    disk.File
	kept    int64  // hashes in the file
	pending []byte // those behind them
	lost    bool   // some hashes are in neither
}

// openTree opens the cache, or makes an empty one. Its hashes count up to a
// size of the log.
func openTree(dir disk.Dir, size int64) (*treeCache, error) {
	f, err := dir.Edit(treeFile)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = dir.Create(treeFile, false)
	}
	if err != nil {
		return nil, fmt.Errorf("tree: %w", err)
	}
	return &treeCache{file: f, kept: tlog.StoredHashCount(size)}, nil
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
	if err != nil && len(t.pending) > treeMost {
		t.lost, t.pending = true, nil
	}
	return err
}

// flush writes what is pending. The caller holds t.mu.
func (t *treeCache) flush() error {
	if t.lost {
		return errTreeLost
	}
	if len(t.pending) == 0 {
		return nil
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
	return t.file.Sync()
}

func (t *treeCache) close() error { return t.file.Close() }

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
