package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
	modpkg "golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"
	"golang.org/x/mod/zip"

	"github.com/jobaudit/jobaudit/internal/tools/house"
)

// modulePath is that of the root; a package below it has its directory appended.
const modulePath = "github.com/jobaudit/jobaudit"

// module is one module of the repository.
type module struct {
	dir   string // relative to the repository, "." for the root
	path  string
	needs []string // the paths of our modules that its go.mod names
}

// published tells whether users can install the module. Examples, benchmarks
// and tools are part of the release commit, and of no module proxy.
func (m module) published() bool {
	for element := range strings.SplitSeq(m.dir, "/") {
		if element == "internal" || element == "examples" || element == "example" || element == "bench" {
			return false
		}
	}
	return true
}

// tag is the name under which the go command finds a version of the module.
func (m module) tag(version string) string {
	if m.dir == "." {
		return version
	}
	return m.dir + "/" + version
}

// subdir is dir as x/mod/zip wants it.
func (m module) subdir() string {
	if m.dir == "." {
		return ""
	}
	return m.dir
}

// inOrder returns the modules of a repository, each one behind those that it
// needs.
func inOrder(root string) ([]module, error) {
	dirs, err := house.Modules(root)
	if err != nil {
		return nil, err
	}
	var waiting, ordered []module
	for _, dir := range dirs {
		file, err := readMod(root, dir)
		if err != nil {
			return nil, err
		}
		waiting = append(waiting, module{dir: dir, path: file.Module.Mod.Path})
	}
	for i := range waiting {
		m := &waiting[i]
		file, err := readMod(root, m.dir)
		if err != nil {
			return nil, err
		}
		for _, required := range file.Require {
			if slices.ContainsFunc(waiting, func(other module) bool { return other.path == required.Mod.Path }) {
				m.needs = append(m.needs, required.Mod.Path)
			}
		}
	}
	for len(waiting) > 0 {
		next := slices.IndexFunc(waiting, func(m module) bool {
			return !slices.ContainsFunc(waiting, func(other module) bool { return slices.Contains(m.needs, other.path) })
		})
		if next < 0 {
			return nil, errors.New("modules need each other in a circle")
		}
		ordered = append(ordered, waiting[next])
		waiting = slices.Delete(waiting, next, next+1)
	}
	return ordered, nil
}

func readMod(root, dir string) (*modfile.File, error) {
	name := filepath.Join(root, filepath.FromSlash(dir), "go.mod")
	content, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return modfile.Parse(name, content, nil)
}

// archive is a released module: what a module proxy serves of it.
type archive struct {
	module
	version  string
	mod, zip []byte
}

// released rewrites the go.mod and go.sum of every module in a clone to those
// of a release, and returns the published modules.
func released(ctx context.Context, clone, version string) ([]archive, error) {
	modules, err := inOrder(clone)
	if err != nil {
		return nil, err
	}
	sums := make(map[string]string) // go.sum's lines, by module path
	var archives []archive
	for _, m := range modules {
		if err := m.release(clone, version, sums); err != nil {
			return nil, fmt.Errorf("release %s: %w", m.path, err)
		}
		if !m.published() {
			continue
		}
		a, err := m.pack(ctx, clone, version)
		if err != nil {
			return nil, fmt.Errorf("pack %s: %w", m.path, err)
		}
		if sums[m.path], err = a.sums(); err != nil {
			return nil, fmt.Errorf("hash %s: %w", m.path, err)
		}
		archives = append(archives, a)
	}
	return archives, nil
}

// release has the module require the version of those that it needs.
func (m module) release(clone, version string, sums map[string]string) error {
	file, err := readMod(clone, m.dir)
	if err != nil {
		return err
	}
	dir := filepath.Join(clone, filepath.FromSlash(m.dir))
	sum, err := os.ReadFile(filepath.Join(dir, "go.sum"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	lines := strings.SplitAfter(string(sum), "\n")
	kept := make(map[string]bool)
	for _, need := range m.needs {
		if sums[need] == "" {
			if m.published() {
				return fmt.Errorf("it needs %s, which is not published", need)
			}
			kept[need] = true // both are in the commit, side by side
			continue
		}
		if err := file.AddRequire(need, version); err != nil {
			return err
		}
		if err := file.DropReplace(need, ""); err != nil {
			return err
		}
		lines = append(lines, strings.SplitAfter(sums[need], "\n")...)
	}
	file.Cleanup() // of the lines that were dropped
	for _, replaced := range file.Replace {
		if !kept[replaced.Old.Path] {
			return fmt.Errorf("%s is replaced, which installed modules cannot have", replaced.Old.Path)
		}
	}
	content, err := file.Format()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), content, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "go.sum"), []byte(strings.Join(sorted(lines), "")), 0o644)
}

// sorted sorts the lines of a go.sum as the go command does: by path, and then
// by version, where v0.6.0 comes before v0.30.0.
func sorted(lines []string) []string {
	of := make(map[modpkg.Version]string, len(lines))
	var versions []modpkg.Version
	for _, line := range lines {
		if parts := strings.Fields(line); len(parts) == 3 {
			v := modpkg.Version{Path: parts[0], Version: parts[1]}
			of[v] = line
			versions = append(versions, v)
		}
	}
	modpkg.Sort(versions)
	ordered := make([]string, len(versions))
	for i, v := range versions {
		ordered[i] = of[v]
	}
	return ordered
}

// pack makes the module's zip from the clone as it is now, as the go command
// makes it from a commit: by git archive, with the repository's license.
func (m module) pack(ctx context.Context, clone, version string) (archive, error) {
	if _, err := git(ctx, clone, "add", "--all"); err != nil {
		return archive{}, err
	}
	tree, err := git(ctx, clone, "write-tree")
	if err != nil {
		return archive{}, err
	}
	var packed bytes.Buffer
	v := modpkg.Version{Path: m.path, Version: version}
	if err := zip.CreateFromVCS(&packed, v, clone, tree, m.subdir()); err != nil {
		return archive{}, err
	}
	mod, err := os.ReadFile(filepath.Join(clone, filepath.FromSlash(m.dir), "go.mod"))
	return archive{module: m, version: version, mod: mod, zip: packed.Bytes()}, err
}

// sums returns the module's two lines of go.sum.
func (a archive) sums() (string, error) {
	temp, err := os.CreateTemp("", "release-*.zip")
	if err != nil {
		return "", err
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(a.zip)
	if err := errors.Join(err, temp.Close()); err != nil {
		return "", err
	}
	whole, err := dirhash.HashZip(temp.Name(), dirhash.Hash1)
	if err != nil {
		return "", err
	}
	mod, err := dirhash.Hash1([]string{"go.mod"}, func(string) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(a.mod)), nil
	})
	return fmt.Sprintf("%s %s %s\n%s %s/go.mod %s\n", a.path, a.version, whole, a.path, a.version, mod), err
}

// serve writes the module to a directory that is a module proxy.
func (a archive) serve(dir string) error {
	escaped, err := modpkg.EscapePath(a.path)
	if err != nil {
		return err
	}
	dir = filepath.Join(dir, filepath.FromSlash(path.Join(escaped, "@v")))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	info := fmt.Appendf(nil, "{\"Version\":%q}\n", a.version)
	for name, content := range map[string][]byte{
		"list": []byte(a.version + "\n"), a.version + ".info": info, a.version + ".mod": a.mod, a.version + ".zip": a.zip,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}
