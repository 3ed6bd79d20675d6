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

// keptHead returns the head that the anchor keeps, of this log or of the one that it
// continues: a successor may have its predecessor's anchor. The error is
// [auditlog.ErrNoHead] if there is none.
func (s *Sequencer) keptHead(ctx context.Context) (auditlog.Head, error) {
	signed, err := s.opts.Anchor.Latest(ctx)
	if err != nil {
		return auditlog.Head{}, fmt.Errorf("the anchor: %w", err)
	}
	c, err := auditlog.OpenCheckpoint(signed, s.opts.Verifier)
	if err != nil && s.opts.Predecessor != nil {
		if before, beforeErr := auditlog.OpenCheckpoint(signed, s.opts.Predecessor); beforeErr == nil {
			return before.Head(), nil
		}
	}
	if errors.Is(err, auditlog.ErrOrigin) {
		return auditlog.Head{}, fmt.Errorf("the anchor: %w: give this log an anchor of its own, or the one of the log that it continues", err)
	}
	if err != nil {
		return auditlog.Head{}, fmt.Errorf("the anchor: %w", err)
	}
	return c.Head(), nil
}

// agree compares the newest head with the anchor's where one of the two is the
// predecessor's: [auditlog.CheckAnchor] would see two logs. What this key has signed says
// that the database was put back to before the handover, and what the predecessor has
// signed that events are lost: two heads of one size would be a fork.
func (s *Sequencer) agree(kept, head auditlog.Head, hashes tlog.HashReader) error {
	agree := kept.Size == head.Size && kept.Root == head.Root
	if 0 < kept.Size && kept.Size < head.Size {
		proof, err := tlog.ProveTree(head.Size, kept.Size, hashes)
		if err != nil {
			return fmt.Errorf("the anchor: %w", err)
		}
		agree = tlog.CheckTree(proof, head.Size, head.Root, kept.Size, kept.Root) == nil
	}
	if !agree {
		return s.contradicted(head, kept)
	}
	return nil
}

// contradicted is the error of a log that the anchor contradicts.
func (s *Sequencer) contradicted(log, kept auditlog.Head) error {
	err := fmt.Errorf("the anchor: %w", &auditlog.HeadError{Log: log, Outside: kept})
	if kept.Origin != s.opts.Signer.Name() {
		return fmt.Errorf("%w, which the predecessor signed: if that loss is accepted, keep this anchor and give the successor a new one", err)
	}
	return err
}

// moveAnchor is [auditlog.AdvanceAnchor], also for an anchor that the predecessor has left.
func (s *Sequencer) moveAnchor(ctx context.Context, hashes tlog.HashReader) error {
	if s.opts.Predecessor != nil {
		kept, err := s.keptHead(ctx)
		switch {
		case errors.Is(err, auditlog.ErrNoHead):
		case err != nil:
			return err
		case kept.Origin != s.opts.Signer.Name():
			if err := s.agree(kept, s.head.Head(), hashes); err != nil {
				return err
			}
			if err := s.opts.Anchor.Put(ctx, s.head); err != nil {
				return fmt.Errorf("anchor: put size %d: %w", s.head.Head().Size, err)
			}
			return nil
		}
	}
	return auditlog.AdvanceAnchor(ctx, s.opts.Anchor, s.head, s.opts.Verifier, hashes)
}

