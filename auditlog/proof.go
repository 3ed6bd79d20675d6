package auditlog

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strconv"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// The lines of a C2SP tlog-proof.
const (
	proofHeader = "c2sp.org/tlog-proof@v1\n"
	proofExtra  = "extra "
	proofIndex  = "index "
)

// A Proof shows that a log holds one leaf, to a person who has the log's
// verifier key and nothing else. It carries the leaf, its index, the audit
// path (RFC 6962 §2.1.1) and a checkpoint. The only ways to hold one that is
// not the zero value are [Prove] and [OpenProof], and both check it.
type Proof struct {
	leaf       []byte
	index      int64
	path       tlog.RecordProof
	checkpoint Checkpoint
}

// Leaf returns the proven line; it is not to be changed.
func (p Proof) Leaf() []byte { return p.leaf }

// Index returns the leaf's index in the log, from 0.
func (p Proof) Index() int64 { return p.index }

// Checkpoint returns the signed head that covers the leaf.
func (p Proof) Checkpoint() Checkpoint { return p.checkpoint }

// Prove makes the proof that the leaf is the one at this index under the
// checkpoint. The stored hashes are not trusted: when they, or the leaf, do
// not lead to the checkpoint's root, the error is [ErrProof].
func Prove(c Checkpoint, index int64, leaf []byte, r tlog.HashReader) (Proof, error) {
	if err := CheckLeaf(leaf); err != nil {
		return Proof{}, fmt.Errorf("prove leaf %d: %w", index, err)
	}
	path, err := tlog.ProveRecord(c.head.Size, index, exactReader(r))
	if err != nil {
		return Proof{}, fmt.Errorf("prove leaf %d: %w", index, err)
	}
	p := Proof{leaf: bytes.Clone(leaf), index: index, path: path, checkpoint: c}
	if err := p.check(); err != nil {
		return Proof{}, fmt.Errorf("prove leaf %d: %w", index, err)
	}
	return p, nil
}

func (p Proof) check() error {
	h := p.checkpoint.head
	if tlog.CheckRecord(p.path, h.Size, h.Root, p.index, HashLeaf(p.leaf)) != nil {
		return ErrProof
	}
	return nil
}

// MarshalText writes the proof as a C2SP tlog-proof, the contents of a
// .tlog-proof file; the extra line holds the leaf.
func (p Proof) MarshalText() ([]byte, error) {
	b := append([]byte(nil), proofHeader...)
	b = append(b, proofExtra...)
	b = base64.StdEncoding.AppendEncode(b, p.leaf)
	b = append(b, '\n')
	b = append(b, proofIndex...)
	b = strconv.AppendInt(b, p.index, 10)
	b = append(b, '\n')
	for _, h := range p.path {
		b = base64.StdEncoding.AppendEncode(b, h[:])
		b = append(b, '\n')
	}
	b = append(b, '\n')
	return append(b, p.checkpoint.signed...), nil
}

// OpenProof parses and checks a C2SP tlog-proof that carries its leaf in the
// extra line. The leaf it returns is proven: it hashes, with the path, to a
// root that the key signed. Errors are [ErrFormat], [ErrOrigin],
// [ErrUnknownKey], [ErrSignature] and [ErrProof].
func OpenProof(text []byte, key note.Verifier) (Proof, error) {
	p, signed, err := parseProof(text)
	if err != nil {
		return Proof{}, fmt.Errorf("proof: %w", err)
	}
	if p.checkpoint, err = OpenCheckpoint(signed, key); err != nil {
		return Proof{}, fmt.Errorf("proof: %w", err)
	}
	if err := p.check(); err != nil {
		return Proof{}, fmt.Errorf("proof: %w", err)
	}
	return p, nil
}

