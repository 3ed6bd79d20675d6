package pgsink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jobaudit/jobaudit"
)

// Tail iterates over the records that match and then over those that come, as
// [jobaudit.AuditReader] says. It yields a record when it has its place in the
// log, so the order is final; without a sequencer at work nothing comes. It ends with an
// error when the log is put back to an earlier state, as by a failover that lost its end.
func (s *Sink) Tail(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		p := &pass{sink: s, query: q, yield: yield, idx: -1}
		if err := p.tail(ctx); err != nil && !errors.Is(err, errStop) {
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			yield(jobaudit.Record{}, err)
		}
	}
}

func (p *pass) tail(ctx context.Context) error {
	if p.query.NewestFirst {
		return errors.New("pgsink: records to come cannot be read newest first")
	}
	if err := p.place(ctx); err != nil {
		return err
	}
	if p.idx < 0 && p.searches() { // else it would read the log from its first event on
		found, newest, err := p.period(ctx)
		if err != nil {
			return err
		}
		if p.idx = newest; found.low < found.end {
			p.idx = found.low - 1
		}
	}
	last := mark{idx: -1}
	const shortest, longest = 10 * time.Millisecond, 200 * time.Millisecond
	for pause := shortest; ; pause = min(2*pause, longest) {
		if p.sink.isClosed() {
			return ErrClosed
		}
		// Read before the page: what it ends with has been looked at.
		w, err := p.sink.waiting(ctx, 0)
		if err != nil {
			return err
		}
		if w.Size != last.idx+1 {
			// After a failover other events may have the places of those that were read.
			if last, err = last.follow(ctx, p.sink.pool, w.Size-1); err != nil {
				return err
			}
		}
		p.below = w.Size // nothing is handed out that the mark does not stand for
		for w.Size > p.idx+1 {
			read, err := p.page(ctx, onlyPlaced)
			if err != nil {
				return err
			}
			if err := p.deliver(read); err != nil {
				return err
			}
			if read.placed > 0 {
				pause = shortest
			}
			if read.last {
				p.idx = max(p.idx, w.Size-1) // the rest does not match
				break
			}
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// mark is the newest event that a tail has seen in the log.
type mark struct {
	idx  int64
	line []byte
}

// follow returns the mark of a later event, or errOtherLog if the one before is not in the
// log any more.
func (m mark) follow(ctx context.Context, db queryer, idx int64) (mark, error) {
	rows, err := db.Query(ctx, `SELECT idx, line FROM jobaudit.events WHERE idx = ANY ($1) ORDER BY idx`, []int64{m.idx, idx})
	if err != nil {
		return m, fmt.Errorf("pgsink: read: %w", err)
	}
	next := mark{idx: -1}
	same := m.idx < 0
	var found mark
	_, err = pgx.ForEachRow(rows, []any{&found.idx, &found.line}, func() error {
		same = same || found.idx == m.idx && bytes.Equal(found.line, m.line)
		if found.idx == idx {
			next = mark{idx, bytes.Clone(found.line)}
		}
		return nil
	})
	if err != nil {
		return m, fmt.Errorf("pgsink: read: %w", err)
	}
	if !same || idx < m.idx {
		return m, fmt.Errorf("pgsink: %w", errOtherLog)
	}
	return next, nil
}

// place waits until the record that the pass begins behind has its place.
func (p *pass) place(ctx context.Context) error {
	for {
		if err := p.begin(ctx); err != nil || !p.after {
			return err
		}
		p.sink.wakeUp()
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}
