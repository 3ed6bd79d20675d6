// Package simdisk makes disks fail, for the tests of a file log.
package simdisk

import (
	"errors"
	"io"
	"sync"

	"github.com/jobaudit/jobaudit/sink/filesink/internal/disk"
)

// OS is the operating system's disk.
var OS disk.Disk = disk.OS{}

// An Op is one call on a disk.
type Op struct {
	Kind string // "write", "sync", "truncate", "create", "rename", "link", "remove", "mkdir", "syncdir", "read", "open", "stat", "list"
	Name string // of the file, from the directory that was opened
	Off  int64
	Size int // of a read or write
}

// Changes tells whether the call can change what is on the disk.
func (o Op) Changes() bool {
	switch o.Kind {
	case "read", "open", "stat", "list":
		return false
	}
	return true
}

// Faults is a disk before which something may come between each call: Before
// may wait, or return an error, which the call then returns without having
// done anything; a write that fails with [ErrShort] has written half.
type Faults struct {
	disk.Disk

	mu     sync.Mutex
	before func(Op) error
}

// ErrShort makes a write stop half way.
var ErrShort = errors.New("short write")

// NewFaults returns a healthy disk that can be made to fail.
func NewFaults(d disk.Disk) *Faults { return &Faults{Disk: d} }

// Before sets what comes before each call; nil for nothing.
func (f *Faults) Before(before func(Op) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before = before
}

func (f *Faults) do(op Op) error {
	f.mu.Lock()
	before := f.before
	f.mu.Unlock()
	if before == nil {
		return nil
	}
	return before(op)
}

// Hang makes each changing call wait until heal is called.
func (f *Faults) Hang() (heal func()) {
	healed := make(chan struct{})
	f.Before(func(op Op) error {
		if op.Changes() {
			<-healed
		}
		return nil
	})
	return func() { f.Before(nil); close(healed) }
}

// ErrInjected is the error of a call that was made to fail.
var ErrInjected = errors.New("injected: input/output error")

// FailAfter makes each changing call fail after so many healthy ones.
func (f *Faults) FailAfter(healthy int) (heal func()) {
	var mu sync.Mutex
	n := 0
	f.Before(func(op Op) error {
		if !op.Changes() {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		if n++; n > healthy {
			return ErrInjected
		}
		return nil
	})
	return func() { f.Before(nil) }
}

// OpenDir implements [disk.Disk].
func (f *Faults) OpenDir(path string, create bool) (disk.Dir, error) {
	kind := "open"
	if create {
		kind = "mkdir"
	}
	if err := f.do(Op{Kind: kind, Name: path}); err != nil {
		return nil, err
	}
	d, err := f.Disk.OpenDir(path, create)
	if err != nil {
		return nil, err
	}
	return faultyDir{d, f}, nil
}

type faultyDir struct {
	disk.Dir
	f *Faults
}

func (d faultyDir) file(kind, name string, open func(string) (disk.File, error)) (disk.File, error) {
	if err := d.f.do(Op{Kind: kind, Name: name}); err != nil {
		return nil, err
	}
	f, err := open(name)
	if err != nil {
		return nil, err
	}
	return faultyFile{f, name, d.f}, nil
}

func (d faultyDir) Create(name string, secret bool) (disk.File, error) {
	return d.file("create", name, func(name string) (disk.File, error) { return d.Dir.Create(name, secret) })
}
func (d faultyDir) Edit(name string) (disk.File, error) { return d.file("open", name, d.Dir.Edit) }
func (d faultyDir) Open(name string) (disk.File, error) { return d.file("open", name, d.Dir.Open) }

func (d faultyDir) then(kind, name string, do func() error) error {
	if err := d.f.do(Op{Kind: kind, Name: name}); err != nil {
		return err
	}
	return do()
}

func (d faultyDir) Rename(from, to string) error {
	return d.then("rename", to, func() error { return d.Dir.Rename(from, to) })
}

func (d faultyDir) Link(from, to string) error {
	return d.then("link", to, func() error { return d.Dir.Link(from, to) })
}

func (d faultyDir) Remove(name string) error {
	return d.then("remove", name, func() error { return d.Dir.Remove(name) })
}

func (d faultyDir) Mkdir(name string) error {
	return d.then("mkdir", name, func() error { return d.Dir.Mkdir(name) })
}

func (d faultyDir) Sync(name string) error {
	return d.then("syncdir", name, func() error { return d.Dir.Sync(name) })
}

func (d faultyDir) Lock(name string) (io.Closer, error) {
	if err := d.f.do(Op{Kind: "open", Name: name}); err != nil {
		return nil, err
	}
	return d.Dir.Lock(name)
}

func (d faultyDir) List(name string) ([]string, error) {
	if err := d.f.do(Op{Kind: "list", Name: name}); err != nil {
		return nil, err
	}
	return d.Dir.List(name)
}

func (d faultyDir) Stat(name string) (disk.Info, error) {
	if err := d.f.do(Op{Kind: "stat", Name: name}); err != nil {
		return disk.Info{}, err
	}
	return d.Dir.Stat(name)
}

func (d faultyDir) Reach(name string) (disk.Info, error) {
	if err := d.f.do(Op{Kind: "stat", Name: name}); err != nil {
		return disk.Info{}, err
	}
	return d.Dir.Reach(name)
}

type faultyFile struct {
	disk.File
	name string
	f    *Faults
}

func (x faultyFile) ReadAt(b []byte, off int64) (int, error) {
	if err := x.f.do(Op{Kind: "read", Name: x.name, Off: off, Size: len(b)}); err != nil {
		return 0, err
	}
	return x.File.ReadAt(b, off)
}

func (x faultyFile) WriteAt(b []byte, off int64) (int, error) {
	err := x.f.do(Op{Kind: "write", Name: x.name, Off: off, Size: len(b)})
	if errors.Is(err, ErrShort) {
		n, _ := x.File.WriteAt(b[:len(b)/2], off) // it is to fail in any case
		return n, err
	}
	if err != nil {
		return 0, err
	}
	return x.File.WriteAt(b, off)
}

func (x faultyFile) Truncate(size int64) error {
	if err := x.f.do(Op{Kind: "truncate", Name: x.name, Off: size}); err != nil {
		return err
	}
	return x.File.Truncate(size)
}

func (x faultyFile) Sync() error {
	if err := x.f.do(Op{Kind: "sync", Name: x.name}); err != nil {
		return err
	}
	return x.File.Sync()
}
