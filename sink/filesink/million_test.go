package filesink_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
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

// peak returns the highest heap in use while do runs, at moments when the
// collector has just run.
func peak(do func()) (most uint64) {
	var high atomic.Uint64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
				high.Store(max(high.Load(), heap()))
			}
		}
	}()
	do()
	close(stop)
	<-stopped
	return high.Load()
}

// A jobsOver makes jobs that begin and end, of four events each and a millisecond
// apart, out of what a recorder wrote of one.
type jobsOver struct {
	t     *testing.T
	lines [][]byte
	ids   [][]byte // of the job and its execution
	n     int
}

func newJobsOver(t *testing.T) *jobsOver {
	j := &jobsOver{t: t}
	for _, r := range recordsOf(t, 1) {
		if r.JobID() == uuid.Nil {
			continue
		}
		e := r.Event()
		j.lines = append(j.lines, r.Bytes())
		if len(j.ids) == 0 {
			j.ids = append(j.ids, []byte(e.Job.ID.String()))
		}
		if len(j.ids) == 1 && e.Job.ExecutionID != uuid.Nil {
			j.ids = append(j.ids, []byte(e.Job.ExecutionID.String()))
		}
	}
	require.Len(t, j.ids, 2)
	return j
}

// next returns the next n events.
func (j *jobsOver) next(n int) (records []jobaudit.Record) {
	const id, when = `"id":"`, `"time":"`
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
		copy(line[bytes.Index(line, []byte(id))+len(id):], uuid.Must(uuid.NewV7()).String())
		moment := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(j.n) * time.Millisecond)
		copy(line[bytes.Index(line, []byte(when))+len(when):], moment.Format("2006-01-02T15:04:05.000000Z"))
		r, err := jobaudit.ParseRecord(line)
		require.NoError(j.t, err)
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
	opts := &filesink.Options{SegmentSize: 100 << 20, OnError: func(error) {}} // twelve segments
	var written, verified [2]uint64
	jobs := newJobsOver(t)
	for i, n := range []int{100_000, 1_000_000} {
		written[i] = p.grow(t, opts, jobs, n)
		runtime.GC()
		verified[i] = peak(func() {
			measured(t, fmt.Sprintf("verify %d", n), func() {
				_, err := filesink.Verify(t.Context(), p.dir, &filesink.VerifyOptions{Keys: []note.Verifier{p.key.Verifier()}})
				require.Error(t, err, "its jobs are all of one stream")
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
	// The peak is sampled, and of half a second seldom: 14 to 25 MiB measured.
	require.Less(t, verified[1], verified[0]+32<<20)
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
