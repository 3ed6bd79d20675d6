//go:build !linux

package filesink_test

import "syscall"

func mountSmall(string) (mount func() error, unmount func()) {
	return func() error { return syscall.ENOTSUP }, func() {}
}
