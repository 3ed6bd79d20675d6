package pgsink_test

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/pgsink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/jobaudit/jobaudit/story"
	"github.com/stretchr/testify/require"
)

// plainReader hides what else a reader can do.
type plainReader struct{ jobaudit.AuditReader }

// jobs are what an iteration over jobs gives, as texts.
func jobs(ctx context.Context, r jobaudit.AuditReader, q jobaudit.Query) (list []string, last uuid.UUID) {
	for job, err := range jobaudit.Jobs(ctx, r, q) {
		list = append(list, fmt.Sprintf("%+v %v", job, err))
		last = job.ID
	}
	return list, last
}

func TestJobsGivesTheSameAsReadingEachJob(t *testing.T) {
	url, k := database(t), newKey(t)
	sink := open(t, url, &pgsink.Options{Settle: time.Nanosecond, OnError: func(error) {}}) // some wait for good
	random := rand.New(rand.NewPCG(5, 5))
	fill := func(n int) {
		for range n {
			records := sinktest.Records(1 + random.IntN(12)) // of one job or several, whole and not
			require.NoError(t, sink.Append(t.Context(), records))
		}
	}
	fill(80)
	stop := run(t, url, k.options())
	require.NoError(t, sink.Sequenced(t.Context()))
	stop()
	fill(20) // wait
	require.Equal(t, 1, len(first(jobaudit.Jobs(t.Context(), sink, jobaudit.Query{}), 1)))
	for _, q := range []jobaudit.Query{
		{}, {State: jobaudit.Success}, {State: jobaudit.Running, Limit: 7}, {OrgID: "acme"}, {OrgID: "nobody"}, {Limit: 1}, {Limit: 33},
	} {
		for range 3 { // pages
			want, last := jobs(t.Context(), plainReader{sink}, q)
			got, _ := jobs(t.Context(), sink, q)
			require.Equal(t, want, got)
			if last == uuid.Nil {
				break
			}
			q.After = last
		}
	}
	tamper(t, url, `UPDATE jobaudit.events SET line = 'no event' WHERE idx % 9 = $i`, 4)
	want, _ := jobs(t.Context(), plainReader{sink}, jobaudit.Query{})
	got, _ := jobs(t.Context(), sink, jobaudit.Query{})
	require.ElementsMatch(t, want, got)
}

func first[K, V any](seq iter.Seq2[K, V], n int) (list []K) {
	for k := range seq {
		if list = append(list, k); len(list) == n {
			break
		}
	}
	return list
}

// counted counts the statements of a sink that read events: others look what waits, by the clock.
type counted struct{ statements atomic.Int64 }

func (c *counted) TraceQueryStart(ctx context.Context, _ *pgx.Conn, query pgx.TraceQueryStartData) context.Context {
	if strings.Contains(query.SQL, "jobaudit.events") {
		c.statements.Add(1)
	}
	return ctx
}

func (c *counted) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func TestJobsAndStoriesTakeFewStatements(t *testing.T) {
	url := database(t)
	c := &counted{}
	opts := pgsink.On(func(config *pgx.ConnConfig) { config.Tracer = c }, pgsink.Options{OnError: func(error) {}})
	sink := open(t, url, opts)
	for range 100 {
		require.NoError(t, sink.Append(t.Context(), sinktest.Records(5)))
	}
	count := func(f func()) int64 {
		before := c.statements.Load()
		f()
		return c.statements.Load() - before
	}
	require.LessOrEqual(t, count(func() {
		require.Len(t, first(jobaudit.Jobs(t.Context(), sink, jobaudit.Query{}), 100), 100)
	}), int64(10))
	require.LessOrEqual(t, count(func() { require.Len(t, read(t, sink, jobaudit.Query{}), 500) }), int64(5))
	root := uuid.New()
	require.NoError(t, sink.Append(t.Context(), newHistory().records(t, 1000, root)))
	k := newKey(t)
	stop := run(t, url, k.options())
	require.NoError(t, sink.Sequenced(t.Context()))
	stop()
	require.LessOrEqual(t, count(func() {
		require.Len(t, first(jobaudit.Jobs(t.Context(), sink, jobaudit.Query{Limit: 50}), 100), 50)
	}), int64(2))
	require.LessOrEqual(t, count(func() {
		var text strings.Builder
		require.NoError(t, story.Story(t.Context(), &text, root, sink))
		require.Equal(t, 200, strings.Count(text.String(), "1,204 documents"))
	}), int64(4))
}

// Where no sequencer has run for a day, the jobs of a large inbox are read one after the other:
// in the order of their submissions, each whole, and with the memory of some at a time.
func TestJobsOfALargeInboxAreWholeInOrderAndNotHeldAtOnce(t *testing.T) {
	url := database(t)
	sink := open(t, url, &pgsink.Options{Settle: time.Nanosecond, OnError: func(error) {}})
	const rows, each = 8, 500
	long := sinktest.Records(rows) // a job with an event in every row, in the midst of others
	for i, r := range long {
		if r.JobID() != long[0].JobID() {
			long = long[:i]
			break
		}
	}
	require.Greater(t, len(long), 2)
	var want []uuid.UUID
	var inbox int64
	add := func(records []jobaudit.Record) {
		require.NoError(t, sink.Append(t.Context(), records))
		for _, r := range records {
			inbox += int64(len(r.Bytes()))
			if r.Event().Type == jobaudit.JobSubmitted {
				want = append(want, r.JobID())
			}
		}
	}
	for row := range rows {
		records := sinktest.Records(each)
		if row < len(long) {
			records = slices.Insert(records, each/2, long[row])
		}
		add(records)
	}
	live := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	check := func(want []uuid.UUID, q jobaudit.Query) {
		t.Helper()
		before, most := live(), int64(0)
		var got []uuid.UUID
		for job, err := range jobaudit.Jobs(t.Context(), sink, q) {
			require.NoError(t, err)
			got = append(got, job.ID)
			if len(got)%50 == 1 {
				most = max(most, live()-before)
			}
			if job.ID == long[0].JobID() {
				require.Equal(t, long[len(long)-1].Event().Job.State, job.State, "it is whole")
			}
		}
		require.Len(t, got, len(want))
		require.True(t, slices.Equal(want, got), "in order")
		require.Less(t, most, int64(4<<20), "the inbox is %d bytes", inbox)
	}
	newest := func() []uuid.UUID { back := slices.Clone(want); slices.Reverse(back); return back }
	check(newest(), jobaudit.Query{})
	// More than one statement keeps: each job is read for itself.
	for range 8 {
		add(sinktest.Records(1000))
	}
	check(newest()[:30], jobaudit.Query{Limit: 30})
}
