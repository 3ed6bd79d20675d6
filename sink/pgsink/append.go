package pgsink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/jsonscan"
)

const (
	// appendConns is how many batches are on their way at once.
	appendConns = 2
	// A batch takes Appends up to these bounds; a single Append may be larger.
	batchRecords = 2048
	batchBytes   = 4 << 20
	// slowDown is how long a batch is held back while too much waits.
	slowDown = 20 * time.Millisecond
	// What append_v1 takes.
	maxRecords = 16384
	maxBytes   = 64 << 20
)

// request is one Append that waits.
type request struct {
	ctx     context.Context
	records []jobaudit.Record
	bytes   int
	done    chan error // takes one, without a receiver too
}

// queue holds the Appends that wait. It is a list under a lock and not a
// channel: a worker takes as many as fit.
type queue struct {
	mu      sync.Mutex
	changed *sync.Cond
	waiting []*request
	closed  bool
}

func newQueue() *queue {
	q := &queue{}
	q.changed = sync.NewCond(&q.mu)
	return q
}

func (q *queue) put(r *request) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return ErrClosed
	}
	q.waiting = append(q.waiting, r)
	q.changed.Signal()
	return nil
}

// take waits for requests and returns those of the next batch, or nothing when
// the queue is closed and empty. Those whose callers have left are answered.
func (q *queue) take() []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		for len(q.waiting) == 0 {
			if q.closed {
				return nil
			}
			q.changed.Wait()
		}
		var batch []*request
		var records, size, taken int
		for _, r := range q.waiting {
			if err := r.ctx.Err(); err != nil {
				taken++
				r.done <- err
				continue
			}
			if len(batch) > 0 && (records+len(r.records) > batchRecords || size+r.bytes > batchBytes) {
				break
			}
			taken++
			records, size = records+len(r.records), size+r.bytes
			batch = append(batch, r)
		}
		q.waiting = slices.Delete(q.waiting, 0, taken)
		if len(batch) > 0 {
			if len(q.waiting) > 0 {
				q.changed.Signal()
			}
			return batch
		}
	}
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.changed.Broadcast()
}

