package main

import "syscall"

// attributes let the system kill the program when exec is killed in a way that
// it cannot pass on: it would go on with no record.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
