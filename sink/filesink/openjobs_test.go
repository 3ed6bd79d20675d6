package filesink_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/simdisk"
	"github.com/jobaudit/jobaudit/watchdog"
	"github.com/stretchr/testify/require"
)

var (
	_ watchdog.OpenJobs = (*filesink.Sink)(nil)
	_ watchdog.OpenJobs = (*filesink.Reader)(nil)
)

// lifeStories returns records of jobs that are in all states of going on and
// being over, mixed with each other, and forged ones between them.
func lifeStories(t testing.TB, r *rand.Rand, jobs int) []jobaudit.Record {
	t.Helper()
	sink := &batches{}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	open := func() *jobaudit.Recorder {
		recorder, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "indexer", Environment: "test"},
			&jobaudit.Options{
				Now:     func() time.Time { now = now.Add(time.Millisecond); return now },
				OnError: func(context.Context, *jobaudit.AuditError) {}, // what is not possible any more
			})
		require.NoError(t, err)
		return recorder
	}
	recorder, ctx := open(), t.Context()
	type running struct {
		trail *jobaudit.Trail
		step  int
	}
	var all []*running
	for range jobs {
		s := submission(len(all))
		if len(all)%7 == 3 {
			s.OrgID = "acme"
		}
		trail, err := recorder.Submit(ctx, s)
		require.NoError(t, err)
		all = append(all, &running{trail: trail})
		for range 6 {
			one := all[r.IntN(len(all))]
			if r.IntN(3) > 0 {
				one = all[len(all)-1-r.IntN(min(len(all), 4))]
			}
			switch n := r.IntN(12); {
			case one.step == 0 && n < 10:
				_, err := recorder.Resume(ctx, one.trail.Carrier(), nil)
				require.NoError(t, err)
				_ = one.trail.Start(ctx, jobaudit.Execution{})
				one.step = 1
			case n < 5:
				_ = one.trail.Succeed(ctx)
				one.step = 2
			case n == 5:
				_ = one.trail.Fail(ctx, errors.New("it is broken"))
			case n == 6 || n == 7:
				one.trail.Retrying(ctx, errors.New("not yet"))
				_ = one.trail.Start(ctx, jobaudit.Execution{})
			case n == 8:
				one.trail.Log(ctx, "a line")
			case n == 9: // another worker starts it again
				if trail, err := recorder.Resume(ctx, one.trail.Carrier(), nil); err == nil {
					_ = trail.Start(ctx, jobaudit.Execution{})
				}
			}
		}
	}
	var records []jobaudit.Record
	for _, batch := range sink.all() {
		for _, line := range batch {
			record, err := jobaudit.ParseRecord([]byte(line))
			require.NoError(t, err)
			records = append(records, record)
		}
	}
	return records
}

// A state is what all records together say of a job.
type state struct {
	outcome bool
	running map[uuid.UUID]bool
}

// open reports whether the job has no outcome or an execution without an end,
// and shows whether it has to be told of an execution, the zero one for the job.
func (s *state) open() bool { return s != nil && (!s.outcome || len(s.running) > 0) }
func (s *state) shows(execution uuid.UUID) bool {
	return s != nil && (!s.outcome || s.running[execution])
}

// statesOf computes it by the words of the watchdog's interface.
func statesOf(records []jobaudit.Record) map[uuid.UUID]*state {
	jobs := map[uuid.UUID]*state{}
	for _, r := range records {
		e := r.Event()
		if e.Job.ID == uuid.Nil {
			continue
		}
		j := jobs[e.Job.ID]
		if j == nil {
			j = &state{running: map[uuid.UUID]bool{}}
			jobs[e.Job.ID] = j
		}
		switch e.Type {
		case jobaudit.JobStarted, jobaudit.AttemptStarted:
			j.running[e.Job.ExecutionID] = true
		case jobaudit.AttemptFailed, jobaudit.AttemptDeferred, jobaudit.AttemptLost, jobaudit.AttemptSuperseded, jobaudit.AttemptLate:
			delete(j.running, e.Job.ExecutionID)
		case jobaudit.JobSucceeded, jobaudit.JobFailed, jobaudit.JobCancelled:
			delete(j.running, e.Job.ExecutionID)
			j.outcome = true
		}
	}
	return jobs
}

// requireOpen compares what a log says is open with all that it holds.
func requireOpen(t testing.TB, log watchdog.OpenJobs, records []jobaudit.Record, name string) {
	t.Helper()
	jobs := statesOf(records)
	place := map[uuid.UUID]int{}
	for i, r := range records {
		place[r.ID()] = i
	}
	var got []int
	for r, err := range log.OpenJobs(t.Context()) {
		require.NoError(t, err, name)
		at, ok := place[r.ID()]
		require.True(t, ok, name)
		got = append(got, at)
		require.True(t, jobs[r.JobID()].open(), "%s: job %s is over", name, r.JobID())
	}
	require.True(t, slices.IsSorted(got), "%s: in the order of the log", name)
	for i, r := range records {
		switch r.Type() {
		case jobaudit.JobLogged, jobaudit.JobAuthorized, jobaudit.JobSnapshot, jobaudit.JobHeartbeat:
			continue
		}
		if jobs[r.JobID()].shows(r.Event().Job.ExecutionID) {
			_, listed := slices.BinarySearch(got, i)
			require.True(t, listed, "%s: %d of %d, %v is missing, got %v", name, i, len(records), r, got)
		}
	}
}

func TestOpenJobsAreAllJobsWithoutAnEndAndNoOthers(t *testing.T) {
	t.Parallel()
	for seed := range uint64(max(2, 15/every(3))) {
		r := rand.New(rand.NewPCG(seed, 3))
		records := lifeStories(t, r, 20+r.IntN(30))
		d := simdisk.NewMemory()
		key := keyOn(t, d)
		opts := &filesink.Options{SegmentSize: int64(3+r.IntN(20)) << 10, OnError: func(error) {}}
		s := openOn(t, d, key, opts)
		with, err := filesink.OpenReaderOn(d, "log", key.Verifier())
		require.NoError(t, err)
		without, err := filesink.OpenReaderOn(d, "log")
		require.NoError(t, err)
		for n := 0; n < len(records); {
			name := fmt.Sprintf("seed %d, %d records", seed, n)
			size := min(1+r.IntN(6), len(records)-n)
			require.NoError(t, s.Append(t.Context(), records[n:n+size]))
			n += size
			switch r.IntN(12) {
			case 0, 1:
				requireOpen(t, s, records[:n], name)
			case 2:
				requireOpen(t, with, records[:n], name+", with the key")
				requireOpen(t, without, records[:n], name+", without it")
			case 3:
				require.NoError(t, s.Close())
				if r.IntN(2) == 0 {
					requireOpen(t, with, records[:n], name+", closed")
				}
				s = openOn(t, d, key, opts)
				requireOpen(t, s, records[:n], name+", opened again")
			}
		}
		require.NoError(t, s.Close())
		requireOpen(t, s, records, "the end")
		w := &world{verifier: key.Verifier()}
		_, wrong := w.told(t, d, s.Checkpoint().Head())
		require.False(t, wrong, "the indexes are what Verify makes of the entries")
	}
}
