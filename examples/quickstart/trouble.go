package main

import (
	"errors"
	"os"
	"path/filepath"
)

// trouble is a temporary folder of our own, in which things go wrong.
type trouble struct {
	dir  string
	root *os.Root
}

// newTrouble makes the folder. Close removes it.
func newTrouble() (*trouble, error) {
	dir, err := os.MkdirTemp("", "quickstart-")
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, err
	}
	t := &trouble{dir: dir}
	for _, name := range []string{"deleted/kept.txt", "deleted/soon-gone.txt", "written/report.txt"} {
		file := filepath.Join(dir, filepath.FromSlash(name))
		err = errors.Join(err, os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte("some text\n"), 0o600))
	}
	if err == nil {
		t.root, err = os.OpenRoot(dir)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return t, nil
}

// strike deletes one of the files and makes another one longer: between the
// moment when they are listed and the one when they are hashed.
func (t *trouble) strike() error {
	if err := t.root.Remove("deleted/soon-gone.txt"); err != nil {
		return err
	}
	file, err := t.root.OpenFile("written/report.txt", os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString("and some more\n")
	return errors.Join(err, file.Close())
}

// Close removes the folder.
func (t *trouble) Close() error {
	return errors.Join(t.root.Close(), os.RemoveAll(t.dir))
}
