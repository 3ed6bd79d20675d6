//go:build unix && !solaris && !aix

package disk

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// lock uses flock(2): it belongs to the open file, so it also keeps out a
// second open in the same process, and it ends with the process.
func lock(root *os.Root, name string) (io.Closer, error) {
	f, err := openRegular(root, name, os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err != syscall.EINTR {
			break
		}
	}
	if err != nil {
		_ = f.Close() // nothing was written to it
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrLocked
		}
		return nil, os.NewSyscallError("flock", err)
	}
	return flocked{f}, nil
}

// flocked is a file that is locked.
type flocked struct{ *os.File }

// Close gives the lock back at once: a process that was just forked has the file
// open too, until it runs its own program.
func (f flocked) Close() error {
	return errors.Join(os.NewSyscallError("flock", syscall.Flock(int(f.Fd()), syscall.LOCK_UN)), f.File.Close())
}
