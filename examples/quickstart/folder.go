package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// file is a file as it was when its folder was listed.
type file struct {
	name string
	size int64
}

// folder is a folder and the regular files in it.
type folder struct {
	name  string // in the manifest
	tree  *tree
	dir   string // in the tree
	files []file
	err   error // of the listing
}

// tree is a folder with all that is below it.
type tree struct {
	*os.Root
	prefix string          // of the names in the manifest
	skip   map[string]bool // what is left out, by absolute path
}

// skipped tells whether a folder or a file is left out. Git's own always are.
func (t *tree) skipped(name string) bool {
	return path.Base(name) == ".git" || t.skip[filepath.Join(t.Name(), filepath.FromSlash(name))]
}

// folders returns the folders in the tree that hold regular files, and those
// that cannot be read. Links are not followed.
func (t *tree) folders() ([]*folder, error) {
	var folders []*folder
	err := fs.WalkDir(t.FS(), ".", func(dir string, d fs.DirEntry, err error) error {
		switch {
		case d == nil || err != nil && dir == ".":
			return err
		case d.IsDir() && t.skipped(dir):
			return fs.SkipDir
		case err != nil || !d.IsDir(): // what is wrong with a folder, list has seen itself
			return nil
		}
		f := &folder{name: path.Join(t.prefix, dir), tree: t, dir: dir}
		if f.err = f.list(); f.err != nil || len(f.files) > 0 {
			folders = append(folders, f)
		}
		return nil
	})
	return folders, err
}

// list looks at which files the folder has, and how large they are.
func (f *folder) list() error {
	entries, err := fs.ReadDir(f.tree.FS(), f.dir)
	if err != nil {
		return err
	}
	f.files = f.files[:0]
	for _, entry := range entries {
		if !entry.Type().IsRegular() || f.tree.skipped(path.Join(f.dir, entry.Name())) {
			continue
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		f.files = append(f.files, file{entry.Name(), info.Size()})
	}
	return nil
}

// hash returns the folder's part of the manifest.
func (f *folder) hash(ctx context.Context) (*manifest, error) {
	if f.err != nil {
		return nil, f.err
	}
	m := new(manifest)
	for _, file := range f.files {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		sum, err := f.sum(file)
		if err != nil {
			return nil, err
		}
		m.add(path.Join(f.name, file.name), file.size, sum)
	}
	return m, nil
}

func (f *folder) sum(file file) ([]byte, error) {
	opened, err := f.tree.Open(path.Join(f.dir, file.name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &fileError{"NOT_FOUND", file.name + " was listed and is gone"}
	}
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	h := sha256.New()
	n, err := io.Copy(h, opened)
	if err != nil {
		return nil, err
	}
	if n != file.size {
		return nil, &fileError{"CHANGED", fmt.Sprintf("%s had %d bytes when it was listed, and has %d", file.name, file.size, n)}
	}
	return h.Sum(nil), nil
}

// fileError says what is wrong with a file.
type fileError struct{ code, problem string }

func (e *fileError) Error() string { return e.problem }

// JobErrorCode is how an error tells a job's record its code.
func (e *fileError) JobErrorCode() string { return e.code }

// temporary tells whether it may be better if the folder is listed again.
func (e *fileError) temporary() bool { return e.code == "CHANGED" }

// manifest is a list of files in the format of sha256sum.
type manifest struct {
	lines []string
	bytes int64 // of the files together
}

// escapes are sha256sum's, for names that would break a line.
var escapes = strings.NewReplacer("\\", `\\`, "\n", `\n`, "\r", `\r`)

func (m *manifest) add(name string, size int64, sum []byte) {
	mark, escaped := "", escapes.Replace(name)
	if escaped != name {
		mark = `\`
	}
	m.lines = append(m.lines, fmt.Sprintf("%s%x  %s\n", mark, sum, escaped))
	m.bytes += size
}

// join adds the lines of another manifest.
func (m *manifest) join(other *manifest) {
	m.lines, m.bytes = append(m.lines, other.lines...), m.bytes+other.bytes
}

// text returns the manifest's lines by name.
func (m *manifest) text() string {
	slices.SortFunc(m.lines, func(a, b string) int {
		return strings.Compare(a[strings.Index(a, "  "):], b[strings.Index(b, "  "):])
	})
	return strings.Join(m.lines, "")
}

// sum returns the SHA-256 hash of the manifest.
func (m *manifest) sum() string { return fmt.Sprintf("%x", sha256.Sum256([]byte(m.text()))) }
