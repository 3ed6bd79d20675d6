package mirror

import (
	"bytes"
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/jobaudit/jobaudit/auditlog"
)

// A fold hashes the lines of a log one after the other and checks its commit
// lines. It is what proves a chunk, and its frontier is what a head's object
// holds. A copy of a fold is a snapshot.
type fold struct {
	keys []note.Verifier // without any, signatures are not checked
	tree auditlog.Tree
	// edge[l] is the hash of the complete subtree of 2^l leaves at the right edge,
	// where bit l of the size is set.
	edge [64]tlog.Hash
	// head is the newest commit's, claimed without keys; signed is its
	// checkpoint, the zero value without keys.
	claimed auditlog.Head
	head    auditlog.Checkpoint
}

func resumeFold(c auditlog.Checkpoint, hashes []tlog.Hash, keys []note.Verifier) (*fold, error) {
	f := &fold{keys: keys, head: c, claimed: c.Head()}
	if len(hashes) != bits.OnesCount64(uint64(c.Head().Size)) {
		return nil, errHead
	}
	var err error
	if f.tree, err = auditlog.ResumeTree(c, frontierReader(c.Head().Size, hashes)); err != nil {
		return nil, err
	}
	for l := bits.Len64(uint64(c.Head().Size)) - 1; l >= 0; l-- {
		if c.Head().Size>>l&1 == 1 {
			f.edge[l], hashes = hashes[0], hashes[1:]
		}
	}
	return f, nil
}

func (f *fold) size() int64 { return f.tree.Size() }

// sizeOrNone is 0 of no fold.
func (f *fold) sizeOrNone() int64 {
	if f == nil {
		return 0
	}
	return f.size()
}

// frontier returns the hashes of the complete subtrees, from the largest.
func (f *fold) frontier() (hashes []tlog.Hash) {
	size := f.size()
	for l := bits.Len64(uint64(size)) - 1; l >= 0; l-- {
		if size>>l&1 == 1 {
			hashes = append(hashes, f.edge[l])
		}
	}
	return hashes
}

// leaf adds a leaf.
func (f *fold) leaf(line []byte) error {
	if err := auditlog.CheckLeaf(line); err != nil {
		return fmt.Errorf("event %d: %w", f.size(), err)
	}
	var room [64 * tlog.HashSize]byte
	level := bits.TrailingZeros64(^uint64(f.size()))
	stored := f.tree.Append(room[:0], auditlog.HashLeaf(line))
	copy(f.edge[level][:], stored[len(stored)-tlog.HashSize:])
	return nil
}

// errRoot: a commit line is signed, and the lines before it do not lead to its
// root.
var errRoot = errors.New("the events do not lead to the signed root")

// commit checks a commit line against the leaves so far.
func (f *fold) commit(line []byte) error {
	var c auditlog.Checkpoint
	head, err := auditlog.CommitHead(line)
	if err == nil && len(f.keys) > 0 {
		if c, err = openCommit(line, head.Origin, f.keys); err != nil {
			return err
		}
	}
	switch {
	case err != nil:
		return err
	case f.back(head.Origin):
		return fmt.Errorf("%w: a commit line of %q behind one of %q", auditlog.ErrOrigin, head.Origin, f.claimed.Origin)
	case head.Size <= f.claimed.Size:
		return fmt.Errorf("%w: a commit line of size %d behind one of size %d", auditlog.ErrFormat, head.Size, f.claimed.Size)
	case head.Size != f.size() || head.Root != f.tree.Root():
		return fmt.Errorf("commit line of size %d: %w", head.Size, errRoot)
	}
	f.head, f.claimed = c, head
	return nil
}

// back reports whether an origin comes before that of the newest commit: keys come
// in their order, never back.
func (f *fold) back(origin string) bool {
	first, n := auditlog.SplitOrigin(origin)
	was, before := auditlog.SplitOrigin(f.claimed.Origin)
	return f.claimed.Origin != "" && (first != was || n < before)
}

// openCommit opens a commit line with the key of its origin.
func openCommit(line []byte, origin string, keys []note.Verifier) (auditlog.Checkpoint, error) {
	i := slices.IndexFunc(keys, func(k note.Verifier) bool { return k.Name() == origin })
	if i < 0 {
		return auditlog.Checkpoint{}, fmt.Errorf("commit line of %q: %w: give the verifier key of that name", origin, auditlog.ErrOrigin)
	}
	return auditlog.OpenCommit(line, keys[i])
}

// chunk folds a chunk: whole lines, of which the last is a commit line. The lines
// are handed to each, which may be nil and ends it by returning false.
func (f *fold) chunk(data []byte, each func(line []byte) bool) error {
	if len(data) == 0 || data[len(data)-1] != '\n' {
		return fmt.Errorf("%w: a chunk of whole lines is expected", auditlog.ErrFormat)
	}
	ended := false
	for len(data) > 0 {
		i := bytes.IndexByte(data, '\n')
		line := data[:i]
		data = data[i+1:]
		var err error
		if ended = auditlog.IsCommit(line); ended {
			err = f.commit(line)
		} else {
			err = f.leaf(line)
		}
		if err != nil {
			return err
		}
		if each != nil && !each(line) {
			return nil
		}
	}
	if !ended {
		return fmt.Errorf("%w: a chunk ends with a commit line", auditlog.ErrFormat)
	}
	return nil
}
