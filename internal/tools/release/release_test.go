package main

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// repository is one with two modules, of which the second needs the first, and
// a third that is not published.
var repository = map[string]string{
	"go.mod":            "module github.com/jobaudit/jobaudit\n\ngo 1.26\n",
	"root.go":           "// Package jobaudit is planted.\npackage jobaudit\n\n// One is one.\nfunc One() int { return 1 }\n",
	"LICENSE":           "planted\n",
	"CHANGELOG.md":      changelog,
	"worker/a/go.mod":   "module github.com/jobaudit/jobaudit/worker/a\n\ngo 1.26\n\nrequire github.com/jobaudit/jobaudit v0.0.0\n\nreplace github.com/jobaudit/jobaudit => ../..\n",
	"worker/a/a.go":     "// Package a is planted.\npackage a\n\nimport \"github.com/jobaudit/jobaudit\"\n\n// Two is two.\nfunc Two() int { return 1 + jobaudit.One() }\n",
	"worker/a/b/b.go":   "// Package b is planted.\npackage b\n",
	"examples/x/go.mod": "module github.com/jobaudit/jobaudit/examples/x\n\ngo 1.26\n\nrequire github.com/jobaudit/jobaudit v0.0.0\n\nreplace github.com/jobaudit/jobaudit => ../..\n",
	"examples/x/x.go":   "package main\n\nimport _ \"github.com/jobaudit/jobaudit\"\n\nfunc main() {}\n",
}

const changelog = `# Changelog

## [Unreleased]

## [0.1.0] - 2026-01-02

### Added

- Everything.

[Unreleased]: https://example.com/compare
[0.1.0]: https://example.com/v0.1.0
`

// plant makes a repository of files with one commit.
func plant(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		file := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(content), 0o644))
	}
	must(t, root, "init", "--quiet")
	must(t, root, "config", "user.name", "planted")
	must(t, root, "config", "user.email", "planted@example.com")
	must(t, root, "add", "--all")
	must(t, root, "commit", "--quiet", "--message", "planted")
	return root
}

func must(t *testing.T, root string, args ...string) string {
	t.Helper()
	out, err := git(t.Context(), root, args...)
	require.NoError(t, err)
	return out
}

func TestAReleaseIsACommitBesideMainThatUsersCanInstall(t *testing.T) {
	if testing.Short() {
		t.Skip("runs git and go often")
	}
	root := plant(t, repository)
	head := must(t, root, "rev-parse", "HEAD")
	var out strings.Builder
	require.NoError(t, commit(t.Context(), root, "v0.1.0", &out))

	require.Contains(t, out.String(), "git push --atomic origin v0.1.0 worker/a/v0.1.0\n")
	require.Equal(t, head, must(t, root, "rev-parse", "HEAD"))
	require.Empty(t, must(t, root, "status", "--porcelain"))
	require.Equal(t, "v0.1.0\nworker/a/v0.1.0", must(t, root, "tag", "--list"))
	require.Equal(t, head, must(t, root, "rev-parse", "v0.1.0^"))
	require.Equal(t, must(t, root, "rev-parse", "v0.1.0^{commit}"), must(t, root, "rev-parse", "worker/a/v0.1.0^{commit}"))
	require.Equal(t, "module github.com/jobaudit/jobaudit/worker/a\n\ngo 1.26\n\nrequire github.com/jobaudit/jobaudit v0.1.0",
		must(t, root, "show", "v0.1.0:worker/a/go.mod"))

	// The go command, which makes the zips from the tags itself, finds the
	// hashes that stand in go.sum.
	sum, mod := download(t, root, "github.com/jobaudit/jobaudit@v0.1.0")
	require.Equal(t, "github.com/jobaudit/jobaudit v0.1.0 "+sum+"\ngithub.com/jobaudit/jobaudit v0.1.0/go.mod "+mod,
		must(t, root, "show", "v0.1.0:worker/a/go.sum"))
	ours, theirs := tried(t, root), map[string]string{}
	for path := range ours {
		theirs[path], _ = download(t, root, path+"@v0.1.0")
	}
	require.Len(t, ours, 2)
	require.Equal(t, theirs, ours)
}

// tried returns the hashes of the modules in a release of the repository.
func tried(t *testing.T, root string) map[string]string {
	t.Helper()
	clone := filepath.Join(t.TempDir(), "clone")
	require.NoError(t, copyTree(t.Context(), root, clone))
	archives, err := released(t.Context(), clone, "v0.1.0")
	require.NoError(t, err)
	hashes := make(map[string]string)
	for _, a := range archives {
		lines, err := a.sums()
		require.NoError(t, err)
		hashes[a.path] = strings.Fields(lines)[2]
	}
	return hashes
}

// download has the go command take a module from the repository's tags.
func download(t *testing.T, root, version string) (sum, mod string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", version)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "GOPROXY=direct", "GONOSUMDB=*", "GOFLAGS=-modcacherw", "GOWORK=off",
		"GOMODCACHE="+t.TempDir(), "GIT_CONFIG_COUNT=1",
		"GIT_CONFIG_KEY_0=url.file://"+root+".insteadOf", "GIT_CONFIG_VALUE_0=https://github.com/jobaudit/jobaudit")
	out, err := cmd.Output()
	require.NoError(t, err, string(out))
	var found struct{ Sum, GoModSum string }
	require.NoError(t, json.Unmarshal(out, &found))
	return found.Sum, found.GoModSum
}

func TestAReleaseIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		version string
		spoil   func(t *testing.T, root string)
		want    string
	}{
		"no version":            {"0.1.0", nil, "no version"},
		"another major version": {"v2.0.0", nil, "no version"},
		"nothing in the log":    {"v0.2.0", nil, "no section"},
		"a change": {"v0.1.0", func(t *testing.T, root string) {
			require.NoError(t, os.WriteFile(filepath.Join(root, "root.go"), nil, 0o644))
		}, "commit them first"},
		"a version that was released": {"v0.1.0", func(t *testing.T, root string) { must(t, root, "tag", "worker/a/v0.1.0") }, "once"},
	} {
		t.Run(name, func(t *testing.T) {
			root := plant(t, repository)
			before := must(t, root, "rev-parse", "HEAD")
			if test.spoil != nil {
				test.spoil(t, root)
			}
			require.ErrorContains(t, commit(t.Context(), root, test.version, &strings.Builder{}), test.want)
			require.Equal(t, before, must(t, root, "rev-parse", "HEAD"))
			require.NotContains(t, strings.Fields(must(t, root, "tag", "--list")), "v0.1.0")
		})
	}
}

func TestAChangelogThatLacksSomethingIsRefused(t *testing.T) {
	require.NoError(t, checkChangelog(changelog, "v0.1.0"))
	for _, part := range []string{"## [Unreleased]\n", " - 2026-01-02", "- Everything.\n", "[0.1.0]: https://example.com/v0.1.0\n"} {
		require.Error(t, checkChangelog(strings.Replace(changelog, part, "", 1), "v0.1.0"), part)
	}
}

func TestAModuleThatNeedsAnUnpublishedOneIsRefused(t *testing.T) {
	files := map[string]string{}
	for name, content := range repository {
		files[name] = strings.ReplaceAll(content, "jobaudit/examples/x\n", "jobaudit/bench\n")
	}
	files["bench/go.mod"] = files["examples/x/go.mod"]
	delete(files, "examples/x/go.mod")
	files["worker/a/go.mod"] += "\nrequire github.com/jobaudit/jobaudit/bench v0.0.0\n"
	_, err := released(context.Background(), plant(t, files), "v0.1.0")
	require.ErrorContains(t, err, "not published")
}

func TestAnUnpublishedModuleMayNeedAnotherOne(t *testing.T) {
	files := maps.Clone(repository)
	files["examples/x/y/go.mod"] = "module github.com/jobaudit/jobaudit/examples/x/y\n\ngo 1.26.0\n\n" +
		"require (\n\tgithub.com/jobaudit/jobaudit v0.0.0\n\tgithub.com/jobaudit/jobaudit/examples/x v0.0.0\n)\n\n" +
		"replace github.com/jobaudit/jobaudit => ../../..\n\nreplace github.com/jobaudit/jobaudit/examples/x => ..\n"
	root := plant(t, files)
	_, err := released(t.Context(), root, "v0.1.0")
	require.NoError(t, err)
	content, err := os.ReadFile(filepath.Join(root, "examples", "x", "y", "go.mod"))
	require.NoError(t, err)
	require.Contains(t, string(content), "jobaudit v0.1.0\n")
	require.Contains(t, string(content), "examples/x => ..\n")
	require.NotContains(t, string(content), "=> ../../..")
}

func TestEveryImportablePackageOfAModuleIsTried(t *testing.T) {
	root := plant(t, repository)
	modules, err := inOrder(root)
	require.NoError(t, err)
	require.Equal(t, ".", modules[0].dir)
	for _, m := range modules {
		packages, err := packagesOf(root, m)
		require.NoError(t, err)
		require.Equal(t, map[string][]string{
			".":          {"github.com/jobaudit/jobaudit"},
			"worker/a":   {"github.com/jobaudit/jobaudit/worker/a", "github.com/jobaudit/jobaudit/worker/a/b"},
			"examples/x": {},
		}[m.dir], packages)
	}
}

func TestAnIncompatibleChangeHasToBeNamed(t *testing.T) {
	changes := changesIn("Incompatible changes:\n- (*Recorder).Submit: changed from func() to func(int)\n- ./auditlog.Head: removed\n")
	require.Len(t, changes, 2)
	require.True(t, named("`Recorder.Submit` takes a number", changes[0]))
	require.False(t, named("Submission changes", changes[0]))
	require.True(t, named("auditlog.Head is gone", changes[1]))
	require.False(t, named("auditlog.Header is gone", changes[1]))
	require.Empty(t, changesIn(""))
}

func TestTheLinesOfGoSumStandInTheGoCommandsOrder(t *testing.T) {
	lines := []string{
		"b.com/x v0.30.0 h1:b\n", "b.com/x v0.6.0/go.mod h1:c\n", "a.com/y v1.0.0/go.mod h1:d\n", "b.com/x v0.30.0/go.mod h1:e\n", "a.com/y v1.0.0 h1:f\n", "",
	}
	require.Equal(t, []string{
		"a.com/y v1.0.0 h1:f\n", "a.com/y v1.0.0/go.mod h1:d\n", "b.com/x v0.6.0/go.mod h1:c\n", "b.com/x v0.30.0 h1:b\n", "b.com/x v0.30.0/go.mod h1:e\n",
	}, sorted(lines))
}
