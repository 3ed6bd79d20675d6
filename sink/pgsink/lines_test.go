package pgsink_test

import (
	"path/filepath"
	"testing"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/verifier"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
)

// A copy is read and verified by filesink, and by a program that was written
// from the format's description alone.
func TestACopyInFilesIsTheSameLog(t *testing.T) {
	url, k := database(t), newKey(t)
	sink := open(t, url, nil)
	stop := run(t, url, k.options())
	dir := filepath.Join(t.TempDir(), "copy")
	keys := []note.Verifier{k.Verifier}
	var all []jobaudit.Record
	for n := 7; n < 3000; n *= 6 { // goes on where it ended, over pages too
		records := sinktest.Records(n)
		all = append(all, records...)
		for len(records) > 0 {
			part := records[:min(len(records), 100)]
			records = records[len(part):]
			require.NoError(t, sink.Append(t.Context(), part))
		}
		require.NoError(t, sink.Sequenced(t.Context()))
		head, err := filesink.CopyLines(t.Context(), sink.Lines, dir, keys)
		require.NoError(t, err)
		kept, err := sink.Head(t.Context(), k.Verifier)
		require.NoError(t, err)
		require.Equal(t, kept.Head(), head.Head())
	}
	stop()
	require.NoError(t, sink.Append(t.Context(), sinktest.Records(2)), "which waits, and is not copied")

	reader, err := filesink.OpenReader(dir)
	require.NoError(t, err)
	defer reader.Close()
	require.Equal(t, idsOf(all), read(t, reader, jobaudit.Query{}))

	ours, err := sink.Prove(t.Context(), all[len(all)/2].ID(), k.Verifier)
	require.NoError(t, err)
	theirs, err := reader.Prove(t.Context(), all[len(all)/2].ID(), k.Verifier)
	require.NoError(t, err)
	require.Equal(t, ours, theirs)

	checked, err := verifier.Verify(dir, k.public)
	require.NoError(t, err)
	require.EqualValues(t, ours.Checkpoint().Head().Root, checked.Root)
	require.Zero(t, checked.Unacknowledged)
}
