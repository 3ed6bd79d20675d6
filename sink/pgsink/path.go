package pgsink

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Where a function, an operator or a type is looked for is a setting that the owner of the
// database, or of a role, can change, and that by default finds functions of exact types in
// the schema public. What it found would run with the rights of an auditor, a sequencer or an
// administrator, and could answer for PostgreSQL. So every statement of ours runs under
// searchPath: by the session's parameter or, behind a pooler, where the session is not ours, by
// each transaction's first statement. Those that run in a caller's transaction, or would take
// two round trips more, name the schema of everything instead: [appendSQL] and those that only
// call a function of the schema jobaudit. Temporary tables come last; unnamed they would be first.
const searchPath = "pg_catalog, pg_temp"

// pinned are settings that a database or a role may have otherwise, and on which it depends
// what our statements mean, or what the server's answers do. They are set as the path is.
var pinned = []struct{ name, value string }{
	{"search_path", searchPath},
	{"client_encoding", "UTF8"}, // another one has texts stored that are no event's
	{"standard_conforming_strings", "on"},
	{"array_nulls", "on"},
	{"transform_null_equals", "off"},
	{"gin_fuzzy_search_limit", "0"},  // else reads leave out what waits
	{"quote_all_identifiers", "off"}, // else triggers are printed in another way
	// What a connection string can ask for: values as text.
	{"bytea_output", "hex"},
	{"datestyle", "ISO"},
	{"intervalstyle", "postgres"},
	{"timezone", "UTC"},
}

// pinnedOfSessions are settings that only a session can have: transactions begin by saying them.
var pinnedOfSessions = []struct{ name, value string }{
	{"default_transaction_isolation", "read committed"},
	{"default_transaction_read_only", "off"},
	{"default_transaction_deferrable", "off"},
}

// pin sets what is pinned for a session, whatever the connection string says.
func pin(params map[string]string) {
	for _, p := range append(slices.Clone(pinned), pinnedOfSessions...) {
		for name := range params { // the server does not tell small letters from capitals
			if strings.EqualFold(name, p.name) {
				delete(params, name)
			}
		}
		params[p.name] = p.value
	}
}

// pinSQL sets what is pinned for a transaction. It also has the server say what commitDurably
// listens for.
var pinSQL = func() string {
	var sql strings.Builder
	sql.WriteString(`SET LOCAL client_min_messages = warning`)
	for _, p := range pinned {
		value := quoteText(p.value)
		if p.name == "search_path" {
			value = p.value // a list
		}
		sql.WriteString(`; SET LOCAL ` + p.name + ` = ` + value)
	}
	return sql.String()
}()

// begin begins a transaction that writes, in one round trip.
func begin(ctx context.Context, db database) (pgx.Tx, error) {
	return db.BeginTx(ctx, pgx.TxOptions{BeginQuery: `BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE NOT DEFERRABLE; ` + pinSQL})
}

// beginRead begins one that reads, which a standby takes, too.
func beginRead(ctx context.Context, db database) (pgx.Tx, error) {
	return db.BeginTx(ctx, pgx.TxOptions{BeginQuery: `BEGIN ISOLATION LEVEL READ COMMITTED NOT DEFERRABLE; ` + pinSQL})
}

// rollback ends a transaction that has not ended, also where ctx has, and not for longer than
// a server that is there takes.
func rollback(ctx context.Context, tx pgx.Tx) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leadTimeout)
	defer cancel()
	_ = tx.Rollback(ctx) // what led here says more
}

// hangUp ends a connection, as rollback does a transaction.
func hangUp(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leadTimeout)
	defer cancel()
	_ = conn.Close(ctx) // nothing more can be done
}

// database is what a connection and a pool have in common.
type database interface {
	queryer
	BeginTx(ctx context.Context, opts pgx.TxOptions) (pgx.Tx, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults
}

// trusted runs statements under what is pinned.
type trusted struct {
	database
	pooled bool // the session is not ours: each statement is a transaction of its own
}

// pool is a pool of connections whose statements run under what is pinned.
type pool struct {
	trusted
	conns *pgxpool.Pool
}

func (p *pool) Close() { p.conns.Close() }

func (t trusted) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if !t.pooled {
		return t.database.Query(ctx, sql, args...)
	}
	tx, err := beginRead(ctx, t.database)
	if err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		rollback(ctx, tx)
		return nil, err
	}
	return &rowsOfTx{Rows: rows, ctx: ctx, tx: tx}, nil
}

func (t trusted) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	if !t.pooled {
		return t.database.QueryRow(ctx, sql, args...)
	}
	rows, err := t.Query(ctx, sql, args...)
	return rowOfTx{rows, err}
}

func (t trusted) Exec(ctx context.Context, sql string, args ...any) (tag pgconn.CommandTag, err error) {
	if !t.pooled {
		return t.database.Exec(ctx, sql, args...)
	}
	tx, err := begin(ctx, t.database)
	if err != nil {
		return tag, err
	}
	if tag, err = tx.Exec(ctx, sql, args...); err != nil {
		rollback(ctx, tx)
		return tag, err
	}
	return tag, tx.Commit(ctx)
}

// SendBatch sends the batch and reads what it gives.
func (t trusted) SendBatch(ctx context.Context, batch *pgx.Batch) error {
	if !t.pooled {
		return t.database.SendBatch(ctx, batch).Close()
	}
	tx, err := beginRead(ctx, t.database)
	if err != nil {
		return err
	}
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		rollback(ctx, tx)
		return err
	}
	return tx.Commit(ctx)
}

// rowsOfTx are the rows of a transaction that ends with them.
type rowsOfTx struct {
	pgx.Rows
	ctx   context.Context
	tx    pgx.Tx
	ended bool
	err   error // of the commit
}

func (r *rowsOfTx) Next() bool {
	if r.Rows.Next() {
		return true
	}
	r.end()
	return false
}

func (r *rowsOfTx) Close() {
	r.Rows.Close()
	r.end()
}

func (r *rowsOfTx) Err() error {
	if err := r.Rows.Err(); err != nil {
		return err
	}
	return r.err
}

func (r *rowsOfTx) end() {
	if r.ended {
		return
	}
	r.ended = true
	if r.Rows.Err() != nil {
		rollback(r.ctx, r.tx)
		return
	}
	r.err = r.tx.Commit(r.ctx)
}

// rowOfTx is the first of such rows.
type rowOfTx struct {
	rows pgx.Rows
	err  error
}

func (r rowOfTx) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	defer r.rows.Close()
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return pgx.ErrNoRows
	}
	if err := r.rows.Scan(dest...); err != nil {
		return err
	}
	r.rows.Close()
	return r.rows.Err()
}
