package filesink

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/jobcheck"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/disk"
	"golang.org/x/mod/sumdb/note"
)

// errForeign is about a log whose newest commit another key signed.
type errForeign struct {
	claimed auditlog.Head
	err     error
}

func (e *errForeign) Error() string { return e.err.Error() }
func (e *errForeign) Unwrap() error { return e.err }

// A scan is what one reading of a segment found.
type scan struct {
	content                     // up to the newest good commit line
	head    auditlog.Checkpoint // that one; zero without keys or if there is none
	tree    auditlog.Tree       // at head
	bytes   int64               // of the whole file
	// behind: a good commit line follows a bad one, so what lies between was
	// acknowledged and is damaged.
	behind bool
	// own: the first of the keys has signed a commit line of it, good or torn.
	own bool
}

// A scanner reads a segment from its first line on.
type scanner struct {
	keys []note.Verifier
	// tree is the tree at the segment's first leaf and hashes takes what its
	// leaves complete up to the newest good commit line. Without keys neither
	// is used: commit lines are believed if their sizes are right.
	tree   auditlog.Tree
	hashes func([]byte) error
	// fold uses the tree without keys: commit lines are believed if their sizes
	// and roots are right, and that the tree is the log's is left to the caller.
	fold bool
	// until is the size at which the segment ends although the file may go on,
	// -1 if that is not known.
	until int64

	scan
	run       auditlog.Tree
	stored    []byte
	entries   []entry    // up to the line at hand
	lives     []life     // the same
	ownEvents []ownEvent // since the newest good commit line
	bad       bool       // a bad commit line since then
}

// scanSegment reads a segment.
func scanSegment(ctx context.Context, f disk.File, first int64, h history, s scanner) (scan, error) {
	info, err := f.Stat()
	if err != nil {
		return scan{}, err
	}
	if info.Size > math.MaxUint32 {
		return scan{}, fmt.Errorf("segment %d: %d bytes, at most 4 GiB are expected", first, info.Size)
	}
	s.scan.content = content{first: first, end: first, history: h, proven: len(s.keys) > 0}
	s.scan.tree, s.run, s.scan.bytes = s.tree, s.tree, info.Size
	n := 0
	for l, err := range forward(f, 0, info.Size) {
		if errors.Is(err, errLongLine) {
			break // no line of ours: the tail begins before it
		}
		if err != nil {
			return scan{}, fmt.Errorf("segment %d: %w", first, err)
		}
		if n++; n%1024 == 0 && ctx.Err() != nil {
			return scan{}, ctx.Err()
		}
		if !auditlog.IsCommit(l.bytes) {
			s.leaf(l)
			continue
		}
		if err := s.commit(l); err != nil {
			return scan{}, err
		}
		if s.until >= 0 && s.end == s.until {
			break
		}
	}
	return s.scan, nil
}

func (s *scanner) leaf(l line) {
	switch {
	case len(s.keys) > 0:
		s.stored = s.run.Append(s.stored, auditlog.HashLeaf(l.bytes))
	case s.fold:
		s.stored = s.run.Append(s.stored[:0], auditlog.HashLeaf(l.bytes))
	}
	p, one := headerAndLife(l.bytes, uint32(l.off))
	s.entries = append(s.entries, entry{p.id, p.job, p.correlation, p.time, uint32(l.off)})
	if one.Kind != jobcheck.NotTelling {
		s.lives = append(s.lives, one)
	}
	if n := ownEventIn(p, l.bytes); n != nil {
		s.ownEvents = append(s.ownEvents, *n)
	}
}

func (s *scanner) commit(l line) error {
	size := s.first + int64(len(s.entries))
	if len(s.keys) == 0 {
		head, err := auditlog.CommitHead(l.bytes)
		if err == nil && head.Size == size && size > s.end && (!s.fold || head.Root == s.run.Root()) {
			s.scan.tree, s.root = s.run, head.Root
			s.behind = s.behind || s.bad
			return s.accept(l)
		}
		s.bad = s.fold
		return nil
	}
	c, err := openCommit(l.bytes, s.keys)
	if err != nil {
		head, parseErr := auditlog.CommitHead(l.bytes)
		if parseErr == nil && !errors.Is(err, auditlog.ErrSignature) && s.end == s.first {
			return &errForeign{head, err}
		}
		s.bad = true
		return nil
	}
	head := c.Head()
	s.own = s.own || head.Origin == s.keys[0].Name()
	if head.Size == size && size > s.end && head.Root == s.run.Root() {
		s.head, s.scan.tree, s.root = c, s.run, head.Root
		s.behind = s.behind || s.bad
		return s.accept(l)
	}
	s.bad = true
	return nil
}

