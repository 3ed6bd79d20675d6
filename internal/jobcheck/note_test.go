package jobcheck_test

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/jobcheck"
	"github.com/jobaudit/jobaudit/internal/tools/size"
)

// The scanner is a short cut: whatever is done to a line, the parser either
// reads the same or refuses what the scanner does not look at.
func TestWhatTheScannerAcceptsOfAMangledLineTheParserReadsAlike(t *testing.T) {
	mangled(t, size.Times(3, 17))
}

func TestSoakWhatTheScannerAcceptsOfAMangledLineTheParserReadsAlike(t *testing.T) {
	size.Soak(t)
	mangled(t, 1)
}

// mangled changes every so many bytes of lines in each way, others in each line.
func mangled(t *testing.T, every int) {
	a := newAuthor(t)
	a.execution = uuid.New()
	b := newAuthor(t)
	b.after, b.execution = a.record(jobaudit.JobSubmitted), a.execution
	same := func(line []byte) {
		t.Helper()
		scanned, same := jobcheck.Scan(line)
		if _, err := jobaudit.ParseRecord(line); err == nil {
			require.True(t, !scanned || same, "%s", line)
		}
	}
	proven := newAuthor(t)
	proven.org, proven.proof = `x","orgId":"y`, uuid.New()
	scanned, _ := jobcheck.Scan(proven.line(jobaudit.JobStarted))
	require.False(t, scanned, "strings with escapes are left to the parser")
	proven.org = "{é}"
	own, other := newAuthor(t), newAuthor(t)
	child := other.line(jobaudit.JobSubmitted)
	copy(child[bytes.Index(child, []byte(`"rootId":"`))+len(`"rootId":"`):], a.job.String())
	for n, line := range [][]byte{
		a.line(jobaudit.JobStarted), b.line(jobaudit.AttemptFailed), b.line(jobaudit.AuditOpened),
		own.line(jobaudit.JobSubmitted), child, proven.line(jobaudit.JobStarted),
	} {
		scanned, _ := jobcheck.Scan(line)
		require.True(t, scanned)
		front := bytes.Index(line, []byte(`"where"`))
		for i := n % every; i < front; i += every {
			same(line[:i])
			same(slices.Delete(slices.Clone(line), i, i+1))
			for _, c := range []byte(` 0aA9"\{},:`) {
				same(slices.Insert(slices.Clone(line), i, c))
				changed := slices.Clone(line)
				changed[i] = c
				same(changed)
			}
		}
	}
}

func TestRecordsThatAreScannedAndThoseThatAreParsedAreCheckedAlike(t *testing.T) {
	lines, broken := many(t, 200)
	lines = append(lines, lines[17], lines[17][:300], []byte("{}")) // twice, torn, and no record
	require.NotZero(t, broken)
	scanned := check(t, jobcheck.New(0, false), lines...)
	c := jobcheck.New(0, false)
	for i, line := range lines { // as if Inspect had said nothing
		require.NoError(t, c.Leaf(auditlog.Leaf{Index: int64(i), Bytes: line, Hash: auditlog.HashLeaf(line)}))
	}
	parsed, err := c.Finish(t.Context())
	require.NoError(t, err)
	require.Equal(t, findings(parsed), findings(scanned))
	require.Equal(t, parsed.Ghosts.First(), scanned.Ghosts.First())
	require.Equal(t, [3]int64{parsed.Records, parsed.Jobs, parsed.Streams}, [3]int64{scanned.Records, scanned.Jobs, scanned.Streams})
}

func TestALineThatOnlyTheParserRefusesIsFoundWhereAllAreParsed(t *testing.T) {
	line := newAuthor(t).line(jobaudit.JobSubmitted)
	line = bytes.Replace(line, []byte(`"inputs":null`), []byte(`"inputs":nil`), 1)
	require.Empty(t, findings(check(t, jobcheck.New(0, false), line)))
	found := findings(check(t, jobcheck.New(0, true), line))
	require.Len(t, found, 1)
	require.Equal(t, jobcheck.Unparsable, found[0].Kind)
}

func TestMemoryStaysFlatAsTheLogGrows(t *testing.T) {
	if testing.Short() {
		t.Skip("it reads 120,000 records")
	}
	memoryStaysFlat(t, 10_000, 110_000)
}

func TestSoakMemoryStaysFlatAsTheLogGrows(t *testing.T) {
	size.Soak(t)
	memoryStaysFlat(t, 100_000, 3_000_000)
}

func memoryStaysFlat(t *testing.T, first, all int) {
	line := newAuthor(t).line(jobaudit.JobSubmitted)
	var ids []int // where IDs end in the line: the record's, the stream's, the job's
	for _, before := range []string{`"1.0.0","id":"`, `"stream":{"id":"`, `"job":{"id":"`} {
		ids = append(ids, bytes.Index(line, []byte(before))+len(before)+36)
	}
	// live gives the heap when so many records, each of a job of its own, were
	// read, and then checked.
	live := func(records int) (most uint64) {
		c := jobcheck.New(int64(records)*int64(len(line)), false)
		defer c.Close()
		c.SpillAfter(64)
		var notes []byte
		for i := range records {
			for _, end := range ids {
				copy(line[end-12:], fmt.Appendf(nil, "%012x", i))
			}
			notes = c.Inspect(notes[:0], line)
			require.NoError(t, c.Leaf(auditlog.Leaf{Index: int64(i), Bytes: line, Notes: notes}))
		}
		heap := func() uint64 {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return m.HeapAlloc
		}
		most = heap()
		require.NotEmpty(t, c.Spilled())
		r, err := c.Finish(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, records, r.Jobs)
		return max(most, heap())
	}
	few, many := live(first), live(all)
	require.Less(t, many-min(many, few), uint64(4<<20), "of %d MB more of log", (all-first)*len(line)>>20)
}

func TestAnIDIsNamedAsItIsWrittenThoughItIsKeptInAnotherOrder(t *testing.T) {
	for range 1000 {
		id := uuid.New()
		again, same := jobcheck.Reread(id)
		require.True(t, same)
		require.Equal(t, id, again)
	}
}

func TestTheScannerReadsJobsOfQueuesAndDoesNotMissWhatStandsElsewhere(t *testing.T) {
	line := string(newAuthor(t).line(jobaudit.JobSubmitted))
	const id = `"25d55fb7-d970-48c0-8a38-df14aaf0e387"`
	for after, want := range map[string]bool{
		``:                                     true,
		`,"retryOf":` + id:                     true,
		`,"queue":{"system":"redis","id":"7"}`: true,
		`,"queue":{"system":"\"","id":"7"}`:    false,
		`,"executionId":` + id:                 false,
		` `:                                    false,
		`,"retryOf":` + id + `,"executionId":` + id: false,
	} {
		changed := strings.Replace(line, `"},"correlationId"`, `"`+after+`},"correlationId"`, 1)
		scanned, same := jobcheck.Scan([]byte(changed))
		require.Equal(t, want, scanned, "%s", changed)
		require.True(t, same, "%s", changed)
	}
}
