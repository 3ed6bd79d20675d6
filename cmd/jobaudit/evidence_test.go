package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
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
	require.Contains(t, c.out, "1 job: 1 stream, each from its first event to its last here")
	require.Contains(t, c.out, "the word of who made the file")
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
	l, other := newLog(t).close(t), newLog(t).close(t)
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
		{[]string{"check-proof", l.key, "--key", l.key}, 1, "NOT PROVEN"},
	} {
		c := run(t, tc.args...)
		require.Equal(t, tc.code, c.code, "%v: %s", tc.args, c.err)
		require.Contains(t, c.err, tc.want)
	}
}
