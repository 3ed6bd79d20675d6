package evidence_test

import (
	"encoding/base64"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
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

// A summary counts what stands beside it, and each that is cut is missing.
func TestWhatIsCutFromBesideASummaryIsMissing(t *testing.T) {
	l := newLog(t, "example.com/jobs")
	opts := *made
	opts.MaxEvents, opts.Summarize = 7, true
	text, err := evidence.Collect(t.Context(), []evidence.Source{l.source(t)}, evidence.Scope{Since: made.Now.AddDate(0, -1, 0)}, &opts)
	require.NoError(t, err)
	for _, cut := range cutBeside(t, text) {
		_, err := evidence.Open(cut, l.keys())
		require.ErrorContains(t, err, "counts more or fewer events")
	}
	for _, wrong := range []string{`"left":1}`, `"left":-1}`} {
		_, err = evidence.Open(resum(t, strings.Replace(string(text), `"left":0}`, wrong, 1)), l.keys())
		require.ErrorContains(t, err, "counts more or fewer events")
	}
	less, err := evidence.WithoutActs(text, func(jobaudit.Event) bool { return true })
	require.NoError(t, err)
	b, err := evidence.Open(less, l.keys())
	require.NoError(t, err)
	require.Equal(t, []string{"job.failed"}, types(b))
	require.EqualValues(t, 1, b.Statement.Summary.Left)
}

// cutBeside are files that lack one of the events each.
func cutBeside(t *testing.T, text []byte) (files [][]byte) {
	t.Helper()
	blocks := strings.Split(string(text), "\n\n")
	for at, block := range blocks {
		if strings.HasPrefix(block, "c2sp") {
			files = append(files, resum(t, strings.Join(slices.Delete(slices.Clone(blocks), at, at+1), "\n\n")))
		}
	}
	require.Len(t, files, 2)
	return files
}

// The openings with which the logs begin tell which of them is a companion.
func TestWithoutActsTheFirstEventOfEachLogIsLeft(t *testing.T) {
	l := newLog(t, "example.com/jobs")
	c := l.forged(t)
	files, keys := bothOrders(t, evidence.Scope{JobID: l.failed}, l, c)
	for _, text := range files {
		text, err := evidence.WithoutActs(text, func(jobaudit.Event) bool { return true })
		require.NoError(t, err)
		b, err := evidence.Open(text, keys)
		require.NoError(t, err)
		for _, log := range b.Logs {
			require.Zero(t, log.Proofs[0].Index())
		}
	}
}
