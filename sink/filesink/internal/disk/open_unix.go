//go:build unix

package disk

import "syscall"

// nonBlocking makes opening a pipe return at once. It means nothing for files.
const nonBlocking = syscall.O_NONBLOCK
