//go:build unix && !solaris && !aix

package main_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// audited is a call of exec that runs a program.
func audited(t testing.TB, dir string, args ...string) *exec.Cmd {
	t.Helper()
	flags := []string{"exec", "--dir", dir, "--action", "task", "--reason", "a test", "--wait", "10m"}
	cmd := exec.CommandContext(t.Context(), program, append(flags, args...)...)
	cmd.Dir = t.TempDir()
	return cmd
}

// theJob is the one job of a log.
func theJob(t testing.TB, dir string) (job struct {
	ID       uuid.UUID
	State    string
	ParentID uuid.UUID
	Error    struct{ Code, Message string }
	Logs     []string
	Output   struct {
		Exit, Bytes, Lines int64
		Signal             string
	}
	Metadata struct {
		UserID, Action string
		Inputs         json.RawMessage
	}
}) {
	t.Helper()
	c := run(t, "jobs", dir, "--json", "-n", "1")
	require.Zero(t, c.code, c.err)
	require.NoError(t, json.Unmarshal([]byte(c.out), &job), c.err)
	return job
}

func TestExecEndsAsItsProgramAndRecordsHow(t *testing.T) {
	t.Parallel()
	notExecutable := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(notExecutable, []byte("text"), 0o644))
	for _, tc := range []struct {
		name        string
		program     []string
		code        int // -1: by the signal
		state, says string
		signal      syscall.Signal
	}{
		{"success", []string{"sh", "-c", "exit 0"}, 0, "success", "", 0},
		{"failure", []string{"sh", "-c", "exit 3"}, 3, "failed", "EXIT_3", 0},
		{"the code of an audit failure", []string{"sh", "-c", "exit 125"}, 125, "failed", "EXIT_125", 0},
		{"killed", []string{"sh", "-c", "kill $$"}, -1, "failed", "SIGTERM", syscall.SIGTERM},
		{"killed -9", []string{"sh", "-c", "kill -9 $$"}, -1, "failed", "SIGKILL", syscall.SIGKILL},
		{"aborted", []string{"sh", "-c", "kill -ABRT $$"}, 128 + int(syscall.SIGABRT), "failed", "SIGABRT", 0},
		{"not there", []string{"no-such-program"}, 127, "failed", "NOT_STARTED", 0},
		{"no program", []string{notExecutable}, 126, "failed", "NOT_STARTED", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "log")
			cmd := audited(t, dir, append([]string{"--"}, tc.program...)...)
			_ = cmd.Run()
			require.Equal(t, tc.code, cmd.ProcessState.ExitCode())
			if tc.signal != 0 {
				require.Equal(t, tc.signal, cmd.ProcessState.Sys().(syscall.WaitStatus).Signal())
			}
			job := theJob(t, dir)
			require.Equal(t, tc.state, job.State)
			require.Equal(t, tc.says, job.Error.Code)
			require.Zero(t, run(t, "verify", dir, "--key", dir+".key").code)
		})
	}
}

