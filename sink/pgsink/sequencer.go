package pgsink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/boundanchor"
	"github.com/jobaudit/jobaudit/internal/boundsigner"
	"golang.org/x/mod/sumdb/note"
)

// SequencerOptions say how accepted events get their places in the log, and
// who signs for it.
type SequencerOptions struct {
	// Signer and Verifier are the log's key. Required. The signer's name is the
	// log's origin.
	//
	// The signer may be somebody else's code, an HSM's or a KMS's. Each signature is
	// verified before it is written. One that does not come within 5 s is an error like
	// any other: it is reported, and the events wait.
	Signer   note.Signer
	Verifier note.Verifier

	// Predecessor is the verifier of the log that this one continues, if the
	// key was changed: it may have signed the newest head. The signer's name is that of a
	// later one in the same line: example.com/jobs/s2, or /s3, behind example.com/jobs.
	Predecessor note.Verifier

	// Anchor keeps the newest head outside the database. Each leadership begins
	// by comparing the log with it, and each head is put there within about a
	// second of its commit.
	Anchor auditlog.Anchor

	// MinPoll and MaxPoll bound how long the sequencer sleeps when it found
	// nothing to do: longer the longer that lasts. Defaults: 10 and 200 ms.
	MinPoll, MaxPoll time.Duration

	// Of tests.
	step      func(name string) error
	leadFor   time.Duration // in place of leadTimeout
	partition int64         // in place of partitionSize
}

const (
	cycleRecords = 4096
	cycleBytes   = 8 << 20
	// anchorEvery is the shortest time between two heads that are put to the
	// anchor.
	anchorEvery = time.Second
	// anchorAgain is the time after which an anchor that failed is tried again.
	anchorAgain = 30 * time.Second
	// leadTimeout bounds each wait for a lock and each pause of a leader, and
	// cycleTimeout each statement and the whole cycle: one that hangs would keep all
	// others from leading. A row of the inbox may hold 64 MiB, and has to go through
	// on a slow machine too: it would come again, and the log would stop.
	leadTimeout  = 5 * time.Second
	cycleTimeout = time.Minute
)

// Sequencer gives accepted events their places in the log: it extends the
// tree, signs the head, and publishes it once it is committed. Any number may
// run over one database; the one that holds the lock works.
type Sequencer struct {
	opts   SequencerOptions
	signer *boundsigner.Signer
	config *pgx.ConnConfig
	pooled bool
	report func(error)
	woken  chan struct{}

	// What the last cycle knew. It counts only while it is what the database
	// says.
	tree   auditlog.Tree
	head   auditlog.Checkpoint
	line   []byte // the head's commit line
	loaded bool

	partitions  int       // those below are made, or cannot be
	partitionAt time.Time // of the last attempt, if it failed
	unmade      int       // the partition that was reported last

	unbuilt   []byte    // the newest commit, if the events do not lead to it
	unbuiltAt time.Time // when that was found

	certain bool // the head's commit is on disk, and on the standby's where one is synchronous

	anchored      int64 // the size that the anchor has
	anchoredAt    time.Time
	anchorPause   time.Duration
	repairedAt    time.Time // when the stored hashes were made again for the anchor last
	anchorFailing bool
}

// NewSequencer returns a sequencer for the database. Of the sink's options,
// which may be nil, Pooled and OnError matter. It connects in Run.
func NewSequencer(connString string, sequencer SequencerOptions, opts *Options) (*Sequencer, error) {
	o := opts.withDefaults()
	o.Sequencer = &sequencer
	return newSequencer(connString, &o, o.OnError)
}

