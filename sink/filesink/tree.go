package filesink

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
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

// openTree opens the cache, or makes an empty one, also in the place of what is no file,
// or of one that may not be read. With an error the hashes are kept in memory.
func openTree(dir disk.Dir) (*treeCache, error) {
	f, err := dir.Edit(treeFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && (errors.Is(err, fs.ErrPermission) || !isFile(dir, treeFile)) {
		if cleared := clearAway(dir, treeFile); cleared == nil {
			err = fs.ErrNotExist
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		f, err = dir.Create(treeFile, false)
	}
	if err != nil {
		return &treeCache{file: &memoryFile{}}, fmt.Errorf("tree: its hashes are kept in memory: %w", err)
	}
	return &treeCache{file: f}, nil
}

// isFile reports whether a file of a directory is there, and no link.
func isFile(dir disk.Dir, name string) bool {
	entries, err := dir.ReadDir(".")
	return err == nil && slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == name && e.Type().IsRegular() })
}

// A memoryFile stands in for a cache that cannot be kept on disk. Its user locks.
type memoryFile struct{ b []byte }

func (m *memoryFile) ReadAt(b []byte, off int64) (int, error) {
	return bytes.NewReader(m.b).ReadAt(b, off)
}

func (m *memoryFile) WriteAt(b []byte, off int64) (int, error) {
	if end := off + int64(len(b)); end > int64(len(m.b)) {
		m.b = append(m.b, make([]byte, end-int64(len(m.b)))...)
	}
	return copy(m.b[off:], b), nil
}

func (m *memoryFile) Truncate(size int64) error { m.b = m.b[:size]; return nil }
func (m *memoryFile) Sync() error               { return nil }
func (m *memoryFile) Stat() (disk.Info, error)  { return disk.Info{Size: int64(len(m.b))}, nil }
func (m *memoryFile) Close() error              { return nil }

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