func TestWhatCannotBeRecordedDoesNotRun(t *testing.T) {
	base := t.TempDir()
	inTheWay := filepath.Join(base, "file")
	require.NoError(t, os.WriteFile(inTheWay, nil, 0o600))
	good := filepath.Join(base, "log")
	policy := filepath.Join(base, "policy")
	require.NoError(t, os.WriteFile(policy, []byte(`{"version":"1","keep":["pasword"]}`), 0o600))
	variables := filepath.Join(base, "variables") // of which no value would be kept out of the lines
	require.NoError(t, os.WriteFile(variables, []byte(`{"version":"1","drop":{"environment.*":"credential"}}`), 0o600))
	for name, args := range map[string][]string{
		"no directory":    {"--dir", filepath.Join(inTheWay, "log")},
		"no key":          {"--dir", good, "--key", filepath.Join(inTheWay, "key")},
		"no policy":       {"--dir", good, "--policy", "no-such-file"},
		"no variable":     {"--dir", good, "--policy", variables},
		"a wrong policy":  {"--dir", good, "--policy", policy},
		"a wrong carrier": {"--dir", good},
	} {
		ran := filepath.Join(base, "ran")
		cmd := audited(t, good, append(args, "--", "touch", ran)...)
		if name == "a wrong carrier" {
			cmd.Env = append(os.Environ(), "JOBAUDIT_CARRIER=none")
		}
		out, _ := cmd.CombinedOutput()
		require.Equal(t, 125, cmd.ProcessState.ExitCode(), "%s: %s", name, out)
		require.Contains(t, string(out), "the program was not run")
		require.NoFileExists(t, ran, name)
	}
	for name, flags := range map[string][]string{
		"no reason": {"--action", "x"}, "nobody": {"--action", "x", "--reason", "y", "--principal", "ada"}, "a misspelt flag": {"--acton", "x"},
		"a time without a unit": {"--wait", "10"}, "a policy in a variable that is not set": {"--action", "x", "--reason", "y", "--policy", ""},
		"such carrier keys": {"--action", "x", "--reason", "y", "--carrier-keys", ""},
	} {
		c := run(t, append(append([]string{"exec", "--dir", good}, flags...), "--", "echo", "ran")...)
		require.Equal(t, 125, c.code, "%s: %s", name, c.err)
		require.Empty(t, c.out, name)
	}
	require.Equal(t, 125, run(t, "exec", "--action", "x", "--reason", "y").code, "no program")
	require.Zero(t, run(t, "exec", "--dir", good, "--action", "x", "--reason", "y", "--ref", "", "--", "true").code)
}

// As a shell, env, cron and execvp run it.
func TestAScriptWithoutAFirstLineThatNamesItsShellRuns(t *testing.T) {
	script := filepath.Join(t.TempDir(), "script")
	require.NoError(t, os.WriteFile(script, []byte("echo $1\nexit 4\n"), 0o700))
	dir := filepath.Join(t.TempDir(), "log")
	cmd := audited(t, dir, "--", script, "ran")
	out, _ := cmd.Output()
	require.Equal(t, "ran\n", string(out))
	require.Equal(t, 4, cmd.ProcessState.ExitCode())
	require.Equal(t, "EXIT_4", theJob(t, dir).Error.Code)
	require.Contains(t, strings.Join(theJob(t, dir).Logs, "\n"), "[run by /bin/sh", "the record says what ran it")
}

// What no shell would run as a script is not run at all, and is no success.
func TestWhatIsNeitherAProgramForThisMachineNorAScriptCannotBeRun(t *testing.T) {
	for name, text := range map[string]string{
		"empty":                 "",
		"for another machine":   "\x7fELF\x02\x01\x01\x00\x00\nexit 0\n",
		"a NUL in another form": "\xfe\xed\xfa\x00\nexit 0\n",
	} {
		file := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o700))
		dir := filepath.Join(t.TempDir(), "log")
		cmd := audited(t, dir, "--", file)
		_ = cmd.Run()
		require.Equal(t, 126, cmd.ProcessState.ExitCode(), name)
		require.Equal(t, "NOT_STARTED", theJob(t, dir).Error.Code, name)
	}
}

func TestTheLogLiesInTheStateDirectoryAlsoWhereThereIsNoHome(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("that of root lies elsewhere")
	}
	state := t.TempDir()
	cmd := exec.CommandContext(t.Context(), program, "exec", "--action", "x", "--reason", "y", "--", "true")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "XDG_STATE_HOME=" + state}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.DirExists(t, filepath.Join(state, "jobaudit"))
}

