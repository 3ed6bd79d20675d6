package main_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/pgsink"
)

func TestAJobIsProvenInOneFileWithoutTheLog(t *testing.T) {
	l := newLog(t).close(t)
	file := filepath.Join(t.TempDir(), "job.evidence")
	c := run(t, "prove", l.dir, "--job", l.failed.String(), "-o", file)
	require.Zero(t, c.code, c.err)
	public := strings.TrimSpace(run(t, "key", l.key).out)
	require.NoError(t, os.RemoveAll(l.dir))

	c = run(t, "check-proof", file, "--key", public)
	require.Zero(t, c.code, c.err)
	require.Contains(t, c.out, "proven 5 events")
	require.Contains(t, c.out, "1 job, 1 stream, each from its first event on without a gap")
	require.Contains(t, c.out, "nobody signed but who made the file")
	require.Contains(t, c.out, "the disk is full")

	c = run(t, "check-proof", file, "--key", public, "--json")
	require.Zero(t, c.code, c.err)
	require.Equal(t, 5, strings.Count(c.out, "\n"))
	last := c.out[strings.LastIndex(strings.TrimSpace(c.out), "\n")+1:]
	id := last[strings.Index(last, `"id":"`)+6:][:36]
	one := filepath.Join(t.TempDir(), "one.tlog-proof")
	c = run(t, "check-proof", file, "--key", public, "--event", id, "-o", one)
	require.Zero(t, c.code, c.err)
	c = run(t, "check-proof", one, "--key", public)
	require.Zero(t, c.code, c.err)
	require.Contains(t, c.out, "proven the log holds this event")
	require.Zero(t, run(t, "check-proof", one, "--key", public, "--event", id).code)
	c = run(t, "check-proof", one, "--key", public, "--event", l.failed.String())
	require.Equal(t, 1, c.code, "it is the proof of another event")
	require.Empty(t, c.out)
	require.Contains(t, c.err, l.failed.String())

	text, err := os.ReadFile(file)
	require.NoError(t, err)
	at := strings.LastIndex(string(text), "extra ") + 600
	text[at] ^= 1
	require.NoError(t, os.WriteFile(file, text, 0o600))
	c = run(t, "check-proof", file, "--key", public)
	require.Equal(t, 1, c.code)
	require.Contains(t, c.err, "NOT PROVEN")
	require.Contains(t, c.err, id, "the event is named")
}

func TestAJobIsNotProvenFromALogThatWasChanged(t *testing.T) {
	l := newLog(t).close(t)
	path, text := l.segment(t)
	require.NoError(t, os.WriteFile(path, []byte(strings.Replace(text, "the disk is full", "the disk is fine", 1)), 0o600))
	c := run(t, "prove", l.dir, "--job", l.parent.String(), "-o", "-")
	require.Equal(t, 1, c.code, c.err)
	require.Contains(t, c.err, "does not verify")
	require.Empty(t, c.out)
}

func TestWhatCannotBeProvenIsTold(t *testing.T) {
	t.Parallel()
	l, other := newLog(t).close(t), newLog(t).close(t)
	tooLarge := filepath.Join(t.TempDir(), "large")
	require.NoError(t, os.WriteFile(tooLarge, nil, 0o600))
	require.NoError(t, os.Truncate(tooLarge, 1<<30))
	for _, tc := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"prove", l.dir}, 2, "--job JOB-ID"},
		{[]string{"prove", l.dir, "--job", "x"}, 2, "no UUID"},
		{[]string{"prove", l.dir, "--job", uuid.NewString(), "-o", "-"}, 3, "no such job"},
		{[]string{"prove", l.dir, other.dir, "--job", l.failed.String(), "-o", "-"}, 3, "given twice"},
		{[]string{"prove", l.dir, "--job", l.failed.String(), "--key", other.key, "-o", "-"}, 3, "not signed by the given key"},
		{[]string{"prove", t.TempDir(), "--job", l.failed.String(), "-o", "-"}, 3, "is not a log"},
		{[]string{"check-report", tooLarge, "--key", l.key}, 3, "larger than such a file can be"},
		{[]string{"check-proof", tooLarge, "--key", l.key}, 3, "larger than such a file can be"},
		{[]string{"check-report", l.key, "--key", l.key}, 1, "no evidence in the page"},
		{[]string{"check-proof", l.key, "--key", l.key}, 1, "NOT PROVEN"},
	} {
		c := run(t, tc.args...)
		require.Equal(t, tc.code, c.code, "%v: %s", tc.args, c.err)
		require.Contains(t, c.err, tc.want)
	}
}

func TestAJobIsProvenFromAMirror(t *testing.T) {
	l := newLog(t).close(t)
	target := filepath.Join(t.TempDir(), "mirror")
	key := l.verifier(t)
	require.Zero(t, run(t, "mirror", l.dir, target, "--key", key, "--once", "--create").code)
	for _, source := range []string{target, l.dir} {
		c := run(t, "prove", source, "--job", l.parent.String(), "--key", key, "-o", filepath.Join(target, "proof"))
		require.Zero(t, c.code, c.err)
		c = run(t, "check-proof", filepath.Join(target, "proof"), "--key", key)
		require.Zero(t, c.code, c.err)
		require.Contains(t, c.out, "1 job, 1 stream")
	}
	heads := filepath.Join(t.TempDir(), "heads")
	require.NoError(t, os.WriteFile(heads, []byte(run(t, "checkpoint", l.dir).out), 0o600))
	c := run(t, "since", heads, target, "--key", key)
	require.Zero(t, c.code, c.err)
	require.Contains(t, c.out, "nothing changed up to size")
}

func TestAJobIsProvenFromADatabase(t *testing.T) {
	url := newDatabase(t)
	base := t.TempDir()
	l := &aLog{dir: url, key: filepath.Join(base, "key")}
	public := strings.TrimSpace(run(t, "key", l.key, "--create", "example.com/jobs").out)
	sink, err := pgsink.Open(t.Context(), url, nil)
	require.NoError(t, err)
	l.recorder, err = jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "indexer", Environment: "test"}, nil)
	require.NoError(t, err)
	stop := sequencer(t, url, l.key, "--anchor", filepath.Join(base, "anchor"))
	l.failed = l.job(t, t.Context(), "delete", func(context.Context, *jobaudit.Trail) error { return os.ErrPermission })
	require.NoError(t, l.recorder.Close(t.Context()))
	require.NoError(t, sink.Sequenced(t.Context()))
	stop()
	require.NoError(t, sink.Close())

	file := filepath.Join(base, "report.html")
	c := run(t, "report", url, "--job", l.failed.String(), "--key", public, "--html", file)
	require.Zero(t, c.code, c.err)
	c = run(t, "check-report", file, "--key", public)
	require.Zero(t, c.code, c.err)
	require.Contains(t, c.out, "permission denied")
	c = run(t, "review", url, "--since", "1h", "--log-key", public)
	require.Zero(t, c.code, c.err)
	require.Contains(t, c.out, "1 finding in the period")
}
