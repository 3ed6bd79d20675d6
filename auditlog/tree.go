package auditlog

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/bits"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// A Tree is a growing Merkle tree (RFC 6962 §2.1, SHA-256), reduced to its
// right edge: O(log n) memory, however many leaves. The zero value is the
// empty tree. A Tree is a value: a copy is a snapshot that later appends to
// the original do not touch. It is not safe for concurrent use.
type Tree struct {
	size int64
	// edge[l] is the hash of the complete subtree of 2^l leaves that stands
	// at the right edge; it means something where bit l of size is set.
	edge [64]tlog.Hash
}

// ResumeTree returns the tree at a checkpoint, from at most 53 stored hashes
// and a single read. The stored hashes are a cache and are not trusted: when
// they do not give the checkpoint's root, the error is a [*HeadError].
func ResumeTree(c Checkpoint, r tlog.HashReader) (Tree, error) {
	h := c.Head()
	t, err := resume(h.Size, r)
	if err != nil {
		return Tree{}, fmt.Errorf("resume tree: %w", err)
	}
	if root := t.Root(); root != h.Root {
		return Tree{}, fmt.Errorf("resume tree: %w", &HeadError{
			Log:     Head{Origin: h.Origin, Size: h.Size, Root: root},
			Outside: h,
		})
	}
	return t, nil
}

// ResumeTreeAt returns the tree at a size up to a checkpoint's, from stored
// hashes that are not trusted: if they do not lead to the checkpoint's root,
// the error is a [*HeadError].
func ResumeTreeAt(c Checkpoint, size int64, r tlog.HashReader) (Tree, error) {
	if size < 0 || size > c.head.Size {
		return Tree{}, fmt.Errorf("resume tree at %d of %d: %w", size, c.head.Size, ErrFormat)
	}
	t, err := resume(size, r)
	if err == nil {
		err = t.LeadsTo(c, r)
	}
	if err != nil {
		return Tree{}, fmt.Errorf("resume tree: %w", err)
	}
	return t, nil
}

// LeadsTo checks that the log at the checkpoint begins with the leaves of this
// tree: that the stored hashes, which are not trusted, prove its root consistent
// with the checkpoint's (RFC 6962 §2.1.2). If they do not, the error is a
// [*HeadError].
func (t *Tree) LeadsTo(c Checkpoint, r tlog.HashReader) error {
	h, root := c.Head(), t.Root()
	wrong := &HeadError{Log: Head{Origin: h.Origin, Size: t.size, Root: root}, Outside: h}
	switch {
	case t.size == 0:
		return nil
	case t.size > h.Size || t.size == h.Size && root != h.Root:
		return wrong
	case t.size == h.Size:
		return nil
	}
	proof, err := tlog.ProveTree(h.Size, t.size, exactReader(r))
	if err != nil {
		return fmt.Errorf("prove consistency of sizes %d and %d: %w", t.size, h.Size, err)
	}
	if tlog.CheckTree(proof, h.Size, h.Root, t.size, root) != nil {
		return wrong
	}
	return nil
}

// resume reads a right edge without knowing whether it is the right one.
func resume(size int64, r tlog.HashReader) (Tree, error) {
	t := Tree{size: size}
	var levels []int
	var indexes []int64
	for l := bits.Len64(uint64(size)) - 1; l >= 0; l-- {
		if size>>l&1 == 1 {
			levels = append(levels, l)
			indexes = append(indexes, tlog.StoredHashIndex(l, size>>l-1))
		}
	}
	if len(indexes) == 0 {
		return t, nil
	}
	hashes, err := readHashes(r, indexes)
	if err != nil {
		return Tree{}, err
	}
	for i, l := range levels {
		t.edge[l] = hashes[i]
	}
	return t, nil
}

// Size returns the number of leaves.
func (t *Tree) Size() int64 { return t.size }

// Root returns the Merkle tree hash. It costs at most one hash per level.
func (t *Tree) Root() tlog.Hash {
	if t.size == 0 {
		return emptyRoot()
	}
	l := bits.TrailingZeros64(uint64(t.size))
	root := t.edge[l]
	for l++; t.size>>l != 0; l++ {
		if t.size>>l&1 == 1 {
			root = tlog.NodeHash(t.edge[l], root)
		}
	}
	return root
}