func newSequencer(connString string, opts *Options, report func(error)) (*Sequencer, error) {
	s := &Sequencer{opts: *opts.Sequencer, pooled: opts.Pooled, report: report, woken: make(chan struct{}, 1)}
	if s.opts.Signer == nil || s.opts.Verifier == nil {
		return nil, errors.New("a sequencer needs a signer and its verifier")
	}
	if s.opts.Signer.Name() != s.opts.Verifier.Name() || s.opts.Signer.KeyHash() != s.opts.Verifier.KeyHash() {
		return nil, fmt.Errorf("the verifier %s+%08x is not that of the signer %s+%08x",
			s.opts.Verifier.Name(), s.opts.Verifier.KeyHash(), s.opts.Signer.Name(), s.opts.Signer.KeyHash())
	}
	if err := auditlog.CheckOrigin(s.opts.Signer.Name()); err != nil {
		return nil, err
	}
	if p := s.opts.Predecessor; p != nil && !continues(s.opts.Signer.Name(), p.Name()) {
		return nil, fmt.Errorf("the log %q does not continue %q, whose successor is named %q: every verifier would refuse it",
			s.opts.Signer.Name(), p.Name(), auditlog.SuccessorOrigin(p.Name()))
	}
	s.signer = boundsigner.New(s.opts.Signer, s.opts.Verifier)
	if s.opts.Anchor != nil {
		s.opts.Anchor = boundanchor.New(s.opts.Anchor)
	}
	if s.opts.MinPoll <= 0 {
		s.opts.MinPoll = 10 * time.Millisecond
	}
	if s.opts.MaxPoll <= 0 {
		s.opts.MaxPoll = 200 * time.Millisecond
	}
	s.opts.MaxPoll = max(s.opts.MaxPoll, s.opts.MinPoll)
	if s.opts.leadFor <= 0 {
		s.opts.leadFor = leadTimeout
	}
	if s.opts.partition <= 0 {
		s.opts.partition = partitionSize
	}
	config, err := pgx.ParseConfig(connString)
	if err != nil {
		return nil, err
	}
	prepareConn(config, opts)
	// For what is outside the leader's transactions, which set their own. A session's
	// parameters, and no SET: poolers pass them on or refuse them.
	if !opts.Pooled {
		limit := milliseconds(leadTimeout)
		config.RuntimeParams["lock_timeout"] = limit
		config.RuntimeParams["statement_timeout"] = milliseconds(cycleTimeout)
		config.RuntimeParams["idle_in_transaction_session_timeout"] = limit
	}
	s.config = config
	return s, nil
}

// continues reports whether a log's origin is that of a later one in another one's line.
func continues(origin, before string) bool {
	line, n := auditlog.SplitOrigin(origin)
	of, m := auditlog.SplitOrigin(before)
	return line == of && n > m
}

// wake ends the pause of a sequencer in this process. It does not wait.
func (s *Sequencer) wake() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

// Run works until ctx ends, and returns its error. What fails is reported once
// for a run of failures and tried again, however long that lasts: accepted
// events are safe where they are.
func (s *Sequencer) Run(ctx context.Context) error {
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			hangUp(ctx, conn)
		}
	}()
	pause := s.opts.MinPoll
	var failing bool
	for ctx.Err() == nil {
		n, err := s.attempt(ctx, &conn)
		switch {
		case ctx.Err() != nil:
		case err != nil && !failing:
			failing = true
			s.report(fmt.Errorf("pgsink: sequence: %w", err))
		case err == nil:
			failing = false
		}
		if n > 0 {
			pause = s.opts.MinPoll
			if n >= cycleRecords/2 {
				continue // there is more
			}
		}
		if !s.sleep(ctx, pause) {
			pause = min(2*pause, s.opts.MaxPoll)
		} else {
			pause = s.opts.MinPoll
		}
	}
	err := apart(func() error {
		if conn == nil || conn.IsClosed() { // it was stopped in a cycle: what is committed is to be in the anchor all the same
			conn = s.newestAgain(context.WithoutCancel(ctx))
		}
		s.putAnchor(context.WithoutCancel(ctx), conn, true)
		return nil
	})
	if err != nil {
		s.report(fmt.Errorf("pgsink: put the newest head to the anchor: %w", err))
	}
	return ctx.Err()
}

// newestAgain connects once more, and loads the newest commit, for the anchor of a
// sequencer that has led. It returns nil if that cannot be.
func (s *Sequencer) newestAgain(ctx context.Context) *pgx.Conn {
	if s.opts.Anchor == nil || s.head.IsZero() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, leadTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, s.config.Copy())
	if err == nil {
		err = s.loadOn(ctx, conn)
	}
	if err != nil {
		s.report(fmt.Errorf("pgsink: put the newest head to the anchor: %w", err))
		if conn != nil {
			_ = conn.Close(ctx)
		}
		return nil
	}
	return conn
}

func (s *Sequencer) loadOn(ctx context.Context, conn *pgx.Conn) error {
	tx, err := begin(ctx, conn)
	if err != nil {
		return err
	}
	defer rollback(ctx, tx)
	return s.load(ctx, tx)
}

// sleep waits and reports whether it was woken before its time.
func (s *Sequencer) sleep(ctx context.Context, pause time.Duration) (woken bool) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-s.woken:
		return true
	case <-timer.C:
		return false
	}
}

// attempt runs one cycle. After an error the connection is dropped, and what was known
// with it: a commit may or may not have happened, and only the database knows.
func (s *Sequencer) attempt(ctx context.Context, conn **pgx.Conn) (n int, err error) {
	err = apart(func() (err error) {
		n, err = s.once(ctx, conn)
		return err
	})
	if err == nil {
		return n, nil
	}
	if *conn != nil {
		hangUp(ctx, *conn)
	}
	*conn, s.loaded = nil, false
	return 0, err
}

