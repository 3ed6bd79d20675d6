//go:build !unix

package pgserver

import "syscall"

// runAs does nothing: where there is no root, nobody has to leave it.
func runAs(*syscall.SysProcAttr, uint32, uint32) {}
