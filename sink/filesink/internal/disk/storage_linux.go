package disk

import (
	"path/filepath"
	"syscall"
)

// File systems that go with the container or with the machine's next start.
const (
	tmpfs   = 0x01021994
	ramfs   = 0x858458f6
	overlay = 0x794c7630
)

// Storage implements [Disk]. A file system that is mounted for reading only is
// kept by somebody else, as mounted secrets are.
func (OS) Storage(name string) Storage {
	for {
		var stat syscall.Stat_t
		var fs syscall.Statfs_t
		if syscall.Stat(name, &stat) == nil && syscall.Statfs(name, &fs) == nil {
			s := Storage{ID: stat.Dev}
			switch uint32(fs.Type) {
			case tmpfs, ramfs, overlay:
				s.Temporary = fs.Flags&syscall.MS_RDONLY == 0
			}
			return s
		}
		up := filepath.Dir(name)
		if up == name {
			return Storage{}
		}
		name = up
	}
}
