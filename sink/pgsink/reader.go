package pgsink

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jobaudit/jobaudit"
)

// pageRecords is how many events one statement reads.
const pageRecords = 256

// Records iterates over the accepted records that match, as
// [jobaudit.AuditReader] says: those that have a place in the log, in its
// order, and behind them those that are accepted and still wait for one, in the
// order in which they seem to have come. That order is final only once they
// have a place. So a pass with Limit or After, which goes on where another
// ended, first waits until everything that is accepted has a place; after
// [Options.Settle] without a sequencer at work it goes on without.
//
// A pass holds no transaction open; each statement sees what was committed when
// it began, and no record is missed or comes twice.
func (s *Sink) Records(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		if s.isClosed() {
			yield(jobaudit.Record{}, ErrClosed)
			return
		}
		p := &pass{sink: s, query: q, yield: yield}
		if err := p.run(ctx); err != nil && !errors.Is(err, errStop) {
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			yield(jobaudit.Record{}, err)
		}
	}
}

// errStop ends a pass whose consumer has left, or has all that it asked for.
var errStop = errors.New("stop")

// pass is one iteration.
type pass struct {
	sink  *Sink
	query jobaudit.Query
	yield func(jobaudit.Record, error) bool

	idx     int64 // the event behind which the next page begins; -1 for none
	below   int64 // pages end before it; 0: where the log does
	after   bool  // query.After has no place, and was not met yet
	span    span
	yielded int
}

// span is a part of the log that a pass reads, and what of the inbox with it.
type span struct {
	which     which
	low, high int64 // idx is from low up to high; 0 for no bound
}

func (p *pass) run(ctx context.Context) error {
	if p.query.Limit > 0 || p.query.After != uuid.Nil {
		if err := p.sink.settle(ctx); err != nil {
			return err
		}
	}
	for {
		if err := p.begin(ctx); err != nil {
			return err
		}
		if err := p.read(ctx); err != nil {
			return err
		}
		if !p.after {
			return ctx.Err()
		}
		// It got its place between two statements.
	}
}

// begin finds where the pass begins.
func (p *pass) begin(ctx context.Context) error {
	p.idx, p.after = -1, false
	if p.query.After == uuid.Nil {
		return nil
	}
	var idx *int64
	err := p.sink.pool.QueryRow(ctx, `
		SELECT (SELECT idx FROM jobaudit.sequence WHERE id = $1),
			EXISTS (SELECT FROM jobaudit.inbox WHERE $1 = ANY (ids))`, id(p.query.After)).Scan(&idx, &p.after)
	switch {
	case err != nil:
		return fmt.Errorf("pgsink: read: %w", err)
	case idx != nil:
		p.idx, p.after = *idx, false
	case !p.after:
		return fmt.Errorf("pgsink: no record %s is stored to read on from", p.query.After)
	}
	return nil
}

// read reads pages until the log ends. What waits is read in one statement with
// the newest of the log: by two statements, an event could leave the inbox
// after the one and before the other.
func (p *pass) read(ctx context.Context) error {
	which := placedThenWaiting
	switch {
	case p.query.NewestFirst && p.idx >= 0:
		which = onlyPlaced
	case p.query.NewestFirst:
		which = waitingThenPlaced
	case p.after:
		which = onlyWaiting // all that has a place stands before it
	}
	spans := []span{{which: which}}
	if !p.after && p.searches() {
		var err error
		if spans, err = p.spans(ctx, which); err != nil {
			return err
		}
	}
	for _, p.span = range spans {
		if err := p.readSpan(ctx); err != nil {
			return err
		}
	}
	return nil
}

// readSpan reads the pages of the span.
func (p *pass) readSpan(ctx context.Context) error {
	for {
		page, err := p.page(ctx, p.span.which)
		if err != nil {
			return err
		}
		if err := p.deliver(page); err != nil {
			return err
		}
		if page.placed < pageRecords || p.after {
			return nil
		}
		if p.span.which == waitingThenPlaced {
			p.span.which = onlyPlaced
		}
	}
}

// blockBits: the index of times is by blocks of 4,096 events.
const blockBits = 12

// searches reports whether the query selects by times, and by nothing that few events have.
func (p *pass) searches() bool {
	q := &p.query
	return q.JobID == uuid.Nil && q.CorrelationID == uuid.Nil && !(q.Since.IsZero() && q.Until.IsZero())
}

// spans returns the parts of the log that hold a period: from the first to the last block
// with an event of it, and what has come since they were looked for. Else a page would read
// all of the log before the period, or behind it.
func (p *pass) spans(ctx context.Context, which which) ([]span, error) {
	found, newest, err := p.period(ctx)
	if err != nil {
		return nil, err
	}
	var spans []span
	if found.low <= found.high {
		spans = append(spans, found)
	}
	since := span{which: which, low: newest + 1}
	switch which {
	case placedThenWaiting:
		return append(spans, since), nil
	case waitingThenPlaced:
		return append([]span{since}, spans...), nil
	default:
		return spans, nil
	}
}

