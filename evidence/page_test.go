package evidence_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/evidence"
	"github.com/jobaudit/jobaudit/internal/tools/size"
)

func (l *aLog) page(t testing.TB, scope evidence.Scope) []byte {
	t.Helper()
	page, err := evidence.Page(l.collect(t, scope))
	require.NoError(t, err)
	return page
}

func TestAPageIsSelfContainedAndHoldsNoTextOfAnEvent(t *testing.T) {
	l := newLog(t, "example.com/jobs")
	page := l.page(t, evidence.Scope{RootID: l.parent})
	b, err := evidence.OpenPage(page, l.keys())
	require.NoError(t, err)
	require.Len(t, b.Statement.Streams, 2)
	require.True(t, evidence.IsPage(page))

	text := string(page)
	for _, from := range []string{"http:", "https:", "src=", "@import", "url(", "innerHTML", "eval(", "alert("} {
		require.NotContains(t, text, from)
	}
	require.Equal(t, 2, strings.Count(text, "</script>"))
	require.Contains(t, text, "default-src 'none'")
	require.Contains(t, text, "<noscript>")
	require.NotContains(t, text, "{{")
}

// Whatever byte of a page is changed, in its text, its script or its evidence,
// check-report's check finds it.
func TestOneChangedByteOfAPageIsFound(t *testing.T) {
	l := newLog(t, "example.com/jobs")
	page := l.page(t, evidence.Scope{JobID: l.failed})
	begin := bytes.Index(page, []byte(`id="evidence">`)) + len(`id="evidence">`)
	end := begin + bytes.IndexByte(page[begin:], '<')
	around, inside := 0, 0
	for at := 0; at < len(page); at += size.Times(211, 631) {
		changed := bytes.Clone(page)
		changed[at] ^= 1
		b, err := evidence.OpenPage(changed, l.keys())
		require.Error(t, err, "byte %d", at)
		if begin <= at && at < end {
			inside++
			require.Nil(t, b)
			require.NotErrorIs(t, err, evidence.ErrPage)
		} else if errors.Is(err, evidence.ErrPage) {
			around++
			require.NotNil(t, b, "the evidence itself is good")
		}
	}
	require.Greater(t, inside, size.Times(20, 6))
	require.Greater(t, around, size.Times(100, 30))
	_, err := evidence.OpenPage(append(page, '\n'), l.keys())
	require.ErrorIs(t, err, evidence.ErrPage)
	_, err = evidence.OpenPage(page[:begin+40], l.keys())
	require.ErrorIs(t, err, evidence.ErrFormat)
	split := base64.StdEncoding.EncodeToString([]byte("x"))
	_, err = evidence.OpenPage([]byte(`<script type="text/plain" id="evidence">`+split+"\n</script>"), l.keys())
	require.ErrorIs(t, err, evidence.ErrFormat)
}

// TestAPrintedPageShowsByWhichKeyItWasChecked: on paper nothing else tells.
func TestAPrintedPageShowsByWhichKeyItWasChecked(t *testing.T) {
	style, err := os.ReadFile("page.css")
	require.NoError(t, err)
	_, print, ok := strings.Cut(string(style), "@media print {")
	require.True(t, ok)
	for rule := range strings.Lines(print) {
		if strings.Contains(rule, "display: none") {
			require.NotRegexp(t, `\.keys|form|textarea|status`, rule)
		}
	}
}

func TestThePageOfStandardsIsTheTableOfTheReport(t *testing.T) {
	text, err := os.ReadFile("../docs/compliance.md")
	require.NoError(t, err)
	rows := regexp.MustCompile(`(?m)^\| (.+?) \| (.+?) \| (read|known) \| .+? \| (.+) \|$`).FindAllStringSubmatch(string(text), -1)
	standards := evidence.Standards(t)
	require.Len(t, rows, len(standards))
	for i, s := range standards {
		require.Equal(t, []string{s.Source, s.Asks, s.Read, s.Note}, rows[i][1:], s.Source)
		for _, typ := range s.Evidence.Types {
			require.Contains(t, rows[i][0], "`"+typ+"`")
		}
	}
	require.NotRegexp(t, `(?i)\bcompliant\b`, string(text)+evidence.PageText())
}

func FuzzOpenPage(f *testing.F) {
	l := newLog(f, "example.com/jobs")
	page := l.page(f, evidence.Scope{JobID: l.failed})
	f.Add(page)
	f.Add([]byte(`<script type="text/plain" id="evidence">QQ==</script>`))
	f.Fuzz(func(t *testing.T, changed []byte) {
		if _, err := evidence.OpenPage(changed, l.keys()); err == nil {
			require.Equal(t, page, changed)
		}
	})
}
