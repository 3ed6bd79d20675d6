//go:build !unix

package pgserver

import "syscall"

// runAs does nothing: where there is no root, there is no other user to run as.
func runAs(*syscall.SysProcAttr, uint32, uint32) {}
