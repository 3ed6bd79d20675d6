//go:build unix

package main_test

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// The program stops at the first signal; where something holds it up, at the
// second.
func TestSignalsEndTheProgram(t *testing.T) {
	l := newLog(t)
	cmd := exec.CommandContext(t.Context(), program, "tail", l.dir, "-f")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	_ = cmd.Wait()
	require.Equal(t, 0, cmd.ProcessState.ExitCode())

	// Opening a pipe given as a key waits for its other end.
	pipe := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	cmd = exec.CommandContext(t.Context(), program, "verify", l.dir, "--key", pipe)
	require.NoError(t, cmd.Start())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = cmd.Wait()
	}()
	for ended := false; !ended; {
		err := cmd.Process.Signal(syscall.SIGTERM)
		if err != nil {
			require.True(t, errors.Is(err, os.ErrProcessDone), "%v", err)
		}
		select {
		case <-done:
			ended = true
		default:
		}
	}
}

func TestPipesAmongTheEntriesHoldUpNoCommand(t *testing.T) {
	l := newLog(t).close(t)
	path, _ := l.segment(t)
	require.NoError(t, os.Remove(path))
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	for _, args := range [][]string{{"verify", l.dir, "--key", l.key}, {"list", l.dir}, {"tail", l.dir}, {"checkpoint", l.dir}, {"prove", l.dir, "019fb3a5-5ff5-7c4b-9000-000000000000", "--key", l.key}} {
		require.NotZero(t, run(t, args...).code+1, "%v ends", args)
	}
}

func TestAnInterruptSaysSo(t *testing.T) {
	l := newLog(t).close(t)
	// The program writes more than a pipe holds, so it is under way when it is
	// interrupted, and goes on when it is read.
	var records strings.Builder
	path, text := l.segment(t)
	lines := strings.SplitAfterN(text, "\n", 2)
	for range 2000 {
		records.WriteString(lines[0])
	}
	records.WriteString(text)
	require.NoError(t, os.WriteFile(path, []byte(records.String()), 0o644))
	cmd := exec.CommandContext(t.Context(), program, "list", l.dir, "--json")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Start())
	_, err = bufio.NewReaderSize(out, 16).ReadByte()
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	_, err = io.Copy(io.Discard, out)
	require.NoError(t, err)
	_ = cmd.Wait()
	require.Equal(t, 130, cmd.ProcessState.ExitCode())
	require.Equal(t, "jobaudit: interrupted\n", stderr.String())
}
