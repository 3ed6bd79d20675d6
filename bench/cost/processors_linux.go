package cost

import (
	"errors"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Processors are those that this process may use.
func Processors() (all []int) {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) != nil {
		return nil
	}
	for i := range 1024 { // as many as the set has room for
		if set.IsSet(i) {
			all = append(all, i)
		}
	}
	return all
}

// StartOn calls a function that starts a process, which is to use these processors
// only.
func StartOn(processors []int, start func() error) (err error) {
	runtime.LockOSThread() // a process may use what the thread may that starts it
	defer runtime.UnlockOSThread()
	var before, set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	for _, i := range processors {
		set.Set(i)
	}
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.SchedSetaffinity(0, &before)) }()
	return start()
}

// Follow has a process end with this one.
func Follow(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
