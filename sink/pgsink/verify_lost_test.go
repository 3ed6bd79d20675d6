package pgsink_test

import (
	"testing"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/pgsink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// cutTo puts a log that was written back to an earlier size.
const cutTo = `DELETE FROM jobaudit.commits WHERE size > $i; DELETE FROM jobaudit.hashes WHERE first >= (SELECT max(first) FROM jobaudit.hashes WHERE first < 2 * $i);
	DELETE FROM jobaudit.inbox; WITH e AS (DELETE FROM jobaudit.events WHERE idx >= $i RETURNING id), s AS (DELETE FROM jobaudit.sequence WHERE idx >= $i)
	DELETE FROM jobaudit.ids WHERE id NOT IN (SELECT id FROM jobaudit.events WHERE idx < $i)`

// What is gone stays a finding, unless two say that they know of it: the holder of
// a successor's key, who signed on from before it, and those who verify.
func TestALossIsANoteOnlyWhereASuccessorGoesOnAndItIsListed(t *testing.T) {
	url, k, lost := writtenLog(t)
	tamper(t, url, cutTo, 20)
	next := newKeyNamed(t, auditlog.SuccessorOrigin(origin))
	opts := &pgsink.VerifyOptions{Keys: []note.Verifier{k.Verifier, next.Verifier}, Heads: []auditlog.Head{lost}, AcceptLoss: []auditlog.Head{lost}}
	find := func() (pgsink.Report, []pgsink.Finding) {
		report, err := pgsink.Verify(t.Context(), url, opts)
		var found *pgsink.VerifyError
		if err != nil {
			require.ErrorAs(t, err, &found)
			return report, found.Findings
		}
		return report, nil
	}
	_, found := find()
	require.Len(t, found, 1)
	require.Equal(t, auditlog.KindTruncated, found[0].Kind, "nobody has signed on")

	sink := open(t, url, nil)
	successor := next.options()
	successor.Predecessor = k.Verifier
	stop := run(t, url, successor)
	require.NoError(t, sink.Append(t.Context(), sinktest.Records(30)))
	require.NoError(t, sink.Sequenced(t.Context()))
	stop()
	report, found := find()
	require.Empty(t, found)
	require.Equal(t, auditlog.Signed, report.Level, "not every given head agrees")
	require.Contains(t, report.Notes[0].Explained, "goes on as "+next.Verifier.Name()+" from event 20")

	for _, accept := range [][]auditlog.Head{nil, {{Size: lost.Size}}, {{Origin: "example.com/other", Size: lost.Size, Root: lost.Root}}} {
		opts.AcceptLoss = accept
		report, found = find()
		require.Len(t, found, 1, "%v is another head", accept)
		require.Equal(t, auditlog.Unverified, report.Level)
		require.Contains(t, found[0].Explained, "goes on as")
	}
	opts.AcceptLoss, opts.Heads = []auditlog.Head{lost}, []auditlog.Head{lost, report.Head}
	report, found = find()
	require.Empty(t, found)
	require.Equal(t, auditlog.Signed, report.Level, "not every given head agrees")
	tamper(t, url, `UPDATE jobaudit.events SET line = line || ' ' WHERE idx = $i`, 7)
	_, found = find()
	require.NotEmpty(t, found, "only the loss is accepted")
}

// succeeded makes a log of which a head of size 40 is lost: a successor has gone on from
// event 20 to 30.
func succeeded(t *testing.T) (url string, lost auditlog.Head, keys []note.Verifier) {
	t.Helper()
	url, k, lost := writtenLog(t)
	next := newKeyNamed(t, auditlog.SuccessorOrigin(origin))
	tamper(t, url, cutTo, 20)
	sink := open(t, url, nil)
	successor := next.options()
	successor.Predecessor = k.Verifier
	stop := run(t, url, successor)
	require.NoError(t, sink.Append(t.Context(), sinktest.Records(10)))
	require.NoError(t, sink.Sequenced(t.Context()))
	stop()
	require.EqualValues(t, 40, lost.Size)
	return url, lost, []note.Verifier{k.Verifier, next.Verifier}
}

// Heads of one size are not one head: a loss is accepted with its root and its
// origin, and excuses nothing that another anchor, or the successor itself, holds.
func TestAnAcceptedLossExcusesNoOtherHeadOfItsSize(t *testing.T) {
	url, lost, keys := succeeded(t)
	for name, other := range map[string]auditlog.Head{
		"of another anchor, with another root": {Origin: lost.Origin, Size: lost.Size, Root: tlog.Hash{1}},
		"of the successor":                     {Origin: keys[1].Name(), Size: lost.Size, Root: tlog.Hash{1}},
		"of the successor, with that root":     {Origin: keys[1].Name(), Size: lost.Size, Root: lost.Root},
	} {
		opts := pgsink.VerifyOptions{Keys: keys, AcceptLoss: []auditlog.Head{lost}}
		for _, opts.Heads = range [][]auditlog.Head{{lost, other}, {other, lost}} {
			report, err := pgsink.Verify(t.Context(), url, &opts)
			var found *pgsink.VerifyError
			require.ErrorAs(t, err, &found, name)
			require.Len(t, found.Findings, 1, name)
			require.Equal(t, other, found.Findings[0].Head, name)
			require.Equal(t, auditlog.Unverified, report.Level, name)
		}
		opts.Heads = []auditlog.Head{lost}
		opts.Companions = []pgsink.Companion{{
			Report: auditlog.Report{Level: auditlog.Signed, Head: auditlog.Head{Origin: "example.com/acts"}}, CompanionOf: []auditlog.Head{other},
		}}
		_, err := pgsink.Verify(t.Context(), url, &opts)
		require.ErrorContains(t, err, "which the companion example.com/acts names", name)
	}
}

// What lies beyond the findings that are kept could be anything.
func TestNoLossIsAcceptedWhereThereAreMoreFindingsThanAreKept(t *testing.T) {
	url, lost, keys := succeeded(t)
	opts := &pgsink.VerifyOptions{Keys: keys}
	for i := range int64(1000) {
		opts.AcceptLoss = append(opts.AcceptLoss, auditlog.Head{Origin: lost.Origin, Size: lost.Size + i, Root: lost.Root})
	}
	opts.Heads = opts.AcceptLoss
	_, err := pgsink.Verify(t.Context(), url, opts)
	require.NoError(t, err)
	opts.Heads = append(opts.Heads, auditlog.Head{Origin: lost.Origin, Size: lost.Size + 1000, Root: lost.Root})
	report, err := pgsink.Verify(t.Context(), url, opts)
	var found *pgsink.VerifyError
	require.ErrorAs(t, err, &found)
	require.Len(t, found.Findings, 1000)
	require.Equal(t, 1, found.More)
	require.Equal(t, auditlog.Unverified, report.Level)
}