func TestABusyLogKeepsAProgramFromRunning(t *testing.T) {
	l := newLog(t) // which its writer holds
	cmd := exec.CommandContext(t.Context(), program, "exec", "--dir", l.dir, "--key", l.key, "--action", "a", "--reason", "b", "--wait", "100ms", "--", "true")
	out, _ := cmd.CombinedOutput()
	require.Equal(t, 125, cmd.ProcessState.ExitCode())
	require.Contains(t, string(out), "give exec a directory of its own")
	l.close(t)
	require.Zero(t, run(t, "exec", "--dir", l.dir, "--key", l.key, "--action", "a", "--reason", "b", "--", "true").code)
}

func TestTheProgramHasTheOutputAndInputThatItWouldHave(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	binary := bytes.Repeat([]byte("\x00\x01\xff\xfe text \r\n"), 1<<20)
	cmd := audited(t, dir, "--", "cat")
	cmd.Stdin = bytes.NewReader(binary)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	require.NoError(t, cmd.Run())
	require.True(t, bytes.Equal(binary, out.Bytes()))
	require.Empty(t, stderr.String())
	job := theJob(t, dir)
	require.EqualValues(t, len(binary), job.Output.Bytes)
	require.EqualValues(t, 1<<20, job.Output.Lines)
	require.Len(t, job.Logs, 2, "what is no text is counted, and nothing else is stored")

	cmd = audited(t, dir, "--", "sh", "-c", "echo one; echo two >&2; echo three")
	same, err := cmd.CombinedOutput()
	require.NoError(t, err)
	require.Equal(t, "one\ntwo\nthree\n", string(same), "the order is kept where both outputs are one")
	require.Equal(t, []string{"one", "two", "three"}, theJob(t, dir).Logs)

	cmd = audited(t, dir, "--", "sh", "-c", "read line; echo $?")
	cmd.Stdin = nil // closed
	same, err = cmd.Output()
	require.NoError(t, err)
	require.Equal(t, "1\n", string(same))

	cmd = audited(t, dir, "--lines", "0", "--", "echo", "one")
	same, err = cmd.Output()
	require.NoError(t, err)
	require.Equal(t, "one\n", string(same))
	require.Empty(t, theJob(t, dir).Logs)
}

func TestAProgramWhoseOutputNobodyTakesIsTold(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	read, write, err := os.Pipe()
	require.NoError(t, err)
	cmd := audited(t, dir, "--", "sh", "-c", "while echo line; do :; done 2>/dev/null; exit 9")
	cmd.Stdout = write
	require.NoError(t, cmd.Start())
	require.NoError(t, write.Close())
	_, err = bufio.NewReader(read).ReadString('\n')
	require.NoError(t, err)
	require.NoError(t, read.Close())
	_ = cmd.Wait()
	require.Contains(t, []string{"SIGPIPE", "EXIT_9"}, theJob(t, dir).Error.Code)
}

func TestOutputThatCannotBePassedOnIsSaidSo(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // there is no /dev/full elsewhere
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	require.NoError(t, err)
	defer full.Close()
	dir := filepath.Join(t.TempDir(), "log")
	cmd := audited(t, dir, "--", "echo", "the report")
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = full, &stderr
	require.NoError(t, cmd.Run(), "which the program was not told in time")
	require.Contains(t, stderr.String(), "no space left")
	logs := theJob(t, dir).Logs
	require.Len(t, logs, 2)
	require.Contains(t, logs[1], "no space left")
}

func TestLongOutputIsRecordedAtItsBeginningAndItsEnd(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	cmd := audited(t, dir, "--lines", "10", "--", "sh", "-c", "seq 1 300000; seq 1 9999 | tr '\\n' x; echo")
	out, err := cmd.Output()
	require.NoError(t, err)
	logs := theJob(t, dir).Logs
	require.Equal(t, []string{"1", "2", "3", "4", "5", "[299,991 lines of output left out]", "299997", "299998", "299999", "300000"}, logs[:10])
	require.Len(t, logs, 12)
	require.Less(t, len(logs[10]), 5000)
	require.Equal(t, "[that line has 48,888 bytes]", logs[11])
	require.Equal(t, 300001, bytes.Count(out, []byte("\n")))
}

