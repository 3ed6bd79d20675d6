package filesink

import "github.com/jobaudit/jobaudit/sink/filesink/internal/disk"

// On returns the options for a log on another disk.
func On(d disk.Disk, opts *Options) *Options {
	var o Options
	if opts != nil {
		o = *opts
	}
	o.disk = d
	return &o
}

// LoadOrCreateKeyOn is LoadOrCreateKey on another disk.
func LoadOrCreateKeyOn(d disk.Disk, dir, keyPath, name string) (*Key, error) {
	return loadOrCreateKey(d, dir, keyPath, name)
}