// Append stores the records, as [jobaudit.AuditSink] says: all or none of one
// call, in one round trip. Appends that wait at the same time share a
// transaction. A caller that leaves when its context ends does not stop the
// batch that its records are in.
//
// One call takes at most 16,384 records of 64 MiB in all.
func (s *Sink) Append(ctx context.Context, records []jobaudit.Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(records) == 0 {
		if s.isClosed() {
			return ErrClosed
		}
		return nil
	}
	r := &request{ctx: ctx, done: make(chan error, 1)}
	var err error
	if r.records, r.bytes, err = check(records); err != nil {
		return err
	}
	if err := s.queue.put(r); err != nil {
		return err
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// check refuses what can never be stored, and copies the slice: a batch may go
// on after its caller has left. A record that comes twice is taken once.
func check(records []jobaudit.Record) (checked []jobaudit.Record, size int, err error) {
	if len(records) > maxRecords {
		return nil, 0, fmt.Errorf("pgsink: %d records in one Append, at most %d are possible", len(records), maxRecords)
	}
	seen := make(map[uuid.UUID]jobaudit.Hash, len(records))
	checked = make([]jobaudit.Record, 0, len(records))
	var line []byte
	for _, r := range records {
		line = r.AppendTo(line[:0]) // in the room of the one before: no copy of all of them
		if err := checkRecord(r, line); err != nil {
			return nil, 0, err
		}
		if hash, twice := seen[r.ID()]; twice {
			if hash != r.Hash() {
				return nil, 0, &jobaudit.RecordError{ID: r.ID(), Err: jobaudit.ErrConflict}
			}
			continue
		}
		seen[r.ID()] = r.Hash()
		size += r.Len()
		checked = append(checked, r)
	}
	if size > maxBytes {
		return nil, 0, fmt.Errorf("pgsink: %d bytes in one Append, at most %d are possible", size, maxBytes)
	}
	return checked, size, nil
}

func checkRecord(r jobaudit.Record, line []byte) error {
	if len(line) == 0 {
		return &jobaudit.RecordError{ID: r.ID(), Err: errors.New("the record is empty")}
	}
	if err := auditlog.CheckLeaf(line); err != nil {
		return &jobaudit.RecordError{ID: r.ID(), Err: err}
	}
	return nil
}

// appendBatches is one worker: it sends batches until the sink is closed.
func (s *Sink) appendBatches() {
	for {
		batch := s.queue.take()
		if batch == nil {
			return
		}
		if s.slow.Load() {
			_ = sleep(batch[0].ctx, slowDown)
		}
		s.appendBatch(batch)
	}
}

// appendBatch sends the requests in one transaction. What the server refuses
// for one request's sake is sent again one by one: nothing was stored.
func (s *Sink) appendBatch(batch []*request) {
	err := apart(func() error { return s.send(batch) })
	if len(batch) > 1 && refused(err) {
		for _, r := range batch {
			r.done <- apart(func() error { return s.send([]*request{r}) })
		}
		s.wakeUp()
		return
	}
	for _, r := range batch {
		r.done <- err
	}
	s.wakeUp()
}

// refused reports whether PostgreSQL said no, so that nothing is stored.
func refused(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) || errors.Is(err, jobaudit.ErrConflict)
}

func (s *Sink) send(batch []*request) error {
	var records []jobaudit.Record
	seen := make(map[uuid.UUID]jobaudit.Hash)
	for _, r := range batch {
		for _, record := range r.records {
			if hash, twice := seen[record.ID()]; twice {
				if hash != record.Hash() {
					return &jobaudit.RecordError{ID: record.ID(), Err: jobaudit.ErrConflict}
				}
				continue
			}
			seen[record.ID()] = record.Hash()
			records = append(records, record)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.opts.Timeout)
	defer cancel()
	err := onConn(ctx, s.appends, func(conn *pgx.Conn) error { return appendOn(ctx, conn, records) })
	if err != nil {
		return err
	}
	s.kept.add(records)
	return nil
}

// onConn calls f with a connection, and again with another one when it breaks:
// those that stand idle break when the server or a pooler starts again. One to a standby is
// given up. What f does
// may happen twice.
func onConn(ctx context.Context, pool *pool, f func(*pgx.Conn) error) error {
	for try := int32(0); ; try++ {
		conn, err := pool.conns.Acquire(ctx)
		if err != nil {
			return fmt.Errorf("pgsink: no connection to the database: %w", err)
		}
		err = f(conn.Conn())
		if hasCode(err, readOnly) { // a standby, since a failover: another one may be the primary
			hangUp(ctx, conn.Conn())
		}
		broken := conn.Conn().IsClosed()
		conn.Release()
		if err == nil || !broken || try == pool.conns.Config().MaxConns || ctx.Err() != nil {
			return err
		}
	}
}

// appendSQL names the schema of all that it uses: see searchPath.
const appendSQL = `SELECT jobaudit.append_v1($1::pg_catalog.uuid[], $2::pg_catalog.bytea[], $3::pg_catalog.int4[], $4::pg_catalog.uuid[])`

// boundedSQL bounds how long an Append waits for a transaction that has stored
// one of its IDs and has not ended: it holds up all that share the Append's
// transaction, and they go on alone after this. The condition is evaluated before
// append_v1 is called, and the setting ends with the transaction: a read may wait for
// longer, while a partition is made. It also has the server say when it gave up to wait for
// the standby, which a session of fewer messages would not hear.
const boundedSQL = ` WHERE pg_catalog.set_config('lock_timeout',
		CASE WHEN pg_catalog.current_setting('lock_timeout') OPERATOR(pg_catalog.=) '0' THEN '2s' ELSE pg_catalog.current_setting('lock_timeout') END, true) IS NOT NULL
	AND pg_catalog.set_config('client_min_messages', 'warning', true) IS NOT NULL`

// readOnly is PostgreSQL's code of a transaction, or a server, that takes no writes.
const readOnly = "25006"

// inTransaction calls f in a transaction that writes, and commits.
func inTransaction(ctx context.Context, db database, f func(tx pgx.Tx) error) error {
	tx, err := begin(ctx, db)
	if err != nil {
		return err
	}
	defer rollback(ctx, tx)
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

// appendOn calls append_v1 and commits.
func appendOn(ctx context.Context, conn *pgx.Conn, records []jobaudit.Record) error {
	forgetUncertainCommit(conn.PgConn())
	args := arguments(records)
	_, err := conn.Exec(ctx, appendSQL+boundedSQL, args...)
	if hasCode(err, readOnly, "40001") {
		// Behind a pooler the session is not ours, and its transactions may be others by default.
		err = inTransaction(ctx, conn, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, appendSQL+boundedSQL, args...)
			return err
		})
	}
	if err == nil && uncertainCommit(conn.PgConn()) {
		return errors.New("pgsink: the wait for the synchronous standby was cancelled: the records are stored here, and perhaps not there")
	}
	return appendError(err)
}

// arguments returns the four arrays that append_v1 takes. The IDs are sorted: in
// another order, two transactions with the same IDs could wait for each other.
func arguments(records []jobaudit.Record) []any {
	order := make([]int32, len(records))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		x, y := records[a].ID(), records[b].ID()
		return bytes.Compare(x[:], y[:])
	})
	ids := make([]pgtype.UUID, len(records))
	lines := make([][]byte, len(records))
	var keys []pgtype.UUID
	known := make(map[uuid.UUID]bool)
	for i, at := range order {
		ids[i] = pgtype.UUID{Bytes: records[at].ID(), Valid: true}
		lines[i] = records[at].Bytes()
		for _, key := range keysOf(lines[i]) {
			if key != uuid.Nil && !known[key] {
				known[key] = true
				keys = append(keys, pgtype.UUID{Bytes: key, Valid: true})
			}
		}
	}
	if keys == nil {
		keys = []pgtype.UUID{}
	}
	return []any{ids, lines, order, keys}
}

