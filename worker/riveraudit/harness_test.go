package riveraudit_test

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/pgserver"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/worker/queue"
	"github.com/jobaudit/jobaudit/worker/riveraudit"
)

// shared is the server that most tests use, each with a database of its own.
var shared struct {
	sync.Mutex
	server    *pgserver.Server
	databases int
}

func TestMain(m *testing.M) {
	if url := os.Getenv(childURL); url != "" {
		if err := child(url); err != nil {
			log.Fatal(err)
		}
		return
	}
	code := m.Run()
	if shared.server != nil {
		if err := shared.server.Stop(); err != nil {
			log.Print(err)
		}
	}
	os.Exit(code)
}

// server returns the shared server. Its database template has River's tables.
func server(tb testing.TB) *pgserver.Server {
	tb.Helper()
	if testing.Short() {
		tb.Skip("it needs a PostgreSQL server of its own")
	}
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		s, err := pgserver.Start(tb.Context())
		require.NoError(tb, err)
		shared.server = s
		makeTemplate(tb, s)
	}
	return shared.server
}

func makeTemplate(tb testing.TB, s *pgserver.Server) {
	tb.Helper()
	exec(tb, s, "CREATE DATABASE template")
	pool, err := pgxpool.New(tb.Context(), s.URL("template"))
	require.NoError(tb, err)
	defer pool.Close()
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(tb, err)
	_, err = migrator.Migrate(tb.Context(), rivermigrate.DirectionUp, nil)
	require.NoError(tb, err)
}

func exec(tb testing.TB, s *pgserver.Server, sql string) {
	tb.Helper()
	conn, err := pgx.Connect(tb.Context(), s.URL("postgres"))
	require.NoError(tb, err)
	_, err = conn.Exec(tb.Context(), sql)
	require.NoError(tb, err)
	require.NoError(tb, conn.Close(tb.Context()))
}

// database makes a database with River's tables and returns its URL.
func database(tb testing.TB, s *pgserver.Server) string {
	tb.Helper()
	shared.Lock()
	defer shared.Unlock()
	shared.databases++
	name := fmt.Sprintf("t%d", shared.databases)
	exec(tb, s, "CREATE DATABASE "+name+" TEMPLATE template")
	return s.URL(name)
}

// task is the job of most tests: what it does is the test's to say.
type task struct {
	Name string `json:"name"`
}

func (task) Kind() string { return "task" }

// brokenTask has the kind of a task, and arguments that do not decode to one.
type brokenTask struct {
	Name int `json:"name"`
}

func (brokenTask) Kind() string { return "task" }

// strangeTask is of a kind that no worker knows.
type strangeTask struct{}

func (strangeTask) Kind() string { return "strange" }

type worker struct {
	river.WorkerDefaults[task]
	w *world
}

func (k *worker) Work(ctx context.Context, job *river.Job[task]) error {
	k.w.runs.Add(1)
	return k.w.do(ctx, job)
}

func (k *worker) Timeout(*river.Job[task]) time.Duration { return k.w.timeout }

// soon is a retry policy without a wait.
type soon struct{}

func (soon) NextRetry(*rivertype.JobRow) time.Time { return time.Now() }

// world is a database with River in it, a log, and a client between them.
type world struct {
	testing.TB
	url     string
	plain   bool // without the adapter: the log is filled by reconciling
	pool    *pgxpool.Pool
	sink    *memsink.Sink
	rec     *jobaudit.Recorder
	audit   *riveraudit.Audit
	admin   *riveraudit.Admin
	client  *river.Client[pgx.Tx]
	follow  *riveraudit.Follower
	do      func(context.Context, *river.Job[task]) error
	timeout time.Duration
	handler river.ErrorHandler
	rescue  time.Duration
	runs    atomic.Int64
	story   uuid.UUID // the correlation of all that is inserted
}

