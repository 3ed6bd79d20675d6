//go:build unix && !solaris && !aix

package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// succeeded is a log with a successor, and a file in its spool from before.
type succeeded struct{ dir, key, old, file string }

func newSucceeded(t *testing.T) *succeeded {
	t.Helper()
	s := &succeeded{dir: filepath.Join(t.TempDir(), "log")}
	s.key = s.dir + ".key"
	require.NoError(t, audited(t, s.dir, "--", "true").Run())
	s.old = strings.TrimSpace(run(t, "key", s.key).out)
	held := spoolOf(t, s.dir)
	require.NoError(t, os.Remove(s.key))
	c := run(t, "repair", s.dir, "--key", s.key, "--old", s.old, "--yes")
	require.Zero(t, c.code, c.out+c.err)
	if _, err := os.Stat(s.key); err != nil {
		s.key += ".successor"
	}
	require.NoError(t, os.MkdirAll(held, 0o700))
	s.file = filepath.Join(held, uuid.NewString()+".jsonl")
	require.NoError(t, os.WriteFile(s.file, []byte("{}\n"), 0o600))
	return s
}

// TestWhatIsHeldForALogIsNamedBesideOtherTroubleWithTheSpool: one does not hide the other.
func TestWhatIsHeldForALogIsNamedBesideOtherTroubleWithTheSpool(t *testing.T) {
	s := newSucceeded(t)
	own := spoolIn(t, s.dir, s.key)
	require.NoError(t, os.MkdirAll(own, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(own, uuid.NewString()+".jsonl"), []byte("{}\n"), 0o600))
	out, err := audited(t, s.dir, "--key", s.key, "--", "true").CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "cannot be brought into the log, and stay there")
	require.Contains(t, string(out), filepath.Dir(s.file))
	require.Contains(t, string(out), "--old VKEY")
}

// TestRepairAsksForNoKeyThatItWasGiven: what it leaves there is a running program's, or is
// named with what is wrong with it.
func TestRepairAsksForNoKeyThatItWasGiven(t *testing.T) {
	s := newSucceeded(t)
	c := run(t, "repair", s.dir, "--key", s.key, "--old", s.old)
	require.Equal(t, 1, c.code, c.out+c.err)
	require.Contains(t, c.err, "cannot be brought into the log, and stay there")
	require.NotContains(t, c.err, "--old")

	f, err := os.Open(s.file)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, syscall.Flock(int(f.Fd()), syscall.LOCK_EX)) // as a program that runs has it
	c = run(t, "repair", s.dir, "--key", s.key, "--old", s.old)
	require.Zero(t, c.code, c.out+c.err)
	c = run(t, "repair", s.dir, "--key", s.key)
	require.Equal(t, 1, c.code, c.out+c.err)
	require.Contains(t, c.err, "--old VKEY")
}
