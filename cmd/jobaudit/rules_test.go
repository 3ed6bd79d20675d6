package main_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheProgramSaysItsVersion(t *testing.T) {
	c := run(t, "version")
	require.Zero(t, c.code)
	require.Regexp(t, `^jobaudit \S+.* go1\.\d+`, c.out)
}

func TestVerifySaysWhichHeadIsSafeToKeep(t *testing.T) {
	l := newLog(t).close(t)
	c := run(t, "verify", l.dir, "--key", l.key)
	require.Contains(t, c.out, "this head is safe to keep")

	// The writer was killed before it could say that the newest commit is
	// durable.
	require.NoError(t, os.Remove(filepath.Join(l.dir, "checkpoint")))
	c = run(t, "verify", l.dir, "--key", l.key)
	sizes := regexp.MustCompile(`verified to (\d+); (\d+) is safe to keep`).FindStringSubmatch(c.out)
	require.Len(t, sizes, 3, c.out)
	require.NotEqual(t, sizes[1], sizes[2])
	c = run(t, "checkpoint", l.dir)
	require.Zero(t, c.code)
	require.Contains(t, c.out, "\n"+sizes[2]+"\n")
}

func TestALossIsAcceptedOnlyAsAHead(t *testing.T) {
	l := newLog(t).close(t)
	for _, arg := range []string{"", "3", "3:x", "x:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "no-such-file"} {
		require.Equal(t, 2, run(t, "verify", l.dir, "--key", l.key, "--accept-loss", arg).code, arg)
	}
	anchor, err := os.ReadFile(l.anchor())
	require.NoError(t, err)
	require.NotEmpty(t, anchor)
	c := run(t, "verify", l.dir, "--key", l.key, "--accept-loss", l.anchor())
	require.Zero(t, c.code, "nothing was lost: %s", c.err)
}

// TestALossIsAcceptedForTheLogThatTheHeadIsOf: the file says whose head it is.
func TestALossIsAcceptedForTheLogThatTheHeadIsOf(t *testing.T) {
	l := newLog(t).close(t)
	backup := filepath.Join(t.TempDir(), "backup")
	require.NoError(t, os.CopyFS(backup, os.DirFS(l.dir)))
	l.reopen(t)
	l.job(t, t.Context(), "archive", nothing)
	l.close(t)
	anchor, err := os.ReadFile(l.anchor())
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(l.dir))
	require.NoError(t, os.CopyFS(l.dir, os.DirFS(backup)))
	require.Zero(t, run(t, "repair", l.dir, "--key", l.key, "--yes").code)
	verify := func(lost string) call {
		return run(t, "verify", l.dir, "--key", l.key, "--key", l.key+".successor", "--anchor", l.anchor(), "--accept-loss", lost)
	}
	c := verify(l.anchor())
	require.Zero(t, c.code, c.out+c.err)
	other := filepath.Join(t.TempDir(), "other")
	require.NoError(t, os.WriteFile(other, append([]byte("example.com/other"), anchor[bytes.IndexByte(anchor, '\n'):]...), 0o600))
	c = verify(other)
	require.Equal(t, 1, c.code, c.out+c.err)
	require.Contains(t, c.out, "truncated")
}

// TestAHeadIsDurableOnTheWordOfACheckpointOfThatHeadOnly: anybody who writes to the directory
// can write a size there.
func TestAHeadIsDurableOnTheWordOfACheckpointOfThatHeadOnly(t *testing.T) {
	dir := writeLog(t, filepath.Join(t.TempDir(), "key"), 5, 8)
	path := filepath.Join(dir, "checkpoint")
	signed, err := os.ReadFile(path)
	require.NoError(t, err)
	lines := strings.SplitN(string(signed), "\n", 4)
	require.Equal(t, "13", lines[1])
	require.Equal(t, string(signed), run(t, "checkpoint", dir).out)
	for _, forged := range []string{
		"", "example.com/jobs\n999999\n", "x\n999999\n" + lines[2] + "\n" + lines[3], "x\n13\n" + lines[2] + "\n" + lines[3],
		lines[0] + "\n13\n" + strings.Repeat("A", 43) + "=\n" + lines[3], lines[0] + "\n14\n" + lines[2] + "\n" + lines[3],
	} {
		require.NoError(t, os.WriteFile(path, []byte(forged), 0o600))
		require.Equal(t, "5", strings.Split(run(t, "checkpoint", dir).out, "\n")[1], forged)
	}
}

// TestWhatHoldsRecordsIsReadableByItsOwnerOnly: evidence, reports and proofs, as exports.
func TestWhatHoldsRecordsIsReadableByItsOwnerOnly(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("its files have no such mode")
	}
	l := newLog(t).close(t)
	job := l.failed.String()
	for _, args := range [][]string{
		{"prove", l.dir, "--job", job, "--key", l.key, "-o"}, {"report", l.dir, "--job", job, "--key", l.key, "--html"},
		{"prove", l.dir, l.events(t)[0].ID().String(), "--key", l.key, "-o"}, {"export", l.dir, "--format", "csv", "--out"},
	} {
		file := filepath.Join(t.TempDir(), "out")
		c := run(t, append(args, file)...)
		require.Zero(t, c.code, c.err)
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.EqualValues(t, 0o600, info.Mode().Perm(), args)
	}
}

// TestNobodySignsWithAKeyThatOthersCanWriteTo: they could put a key of theirs there.
func TestNobodySignsWithAKeyThatOthersCanWriteTo(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("its files have no such mode")
	}
	key := filepath.Join(t.TempDir(), "key")
	require.Zero(t, run(t, "key", key, "--create", "example.com/jobs").code)
	for _, mode := range []os.FileMode{0o602, 0o620, 0o666} {
		require.NoError(t, os.Chmod(key, mode))
		c := run(t, "sequence", "postgres:///none", "--key", key)
		require.Equal(t, 3, c.code)
		require.Contains(t, c.err, "chmod go-w")
	}
}

func TestASourceIsADirectoryOrNamedByItsKind(t *testing.T) {
	l := newLog(t).close(t)
	want := run(t, "list", l.dir, "--json").out
	require.Equal(t, want, run(t, "list", "file:"+l.dir, "--json").out)
	c := run(t, "list", "gopher:somewhere")
	require.Equal(t, 2, c.code)
	require.Contains(t, c.err, "gopher")
	require.Equal(t, len(want), len(run(t, "list", l.dir, l.dir, "--json").out), "two copies of a log are one")
}

func TestACopyIsProvenAndRepeated(t *testing.T) {
	l := newLog(t)
	dir := filepath.Join(t.TempDir(), "copy")
	require.Equal(t, 2, run(t, "copy", l.dir, dir).code, "without a key")
	c := run(t, "copy", l.dir, dir, "--key", l.key)
	require.Zero(t, c.code, c.err)
	l.close(t)
	c = run(t, "copy", l.dir, dir, "--key", l.key)
	require.Zero(t, c.code, c.err)
	require.Contains(t, c.out, "copied and proven")
	require.Equal(t, run(t, "list", l.dir, "--json").out, run(t, "list", dir, "--json").out)
	c = run(t, "verify", dir, "--key", l.key, "--anchor", l.anchor())
	require.Zero(t, c.code, c.out)
	require.Equal(t, 3, run(t, "copy", l.dir, filepath.Join(t.TempDir(), "other"), "--key", newLog(t).close(t).key).code, "not with another key")
}
