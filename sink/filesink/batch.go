package filesink

import (
	"bytes"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/jobcheck"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// lines are the event lines of a batch.
type lines struct {
	first   int64   // the index of the first
	entries []entry // offsets count from the batch's first byte
	lives   []life  // the same
	bytes   []byte
}

// line returns the line of an event by its index.
func (l *lines) line(leaf int64) []byte {
	rest := l.bytes[l.entries[leaf-l.first].off:]
	return rest[:bytes.IndexByte(rest, '\n')]
}

// A batch is what one commit line covers.
type batch struct {
	lines     // the commit line too once it is signed
	leaves    []tlog.Hash
	ownEvents []ownEvent
	tree      auditlog.Tree
	hashes    []byte // stored hashes that it completes

	// waiters counts who waits for the outcome, lookups are those of them whose
	// records are not in the batch yet.
	waiters     int
	lookups     []*request
	lookupBytes int
	outcome     *outcome

	head auditlog.Checkpoint // once it is signed
}

// begin makes an empty batch one that follows a tree.
func (b *batch) begin(before auditlog.Tree) {
	b.first, b.tree, b.outcome = before.Size(), before, newOutcome()
}

// reset empties the batch but keeps its memory, if that is not much.
func (b *batch) reset() {
	if cap(b.bytes) > 2*maxBatch {
		*b = batch{}
		return
	}
	*b = batch{
		lines:  lines{entries: b.entries[:0], lives: b.lives[:0], bytes: b.bytes[:0]},
		leaves: b.leaves[:0], ownEvents: b.ownEvents[:0], hashes: b.hashes[:0],
	}
}

func (b *batch) add(r *request, it *item) {
	b.entries = append(b.entries, entry{it.id, it.job, it.correlation, it.time, uint32(len(b.bytes))})
	if it.life.Kind != jobcheck.NotTelling {
		l := it.life
		l.off = uint32(len(b.bytes))
		b.lives = append(b.lives, l)
	}
	b.leaves = append(b.leaves, it.hash)
	b.bytes = append(b.bytes, r.lines[it.from:it.to+1]...)
	if it.ownEvent != nil {
		b.ownEvents = append(b.ownEvents, *it.ownEvent)
	}
}

// A mark is a state of the batch to go back to.
type mark struct{ entries, lives, bytes, ownEvents int }

func (b *batch) mark() mark {
	return mark{len(b.entries), len(b.lives), len(b.bytes), len(b.ownEvents)}
}

func (b *batch) rollback(m mark) {
	b.entries, b.leaves = b.entries[:m.entries], b.leaves[:m.entries]
	b.lives, b.bytes, b.ownEvents = b.lives[:m.lives], b.bytes[:m.bytes], b.ownEvents[:m.ownEvents]
}

// grow adds what came since the mark to the tree; it is not rolled back any
// more.
func (b *batch) grow(m mark) {
	for _, leaf := range b.leaves[m.entries:] {
		b.hashes = b.tree.Append(b.hashes, leaf)
	}
}

// sign ends the batch with the commit line of its tree.
func (b *batch) sign(signer note.Signer) error {
	if !b.head.IsZero() {
		return nil
	}
	head, err := b.tree.Sign(signer)
	if err != nil {
		return err
	}
	b.head, b.bytes = head, append(auditlog.AppendCommit(b.bytes, head), '\n')
	return nil
}