// Wherever in a line a credential stands, no part of it is recorded because the line was
// cut there.
func TestNoPartOfACredentialIsRecordedWhereALineIsCut(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	policy := filepath.Join(base, "policy.json")
	require.NoError(t, os.WriteFile(policy, []byte(`{"version":"1","keep":["program"],"drop":{"environment.DATABASE":"credential"}}`), 0o600))
	const secret = "correct-horse-battery-staple-of-the-database"
	const token = "ghp_0123456789abcdefghijABCDEFGHIJ012345"
	var text strings.Builder
	for _, value := range []string{secret, token} {
		for _, cut := range []int{4 << 10, 4<<10 - 64, 4<<10 - 41, 16 << 10} {
			for at := cut - len(value) - 2; at <= cut+2; at++ {
				text.WriteString(strings.Repeat("x ", at)[:at-1] + " " + value + strings.Repeat(" y", 200) + "\n")
			}
		}
	}
	file, dir := filepath.Join(base, "text"), filepath.Join(base, "log")
	require.NoError(t, os.WriteFile(file, []byte(text.String()), 0o600))
	for _, lines := range []string{"10000", "300"} {
		cmd := audited(t, dir, "--policy", policy, "--lines", lines, "--", "cat", file)
		cmd.Env = append(os.Environ(), "DATABASE="+secret)
		require.NoError(t, cmd.Run())
		require.Greater(t, len(theJob(t, dir).Logs), 200)
		for _, part := range []string{secret[:9], secret[len(secret)-9:], token[:10], token[len(token)-10:]} {
			require.Empty(t, filesThatHold(t, dir, part), part)
		}
	}
}

func TestSignalsReachTheProgramAndTheRecordSaysSo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	cmd := audited(t, dir, "--", "sh", "-c", `trap 'echo again' USR1; trap 'echo stopping; exit 4' TERM; echo ready; while :; do read line; done`)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewReader(out)
	next := func() string {
		line, err := lines.ReadString('\n')
		require.NoError(t, err)
		return line
	}
	require.Equal(t, "ready\n", next())
	require.NoError(t, cmd.Process.Signal(syscall.SIGUSR1))
	_, _ = in.Write([]byte("\n"))
	require.Equal(t, "again\n", next())
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	_, _ = in.Write([]byte("\n"))
	require.Equal(t, "stopping\n", next())
	_ = cmd.Wait()
	require.Equal(t, 4, cmd.ProcessState.ExitCode())
	job := theJob(t, dir)
	require.Equal(t, "cancelled", job.State)
	require.Contains(t, job.Error.Message, "SIGTERM was sent to it: exit status 4")
}

// started starts a program that prints its process ID and waits for a line.
func started(t *testing.T, dir string, flags ...string) (cmd *exec.Cmd, pid string, in io.Writer) {
	t.Helper()
	cmd = audited(t, dir, append(flags, "--", "sh", "-c", "echo $$; read line; echo done")...)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	return cmd, strings.TrimSpace(line), in
}

func TestASignalEndsTheWaitForWhatTheProgramHasLeftBehind(t *testing.T) {
	t.Parallel() // it waits most of the time
	dir := filepath.Join(t.TempDir(), "log")
	cmd := audited(t, dir, "--", "sh", "-c", "sleep 100000 & echo $!; exit 3")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	pid := strings.TrimSpace(line)
	defer exec.Command("kill", pid).Run()
	for len(events(t, dir, "--type", "job.failed")) == 0 {
		runtime.Gosched()
	}
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	_ = cmd.Wait()
	require.Equal(t, 3, cmd.ProcessState.ExitCode())
	require.True(t, alive(pid) || runtime.GOOS != "linux", "it is not exec's to end")
}

