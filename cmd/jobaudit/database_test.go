package main_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/pgserver"
	"github.com/jobaudit/jobaudit/internal/tools/verifier"
	"github.com/jobaudit/jobaudit/sink/pgsink"
)

// newDatabase makes a database with the tables and returns its URL.
func newDatabase(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("it needs a PostgreSQL server of its own")
	}
	server, err := pgserver.Start(context.WithoutCancel(t.Context()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	config, err := pgx.ParseConfig(server.URL("postgres"))
	require.NoError(t, err)
	url := "postgres://postgres@/postgres?host=" + config.Host
	c := run(t, "migrate", url)
	require.Zero(t, c.code, c.err)
	require.Zero(t, run(t, "migrate", url).code, "again")
	return url
}

// sequencer starts a sequencer as a process of its own.
func sequencer(t *testing.T, url, key string, args ...string) (stop func()) {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program, append([]string{"sequence", url, "--key", key}, args...)...)
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(stderr).ReadString('\n')
	require.NoError(t, err)
	require.Regexp(t, "signing for example.com/jobs(/s2)? in postgres:///postgres", line)
	stop = sync.OnceFunc(func() {
		require.NoError(t, cmd.Process.Signal(os.Interrupt))
		require.NoError(t, cmd.Wait(), "an interrupt is how it ends")
	})
	t.Cleanup(stop)
	return stop
}

func TestADatabaseIsReadAndProvedLikeADirectory(t *testing.T) {
	url := newDatabase(t)
	base := t.TempDir()
	key, anchor := filepath.Join(base, "key"), filepath.Join(base, "anchor")
	c := run(t, "key", key, "--create", "example.com/jobs")
	require.Zero(t, c.code, c.err)
	public := strings.TrimSpace(c.out)
	require.Equal(t, 3, run(t, "key", key, "--create", "example.com/jobs").code, "it stays")
	require.Equal(t, 3, run(t, "verify", url, "--key", public).code, "an empty log")

	sink, err := pgsink.Open(t.Context(), url, nil)
	require.NoError(t, err)
	l := &aLog{key: key, dir: url}
	l.recorder, err = jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "indexer", Environment: "test"}, nil)
	require.NoError(t, err)
	before := l.job(t, t.Context(), "reindex", func(context.Context, *jobaudit.Trail) error { return nil })
	require.Contains(t, run(t, "show", url, before.String()).out, "reindex", "nobody has signed yet")

	stop := sequencer(t, url, key, "--anchor", anchor)
	l.failed = l.job(t, t.Context(), "delete", func(context.Context, *jobaudit.Trail) error { return os.ErrPermission })
	require.NoError(t, sink.Sequenced(t.Context()))
	require.Zero(t, run(t, "sequence", url, "--probe").code)

	records := l.events(t, "--job", l.failed.String())
	require.Equal(t, jobaudit.JobFailed, records[len(records)-1].Type())
	checkpoint := run(t, "checkpoint", url, "--key", public)
	require.Zero(t, checkpoint.code, checkpoint.err)
	kept := filepath.Join(base, "kept")
	require.NoError(t, os.WriteFile(kept, []byte(checkpoint.out), 0o600))

	l.follows(t, url)
	require.NoError(t, l.recorder.Close(t.Context()))
	require.NoError(t, sink.Sequenced(t.Context()))
	stop()
	c, v := l.verify(t, "--key", public, "--anchor", kept, "--anchor", anchor)
	require.Zero(t, c.code, "%s%s", c.out, c.err)
	require.Equal(t, "L2", v.Level)
	require.Contains(t, run(t, "verify", url, "--key", public).out, "verified L1")

	proof := filepath.Join(base, "proof")
	require.Zero(t, run(t, "prove", url, records[0].ID().String(), "--key", public, "-o", proof).code)
	require.Zero(t, run(t, "check-proof", proof, "--key", public).code)

	l.copies(t, url, filepath.Join(base, "copy"), public)
	l.hasCompanion(t, url, public)
	execute(t, url, `SET session_replication_role = replica; UPDATE jobaudit.events SET line = set_byte(line, 100, get_byte(line, 100) # 1) WHERE idx = 3`)
	c, v = l.verify(t, "--key", public)
	require.Equal(t, 1, c.code)
	require.EqualValues(t, 3, v.Findings[0].Index)
	require.Contains(t, run(t, "list", url).err, "left out that cannot be read")
	require.NoError(t, sink.Close())
}

// follows runs tail -f, as events come.
func (l *aLog) follows(t *testing.T, url string) {
	t.Helper()
	require.Len(t, strings.Split(strings.TrimSpace(run(t, "tail", url, "-n", "3").out), "\n"), 3)
	cmd := exec.CommandContext(t.Context(), program, "tail", "-f", "-n", "1", "--json", url)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewReader(out)
	next := func() jobaudit.Record {
		line, err := lines.ReadBytes('\n')
		require.NoError(t, err)
		r, err := jobaudit.ParseRecord(line[:len(line)-1])
		require.NoError(t, err)
		return r
	}
	require.Equal(t, l.failed, next().JobID(), "the newest, and then it follows")
	more := l.job(t, t.Context(), "more", func(context.Context, *jobaudit.Trail) error { return nil })
	for r := next(); r.Type() != jobaudit.JobSucceeded; r = next() {
		require.Equal(t, more, r.JobID())
	}
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.NoError(t, cmd.Wait())
}

