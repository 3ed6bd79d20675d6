package disk

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// locked looks the file up in the kernel's list of locks (proc_locks(5)).
func locked(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	list, err := os.Open("/proc/locks")
	if err != nil {
		return false
	}
	defer list.Close()
	// 1: FLOCK  ADVISORY  WRITE 1234 fd:01:5678 0 EOF
	dev := uint64(stat.Dev)
	major := dev>>8&0xfff | dev>>32&^0xfff
	minor := dev&0xff | dev>>12&^0xff
	want := fmt.Sprintf("%02x:%02x:%d", major, minor, stat.Ino)
	for s := bufio.NewScanner(list); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) > 5 && fields[1] == "FLOCK" && fields[5] == want {
			return true
		}
	}
	return false
}
