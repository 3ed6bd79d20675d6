package main_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/filesink"
)

// watchUntil looks at a log until something is found.
func watchUntil(t *testing.T, dir string, flags ...string) (out string) {
	t.Helper()
	for out == "" {
		c := run(t, append([]string{"watch", dir, "--once", "--grace", "1ns"}, flags...)...)
		require.Zero(t, c.code, c.err)
		out = c.out
	}
	return out
}

func TestAJobWhoseExecWasKilledIsAbandoned(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	cmd, _, _ := started(t, dir, "--heartbeat", "100ms")
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	require.Equal(t, "running", theJob(t, dir).State)
	require.Contains(t, watchUntil(t, dir), "abandoned "+theJob(t, dir).ID.String())
	require.Equal(t, "failed", theJob(t, dir).State)
	require.Equal(t, "ABANDONED", theJob(t, dir).Error.Code)
	require.Empty(t, run(t, "watch", dir, "--once", "--grace", "1ns").out, "once")
	require.NoError(t, audited(t, dir, "--", "true").Run(), "and the log goes on")
	c := run(t, "verify", dir, "--key", dir+".key", "--anchor", dir+".key.anchor")
	require.Zero(t, c.code, c.out)
}

// As a shell completes its name.
func TestALogsDirectoryMayEndInASlash(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	require.NoError(t, audited(t, dir, "--", "true").Run())
	for _, args := range [][]string{{"watch", dir + "/", "--once"}, {"repair", dir + "/", "--key", dir + ".key"}} {
		c := run(t, args...)
		require.Zero(t, c.code, "%v: %s", args, c.err)
	}
	list, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range list {
		require.False(t, strings.HasPrefix(e.Name(), "."), e.Name())
	}
}

func TestWatchGoesOnUntilItIsStopped(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "log")
	killed, _, _ := started(t, dir, "--heartbeat", "100ms")
	require.NoError(t, killed.Process.Kill())
	_ = killed.Wait()
	cmd := exec.CommandContext(t.Context(), program, "watch", dir, "--interval", "200ms", "--grace", "1ms")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "abandoned "+theJob(t, dir).ID.String())
	require.NoError(t, audited(t, dir, "--", "true").Run(), "it holds the log only while it writes")
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	require.NoError(t, cmd.Wait())
	c := run(t, "verify", dir, "--key", dir+".key", "--anchor", dir+".key.anchor")
	require.Zero(t, c.code, c.out)
}

func TestAJobWhoseEndLiesInTheSpoolIsNotAbandoned(t *testing.T) {
	base := t.TempDir()
	dir, away := filepath.Join(base, "log"), filepath.Join(base, "away")
	require.NoError(t, audited(t, dir, "--", "true").Run())
	cmd := audited(t, dir, "--heartbeat", "1ms", "--outcome-wait", "1ms", "--", "sh", "-c", "mv "+dir+" "+away+" && touch "+dir+"; exit 3")
	_ = cmd.Run()
	require.Equal(t, 3, cmd.ProcessState.ExitCode())
	require.NoError(t, os.Remove(dir))
	require.NoError(t, os.Rename(away, dir))
	strange := filepath.Join(spoolOf(t, dir), "strange.jsonl")
	require.NoError(t, os.Mkdir(strange, 0o700))
	c := run(t, "watch", dir, "--once", "--grace", "1ns")
	require.NotZero(t, c.code, "a spool that cannot be read may hold ends")
	require.NoError(t, os.Remove(strange))
	c = run(t, "watch", dir, "--once", "--grace", "1ns")
	require.Zero(t, c.code, c.err)
	require.Empty(t, c.out)
	require.Equal(t, "EXIT_3", string(events(t, dir, "--type", "job.failed")[0].Data.Error.Code))
	require.Empty(t, events(t, dir, "--type", "attempt.lost"))
}

// A submission without a start is what a kill between the two leaves.
func TestAJobOfExecThatWasNeverStartedExpires(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	require.NoError(t, audited(t, dir, "--name", "example.com/jobs", "--", "true").Run())
	submitOnly(t, dir)
	require.Contains(t, watchUntil(t, dir, "--start-within", "1ns"), "expired ")
	require.Equal(t, "EXPIRED", string(events(t, dir, "--type", "job.cancelled")[0].Data.Error.Code))
}

func submitOnly(t *testing.T, dir string) {
	t.Helper()
	key, err := filesink.LoadOrCreateKey(dir, dir+".key", "example.com/jobs")
	require.NoError(t, err)
	sink, err := filesink.Open(t.Context(), dir, key, nil)
	require.NoError(t, err)
	rec, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "jobaudit-exec", Environment: "test"}, nil)
	require.NoError(t, err)
	_, err = rec.Submit(t.Context(), jobaudit.Submission{
		Action: "task", Principal: jobaudit.Principal{Kind: jobaudit.System, ID: "cron"}, Trigger: jobaudit.Trigger{Kind: jobaudit.Scheduled, Reason: "a test"},
	})
	require.NoError(t, err)
	require.NoError(t, rec.Close(t.Context()))
	require.NoError(t, sink.Close())
}
