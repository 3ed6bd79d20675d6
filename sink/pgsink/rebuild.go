package pgsink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jobaudit/jobaudit/auditlog"
	"golang.org/x/mod/sumdb/tlog"
)

// storedError says that the stored hashes do not lead to the newest head, or to
// the anchor's: they are wrong, or what they were made of is.
type storedError struct {
	head auditlog.Checkpoint
	line []byte // its commit line
	err  error
}

func (e *storedError) Error() string { return e.err.Error() }
func (e *storedError) Unwrap() error { return e.err }

// wrongHashes makes a storedError of an error that wrong hashes can cause. That
// the log is shorter than the anchor's head is none.
func wrongHashes(head auditlog.Checkpoint, line []byte, err error) error {
	var connection interface{ SQLState() string }
	if err == nil || head.IsZero() || errors.As(err, &connection) {
		return err
	}
	if wrong, ok := errors.AsType[*auditlog.HeadError](err); ok && !wrong.Ahead() || errors.Is(err, errNoHash) {
		return &storedError{head, line, err}
	}
	return err
}

// rebuildEvery is how long a sequencer waits where the events did not lead to a head,
// before it reads them again for the same one.
const rebuildEvery = 5 * time.Minute

// rebuildCommits is how many commits one step of rebuild covers.
const rebuildCommits = 64

// rebuild makes the tree from the events, where the stored hashes, which are a
// cache, are wrong, and stores those that differ again: a later row of the same
// number counts. It holds no lock: what is under a head does not change.
func (s *Sequencer) rebuild(ctx context.Context, conn *pgx.Conn, wrong *storedError) error {
	if bytes.Equal(wrong.line, s.unbuilt) && time.Since(s.unbuiltAt) < rebuildEvery {
		return wrong // it reads the whole log, and has been told
	}
	head := wrong.head.Head()
	kept, err := s.anchorHead(ctx)
	if err != nil {
		return err
	}
	if kept.Size > head.Size {
		return s.contradicted(head, kept)
	}
	s.report(fmt.Errorf("pgsink: the stored hashes are not those of the log, and are made again from its events: %w", wrong))
	db := trusted{conn, s.pooled}
	r := &rebuilding{db: db, kept: kept}
	for r.tree.Size() < head.Size {
		if err := r.step(ctx); err != nil {
			var outside interface{ SQLState() string }
			if ctx.Err() != nil || errors.As(err, &outside) || conn.IsClosed() {
				return fmt.Errorf("%w; %v", err, wrong) // it says nothing about the events
			}
			s.unbuilt, s.unbuiltAt = wrong.line, time.Now()
			return fmt.Errorf("%w; %w", err, wrong)
		}
	}
	if r.tree.Root() != head.Root {
		s.unbuilt, s.unbuiltAt = wrong.line, time.Now()
		return fmt.Errorf("the events are not those of the newest head: %w", wrong)
	}
	// Only now: hashes of other events are not written.
	for _, m := range r.repaired {
		if _, err := db.Exec(ctx, `INSERT INTO jobaudit.hashes (first, h) VALUES ($1, $2) ON CONFLICT DO NOTHING`, m.first, m.h); err != nil {
			return err
		}
	}
	s.tree, s.head, s.line, s.loaded, s.certain = r.tree, wrong.head, wrong.line, true, false
	if s.anchored = 0; kept.Origin == s.opts.Signer.Name() {
		s.anchored = kept.Size
	}
	return nil
}

// rebuilding is one call of rebuild.
type rebuilding struct {
	db       trusted
	kept     auditlog.Head // of the anchor
	tree     auditlog.Tree
	repaired []storedRow
}

// storedRow is a row of hashes.
type storedRow struct {
	first int64
	h     []byte
}

// step goes over the next commits.
func (r *rebuilding) step(ctx context.Context) error {
	rows, err := r.db.Query(ctx, `SELECT size FROM jobaudit.commits WHERE size > $1 ORDER BY size LIMIT $2`, r.tree.Size(), rebuildCommits)
	if err != nil {
		return err
	}
	sizes, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return err
	}
	if len(sizes) == 0 {
		return errors.New("a commit is missing")
	}
	begin, end := r.tree.Size(), sizes[len(sizes)-1]
	found, err := storedRows(ctx, r.db, append([]int64{begin}, sizes...))
	if err != nil {
		return err
	}
	stored := make(map[int64][]byte)
	for _, row := range found {
		stored[row.first] = row.h
	}
	leaves, err := r.db.Query(ctx, `SELECT sha256(decode('00', 'hex') || line) FROM jobaudit.events WHERE idx >= $1 AND idx < $2 ORDER BY idx`, begin, end)
	if err != nil {
		return err
	}
	row := storedRow{first: tlog.StoredHashCount(begin)}
	var leaf []byte
	_, err = pgx.ForEachRow(leaves, []any{&leaf}, func() error {
		row.h = r.tree.Append(row.h, tlog.Hash(leaf))
		if size := r.tree.Size(); size == r.kept.Size && r.tree.Root() != r.kept.Root {
			return fmt.Errorf("the anchor: %w", &auditlog.HeadError{Log: auditlog.Head{Origin: r.kept.Origin, Size: size, Root: r.tree.Root()}, Outside: r.kept})
		}
		if r.tree.Size() < sizes[0] {
			return nil
		}
		sizes = sizes[1:]
		if !bytes.Equal(stored[row.first], row.h) {
			r.repaired = append(r.repaired, row)
		}
		row = storedRow{first: tlog.StoredHashCount(r.tree.Size())}
		return nil
	})
	if err == nil && r.tree.Size() < end {
		err = fmt.Errorf("event %d or one behind it is missing", begin)
	}
	return err
}

// anchorHead returns the head that the anchor keeps, the zero Head if there is none.
func (s *Sequencer) anchorHead(ctx context.Context) (auditlog.Head, error) {
	if s.opts.Anchor == nil {
		return auditlog.Head{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.opts.leadFor)
	defer cancel()
	kept, err := s.keptHead(ctx)
	if errors.Is(err, auditlog.ErrNoHead) {
		return auditlog.Head{}, nil
	}
	return kept, err
}

// contradicts reports whether err says that the log is not what was signed, and not only
// that something did not answer.
func contradicts(err error) bool {
	_, stored := errors.AsType[*storedError](err)
	_, head := errors.AsType[*auditlog.HeadError](err)
	return stored || head
}
