//go:build unix

package main_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
}

// A pipe is read like a file, as in --key <(command). One without a writer is
// empty, and holds up nobody.
func TestAPipeWhereAFileIsNamedHoldsUpNoCommand(t *testing.T) {
	l := newLog(t).close(t)
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	policy := filepath.Join(dir, "policy")
	require.NoError(t, os.WriteFile(policy, []byte(`{"version": "1"}`), 0o600))
	job := l.failed.String()
	execArgs := []string{"exec", "--action", "a", "--reason", "r", "--dir", filepath.Join(dir, "exec")}
	for _, args := range [][]string{
		{"check", pipe},
		{"check-proof", pipe, "--key", l.key},
		{"check-report", pipe, "--key", l.key},
		{"check-proof", "missing", "--key", pipe},
		{"copy", l.dir, filepath.Join(dir, "copy"), "--key", pipe},
		append(slices.Clone(execArgs), "--policy", pipe, "--", "true"),
		append(slices.Clone(execArgs), "--key", pipe, "--", "true"),
		append(slices.Clone(execArgs), "--carrier-keys", pipe, "--", "true"),
		append(slices.Clone(execArgs), "--policy", policy, "--dir", pipe, "--", "true"),
		{"export", l.dir, "--format", "csv", "--position", pipe},
		{"export", l.dir, "--format", "otlp", "--to", "https://127.0.0.1:1/", "--ca", pipe},
		{"export", l.dir, "--format", "otlp", "--to", "https://127.0.0.1:1/", "--header", "@" + pipe},
		{"export", l.dir, "--format", "otlp", "--to", "https://127.0.0.1:1/", "--cert", pipe, "--cert-key", pipe},
		{"key", pipe},
		{"list", pipe},
		{"mirror", l.dir, filepath.Join(dir, "mirror"), "--once", "--key", pipe},
		{"mirror", l.dir, pipe, "--once", "--key", l.key},
		{"prove", l.dir, "--job", job, "--key", pipe},
		{"repair", l.dir, "--key", pipe},
		{"report", l.dir, "--job", job, "--html", filepath.Join(dir, "report"), "--key", pipe},
		{"restore", pipe, filepath.Join(dir, "restored"), "--key", l.key},
		{"restore", l.dir, filepath.Join(dir, "restored"), "--key", l.key, "--anchor", pipe},
		{"review", l.dir, "--since", "1d", "--in", filepath.Join(dir, "companion"), "--decisions", pipe},
		{"sequence", "postgres://127.0.0.1:1/db", "--key", pipe},
		{"since", pipe, l.dir, "--key", l.key},
		{"verify", l.dir, "--key", pipe},
		{"verify", l.dir, "--key", l.key, "--anchor", pipe},
		{"verify", l.dir, "--key", l.key, "--accept-loss", pipe},
		{"verify", l.dir, "--key", l.key, "--companion", pipe},
	} {
		c := run(t, args...)
		require.NotZero(t, c.code, "%v", args)
		require.NotEmpty(t, c.err+c.out, "%v", args)
	}
	c := run(t, "key", l.key)
	require.Zero(t, c.code, c.err)
	read, write, err := os.Pipe()
	require.NoError(t, err)
	_, err = write.WriteString(c.out)
	require.NoError(t, err)
	require.NoError(t, write.Close())
	cmd := exec.CommandContext(t.Context(), program, "verify", l.dir, "--key", "/dev/fd/3")
	cmd.ExtraFiles = []*os.File{read}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
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
