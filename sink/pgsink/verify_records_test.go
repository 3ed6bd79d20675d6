package pgsink_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/pgsink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
)

// A writer that leaves out events, or sends them in another order, is found out
// in the same words whatever the log lies in.
func TestRecordsThatDisagreeAreFoundAsInAFileLog(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 3))
	for _, disagree := range map[string]func([]jobaudit.Record) []jobaudit.Record{
		"an event is missing": func(r []jobaudit.Record) []jobaudit.Record {
			i := random.IntN(len(r))
			return slices.Delete(r, i, i+1)
		},
		"two events are swapped": func(r []jobaudit.Record) []jobaudit.Record {
			i := random.IntN(len(r) - 1)
			r[i], r[i+1] = r[i+1], r[i]
			return r
		},
		"the first event of a job comes last": func(r []jobaudit.Record) []jobaudit.Record {
			return append(r[1:], r[0])
		},
		"an execution has no end": func(r []jobaudit.Record) []jobaudit.Record { return r[:len(r)-1] },
		"all is well":             func(r []jobaudit.Record) []jobaudit.Record { return r },
	} {
		records := disagree(sinktest.Records(15))
		url, k := database(t), newKey(t)
		sink := open(t, url, nil)
		require.NoError(t, sink.Append(t.Context(), records))
		stop := run(t, url, k.options())
		require.NoError(t, sink.Sequenced(t.Context()))
		stop()
		report, err := pgsink.Verify(t.Context(), url, &pgsink.VerifyOptions{Keys: []note.Verifier{k.Verifier}})
		found, _ := errors.AsType[*pgsink.VerifyError](err)
		require.True(t, err == nil || found != nil, "%v", err)

		dir := filepath.Join(t.TempDir(), "log")
		fileKey, err := filesink.LoadOrCreateKey(dir, dir+".key", origin)
		require.NoError(t, err)
		file, err := filesink.Open(t.Context(), dir, fileKey, nil)
		require.NoError(t, err)
		require.NoError(t, file.Append(t.Context(), records))
		require.NoError(t, file.Close())
		fileReport, err := filesink.Verify(t.Context(), dir, nil)
		fileFound, _ := errors.AsType[*filesink.VerifyError](err)

		var ours, theirs []string
		if found != nil {
			for _, f := range found.Findings {
				ours = append(ours, f.String())
			}
		}
		if fileFound != nil {
			for _, f := range fileFound.Findings {
				theirs = append(theirs, f.String())
			}
		}
		for _, n := range report.Notes {
			ours = append(ours, fmt.Sprintf("%s %d: %s", n.Kind, n.Index, n.Found))
		}
		for _, n := range fileReport.Notes {
			theirs = append(theirs, fmt.Sprintf("%s %d: %s", n.Kind, n.Index, n.Found))
		}
		require.Equal(t, theirs, ours)
		require.Equal(t, fileReport.Records, report.Records)
		require.Equal(t, []int64{fileReport.Jobs, fileReport.Streams, fileReport.Ghosts, fileReport.Unapplied, fileReport.Dangling, fileReport.Foreign},
			[]int64{report.Jobs, report.Streams, report.Ghosts, report.Unapplied, report.Dangling, report.Foreign})
	}
}