// once runs one cycle, on a new connection if there is none.
func (s *Sequencer) once(outer context.Context, conn **pgx.Conn) (int, error) {
	ctx, cancel := context.WithTimeout(outer, cycleTimeout)
	defer cancel()
	if *conn == nil {
		var err error
		if *conn, err = pgx.ConnectConfig(ctx, s.config.Copy()); err != nil {
			return 0, startError(err)
		}
	}
	n, led, err := s.cycle(ctx, *conn)
	if wrong, ok := errors.AsType[*storedError](err); ok {
		err = s.rebuild(outer, *conn, wrong)
	}
	if err != nil {
		return 0, err
	}
	if led {
		s.putAnchor(outer, *conn, false)
		if (*conn).IsClosed() { // a repair may have taken it
			*conn, s.loaded = nil, false
			return n, nil
		}
		s.makePartition(ctx, *conn)
	}
	return n, nil
}

// cycle takes what the inbox holds, up to a bound, and returns how many events
// it gave a place. It does nothing where another sequencer leads.
func (s *Sequencer) cycle(ctx context.Context, conn *pgx.Conn) (placed int, led bool, err error) {
	tx, err := begin(ctx, conn)
	if err != nil {
		return 0, false, err
	}
	defer rollback(ctx, tx)
	// The anchor and the signer have leadFor: they are not to be cut off before.
	if led, err := s.lead(ctx, tx, leadSQL+` SKIP LOCKED`, s.opts.leadFor*5/4); err != nil || !led {
		return 0, false, err
	}
	if err := s.at("locked"); err != nil {
		return 0, true, err
	}
	// In statements after the lock: they see what the leader before committed.
	if err := s.load(ctx, tx); err != nil {
		return 0, true, err
	}
	events, rows, err := readInbox(ctx, tx)
	if err != nil || len(rows) == 0 {
		return 0, true, err
	}
	if err := s.at("read"); err != nil {
		return 0, true, err
	}
	next, err := s.place(ctx, tx, events, rows)
	if err != nil {
		return 0, true, err
	}
	if err := s.at("written"); err != nil {
		return 0, true, err
	}
	if err := commitDurably(ctx, tx); err != nil {
		return 0, true, err
	}
	// Only now may anybody see the head: had the commit failed, another
	// sequencer could sign another tree of this size.
	s.tree, s.head, s.line, s.certain = next.tree, next.head, next.line, true
	return next.placed, true, s.at("committed")
}

// leadSQL takes the lock, and sets for the transaction what bounds it: behind a pooler
// the session is not ours. It also has the commit wait for this server's disk, and for
// the standby's where one is synchronous, whatever the session says: a head that a crash
// takes back after it was handed out would be signed again with another root. The
// settings are evaluated before the row is locked.
const leadSQL = `
	SELECT set_config('lock_timeout', $1, true), set_config('statement_timeout', $2, true),
		set_config('idle_in_transaction_session_timeout', $3, true), ` + durableSQL + `
	FROM jobaudit.lead WHERE one FOR UPDATE`

const durableSQL = `set_config('synchronous_commit',
	CASE WHEN current_setting('synchronous_commit') = 'remote_apply' THEN 'remote_apply' ELSE 'on' END, true)`

