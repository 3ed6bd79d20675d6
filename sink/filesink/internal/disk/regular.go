package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// ErrNotRegular means that something stands where a file should be, or a
// directory, and is none: a pipe or a device would hold up its reader.
var ErrNotRegular = errors.New("not a regular file")

// openRegular opens a file; the error is [ErrNotRegular] for anything else, and
// comes at once.
func openRegular(root *os.Root, name string, flag int, mode fs.FileMode) (*os.File, error) {
	f, err := root.OpenFile(name, flag|nonBlocking, mode)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: %w", name, ErrNotRegular)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// openRoot is [os.OpenRoot], but does not wait for the other end of a pipe.
func openRoot(name string) (*os.Root, error) {
	if info, err := os.Stat(name); err != nil {
		return nil, err
	} else if !info.IsDir() {
		return nil, fmt.Errorf("%s: not a directory: %w", name, ErrNotRegular)
	}
	return os.OpenRoot(name)
}

// openFolder opens a directory below another.
func openFolder(root *os.Root, name string) (*os.File, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|nonBlocking, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s: not a directory: %w", name, ErrNotRegular)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
