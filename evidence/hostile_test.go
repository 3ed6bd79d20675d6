package evidence_test

import (
	"encoding/base64"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/evidence"
)

func TestAHeadWithSignaturesWithoutEndIsRefusedBeforeItIsReadWithEachProof(t *testing.T) {
	l := newLog(t, "example.com/jobs")
	blocks := strings.Split(string(l.collect(t, evidence.Scope{JobID: l.parent})), "\n\n")
	blocks[2] += "\n— other " + strings.Repeat("AAAA", 8<<10)
	_, err := evidence.Open(resum(t, strings.Join(blocks, "\n\n")), l.keys())
	require.ErrorContains(t, err, "larger than 16 KiB")
}

func TestASummaryStandsForNoJob(t *testing.T) {
	l := newLog(t, "example.com/jobs")
	text := string(l.collect(t, evidence.Scope{JobID: l.failed}))
	before, behind, found := strings.Cut(text, `"streams":[`)
	require.True(t, found)
	_, behind, found = strings.Cut(behind, `,"made"`)
	require.True(t, found)
	summary := `"streams":[],"summary":{"events":4,"jobs":1,"types":{"job.succeeded":1},"unended":0,"gaps":0,"who":[],"withheld":[],"left":0}`
	blocks := strings.Split(before+summary+`,"made"`+behind, "\n\n")
	blocks = append(blocks[:len(blocks)-3], blocks[len(blocks)-2:]...) // the failure is left out
	_, err := evidence.Open(resum(t, strings.Join(blocks, "\n\n")), l.keys())
	require.ErrorContains(t, err, "not about a period")
}

// withSummary says that a file of a job is a summary, and leaves the failure out.
func withSummary(t *testing.T, text, scope string) []byte {
	t.Helper()
	before, behind, found := strings.Cut(text, `"streams":[`)
	require.True(t, found)
	_, behind, found = strings.Cut(behind, `,"made"`)
	require.True(t, found)
	scopeAt := strings.Index(before, `"scope":`)
	logsAt := strings.Index(before, `,"logs"`)
	before = before[:scopeAt] + `"scope":` + scope + before[logsAt:]
	summary := `"streams":[],"summary":{"events":4,"jobs":1,"types":{"job.succeeded":1},"unended":0,"gaps":0,"who":[],"withheld":[],"left":0}`
	blocks := strings.Split(before+summary+`,"made"`+behind, "\n\n")
	var kept []string
	for _, b := range blocks {
		_, leaf, _ := strings.Cut(b, "\nextra ")
		leaf, _, _ = strings.Cut(leaf, "\n")
		line, _ := base64.StdEncoding.DecodeString(leaf)
		if !strings.Contains(string(line), `"type":"job.failed"`) {
			kept = append(kept, b)
		}
	}
	require.Less(t, len(kept), len(blocks))
	return resum(t, strings.Join(kept, "\n\n"))
}

// A person who hands over a job must not call it a period, beside whose summary a failure can be missing.
func TestBesideASummaryStandsOnlyWhatCollectPutsThere(t *testing.T) {
	l := newLog(t, "example.com/jobs")
	for _, scope := range []string{`{"action":"delete"}`, `{"since":"2020-01-01T00:00:00Z"}`} {
		_, err := evidence.Open(withSummary(t, string(l.collect(t, evidence.Scope{JobID: l.failed})), scope), l.keys())
		require.ErrorContains(t, err, "beside which no such event stands", scope)
	}
}

// The page and this package have one list of what stands there.
func TestThePageKnowsWhatStandsBesideASummary(t *testing.T) {
	_, list, found := strings.Cut(evidence.PageText(), "const notable = new Set([")
	require.True(t, found)
	list, _, _ = strings.Cut(list, "])")
	var got []string
	for _, m := range regexp.MustCompile(`"([a-z.]+)"`).FindAllStringSubmatch(list, -1) {
		got = append(got, m[1])
	}
	require.ElementsMatch(t, evidence.Notable(), got)
}
