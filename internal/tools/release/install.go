package main

import (
	"context"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jobaudit/jobaudit/internal/tools/house"
)

// tryVersion is newer than all that will ever be released under v0.
const tryVersion = "v0.9999.0"

// commandDir is the module that is a command and no library.
const commandDir = "cmd/jobaudit"

// installable does with a release of the work tree what users do.
func installable(ctx context.Context, root string, out io.Writer) error {
	work, err := os.MkdirTemp("", "release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	clone := filepath.Join(work, "clone")
	if err := copyTree(ctx, root, clone); err != nil {
		return err
	}
	archives, err := released(ctx, clone, tryVersion)
	if err != nil {
		return err
	}
	proxy := filepath.Join(work, "proxy")
	for _, a := range archives {
		if err := a.serve(proxy); err != nil {
			return err
		}
	}
	user, err := newUser(ctx, work, proxy)
	if err != nil {
		return err
	}
	for _, a := range archives {
		if a.dir == commandDir {
			err = user.install(ctx, a)
		} else {
			err = user.build(ctx, clone, a)
		}
		if err != nil {
			return fmt.Errorf("%s cannot be installed: %w", a.path, err)
		}
		fmt.Fprintf(out, "installable: %s\n", a.path)
	}
	return user.tidy(ctx, clone, out)
}

// copyTree copies the repository's files, as far as git would track them, into
// a new repository.
func copyTree(ctx context.Context, root, clone string) error {
	files, err := house.Files(root)
	if err != nil {
		return err
	}
	for _, file := range files {
		content, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(file)))
		if err != nil {
			return err
		}
		to := filepath.Join(clone, filepath.FromSlash(file))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(to, content, 0o644); err != nil {
			return err
		}
	}
	_, err = git(ctx, clone, "init", "--quiet")
	return err
}

// user is somebody with a module proxy and nothing else of ours.
type user struct {
	work  string
	env   []string
	tries int
}

func newUser(ctx context.Context, work, proxy string) (*user, error) {
	var settings []string
	for _, name := range []string{"GOMODCACHE", "GOPROXY", "GONOSUMDB"} {
		value, err := command(ctx, ".", nil, "go", "env", name)
		if err != nil {
			return nil, err
		}
		settings = append(settings, value)
	}
	cache, usual, unsummed := settings[0], settings[1], settings[2]
	proxies := []string{fileURL(proxy), fileURL(filepath.Join(cache, "cache", "download")), usual}
	return &user{work: work, env: []string{
		"GOPROXY=" + strings.Join(proxies, ","),
		"GONOSUMDB=" + strings.TrimPrefix(unsummed+",github.com/jobaudit/jobaudit,github.com/jobaudit/jobaudit/*", ","),
		"GOFLAGS=-modcacherw", "GONOPROXY=none", "GOPRIVATE=",
	}}, nil
}

func fileURL(dir string) string {
	dir = filepath.ToSlash(dir)
	if !strings.HasPrefix(dir, "/") {
		dir = "/" + dir
	}
	return "file://" + dir
}

// try returns a new directory, and the environment with an empty module cache.
func (u *user) try() (dir string, env []string, err error) {
	u.tries++
	dir = filepath.Join(u.work, fmt.Sprint("user", u.tries))
	err = os.MkdirAll(filepath.Join(dir, "program"), 0o755)
	return dir, append(slices.Clone(u.env), "GOMODCACHE="+filepath.Join(dir, "mod")), err
}

// build gets a module and builds a program with every package of it.
func (u *user) build(ctx context.Context, clone string, a archive) error {
	dir, env, err := u.try()
	if err != nil {
		return err
	}
	packages, err := packagesOf(clone, a.module)
	if err != nil {
		return err
	}
	if len(packages) == 0 {
		return fmt.Errorf("it has no package that can be imported")
	}
	var source strings.Builder
	source.WriteString("package main\n\nimport (\n")
	for _, pkg := range packages {
		fmt.Fprintf(&source, "\t_ %q\n", pkg)
	}
	source.WriteString(")\n\nfunc main() { println(\"built\") }\n")
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(filepath.Join(program, "main.go"), []byte(source.String()), 0o644); err != nil {
		return err
	}
	get := []string{"go", "get"}
	for _, pkg := range packages {
		get = append(get, pkg+"@"+a.version)
	}
	for _, args := range [][]string{
		{"go", "mod", "init", "example.com/program"},
		get,
		{"go", "build", "-o", filepath.Join(dir, "a.out"), "."},
	} {
		if _, err := command(ctx, program, env, args...); err != nil {
			return err
		}
	}
	_, err = command(ctx, program, env, filepath.Join(dir, "a.out"))
	return err
}

// install installs the command, which has to say its version.
func (u *user) install(ctx context.Context, a archive) error {
	dir, env, err := u.try()
	if err != nil {
		return err
	}
	env = append(env, "GOBIN="+dir)
	if _, err := command(ctx, dir, env, "go", "install", a.path+"@"+a.version); err != nil {
		return err
	}
	said, err := command(ctx, dir, env, filepath.Join(dir, path.Base(a.path)), "version")
	if err != nil {
		return err
	}
	if !strings.Contains(said, a.version) {
		return fmt.Errorf("version says %q, and not %s", said, a.version)
	}
	return nil
}

// tidy requires that the release commit's modules are tidy: that they lack no
// line of go.sum.
func (u *user) tidy(ctx context.Context, clone string, out io.Writer) error {
	_, env, err := u.try()
	if err != nil {
		return err
	}
	modules, err := inOrder(clone)
	if err != nil {
		return err
	}
	for _, m := range modules {
		dir := filepath.Join(clone, filepath.FromSlash(m.dir))
		if _, err := command(ctx, dir, env, "go", "mod", "tidy", "-diff"); err != nil {
			return fmt.Errorf("the release of %s is not tidy: %w", m.path, err)
		}
	}
	fmt.Fprintf(out, "tidy: the %d modules of a release\n", len(modules))
	return nil
}

// packagesOf returns the import paths of the module's packages that others can
// import.
func packagesOf(root string, m module) ([]string, error) {
	files, err := house.Files(root)
	if err != nil {
		return nil, err
	}
	modules, err := house.Modules(root)
	if err != nil {
		return nil, err
	}
	found := make(map[string]bool)
	for _, file := range files {
		dir := path.Dir(file)
		if path.Ext(file) != ".go" || strings.HasSuffix(file, "_test.go") || ownerOf(modules, dir) != m.dir ||
			strings.Contains("/"+dir+"/", "/internal/") || strings.Contains("/"+dir+"/", "/testdata/") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, filepath.FromSlash(file)), nil, parser.PackageClauseOnly)
		if err != nil {
			return nil, err
		}
		if parsed.Name.Name != "main" {
			found[path.Join(modulePath, dir)] = true
		}
	}
	packages := make([]string, 0, len(found))
	for pkg := range found {
		packages = append(packages, pkg)
	}
	slices.Sort(packages)
	return packages, nil
}

// ownerOf returns the module that a directory belongs to: the nearest above.
func ownerOf(modules []string, dir string) string {
	owner := "."
	for _, m := range modules {
		if (dir == m || strings.HasPrefix(dir, m+"/")) && (owner == "." || len(m) > len(owner)) {
			owner = m
		}
	}
	return owner
}
