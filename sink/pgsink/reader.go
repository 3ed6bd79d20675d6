package pgsink

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
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
// ended, first waits until everything that is accepted has a place, for
// [Options.Settle] at most, and yields nothing without one: who goes on behind it
// misses nothing. Only where the log does not grow in that time, as no sequencer is
// at work, it yields what waits, too.
//
// A pass holds no transaction open; each statement sees what was committed when
// it began, and no record is missed or comes twice.
func (s *Sink) Records(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	return s.records(ctx, q, q.Limit)
}

// records is Records for a consumer who will want so many, as far as is known; 0: all.
func (s *Sink) records(ctx context.Context, q jobaudit.Query, want int) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		if s.isClosed() {
			yield(jobaudit.Record{}, ErrClosed)
			return
		}
		p := &pass{sink: s, query: q, want: want, yield: yield}
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
	want  int // see records
	yield func(jobaudit.Record, error) bool

	final   bool   // only what has its place is yielded
	idx     int64  // the event behind which the next page begins; -1 for none
	below   int64  // pages end before it; 0: where the log does
	after   bool   // query.After has no place, and was not met yet
	parts   []span // of the log, which are read; nil for all
	size    int    // how many events a page reads; 0 before the first one
	yielded int
}

// span is a part of the log: the events from low up to and without end.
type span struct{ low, end int64 }

// noEnd is the end of a part that goes on as the log grows.
const noEnd = math.MaxInt64

func (p *pass) run(ctx context.Context) error {
	if p.query.Limit > 0 || p.query.After != uuid.Nil {
		// What is accepted from now on may get its place behind what is accepted
		// later, and must not be yielded before it has one.
		var err error
		if p.final, err = p.sink.settle(ctx); err != nil {
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
	case p.after && !p.query.NewestFirst:
		which = onlyWaiting // all that has a place stands before it
	case p.final && !p.after, p.query.NewestFirst && p.idx >= 0:
		which = onlyPlaced
	case p.query.NewestFirst:
		which = waitingThenPlaced
	}
	if !p.after && p.searches() {
		found, newest, err := p.period(ctx)
		if err != nil {
			return err
		}
		p.parts = []span{{newest + 1, noEnd}} // what has come since
		if found.low < found.end {
			p.parts = append(p.parts, found)
		}
	}
	for {
		page, err := p.page(ctx, which)
		if err != nil {
			return err
		}
		if err := p.deliver(page); err != nil {
			return err
		}
		if page.last || p.after {
			return nil
		}
		if which == waitingThenPlaced {
			which = onlyPlaced
		}
	}
}

// page is what one statement gave.
type page struct {
	found   []found
	placed  int  // how many events with a place were read
	matches int  // how many of found are records
	last    bool // there are no more
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

// page reads the next events of the log from p.idx on, in the direction of
// reading, and all that waits where which says so.
func (p *pass) page(ctx context.Context, which which) (page, error) {
	p.grow()
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
	read.last = read.placed < p.size
	return read, nil
}

// grow sets the size of the next page. The first one has room for what is wanted, as
// nearly all that a selection leads to matches. There are few sizes: each is a statement.
func (p *pass) grow() {
	if p.size > 0 || p.want == 0 {
		p.size = pageRecords
		return
	}
	for p.size = pageRecords; p.size/4 >= p.want; {
		p.size /= 4
	}
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
	end := fmt.Sprintf("ORDER BY idx %s LIMIT %d", direction, p.size)
	from := p.selected(sel, compare, end)
	placed := `SELECT idx, ARRAY[` + boundedLine + `] AS lines, NULL::bigint AS n FROM ` + from + ` ` + end
	if which == onlyPlaced {
		return `SELECT idx, n, lines FROM (` + placed + `) p ORDER BY idx ` + direction, sel.args
	}
	conditions := p.waiting(sel)
	order := `idx IS NOT NULL, n DESC, idx DESC`
	if which == placedThenWaiting {
		order = `idx IS NULL, idx, n`
		conditions = append(conditions, fmt.Sprintf(`(SELECT count(*) FROM placed) < %d`, p.size))
	}
	return `WITH placed AS MATERIALIZED (` + placed + `) SELECT idx, n, lines FROM (
		SELECT idx, lines, n FROM placed UNION ALL
		SELECT NULL, lines, n FROM jobaudit.inbox ` + sel.where(conditions) + `) both_of_them ORDER BY ` + order, sel.args
}

// selected returns what a statement selects events from, with its conditions: one table, or
// the events of each branch in each part, of which each ends with the same order and limit.
func (p *pass) selected(sel *selection, compare, end string) string {
	branches := sel.branches
	if len(branches) == 0 {
		branches = []branch{{from: "jobaudit.events"}}
	}
	parts := p.parts
	if len(parts) == 0 {
		parts = []span{{0, noEnd}}
	}
	var selects []string
	for _, part := range parts {
		bounds := p.bounds(sel, part, compare)
		for _, b := range branches {
			conditions := slices.Concat(sel.conditions, bounds)
			if b.condition != "" {
				conditions = append(conditions, b.condition)
			}
			from := strings.ReplaceAll(b.from, "{bounds}", sel.where(bounds)) + ` ` + sel.where(conditions)
			if len(branches)*len(parts) == 1 {
				return from
			}
			selects = append(selects, `(SELECT idx, line FROM `+from+` `+end+`)`)
		}
	}
	return `(` + strings.Join(selects, ` UNION ALL `) + `) selected`
}

// bounds returns the conditions on the index for one part of the log.
func (p *pass) bounds(sel *selection, part span, compare string) (conditions []string) {
	if p.idx >= 0 {
		conditions = append(conditions, "idx "+compare+" "+sel.arg(p.idx))
	}
	if p.below > 0 {
		conditions = append(conditions, "idx < "+sel.arg(p.below))
	}
	if part.low > 0 {
		conditions = append(conditions, "idx >= "+sel.arg(part.low))
	}
	if part.end < noEnd {
		conditions = append(conditions, "idx < "+sel.arg(part.end))
	}
	return conditions
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
