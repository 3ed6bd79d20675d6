package jobcheck_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/jobcheck"
	"github.com/jobaudit/jobaudit/internal/tools/size"
)

// author writes records by hand, as an encoder would.
type author struct {
	t         testing.TB
	stream    uuid.UUID
	job       uuid.UUID
	execution uuid.UUID
	after     jobaudit.Record
	seq       uint64
	prev      jobaudit.Hash

	org, action, correlation string // default: as of every other author
	proof                    uuid.UUID
}

func newAuthor(t testing.TB) *author {
	return &author{t: t, stream: uuid.New(), job: uuid.New()}
}

var states = map[jobaudit.EventType]jobaudit.JobState{
	jobaudit.JobSubmitted: jobaudit.Pending, jobaudit.JobSucceeded: jobaudit.Success,
	jobaudit.JobFailed: jobaudit.Failed, jobaudit.JobCancelled: jobaudit.Cancelled,
}

func (a *author) line(typ jobaudit.EventType) []byte {
	a.seq++
	b := fmt.Appendf(nil, `{"schemaVersion":"1.0.0","id":"%s","type":"%s",`, uuid.New(), typ)
	if p := typ.Phase(); p != "" {
		b = fmt.Appendf(b, `"phase":"%s",`, p)
	}
	b = fmt.Appendf(b, `"time":"2026-02-03T23:59:58.000000Z","stream":{"id":"%s","seq":%d`, a.stream, a.seq)
	if a.seq > 1 {
		b = fmt.Appendf(b, `,"prev":"%s"`, a.prev)
	}
	if a.seq == 1 && a.after.Len() > 0 {
		s := a.after.Event().Stream
		b = fmt.Appendf(b, `,"after":{"stream":"%s","seq":%d,"hash":"%s"}`, s.ID, s.Seq, a.after.Hash())
	}
	b = append(b, `},`...)
	if !strings.HasPrefix(string(typ), "audit.") || typ == jobaudit.AuditLost {
		state := states[typ]
		if state == "" {
			state = jobaudit.Running
		}
		b = fmt.Appendf(b, `"job":{"id":"%s","state":"%s","attempt":1`, a.job, state)
		if a.execution != uuid.Nil {
			b = fmt.Appendf(b, `,"executionId":"%s"`, a.execution)
		}
		b = fmt.Appendf(b, `,"rootId":"%s"},`, a.job)
	}
	org, _ := json.Marshal(a.org)
	proof := ""
	if a.proof != uuid.Nil {
		proof = fmt.Sprintf(`,"proof":{"carrier":"k1","submission":"%s"}`, a.proof)
	}
	b = fmt.Appendf(b, `"correlationId":"%s","requestId":"%s","who":{"principal":{"kind":"user","id":"u","assurance":"verified"},"orgId":%s%s},"what":{"action":"%s","inputs":null},"where":{"system":"s","environment":"e","host":"h","instance":"i","version":"v"},"why":{"trigger":"manual","reason":"r"}}`, cmp.Or(a.correlation, a.job.String()), a.job, org, proof, cmp.Or(a.action, "a"))
	a.prev = auditlog.HashLeaf(b)
	return b
}

func (a *author) record(typ jobaudit.EventType) jobaudit.Record {
	a.t.Helper()
	r, err := jobaudit.ParseRecord(a.line(typ))
	require.NoError(a.t, err)
	return r
}

// check checks lines as a log.
func check(t testing.TB, c *jobcheck.Checks, lines ...[]byte) *jobcheck.Result {
	t.Helper()
	for i, line := range lines {
		require.NoError(t, c.Leaf(auditlog.Leaf{Index: int64(i), Bytes: line, Hash: auditlog.HashLeaf(line), Notes: c.Inspect(nil, line)}))
	}
	r, err := c.Finish(t.Context())
	require.NoError(t, err)
	return r
}

func findings(r *jobcheck.Result) []jobcheck.Finding {
	list, _ := r.Findings()
	return list
}

func TestTheScannerReadsWhatTheParserReads(t *testing.T) {
	first := newAuthor(t)
	record := first.record(jobaudit.JobSubmitted)
	for _, typ := range jobcheck.Types() {
		a := newAuthor(t)
		for range 12 {
			line := a.line(typ)
			scanned, same := jobcheck.Scan(line)
			require.True(t, scanned, "%s", line)
			require.True(t, same, "%s", line)
			a.execution = uuid.New()
		}
		b := newAuthor(t)
		b.after = record
		scanned, same := jobcheck.Scan(b.line(typ))
		require.True(t, scanned && same)
	}
}

func TestTheScannerReadsNoIDAndNoHashThatTheParserRefuses(t *testing.T) {
	replacedBytes(t, size.Times(3, 16))
}

