package pgsink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jobaudit/jobaudit"
)

// ErrClosed is returned by Append after Close.
var ErrClosed = errors.New("pgsink: closed")

// ErrRefused is returned by [Sink.Sequenced] where an event that this sink has stored can have
// no place in the log: [Verify] says why.
var ErrRefused = errors.New("accepted and refused a place in the log")

// Options adjust a [Sink]. The zero value, like nil, gives the defaults.
type Options struct {
	// Conns is the greatest number of connections, at least 3. Two carry Appends and
	// nothing else, the rest reads, which wait for each other. Default: 4.
	Conns int

	// Pooled is set behind a pooler such as PgBouncer, in any mode: without it a
	// connection asks for settings of its own, as search_path, when it starts, which poolers refuse.
	Pooled bool

	// Timeout is how long one statement of an Append may take; the Append's
	// own context may end before. Default: 30 s.
	Timeout time.Duration

	// Settle is how long a read with Limit or After waits for a sequencer to
	// give accepted events their places, see [Sink.Records]. Default: 1 s.
	Settle time.Duration

	// Backlog is how long an accepted event may wait for its place before that
	// is reported and Appends slow down: they are not refused. Default: 60 s.
	Backlog time.Duration

	// Sequencer, if not nil, runs a sequencer in this process too. Several may
	// run at once: one of them works.
	Sequencer *SequencerOptions

	// OnError is called with what fails without making an Append fail. It may be
	// called from several goroutines and must not wait. Default: slog.Default.
	OnError func(error)

	standby   bool                  // any of several hosts will do
	configure func(*pgx.ConnConfig) // of tests
}

func (o *Options) withDefaults() Options {
	var opts Options
	if o != nil {
		opts = *o
	}
	if opts.Conns <= 0 {
		opts.Conns = 4
	}
	opts.Conns = max(opts.Conns, appendConns+1)
	if opts.Timeout <= 0 {
		opts.Timeout = 30 * time.Second
	}
	if opts.Settle <= 0 {
		opts.Settle = time.Second
	}
	if opts.Backlog <= 0 {
		opts.Backlog = time.Minute
	}
	if opts.OnError == nil {
		opts.OnError = func(err error) { slog.Default().Error("job audit log", slog.Any("error", err)) }
	}
	onError := opts.OnError
	opts.OnError = func(err error) { _ = apart(func() error { onError(err); return nil }) }
	return opts
}

// Sink stores records in PostgreSQL. Make one with [Open]. It is safe for
// concurrent use, by many processes too.
type Sink struct {
	opts    Options
	pool    *pool // for reads
	appends *pool // of its own: reads that hold every connection stop no job

	queue *queue // Appends that wait for a connection
	kept  kept
	open  openJobs
	slow  atomic.Bool // too much waits for a sequencer

	stop    context.CancelFunc
	workers sync.WaitGroup
	closing sync.Once

	mu       sync.Mutex
	closed   bool
	wakeUp   func()        // tells the sequencer of this process, if there is one
	degraded func(error)   // given by the recorder
	refused  []pgtype.UUID // events of this sink that could have no place
	stalled  int64         // the log's size when waiting for a sequencer was last in vain
}

// Open opens the log in a database that [Migrate] has prepared. The connection
// string is that of pgx: a URL or keywords and values. The sink has a pool of
// its own: shared with jobs it would deadlock when they hold every connection
// and wait for an Append.
func Open(ctx context.Context, connString string, opts *Options) (*Sink, error) {
	s := &Sink{opts: opts.withDefaults(), wakeUp: func() {}, stalled: -1}
	var err error
	if s.pool, err = newPool(ctx, connString, &s.opts, s.opts.Conns-appendConns); err != nil {
		return nil, fmt.Errorf("open the audit log: %w", err)
	}
	if s.appends, err = newPool(ctx, connString, &s.opts, appendConns); err != nil {
		s.pool.Close()
		return nil, fmt.Errorf("open the audit log: %w", err)
	}
	if err := s.checkVersion(ctx); err != nil {
		s.closePools()
		return nil, fmt.Errorf("open the audit log: %w", err)
	}
	running, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.queue = newQueue()
	s.open.turn = make(chan struct{}, 1)
	if s.opts.Sequencer != nil {
		sequencer, err := newSequencer(connString, &s.opts, s.report)
		if err != nil {
			stop()
			s.closePools()
			return nil, fmt.Errorf("open the audit log: %w", err)
		}
		s.wakeUp = sequencer.wake
		s.workers.Go(func() { _ = sequencer.Run(running) }) // it ends when running does
	}
	for range appendConns {
		s.workers.Go(s.appendBatches)
	}
	s.workers.Go(func() { s.watch(running) })
	return s, nil
}

