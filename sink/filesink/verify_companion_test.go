package filesink_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink"
)

// companion is the report on a log with an act about another log, whose head it
// names.
func companion(t *testing.T, of auditlog.Head, opts func(*testLog) *filesink.VerifyOptions) filesink.Report {
	t.Helper()
	sink := &batches{}
	options := &jobaudit.Options{}
	options.CompanionOf.Origin, options.CompanionOf.Head = of.Origin, tlog.Tree{N: of.Size, Hash: of.Root}
	r, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "review", Environment: "test"}, options)
	require.NoError(t, err)
	require.NoError(t, r.Act(t.Context(), jobaudit.Act{
		Type: jobaudit.AuditReviewed, Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada"}, Reason: "every quarter",
	}))
	require.NoError(t, r.Close(t.Context()))
	l := logOf(t, sink.all())
	report, found := l.verify(opts(l))
	require.Empty(t, found)
	require.Equal(t, []auditlog.Head{of}, report.CompanionOf)
	return report
}

func TestTheHeadThatACompanionNamesHasToBeOnTheLogsHistory(t *testing.T) {
	l := logOf(t, recorded(t, 4))
	signed := (*testLog).keys
	head := l.heads[len(l.heads)/2].Head()
	for name, c := range map[string]struct {
		named auditlog.Head
		kind  auditlog.Kind
	}{
		"on the history": {head, ""},
		"another root":   {auditlog.Head{Origin: head.Origin, Size: head.Size, Root: tlog.Hash{1}}, auditlog.KindFork},
		"a head that is cut off": {
			auditlog.Head{Origin: head.Origin, Size: l.head().Head().Size + 1, Root: tlog.Hash{1}}, auditlog.KindTruncated,
		},
	} {
		with := l.keys()
		with.Companions = []filesink.Report{companion(t, c.named, signed)}
		report, found := l.verify(with)
		if c.kind == "" {
			require.Empty(t, found, name)
			require.Equal(t, auditlog.Signed, report.Level, "a companion is no anchor")
			continue
		}
		require.Len(t, found, 1, name)
		require.Equal(t, c.kind, found[0].Kind, name)
		require.Contains(t, found[0].Expected, "which the companion", name)
	}
}

func TestACompanionThatProvesNothingIsAnError(t *testing.T) {
	l := logOf(t, recorded(t, 1))
	other := l.head().Head()
	other.Origin = "example.com/other"
	for name, report := range map[string]filesink.Report{
		"of another log": companion(t, other, (*testLog).keys),
		"unsigned":       companion(t, l.head().Head(), func(*testLog) *filesink.VerifyOptions { return nil }),
		"no companion":   {Report: auditlog.Report{Level: auditlog.Signed}},
	} {
		with := l.keys()
		with.Companions = []filesink.Report{report}
		_, err := filesink.Verify(t.Context(), l.dir, with)
		require.ErrorContains(t, err, "companion", name)
		require.NotErrorAs(t, err, new(*filesink.VerifyError), name)
	}
}
