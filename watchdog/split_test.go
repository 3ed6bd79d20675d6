package watchdog_test

import (
	"context"
	"iter"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/watchdog"
)

// countedFiles is a log in files that counts the records that are read from it.
type countedFiles struct {
	*filesink.Sink
	n int
}

func (f *countedFiles) count(records iter.Seq2[jobaudit.Record, error]) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		for r, err := range records {
			if f.n++; !yield(r, err) {
				return
			}
		}
	}
}

func (f *countedFiles) Records(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	return f.count(f.Sink.Records(ctx, q))
}

func (f *countedFiles) OpenJobs(ctx context.Context) iter.Seq2[jobaudit.Record, error] {
	return f.count(f.Sink.OpenJobs(ctx))
}

func (f *countedFiles) OpenRuns(ctx context.Context) iter.Seq2[jobaudit.Record, error] {
	return f.count(f.Sink.OpenRuns(ctx))
}

// A web process has a log of submissions, and the jobs end in the log of a worker.
func TestJobsThatEndInAnotherLogAreNotReadAtEverySweep(t *testing.T) {
	for _, limited := range []bool{false, true} {
		dir := t.TempDir()
		key, err := filesink.LoadOrCreateKey(dir+"/log", dir+"/key", "example.com/web")
		require.NoError(t, err)
		files, err := filesink.Open(t.Context(), dir+"/log", key, &filesink.Options{SegmentSize: 64 << 10})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, files.Close()) })
		c := newClock()
		webLog, workerLog := &countedFiles{Sink: files}, memsink.New(nil)
		web, worker := open(t, files, "web", c), open(t, workerLog, "worker", c)
		submit := func(n int) []*jobaudit.Trail {
			list := make([]jobaudit.Submission, n)
			for i := range list {
				list[i] = submission()
			}
			trails, err := web.SubmitAll(t.Context(), list)
			require.NoError(t, err)
			return trails
		}
		succeed := func(trails []*jobaudit.Trail) {
			for _, trail := range trails {
				there, err := worker.Resume(t.Context(), trail.Carrier(), nil)
				require.NoError(t, err)
				require.NoError(t, there.Start(t.Context(), jobaudit.Execution{}))
				require.NoError(t, there.Succeed(t.Context()))
			}
		}
		opts := &watchdog.Options{Now: c.Now, Interval: interval, Grace: 30 * time.Second}
		if limited {
			opts.StartWithin = func(jobaudit.Event) time.Duration { return startLimit }
		}
		const jobs = 500
		succeed(submit(jobs))
		dog := watchdog.New(open(t, workerLog, "watchdog", c), []jobaudit.AuditReader{webLog, workerLog}, opts)
		require.Equal(t, watchdog.Report{}, sweep(t, dog))
		first := 0
		if limited {
			first = jobs
		}
		require.Equal(t, first, webLog.n, "the first sweep")

		webLog.n = 0
		forgotten := submit(10)[:3]
		succeed(submit(10))
		var found []watchdog.Finding
		for range 30 {
			c.pass(interval)
			found = append(found, sweep(t, dog).Findings...)
		}
		if !limited {
			require.Empty(t, found)
			require.Zero(t, webLog.n)
			continue
		}
		require.Len(t, found, 10)
		require.Equal(t, jobaudit.CodeExpired, replay(t, forgotten[0].JobID(), files, workerLog).Error.Code)
		require.Less(t, webLog.n, jobs/2, "what is new, once, and the ones that have expired")
		webLog.n = 0
		for range 30 {
			c.pass(interval)
			require.Equal(t, watchdog.Report{}, sweep(t, dog))
		}
		require.Zero(t, webLog.n)
	}
}
