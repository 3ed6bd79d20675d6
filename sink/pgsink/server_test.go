package pgsink_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/tools/pgserver"
	"github.com/jobaudit/jobaudit/sink/pgsink"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
)

const origin = "example.com/pg"

var (
	shared     *pgserver.Server
	sharedErr  error
	startOnce  sync.Once
	databaseNo atomic.Int64
)

func TestMain(m *testing.M) {
	if url := os.Getenv(writerURL); url != "" {
		if err := writeUntilKilled(url); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
	flag.Parse()
	if withoutServers() {
		_ = flag.Set("test.skip", "^Example")
	}
	code := m.Run()
	if shared != nil {
		if err := shared.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// withoutServers: SHORT=1 is for machines without PostgreSQL, but where a version
// is named it is what the short tests are to run on.
func withoutServers() bool { return testing.Short() && os.Getenv(pgserver.BinEnv) == "" }

func needsServer(tb testing.TB) {
	tb.Helper()
	if withoutServers() {
		tb.Skip("it needs a PostgreSQL server of its own")
	}
}

// server returns the server that the tests share.
func server(tb testing.TB) *pgserver.Server {
	tb.Helper()
	needsServer(tb)
	startOnce.Do(func() {
		shared, sharedErr = pgserver.Start(context.Background())
		if sharedErr == nil {
			sharedErr = makeTemplate(shared)
		}
	})
	require.NoError(tb, sharedErr)
	return shared
}

// makeTemplate makes the database of which each test gets a copy.
func makeTemplate(s *pgserver.Server) error {
	ctx := context.Background()
	if err := execOn(ctx, s.URL("postgres"), `CREATE DATABASE prepared ENCODING 'UTF8' TEMPLATE template0`); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, s.URL("prepared"))
	if err != nil {
		return err
	}
	return errors.Join(pgsink.Migrate(ctx, conn, nil), conn.Close(ctx))
}

func execOn(ctx context.Context, url, sql string, args ...any) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql, args...)
	return errors.Join(err, conn.Close(ctx))
}

// database makes a database with the tables and returns its connection string.
func database(tb testing.TB) string {
	tb.Helper()
	return copyOf(tb, "prepared")
}

// copyOf makes a database that is a copy of another one, and returns its connection string.
func copyOf(tb testing.TB, name string) string {
	tb.Helper()
	s, made := server(tb), fmt.Sprintf("d%d", databaseNo.Add(1))
	require.NoError(tb, execOn(context.Background(), s.URL("postgres"), `CREATE DATABASE `+made+` TEMPLATE `+name))
	return s.URL(made)
}

// execute runs SQL as the superuser, whom nothing stops.
func execute(tb testing.TB, url, sql string, args ...any) {
	tb.Helper()
	require.NoError(tb, execOn(context.Background(), url, sql, args...))
}

// key is a log's key.
type key struct {
	note.Signer
	note.Verifier
	secret, public string
}

func newKey(tb testing.TB) key {
	tb.Helper()
	return newKeyNamed(tb, origin)
}

func newKeyNamed(tb testing.TB, origin string) key {
	tb.Helper()
	secret, public, err := auditlog.GenerateKey(origin)
	require.NoError(tb, err)
	signer, err := note.NewSigner(secret)
	require.NoError(tb, err)
	verifier, err := note.NewVerifier(public)
	require.NoError(tb, err)
	return key{signer, verifier, secret, public}
}

func (k key) options() pgsink.SequencerOptions {
	// It looks often: the tests wait for it.
	return pgsink.SequencerOptions{Signer: k.Signer, Verifier: k.Verifier, MinPoll: 2 * time.Millisecond, MaxPoll: 20 * time.Millisecond}
}

// network makes the connections of a sink hang or break.
type network struct {
	mu      sync.Mutex
	blocked chan struct{} // closed when writes go on; nil while they do
	healthy int           // writes that still go through; -1 for all
	deaf    bool          // what is sent arrives, and no answer comes back
}

func newNetwork() *network { return &network{healthy: -1} }

func (n *network) configure(c *pgx.ConnConfig) {
	dial := c.DialFunc
	c.DialFunc = func(ctx context.Context, kind, addr string) (net.Conn, error) {
		conn, err := dial(ctx, kind, addr)
		if err != nil {
			return nil, err
		}
		return &wire{Conn: conn, network: n}, nil
	}
}

// hang makes every write wait.
func (n *network) hang() (heal func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	blocked := make(chan struct{})
	n.blocked = blocked
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		close(blocked)
		n.blocked = nil
	}
}

// fail lets so many writes through and breaks the connection at each one after.
func (n *network) fail(healthy int) (heal func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.healthy = healthy
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.healthy = -1
	}
}

// swallow lets what is sent arrive, and breaks the connection before its answer.
func (n *network) swallow() (heal func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.deaf = true
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.deaf = false
	}
}

// admit waits while the network hangs and returns an error when it is broken.
func (n *network) admit() error {
	n.mu.Lock()
	blocked := n.blocked
	n.mu.Unlock()
	if blocked != nil {
		<-blocked
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.healthy == 0 {
		return errors.New("the network is broken by the test")
	}
	if n.healthy > 0 {
		n.healthy--
	}
	return nil
}

type wire struct {
	net.Conn
	network *network
	cut     atomic.Bool // no answer comes through any more
}

// errCut is what is read from a connection that was cut before its answer.
var errCut = errors.New("the connection is cut by the test")

func (w *wire) Write(b []byte) (int, error) {
	if err := w.network.admit(); err != nil {
		_ = w.Conn.Close()
		return 0, err
	}
	w.network.mu.Lock()
	deaf := w.network.deaf
	w.network.mu.Unlock()
	// Execute: what was sent will be done.
	swallowed := deaf && bytes.Contains(b, []byte("E\x00\x00\x00\x09\x00"))
	if swallowed {
		// Before anything is sent: pgx reads in another goroutine where a write is slow.
		w.cut.Store(true)
	}
	n, err := w.Conn.Write(b)
	if swallowed {
		_ = w.Conn.(interface{ CloseWrite() error }).CloseWrite()
		_, _ = io.Copy(io.Discard, w.Conn) // the server has done it, and hung up
		_ = w.Conn.Close()
	}
	return n, err
}

func (w *wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if w.cut.Load() {
		return 0, errCut
	}
	return n, err
}
