package pgsink

import (
	"context"
	"fmt"
	"math"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jobaudit/jobaudit"
)

// The indexes of times are by blocks of 4,096 events and by rows of 64 such blocks.
const (
	blockBits = 12
	rowBits   = 18
)

// searches reports whether the query selects by times, and by nothing that few events have.
func (p *pass) searches() bool {
	q := &p.query
	return q.JobID == uuid.Nil && q.CorrelationID == uuid.Nil && !(q.Since.IsZero() && q.Until.IsZero())
}

// period looks for the part of the log that holds the query's times, behind p.idx: from the
// first to the last block with an event of them, up to the newest. It is empty if there is
// none. A page would read all of the log before the period, or behind it.
func (p *pass) period(ctx context.Context) (found span, newest int64, err error) {
	from, upto := int64(0), int64(math.MaxInt64)
	switch {
	case p.idx >= 0 && p.query.NewestFirst:
		upto = p.idx - 1
	case p.idx >= 0:
		from = p.idx + 1
	}
	sel := &selection{}
	sql := periodSQL(sel, &p.query, sel.arg(from), sel.arg(upto))
	var first, last int64
	batch := &pgx.Batch{}
	// Local to the batch, which is one transaction. One plan does for all periods: to make it
	// takes longer than to carry it out. What PostgreSQL expects is far from what it meets, as
	// the conditions on idx, block and time say the same; the one index in the order of the
	// times is right whatever the numbers.
	batch.Queue(`SELECT set_config('plan_cache_mode', 'force_generic_plan', true), set_config('enable_sort', 'off', true),
		set_config('enable_bitmapscan', 'off', true), set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true)`)
	batch.Queue(sql, sel.args...).QueryRow(func(row pgx.Row) error { return row.Scan(&newest, &first, &last) })
	if err := p.sink.pool.SendBatch(ctx, batch); err != nil {
		return span{}, 0, fmt.Errorf("pgsink: look for a period: %w", err)
	}
	return span{first << blockBits, min((last+1)<<blockBits, newest+1)}, newest, nil
}

// periodSQL returns the statement of period. It gives the newest event of the log, and the
// first and the last block between the two bounds; none is behind the newest, or -1.
func periodSQL(sel *selection, q *jobaudit.Query, from, upto string) string {
	sel.times(q)
	// One probe for each row of blocks that there is, until one holds such an event, and then
	// for each block in it. A subquery of its own in each: PostgreSQL would make a join over
	// all events of EXISTS. The bounds on idx leave it one partition.
	holds := func(bits int) string {
		return `(SELECT true FROM jobaudit.events ` + sel.where(append([]string{
			fmt.Sprintf("idx >> %[1]d = b AND idx >= b << %[1]d AND idx < (b + 1) << %[1]d", bits)}, sel.conditions...)) + ` ORDER BY time LIMIT 1)`
	}
	// The next row is looked for among all partitions only where there is a gap. What
	// no commit covers is not the log's: somebody may have added an event far ahead.
	return fmt.Sprintf(`
		WITH RECURSIVE log AS MATERIALIZED (
			SELECT least(coalesce((SELECT max(idx) FROM jobaudit.events), -1), coalesce((SELECT max(size) FROM jobaudit.commits), 0) - 1) AS newest
		), up AS (
			SELECT (SELECT idx FROM jobaudit.events WHERE idx >= %[3]s ORDER BY idx LIMIT 1) >> %[1]d AS b
			UNION ALL SELECT coalesce(
				(SELECT idx FROM jobaudit.events WHERE idx >= (b + 1) << %[1]d AND idx < (b + 2) << %[1]d ORDER BY idx LIMIT 1),
				(SELECT idx FROM jobaudit.events WHERE idx >= (b + 1) << %[1]d ORDER BY idx LIMIT 1)) >> %[1]d FROM up WHERE b < 1::bigint << 44
		), down AS (
			SELECT (SELECT idx FROM jobaudit.events WHERE idx <= least(%[4]s, (SELECT newest FROM log)) ORDER BY idx DESC LIMIT 1) >> %[1]d AS b
			UNION ALL SELECT coalesce(
				(SELECT idx FROM jobaudit.events WHERE idx < b << %[1]d AND idx >= (b - 1) << %[1]d ORDER BY idx DESC LIMIT 1),
				(SELECT idx FROM jobaudit.events WHERE idx < b << %[1]d ORDER BY idx DESC LIMIT 1)) >> %[1]d FROM down WHERE b > -(1::bigint << 44)
		), first AS MATERIALIZED (SELECT b << %[2]d AS b FROM up WHERE %[5]s LIMIT 1
		), last AS MATERIALIZED (SELECT b << %[2]d AS b FROM down WHERE %[5]s LIMIT 1)
		SELECT newest,
			coalesce((SELECT b FROM generate_series((SELECT b FROM first), (SELECT b FROM first) + (1 << %[2]d) - 1) b WHERE %[6]s LIMIT 1), newest + 1),
			coalesce((SELECT b FROM generate_series((SELECT b FROM last) + (1 << %[2]d) - 1, (SELECT b FROM last), -1) b WHERE %[6]s LIMIT 1), -1)
		FROM log`, rowBits, rowBits-blockBits, from, upto, holds(rowBits), holds(blockBits))
}