func newWorld(tb testing.TB, url string, plain bool) *world {
	tb.Helper()
	w := &world{TB: tb, url: url, plain: plain, sink: memsink.New(nil), story: uuid.New(), timeout: 30 * time.Second}
	w.do = func(context.Context, *river.Job[task]) error { return nil }
	config, err := pgxpool.ParseConfig(url)
	require.NoError(tb, err)
	config.MaxConns = 8
	w.pool, err = pgxpool.NewWithConfig(context.Background(), config)
	require.NoError(tb, err)
	tb.Cleanup(w.pool.Close)
	w.openAudit(nil)
	tb.Cleanup(func() { require.NoError(tb, w.rec.Close(context.Background())) })
	return w
}

func (w *world) openAudit(opts *jobaudit.Options) {
	w.Helper()
	if opts == nil {
		opts = &jobaudit.Options{}
	}
	opts.OnError = func(_ context.Context, err *jobaudit.AuditError) { w.Errorf("complaint: %v", err) }
	rec, err := jobaudit.Open(context.Background(), w.sink, jobaudit.Source{System: "shop", Environment: "test"}, opts)
	require.NoError(w, err)
	w.rec = rec
	w.audit = riveraudit.New(rec, &riveraudit.Options{
		Logs: []jobaudit.AuditReader{w.sink}, Submission: w.asking, OnError: func(_ context.Context, err error) { w.Errorf("complaint: %v", err) },
		Snooze: time.Millisecond,
	})
}

func (w *world) asking(context.Context, *rivertype.JobInsertParams) jobaudit.Submission {
	return jobaudit.Submission{
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada", Verified: true}, OrgID: "acme",
		Trigger: jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "the test asks"}, CorrelationID: w.story,
	}
}

func (w *world) config() *river.Config {
	config := &river.Config{
		FetchCooldown: 5 * time.Millisecond, FetchPollInterval: 20 * time.Millisecond,
		Logger: slog.New(slog.DiscardHandler), RetryPolicy: soon{}, TestOnly: true, ErrorHandler: w.handler,
	}
	if w.rescue > 0 {
		config.JobTimeout, config.RescueStuckJobsAfter = w.rescue/2, w.rescue
	}
	if !w.plain {
		config.Middleware = []rivertype.Middleware{w.audit}
		config.ErrorHandler = w.audit.ErrorHandler(w.handler)
	}
	return config
}

// inserter returns a client that runs nothing.
func (w *world) inserter() *river.Client[pgx.Tx] {
	w.Helper()
	client, err := river.NewClient(riverpgxv5.New(w.pool), w.config())
	require.NoError(w, err)
	return client
}

// start starts a client that runs tasks.
func (w *world) start() {
	w.Helper()
	workers := river.NewWorkers()
	river.AddWorker(workers, &worker{w: w})
	config := w.config()
	config.Workers = workers
	config.Queues = map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 10}}
	client, err := river.NewClient(riverpgxv5.New(w.pool), config)
	require.NoError(w, err)
	w.client, w.admin = client, w.audit.NewAdmin(client)
	if !w.plain {
		w.follow = w.audit.Follow(w.Context(), client, nil)
	}
	require.NoError(w, client.Start(context.Background()))
}

func newClient(w *world, config *river.Config) *river.Client[pgx.Tx] {
	w.Helper()
	client, err := river.NewClient(riverpgxv5.New(w.pool), config)
	require.NoError(w, err)
	return client
}

// startClient starts a client that another configuration than the world's makes.
func startClient(w *world, config *river.Config) (*river.Client[pgx.Tx], *riveraudit.Follower) {
	w.Helper()
	client := newClient(w, config)
	follower := w.audit.Follow(w.Context(), client, nil)
	require.NoError(w, client.Start(context.Background()))
	return client, follower
}

// stop stops the client, cancelling what runs if it should.
func (w *world) stop(cancelling bool) {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	if cancelling {
		require.NoError(w, w.client.StopAndCancel(ctx))
	} else {
		require.NoError(w, w.client.Stop(ctx))
	}
	if w.follow != nil {
		require.NoError(w, w.follow.Stop(ctx))
		w.follow = nil
	}
}

func (w *world) insert(args river.JobArgs, opts *river.InsertOpts) int64 {
	w.Helper()
	result, err := w.inserter().Insert(w.Context(), args, opts)
	require.NoError(w, err)
	return result.Job.ID
}

