package main_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink"
)

func TestSinceShowsWhatIsNewAndThatNothingBeforeChanged(t *testing.T) {
	l := newLog(t).close(t)
	heads := filepath.Join(t.TempDir(), "heads")
	require.NoError(t, os.WriteFile(heads, []byte(run(t, "checkpoint", l.dir).out), 0o600))

	c := run(t, "since", heads, l.dir, "--key", l.key)
	require.Zero(t, c.code, c.err)
	require.Contains(t, c.out, "nothing changed up to size")
	require.Contains(t, c.out, "and 0 events since")

	before := len(l.events(t))
	l.reopen(t)
	l.job(t, t.Context(), "archive", nothing)
	l.close(t)
	c = run(t, "since", heads, l.dir, "--key", l.key, "--json")
	require.Zero(t, c.code, c.err)
	require.Equal(t, len(l.events(t))-before, strings.Count(c.out, "\n"), "each new event, and no other line")
	c = run(t, "since", heads, l.dir, "--keep", heads)
	require.Zero(t, c.code, c.err)
	require.Contains(t, c.out, "archive")
	require.NotContains(t, c.out, "reindex")
	require.Contains(t, c.out, "1 job.succeeded")
	c = run(t, "since", heads, l.dir)
	require.Contains(t, c.out, "and 0 events since", "the new head was kept")
}

// A head whose signature is cut off shows nothing any more: it must not be passed over, and
// --keep must not drop it.
func TestSinceRefusesAKeptHeadThatIsCutOff(t *testing.T) {
	l := newLog(t).close(t)
	good := run(t, "checkpoint", l.dir).out
	unsigned := strings.Split(good, "\n\n")[0]
	for _, text := range []string{good + "\n" + unsigned + "\n", good + "\n" + good[:40], good[:40] + "\n\n" + good, unsigned + "\n\n" + good,
		good[:20] + good, good + "x\n"} {
		heads := filepath.Join(t.TempDir(), "heads")
		require.NoError(t, os.WriteFile(heads, []byte(text), 0o600))
		c := run(t, "since", heads, l.dir, "--keep", heads)
		require.NotZero(t, c.code, text)
		require.NotContains(t, c.out, "proven", text)
		kept, err := os.ReadFile(heads)
		require.NoError(t, err)
		require.Equal(t, text, string(kept))
	}
	heads := filepath.Join(t.TempDir(), "heads")
	require.NoError(t, os.WriteFile(heads, []byte("\n"+good+"\n\n\n"+good+"\n"), 0o600))
	require.Zero(t, run(t, "since", heads, l.dir).code)
}

func TestSinceKeepsTheHeadsOfLogsThatItDoesNotLookAt(t *testing.T) {
	t.Parallel()
	l, other, third := newLog(t).close(t), newNamedLog(t, "example.com/web").close(t), newNamedLog(t, "example.com/mail").close(t)
	logs := []*aLog{l, other, third}
	heads, kept := filepath.Join(t.TempDir(), "heads"), filepath.Join(t.TempDir(), "kept")
	var text strings.Builder
	for _, x := range logs {
		text.WriteString(run(t, "checkpoint", x.dir).out)
	}
	for named := 1; named < 8; named++ { // each set of logs
		require.NoError(t, os.WriteFile(heads, []byte(text.String()), 0o600))
		for _, file := range []string{kept, heads} {
			args := []string{"since", heads}
			for i, x := range logs {
				if named>>i&1 == 1 {
					args = append(args, x.dir)
				}
			}
			c := run(t, append(args, "--keep", file)...)
			require.Zero(t, c.code, c.err)
			for i, name := range []string{"", "example.com/web", "example.com/mail"} {
				require.Equal(t, i > 0 && named>>i&1 == 0, i > 0 && strings.Contains(c.err, "the head of "+name+" is kept as it was"), c.err)
			}
			c = run(t, "since", file, l.dir, other.dir, third.dir)
			require.Zero(t, c.code, c.err)
			require.Equal(t, 3, strings.Count(c.out, "and 0 events since"), c.out)
		}
	}
}