func TestSoakTheScannerReadsNoIDAndNoHashThatTheParserRefuses(t *testing.T) {
	size.Soak(t)
	replacedBytes(t, 1)
}

// replacedBytes puts every so many values into each byte of IDs and hashes.
func replacedBytes(t *testing.T, every int) {
	t.Helper()
	a := newAuthor(t)
	a.execution = uuid.New()
	b := newAuthor(t)
	b.after, b.execution = a.record(jobaudit.JobSubmitted), a.execution
	own, other := newAuthor(t).line(jobaudit.JobSubmitted), newAuthor(t).line(jobaudit.JobSubmitted)
	copy(other[bytes.Index(other, []byte(`"rootId":"`))+len(`"rootId":"`):], a.job.String())
	for _, line := range [][]byte{a.line(jobaudit.JobStarted), b.line(jobaudit.JobStarted), own, other} {
		for _, before := range []string{`"1.0.0","id":"`, `"stream":{"id":"`, `"prev":"`, `"after":{"stream":"`, `"hash":"`, `"job":{"id":"`, `"executionId":"`, `"rootId":"`, `"correlationId":"`} {
			at := strings.Index(string(line), before) + len(before)
			if at < len(before) {
				continue
			}
			for i := at; line[i-1] != '"' || i == at; i++ {
				was := line[i]
				for c := i % every; c < 256; c += every { // others at each place
					line[i] = byte(c)
					scanned, same := jobcheck.Scan(line)
					require.True(t, !scanned || same, "byte %d is %q in %s", i, c, line)
				}
				line[i] = was
			}
		}
	}
}

// FuzzScanner: what the scanner accepts, the parser reads alike, if it accepts
// it: the scanner does not look at the time and at what follows the job.
func FuzzScanner(f *testing.F) {
	a := newAuthor(f)
	a.execution = uuid.New()
	b := newAuthor(f)
	b.after = a.record(jobaudit.JobSubmitted)
	f.Add(a.line(jobaudit.JobLogged))
	f.Add(b.line(jobaudit.JobStarted))
	f.Add(b.line(jobaudit.AuditOpened))
	f.Fuzz(func(t *testing.T, line []byte) {
		if scanned, same := jobcheck.Scan(line); scanned && !same {
			_, err := jobaudit.ParseRecord(line)
			require.Error(t, err, "%s", line)
		}
	})
}

func TestTransitionsAreThoseThatReplayKnows(t *testing.T) {
	paths := map[jobaudit.JobState][]jobaudit.EventType{
		jobaudit.Pending:   {jobaudit.JobSubmitted},
		jobaudit.Running:   {jobaudit.JobSubmitted, jobaudit.JobStarted},
		jobaudit.Success:   {jobaudit.JobSubmitted, jobaudit.JobStarted, jobaudit.JobSucceeded},
		jobaudit.Failed:    {jobaudit.JobSubmitted, jobaudit.JobStarted, jobaudit.JobFailed},
		jobaudit.Cancelled: {jobaudit.JobSubmitted, jobaudit.JobCancelled},
	}
	for state, path := range paths {
		for _, typ := range jobcheck.Types() {
			a := newAuthor(t)
			probe := a.record(typ)
			if probe.JobID() == uuid.Nil {
				continue
			}
			a.seq, a.prev = 0, jobaudit.Hash{}
			var records []jobaudit.Record
			for _, step := range path {
				records = append(records, a.record(step))
			}
			job, err := jobaudit.Replay(all(append(records, a.record(typ))))
			require.NoError(t, err)
			want := ""
			if len(job.Unapplied) > 0 {
				want = string(job.Unapplied[0].Cause)
			}
			effect, next := jobcheck.Effect(typ, state)
			require.Equal(t, want, effect, "%s in %s", typ, state)
			require.Equal(t, job.State, next, "%s in %s", typ, state)
		}
	}
}

