//go:build unix && !linux

package pgserver

import "syscall"

func follow(*syscall.SysProcAttr) {}
