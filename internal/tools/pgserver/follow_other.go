//go:build !linux

package pgserver

import "syscall"

func follow(*syscall.SysProcAttr) {}
