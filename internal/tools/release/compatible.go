package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// apidiff compares two versions of a module's API.
const apidiff = "golang.org/x/exp/cmd/apidiff@v0.0.0-20261113113407-e3970619a1a4"

// reader is a program that reads events with the code beside which it is put.
//
//go:embed testdata/reader/main.go
var reader []byte

// compatible compares the work tree with the newest release.
func compatible(ctx context.Context, root string, out io.Writer) error {
	events, err := goldenEvents(root)
	if err != nil {
		return err
	}
	tag, err := newestTag(ctx, root)
	if err != nil {
		return err
	}
	if tag == "" {
		fmt.Fprintln(out, "compatible: there is no release yet to compare with, so the work tree reads the golden files")
		return readEvents(ctx, root, events, out)
	}
	before, remove, err := cloneOf(ctx, root)
	if err != nil {
		return err
	}
	defer remove()
	// The release commit's parent is the same code, with its replace directives:
	// it can be built though the release may not be published.
	if _, err := git(ctx, before, "checkout", "--quiet", "refs/tags/"+tag+"^"); err != nil {
		return err
	}
	return errors.Join(sameFormat(ctx, root, before, tag, events, out), sameAPI(ctx, root, before, tag, out))
}

// newestTag returns the newest version of the root that is tagged, "" if none.
func newestTag(ctx context.Context, root string) (string, error) {
	tags, err := git(ctx, root, "-c", "versionsort.suffix=-", "tag", "--list", "v[0-9]*", "--sort=-version:refname")
	tag, _, _ := strings.Cut(tags, "\n")
	return tag, err
}

// goldenEvents returns the golden events, one a line.
func goldenEvents(root string) ([]byte, error) {
	files, err := filepath.Glob(filepath.Join(root, "testdata", "events", "*.json"))
	if err != nil {
		return nil, err
	}
	var events bytes.Buffer
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if err := json.Compact(&events, content); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		events.WriteByte('\n')
	}
	if events.Len() == 0 {
		return nil, errors.New("there are no golden events in testdata/events")
	}
	return events.Bytes(), nil
}

// sameFormat requires that a release reads what the work tree writes: its golden
// events, and the events and the log of a program that it runs.
func sameFormat(ctx context.Context, root, before, tag string, golden []byte, out io.Writer) error {
	work, err := os.MkdirTemp("", "release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	log, file := filepath.Join(work, "log"), filepath.Join(work, "events")
	if _, err := command(ctx, root, nil, "go", "run", "./examples/quickstart", "-dir", log, "-events", file, "docs"); err != nil {
		return err
	}
	written, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := readEvents(ctx, before, append(golden, written...), out); err != nil {
		return fmt.Errorf("%s does not read an event that the work tree writes: %w", tag, err)
	}
	key, err := keyOf(work)
	if err != nil {
		return err
	}
	if _, err := command(ctx, filepath.Join(before, "cmd", "jobaudit"), nil, "go", "run", ".", "verify", log, "--key", key); err != nil {
		return fmt.Errorf("%s does not verify a log that the work tree writes: %w", tag, err)
	}
	fmt.Fprintf(out, "compatible: %s reads what the work tree writes\n", tag)
	return nil
}

// keyOf finds the key of the log that the quick start has written.
func keyOf(work string) (string, error) {
	var found string
	err := filepath.WalkDir(work, func(name string, _ os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(name, ".key") {
			found = name
		}
		return err
	})
	if found == "" && err == nil {
		err = errors.New("the quick start has left no key")
	}
	return found, err
}

// readEvents reads events with the code in a tree.
func readEvents(ctx context.Context, tree string, events []byte, out io.Writer) error {
	dir, err := os.MkdirTemp(tree, "zz-reader-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "main.go"), reader, 0o644); err != nil {
		return err
	}
	var stderr strings.Builder
	cmd := exec.CommandContext(ctx, "go", "run", "./"+filepath.Base(dir))
	cmd.Dir = tree
	cmd.Env = append(os.Environ(), "GOWORK=off")
	cmd.Stdin = bytes.NewReader(events)
	cmd.Stderr = &stderr
	count, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%w: %s", err, stderr.String())
	}
	fmt.Fprintf(out, "compatible: %s events are read\n", strings.TrimSpace(string(count)))
	return nil
}

// sameAPI requires that the changelog names what has changed incompatibly.
func sameAPI(ctx context.Context, root, before, tag string, out io.Writer) error {
	changes, err := os.ReadFile(filepath.Join(root, "CHANGELOG.md"))
	if err != nil {
		return err
	}
	modules, err := inOrder(before)
	if err != nil {
		return err
	}
	var unnamed []error
	for _, m := range modules {
		if !m.published() || m.dir == commandDir {
			continue
		}
		diff, err := apiChanges(ctx, root, before, m)
		if err != nil {
			return err
		}
		for _, change := range diff {
			if !named(section(string(changes), "Unreleased"), change) {
				unnamed = append(unnamed, fmt.Errorf("%s: since %s: %s", m.path, tag, change))
			}
		}
	}
	if len(unnamed) > 0 {
		return fmt.Errorf("CHANGELOG.md, [Unreleased], does not name these incompatible changes:\n%w", errors.Join(unnamed...))
	}
	fmt.Fprintf(out, "compatible: no incompatible change of an API since %s is missing in the changelog\n", tag)
	return nil
}

// apiChanges lists what has changed incompatibly in a module. A module that is
// gone is one such change.
func apiChanges(ctx context.Context, root, before string, m module) ([]string, error) {
	now := filepath.Join(root, filepath.FromSlash(m.dir))
	if _, err := os.Stat(filepath.Join(now, "go.mod")); errors.Is(err, os.ErrNotExist) {
		return []string{m.path + ": removed"}, nil
	}
	work, err := os.MkdirTemp("", "release-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	exports := make([]string, 0, 2)
	for _, dir := range []string{filepath.Join(before, filepath.FromSlash(m.dir)), now} {
		file := filepath.Join(work, fmt.Sprint(len(exports)))
		if _, err := command(ctx, dir, nil, "go", "run", apidiff, "-m", "-w", file, m.path); err != nil {
			return nil, err
		}
		exports = append(exports, file)
	}
	diff, err := command(ctx, now, nil, append([]string{"go", "run", apidiff, "-m", "-incompatible"}, exports...)...)
	if err != nil {
		return nil, err
	}
	return changesIn(diff), nil
}

// changesIn returns the lines of apidiff that name a change.
func changesIn(diff string) []string {
	return slices.DeleteFunc(strings.Split(diff, "\n"), func(line string) bool { return !strings.HasPrefix(line, "- ") })
}

// named tells whether a text names what a line of apidiff is about, for example
// Submit of "- (*Recorder).Submit: changed from …", as a word.
func named(text, change string) bool {
	subject, _, _ := strings.Cut(strings.TrimPrefix(change, "- "), ": ")
	name := subject[strings.LastIndexAny(subject, "./")+1:]
	return regexp.MustCompile(`\b` + regexp.QuoteMeta(name) + `\b`).MatchString(text)
}
