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

// CheckAnchor compares the log's newest durable head with the anchor's and
// returns the anchor's. Behind the log is normal, if the log at hand began
// with the anchor's: sizes are not enough, so the stored hashes have to lead
// from one root to the other. The error is [ErrNoHead]; one of
// [OpenCheckpoint] when the anchor does not hold a head signed by the key; or
// a [*HeadError] with both heads, for an anchor that is ahead of the log or
// not on its history.
func CheckAnchor(ctx context.Context, a Anchor, c Checkpoint, key note.Verifier, r tlog.HashReader) (Checkpoint, error) {
	signed, err := a.Latest(ctx)
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
