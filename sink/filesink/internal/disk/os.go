package disk

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// ErrLocked means that another process, or another open log of this process,
// has the lock.
var ErrLocked = errors.New("in use by another writer")

// Gone tells errors about files that are no longer there from those of a disk
// that does not answer.
func Gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// Full tells a disk, or somebody's share of it, that has no room.
func Full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// OS is the operating system's disk.
type OS struct{}

// Files hold what jobs did for whom: they are the owner's, and his group's.
const (
	dirMode  = 0o750
	fileMode = 0o640
)

// OpenDir implements [Disk].
func (OS) OpenDir(name string, create bool) (Dir, error) {
	if create {
		if err := makeDir(name); err != nil {
			return nil, err
		}
	}
	name, err := filepath.Abs(name)
	if err != nil {
		return nil, err
	}
	root, err := openRoot(name)
	if err != nil {
		return nil, err
	}
	return &osDir{path: name, root: root}, nil
}

// Resolve implements [Disk].
func (OS) Resolve(name string) (string, error) {
	name, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	rest := ""
	for {
		resolved, err := filepath.EvalSymlinks(name)
		if err == nil {
			return filepath.Join(resolved, rest), nil
		}
		up := filepath.Dir(name)
		if !errors.Is(err, fs.ErrNotExist) || up == name {
			return "", err
		}
		name, rest = up, filepath.Join(filepath.Base(name), rest)
	}
}

// makeDir makes a directory and its parents, and their names durable.
func makeDir(name string) error {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return nil
	}
	parent := filepath.Dir(name)
	if parent != name {
		if err := makeDir(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(name, dirMode); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil // somebody else made it, or it is a file: opening tells
		}
		return err
	}
	return syncDir(os.Open(parent))
}

// syncDir does nothing on Windows, where directories cannot be synced.
func syncDir(f *os.File, err error) error {
	if err != nil {
		return err
	}
	if runtime.GOOS == "windows" {
		return f.Close()
	}
	return errors.Join(f.Sync(), f.Close())
}

// osDir is a directory behind an [os.Root].
type osDir struct {
	path string
	root *os.Root
}

func (d *osDir) open(name string, flag int, mode fs.FileMode) (File, error) {
	f, err := openRegular(d.root, name, flag, mode)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (d *osDir) Create(name string, secret bool) (File, error) {
	mode := fs.FileMode(fileMode)
	if secret {
		mode = 0o600
	}
	return d.open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
}

func (d *osDir) Edit(name string) (File, error)      { return d.open(name, os.O_RDWR, 0) }
func (d *osDir) Open(name string) (File, error)      { return d.open(name, os.O_RDONLY, 0) }
func (d *osDir) Rename(from, to string) error        { return d.root.Rename(from, to) }
func (d *osDir) Link(from, to string) error          { return d.root.Link(from, to) }
func (d *osDir) Remove(name string) error            { return d.root.Remove(name) }
func (d *osDir) Close() error                        { return d.root.Close() }
func (d *osDir) Lock(name string) (io.Closer, error) { return lock(d.root, name) }

func (d *osDir) Mkdir(name string) error {
	if err := d.root.Mkdir(name, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func (d *osDir) List(name string) ([]string, error) {
	f, err := openFolder(d.root, name)
	if err != nil {
		return nil, err
	}
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, errors.Join(err, f.Close())
}

func (d *osDir) ReadDir(name string) ([]fs.DirEntry, error) {
	f, err := openFolder(d.root, name)
	if err != nil {
		return nil, err
	}
	entries, err := f.ReadDir(-1)
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, errors.Join(err, f.Close())
}

func (d *osDir) Locked(name string) bool {
	info, err := d.root.Stat(name)
	return err == nil && locked(info)
}

func (d *osDir) Stat(name string) (Info, error) {
	info, err := d.root.Stat(name)
	if err != nil {
		return Info{}, err
	}
	return infoOf(info), nil
}

func (d *osDir) Sync(name string) error { return syncDir(openFolder(d.root, name)) }

func (d *osDir) Reach(name string) (Info, error) {
	info, err := os.Stat(filepath.Join(d.path, name))
	if err != nil {
		return Info{}, err
	}
	return infoOf(info), nil
}

// osFile is an [os.File].
type osFile struct{ *os.File }

func (f osFile) Stat() (Info, error) {
	info, err := f.File.Stat()
	if err != nil {
		return Info{}, err
	}
	return infoOf(info), nil
}

func infoOf(info fs.FileInfo) Info {
	return Info{Size: info.Size(), Mode: info.Mode().Perm(), Permissions: runtime.GOOS != "windows", info: info}
}
