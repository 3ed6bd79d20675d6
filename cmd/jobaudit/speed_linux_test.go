package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/filesink"
)

var readChars = regexp.MustCompile(`(?m)^rchar: (\d+)$`)

// bytesRead is what this process has read until now, as Linux counts it.
func bytesRead(t *testing.T) int64 {
	t.Helper()
	content, err := os.ReadFile("/proc/self/io")
	require.NoError(t, err)
	n, err := strconv.ParseInt(string(readChars.FindSubmatch(content)[1]), 10, 64)
	require.NoError(t, err)
	return n
}

// longLog writes a log of so many events in some segments, of which the newest
// hundredth is of today and the rest of the year before.
func longLog(t *testing.T, eventCount int) (dir string, size int64, job uuid.UUID) {
	t.Helper()
	slog.SetDefault(slog.New(slog.DiscardHandler))
	ctx := t.Context()
	dir = filepath.Join(t.TempDir(), "log")
	key, err := filesink.LoadOrCreateKey(dir, dir+".key", "example.com/jobs")
	require.NoError(t, err)
	sink, err := filesink.Open(ctx, dir, key, &filesink.Options{SegmentSize: int64(eventCount) * 64})
	require.NoError(t, err)
	jobs, now := eventCount/4, time.Now().Add(-365*24*time.Hour)
	clock := func() time.Time { return now }
	write := func(n int) {
		batch := &batching{sink: sink}
		r, err := jobaudit.Open(ctx, batch, jobaudit.Source{System: "s", Environment: "e"}, &jobaudit.Options{Now: clock, Heartbeat: -1})
		require.NoError(t, err)
		for i := range n {
			now = now.Add(time.Millisecond)
			trail, err := r.Submit(ctx, jobaudit.Submission{Action: fmt.Sprint("action-", i%7), Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada"}, Trigger: jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "a reason"}})
			require.NoError(t, err)
			require.NoError(t, trail.Start(ctx, jobaudit.Execution{}))
			require.NoError(t, trail.Succeed(ctx))
			if i == n/2 {
				job = trail.JobID()
			}
		}
		require.NoError(t, r.Close(ctx))
		require.NoError(t, batch.flush(ctx))
	}
	write(jobs / 100)
	now = time.Now().Add(-300 * 24 * time.Hour)
	write(jobs - 2*(jobs/100))
	now = time.Now().Add(-time.Hour)
	recent := job
	write(jobs / 100)
	require.NoError(t, sink.Close())
	files, err := filepath.Glob(filepath.Join(dir, "entries", "*"))
	require.NoError(t, err)
	require.Greater(t, len(files), 5, "segments")
	for _, f := range files {
		info, err := os.Stat(f)
		require.NoError(t, err)
		size += info.Size()
	}
	return dir, size, recent
}

// batching appends records a thousand at a time, for a log that is soon written.
type batching struct {
	sink    *filesink.Sink
	records []jobaudit.Record
}

func (b *batching) Append(ctx context.Context, records []jobaudit.Record) error {
	if b.records = append(b.records, records...); len(b.records) < 1000 {
		return nil
	}
	return b.flush(ctx)
}

func (b *batching) flush(ctx context.Context) error {
	err := b.sink.Append(ctx, b.records)
	b.records = nil
	return err
}

// readsLittle holds what auditors ask first to what it may read.
func readsLittle(t *testing.T, events int, percent float64) {
	dir, total, job := longLog(t, events)
	t.Logf("%d bytes of entries", total)
	for _, tc := range []struct {
		args  []string
		most  int64
		lines int
	}{
		{[]string{"show", dir, job.String()}, int64(float64(total) * percent / 100), 5},
		{[]string{"list", dir, "--job", job.String()}, int64(float64(total) * percent / 100), 4},
		{[]string{"jobs", dir, "--since", "1d"}, int64(float64(total) * percent / 100), events / 4 / 100},
		{[]string{"tail", dir}, 64 << 10, 10},
		{[]string{"checkpoint", dir}, 64 << 10, 5},
	} {
		var out, stderr bytes.Buffer
		before := bytesRead(t)
		code := run(t.Context(), tc.args, &out, &stderr)
		read := bytesRead(t) - before
		t.Logf("%s: %d bytes, %.2f %%", tc.args[0], read, 100*float64(read)/float64(total))
		require.Zero(t, code, stderr.String())
		require.GreaterOrEqual(t, bytes.Count(out.Bytes(), []byte("\n")), tc.lines, "%v: %s", tc.args, out.String())
		require.LessOrEqual(t, read, tc.most, "%v", tc.args)
	}

	// Without the key beside it nothing says that an index is the log's own.
	with := &bytes.Buffer{}
	require.Zero(t, run(t.Context(), []string{"show", dir, job.String()}, with, &bytes.Buffer{}))
	require.NoError(t, os.Rename(dir+".key", dir+".kept"))
	without := &bytes.Buffer{}
	before := bytesRead(t)
	require.Zero(t, run(t.Context(), []string{"show", dir, job.String()}, without, &bytes.Buffer{}))
	require.Less(t, bytesRead(t)-before, 2*total, "one pass, and the way to the first record")
	require.Equal(t, with.String(), without.String())
}

func TestWhatAuditorsAskFirstReadsLittleOfALongLog(t *testing.T) {
	switch {
	case testing.Short():
		t.Skip("it writes many events")
	case size.Race:
		readsLittle(t, 20_000, 10) // of a shorter log the indexes' own pages are more
	default:
		readsLittle(t, 60_000, 4)
	}
}

func TestSoakWhatAuditorsAskFirstReadsTwoPercentOfAMillionEvents(t *testing.T) {
	size.Soak(t)
	readsLittle(t, 1_000_000, 2)
}
