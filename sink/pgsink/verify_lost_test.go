package pgsink_test

import (
	"testing"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/pgsink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
)

// cutTo puts a log that was written back to an earlier size.
const cutTo = `DELETE FROM jobaudit.commits WHERE size > $i; DELETE FROM jobaudit.hashes WHERE first >= (SELECT max(first) FROM jobaudit.hashes WHERE first < 2 * $i);
	DELETE FROM jobaudit.inbox; WITH e AS (DELETE FROM jobaudit.events WHERE idx >= $i RETURNING id), s AS (DELETE FROM jobaudit.sequence WHERE idx >= $i)
	DELETE FROM jobaudit.ids WHERE id NOT IN (SELECT id FROM jobaudit.events WHERE idx < $i)`

// What is gone stays a finding, unless two say that they know of it: the holder of
// a successor's key, who signed on from before it, and whoever verifies.
func TestALossIsANoteOnlyWhereASuccessorGoesOnAndItIsListed(t *testing.T) {
	url, k := database(t), newKey(t)
	lost := written(t, url, k)
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