func TestSinceFindsAChangeBeforeTheKeptHead(t *testing.T) {
	l, other := newLog(t).close(t), newNamedLog(t, "example.com/web").close(t)
	heads := filepath.Join(t.TempDir(), "heads")
	require.NoError(t, os.WriteFile(heads, []byte(run(t, "checkpoint", l.dir).out+run(t, "checkpoint", other.dir).out), 0o600))
	c := run(t, "since", heads, l.dir, other.dir, "--key", l.key, "--key", other.key)
	require.Zero(t, c.code, c.err)
	require.Contains(t, c.out, "example.com/web")

	// The holder of the key writes the log again, and one line otherwise.
	path, text := l.segment(t)
	l.rewriteReplacing(t, "the disk is full", "the disk is fine")
	kept, err := os.ReadFile(heads)
	require.NoError(t, err)
	c = run(t, "since", heads, l.dir, other.dir, "--key", l.key, "--key", other.key, "--keep", heads)
	require.Equal(t, 1, c.code, c.out)
	require.Contains(t, c.err, "CHANGED")
	require.Contains(t, c.out, "example.com/web: nothing changed", "the other log is looked at all the same")
	again, err := os.ReadFile(heads)
	require.NoError(t, err)
	require.Equal(t, kept, again, "the evidence is not replaced")

	// Cut short.
	lines := strings.SplitAfter(text, "\n")
	at := len(lines) - 2
	for at--; !strings.HasPrefix(lines[at], `{"checkpoint":`); at-- {
	}
	require.NoError(t, os.WriteFile(path, []byte(strings.Join(lines[:at+1], "")), 0o600))
	c = run(t, "since", heads, l.dir, "--key", l.key)
	require.Equal(t, 1, c.code, c.out)
	require.Contains(t, c.err, "truncated")

	// The kept head itself was changed.
	require.NoError(t, os.WriteFile(heads, []byte(strings.Replace(string(kept), "\n\n", "\nmore\n\n", 1)), 0o600))
	c = run(t, "since", heads, l.dir, "--key", l.key)
	require.Equal(t, 1, c.code)
	require.Contains(t, c.err, "bad signature")
}

func TestSinceProvesEachKeptHeadAndNotOnlyTheLargest(t *testing.T) {
	base := t.TempDir()
	key, heads := filepath.Join(base, "key"), filepath.Join(base, "heads")
	first := run(t, "checkpoint", writeLog(t, key, 5, 8)).out
	dir := writeLog(t, key, 5, 8, 9) // written again with the key
	second := run(t, "checkpoint", dir).out
	require.NoError(t, os.WriteFile(filepath.Join(base, "vkey"), []byte(run(t, "key", key).out), 0o600))
	for _, text := range []string{first + second, second + first, first + "\n" + second} {
		require.NoError(t, os.WriteFile(heads, []byte(text), 0o600))
		c := run(t, "since", heads, dir, "--key", filepath.Join(base, "vkey"), "--keep", heads)
		require.Equal(t, 1, c.code, c.out)
		require.Contains(t, c.err, "CHANGED")
		require.NotContains(t, c.out, "proven")
		kept, err := os.ReadFile(heads)
		require.NoError(t, err)
		require.Equal(t, text, string(kept), "the head that contradicts the log is not dropped")
	}
	require.NoError(t, os.WriteFile(heads, []byte(second+second), 0o600))
	c := run(t, "since", heads, dir, "--key", filepath.Join(base, "vkey"))
	require.Zero(t, c.code, c.err)
	require.Contains(t, c.out, "and 0 events since")
}

