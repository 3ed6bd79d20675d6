package filesink_test

import (
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/simdisk"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
)

// requireCheapOpen opens a log that was closed in order.
func requireCheapOpen(t *testing.T, p place, events int) {
	t.Helper()
	faults := simdisk.NewFaults(simdisk.OS)
	var read, all atomic.Int64
	faults.Before(func(op simdisk.Op) error {
		if op.Kind == "read" {
			all.Add(int64(op.Size))
			if strings.HasPrefix(op.Name, "entries/") {
				read.Add(int64(op.Size))
			}
		}
		return nil
	})
	s := p.open(t, filesink.On(faults, nil))
	require.EqualValues(t, events, s.Checkpoint().Head().Size)
	t.Logf("opening %d entries reads %d bytes of them and %d bytes in all", events, read.Load(), all.Load())
	require.Positive(t, read.Load())
	// 64 KiB, and the last segment if it is small: it is continued, so its IDs
	// are read. A log of any length is opened at this cost.
	require.LessOrEqual(t, read.Load(), int64(64<<10+2*(256<<10)))
	require.LessOrEqual(t, all.Load(), int64(1<<20))
	before := all.Load()
	require.NoError(t, s.Append(t.Context(), sinktest.Records(10)))
	require.Less(t, all.Load()-before, int64(16<<10), "new events need no look at old ones")
	require.NoError(t, s.Close())
}

func TestOpeningAfterACleanCloseReadsLittleOfTheEntries(t *testing.T) {
	p := newPlace(t)
	p.write(t, nil, 100, plain(t, 1000)...)
	requireCheapOpen(t, p, 1000)
}

func TestALongLogCostsNoMoreMemoryAndNoMoreToOpen(t *testing.T) {
	if testing.Short() {
		t.Skip("it writes 100,000 events")
	}
	p := newPlace(t)
	s := p.open(t, &filesink.Options{SegmentSize: 1 << 20})
	grow := func(n int) {
		for range n / 1000 {
			require.NoError(t, s.Append(t.Context(), plain(t, 1000)))
		}
	}
	all := 100_000
	if size.Race { // which tells nothing about memory that goes on for longer
		all = 30_000
	}
	grow(10_000)
	before := heap()
	grow(all - 10_000)
	after := heap()
	t.Logf("%d KiB at 10,000 events, %d KiB at %d", before>>10, after>>10, all)
	require.Less(t, after, before+2<<20, "the events themselves are 60 MB")

	// Old and new events are told apart all the same.
	var old []jobaudit.Record
	for r, err := range s.Records(t.Context(), jobaudit.Query{Limit: 10}) {
		require.NoError(t, err)
		old = append(old, r)
	}
	require.NoError(t, s.Append(t.Context(), old))
	require.EqualValues(t, all, s.Checkpoint().Head().Size)
	require.NoError(t, s.Close())
	requireCheapOpen(t, p, all)
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
