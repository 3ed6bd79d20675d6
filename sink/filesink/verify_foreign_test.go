package filesink_test

import (
	"context"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink"
)

// Another tenant uses a job's ID in a Carrier of its own. What a worker records
// of it says nothing against the log.
func TestAForgedStreamMakesNoUntouchedLogFail(t *testing.T) {
	sink := &batches{}
	where := jobaudit.Source{System: "s", Environment: "test"}
	r, err := jobaudit.Open(t.Context(), sink, where, nil)
	require.NoError(t, err)
	mine, err := r.Submit(t.Context(), submission(1))
	require.NoError(t, err)
	elsewhere, err := jobaudit.Open(t.Context(), &batches{}, where, nil)
	require.NoError(t, err)
	forged := submission(1)
	forged.ID, forged.OrgID = mine.JobID(), "evil"
	theirs, err := elsewhere.Submit(t.Context(), forged)
	require.NoError(t, err)

	require.NoError(t, mine.Run(t.Context(), jobaudit.Execution{}, func(ctx context.Context) error {
		evil, err := r.Resume(ctx, theirs.Carrier(), nil)
		require.NoError(t, err)
		require.NoError(t, evil.Deduplicate(ctx, uuid.New())) // of a job that runs
		return nil
	}))
	require.NoError(t, r.Close(t.Context()))

	for _, opts := range []bool{false, true} {
		l := logOf(t, sink.all())
		with := l.keys()
		with.ParseAll = opts
		report, found := l.verify(with)
		require.Empty(t, found)
		require.Equal(t, auditlog.Signed, report.Level)
		at := slices.IndexFunc(report.Notes, func(f filesink.Finding) bool { return f.Kind == filesink.KindForeign })
		require.GreaterOrEqual(t, at, 0)
		require.Equal(t, mine.JobID(), report.Notes[at].JobID)
		require.Contains(t, report.Notes[at].Found, "job.deduplicated")
		require.EqualValues(t, 1, report.Foreign)
		require.Zero(t, report.Unapplied, "the job's own end has its effect")
	}
}
