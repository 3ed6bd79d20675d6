package evidence_test

import (
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
