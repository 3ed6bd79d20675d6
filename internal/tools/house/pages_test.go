package house_test

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/fields"
	"github.com/jobaudit/jobaudit/internal/tools/house"
)

var (
	testFunc  = regexp.MustCompile(`^func (Test[A-Za-z0-9_]+)\(`)
	namedTest = regexp.MustCompile("`(Test[A-Z][A-Za-z0-9_]*)`")
	promise   = regexp.MustCompile(`(?m)^\*\*(P[0-9])\.`)
	pageLink  = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	code      = regexp.MustCompile("(?ms)^```.*?^```|`[^`\n]*`")
	heading   = regexp.MustCompile(`(?m)^#+ +(.+?) *$`)
)

// repositoryFiles returns the contents of the repository's files whose names
// end like that.
func repositoryFiles(t *testing.T, suffix string) map[string]string {
	t.Helper()
	files, err := house.Files(root)
	require.NoError(t, err)
	found := make(map[string]string)
	for _, file := range files {
		if strings.HasSuffix(file, suffix) {
			content, err := os.ReadFile(filepath.Join(root, file))
			require.NoError(t, err)
			found[file] = string(content)
		}
	}
	return found
}

// testsIn returns the names of the tests that the sources declare. It looks for
// the lines first, as a regular expression takes its time over a megabyte.
func testsIn(sources map[string]string) map[string]bool {
	have := make(map[string]bool)
	for _, source := range sources {
		for line := range strings.Lines(source) {
			if !strings.HasPrefix(line, "func Test") {
				continue
			}
			if m := testFunc.FindStringSubmatch(line); m != nil {
				have[m[1]] = true
			}
		}
	}
	return have
}

// testsThatAreNone lists the tests that a page names and that there are not.
func testsThatAreNone(page string, have map[string]bool) []string {
	var none []string
	for _, m := range namedTest.FindAllStringSubmatch(page, -1) {
		if !have[m[1]] {
			none = append(none, m[1])
		}
	}
	return none
}

func TestEveryTestThatAPageNamesExists(t *testing.T) {
	have := testsIn(repositoryFiles(t, "_test.go"))
	for name, page := range repositoryFiles(t, ".md") {
		require.Empty(t, testsThatAreNone(page, have), "%s names tests that do not exist", name)
	}
}

func TestEveryPromiseNamesTheTestsThatHoldIt(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs/design.md"))
	require.NoError(t, err)
	found := promise.FindAllStringSubmatchIndex(string(page), -1)
	require.Len(t, found, 7)
	for i, m := range found {
		end := strings.Index(string(page), "\n## The map")
		if i+1 < len(found) {
			end = found[i+1][0]
		}
		text := string(page[m[0]:end])
		require.GreaterOrEqual(t, len(namedTest.FindAllString(text, -1)), 3, "%.40s", text)
	}
}

func TestATestThatDoesNotExistIsFound(t *testing.T) {
	have := testsIn(map[string]string{"a_test.go": "package a\n\nfunc TestOne(t *testing.T) {}\n\nfunc (s *x) TestFour() {}\n"})
	require.Equal(t, []string{"TestTwo", "TestFour"}, testsThatAreNone("`TestOne`, `TestTwo`, `TestFour` and TestThree", have))
}

// The tables are what the encoder and the decoder go by.
func TestTheFormatPageNamesEveryField(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(root, "docs/format.md"))
	require.NoError(t, err)
	page := string(content)
	for name, table := range map[string]*fields.Field{
		"event": fields.Event(), "recovery": fields.Recovery(), "carrier": fields.Carrier(),
		"job": fields.Job(), "status": fields.JobStatus(),
	} {
		table.All("", func(path string, f *fields.Field) {
			if f.Name != "" && path != "data.recovery" {
				require.Contains(t, page, "`"+f.Name+"`", "the page lacks %s of the %s", path, name)
			}
		})
	}
}

// anchors returns what the headings of a page of Markdown can be linked by, as
// GitHub makes it.
func anchors(page string) []string {
	var found []string
	for _, m := range heading.FindAllStringSubmatch(page, -1) {
		found = append(found, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, m[1]))
	}
	return found
}

// deadLinks lists the links of the pages to files or headings that are not
// there. exists says what is.
func deadLinks(pages map[string]string, exists func(string) bool) []string {
	var dead []string
	for name, page := range pages {
		for _, m := range pageLink.FindAllStringSubmatch(code.ReplaceAllString(page, ""), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, ":") {
				continue // elsewhere
			}
			file := name
			if target != "" {
				file = path.Join(path.Dir(name), target)
			}
			if !exists(file) || anchor != "" && !slices.Contains(anchors(pages[file]), anchor) {
				dead = append(dead, fmt.Sprintf("%s: %s", name, m[1]))
			}
		}
	}
	slices.Sort(dead)
	return dead
}

func TestEveryLinkInThePagesLeadsSomewhere(t *testing.T) {
	pages := repositoryFiles(t, ".md")
	require.Empty(t, deadLinks(pages, func(file string) bool {
		_, err := os.Stat(filepath.Join(root, file))
		return err == nil
	}))
}

func TestALinkThatLeadsNowhereIsFound(t *testing.T) {
	pages := map[string]string{
		"a.md":   "# One, two\n[x](d/b.md) [x](d/b.md#f1-the-job) [x](#one-two) [x](https://example.com/none.md)\n`f[x](y)`\n```go\nf[x](y)\n```\n",
		"d/b.md": "## F1. The job\n[x](../a.md#none) [x](none.md) [x](#none)\n",
	}
	require.Equal(t, []string{"d/b.md: #none", "d/b.md: ../a.md#none", "d/b.md: none.md"},
		deadLinks(pages, func(file string) bool { _, ok := pages[file]; return ok }))
}