// lead takes the lock until the transaction ends, and reports whether it has it. A
// pause of the transaction may take so long.
func (s *Sequencer) lead(ctx context.Context, tx pgx.Tx, sql string, pause time.Duration) (bool, error) {
	tag, err := tx.Exec(ctx, sql, milliseconds(s.opts.leadFor), milliseconds(cycleTimeout), milliseconds(pause))
	return tag.RowsAffected() > 0, err
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// commitDurably commits, and returns an error too where the server gave up to wait for the
// standby: what is committed here may be missing there.
func commitDurably(ctx context.Context, tx pgx.Tx) error {
	forgetUncertainCommit(tx.Conn().PgConn())
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	if uncertainCommit(tx.Conn().PgConn()) {
		return errors.New("the wait for the synchronous standby was cancelled: the head is committed here, and perhaps not there")
	}
	return nil
}

// confirm returns when what was committed before is on disk, and on the standby's
// where one is synchronous.
func confirm(ctx context.Context, conn *pgx.Conn) error {
	tx, err := begin(ctx, conn)
	if err != nil {
		return err
	}
	defer rollback(ctx, tx)
	// Something to flush, behind all that was committed.
	if _, err := tx.Exec(ctx, `SELECT `+durableSQL+`, pg_logical_emit_message(true, 'jobaudit', '')`); err != nil {
		return err
	}
	return commitDurably(ctx, tx)
}

func (s *Sequencer) at(step string) error {
	if s.opts.step == nil {
		return nil
	}
	return s.opts.step(step)
}

// load makes tree and head those of the newest commit. It refuses tables whose columns
// this code does not all fill: what it left out would look like a manipulation.
func (s *Sequencer) load(ctx context.Context, tx pgx.Tx) error {
	var oldest int
	var line []byte
	err := tx.QueryRow(ctx, `SELECT (SELECT coalesce(max(min_sequencer), 0) FROM jobaudit.migrations),
		(SELECT `+boundedLine+` FROM jobaudit.commits ORDER BY size DESC LIMIT 1)`).Scan(&oldest, &line)
	if err != nil {
		return err
	}
	if oldest > sequencerVersion {
		return fmt.Errorf("the tables take sequencers of version %d and newer, this one is %d: update the program", oldest, sequencerVersion)
	}
	if s.loaded && bytes.Equal(line, s.line) {
		return nil
	}
	hashes := storedHashes{ctx, tx}
	tree, head := auditlog.Tree{}, auditlog.Checkpoint{}
	if line != nil {
		if head, err = s.open(line); err != nil {
			return fmt.Errorf("the newest commit: %w", err)
		}
		if tree, err = auditlog.ResumeTree(head, hashes); err != nil {
			return wrongHashes(head, line, err)
		}
	}
	if err := s.checkAnchor(ctx, head, hashes); err != nil {
		return wrongHashes(head, line, err)
	}
	// The process that committed it may not have waited for it to be durable.
	s.tree, s.head, s.line, s.loaded, s.certain = tree, head, line, true, false
	return nil
}

// newestCommit returns the newest commit line, nil if there is none.
func newestCommit(ctx context.Context, db interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}) (line []byte, err error) {
	err = db.QueryRow(ctx, `SELECT `+boundedLine+` FROM jobaudit.commits ORDER BY size DESC LIMIT 1`).Scan(&line)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return line, err
}

// open verifies a head of this log or, at its beginning, of the one before.
func (s *Sequencer) open(line []byte) (auditlog.Checkpoint, error) {
	head, err := auditlog.OpenCommit(line, s.opts.Verifier)
	if err != nil && s.opts.Predecessor != nil {
		if before, beforeErr := auditlog.OpenCommit(line, s.opts.Predecessor); beforeErr == nil {
			return before, nil
		}
	}
	return head, err
}

// readInbox reads whole rows, in their order, up to the bounds of a cycle, one
// row at least. It reads from the beginning each time: a smaller n may have
// become visible since.
func readInbox(ctx context.Context, tx pgx.Tx) (events []accepted, ns []int64, err error) {
	rows, err := tx.Query(ctx, `
		SELECT n, coalesce(writer, ''), ids, lines FROM (
			SELECT n, writer, ids, lines, row_number() OVER w AS r,
				sum(cardinality(ids)) OVER w AS k, sum(pg_column_size(lines)) OVER w AS b
			FROM (SELECT * FROM jobaudit.inbox ORDER BY n LIMIT $1) i WINDOW w AS (ORDER BY n)
		) t WHERE r = 1 OR (k <= $1 AND b <= $2) ORDER BY n`, cycleRecords, cycleBytes)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var n int64
		var writer string
		var ids []pgtype.UUID
		var lines [][]byte
		if err := rows.Scan(&n, &writer, &ids, &lines); err != nil {
			return nil, nil, err
		}
		ns = append(ns, n)
		for i := range ids {
			e := accepted{n: n, position: i, writer: writer, id: ids[i].Bytes, line: []byte{}}
			if i < len(lines) && lines[i] != nil { // else it has no line, and is refused
				e.line = lines[i]
			}
			events = append(events, e)
		}
	}
	return events, ns, rows.Err()
}

const (
	// partitionSize is how many events a partition holds.
	partitionSize = 10_000_000
	// partitionEvery is how often one is asked for that cannot be made, as somebody reads.
	partitionEvery = time.Minute
)

// makePartition makes the next partition while the one before is half empty.
func (s *Sequencer) makePartition(ctx context.Context, conn *pgx.Conn) {
	next := int((s.tree.Size()+s.opts.partition/2)/s.opts.partition) + 1
	if next < s.partitions || !s.loaded || time.Since(s.partitionAt) < partitionEvery {
		return
	}
	if s.partitions == 0 {
		s.partitions = 2 // the schema comes with two
	}
	for ; s.partitions <= next; s.partitions++ {
		_, err := conn.Exec(ctx, `SELECT jobaudit.partition_v1($1)`, s.partitions)
		if err == nil {
			continue
		}
		if s.unmade != s.partitions && ctx.Err() == nil {
			s.report(fmt.Errorf("pgsink: make partition %d: %w", s.partitions, err))
			s.unmade = s.partitions
		}
		// Where the default partition holds events of this one, it is too late for it, and
		// not for the next.
		if !hasCode(err, "23514") {
			s.partitionAt = time.Now()
			return
		}
	}
}
