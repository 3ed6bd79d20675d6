package pgsink

import (
	"context"
	"fmt"
	"iter"

	"github.com/jackc/pgx/v5"
)

// linesPage is how many indexes one page of Lines covers.
const linesPage = 1024

// Lines iterates over the log as files hold it (docs/format.md, F6), from the
// event with this index on: events and, behind each batch, its commit line, up
// to the one that is the newest when it begins. What waits for its place is not
// in it.
//
// It is what filesink.CopyLines takes: the copy is the same log, to the byte.
// Each page is a transaction of its own.
func (s *Sink) Lines(ctx context.Context, from int64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		if s.isClosed() {
			yield(nil, ErrClosed)
			return
		}
		w, err := s.waiting(ctx, 0)
		if err != nil {
			yield(nil, err)
			return
		}
		for from = max(from, 0); from < w.Size; {
			end := from + min(linesPage, w.Size-from)
			lines, err := s.linesPage(ctx, from, end)
			if err == nil && len(lines) == 0 { // nothing that a log has: it need not be walked through
				end, err = nextLine(ctx, s.pool, end, w.Size)
			}
			if err != nil {
				yield(nil, fmt.Errorf("pgsink: read the log from event %d on: %w", from, err))
				return
			}
			from = end
			for _, line := range lines {
				if !yield(line, nil) {
					return
				}
			}
		}
	}
}

// nextLine returns from where on there is an event or a commit again in [first, end), end
// if there is none: the tables may hold numbers that no log reaches.
func nextLine(ctx context.Context, db interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}, first, end int64) (next int64, err error) {
	err = db.QueryRow(ctx, `SELECT least($2,
		(SELECT idx FROM jobaudit.events WHERE idx >= $1 AND idx < $2 ORDER BY idx LIMIT 1),
		(SELECT size - 1 FROM jobaudit.commits WHERE size > $1 AND size <= $2 ORDER BY size LIMIT 1))`, first, end).Scan(&next)
	return next, err
}

// Size returns how many events have their place in the log. A head of that size
// is durable, as it is seen when its transaction has committed.
func (s *Sink) Size(ctx context.Context) (int64, error) {
	if s.isClosed() {
		return 0, ErrClosed
	}
	w, err := s.waiting(ctx, 0)
	return w.Size, err
}

// linesPage reads the lines from the event of index first to the commit of size
// end. A commit line stands before the event whose index is its size.
func (s *Sink) linesPage(ctx context.Context, first, end int64) ([][]byte, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT `+boundedLine+` FROM (
			SELECT idx AS at, 1 AS kind, line FROM jobaudit.events WHERE idx >= $1 AND idx < $2
			UNION ALL SELECT size, 0, line FROM jobaudit.commits WHERE size > $1 AND size <= $2
		) l ORDER BY at, kind`, first, end)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[[]byte])
}