// A loss that is known is accepted once, where the log itself says so.
func TestSinceAcceptsALossThatTheLogNames(t *testing.T) {
	l := newLog(t).close(t)
	base := t.TempDir()
	backup, heads := filepath.Join(base, "backup"), filepath.Join(base, "heads")
	before := run(t, "checkpoint", l.dir).out
	require.NoError(t, os.CopyFS(backup, os.DirFS(l.dir)))
	l.reopen(t)
	l.job(t, t.Context(), "archive", nothing)
	l.close(t)
	lost := run(t, "checkpoint", l.dir).out
	named := strings.Split(lost, "\n")[1] + ":" + strings.Split(lost, "\n")[2]
	require.NoError(t, os.RemoveAll(l.dir))
	require.NoError(t, os.CopyFS(l.dir, os.DirFS(backup)))
	require.NoError(t, os.WriteFile(heads, []byte(lost), 0o600))
	c := run(t, "since", heads, l.dir, "--key", l.key, "--accept-loss", named)
	require.Equal(t, 1, c.code, "the log says nothing of it")

	require.Zero(t, run(t, "repair", l.dir, "--key", l.key, "--yes").code)
	for _, kept := range []string{lost, before + lost} {
		require.NoError(t, os.WriteFile(heads, []byte(kept), 0o600))
		since := func(args ...string) call {
			return run(t, append([]string{"since", heads, l.dir, "--key", l.key, "--key", l.key + ".successor", "--keep", heads}, args...)...)
		}
		c = since()
		require.Equal(t, 1, c.code, c.out)
		require.Contains(t, c.err, "CHANGED")
		require.Contains(t, c.err, "--accept-loss "+named)
		require.Equal(t, 2, since("--accept-loss", "no head").code)
		require.Equal(t, 1, since("--accept-loss", strings.Split(lost, "\n")[1]+":"+strings.Split(before, "\n")[2]).code, "another head")
		c = since("--accept-loss", named)
		require.Zero(t, c.code, c.err)
		require.Contains(t, c.err, "is lost, which is accepted")
		require.Contains(t, c.out, "audit.opened")
		require.Equal(t, kept != lost, !strings.Contains(c.out, "reindex"), "what came behind the kept head that is left")
		c = since()
		require.Zero(t, c.code, "the lost head is kept no more: %s", c.err)
		require.Contains(t, c.out, "and 0 events since")
	}
}

func TestSinceSaysWhichHeadIsMissing(t *testing.T) {
	l, other := newLog(t).close(t), newNamedLog(t, "example.com/web").close(t)
	heads := filepath.Join(t.TempDir(), "heads")
	require.NoError(t, os.WriteFile(heads, []byte(run(t, "checkpoint", l.dir).out), 0o600))
	c := run(t, "since", heads, other.dir)
	require.Equal(t, 3, c.code)
	require.Contains(t, c.err, "no head of the log example.com/web was kept")
	require.NoError(t, os.WriteFile(heads, []byte("nothing\n"), 0o600))
	require.Contains(t, run(t, "since", heads, l.dir).err, "holds no signed head")
	require.Contains(t, run(t, "since", heads+"x", l.dir).err, "no such file")
}

// rewriteReplacing makes the log again with its key, as if it had said something
// else.
func (l *aLog) rewriteReplacing(t testing.TB, old, text string) {
	t.Helper()
	path, content := l.segment(t)
	secret, err := os.ReadFile(l.key)
	require.NoError(t, err)
	signer, err := note.NewSigner(strings.TrimSpace(string(secret)))
	require.NoError(t, err)
	var tree auditlog.Tree
	var out []byte
	for line := range strings.Lines(strings.ReplaceAll(content, old, text)) {
		if leaf := []byte(strings.TrimSuffix(line, "\n")); !auditlog.IsCommit(leaf) {
			tree.Append(nil, auditlog.HashLeaf(leaf))
			out = append(out, line...)
		}
	}
	c, err := tree.Sign(signer)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, append(auditlog.AppendCommit(out, c), '\n'), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(l.dir, "checkpoint"), c.Signed(), 0o600))
}

// newNamedLog is a log of another name, with one job.
func newNamedLog(t testing.TB, origin string) *aLog {
	t.Helper()
	base := t.TempDir()
	l := &aLog{dir: filepath.Join(base, "log"), key: filepath.Join(base, "log.key")}
	key, err := filesink.LoadOrCreateKey(l.dir, l.key, origin)
	require.NoError(t, err)
	l.sink, err = filesink.Open(t.Context(), l.dir, key, nil)
	require.NoError(t, err)
	l.recorder, err = jobaudit.Open(t.Context(), l.sink, jobaudit.Source{System: "web", Environment: "test"}, nil)
	require.NoError(t, err)
	l.parent = l.job(t, t.Context(), "upload", nothing)
	return l
}

func nothing(context.Context, *jobaudit.Trail) error { return nil }
