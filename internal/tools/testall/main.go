// Testall runs go test, or any other command, in every module of this
// repository, the root first:
//
//	go run ./internal/tools/testall [go test flags]
//	go run ./internal/tools/testall -fuzz regexp [go test flags]
//	go run ./internal/tools/testall -- command [arguments]
//
// The flags go to go test as they are, and ./... after them. With -fuzz, each
// fuzz target whose name matches is run by itself, since go test -fuzz takes
// one target at a time. After a failure it goes on with the next module, and
// fails at the end. Tests of two modules run at once, and print in turn.
//
// A module whose tests are all named TestExtra…, FuzzExtra… or TestSoak… is left
// out by go test unless EXTRA=1 or SOAK=1.
//
// A go.work file is not used: each module is tested as its users see it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/jobaudit/jobaudit/internal/tools/house"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	runner := runner{root: ".", stdout: os.Stdout, stderr: os.Stderr}
	err := runner.everywhere(ctx, os.Args[1:])
	if err != nil && !errors.Is(err, errFailed) {
		fmt.Fprintln(os.Stderr, "testall:", err)
	}
	if err != nil {
		os.Exit(1)
	}
}

// errFailed says that modules failed; which and why has been printed.
var errFailed = errors.New("modules failed")

type runner struct {
	root           string
	stdout, stderr io.Writer // of the commands; our own lines go to stderr
}

// everywhere does what the arguments say in each module, and sums up.
func (r runner) everywhere(ctx context.Context, args []string) error {
	modules, err := house.Modules(r.root)
	if err != nil {
		return err
	}
	if !slices.Contains(modules, ".") {
		return errors.New("no go.mod here: run it in the root of the repository")
	}
	do, together, err := task(args)
	if err != nil {
		return err
	}
	failed := r.each(ctx, modules, together, do)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for _, err := range failed {
		fmt.Fprintln(r.stderr, err)
	}
	fmt.Fprintf(r.stderr, "modules: %d passed, %d failed\n", len(modules)-len(failed), len(failed))
	if len(failed) > 0 {
		return errFailed
	}
	return nil
}

// each does it in each module, in so many of them at once, and returns what
// failed. What they print comes in the order of the modules.
func (r runner) each(ctx context.Context, modules []string, together int, do doing) []error {
	failed := make([]error, len(modules))
	places := make(chan struct{}, together)
	var running sync.WaitGroup
	turn := make(chan struct{})
	close(turn)
	for i, module := range modules {
		places <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		out := &ordered{stdout: r.stdout, stderr: r.stderr, turn: turn, over: make(chan struct{})}
		turn = out.over
		running.Go(func() {
			defer func() { <-places }()
			mine := runner{root: r.root, stdout: out.to(&out.stdout), stderr: out.to(&out.stderr)}
			fmt.Fprintf(mine.stderr, "# module %s\n", module)
			if err := do(ctx, mine, module); err != nil {
				failed[i] = fmt.Errorf("failed in %s: %w", module, err)
			}
			running.Go(out.end)
		})
	}
	running.Wait()
	return slices.DeleteFunc(failed, func(err error) bool { return err == nil })
}

// ordered is the output of one module. It is held back until its turn, which is
// when what stands before it is complete.
type ordered struct {
	stdout, stderr io.Writer
	turn           <-chan struct{} // closed when it is this one's turn
	over           chan struct{}   // closed when it is the next one's

	mu   sync.Mutex // guards what follows, and the writers
	held []func() error
}

// to returns what writes to one of the two, or holds it back.
func (o *ordered) to(w *io.Writer) io.Writer {
	return writerFunc(func(p []byte) (int, error) {
		o.mu.Lock()
		defer o.mu.Unlock()
		select {
		case <-o.turn:
			o.release()
			return (*w).Write(p)
		default:
			text := slices.Clone(p)
			o.held = append(o.held, func() error { _, err := (*w).Write(text); return err })
			return len(p), nil
		}
	})
}

func (o *ordered) release() {
	for _, write := range o.held {
		_ = write() // as for a command's own output, there is nobody to tell
	}
	o.held = nil
}