// checkAnchor refuses to lead a log that the anchor contradicts: it was rolled
// back, or is another one.
func (s *Sequencer) checkAnchor(ctx context.Context, head auditlog.Checkpoint, hashes storedHashes) error {
	if s.opts.Anchor == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.opts.leadFor) // nobody leads meanwhile
	defer cancel()
	if head.IsZero() {
		switch _, err := s.opts.Anchor.Latest(ctx); {
		case errors.Is(err, auditlog.ErrNoHead):
			return nil
		case err != nil:
			return fmt.Errorf("the anchor: %w", err)
		}
		return errors.New("the anchor holds a head and the database no log: it was emptied, or is another one")
	}
	own := s.opts.Signer.Name()
	if s.opts.Predecessor != nil {
		kept, err := s.keptHead(ctx)
		switch none := errors.Is(err, auditlog.ErrNoHead); {
		case none && head.Head().Origin != own:
			return nil
		case none: // an anchor that compares by itself may know more
		case err != nil:
			return err
		case kept.Origin != own || head.Head().Origin != own:
			s.anchored = 0
			return s.agree(kept, head.Head(), hashes)
		}
	}
	kept, err := auditlog.CheckAnchor(ctx, s.opts.Anchor, head, s.opts.Verifier, hashes)
	switch {
	case errors.Is(err, auditlog.ErrNoHead):
		return nil
	case err != nil:
		return fmt.Errorf("the anchor: %w", err)
	}
	s.anchored = kept.Head().Size
	return nil
}

// putAnchor puts the newest committed head to the anchor, now and then, or now: then it
// waits for the lock.
func (s *Sequencer) putAnchor(ctx context.Context, conn *pgx.Conn, now bool) {
	if s.opts.Anchor == nil || conn == nil || !s.loaded || s.head.IsZero() || s.head.Head().Size == s.anchored ||
		s.head.Head().Origin != s.opts.Signer.Name() || !now && time.Since(s.anchoredAt) < s.anchorPause {
		return
	}
	err := s.advanceAnchor(ctx, conn, now)
	wrong, repairs := errors.AsType[*storedError](wrongHashes(s.head, s.line, err))
	if repairs && !now && time.Since(s.repairedAt) >= rebuildEvery { // one that stops reads no whole log first
		// It needs others of the hashes than the newest head does.
		if err = s.rebuild(ctx, conn, wrong); err == nil {
			s.repairedAt = time.Now()
			err = s.advanceAnchor(ctx, conn, now)
		} else if contradicts(err) {
			s.loaded = false // the events may not lead there either: that is looked at before the next head
		}
	}
	if contradicted, ok := errors.AsType[*auditlog.HeadError](err); ok && contradicted.Ahead() {
		s.loaded = false // somebody signs elsewhere: the next cycle refuses to
	}
	s.anchoredAt, s.anchorPause = time.Now(), anchorEvery
	if err != nil {
		s.anchorPause = anchorAgain // it holds the lock, and no sequencer works meanwhile
	}
	if ctx.Err() != nil && err != nil {
		return // it was stopped, which is no fault of the anchor
	}
	if err != nil && !s.anchorFailing {
		s.report(fmt.Errorf("pgsink: put the head of size %d to the anchor: %w", s.head.Head().Size, err))
	}
	s.anchorFailing = err != nil
}

// advanceAnchor holds the lock meanwhile: two that put heads at the same time could move
// the anchor back.
func (s *Sequencer) advanceAnchor(ctx context.Context, conn *pgx.Conn, wait bool) error {
	// Not cut off by who stops the sequencer: a head would be put while another one leads.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.leadFor)
	defer cancel()
	if !s.certain {
		if err := confirm(ctx, conn); err != nil {
			return err
		}
		s.certain = true
	}
	tx, err := begin(ctx, conn)
	if err != nil {
		return err
	}
	defer rollback(ctx, tx)
	sql := leadSQL
	if !wait {
		sql += ` SKIP LOCKED`
	}
	// The anchor has leadFor: it is not to be cut off before.
	if led, err := s.lead(ctx, tx, sql, 2*s.opts.leadFor); err != nil || !led {
		return err
	}
	line, err := newestCommit(ctx, tx)
	if err != nil || !bytes.Equal(line, s.line) {
		return err // another one has led since, and puts its own head
	}
	if err := s.moveAnchor(ctx, storedHashes{ctx, tx}); err != nil {
		return err
	}
	s.anchored = s.head.Head().Size
	return nil
}