func TestAStoppedProgramIsRecordedAsSuch(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	cmd, pid, in := started(t, dir)
	require.NoError(t, exec.Command("kill", "-STOP", pid).Run())
	says := func(line string) {
		for !strings.Contains(run(t, "list", dir, "--type", "job.logged").out, line) {
			runtime.Gosched()
		}
	}
	says("[the program was stopped by SIGSTOP]")
	require.NoError(t, exec.Command("kill", "-CONT", pid).Run())
	says("[the program was continued]") // of one that ends meanwhile the kernel tells only that
	_, _ = in.Write([]byte("\n"))
	_ = cmd.Wait()
	job := theJob(t, dir)
	require.Equal(t, "success", job.State)
	require.Contains(t, job.Logs, "[the program was continued]")
}

func TestWhenExecIsKilledItsProgramIsTooAndTheLogGoesOn(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // nothing but Linux ties one process to another
	}
	dir := filepath.Join(t.TempDir(), "log")
	cmd, pid, _ := started(t, dir)
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	for alive(pid) {
		runtime.Gosched()
	}
	require.Equal(t, "running", theJob(t, dir).State, "it has a start and no end")
	require.NoError(t, audited(t, dir, "--", "true").Run())
	c := run(t, "verify", dir, "--key", dir+".key", "--anchor", dir+".key.anchor")
	require.Zero(t, c.code, c.out)
	require.Contains(t, c.out, "1 execution without an end")
}

// alive tells whether a process is there and is not only waited for.
func alive(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	return err == nil && !bytes.Contains(stat, []byte(") Z "))
}

func TestManyAtOnceLoseNothing(t *testing.T) {
	t.Parallel()
	n := size.Times(100, 10)
	if size.Race {
		n = min(n, 40)
	}
	dir := filepath.Join(t.TempDir(), "log")
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			if out, err := audited(t, dir, "--", "sh", "-c", "echo hello").CombinedOutput(); err != nil || string(out) != "hello\n" {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	all.Wait()
	require.Len(t, events(t, dir, "--type", "job.succeeded"), n)
	require.Len(t, events(t, dir, "--type", "job.logged"), n)
	policies := len(events(t, dir, "--type", "audit.policy"))
	require.NoError(t, audited(t, dir, "--", "true").Run())
	require.Len(t, events(t, dir, "--type", "audit.policy"), policies, "which the log holds already")
	require.Zero(t, run(t, "verify", dir, "--key", dir+".key", "--anchor", dir+".key.anchor").code)
}

func TestAnOutcomeThatTheLogDoesNotTakeIsKeptAndBroughtThereLater(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"exec", "repair"} {
		base := t.TempDir()
		dir, away := filepath.Join(base, "log"), filepath.Join(base, "away")
		require.NoError(t, audited(t, dir, "--", "true").Run())
		cmd := audited(t, dir, "--outcome-wait", "1ms", "--", "sh", "-c", "mv "+dir+" "+away+" && touch "+dir+"; echo said; exit 3")
		var stderr strings.Builder
		cmd.Stderr = &stderr
		_ = cmd.Run()
		require.Equal(t, 3, cmd.ProcessState.ExitCode(), "the program's own: %s", &stderr)
		require.Contains(t, stderr.String(), "kept in "+dir+".spool")
		require.NoError(t, os.Remove(dir))
		require.NoError(t, os.Rename(away, dir))
		require.Empty(t, events(t, dir, "--type", "job.failed"))

		torn := filepath.Join(spoolOf(t, dir), uuid.NewString()+".jsonl") // by a program that was killed
		require.NoError(t, os.WriteFile(torn, []byte(`{"schemaVersion":"1.0.0","id":"`), 0o600))
		if way == "exec" {
			require.NoError(t, audited(t, dir, "--", "true").Run())
		} else {
			c := run(t, "repair", dir, "--key", dir+".key")
			require.Zero(t, c.code, c.err)
			require.Contains(t, c.out, "in its spool are in the log now")
		}
		require.Equal(t, "EXIT_3", string(events(t, dir, "--type", "job.failed")[0].Data.Error.Code), way)
		left, err := os.ReadDir(spoolOf(t, dir))
		require.NoError(t, err)
		require.Empty(t, left)
		c := run(t, "verify", dir, "--key", dir+".key", "--anchor", dir+".key.anchor")
		require.Zero(t, c.code, c.out)
	}
}

