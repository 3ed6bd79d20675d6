package main_test

import (
	"os"
	"path/filepath"
	"regexp"
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
