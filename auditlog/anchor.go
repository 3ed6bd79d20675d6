package auditlog

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// ErrNoHead is what [Anchor.Latest] returns when no head was ever put there.
var ErrNoHead = errors.New("no head kept")

// An Anchor keeps the newest head of one log outside of it, where a person who
// can change the log cannot change the head unseen. It only keeps bytes: what may
// follow what is decided by [AdvanceAnchor], which has the log's hashes.
//
// Implementations are safe for concurrent use by readers beside one writer.
type Anchor interface {
	// Put keeps a head in place of the one before; when it returns nil the
	// head is durable there. After an error either may be kept. The caller
	// hands over only heads that are durable in the log, through
	// [AdvanceAnchor]. An anchor that can compare refuses to go back to a
	// smaller size.
	Put(ctx context.Context, c Checkpoint) error
	// Latest returns the signed checkpoint kept, as bytes that have not been
	// verified, or [ErrNoHead].
	Latest(ctx context.Context) (signed []byte, err error)
}

// A Checker is an [Anchor] that compares by itself, as a witness does, which signs
// nothing that was not proven to it. [CheckAnchor] and [AdvanceAnchor] ask it.
type Checker interface {
	Anchor
	// Check returns the newest head kept, as bytes that the caller verifies, and
	// says how the log's head stands to it:
	//
	//   - they agree, it is the same head: nil;
	//   - the anchor is behind, as is normal: its head is smaller, and the proof
	//     that prove gave leads from it to the log's: nil;
	//   - the anchor is ahead of the log, or of another history: a [*HeadError]
	//     with both heads. The bytes are the evidence.
	//
	// prove makes the proof (RFC 6962 §2.1.2) that the log at head begins with
	// the whole log of a smaller size; it is not called after Check has
	// returned. The error is [ErrNoHead], and there are no bytes, if no head was
	// ever put there.
	Check(ctx context.Context, head Checkpoint, prove func(size int64) (tlog.TreeProof, error)) (signed []byte, err error)
}

// CompareKept is what [Checker.Check] does with the bytes of a head: it compares
// the log's head with the one kept, whose signature it does not verify. The error
// is a [*HeadError], [ErrFormat] for what is no head, or that of prove.
func CompareKept(signed []byte, head Checkpoint, prove func(size int64) (tlog.TreeProof, error)) error {
	kept, _, err := parseNote(signed)
	if err != nil {
		return fmt.Errorf("the head kept: %w", err)
	}
	var proof tlog.TreeProof
	if 0 < kept.Size && kept.Size < head.head.Size {
		if proof, err = prove(kept.Size); err != nil {
			return err
		}
	}
	return CheckConsistency(proof, Checkpoint{head: kept}, head)
}

// CheckAnchor compares the log's newest durable head with the anchor's and
// returns the anchor's; a [Checker] is asked to compare, too. Behind the log is
// normal, if the log at hand began with the anchor's: sizes are not enough, so the
// stored hashes have to lead from one root to the other. The error is [ErrNoHead];
// one of [OpenCheckpoint] when the anchor does not hold a head signed by the key; or
// a [*HeadError] with both heads, for an anchor that is ahead of the log or
// not on its history.
func CheckAnchor(ctx context.Context, a Anchor, c Checkpoint, key note.Verifier, r tlog.HashReader) (Checkpoint, error) {
	var signed []byte
	var err, said error
	if checker, ok := a.(Checker); ok {
		signed, said = checker.Check(ctx, c, func(size int64) (tlog.TreeProof, error) {
			return tlog.ProveTree(c.head.Size, size, exactReader(r))
		})
		if len(signed) == 0 {
			err = said
		}
	} else {
		signed, err = a.Latest(ctx)
	}
	if err != nil {
		return Checkpoint{}, fmt.Errorf("anchor: %w", err)
	}
	kept, err := OpenCheckpoint(signed, key)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("anchor: %w", err)
	}
	if _, err := ProveConsistency(kept, c, r); err != nil {
		return kept, fmt.Errorf("anchor: %w", err)
	}
	if said != nil {
		return kept, fmt.Errorf("anchor: %w", said)
	}
	return kept, nil
}

// AdvanceAnchor moves an anchor on to a durable head of the log, after
// [CheckAnchor]; an anchor without a head takes the first one. It never moves
// an anchor back, and puts nothing when the anchor is there already. One log's
// calls are made one after the other.
func AdvanceAnchor(ctx context.Context, a Anchor, c Checkpoint, key note.Verifier, r tlog.HashReader) error {
	kept, err := CheckAnchor(ctx, a, c, key, r)
	switch {
	case errors.Is(err, ErrNoHead):
	case err != nil:
		return err
	case kept.head == c.head:
		return nil
	}
	if err := a.Put(ctx, c); err != nil {
		return fmt.Errorf("anchor: put size %d: %w", c.head.Size, err)
	}
	return nil
}
