package filesink_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/simdisk"
	"github.com/jobaudit/jobaudit/watchdog"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
)

// measured calls do and reports what it took.
func measured(t *testing.T, what string, do func()) {
	t.Helper()
	begun := time.Now()
	do()
	t.Logf("%-40s %v", what, time.Since(begun).Round(10*time.Microsecond))
}

// peak returns the most that the heap holds while do runs, over what it held before:
// what each cycle of the collector finds alive. There are many cycles, one whenever
// the heap has grown by 3 %, so that it depends on no clock.
func peak(do func()) (most uint64) {
	before := heap()
	defer debug.SetGCPercent(debug.SetGCPercent(3))
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	var ended atomic.Bool
	var high atomic.Uint64
	var look func(*sentinel)
	look = func(*sentinel) { // the collector found it unused
		metrics.Read(live)
		high.Store(max(high.Load(), live[0].Value.Uint64()))
		if !ended.Load() {
			runtime.SetFinalizer(new(sentinel), look)
		}
	}
	runtime.SetFinalizer(new(sentinel), look)
	do()
	ended.Store(true)
	return high.Load() - min(high.Load(), before)
}

// A sentinel is not of a size that the runtime joins with others.
type sentinel struct{ _ *sentinel }

// A jobsOver makes jobs that begin and end, of streams of their own and with events a
// millisecond apart, out of what a recorder wrote of one.
type jobsOver struct {
	t     *testing.T
	lines [][]byte
	ids   [][]byte // of the job, what it belongs to, its stream and its execution
	last  []byte   // the hash of the line before
	n     int
}

func newJobsOver(t *testing.T) *jobsOver {
	j := &jobsOver{t: t}
	for _, r := range recordsOf(t, 1) {
		if r.JobID() == uuid.Nil {
			continue
		}
		e := r.Event()
		j.lines, j.last = append(j.lines, r.Bytes()), []byte(r.Hash().String())
		for _, id := range []uuid.UUID{e.Job.ID, e.Job.RootID, e.CorrelationID, e.Stream.ID, e.Job.ExecutionID} {
			if text := []byte(id.String()); id != uuid.Nil && !slices.ContainsFunc(j.ids, func(b []byte) bool { return bytes.Equal(b, text) }) {
				j.ids = append(j.ids, text)
			}
		}
	}
	require.GreaterOrEqual(t, len(j.ids), 3)
	return j
}

// next returns the next n events.
func (j *jobsOver) next(n int) (records []jobaudit.Record) {
	const id, when, prev = `"id":"`, `"time":"`, `"prev":"`
	after := func(line []byte, name string) []byte { return line[bytes.Index(line, []byte(name))+len(name):] }
	for range n {
		i := j.n % len(j.lines)
		if i == 0 {
			for k, old := range j.ids {
				fresh := []byte(uuid.NewString())
				for l := range j.lines {
					j.lines[l] = bytes.ReplaceAll(j.lines[l], old, fresh)
				}
				j.ids[k] = fresh
			}
		}
		line := j.lines[i]
		copy(after(line, id), uuid.Must(uuid.NewV7()).String())
		moment := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(j.n) * time.Millisecond)
		copy(after(line, when), moment.Format("2006-01-02T15:04:05.000000Z"))
		if i > 0 {
			copy(after(line, prev), j.last)
		}
		r, err := jobaudit.ParseRecord(line)
		require.NoError(j.t, err)
		j.last = []byte(r.Hash().String())
		records = append(records, r)
		j.n++
	}
	return records
}

func (p place) grow(t *testing.T, opts *filesink.Options, jobs *jobsOver, to int) (after uint64) {
	s := p.open(t, opts)
	for jobs.n < to {
		require.NoError(t, s.Append(t.Context(), jobs.next(1000)))
	}
	// A segment's index takes its room while it is being written: the least counts.
	after = heap()
	for range 200 {
		after = min(after, heap())
	}
	require.NoError(t, s.Close())
	return after
}

