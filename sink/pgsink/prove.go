package pgsink

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jobaudit/jobaudit/auditlog"
	"golang.org/x/mod/sumdb/note"
)

// Head returns the newest committed head, verified by the key, or
// [auditlog.ErrNoHead] while the log is empty. It is safe to keep: nobody sees
// a head before it is committed.
func (s *Sink) Head(ctx context.Context, key note.Verifier) (auditlog.Checkpoint, error) {
	line, err := newestCommit(ctx, s.pool)
	if err != nil {
		return auditlog.Checkpoint{}, fmt.Errorf("pgsink: read the newest head: %w", err)
	}
	if line == nil {
		return auditlog.Checkpoint{}, auditlog.ErrNoHead
	}
	return auditlog.OpenCommit(line, key)
}

// Prove makes the proof that the event is in the log, under the newest head. An
// event that is accepted and has no place yet cannot be proved.
func (s *Sink) Prove(ctx context.Context, eventID uuid.UUID, key note.Verifier) (auditlog.Proof, error) {
	var idx int64
	var line []byte
	err := s.pool.QueryRow(ctx, `
		SELECT e.idx, e.line FROM jobaudit.sequence s JOIN jobaudit.events e USING (idx) WHERE s.id = $1`, id(eventID)).Scan(&idx, &line)
	if errors.Is(err, pgx.ErrNoRows) {
		return auditlog.Proof{}, fmt.Errorf("pgsink: the event %s has no place in the log", eventID)
	}
	if err != nil {
		return auditlog.Proof{}, fmt.Errorf("pgsink: read the event %s: %w", eventID, err)
	}
	// Read after the event: a head that covers it.
	head, err := s.Head(ctx, key)
	if err != nil {
		return auditlog.Proof{}, err
	}
	return auditlog.Prove(head, idx, line, storedHashes{ctx, s.pool})
}
