package house_test

import (
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/tools/house"
)

// snippets returns the Go code in a page of Markdown, by the line on which it
// begins.
func snippets(page string) map[int]string {
	found := make(map[int]string)
	number, begin := 0, 0
	for line := range strings.Lines(page) {
		number++
		switch {
		case begin > 0 && strings.HasPrefix(line, "```"):
			begin = 0
		case begin > 0:
			found[begin] += line
		case strings.TrimSpace(line) == "```go":
			begin = number + 1
			found[begin] = ""
		}
	}
	return found
}

// unindented returns the lines without what stands before and behind them, so
// that a snippet may be indented otherwise than where it was taken from.
func unindented(code string) string {
	var b strings.Builder
	b.WriteByte('\n')
	for line := range strings.Lines(code) {
		b.WriteString(strings.TrimSpace(line) + "\n")
	}
	return b.String()
}

// strayCode lists the snippets of the pages that are no part of any of the
// sources.
func strayCode(pages, sources map[string]string) []string {
	var stray []string
	for name, page := range pages {
	next:
		for line, code := range snippets(page) {
			for _, source := range sources {
				if strings.Contains(unindented(source), unindented(code)) {
					continue next
				}
			}
			stray = append(stray, fmt.Sprintf("%s:%d", name, line))
		}
	}
	return stray
}

// Examples and tests are built and run, so what is taken from them compiles.
func TestEverySnippetInThePagesIsTakenFromCodeThatIsTested(t *testing.T) {
	pages, sources := make(map[string]string), make(map[string]string)
	files, err := house.Files(root)
	require.NoError(t, err)
	for _, file := range files {
		isPage := filepath.Ext(file) == ".md"
		isSource := strings.HasSuffix(file, "_test.go") || filepath.Ext(file) == ".go" && strings.HasPrefix(file, "examples/")
		if !isPage && !isSource {
			continue
		}
		content, err := os.ReadFile(filepath.Join(root, file))
		require.NoError(t, err)
		if isPage {
			pages[file] = string(content)
		} else {
			sources[file] = string(content)
		}
	}
	require.NotEmpty(t, snippets(pages["README.md"]))
	require.Empty(t, strayCode(pages, sources), "take the snippet from an example or a test, as it is there")
}

func TestASnippetThatIsTakenFromNowhereIsFound(t *testing.T) {
	source := map[string]string{"a_test.go": "package a\n\nfunc f() {\n\tone()\n\ttwo()\n\tthree()\n}\n"}
	for page, stray := range map[string][]string{
		"text\n\n```go\ntwo()\nthree()\n```\n":              nil,
		"```go\n\tif x {\n```\n":                            {"p.md:2"},
		"```go\none()\n```\n\n```go\none()\nthree()\n```\n": {"p.md:6"},
		"```go\nwo()\n```\n":                                {"p.md:2"},
		"```text\nnot Go\n```\n":                            nil,
	} {
		require.Equal(t, stray, strayCode(map[string]string{"p.md": page}, source), page)
	}
}

// adaptersNotShown lists the adapters of which no snippet in the page uses
// anything.
func adaptersNotShown(packages map[string]*source, page string) []string {
	var missing []string
	for _, dir := range slices.Sorted(maps.Keys(packages)) {
		used := regexp.MustCompile(`\b` + path.Base(dir) + `\.[A-Z]`)
		shown := slices.ContainsFunc(slices.Collect(maps.Values(snippets(page))), used.MatchString)
		if path.Dir(dir) == "worker" && strings.HasSuffix(dir, "audit") && !shown {
			missing = append(missing, dir)
		}
	}
	return missing
}

func TestThePagesShowTheLinesToAddForEveryAdapter(t *testing.T) {
	for _, page := range []string{"README.md", "docs/adapters.md"} {
		content, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(page)))
		require.NoError(t, err)
		require.Empty(t, adaptersNotShown(sources(t, root), string(content)), "%s: show them, as a test of the adapter runs them", page)
	}
}

func TestAnAdapterThatIsNotShownIsFound(t *testing.T) {
	packages := map[string]*source{"worker/aaudit": {}, "worker/baudit": {}, "worker/baudit/verdict": {}, "worker/queue": {}, "sink/asink": {}}
	for page, missing := range map[string][]string{
		"```go\naaudit.New()\nbaudit.New()\n```\n":        nil,
		"```go\naaudit.New()\n```\n`baudit.New`\n":        {"worker/baudit"},
		"```go\nxaaudit.New()\nbaudit.New()\n```\n":       {"worker/aaudit"},
		"```text\naaudit.New()\n```\nsee worker/baudit\n": {"worker/aaudit", "worker/baudit"},
	} {
		require.Equal(t, missing, adaptersNotShown(packages, page), page)
	}
}
