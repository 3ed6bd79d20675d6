package sinktest

import (
	"testing"

	"github.com/jobaudit/jobaudit"
	"github.com/stretchr/testify/require"
)

func TestRecordsAreWholeJobs(t *testing.T) {
	records := Records(12)
	require.Len(t, records, 12)
	require.Equal(t, jobaudit.JobSucceeded, records[4].Type())
	require.Equal(t, records[0].JobID(), records[4].JobID())
	require.NotEqual(t, records[4].JobID(), records[5].JobID())
	require.Equal(t, records[0].Hash(), records[1].Event().Stream.Prev)
	require.Empty(t, Records(0))
}

func TestNastyRecordsAreOfTheSizesTheySay(t *testing.T) {
	records := newAuthor().nasty()
	require.Equal(t, 48_000, records[len(records)-1].Len())
	require.Equal(t, 4_096, records[len(records)-3].Len())
}