func (s *Sink) closePools() {
	s.pool.Close()
	s.appends.Close()
}

func newPool(ctx context.Context, connString string, opts *Options, conns int) (*pool, error) {
	config, err := pgxpool.ParseConfig(connString)
	if err != nil {
		return nil, err // pgx leaves the password out
	}
	config.MaxConns = int32(conns)
	config.MinConns, config.MinIdleConns = min(config.MinConns, config.MaxConns), min(config.MinIdleConns, config.MaxConns)
	prepareConn(config.ConnConfig, opts)
	made, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	return &pool{trusted{made, opts.Pooled}, made}, nil
}

// prepareConn sets what every connection of ours has.
func prepareConn(config *pgx.ConnConfig, opts *Options) {
	if _, set := config.RuntimeParams["application_name"]; !set {
		config.RuntimeParams["application_name"] = "jobaudit"
	}
	if !opts.Pooled {
		pin(config.RuntimeParams) // poolers refuse it: there each transaction begins with it
	} else {
		// No statement that outlives its transaction. Parameters still have
		// their types: the arrays of append need them.
		config.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	}
	config.OnNotice = noteUncertainCommit
	if !opts.standby && severalHosts(config) && config.ValidateConnect == nil {
		config.ValidateConnect = onPrimary
	}
	if opts.configure != nil {
		opts.configure(config)
	}
}

// severalHosts reports whether the connection string names more than one.
func severalHosts(config *pgx.ConnConfig) bool {
	return slices.ContainsFunc(config.Fallbacks, func(f *pgconn.FallbackConfig) bool { return f.Host != config.Host || f.Port != config.Port })
}

// onPrimary refuses a standby, which takes no Append, and is behind. Servers say unasked which
// they are.
func onPrimary(_ context.Context, conn *pgconn.PgConn) error {
	if conn.ParameterStatus("in_hot_standby") == "on" {
		return errors.New("it is a standby")
	}
	return nil
}

// startError says of an error to connect what to do where it is a pooler's, which refuses what
// prepareConn asks for.
func startError(err error) error {
	if err != nil && strings.Contains(err.Error(), "unsupported startup parameter") {
		return fmt.Errorf("%w: this is a pooler: set Options.Pooled, or jobaudit sequence --pooled", err)
	}
	return err
}

// checkVersion refuses tables that no longer take what this code writes.
func (s *Sink) checkVersion(ctx context.Context) error {
	var version, minWriter *int
	err := s.pool.QueryRow(ctx, `SELECT version, min_writer FROM jobaudit.compatible_v1()`).Scan(&version, &minWriter)
	switch {
	case hasCode(err, "3F000", "42883", "42501"): // no schema, no function, no right
		return fmt.Errorf("%w (%w)", errNotMigrated, err)
	case err != nil:
		return startError(err)
	case version == nil:
		return errNotMigrated
	case *minWriter > writerVersion:
		return fmt.Errorf("the tables take writers of version %d and newer, this one is %d: update the program", *minWriter, writerVersion)
	}
	return nil
}

// hasCode reports whether err is PostgreSQL's, with one of the codes.
func hasCode(err error, codes ...string) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return false
	}
	return slices.Contains(codes, pg.Code)
}

// Degraded is called by [jobaudit.Open]: from then on report is told when the
// log goes on without all that it promises.
func (s *Sink) Degraded(report func(error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.degraded = report
}

// report reports trouble that does not make an Append fail.
func (s *Sink) report(err error) {
	s.opts.OnError(err)
	s.mu.Lock()
	degraded := s.degraded
	s.mu.Unlock()
	if degraded != nil {
		degraded(err)
	}
}

// Close refuses further Appends, waits for those that have been sent, and for
// the sequencer of this process to finish what it is at. It may be called again, and waits
// for that each time.
func (s *Sink) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.closing.Do(func() {
		s.queue.close()
		s.stop()
		s.workers.Wait()
		s.closePools()
	})
	return nil
}

func (s *Sink) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

var _ interface {
	jobaudit.AuditSink
	jobaudit.AuditReader
} = (*Sink)(nil)
