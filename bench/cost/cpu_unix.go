//go:build unix

package cost

import (
	"syscall"
	"time"
)

// CPU is the processor time that this process has taken.
func CPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // it never fails
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