func TestWhatIsNoEventInTheSpoolIsLeftAndKeepsNoProgramFromRunning(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	require.NoError(t, audited(t, dir, "--", "true").Run())
	require.NoError(t, os.MkdirAll(spoolOf(t, dir), 0o700))
	strange := filepath.Join(spoolOf(t, dir), uuid.NewString()+".jsonl")
	require.NoError(t, os.WriteFile(strange, []byte("{}\n"), 0o600))
	out, err := audited(t, dir, "--", "echo", "ran").CombinedOutput()
	require.NoError(t, err)
	require.Contains(t, string(out), "ran")
	require.Contains(t, string(out), "cannot be brought into the log, and stay there")
	require.FileExists(t, strange)
	require.Equal(t, 1, run(t, "repair", dir, "--key", dir+".key").code)
}

// spoolOf is where the outcomes of a log are kept.
func spoolOf(t *testing.T, dir string) string {
	t.Helper()
	return spoolIn(t, dir, dir+".key")
}

func spoolIn(t *testing.T, dir, keyPath string) string {
	t.Helper()
	key, err := note.NewVerifier(strings.TrimSpace(run(t, "key", keyPath).out))
	require.NoError(t, err)
	return filepath.Join(dir+".spool", fmt.Sprintf("%s+%08x", url.PathEscape(key.Name()), key.KeyHash()))
}

// TestWhatIsHeldForALogIsNamedUntilItComesIntoItsSuccessor: a program that ran while its log
// got a successor keeps its outcome under the old key.
func TestWhatIsHeldForALogIsNamedUntilItComesIntoItsSuccessor(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "log")
	require.NoError(t, audited(t, dir, "--", "true").Run())
	old := strings.TrimSpace(run(t, "key", dir+".key").out)
	held := spoolOf(t, dir)
	require.NoError(t, os.Remove(dir+".key"))
	c := run(t, "repair", dir, "--key", dir+".key", "--old", old, "--yes")
	require.Zero(t, c.code, c.out+c.err)
	key := dir + ".key"
	if _, err := os.Stat(key); err != nil {
		key += ".successor"
	}
	exec := func() string {
		out, err := audited(t, dir, "--key", key, "--", "true").CombinedOutput()
		require.NoError(t, err, string(out))
		return string(out)
	}
	require.NotContains(t, exec(), "--old")

	sink := memsink.New(nil)
	rec, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "test", Environment: "test"}, nil)
	require.NoError(t, err)
	require.NoError(t, rec.Close(t.Context()))
	var text []byte
	for r, err := range sink.Records(t.Context(), jobaudit.Query{}) {
		require.NoError(t, err)
		text = append(r.AppendTo(text), '\n')
	}
	require.NoError(t, os.MkdirAll(held, 0o700))
	for _, other := range []string{"example.org%2Felse+00000001", "no name", "%zz+1"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir+".spool", other), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir+".spool", other, "a.jsonl"), text, 0o600))
	}
	require.NotContains(t, exec(), "--old")
	require.NoError(t, os.WriteFile(filepath.Join(held, uuid.NewString()+".jsonl"), text, 0o600))
	said := exec()
	require.Contains(t, said, held)
	require.Contains(t, said, "--old VKEY")
	require.NotContains(t, said, "example.org")
	c = run(t, "repair", dir, "--key", key)
	require.Equal(t, 1, c.code, c.out+c.err)
	require.Contains(t, c.err, held)
	c = run(t, "repair", dir, "--key", key, "--old", old)
	require.Zero(t, c.code, c.out+c.err)
	require.Contains(t, c.out, "in its spool are in the log now")
	require.NotContains(t, exec(), "--old")
}