// accept takes a good commit line.
func (s *scanner) accept(l line) error {
	s.end, s.size = s.first+int64(len(s.entries)), l.end()
	s.content.entries, s.content.lives = s.entries, s.lives
	for _, n := range s.ownEvents {
		s.content.history.see(n)
	}
	s.ownEvents, s.bad = s.ownEvents[:0], false
	if s.hashes == nil {
		return nil
	}
	err := s.hashes(s.stored)
	s.stored = s.stored[:0]
	return err
}

// openCommit opens a commit line with the first key that fits.
func openCommit(line []byte, keys []note.Verifier) (auditlog.Checkpoint, error) {
	var first error
	for _, key := range keys {
		c, err := auditlog.OpenCommit(line, key)
		if err == nil {
			return c, nil
		}
		if first == nil || errors.Is(first, auditlog.ErrOrigin) {
			first = err
		}
	}
	return auditlog.Checkpoint{}, first
}

// lastCommit returns the line that ends at size, if it is a commit line.
func lastCommit(f disk.File, size int64) ([]byte, error) {
	b := make([]byte, min(4<<10, size))
	if err := readFull(f, b, size-int64(len(b))); err != nil {
		return nil, err
	}
	for l, err := range backward(bytesFile(b), 0, int64(len(b))) {
		if err != nil {
			return nil, err
		}
		if auditlog.IsCommit(l.bytes) {
			return l.bytes, nil
		}
		break
	}
	return nil, fmt.Errorf("no commit line ends there: %w", auditlog.ErrFormat)
}

// bytesFile reads a slice as if it were a file.
type bytesFile []byte

func (b bytesFile) ReadAt(p []byte, off int64) (int, error) { return copy(p, b[off:]), nil }

// claimedHead returns the head in the newest commit line that can be read. It
// is not verified.
func claimedHead(dir disk.Dir, firsts []int64) (auditlog.Head, error) {
	for i := len(firsts) - 1; i >= 0; i-- {
		f, err := dir.Open(segmentPath(firsts[i]))
		if err != nil {
			return auditlog.Head{}, err
		}
		head, err := lastClaim(f)
		if err := errors.Join(err, f.Close()); err != nil {
			return auditlog.Head{}, err
		}
		if head.Origin != "" {
			return head, nil
		}
	}
	return auditlog.Head{}, auditlog.ErrNoHead
}

// lastClaim returns the head of a segment's last commit line that parses, the
// zero Head if there is none.
func lastClaim(f disk.File) (auditlog.Head, error) {
	info, err := f.Stat()
	if err != nil {
		return auditlog.Head{}, err
	}
	var newest auditlog.Head
	for l, err := range forward(f, 0, info.Size) {
		if err != nil {
			if errors.Is(err, errLongLine) {
				break
			}
			return auditlog.Head{}, err
		}
		if auditlog.IsCommit(l.bytes) {
			if head, err := auditlog.CommitHead(l.bytes); err == nil {
				newest = head
			}
		}
	}
	return newest, nil
}

// rebuildTree computes the stored hashes again from the entries, up to a head.
func rebuildTree(ctx context.Context, dir disk.Dir, firsts []int64, head auditlog.Head, cache *treeCache) (auditlog.Tree, error) {
	var tree auditlog.Tree
	var stored []byte
	cache.rewind(0)
	for i, first := range firsts {
		if first != tree.Size() || first >= head.Size {
			break
		}
		until := head.Size
		if i+1 < len(firsts) {
			until = min(until, firsts[i+1])
		}
		f, err := dir.Open(segmentPath(first))
		if err != nil {
			return tree, err
		}
		info, err := f.Stat()
		if err != nil {
			return tree, errors.Join(err, f.Close())
		}
		err = eachLeaf(ctx, f, info.Size, until-first, func(l line) error {
			if stored = tree.Append(stored, auditlog.HashLeaf(l.bytes)); len(stored) < treeFlush {
				return nil
			}
			err := cache.hold(stored)
			stored = stored[:0]
			return err
		})
		if err := errors.Join(err, f.Close()); err != nil {
			return tree, fmt.Errorf("rebuild the tree: segment %d: %w", first, err)
		}
	}
	if err := cache.hold(stored); err != nil {
		return tree, err
	}
	if tree.Size() != head.Size || tree.Root() != head.Root {
		return tree, &auditlog.HeadError{
			Log:     auditlog.Head{Origin: head.Origin, Size: tree.Size(), Root: tree.Root()},
			Outside: head,
		}
	}
	return tree, nil
}

// eachLeaf calls do for the first n leaves of a segment, -1 for all, as far as
// size bytes go.
func eachLeaf(ctx context.Context, f disk.File, size, n int64, do func(line) error) error {
	for l, err := range forward(f, 0, size) {
		if err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
		if auditlog.IsCommit(l.bytes) {
			continue
		}
		if n--; n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := do(l); err != nil {
			return err
		}
	}
	return nil
}