// end waits for its turn, writes what was held back, and gives the turn on.
func (o *ordered) end() {
	<-o.turn
	o.mu.Lock()
	defer o.mu.Unlock()
	o.release()
	close(o.over)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// doing is what is to be done in one module.
type doing func(ctx context.Context, r runner, module string) error

// task turns the arguments into what is to be done in each module, and in how
// many of them at once. Tests wait a lot, for disks and servers, so those of two
// modules run beside each other; what is measured, or busy all the time, does not.
func task(args []string) (do doing, together int, err error) {
	if len(args) > 0 && args[0] == "--" {
		if len(args) == 1 {
			return nil, 0, errors.New("no command after --")
		}
		return func(ctx context.Context, r runner, module string) error {
			return r.run(ctx, module, args[1:]...)
		}, 1, nil
	}
	pattern, flags, err := cutFuzz(args)
	if err != nil {
		return nil, 0, err
	}
	if pattern != "" {
		return func(ctx context.Context, r runner, module string) error {
			return r.fuzz(ctx, module, pattern, flags)
		}, 1, nil
	}
	together = 2
	if slices.ContainsFunc(flags, func(flag string) bool { return strings.HasPrefix(strings.TrimLeft(flag, "-"), "bench") }) {
		together = 1
	}
	return func(ctx context.Context, r runner, module string) error {
		extra, err := r.onlyExtra(module)
		if err != nil {
			return err
		}
		if extra {
			fmt.Fprintf(r.stderr, "# every test of it is one of make test-extra\n")
			return nil
		}
		return r.run(ctx, module, goTest(flags, "./...")...)
	}, together, nil
}

// aTest finds the tests, fuzz targets and examples of a file.
var aTest = regexp.MustCompile(`(?m)^func (Test|Fuzz|Example)(\w*)\(`)

// onlyExtra tells whether nothing in the module runs but under make test-extra or
// make soak, and this is neither. Its tests would skip themselves, but only
// after all that they need, such as servers of others, was compiled.
func (r runner) onlyExtra(module string) (bool, error) {
	if os.Getenv("EXTRA") == "1" || os.Getenv("SOAK") == "1" {
		return false, nil
	}
	extra := 0
	root := filepath.Join(r.root, filepath.FromSlash(module))
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && isModule(path):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, test := range aTest.FindAllSubmatch(file, -1) {
			if !strings.HasPrefix(string(test[2]), "Extra") && !strings.HasPrefix(string(test[2]), "Soak") {
				extra = -1
				return fs.SkipAll
			}
			extra++
		}
		return nil
	})
	return extra > 0, err
}

func isModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

// goTest is the go test command line. Packages stand before -args, which takes
// all that follows it.
func goTest(flags []string, packages ...string) []string {
	end := slices.IndexFunc(flags, func(flag string) bool { return flag == "-args" || flag == "--args" })
	if end < 0 {
		end = len(flags)
	}
	return slices.Concat([]string{"go", "test"}, flags[:end], packages, flags[end:])
}

// cutFuzz takes -fuzz and its value out of the flags.
func cutFuzz(flags []string) (pattern string, rest []string, err error) {
	for i, flag := range flags {
		name, value, joined := strings.Cut(flag, "=")
		if name != "-fuzz" && name != "--fuzz" {
			continue
		}
		after := i + 1
		if !joined && after < len(flags) {
			value = flags[after]
			after++
		}
		if value == "" {
			return "", nil, errors.New("-fuzz needs a regular expression")
		}
		return value, slices.Concat(flags[:i], flags[after:]), nil
	}
	return "", flags, nil
}

// run runs a command in the module's directory.
func (r runner) run(ctx context.Context, module string, command ...string) error {
	return r.runTo(ctx, r.stdout, module, command)
}

func (r runner) runTo(ctx context.Context, stdout io.Writer, module string, command []string) error {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir = filepath.Join(r.root, filepath.FromSlash(module))
	cmd.Env = append(os.Environ(), "GOWORK=off")
	cmd.Stdout = stdout
	cmd.Stderr = r.stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(command, " "), err)
	}
	return nil
}

// fuzz runs each of the module's fuzz targets that match by itself.
func (r runner) fuzz(ctx context.Context, module, pattern string, flags []string) error {
	var list strings.Builder
	if err := r.runTo(ctx, &list, module, goTest(slices.Concat([]string{"-list", pattern}, flags), "./...")); err != nil {
		return err
	}
	var failures []error
	for _, target := range fuzzTargets(list.String()) {
		fmt.Fprintf(r.stderr, "# fuzz %s of %s\n", target.name, target.pkg)
		one := slices.Concat([]string{"-run", "^$", "-fuzz", "^" + target.name + "$"}, flags)
		failures = append(failures, r.run(ctx, module, goTest(one, target.pkg)...))
	}
	return errors.Join(failures...)
}

type fuzzTarget struct{ pkg, name string }

// fuzzTargets reads what go test -list prints: a package's tests by name, one
// a line, then the line "ok", package, time.
func fuzzTargets(list string) []fuzzTarget {
	var targets []fuzzTarget
	var names []string
	for line := range strings.Lines(list) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 1 && strings.HasPrefix(fields[0], "Fuzz"):
			names = append(names, fields[0])
		case len(fields) > 1 && fields[0] == "ok":
			for _, name := range names {
				targets = append(targets, fuzzTarget{pkg: fields[1], name: name})
			}
			names = nil
		}
	}
	return targets
}