// TestWhatIsHeldForALogComesIntoItsSuccessor: its key is another one.
func TestWhatIsHeldForALogComesIntoItsSuccessor(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	require.NoError(t, audited(t, dir, "--", "true").Run())
	old := strings.TrimSpace(run(t, "key", dir+".key").out)
	held := spoolOf(t, dir)
	cmd := audited(t, dir, "--outcome-wait", "1ms", "--", "sh", "-c", "mv "+dir+" "+dir+".away && touch "+dir+"; exit 3")
	_ = cmd.Run()
	require.Equal(t, 3, cmd.ProcessState.ExitCode())
	require.NoError(t, os.Remove(dir))
	require.NoError(t, os.Rename(dir+".away", dir))
	require.NoError(t, os.Remove(dir+".key"))
	left, err := os.ReadDir(held)
	require.NoError(t, err)
	require.NotEmpty(t, left)
	c := run(t, "repair", dir, "--key", dir+".key", "--old", old, "--yes")
	require.Zero(t, c.code, c.out+c.err)
	require.Contains(t, c.out, "in its spool are in the log now")
	require.Equal(t, "EXIT_3", string(events(t, dir, "--type", "job.failed")[0].Data.Error.Code))
}

// TestASpoolThatOthersCanWriteToIsNotUsedAndKeepsNoProgramFromRunning: it says so each time.
func TestASpoolThatOthersCanWriteToIsNotUsedAndKeepsNoProgramFromRunning(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	require.NoError(t, os.Mkdir(dir+".spool", 0o700))
	require.NoError(t, os.Chmod(dir+".spool", 0o777))
	for range 2 {
		out, err := audited(t, dir, "--", "echo", "ran").CombinedOutput()
		require.NoError(t, err)
		require.Contains(t, string(out), "ran\n")
		require.Contains(t, string(out), "others can write to "+dir+".spool")
	}
	require.Equal(t, 1, run(t, "repair", dir, "--key", dir+".key").code)
}

