package mirror

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

// temporary is how the names of files begin that are being written.
const temporary = ".new-"

// A Directory is a Store in a directory: on another disk, on a share that is
// mounted, on a volume that keeps snapshots. An object is a file: written under
// another name, synced, linked to its own, and the directory synced. So nothing
// is overwritten by the mirror, and nothing is half there. The directory does not
// keep anybody else from changing it; what does is the file system (another
// host's, append-only, snapshots) or the Store of sink/s3mirror.
type Directory struct {
	root  *os.Root
	mu    sync.Mutex
	swept map[string]bool // directories in which leftovers were looked for
}

// OpenDirectory opens a directory as a Store. With create set it is made if it
// is not there; without, the error is [fs.ErrNotExist] then. Another disk that
// is not mounted is not there either: a directory inside of the mount, made once,
// tells that apart.
func OpenDirectory(dir string, create bool) (*Directory, error) {
	if create {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("mirror: %w", err)
		}
	}
	// Of a pipe, opening would wait for the other end.
	if info, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("mirror: %w", err)
	} else if !info.IsDir() {
		return nil, fmt.Errorf("mirror: %s is not a directory", dir)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("mirror: %w", err)
	}
	return &Directory{root: root, swept: map[string]bool{}}, nil
}

// Close lets go of the directory.
func (d *Directory) Close() error { return d.root.Close() }

// Put is [Store.Put].
func (d *Directory) Put(ctx context.Context, name string, data []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := d.root.Lstat(name); err == nil {
		return fmt.Errorf("put %s: %w", name, ErrExists)
	}
	dir := path.Dir(name)
	if err := d.mkdir(dir); err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	d.sweep(dir)
	temp := path.Join(dir, temporary+rand.Text())
	defer d.root.Remove(temp) // it is only another name of the object, or of nothing
	if err := d.write(temp, data); err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	switch err := d.root.Link(temp, name); {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("put %s: %w", name, ErrExists)
	case err != nil:
		return fmt.Errorf("put %s: %w", name, err)
	}
	if err := d.sync(dir); err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	stored, err := d.read(name, int64(len(data)))
	if err == nil && !bytes.Equal(stored, data) {
		err = errors.New("what was stored is not what was written")
	}
	if err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	return nil
}

// mkdir makes a directory and syncs the ones above, so that it stays.
func (d *Directory) mkdir(dir string) error {
	if info, err := d.root.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	above := path.Dir(dir)
	if above != dir {
		if err := d.mkdir(above); err != nil {
			return err
		}
	}
	if err := d.root.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return d.sync(above)
}

// leftOver is how old a file is that nobody writes any more.
const leftOver = 24 * time.Hour

// sweep removes what killed processes left in a directory, once. What cannot be removed
// is in nobody's way.
func (d *Directory) sweep(dir string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.swept[dir] {
		return
	}
	d.swept[dir] = true
	f, err := d.root.Open(dir)
	if err != nil {
		return
	}
	names, _ := f.Readdirnames(-1)
	_ = f.Close() // it was only read
	for _, name := range names {
		if !strings.HasPrefix(name, temporary) {
			continue
		}
		name = path.Join(dir, name)
		if info, err := d.root.Lstat(name); err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > leftOver {
			_ = d.root.Remove(name)
		}
	}
}

func (d *Directory) write(name string, data []byte) error {
	f, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func (d *Directory) sync(dir string) error {
	f, err := d.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Get is [Store.Get]: a directory holds one object of a name at most. What takes the
// name and is no file, such as a directory, a pipe or a link that leads nowhere, is an
// empty object: Put finds the name taken.
func (d *Directory) Get(ctx context.Context, name string, most int64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		data, err := d.read(name, most)
		if err == nil {
			err = ctx.Err()
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			yield(nil, fmt.Errorf("get %s: %w", name, err))
		default:
			yield(data, nil)
		}
	}
}

func (d *Directory) read(name string, most int64) ([]byte, error) {
	info, err := d.root.Lstat(name) // before it is opened: a pipe would wait
	if err == nil && info.Mode()&fs.ModeSymlink != 0 {
		info, err = d.root.Stat(name)
		if err != nil && !errors.Is(err, fs.ErrPermission) {
			return nil, nil // it leads nowhere, or out of the directory
		}
	}
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, nil
	}
	f, err := d.root.Open(name)
	if err != nil {
		return nil, err
	}
	data := make([]byte, min(info.Size(), most+1))
	_, err = io.ReadFull(f, data)
	return data, errors.Join(err, f.Close())
}

// List is [Store.List].
func (d *Directory) List(ctx context.Context, prefix, from string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		var names []string
		err := fs.WalkDir(d.root.FS(), walkFrom(prefix), func(name string, entry fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrPermission) && name != walkFrom(prefix):
				return fs.SkipDir // no directory of the mirror's: those are its own
			case err != nil:
				return err
			case ctx.Err() != nil:
				return ctx.Err()
			case entry.IsDir() || strings.HasPrefix(path.Base(name), temporary):
			case strings.HasPrefix(name, prefix) && name >= from:
				names = append(names, name)
			}
			return nil
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			yield("", fmt.Errorf("list %s: %w", prefix, err))
			return
		}
		slices.Sort(names)
		for _, name := range names {
			if !yield(name, nil) {
				return
			}
		}
	}
}

// walkFrom is the directory that holds all names with a prefix.
func walkFrom(prefix string) string {
	if i := strings.LastIndexByte(prefix, '/'); i > 0 {
		return prefix[:i]
	}
	return "."
}

// Stored returns when an object was stored, by the clock of the file system.
func (d *Directory) Stored(_ context.Context, name string) (time.Time, error) {
	info, err := d.root.Stat(name)
	if err != nil {
		return time.Time{}, fmt.Errorf("mirror: %w", err)
	}
	return info.ModTime(), nil
}
