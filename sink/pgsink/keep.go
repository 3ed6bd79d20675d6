package pgsink

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jobaudit/jobaudit"
)

// Between its acceptance and its place in the log, nothing signs for a record:
// a superuser could delete it unseen. So the sink keeps what it was told is
// accepted until it has its place, and what is gone by then it sends again.

const (
	// keptRecords and keptBytes bound what is kept. Beyond that the oldest is
	// kept no longer.
	keptRecords = 1 << 16
	keptBytes   = 16 << 20
	// keptFor is how long a record is kept before it is looked for.
	keptFor = 5 * time.Second
)

// kept are records that are accepted and not known to have a place.
type kept struct {
	mu      sync.Mutex
	records []keptRecord // oldest first, from begin on
	begin   int
	bytes   int
}

type keptRecord struct {
	jobaudit.Record
	at time.Time
}

func (k *kept) add(records []jobaudit.Record) {
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range records {
		k.records = append(k.records, keptRecord{r, now})
		k.bytes += r.Len()
	}
	for len(k.records)-k.begin > keptRecords || k.bytes > keptBytes {
		k.bytes -= k.records[k.begin].Len()
		k.records[k.begin] = keptRecord{}
		k.begin++
	}
	if k.begin > len(k.records)/2 { // seldom: all of them are moved
		k.records = slices.Delete(k.records, 0, k.begin)
		k.begin = 0
	}
}

// due returns those kept for so long, in the order in which they were accepted.
func (k *kept) due(age time.Duration) (due []jobaudit.Record) {
	before := time.Now().Add(-age)
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range k.records[k.begin:] {
		if r.at.After(before) {
			break
		}
		due = append(due, r.Record)
	}
	return due
}

func (k *kept) forget(ids []pgtype.UUID) {
	gone := make(map[uuid.UUID]bool, len(ids))
	for _, id := range ids {
		gone[id.Bytes] = true
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	rest := k.records[:0]
	for _, r := range k.records[k.begin:] {
		if gone[r.ID()] {
			k.bytes -= r.Len()
			continue
		}
		rest = append(rest, r)
	}
	clear(k.records[len(rest):])
	k.records, k.begin = rest, 0
}

// watch looks after what is accepted until the sink is closed: it sends again
// what is gone, and reports when too much waits for too long.
func (s *Sink) watch(ctx context.Context) {
	pause := time.Second
	var failing, late bool
	for sleep(ctx, pause) == nil {
		began := time.Now()
		sent := 0
		err := apart(func() (err error) {
			sent, err = s.restore(ctx, keptFor)
			return err
		})
		if err != nil && !failing && ctx.Err() == nil {
			s.opts.OnError(err)
		}
		failing = err != nil
		if w, err := s.waitingNow(ctx); err == nil {
			if w.Oldest > s.opts.Backlog && !late {
				s.report(fmt.Errorf("pgsink: accepted events have waited %v for a place in the log: is a sequencer running?", w.Oldest.Round(time.Second)))
			}
			late = w.Oldest > s.opts.Backlog
			s.slow.Store(late)
		}
		pause = max(time.Second, 10*time.Since(began)) // a large inbox is slow to look through
		if sent > 0 {
			pause = time.Second // and there may be more to send
		}
	}
}

// waitingNow is Waiting with a deadline.
func (s *Sink) waitingNow(ctx context.Context) (Waiting, error) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	return s.Waiting(ctx)
}

// restore sends again what was accepted so long ago and is gone, and says how many
// events that were. Each statement has the time of an Append, but for the first, which
// goes through the whole inbox.
func (s *Sink) restore(ctx context.Context, age time.Duration) (sent int, err error) {
	due := s.kept.due(age)
	if len(due) == 0 {
		return 0, nil
	}
	ids := make([]pgtype.UUID, 0, len(due))
	for _, r := range due {
		ids = append(ids, id(r.ID()))
	}
	settled, refused, missing, err := s.settled(ctx, ids)
	if err != nil {
		return 0, err
	}
	s.kept.forget(append(settled, refused...))
	s.noteRefused(refused)
	gone := make(map[uuid.UUID]bool, len(missing))
	for _, eventID := range missing {
		gone[eventID.Bytes] = true
	}
	var again []jobaudit.Record
	for _, r := range due { // in their order, which streams depend on
		if !gone[r.ID()] {
			continue
		}
		if err = s.restoreOne(ctx, r); err != nil {
			break
		}
		again = append(again, r)
	}
	if len(again) > 0 {
		s.report(fmt.Errorf("pgsink: %d accepted events were gone from the database and were sent again, the first is %s", len(again), again[0].ID()))
	}
	return len(again), err
}

// settled says what became of accepted events.
func (s *Sink) settled(ctx context.Context, ids []pgtype.UUID) (settled, refused, missing []pgtype.UUID, err error) {
	ctx, cancel := context.WithTimeout(ctx, max(10*s.opts.Timeout, time.Minute))
	defer cancel()
	err = s.pool.QueryRow(ctx, `SELECT settled, refused, missing FROM jobaudit.settled_v1($1)`, ids).Scan(&settled, &refused, &missing)
	if err != nil {
		err = fmt.Errorf("pgsink: look for accepted events: %w", err)
	}
	return settled, refused, missing, err
}

// noteRefused says which of the events that this sink has appended can have no place.
func (s *Sink) noteRefused(ids []pgtype.UUID) {
	if len(ids) == 0 {
		return
	}
	s.mu.Lock()
	s.refused = append(s.refused, ids...)
	s.mu.Unlock()
	s.report(refusedError(ids))
}

func refusedError(ids []pgtype.UUID) error {
	return fmt.Errorf("pgsink: %w: %d events, the first is %s", ErrRefused, len(ids), uuid.UUID(ids[0].Bytes))
}

// stillRefused is about the events of this sink that were refused and have got no place
// since, as one has that is accepted once more.
func (s *Sink) stillRefused(ctx context.Context) error {
	s.mu.Lock()
	ids := slices.Clone(s.refused)
	s.mu.Unlock()
	if len(ids) == 0 {
		return nil
	}
	settled, refused, missing, err := s.settled(ctx, ids)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.refused = slices.DeleteFunc(s.refused, func(id pgtype.UUID) bool { return slices.Contains(settled, id) })
	s.mu.Unlock()
	if still := append(refused, missing...); len(still) > 0 {
		return refusedError(still)
	}
	return nil
}

func (s *Sink) restoreOne(ctx context.Context, r jobaudit.Record) error {
	ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	records := []jobaudit.Record{r}
	args := arguments(records)
	var again bool
	err := inTransaction(ctx, s.pool.database, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `SELECT jobaudit.restore_v1($1, $2, $3)`, id(r.ID()), r.Bytes(), args[3]).Scan(&again)
	})
	if err == nil && !again {
		// Its ID is gone too, or it has just found its place.
		_, err = s.pool.Exec(ctx, appendSQL+boundedSQL, args...)
	}
	if err != nil {
		return fmt.Errorf("pgsink: send the event %s again: %w", r.ID(), err)
	}
	return nil
}