func all(records []jobaudit.Record) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		for _, r := range records {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func TestAnOutcomeWithoutAStartIsANoteAndNoFinding(t *testing.T) {
	a := newAuthor(t)
	r := check(t, jobcheck.New(0, false), a.line(jobaudit.JobSubmitted), a.line(jobaudit.JobSucceeded))
	require.Empty(t, findings(r), "its start may be in another log")
	require.Len(t, r.Unapplied.First(), 1)
	require.Equal(t, a.job, r.Unapplied.First()[0].Job)
	require.EqualValues(t, 1, r.Unapplied.First()[0].Index)

	a = newAuthor(t)
	submitted := a.line(jobaudit.JobSubmitted)
	a.execution = uuid.New() // whose start is in another log
	r = check(t, jobcheck.New(0, false), submitted, a.line(jobaudit.JobSucceeded))
	require.Empty(t, findings(r))
	require.Zero(t, r.Unapplied.Total())

	a = newAuthor(t) // submitted in another log
	require.Empty(t, findings(check(t, jobcheck.New(0, false), a.line(jobaudit.JobFailed))))
}

func TestLateAndSecondEventsAreNotes(t *testing.T) {
	a := newAuthor(t)
	a.execution = uuid.New()
	r := check(t, jobcheck.New(0, false), a.line(jobaudit.JobSubmitted), a.line(jobaudit.JobSubmitted),
		a.line(jobaudit.JobStarted), a.line(jobaudit.JobSucceeded), a.line(jobaudit.JobFailed))
	require.Empty(t, findings(r))
	require.EqualValues(t, 2, r.Unapplied.Total())
	require.Zero(t, r.Ghosts.Total())
}

func TestWhatAnotherLogHoldsMayBeResumed(t *testing.T) {
	a, b := newAuthor(t), newAuthor(t)
	b.after = a.record(jobaudit.JobSubmitted)
	r := check(t, jobcheck.New(0, false), b.line(jobaudit.JobStarted))
	require.Empty(t, findings(r))
	require.EqualValues(t, 1, r.Dangling.Total())
}

// A writer to the queue can make up the hash of an unsigned Carrier.
func TestAnotherHashThanTheResumedRecordsIsAFindingOnlyOnASignedCarriersWord(t *testing.T) {
	for _, signed := range []bool{false, true} {
		for _, whole := range []bool{false, true} {
			a, b, other := newAuthor(t), newAuthor(t), newAuthor(t)
			other.stream = a.stream
			b.job, b.after = a.job, other.record(jobaudit.JobSubmitted)
			if signed {
				b.proof = a.stream
			}
			r := check(t, jobcheck.New(0, whole), a.line(jobaudit.JobSubmitted), b.line(jobaudit.JobLogged))
			if !signed {
				require.Empty(t, findings(r))
				require.EqualValues(t, 1, r.Dangling.Total())
				require.Contains(t, r.Dangling.First()[0].Found, "another hash")
				continue
			}
			require.Len(t, findings(r), 1)
			require.Equal(t, jobcheck.Resume, findings(r)[0].Kind)
			require.EqualValues(t, 1, findings(r)[0].Index)
			require.Equal(t, a.job, findings(r)[0].Job)
			require.Zero(t, r.Dangling.Total())
		}
	}
}

// many writes interleaved jobs; the fifth of each hundred has a gap.
func many(t *testing.T, jobs int) (lines [][]byte, broken int) {
	authors := make([]*author, jobs)
	for i := range authors {
		authors[i] = newAuthor(t)
		authors[i].execution = uuid.New()
	}
	for _, typ := range []jobaudit.EventType{jobaudit.JobSubmitted, jobaudit.JobStarted, jobaudit.JobLogged, jobaudit.JobSucceeded} {
		for i, a := range authors {
			line := a.line(typ)
			if i%100 == 5 && typ == jobaudit.JobLogged {
				broken++
				continue
			}
			lines = append(lines, line)
		}
	}
	return lines, broken
}

func TestFactsBeyondTheBoundGoToATemporaryFileThatIsRemoved(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	jobs := size.Times(2_000, 300)
	lines, broken := many(t, jobs)
	for _, parts := range []int64{1, 100 << 20} {
		c := jobcheck.New(parts, true)
		c.SpillAfter(3)
		r := check(t, c, lines...)
		require.Len(t, findings(r), broken)
		for _, f := range findings(r) {
			require.Equal(t, jobcheck.Stream, f.Kind)
		}
		require.EqualValues(t, jobs, r.Jobs)
		require.EqualValues(t, jobs, r.Streams)
		require.EqualValues(t, len(lines), r.Records)
		if parts == 1 {
			require.FileExists(t, c.Spilled())
		}
		c.Close()
	}
	left, err := os.ReadDir(os.TempDir())
	require.NoError(t, err)
	require.Empty(t, left)
}

// In a container nothing may be writable.
func TestFactsStayInMemoryWhereNoTemporaryFileCanBeMade(t *testing.T) {
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "missing"))
	jobs := size.Times(2_000, 300)
	lines, broken := many(t, jobs)
	c := jobcheck.New(1, true)
	defer c.Close()
	c.SpillAfter(3)
	r := check(t, c, lines...)
	require.Len(t, findings(r), broken)
	require.EqualValues(t, len(lines), r.Records)
	require.EqualValues(t, jobs, r.Jobs)
}

func TestFindingsBeyondTheBoundAreCounted(t *testing.T) {
	var lines [][]byte
	for range 500 {
		lines = append(lines, []byte("no record"))
	}
	r := check(t, jobcheck.New(0, false), lines...)
	list, more := r.Findings()
	require.Len(t, list, 100)
	require.Equal(t, 400, more)
	require.EqualValues(t, 99, list[99].Index)
}