// keysOf returns the IDs of the job, the correlation and the root of an event line. It
// reads no more of the line: to decode the event takes ten times as long.
func keysOf(line []byte) (keys [3]uuid.UUID) {
	for name, value := range jsonscan.Members(line) {
		switch string(name) {
		case "job":
			for name, value := range jsonscan.Members(value) {
				switch string(name) {
				case "id":
					keys[0] = parseID(value)
				case "rootId":
					keys[2] = parseID(value)
				}
			}
		case "correlationId":
			keys[1] = parseID(value)
		}
		if keys[0] != uuid.Nil && keys[1] != uuid.Nil {
			break
		}
	}
	return keys
}

func parseID(quoted []byte) uuid.UUID {
	id, err := uuid.Parse(jsonscan.Unquote(quoted))
	if err != nil {
		return uuid.Nil
	}
	return id
}

// conflictText stands before the ID in append_v1's message. Drivers differ in
// how they hand over an error's detail, and all of them print the message.
const conflictText = "other bytes are stored under the ID "

// appendError turns what append_v1 says into the contract's errors.
func appendError(err error) error {
	if err == nil {
		return nil
	}
	var state interface{ SQLState() string }
	if errors.As(err, &state) && state.SQLState() == "JA001" {
		_, after, _ := strings.Cut(err.Error(), conflictText)
		id, parseErr := uuid.Parse(after[:min(len(after), 36)])
		if parseErr == nil {
			return &jobaudit.RecordError{ID: id, Err: jobaudit.ErrConflict}
		}
	}
	return fmt.Errorf("pgsink: append: %w", err)
}

// uncertainKey is where a connection keeps that its last commit may be missing
// on a standby that it should be on.
const uncertainKey = "jobaudit: uncertain commit"

// noteUncertainCommit hears the server's notices. A commit whose wait for the
// standby was cancelled succeeds with a warning.
func noteUncertainCommit(conn *pgconn.PgConn, notice *pgconn.Notice) {
	if notice.SeverityUnlocalized == "WARNING" && (notice.Code == "01000" || notice.Code == "57P01") {
		conn.CustomData()[uncertainKey] = true
	}
}

func forgetUncertainCommit(conn *pgconn.PgConn) { delete(conn.CustomData(), uncertainKey) }

func uncertainCommit(conn *pgconn.PgConn) bool { return conn.CustomData()[uncertainKey] != nil }
