package filesink_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
)

// unusedIndex requires that Verify finds nothing, and notes an index if one is of another state.
func unusedIndex(t *testing.T, p place, noted bool, what string) {
	t.Helper()
	report, found := p.findingsOf(t)
	require.Empty(t, found, what)
	require.Equal(t, noted, slices.ContainsFunc(report.Notes, func(f filesink.Finding) bool { return f.Kind == filesink.KindIndex }), what)
}

// TestALogWhoseCommitLineWasPutBackIsNotAccusedByItsIndex: commit lines that later ones
// cover are no loss, and an index of the segment without one of them counts as missing.
func TestALogWhoseCommitLineWasPutBackIsNotAccusedByItsIndex(t *testing.T) {
	for segment := range 3 { // the first, one in the middle, the last
		for _, opened := range []bool{false, true} {
			for _, appended := range []bool{false, true} {
				if appended && !opened || size.Race && opened && !appended {
					continue
				}
				p, opts, records := indexed(t)
				files, err := filepath.Glob(filepath.Join(p.dir, "entries", "*.jsonl"))
				require.NoError(t, err)
				file := files[segment]
				if segment == 2 {
					file = files[len(files)-1]
				}
				what := fmt.Sprintf("segment %d, opened: %v, appended: %v", segment, opened, appended)
				whole := contentOf(t, file)
				lines := bytes.SplitAfter(whole, []byte("\n"))
				i := slices.IndexFunc(lines, func(line []byte) bool { return auditlog.IsCommit(bytes.TrimSuffix(line, []byte("\n"))) })
				without := bytes.Join(slices.Delete(slices.Clone(lines), i, i+1), nil)
				require.NoError(t, os.WriteFile(file, without, 0o600))
				unusedIndex(t, p, true, what+", taken out")
				if opened {
					s := p.open(t, opts)
					if appended {
						more := sinktest.Records(3)
						require.NoError(t, s.Append(t.Context(), more))
						records = append(records, more...)
					}
					require.NoError(t, s.Close())
					unusedIndex(t, p, false, what+", opened")
				}
				now := contentOf(t, file)
				require.NoError(t, os.WriteFile(file, append(slices.Clip(whole), now[len(without):]...), 0o600))
				unusedIndex(t, p, opened, what+", put back")
				queriesOf(t, openReader(t, p.dir), records)
				goesOn(t, p, opts, records, what)
			}
		}
	}
}

// TestAnOldIndexOfASegmentThatWentOnIsNotUsed: somebody who has no key can put one back.
func TestAnOldIndexOfASegmentThatWentOnIsNotUsed(t *testing.T) {
	p, opts, records := indexed(t)
	files := indexFiles(t, p.dir)
	last := files[len(files)-1]
	old := contentOf(t, last)
	more := sinktest.Records(3)
	p.write(t, opts, 3, more...)
	records = append(records, more...)
	require.NotEqual(t, old, contentOf(t, last))
	require.NoError(t, os.WriteFile(last, old, 0o600))
	unusedIndex(t, p, true, "put back")
	goesOn(t, p, opts, records, "the last segment")
}

// goesOn requires that a reader with the key and the next writer find all records, and
// that the index is right after that.
func goesOn(t *testing.T, p place, opts *filesink.Options, records []jobaudit.Record, what string) {
	t.Helper()
	with, err := filesink.OpenReader(p.dir, p.key.Verifier())
	require.NoError(t, err)
	queriesOf(t, with, records)
	require.NoError(t, with.Close())
	s := p.open(t, opts)
	queriesOf(t, s, records)
	require.NoError(t, s.Close())
	unusedIndex(t, p, false, what+", opened again")
}
