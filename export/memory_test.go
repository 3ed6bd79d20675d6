package export_test

import (
	"context"
	"io"
	"iter"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/export"
)

// heaped are n events that are read from their lines, as from a log; at some of them it
// notes how many bytes are alive.
func heaped(records []jobaudit.Record, n int, alive *[]uint64) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		for i := range n {
			if i%(n/4) == n/8 {
				var m runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&m)
				*alive = append(*alive, m.HeapAlloc)
			}
			line := append([]byte(nil), records[i%len(records)].Bytes()...)
			if !yield(jobaudit.ParseRecord(line)) {
				return
			}
		}
	}
}

// What is alive while ten times the events are exported is not more: the events that the
// test does not keep are gone, however it exports them.
func TestAnExportHoldsNoMoreOfALongLog(t *testing.T) {
	records := golden(t)
	const long = 5_000
	formats := export.Formats()
	if testing.Short() { // what they hold of the events they hold in common
		formats = formats[:1]
	}
	for _, format := range formats {
		encoder, err := export.New(format, nil)
		require.NoError(t, err)
		for name, run := range map[string]func(iter.Seq2[jobaudit.Record, error]){
			"Write": func(all iter.Seq2[jobaudit.Record, error]) {
				_, err := export.Write(io.Discard, format, all, nil)
				require.NoError(t, err)
			},
			"Forward": func(all iter.Seq2[jobaudit.Record, error]) {
				_, err := export.Forward(t.Context(), export.NewWriter(struct{ io.Writer }{io.Discard}, encoder, true),
					func(context.Context) iter.Seq2[jobaudit.Record, error] { return all }, nil)
				require.NoError(t, err)
			},
		} {
			if testing.Short() && name == "Write" { // as Forward has it, without batches
				continue
			}
			var few, many []uint64
			run(heaped(records, long/10, &few))
			run(heaped(records, long, &many))
			require.Len(t, many, 4)
			// All of the events have more than 12 MB. Three batches of 256 may be on
			// their way, and the tenth may have been looked at before the first was full.
			most := max(few[0], few[1], few[2], few[3]) + 6<<20
			for _, at := range many {
				require.Less(t, at, most, "%s as %s: %d bytes are alive, %v in a tenth of it", name, format, at, few)
			}
		}
	}
}
