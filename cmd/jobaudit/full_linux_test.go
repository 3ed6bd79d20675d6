package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Half of an answer must not look like a whole one.
func TestAnOutputThatIsNotWrittenIsAnErrorOfEachCommand(t *testing.T) {
	l := newLog(t).close(t)
	proof := filepath.Join(t.TempDir(), "proof")
	require.Zero(t, run(t, "prove", l.dir, "--job", l.failed.String(), "-o", proof).code)
	heads := filepath.Join(t.TempDir(), "heads")
	require.NoError(t, os.WriteFile(heads, []byte(run(t, "checkpoint", l.dir).out), 0o600))
	for _, args := range [][]string{
		{"-h"}, {"version"}, {"key", l.key}, {"key", l.dir}, {"checkpoint", l.dir}, {"list", l.dir}, {"jobs", l.dir}, {"jobs", l.dir, "--json"},
		{"show", l.dir, l.failed.String()}, {"tail", l.dir}, {"verify", l.dir, "--key", l.key}, {"verify", l.dir, "--key", l.key, "--json"},
		{"check-proof", proof, "--key", l.key}, {"since", heads, l.dir}, {"review", l.dir, "--since", "1h"}, {"export", l.dir, "--format", "csv"},
		{"prove", l.dir, "--job", l.failed.String(), "-o", "-"}, {"copy", l.dir, filepath.Join(t.TempDir(), "copy"), "--key", l.key},
		{"repair", l.dir, "--key", l.key},
	} {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		require.NoError(t, err)
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Stdout = full
		_ = cmd.Run()
		require.NoError(t, full.Close())
		require.Equal(t, 3, cmd.ProcessState.ExitCode(), args)
	}
}