func TestAChildProvesItsParentWithCarrierKeys(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	dir := filepath.Join(base, "log")
	file := func(name, content string) string {
		path := filepath.Join(base, name)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	keys := file("keys", "k1:"+strings.Repeat("A", 43)+"=\n")
	rolled := file("rolled", "k2:"+strings.Repeat("B", 43)+"=\n\nk1:"+strings.Repeat("A", 43)+"=\n")
	inner := func(keys string) []string {
		return []string{program, "exec", "--dir", dir, "--action", "inner", "--reason", "x", "--carrier-keys", keys, "--", "true"}
	}
	require.NoError(t, audited(t, dir, append([]string{"--carrier-keys", keys, "--"}, inner(rolled)...)...).Run())
	child, outer := events(t, dir, "--type", "job.submitted", "--action", "inner")[0], events(t, dir, "--type", "job.submitted", "--action", "task")[0]
	require.Equal(t, outer.Job.ID, child.Job.ParentID)

	cmd := audited(t, dir, append([]string{"--"}, inner(keys)...)...)
	out, _ := cmd.CombinedOutput()
	require.Equal(t, 125, cmd.ProcessState.ExitCode(), "the parent signs nothing: %s", out)
	cmd = audited(t, dir, append([]string{"--carrier-keys", file("others", "k1:"+strings.Repeat("C", 43)+"=\n"), "--"}, inner(keys)...)...)
	out, _ = cmd.CombinedOutput()
	require.Equal(t, 125, cmd.ProcessState.ExitCode(), "another's key: %s", out)
	require.Len(t, events(t, dir, "--type", "job.submitted", "--action", "inner"), 1)
	for _, wrong := range []string{"", "\n", "k1", "k1:short", "k1:QUJD", "a b:" + strings.Repeat("A", 43) + "=", "k1:" + strings.Repeat("A", 43) + "=\nk1:" + strings.Repeat("A", 43) + "="} {
		cmd := audited(t, dir, "--carrier-keys", file("wrong", wrong), "--", "true")
		out, _ := cmd.CombinedOutput()
		require.Equal(t, 125, cmd.ProcessState.ExitCode(), "%q: %s", wrong, out)
	}
}

func TestWhatExecStartsIsItsChild(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	require.NoError(t, audited(t, dir, "--", program, "exec", "--dir", dir, "--action", "inner", "--reason", "x", "--", "true").Run())
	inner, outer := events(t, dir, "--type", "job.submitted", "--action", "inner")[0], events(t, dir, "--type", "job.submitted", "--action", "task")[0]
	require.Equal(t, outer.Job.ID, inner.Job.ParentID)
	require.Equal(t, outer.Job.ID, inner.Job.RootID)
}

func TestExecSaysWhoAsksForIt(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	cmd := audited(t, dir, "--", "true")
	cmd.Env = append(os.Environ(), "SUDO_USER=grace")
	require.NoError(t, cmd.Run())
	e := events(t, dir, "--type", "job.submitted")[0]
	require.True(t, e.Who.Principal.Verified)
	require.Equal(t, "uid", e.Who.Principal.AuthMethod)
	require.Equal(t, []jobaudit.Principal{{Kind: jobaudit.User, ID: "grace", AuthMethod: "sudo"}}, e.Who.OnBehalfOf)
	require.NoError(t, audited(t, dir, "--principal", "service:deployer", "--", "true").Run())
	e = events(t, dir, "--type", "job.submitted")[1]
	require.Equal(t, jobaudit.Principal{Kind: jobaudit.Service, ID: "deployer"}, e.Who.Principal)
}

func TestOfArgumentsAndEnvironmentThePolicySaysWhatIsKept(t *testing.T) {
	base := t.TempDir()
	dir, policy := filepath.Join(base, "log"), filepath.Join(base, "policy.json")
	require.NoError(t, os.WriteFile(policy, []byte(`{"version":"7","keep":["program","arguments.3","environment.LEVEL"],"drop":{"environment.DATABASE":"credential"}}`), 0o600))
	const secret = "correct horse battery staple"
	const token = "ghp_0123456789abcdefghijABCDEFGHIJ012345"
	call := func(args ...string) string {
		cmd := audited(t, dir, append(args, "--", "sh", "-c", `echo "level $LEVEL"; echo "connect to $DATABASE"; echo "token $TOKEN"`, "argument")...)
		cmd.Env = append(os.Environ(), "LEVEL=three", "DATABASE="+secret, "TOKEN="+token)
		out, err := cmd.Output()
		require.NoError(t, err)
		require.Contains(t, string(out), secret, "the program prints what it prints")
		return string(theJob(t, dir).Metadata.Inputs)
	}
	require.Equal(t, "null", call())
	kept := call("--policy", policy)
	require.Contains(t, kept, `"program":"sh"`)
	require.Contains(t, kept, `"LEVEL":"three"`)
	require.Contains(t, kept, `"3":"argument"`)
	require.NotContains(t, kept, "DATABASE")
	require.Contains(t, run(t, "list", dir, "--redacted").out, "by policy task 7")

	dir = filepath.Join(base, "other")
	call("--policy", policy)
	for _, hidden := range []string{secret, token} {
		require.Empty(t, filesThatHold(t, dir, hidden))
	}
	require.NotEmpty(t, filesThatHold(t, dir, "level three"))
}

// filesThatHold lists the files below a directory in which a text stands.
func filesThatHold(t *testing.T, dir, text string) (files []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if bytes.Contains(content, []byte(text)) {
			files = append(files, path)
		}
		return err
	}))
	return files
}
