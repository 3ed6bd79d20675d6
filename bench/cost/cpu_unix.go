//go:build unix

package cost

import (
	"syscall"
	"time"
)

// CPU is the processor time that this process has taken.
func CPU() time.Duration { return of(syscall.RUSAGE_SELF) }

// Tree is CPU with that of the programs that this one has started, and that have ended.
func Tree() time.Duration { return of(syscall.RUSAGE_SELF) + of(syscall.RUSAGE_CHILDREN) }

func of(who int) time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(who, &u) // it never fails
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