func (w *world) row(id int64) *rivertype.JobRow {
	w.Helper()
	row, err := w.inserter().JobGet(w.Context(), id)
	require.NoError(w, err)
	return row
}

// await polls River's table, which offers nothing else, until a job is in a
// state.
func (w *world) await(id int64, state rivertype.JobState) {
	w.Helper()
	w.until(fmt.Sprintf("job %d is %s", id, state), func() bool {
		var now string
		err := w.pool.QueryRow(w.Context(), "SELECT state FROM river_job WHERE id = $1", id).Scan(&now)
		return err == nil && now == string(state)
	})
}

func (w *world) until(what string, is func() bool) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 10*time.Minute)
	defer cancel()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !is() {
		select {
		case <-ctx.Done():
			require.Fail(w, "never: "+what)
		case <-ticker.C:
		}
	}
}

func (w *world) reconcile() queue.Report {
	w.Helper()
	report, err := w.audit.Reconcile(w.Context(), w.inserter(), &queue.ReconcileOptions{Settle: -1})
	require.NoError(w, err)
	return report
}

// by is who does something to River's jobs by hand.
func by() jobaudit.Submission {
	return jobaudit.Submission{
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "grace", Verified: true},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "a customer asked"},
	}
}

// cancel cancels a job as people do: through the adapter, if it is there.
func (w *world) cancel(id int64) {
	w.Helper()
	var err error
	if w.plain {
		_, err = w.client.JobCancel(w.Context(), id)
	} else {
		_, err = w.admin.JobCancel(w.Context(), by(), id)
	}
	require.NoError(w, err)
}

// recorded returns what is on record of a row.
func (w *world) recorded(id int64) (jobaudit.Job, []jobaudit.Event) {
	w.Helper()
	jobID, err := w.audit.JobID(w.Context(), w.row(id))
	require.NoError(w, err)
	return w.replay(jobID)
}

func (w *world) replay(id uuid.UUID) (jobaudit.Job, []jobaudit.Event) {
	w.Helper()
	records := w.sink.Records(w.Context(), jobaudit.Query{JobID: id})
	job, err := jobaudit.Replay(records)
	require.NoError(w, err)
	var events []jobaudit.Event
	for r, err := range records {
		require.NoError(w, err)
		events = append(events, r.Event())
	}
	return job, events
}

// childURL is set in the environment of a worker process of its own, and holds
// the URL of its database.
const childURL = "RIVERAUDIT_TEST_CHILD"

// pipeSink is a sink whose medium is another process, behind stdin and stdout.
type pipeSink struct {
	mu sync.Mutex
	in *bufio.Reader
}

func (s *pipeSink) Append(_ context.Context, records []jobaudit.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var batch strings.Builder
	for _, r := range records {
		batch.Write(r.Bytes())
		batch.WriteByte('\n')
	}
	if _, err := fmt.Print(batch.String() + "\n"); err != nil {
		return err
	}
	_, err := s.in.ReadString('\n')
	return err
}

// child runs tasks, which never end, in a process of its own.
func child(url string) error {
	ctx := context.Background()
	rec, err := jobaudit.Open(ctx, &pipeSink{in: bufio.NewReader(os.Stdin)}, jobaudit.Source{System: "shop", Environment: "test"}, nil)
	if err != nil {
		return err
	}
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return err
	}
	w := &world{timeout: -1, do: func(ctx context.Context, _ *river.Job[task]) error {
		<-ctx.Done()
		return ctx.Err()
	}}
	workers := river.NewWorkers()
	river.AddWorker(workers, &worker{w: w})
	config := &river.Config{
		Workers: workers, Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 1}},
		Logger: slog.New(slog.DiscardHandler), LeaderElectionDisabled: true,
	}
	if os.Getenv("RIVERAUDIT_TEST_PLAIN") == "" {
		audit := riveraudit.New(rec, nil)
		config.Middleware = []rivertype.Middleware{audit}
		config.ErrorHandler = audit.ErrorHandler(nil)
	}
	client, err := river.NewClient(riverpgxv5.New(pool), config)
	if err != nil {
		return err
	}
	if err := client.Start(ctx); err != nil {
		return err
	}
	<-client.Stopped() // it is killed before
	return nil
}
