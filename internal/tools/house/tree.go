package house

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
)

// Files returns the slash-separated paths, relative to root, of all files that
// git tracks or would track. Where git or its repository is missing (a source
// archive, say), that is every file outside .git and node_modules.
func Files(root string) ([]string, error) {
	var files []string
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.Name() == ".git" || entry.Name() == "node_modules":
			if entry.IsDir() {
				return fs.SkipDir
			}
		case entry.Type().IsRegular():
			files = append(files, name)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("walk %s: %w", root, err)
	}
	ignored, err := gitIgnored(root, files)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(files, func(name string) bool { return ignored[name] }), nil
}

// gitIgnored returns those of the files that git ignores.
func gitIgnored(root string, files []string) (map[string]bool, error) {
	const noRepository = 128 // git's exit codes: 1 none is ignored, 128 cannot tell
	cmd := exec.Command("git", "check-ignore", "-z", "--stdin")
	cmd.Dir = root
	cmd.Stdin = strings.NewReader(strings.Join(files, "\x00"))
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && (exit.ExitCode() == 1 || exit.ExitCode() == noRepository) {
		return nil, nil
	}
	if errors.Is(err, exec.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("git check-ignore in %s: %w", root, err)
	}
	ignored := make(map[string]bool)
	for name := range bytes.SplitSeq(out, []byte{0}) {
		ignored[string(name)] = true
	}
	return ignored, nil
}

// Modules returns the directories, relative to root and sorted, of the modules
// in root: each one with a go.mod among [Files], except in the directories that
// the go command leaves out too (testdata, and names that begin with a dot or
// an underscore). The root's own module, ".", is the first.
func Modules(root string) ([]string, error) {
	files, err := Files(root)
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, name := range files {
		if path.Base(name) == "go.mod" && !leftOut(path.Dir(name)) {
			dirs = append(dirs, path.Dir(name))
		}
	}
	slices.Sort(dirs) // "." sorts before letters and digits
	return dirs, nil
}

// leftOut tells whether the go command ignores the directory.
func leftOut(dir string) bool {
	if dir == "." {
		return false
	}
	for element := range strings.SplitSeq(dir, "/") {
		if element == "testdata" || strings.HasPrefix(element, ".") || strings.HasPrefix(element, "_") {
			return true
		}
	}
	return false
}