// period looks for the blocks that hold an event of the query's times, among those up to
// the newest. It returns an empty span if there is none.
func (p *pass) period(ctx context.Context) (found span, newest int64, err error) {
	sel := &selection{}
	sel.times(&p.query)
	// One probe for each block that there is, until one holds such an event. A subquery of
	// its own in each: PostgreSQL would make a join over all events of EXISTS. The bounds on
	// idx leave it one partition, and the order keeps it from reading the whole block there.
	holds := `(SELECT true FROM jobaudit.events ` + sel.where(append([]string{
		fmt.Sprintf("idx >> %[1]d = b AND idx >= b << %[1]d AND idx < (b + 1) << %[1]d", blockBits)}, sel.conditions...)) + ` ORDER BY time LIMIT 1)`
	// The next block is looked for among all partitions only where there is a gap. What
	// no commit covers is not the log's: somebody may have added a row far ahead.
	sql := fmt.Sprintf(`
		WITH RECURSIVE log AS (
			SELECT least(coalesce((SELECT max(idx) FROM jobaudit.events), -1), coalesce((SELECT max(size) FROM jobaudit.commits), 0) - 1) AS newest
		), up AS (
			SELECT (SELECT min(idx) FROM jobaudit.events) >> %[1]d AS b
			UNION ALL SELECT coalesce(
				(SELECT idx FROM jobaudit.events WHERE idx >= (b + 1) << %[1]d AND idx < (b + 2) << %[1]d ORDER BY idx LIMIT 1),
				(SELECT idx FROM jobaudit.events WHERE idx >= (b + 1) << %[1]d ORDER BY idx LIMIT 1)) >> %[1]d FROM up WHERE b < 1::bigint << 50
		), down AS (
			SELECT (SELECT idx FROM jobaudit.events WHERE idx <= (SELECT newest FROM log) ORDER BY idx DESC LIMIT 1) >> %[1]d AS b
			UNION ALL SELECT coalesce(
				(SELECT idx FROM jobaudit.events WHERE idx < b << %[1]d AND idx >= (b - 1) << %[1]d ORDER BY idx DESC LIMIT 1),
				(SELECT idx FROM jobaudit.events WHERE idx < b << %[1]d ORDER BY idx DESC LIMIT 1)) >> %[1]d FROM down WHERE b > -(1::bigint << 50)
		)
		SELECT newest, coalesce((SELECT b FROM up WHERE %[2]s LIMIT 1), newest + 1), coalesce((SELECT b FROM down WHERE %[2]s LIMIT 1), -1) FROM log`, blockBits, holds)
	var first, last int64
	args := append([]any{pgx.QueryExecModeCacheDescribe}, sel.args...)
	if err := p.sink.pool.QueryRow(ctx, sql, args...).Scan(&newest, &first, &last); err != nil {
		return span{}, 0, fmt.Errorf("pgsink: look for a period: %w", err)
	}
	return span{onlyPlaced, first << blockBits, min((last+1)<<blockBits-1, newest)}, newest, nil
}

// page is what one statement gave.
type page struct {
	found   []found
	placed  int // how many events with a place were read
	matches int // how many of found are records
}

// found is a record that matches, or why a line is none.
type found struct {
	record jobaudit.Record
	err    error
}

type storedLine struct {
	bytes []byte
	place string // for people
}

// deliver yields what was found.
func (p *pass) deliver(page page) error {
	for _, f := range page.found {
		if !p.yield(f.record, f.err) {
			return errStop
		}
		if f.err != nil {
			continue // about this one record: the pass goes on behind it
		}
		if p.yielded++; p.yielded == p.query.Limit {
			return errStop
		}
	}
	return nil
}

// take adds the line to the page if it is to be yielded. What does not match is not kept:
// the inbox may be far larger than what is asked for.
func (p *pass) take(read *page, line storedLine) {
	if p.full(read) {
		return
	}
	r, err := jobaudit.ParseRecord(line.bytes)
	switch {
	case err != nil:
		if !p.after {
			read.found = append(read.found, found{err: &jobaudit.UnreadableError{Place: line.place, Err: err}})
		}
	case p.after:
		p.after = r.ID() != p.query.After
	case p.query.Match(r):
		read.found = append(read.found, found{record: r})
		read.matches++
	}
}

// full reports whether the page has all that is still asked for.
func (p *pass) full(read *page) bool {
	return p.query.Limit > 0 && p.yielded+read.matches >= p.query.Limit
}

// which says what a statement reads.
type which int

const (
	placedThenWaiting which = iota // forward
	onlyWaiting
	waitingThenPlaced // backward
	onlyPlaced
)

