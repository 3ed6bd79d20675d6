package filesink

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"github.com/jobaudit/jobaudit/sink/filesink/internal/disk"
)

// placeCaches makes room for the caches, and their files, in a log that was found to be
// good. Without segments nothing says that the directory is a log's: then what is there
// stays. Without a cache memory has what it would hold.
func (o *opening) placeCaches() {
	tell := func(name string, err error) {
		if err != nil {
			o.opts.OnError(fmt.Errorf("filesink: %s: %w", name, err))
		}
	}
	err := o.dir.Mkdir(indexDir)
	if mode, there, lookErr := typeOf(o.dir, indexDir); err == nil && lookErr == nil && there && !mode.IsDir() && len(o.firsts) > 0 {
		if err = putAside(o.dir, indexDir, o.opts.OnError); err == nil {
			err = o.dir.Mkdir(indexDir)
		}
	}
	tell(indexDir, err)
	if o.noTree == nil {
		return
	}
	mode, there, err := typeOf(o.dir, treeFile)
	if err == nil && there && len(o.firsts) > 0 && (!mode.IsRegular() || errors.Is(o.noTree, fs.ErrPermission)) {
		if err = putAside(o.dir, treeFile, o.opts.OnError); err == nil {
			o.noTree = o.cache.place(o.dir)
		}
	}
	tell(treeFile, errors.Join(o.noTree, err))
}

// typeOf says what lies under a name, if anything does. It follows no link.
func typeOf(dir disk.Dir, name string) (mode fs.FileMode, there bool, err error) {
	entries, err := dir.ReadDir(parent(name))
	for _, e := range entries {
		if e.Name() == path.Base(name) {
			return e.Type(), true, err
		}
	}
	return 0, false, err
}

// makeRoom removes a file of this program's from under a name. What is no file is put
// aside.
func makeRoom(dir disk.Dir, name string, report func(error)) error {
	mode, there, err := typeOf(dir, name)
	switch {
	case err != nil || !there:
		return err
	case mode.IsRegular():
		return dir.Remove(name)
	}
	return putAside(dir, name, report)
}

// putAside gives what lies in a cache's place another name beside it. It may be a
// stranger's: nothing of it is removed.
func putAside(dir disk.Dir, name string, report func(error)) error {
	names, err := dir.List(parent(name))
	if err != nil {
		return err
	}
	found := ""
	for n := 1; found == "" || slices.Contains(names, path.Base(found)); n++ {
		found = fmt.Sprintf("%s.found.%d", name, n)
	}
	if err := errors.Join(dir.Rename(name, found), dir.Sync(parent(name))); err != nil {
		return err
	}
	report(fmt.Errorf("filesink: %s was not made by this program, or cannot be used: it is %s now, and nothing in it was changed", name, found))
	return nil
}
