package export_test

import (
	"context"
	"fmt"
	"io"
	"iter"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/export"
)

// long are events whose lines have some more thousand bytes each.
func long(t testing.TB, records []jobaudit.Record) (lines [][]byte) {
	more := strings.Repeat("x", 4_000)
	for _, r := range records {
		line := r.Bytes()
		lines = append(lines, fmt.Appendf(line[:len(line)-1], `,"later":"%s"}`, more))
	}
	return lines
}

// heaped are n events that are read from their lines, as from a log; at some of them it
// notes how many bytes are alive.
func heaped(lines [][]byte, n int, alive *[]uint64) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		for i := range n {
			if i%(n/4) == n/8 {
				var m runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&m)
				*alive = append(*alive, m.HeapAlloc)
			}
			if !yield(jobaudit.ParseRecord(lines[i%len(lines)])) { // which copies the line
				return
			}
		}
	}
}

// What is alive while ten times the events are exported is not more: the events that the
// test does not keep are gone, however it exports them.
func TestAnExportHoldsNoMoreOfALongLog(t *testing.T) {
	lines := long(t, golden(t))
	const all = 2_500
	formats := export.Formats()
	if testing.Short() { // what they hold of the events they hold in common
		formats = formats[:1]
	}
	for _, format := range formats {
		encoder, err := export.New(format, nil)
		require.NoError(t, err)
		for name, run := range map[string]func(iter.Seq2[jobaudit.Record, error]){
			"Write": func(events iter.Seq2[jobaudit.Record, error]) {
				_, err := export.Write(io.Discard, format, events, nil)
				require.NoError(t, err)
			},
			"Forward": func(events iter.Seq2[jobaudit.Record, error]) {
				_, err := export.Forward(t.Context(), export.NewWriter(struct{ io.Writer }{io.Discard}, encoder, true),
					func(context.Context) iter.Seq2[jobaudit.Record, error] { return events }, nil)
				require.NoError(t, err)
			},
		} {
			// What encoders hold, Forward shows; Write is the same code for all of them.
			if name == "Write" && (testing.Short() || format != formats[0]) {
				continue
			}
			var few, many []uint64
			run(heaped(lines, all/10, &few))
			run(heaped(lines, all, &many))
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
