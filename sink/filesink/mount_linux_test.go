package filesink_test

import "syscall"

// mountSmall returns what mounts a file system of 1 MiB, and takes it away.
func mountSmall(dir string) (mount func() error, unmount func()) {
	return func() error { return syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m") },
		func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }
}
