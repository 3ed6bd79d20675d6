package main

import "syscall"

// attributes let the system kill the program when exec is killed in a way that
// it cannot pass on: it would go on with no record. It does not hold for a program that is
// set-user-ID or changes its user, for which the system forgets it.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