// TestSoakAMillionEvents prints what a long log costs.
func TestSoakAMillionEvents(t *testing.T) {
	size.Soak(t)
	p := newPlace(t)
	opts := &filesink.Options{SegmentSize: 78 << 20, OnError: func(error) {}} // twelve segments
	var written, verified [2]uint64
	jobs := newJobsOver(t)
	for i, n := range []int{100_000, 1_000_000} {
		written[i] = p.grow(t, opts, jobs, n)
		runtime.GC()
		verified[i] = peak(func() {
			measured(t, fmt.Sprintf("verify %d", n), func() {
				report, err := filesink.Verify(t.Context(), p.dir, &filesink.VerifyOptions{Keys: []note.Verifier{p.key.Verifier()}})
				require.NoError(t, err)
				require.EqualValues(t, n/len(jobs.lines), report.Jobs)
				require.EqualValues(t, n/len(jobs.lines), report.Streams)
			})
		})
		t.Logf("%d events: the writer holds %d KiB, a verification up to %d KiB", n, written[i]>>10, verified[i]>>10)
	}
	total := int64(0)
	for _, file := range segments(t, p.dir) {
		info, err := os.Stat(file)
		require.NoError(t, err)
		total += info.Size()
	}
	t.Logf("%d segments, %d bytes", len(segments(t, p.dir)), total)
	for range 3 {
		measured(t, "open after a close", func() { require.NoError(t, p.open(t, opts).Close()) })
	}
	some := time.Date(2026, 1, 1, 0, 5, 0, 0, time.UTC)
	var one jobaudit.Event // of a job in the middle of it
	for _, r := range read(t, openReader(t, p.dir), jobaudit.Query{Since: some, Limit: 1}) {
		one = r.Event()
	}
	for what, asked := range map[string]struct {
		query jobaudit.Query
		found int
	}{
		"an ID":         {jobaudit.Query{After: one.ID, Limit: 1}, 1},
		"a job":         {jobaudit.Query{JobID: one.Job.ID}, len(jobs.lines)},
		"a correlation": {jobaudit.Query{CorrelationID: one.CorrelationID}, len(jobs.lines)},
	} {
		requireLittleRead(t, p, opts, .01, total, func(s *filesink.Sink) {
			measured(t, what, func() { require.Len(t, read(t, s, asked.query), asked.found) })
		})
	}
	requireLittleRead(t, p, opts, .01, total, func(s *filesink.Sink) {
		measured(t, "0.1 % of the time", func() {
			require.Len(t, read(t, s, jobaudit.Query{Since: some, Until: some.Add(time.Second)}), 1000)
		})
	})
	requireLittleRead(t, p, opts, .01, total, func(s *filesink.Sink) {
		recorder, err := jobaudit.Open(t.Context(), s, jobaudit.Source{System: "s", Environment: "test"}, nil)
		require.NoError(t, err)
		measured(t, "a one-shot sweep", func() {
			_, err := watchdog.New(recorder, []jobaudit.AuditReader{s}, &watchdog.Options{OneShot: true}).Sweep(t.Context())
			require.NoError(t, err)
		})
		require.NoError(t, recorder.Close(t.Context()))
	})
	require.Less(t, written[1], written[0]+10<<20)
	require.Less(t, verified[1], verified[0]+10<<20)
	p.openKilled(t, opts, jobs)
}

// openKilled opens the log as a killed writer of it leaves it.
func (p place) openKilled(t *testing.T, opts *filesink.Options, jobs *jobsOver) {
	s := p.open(t, opts)
	require.NoError(t, s.Append(t.Context(), jobs.next(1000)))
	killed := filepath.Join(p.base, "killed")
	copyDir(t, p.dir, killed)
	anchor := contentOf(t, p.anchorPath())
	require.NoError(t, s.Close())
	require.NoError(t, os.RemoveAll(p.dir))
	require.NoError(t, os.Rename(killed, p.dir))
	require.NoError(t, os.WriteFile(p.anchorPath(), anchor, 0o600))
	measured(t, "open after a kill", func() { require.NoError(t, p.open(t, opts).Close()) })
}

// TestSoakManySmallSegments prints what an open costs.
func TestSoakManySmallSegments(t *testing.T) {
	size.Soak(t)
	p := newPlace(t)
	opts := &filesink.Options{SegmentSize: 2 << 10, OnError: func(error) {}}
	s := p.open(t, opts)
	for n := range 2000 {
		require.NoError(t, s.Append(t.Context(), timed(t, 2, n)))
	}
	require.NoError(t, s.Close())
	t.Logf("%d segments", len(segments(t, p.dir)))
	reads := 0
	faults := simdisk.NewFaults(simdisk.OS)
	faults.Before(func(op simdisk.Op) error {
		if op.Kind == "read" || op.Kind == "open" {
			reads++
		}
		return nil
	})
	for range 3 {
		measured(t, "open", func() { require.NoError(t, p.open(t, opts).Close()) })
	}
	require.NoError(t, p.open(t, filesink.On(faults, opts)).Close())
	t.Logf("%d calls that read or open", reads)
}
