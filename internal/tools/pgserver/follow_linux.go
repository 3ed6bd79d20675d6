package pgserver

import "syscall"

// follow has the server end with the process that started it.
func follow(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGQUIT }
