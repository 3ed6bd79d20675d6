//go:build unix

package pgserver

import "syscall"

// runAs has the server run as another user.
func runAs(attr *syscall.SysProcAttr, uid, gid uint32) {
	attr.Credential = &syscall.Credential{Uid: uid, Gid: gid}
}
