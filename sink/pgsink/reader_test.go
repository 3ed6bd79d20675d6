package pgsink_test

import (
	"context"
	"math"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/pgsink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
)

// Where no sequencer has run for a day the inbox is far larger than a reader.
func TestAReadKeepsOfTheInboxOnlyWhatItYields(t *testing.T) {
	url := database(t)
	sink := open(t, url, &pgsink.Options{Settle: time.Nanosecond, OnError: func(error) {}})
	var ids, rare []uuid.UUID
	const rows, each = 8, 500
	const middle, last = rows * each / 2, rows*each - 1 // the middle begins a row
	for i := range rows {
		records := sinktest.Records(each)
		for _, at := range []int{3, 350} {
			if i%3 != 1 {
				continue
			}
			r, err := jobaudit.ParseRecord([]byte(strings.Replace(string(records[at].Bytes()), `"action":"reindex"`, `"action":"rare"`, 1)))
			require.NoError(t, err)
			records[at] = r
			rare = append(rare, r.ID())
		}
		require.NoError(t, sink.Append(t.Context(), records))
		ids = append(ids, idsOf(records)...)
	}
	execute(t, url, `INSERT INTO jobaudit.inbox (ids, keys, lines) VALUES (ARRAY[gen_random_uuid()], '{}', ARRAY['x'::bytea])`)
	backward := func(ids []uuid.UUID) (back []uuid.UUID) {
		for i := range ids {
			back = append(back, ids[len(ids)-1-i])
		}
		return back
	}
	for name, c := range map[string]struct {
		query      jobaudit.Query
		want       []uuid.UUID
		unreadable int // the row that is no event
	}{
		"the first":            {jobaudit.Query{Limit: 3}, ids[:3], 0},
		"the newest":           {jobaudit.Query{Limit: 3, NewestFirst: true}, backward(ids[last-2:]), 1},
		"what is rare":         {jobaudit.Query{Action: "rare"}, rare, 1},
		"rare, newest first":   {jobaudit.Query{Action: "rare", NewestFirst: true}, backward(rare), 1},
		"the first that match": {jobaudit.Query{Action: "rare", Limit: 2}, rare[:2], 0},
		"the last that match":  {jobaudit.Query{Action: "rare", Limit: 2, NewestFirst: true}, backward(rare)[:2], 1},
		"behind another":       {jobaudit.Query{After: ids[middle], Limit: 2}, ids[middle+1 : middle+3], 0},
		"before another":       {jobaudit.Query{After: ids[middle], Limit: 2, NewestFirst: true}, backward(ids[middle-2 : middle]), 0},
		"as many as there are": {jobaudit.Query{Action: "rare", Limit: len(rare)}, rare, 0},
		"behind the last":      {jobaudit.Query{After: ids[last]}, nil, 1},
		"behind the last rare": {jobaudit.Query{After: rare[len(rare)-1], Action: "rare"}, nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			live := func() int64 {
				var m runtime.MemStats
				runtime.GC()
				runtime.GC()
				runtime.ReadMemStats(&m)
				return int64(m.HeapAlloc)
			}
			before := live()
			var got []uuid.UUID
			unreadable := 0
			for r, err := range sink.Records(t.Context(), c.query) {
				if len(got)+unreadable == 0 {
					require.Less(t, live()-before, int64(3<<19), "the inbox is %d bytes", rows*each*850)
				}
				if err != nil {
					unreadable++
					continue
				}
				got = append(got, r.ID())
			}
			require.Equal(t, c.want, got)
			require.Equal(t, c.unreadable, unreadable)
		})
	}
}

// What waits for its place may get it behind what is accepted later: a writer's transaction
// may be longer than another's.
func TestWhoReadsOnMissesNothing(t *testing.T) {
	for name, q := range map[string]jobaudit.Query{
		"with a limit":  {Limit: math.MaxInt},
		"behind a line": {},
		"newest first":  {Limit: math.MaxInt, NewestFirst: true},
	} {
		t.Run(name, func(t *testing.T) {
			url, k := database(t), newKey(t)
			records := sinktest.Records(4)
			writer := open(t, url, nil)
			require.NoError(t, writer.Append(t.Context(), records[:1]))
			stop := run(t, url, k.options())
			require.NoError(t, writer.Sequenced(t.Context()))
			stop()
			if name == "behind a line" {
				q.After = records[0].ID()
			}
			// One transaction begins, and another's events are accepted, just before they would be read.
			conn, err := pgx.Connect(t.Context(), url)
			require.NoError(t, err)
			defer conn.Close(context.WithoutCancel(t.Context()))
			tx, err := conn.Begin(t.Context())
			require.NoError(t, err)
			var once sync.Once
			reads := tracer(func(query string) {
				if !strings.Contains(query, "jobaudit.events") {
					return
				}
				once.Do(func() {
					require.NoError(t, pgsink.Tx(tx).Append(t.Context(), records[1:2]))
					require.NoError(t, writer.Append(t.Context(), records[2:3]))
				})
			})
			reader := open(t, url, pgsink.On(func(config *pgx.ConnConfig) { config.Tracer = reads }, pgsink.Options{OnError: func(error) {}}))
			seen := read(t, reader, q)
			require.NoError(t, tx.Commit(t.Context()))
			run(t, url, k.options())
			require.NoError(t, writer.Append(t.Context(), records[3:]))
			require.NoError(t, writer.Sequenced(t.Context()))
			after := records[0].ID()
			if len(seen) > 0 && !q.NewestFirst {
				after = seen[len(seen)-1]
			} else if len(seen) > 0 {
				after = seen[0]
			}
			seen = append(seen, read(t, reader, jobaudit.Query{After: after})...)
			for _, r := range records[1:] {
				require.Contains(t, seen, r.ID())
			}
		})
	}
}

// A sequencer may need longer than a read waits: where the log grows one is at work.
func TestAReadYieldsWhatHasNoPlaceOnlyWhereTheLogStandsStill(t *testing.T) {
	for size, placedOnly := range map[string]bool{`nextval('public.grows')`: true, `1`: false} {
		url, k := database(t), newKey(t)
		writer := open(t, url, nil)
		records := sinktest.Records(3)
		require.NoError(t, writer.Append(t.Context(), records[:1]))
		stop := run(t, url, k.options())
		require.NoError(t, writer.Sequenced(t.Context()))
		stop()
		require.NoError(t, writer.Append(t.Context(), records[1:]))
		reader := open(t, url, &pgsink.Options{Settle: 50 * time.Millisecond, OnError: func(error) {}})
		execute(t, url, `CREATE SEQUENCE public.grows; GRANT USAGE ON SEQUENCE public.grows TO PUBLIC`)
		execute(t, url, `CREATE OR REPLACE FUNCTION jobaudit.waiting_v1(p_upto bigint, OUT newest bigint, OUT oldest interval, OUT upto bool, OUT size bigint)
			LANGUAGE sql SECURITY DEFINER AS $$ SELECT 2::bigint, interval '1s', true, `+size+`::bigint $$`)
		want := records
		if placedOnly {
			want = records[:1]
		}
		require.Equal(t, idsOf(want), read(t, reader, jobaudit.Query{Limit: 10}), size)
	}
}

// tracer is called with each statement, before it is sent.
type tracer func(sql string)

func (f tracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, query pgx.TraceQueryStartData) context.Context {
	f(query.SQL)
	return ctx
}

func (f tracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
