//go:build unix

package watchdog_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/watchdog"
)

// roleVariable makes the test binary one of the processes of the ghost tests.
const roleVariable = "JOBAUDIT_WATCHDOG_TEST"

func TestMain(m *testing.M) {
	roles := map[string]func(dirs []string) error{"worker": beWorker, "watchdog": beWatchdog}
	if role, ok := roles[os.Getenv(roleVariable)]; ok {
		if err := role(os.Args[1:]); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// process is a child that is told what to do, and answers, line by line.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Scanner
}

func spawn(t *testing.T, role string, dirs ...string) *process {
	t.Helper()
	executable, err := os.Executable()
	require.NoError(t, err)
	p := &process{t: t, cmd: exec.CommandContext(t.Context(), executable, dirs...)}
	p.cmd.Env = append(os.Environ(), roleVariable+"="+role)
	p.stdin, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	p.stdout = bufio.NewScanner(stdout)
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
	})
	require.Equal(t, "ready", p.hear())
	return p
}

func (p *process) say(words ...string) {
	p.t.Helper()
	_, err := fmt.Fprintln(p.stdin, strings.Join(words, " "))
	require.NoError(p.t, err)
}

func (p *process) hear() string {
	p.t.Helper()
	require.True(p.t, p.stdout.Scan(), "the process has ended: %v", p.stdout.Err())
	return p.stdout.Text()
}

func (p *process) kill() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Kill())
	require.Error(p.t, p.cmd.Wait())
}

// stop returns once the process stands still.
func (p *process) stop() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGSTOP))
	var status syscall.WaitStatus
	_, err := syscall.Wait4(p.cmd.Process.Pid, &status, syscall.WUNTRACED, nil)
	require.NoError(p.t, err)
	require.True(p.t, status.Stopped())
}

func (p *process) goOn() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGCONT))
}

// leave lets the process end by itself.
func (p *process) leave() {
	p.t.Helper()
	require.NoError(p.t, p.stdin.Close())
	require.NoError(p.t, p.cmd.Wait())
}

// openLog opens the log in a directory and a Recorder that writes to it.
func openLog(ctx context.Context, dir string, where jobaudit.Source, opts *jobaudit.Options) (*filesink.Sink, *jobaudit.Recorder, error) {
	log := filepath.Join(dir, "log")
	key, err := filesink.LoadOrCreateKey(log, filepath.Join(dir, "key"), "example.com/"+filepath.Base(dir))
	if err != nil {
		return nil, nil, err
	}
	sink, err := filesink.Open(ctx, log, key, nil)
	if err != nil {
		return nil, nil, err
	}
	rec, err := jobaudit.Open(ctx, sink, where, opts)
	return sink, rec, err
}

// beWorker runs jobs as it is told. All workers have the same host and instance
// names, as after a restart.
func beWorker(dirs []string) error {
	ctx := context.Background()
	sink, rec, err := openLog(ctx, dirs[0], jobaudit.Source{System: "worker", Environment: "test", Host: "pod-0", Instance: "pod-0"},
		&jobaudit.Options{Heartbeat: -1})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	finish, finished := make(chan error), make(chan error)
	commands := bufio.NewScanner(os.Stdin)
	for commands.Scan() {
		words := strings.Fields(commands.Text())
		switch words[0] {
		case "start": // how long it may be silent, and the carrier of a job that exists
			timeout, err := time.ParseDuration(words[1])
			if err != nil {
				return err
			}
			trail, err := trailOf(ctx, rec, words[2:])
			if err != nil {
				return err
			}
			go func() {
				finished <- trail.Run(ctx, jobaudit.Execution{Deadline: timeout}, func(ctx context.Context) error {
					trail.Heartbeat(ctx, 1, 2)
					if err := trail.Flush(ctx); err != nil {
						return err
					}
					fmt.Println(trail.Carrier(), trail.JobID())
					return <-finish
				})
			}()
		case "succeed":
			finish <- nil
			fmt.Println("ended", <-finished)
		case "fail":
			finish <- errors.New("no space left")
			fmt.Println("ended", <-finished)
		case "panic":
			go func() { panic("out of its mind") }()
			<-finished // it never is
		}
	}
	return errors.Join(rec.Close(ctx), sink.Close())
}

func trailOf(ctx context.Context, rec *jobaudit.Recorder, carrier []string) (*jobaudit.Trail, error) {
	if len(carrier) == 0 {
		return rec.Submit(ctx, submission())
	}
	c, err := jobaudit.ParseCarrier(carrier[0])
	if err != nil {
		return nil, err
	}
	return rec.Resume(ctx, c, nil)
}

// beWatchdog writes to the log in the first directory and watches all of them.
func beWatchdog(dirs []string) error {
	ctx := context.Background()
	sink, rec, err := openLog(ctx, dirs[0], jobaudit.Source{System: "watchdog", Environment: "test"}, nil)
	if err != nil {
		return err
	}
	logs := []jobaudit.AuditReader{sink}
	for _, dir := range dirs[1:] {
		reader, err := filesink.OpenReader(filepath.Join(dir, "log"))
		if err != nil {
			return err
		}
		logs = append(logs, reader)
	}
	fmt.Println("ready")
	commands := bufio.NewScanner(os.Stdin)
	for commands.Scan() { // each time a new one watches
		var forward time.Duration
		dog := watchdog.New(rec, logs, &watchdog.Options{Now: func() time.Time { return time.Now().Add(forward) }})
		findings, err := watch(ctx, dog, &forward)
		fmt.Println(len(findings), err)
	}
	return errors.Join(rec.Close(ctx), sink.Close())
}
