package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/mod/semver"
)

// commit makes the release commit of HEAD and its tags.
func commit(ctx context.Context, root, version string, out io.Writer) error {
	if semver.Canonical(version) != version || semver.Build(version) != "" || semver.Major(version) > "v1" {
		return fmt.Errorf("%q is no version such as v0.1.0 or v0.2.0-rc.1", version)
	}
	if state, err := git(ctx, root, "status", "--porcelain"); err != nil || state != "" {
		return errors.Join(err, errors.New("the work tree has changes: commit them first"))
	}
	changes, err := os.ReadFile(filepath.Join(root, "CHANGELOG.md"))
	if err != nil {
		return err
	}
	if err := checkChangelog(string(changes), version); err != nil {
		return err
	}
	clone, remove, err := cloneOf(ctx, root)
	if err != nil {
		return err
	}
	defer remove()
	archives, err := released(ctx, clone, version)
	if err != nil {
		return err
	}
	var tags []string
	for _, a := range archives {
		tags = append(tags, a.tag(version))
	}
	if err := commitAndTag(ctx, root, clone, version, tags); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s is tagged for %d modules, beside the branch, which has not changed. To publish it:\n\n", version, len(tags))
	fmt.Fprintf(out, "\tgit push --atomic origin %s\n\n", strings.Join(tags, " "))
	fmt.Fprintf(out, "To take it back instead:\n\n\tgit tag --delete %s\n", strings.Join(tags, " "))
	return nil
}

// commitAndTag commits what is in the clone, tags it, and brings the tags to
// the repository. All tags come, or none.
func commitAndTag(ctx context.Context, root, clone, version string, tags []string) error {
	for _, key := range []string{"user.name", "user.email"} {
		value, err := git(ctx, root, "config", key)
		if err != nil {
			return fmt.Errorf("git config %s: %w", key, err)
		}
		if _, err := git(ctx, clone, "config", key, value); err != nil {
			return err
		}
	}
	message := fmt.Sprintf("Release %s\n\nThe modules require each other at %s, and nothing is replaced.\n", version, version)
	if _, err := git(ctx, clone, "commit", "--quiet", "--all", "--allow-empty", "--message", message); err != nil {
		return err
	}
	fetch := []string{"fetch", "--quiet", "--atomic", "--no-tags", clone}
	for _, tag := range tags {
		if _, err := git(ctx, root, "rev-parse", "--quiet", "--verify", "refs/tags/"+tag); err == nil {
			return fmt.Errorf("the tag %s exists already: a version is released once", tag)
		}
		if _, err := git(ctx, clone, "tag", "--annotate", "--message", "Release "+tag, tag); err != nil {
			return err
		}
		fetch = append(fetch, "refs/tags/"+tag+":refs/tags/"+tag)
	}
	_, err := git(ctx, root, fetch...)
	return err
}

// checkChangelog reports what is missing of the version in the changelog: a
// section with a date, that says something, its link, and a place for what
// comes next.
func checkChangelog(page, version string) error {
	number := regexp.QuoteMeta(strings.TrimPrefix(version, "v"))
	if !strings.Contains(page, "\n## [Unreleased]\n") {
		return errors.New("CHANGELOG.md has no section [Unreleased] for what comes next")
	}
	if !regexp.MustCompile(`\n## \[` + number + `\] - \d{4}-\d{2}-\d{2}\n`).MatchString(page) {
		return fmt.Errorf("CHANGELOG.md has no section \"## [%s] - YYYY-MM-DD\"", strings.TrimPrefix(version, "v"))
	}
	if !strings.Contains(section(page, strings.TrimPrefix(version, "v")), "\n- ") {
		return fmt.Errorf("CHANGELOG.md says nothing about %s", version)
	}
	if !regexp.MustCompile(`\n\[` + number + `\]: https://`).MatchString(page) {
		return fmt.Errorf("CHANGELOG.md has no link for [%s] at its end", strings.TrimPrefix(version, "v"))
	}
	return nil
}

// section returns the part of a changelog under a heading.
func section(page, name string) string {
	_, part, found := strings.Cut(page, "\n## ["+name+"]")
	if !found {
		return ""
	}
	part, _, _ = strings.Cut(part, "\n## [")
	part, _, _ = strings.Cut(part, "\n[")
	return part
}

// cloneOf clones the repository's HEAD into a new directory.
func cloneOf(ctx context.Context, root string) (clone string, remove func(), err error) {
	if clone, err = os.MkdirTemp("", "release-"); err != nil {
		return "", nil, err
	}
	remove = func() { _ = os.RemoveAll(clone) }
	full, err := filepath.Abs(root)
	if err == nil {
		_, err = git(ctx, root, "clone", "--quiet", "--no-hardlinks", full, clone)
	}
	if err != nil {
		remove()
		return "", nil, err
	}
	return clone, remove, nil
}

// git runs git in a directory and returns what it prints.
func git(ctx context.Context, dir string, args ...string) (string, error) {
	return command(ctx, dir, nil, append([]string{"git"}, args...)...)
}

// command runs a command with variables added to the environment, and returns
// what it prints. An error has what it complained of.
func command(ctx context.Context, dir string, env []string, args ...string) (string, error) {
	var stderr strings.Builder
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "GOWORK=off"), env...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}
