// Package disk is the few file operations that a file log uses, as interfaces:
// the seam at which tests count reads, make calls fail and cut the power.
package disk

import (
	"io"
	"io/fs"
	"os"
)

// Disk opens directories.
type Disk interface {
	// OpenDir opens a directory; if create is set, it is made first, with its
	// parents. Without create, the error for one that is not there is
	// [io/fs.ErrNotExist].
	OpenDir(path string, create bool) (Dir, error)
	// Resolve returns the one path that a file or directory has, which need
	// not exist, whatever links lead to it.
	Resolve(path string) (string, error)
	// Storage says on what storage a file or directory is, or would be made.
	Storage(path string) Storage
}

// Storage is a file system.
type Storage struct {
	// ID is equal for the same file system; nil if it is not known.
	ID any
	// Temporary is set if all that is on it goes with the container or with the
	// machine's next start.
	Temporary bool
}

// Dir is an open directory. Names are relative to it, with slashes, and cannot
// leave it. It is safe for concurrent use.
type Dir interface {
	// Create makes a file for reading and writing that must not exist. A
	// secret one can be read by its owner only.
	Create(name string, secret bool) (File, error)
	// Edit opens a file for reading and writing, Open for reading.
	Edit(name string) (File, error)
	Open(name string) (File, error)
	// Rename puts a file in the place of another, if there is one; Link gives
	// a file a second name that must not be taken.
	Rename(from, to string) error
	Link(from, to string) error
	Remove(name string) error
	// Mkdir makes a directory. It is no error if there is one.
	Mkdir(name string) error
	// List returns the names in a directory, sorted. ReadDir says what they are
	// too, without following links.
	List(name string) ([]string, error)
	ReadDir(name string) ([]fs.DirEntry, error)
	Stat(name string) (Info, error)
	// Sync makes the entries of a directory durable, "." those of this one.
	Sync(name string) error
	// Lock takes the process lock that a file stands for, without waiting;
	// the error is [ErrLocked] if somebody has it. Closing gives it back.
	Lock(name string) (io.Closer, error)
	// Locked reports whether somebody has that lock, false where the system does
	// not tell. It does not try the lock, which would keep a writer out for a
	// moment.
	Locked(name string) bool
	// Reach is Stat by the whole path that the directory was opened by: where
	// that leads now, which may be another directory than this one.
	Reach(name string) (Info, error)
	Close() error
}

// File is an open file. Reads may run beside each other and beside one writer.
type File interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
	// Sync makes contents and size durable, not the file's name.
	Sync() error
	Stat() (Info, error)
	Close() error
}

// Info is what a file is.
type Info struct {
	Size int64
	// ID is equal for the same file, and only then, as long as it is held
	// open.
	ID any
	// Mode are the file's permissions, if Permissions says that the system has
	// any: those of Windows are none.
	Mode        fs.FileMode
	Permissions bool
	// info is for the operating system's way to compare.
	info os.FileInfo
}

// Unchanged tells whether two are of the same file, which nobody wrote to between them,
// as far as the system tells.
func (i Info) Unchanged(other Info) bool {
	return i.Same(other) && i.Size == other.Size &&
		(i.info == nil || i.info.ModTime().Equal(other.info.ModTime()))
}

// Same tells whether two are of the same file.
func (i Info) Same(other Info) bool {
	if i.info != nil && other.info != nil {
		return os.SameFile(i.info, other.info)
	}
	return i.ID != nil && i.ID == other.ID
}