// parseProof takes a proof apart and proves nothing.
func parseProof(text []byte) (p Proof, signed []byte, err error) {
	text, ok := bytes.CutPrefix(text, []byte(proofHeader))
	if !ok {
		return Proof{}, nil, fmt.Errorf("%w: header", ErrFormat)
	}
	// The first empty line ends the proof's own lines.
	own, signed, ok := bytes.Cut(text, noteSplit)
	if !ok {
		return Proof{}, nil, fmt.Errorf("%w: no checkpoint", ErrFormat)
	}
	lines := bytes.Split(own, []byte("\n"))
	extra, ok := bytes.CutPrefix(lines[0], []byte(proofExtra))
	if !ok || len(lines) < 2 {
		return Proof{}, nil, fmt.Errorf("%w: no leaf in an extra line", ErrFormat)
	}
	if p.leaf, err = parseBase64(string(extra)); err != nil {
		return Proof{}, nil, fmt.Errorf("%w: extra line", err)
	}
	if err := CheckLeaf(p.leaf); err != nil {
		return Proof{}, nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	index, ok := bytes.CutPrefix(lines[1], []byte(proofIndex))
	if !ok {
		return Proof{}, nil, fmt.Errorf("%w: no index", ErrFormat)
	}
	if p.index, err = parseDecimal(string(index)); err != nil {
		return Proof{}, nil, fmt.Errorf("%w: index", err)
	}
	if len(lines)-2 > 64 {
		return Proof{}, nil, fmt.Errorf("%w: path", ErrFormat)
	}
	for _, line := range lines[2:] {
		h, err := parseHash(string(line))
		if err != nil {
			return Proof{}, nil, fmt.Errorf("%w: path", err)
		}
		p.path = append(p.path, h)
	}
	return p, signed, nil
}

// A HeadError says that two heads cannot both be of one log that only grew.
// It holds both, as evidence.
type HeadError struct {
	// Log is what the log at hand comes to: its own head, or what its hashes
	// give at the outside head's size.
	Log Head
	// Outside is what was signed or kept elsewhere.
	Outside Head
}

func (e *HeadError) Error() string {
	if e.Ahead() {
		return fmt.Sprintf("the log is behind an outside head: log %v, outside %v", e.Log, e.Outside)
	}
	return fmt.Sprintf("the log does not agree with a head: log %v, head %v", e.Log, e.Outside)
}

// Ahead reports whether the outside head is newer than the log: the log was
// cut short or rolled back.
func (e *HeadError) Ahead() bool { return e.Outside.Size > e.Log.Size }

// ProveConsistency makes the proof (RFC 6962 §2.1.2) that the log at newer
// begins with the whole log at older. When the two are not of one log, newer
// is in fact older, or the stored hashes do not lead from one root to the
// other, the error is a [*HeadError].
func ProveConsistency(older, newer Checkpoint, r tlog.HashReader) (tlog.TreeProof, error) {
	proof := tlog.TreeProof{}
	if o, n := older.head.Size, newer.head.Size; 0 < o && o < n {
		var err error
		if proof, err = tlog.ProveTree(n, o, exactReader(r)); err != nil {
			return nil, fmt.Errorf("prove consistency of sizes %d and %d: %w", o, n, err)
		}
	}
	if err := CheckConsistency(proof, older, newer); err != nil {
		return nil, err
	}
	return proof, nil
}

// CheckConsistency checks a proof made by [ProveConsistency]. The error is a
// [*HeadError] whose outside head is older.
func CheckConsistency(proof tlog.TreeProof, older, newer Checkpoint) error {
	o, n := older.head, newer.head
	agree := false
	switch {
	case o.Origin != n.Origin || o.Size > n.Size:
	case o.Size == 0:
		agree = len(proof) == 0 && o.Root == emptyRoot()
	case o.Size == n.Size:
		agree = len(proof) == 0 && o.Root == n.Root
	default:
		agree = tlog.CheckTree(proof, n.Size, n.Root, o.Size, o.Root) == nil
	}
	if !agree {
		return fmt.Errorf("consistency: %w", &HeadError{Log: n, Outside: o})
	}
	return nil
}

// exactReader guards x/mod's arithmetic from a reader that gives more or
// fewer hashes than were asked for.
func exactReader(r tlog.HashReader) tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) { return readHashes(r, indexes) })
}
