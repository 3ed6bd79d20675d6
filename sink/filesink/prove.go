package filesink

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/disk"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Prove makes the proof that the log holds an event, for a person who has its
// verifier key and nothing else (see [auditlog.OpenProof]). It is made against
// the newest durable head.
func (s *Sink) Prove(ctx context.Context, id uuid.UUID) (auditlog.Proof, error) {
	v := s.current()
	p := prover{ctx: ctx, dir: s.dir, key: s.key.verifier, head: v.head, parts: v.parts(), filed: s.cache.hashes()}
	return p.prove(id)
}

// A prover makes a proof against a head.
type prover struct {
	ctx   context.Context
	dir   disk.Dir
	key   note.Verifier
	head  auditlog.Checkpoint
	parts []part          // that lead to head
	filed tlog.HashReader // a cache: may be behind the log, or wrong
}

func (p *prover) prove(id uuid.UUID) (auditlog.Proof, error) {
	index, leaf, err := p.leaf(id)
	if err != nil {
		return auditlog.Proof{}, fmt.Errorf("filesink: prove %s: %w", id, err)
	}
	proof, err := auditlog.Prove(p.head, index, leaf, p.filed)
	for _, from := range p.bases() {
		if err == nil {
			return proof, nil
		}
		// The hashes are rebuilt in memory, from a segment that those in
		// the file lead to, then from the first.
		var hashes tlog.HashReader
		if hashes, err = p.hashesFrom(from); err == nil {
			proof, err = auditlog.Prove(p.head, index, leaf, hashes)
		}
	}
	if err != nil {
		return auditlog.Proof{}, fmt.Errorf("filesink: prove %s: %w", id, err)
	}
	return proof, nil
}

// leaf finds an event.
func (p *prover) leaf(id uuid.UUID) (int64, []byte, error) {
	for _, part := range p.parts {
		at, found, err := part.find(p.ctx, p.dir, id)
		if err != nil {
			return 0, nil, err
		}
		if !found {
			continue
		}
		f, err := p.dir.Open(segmentPath(part.first))
		if err != nil {
			return 0, nil, err
		}
		defer f.Close()
		text, err := readLine(f, nil, at.off, part.size)
		return at.leaf, text, err
	}
	return 0, nil, errNoRecord
}

var errNoRecord = errors.New("no such record is stored")

// bases lists the parts from which on hashes are rebuilt.
func (p *prover) bases() []int {
	for i := len(p.parts) - 1; i > 0; i-- {
		last := tlog.StoredHashCount(p.parts[i].first) - 1
		if _, err := p.filed.ReadHashes([]int64{last}); err == nil {
			return []int{i, 0}
		}
	}
	return []int{0}
}

// hashesFrom makes the stored hashes of the leaves from a part on, over those
// in the cache before them.
func (p *prover) hashesFrom(from int) (tlog.HashReader, error) {
	var tree auditlog.Tree
	var fresh treeCache
	if from > 0 {
		before, err := commitOf(p.dir, p.parts[from-1], []note.Verifier{p.key})
		if err != nil {
			return nil, err
		}
		if tree, err = auditlog.ResumeTree(before, p.filed); err != nil {
			return nil, err
		}
		fresh.kept = tlog.StoredHashCount(tree.Size())
	}
	for _, part := range p.parts[from:] {
		f, err := p.dir.Open(segmentPath(part.first))
		if err != nil {
			return nil, err
		}
		err = eachLeaf(p.ctx, f, part.size, -1, func(l line) error {
			fresh.pending = tree.Append(fresh.pending, auditlog.HashLeaf(l.bytes))
			return nil
		})
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
	}
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		hashes := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			source := fresh.hashes()
			if index < fresh.kept {
				source = p.filed
			}
			one, err := source.ReadHashes([]int64{index})
			if err != nil {
				return nil, err
			}
			hashes[i] = one[0]
		}
		return hashes, nil
	}), nil
}

// commitOf returns the commit at the end of a part.
func commitOf(dir disk.Dir, p part, keys []note.Verifier) (auditlog.Checkpoint, error) {
	f, err := dir.Open(segmentPath(p.first))
	if err != nil {
		return auditlog.Checkpoint{}, err
	}
	defer f.Close()
	text, err := lastCommit(f, p.size)
	if err != nil {
		return auditlog.Checkpoint{}, fmt.Errorf("%s: %w", segmentPath(p.first), err)
	}
	return openCommit(text, keys)
}
