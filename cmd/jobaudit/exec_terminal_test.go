//go:build linux

package main_test

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// terminal opens a new terminal: what a person types and sees, and what a program has.
func terminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = person.Close() })
	var number uint32
	var unlocked int32
	for request, to := range map[uintptr]unsafe.Pointer{syscall.TIOCGPTN: unsafe.Pointer(&number), syscall.TIOCSPTLCK: unsafe.Pointer(&unlocked)} {
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, person.Fd(), request, uintptr(to))
		require.Zero(t, errno)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = program.Close() })
	return person, program
}

// What a terminal sends reaches exec and its program; what somebody sends to exec, exec
// alone.
func TestAnInterruptReachesTheProgramOnceWhoeverSendsIt(t *testing.T) {
	t.Parallel() // it waits most of the time
	dir := filepath.Join(t.TempDir(), "log")
	person, tty := terminal(t)
	cmd := audited(t, dir, "--", "sh", "-c", `n=0; trap 'n=$((n+1)); echo interrupt $n' INT; trap 'echo quit; kill $s; exit 4' QUIT; sleep 100000 & s=$!; echo ready; while :; do wait $s; done`)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	require.NoError(t, cmd.Start())
	lines := bufio.NewReader(person)
	says := func(text string) {
		for {
			line, err := lines.ReadString('\n')
			require.NoError(t, err, text)
			if strings.Contains(line, text) {
				return
			}
		}
	}
	witness := func(but string) string { // the process ID of another one
		for {
			tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", cmd.Process.Pid))
			require.NoError(t, err)
			require.NotEmpty(t, tasks, "exec has ended")
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
			require.NoError(t, err)
			require.NotContains(t, string(stat), ") Z ", "exec has ended")
			for _, task := range tasks {
				children, _ := os.ReadFile(task)
				for pid := range strings.FieldsSeq(string(children)) {
					line, _ := os.ReadFile("/proc/" + pid + "/cmdline")
					if pid != but && strings.Contains(string(line), "exec-witness") {
						return pid
					}
				}
			}
			runtime.Gosched()
		}
	}
	says("ready")
	first := witness("")
	_, err := person.WriteString("\x03") // Ctrl-C
	require.NoError(t, err)
	says("interrupt 1")
	second := witness(first) // in the place of the one that the terminal has ended
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	says("interrupt 2")
	pid, err := strconv.Atoi(second)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL)) // one that ends late is replaced, too
	witness(second)
	require.NoError(t, cmd.Process.Signal(syscall.SIGQUIT))
	says("quit")
	_ = cmd.Wait()
	require.Equal(t, 4, cmd.ProcessState.ExitCode())
	require.Equal(t, "cancelled", theJob(t, dir).State)
}
