//go:build unix && !linux && !solaris && !aix

package main

import "syscall"

// attributes: a program goes on here when exec is killed.
func attributes() *syscall.SysProcAttr { return nil }