// page reads up to pageRecords events of the log from p.idx on, in the
// direction of reading, and all that waits where which says so.
func (p *pass) page(ctx context.Context, which which) (page, error) {
	sql, args := p.statement(which)
	if q := &p.query; q.JobID == uuid.Nil && q.CorrelationID == uuid.Nil {
		// Planned for these arguments: a plan for any reads the whole log where
		// an action, say, is rare.
		args = append([]any{pgx.QueryExecModeCacheDescribe}, args...)
	}
	rows, err := p.sink.pool.Query(ctx, sql, args...)
	if err != nil {
		return page{}, fmt.Errorf("pgsink: read: %w", err)
	}
	defer rows.Close()
	var read page
	for rows.Next() {
		if p.full(&read) {
			break // the rest is read and thrown away: to cancel would cost the connection
		}
		if err := p.scan(rows, &read); err != nil {
			return page{}, fmt.Errorf("pgsink: read: %w", err)
		}
	}
	rows.Close()
	if err := rows.Err(); err != nil {
		return page{}, fmt.Errorf("pgsink: read: %w", err)
	}
	return read, nil
}

func (p *pass) scan(rows pgx.Rows, read *page) error {
	var idx, n *int64
	var lines [][]byte
	if err := rows.Scan(&idx, &n, &lines); err != nil {
		return err
	}
	if idx != nil {
		p.idx = *idx
		read.placed++
		p.take(read, storedLine{lines[0], fmt.Sprintf("event %d", *idx)})
		return nil
	}
	for i := range lines {
		if p.query.NewestFirst {
			i = len(lines) - 1 - i
		}
		p.take(read, storedLine{lines[i], fmt.Sprintf("event %d of row %d of the inbox", i, *n)})
	}
	return nil
}

// statement returns the SQL of one page: rows of an index, which is NULL for
// what waits, the row of the inbox, and lines.
func (p *pass) statement(which which) (sql string, args []any) {
	sel := newSelection(&p.query)
	if which == onlyWaiting {
		sel = &selection{}
		return `SELECT NULL::bigint, n, lines FROM jobaudit.inbox ` + sel.where(p.waiting(sel)) + ` ORDER BY n`, sel.args
	}
	direction, compare := "ASC", ">"
	if p.query.NewestFirst {
		direction, compare = "DESC", "<"
	}
	others := len(sel.conditions)
	if p.idx >= 0 {
		sel.add("idx "+compare+" $?", p.idx)
	}
	if p.below > 0 {
		sel.add("idx < $?", p.below)
	}
	if p.span.low > 0 {
		sel.add("idx >= $?", p.span.low)
	}
	if p.span.high > 0 {
		sel.add("idx <= $?", p.span.high)
	}
	bounds := sel.where(sel.conditions[others:])
	end := fmt.Sprintf("ORDER BY idx %s LIMIT %d", direction, pageRecords)
	from := `jobaudit.events ` + sel.where(sel.conditions)
	if len(sel.branches) > 0 {
		var parts []string
		for _, b := range sel.branches {
			parts = append(parts, `(SELECT idx, line FROM `+strings.ReplaceAll(b.from, "{bounds}", bounds)+` `+sel.where(append(slices.Clip(sel.conditions), b.condition))+` `+end+`)`)
		}
		from = `(` + strings.Join(parts, ` UNION ALL `) + `) branches`
	}
	placed := `SELECT idx, ARRAY[line] AS lines, NULL::bigint AS n FROM ` + from + ` ` + end
	if which == onlyPlaced {
		return `SELECT idx, n, lines FROM (` + placed + `) p ORDER BY idx ` + direction, sel.args
	}
	conditions := p.waiting(sel)
	order := `idx IS NOT NULL, n DESC, idx DESC`
	if which == placedThenWaiting {
		order = `idx IS NULL, idx, n`
		conditions = append(conditions, fmt.Sprintf(`(SELECT count(*) FROM placed) < %d`, pageRecords))
	}
	return `WITH placed AS MATERIALIZED (` + placed + `) SELECT idx, n, lines FROM (
		SELECT idx, lines, n FROM placed UNION ALL
		SELECT NULL, lines, n FROM jobaudit.inbox ` + sel.where(conditions) + `) both_of_them ORDER BY ` + order, sel.args
}

// waiting returns the conditions on rows of the inbox.
func (p *pass) waiting(sel *selection) (conditions []string) {
	var keys []pgtype.UUID
	for _, key := range []uuid.UUID{p.query.JobID, p.query.CorrelationID, p.query.RootID} {
		if key != uuid.Nil {
			keys = append(keys, id(key))
		}
	}
	if len(keys) > 0 {
		conditions = append(conditions, "keys @> "+sel.arg(keys)+"::uuid[]")
	}
	return conditions
}
