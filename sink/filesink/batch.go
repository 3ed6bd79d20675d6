package filesink

import (
	"bytes"

	"github.com/google/uuid"
	"github.com/jobaudit/jobaudit/auditlog"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// A batch is what one commit line covers.
type batch struct {
	reqs    []*request // that wait for it
	entries []entry    // offsets count from the batch's first byte
	leaves  []tlog.Hash
	notices []notice
	ids     map[uuid.UUID]int // positions in entries
	bytes   []byte            // its lines; the commit line too once it is signed

	// Once it is signed:
	first  int64 // the index of its first leaf
	head   auditlog.Checkpoint
	tree   auditlog.Tree
	hashes []byte // stored hashes that it completes
}

func newBatch() *batch { return &batch{ids: make(map[uuid.UUID]int)} }

// reset empties the batch but keeps its memory, if that is not much.
func (b *batch) reset() {
	if cap(b.bytes) > 2*maxBatch {
		*b = *newBatch()
		return
	}
	clear(b.reqs)
	clear(b.ids)
	b.reqs, b.entries, b.leaves, b.notices = b.reqs[:0], b.entries[:0], b.leaves[:0], b.notices[:0]
	b.bytes, b.hashes = b.bytes[:0], b.hashes[:0]
}

// line returns the line of the i-th entry.
func (b *batch) line(i int) []byte {
	rest := b.bytes[b.entries[i].off:]
	return rest[:bytes.IndexByte(rest, '\n')]
}

func (b *batch) add(r *request, it item) {
	b.ids[it.id] = len(b.entries)
	b.entries = append(b.entries, entry{it.id, it.job, it.correlation, uint32(len(b.bytes))})
	b.leaves = append(b.leaves, it.hash)
	b.bytes = append(b.bytes, r.lines[it.from:it.to+1]...)
	if it.notice != nil {
		b.notices = append(b.notices, *it.notice)
	}
}

// A mark is a state of the batch to go back to.
type mark struct{ entries, bytes, notices int }

func (b *batch) mark() mark { return mark{len(b.entries), len(b.bytes), len(b.notices)} }

func (b *batch) rollback(m mark) {
	for _, e := range b.entries[m.entries:] {
		delete(b.ids, e.id)
	}
	b.entries, b.leaves = b.entries[:m.entries], b.leaves[:m.entries]
	b.bytes, b.notices = b.bytes[:m.bytes], b.notices[:m.notices]
}

// sign ends the batch with the commit line of the tree that it makes of the
// one before it.
func (b *batch) sign(before auditlog.Tree, signer note.Signer) error {
	b.first, b.tree = before.Size(), before
	for _, leaf := range b.leaves {
		b.hashes = b.tree.Append(b.hashes, leaf)
	}
	var err error
	if b.head, err = b.tree.Sign(signer); err != nil {
		return err
	}
	b.bytes = append(auditlog.AppendCommit(b.bytes, b.head), '\n')
	return nil
}

// answer tells those who wait.
func (b *batch) answer(err error) {
	answer(b.reqs, err)
	clear(b.reqs)
	b.reqs = b.reqs[:0]
}

func answer(reqs []*request, err error) {
	for _, r := range reqs {
		r.done <- err
	}
}