// copies requires that a copy in files is the same log, for us and for others.
func (l *aLog) copies(t *testing.T, url, dir, public string) {
	t.Helper()
	for range 2 {
		c := run(t, "copy", url, dir, "--key", public)
		require.Zero(t, c.code, c.err)
	}
	require.Equal(t, run(t, "list", url, "--json").out, run(t, "list", dir, "--json").out)
	require.Equal(t, run(t, "checkpoint", url).out, run(t, "checkpoint", dir).out)
	_, err := verifier.Verify(dir, public)
	require.NoError(t, err)
}

func execute(t *testing.T, url, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	_, err = conn.Exec(t.Context(), sql)
	require.NoError(t, err)
}

// hasCompanion records a review of a database's log, and holds the log to the head
// that it names.
func (l *aLog) hasCompanion(t *testing.T, url, public string) {
	t.Helper()
	base := t.TempDir()
	dir, key := filepath.Join(base, "acts"), filepath.Join(base, "acts.key")
	c := run(t, "act", "reviewed", url, "--in", dir, "--key", key, "--by", "user:ada", "--reason", "the quarterly review")
	require.Zero(t, c.code, c.out+c.err)
	with := []string{"verify", url, "--key", public, "--companion", dir, "--companion-key", key}
	c = run(t, with...)
	require.Zero(t, c.code, c.out+c.err)
	require.Contains(t, c.out, "companion")

	other := newDatabase(t) // a log of the same name, which was begun again
	stop := sequencer(t, other, l.key)
	sink, err := pgsink.Open(t.Context(), other, nil)
	require.NoError(t, err)
	r, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "indexer", Environment: "test"}, nil)
	require.NoError(t, err)
	require.NoError(t, r.Close(t.Context()))
	require.NoError(t, sink.Sequenced(t.Context()))
	stop()
	with[1] = other
	c = run(t, with...)
	require.Equal(t, 1, c.code, c.out+c.err)
	require.Contains(t, c.out, "which the companion example.com/jobs/acts names")
	require.NoError(t, sink.Close())
}

func TestWrongCallsAboutDatabasesAreTold(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	require.Zero(t, run(t, "key", key, "--create", "example.com/jobs").code)
	nowhere := "postgres://me:hunter2@localhost:1/db?sslmode=disable&password=hunter2"
	for _, tc := range []struct {
		code int
		args []string
	}{
		{0, []string{"migrate", "--print"}},
		{2, []string{"migrate"}},
		{2, []string{"migrate", "."}},
		{2, []string{"migrate", "--print", nowhere}},
		{2, []string{"sequence", ".", "--key", key}},
		{2, []string{"sequence", nowhere}},
		{3, []string{"sequence", nowhere, "--key", "no-such-file"}},
		{3, []string{"sequence", nowhere, "--key", program}},
		{3, []string{"sequence", nowhere, "--probe"}},
		{3, []string{"sequence", nowhere, "--probe", "--grace", "8s"}},
		{2, []string{"sequence", nowhere, "--probe", "--grace", "0s"}},
		{2, []string{"sequence", nowhere, "--grace", "8s"}},
		{3, []string{"migrate", nowhere}},
		{3, []string{"list", nowhere}},
		{3, []string{"show", nowhere, uuid.NewString()}},
		{3, []string{"verify", nowhere, "--key", key}},
		{3, []string{"copy", nowhere, "copy", "--key", key}},
		{2, []string{"key", filepath.Join(t.TempDir(), "new"), "--create", "http://x y"}},
	} {
		c := run(t, tc.args...)
		require.Equal(t, tc.code, c.code, "%v: %s%s", tc.args, c.out, c.err)
		require.NotContains(t, c.err, "hunter2")
	}
}

func TestOfADatabaseAnotherLogsKeyIsSaidInOneSentence(t *testing.T) {
	url := newDatabase(t)
	base := t.TempDir()
	key := filepath.Join(base, "key")
	require.Zero(t, run(t, "key", key, "--create", "example.com/jobs").code)
	sink, err := pgsink.Open(t.Context(), url, nil)
	require.NoError(t, err)
	recorder, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "indexer", Environment: "test"}, nil)
	require.NoError(t, err)
	l := &aLog{key: key, dir: url, recorder: recorder}
	stop := sequencer(t, url, key)
	for range 5 {
		l.job(t, t.Context(), "reindex", func(context.Context, *jobaudit.Trail) error { return nil })
		require.NoError(t, sink.Sequenced(t.Context()))
	}
	stop()
	require.NoError(t, recorder.Close(t.Context()))
	require.NoError(t, sink.Close())
	for origin, want := range map[string]string{"example.com/other": "This is the log example.com/jobs", "example.com/jobs": "Nothing in this log is signed by"} {
		other := strings.TrimSpace(run(t, "key", filepath.Join(base, filepath.Base(origin)+"2"), "--create", origin).out)
		c := run(t, "verify", url, "--key", other)
		require.Equal(t, 1, c.code)
		require.Contains(t, c.out, want)
		require.Equal(t, 1, strings.Count(c.out, "\n"), c.out)
	}
}