// Append adds a leaf by its hash ([HashLeaf]) and appends to stored the
// 32-byte hashes that it completes, in x/mod's stored-hash order: the leaf,
// then each subtree that ends with it, upwards. Over a run of leaves these
// are just under two hashes a leaf, and they belong behind each other at
// 32·[tlog.StoredHashCount](size) of the hash cache. It does not allocate
// when stored has room.
func (t *Tree) Append(stored []byte, leaf tlog.Hash) []byte {
	stored = append(stored, leaf[:]...)
	l := 0
	for ; t.size>>l&1 == 1; l++ {
		leaf = tlog.NodeHash(t.edge[l], leaf)
		stored = append(stored, leaf[:]...)
	}
	t.edge[l] = leaf
	t.size++
	return stored
}

// Sign makes the checkpoint of the tree as it is: one signature, however many
// leaves came since the last. The origin is the signer's name.
func (t *Tree) Sign(signer note.Signer) (Checkpoint, error) {
	return signHead(t.size, t.Root(), signer)
}

// appendNode adds a complete subtree of 2^level leaves; the size has to be a
// multiple of that.
func (t *Tree) appendNode(level int, h tlog.Hash) {
	l := level
	for ; t.size>>l&1 == 1; l++ {
		h = tlog.NodeHash(t.edge[l], h)
	}
	t.edge[l] = h
	t.size += 1 << level
}

// A node is the hash of a complete subtree.
type node struct {
	level int
	hash  tlog.Hash
}

// appendNodes appends to dst the largest complete subtrees, from left to
// right, that make up leaves first, first+1, … with these hashes. It
// overwrites scratch and returns it, grown to len(leaves).
func appendNodes(dst []node, scratch, leaves []tlog.Hash, first int64) ([]node, []tlog.Hash) {
	pair := [1 + 2*tlog.HashSize]byte{0x01} // as in tlog.NodeHash, without its copies
	for len(leaves) > 0 {
		level := min(bits.TrailingZeros64(uint64(first)), bits.Len(uint(len(leaves)))-1)
		n := 1 << level
		scratch = append(scratch[:0], leaves[:n]...)
		for m := n; m > 1; m /= 2 {
			for i := range m / 2 {
				copy(pair[1:], scratch[2*i][:])
				copy(pair[1+tlog.HashSize:], scratch[2*i+1][:])
				scratch[i] = sha256.Sum256(pair[:])
			}
		}
		dst = append(dst, node{level, scratch[0]})
		leaves, first = leaves[n:], first+int64(n)
	}
	return dst, scratch
}

// StoredHashes returns a reader of stored hashes, 32 bytes each in x/mod's
// stored-hash order, as [Tree.Append] gives them. It is as safe for concurrent
// use as r. What it reads is a cache: every use in this package checks it
// against a signed root.
func StoredHashes(r io.ReaderAt) tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		hashes := make([]tlog.Hash, len(indexes))
		buf := make([]byte, 0, 64*tlog.HashSize)
		for i := 0; i < len(indexes); {
			run := 1
			for i+run < len(indexes) && indexes[i+run] == indexes[i]+int64(run) && run < 64 {
				run++
			}
			b := buf[:run*tlog.HashSize]
			if n, err := r.ReadAt(b, indexes[i]*tlog.HashSize); n < len(b) {
				return nil, fmt.Errorf("stored hash %d: %w", indexes[i], err)
			}
			for k := range run {
				copy(hashes[i+k][:], b[k*tlog.HashSize:])
			}
			i += run
		}
		return hashes, nil
	})
}

// readHashes reads from a reader that may not keep its promise.
func readHashes(r tlog.HashReader, indexes []int64) ([]tlog.Hash, error) {
	hashes, err := r.ReadHashes(indexes)
	if err != nil {
		return nil, err
	}
	if len(hashes) != len(indexes) {
		return nil, fmt.Errorf("%d stored hashes asked for, %d given", len(indexes), len(hashes))
	}
	return hashes, nil
}
