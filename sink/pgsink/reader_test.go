package pgsink_test

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
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
	for i := range 8 {
		records := sinktest.Records(1000)
		for _, at := range []int{3, 700} {
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
		"the newest":           {jobaudit.Query{Limit: 3, NewestFirst: true}, backward(ids[7997:]), 1},
		"what is rare":         {jobaudit.Query{Action: "rare"}, rare, 1},
		"rare, newest first":   {jobaudit.Query{Action: "rare", NewestFirst: true}, backward(rare), 1},
		"the first that match": {jobaudit.Query{Action: "rare", Limit: 2}, rare[:2], 0},
		"the last that match":  {jobaudit.Query{Action: "rare", Limit: 2, NewestFirst: true}, backward(rare)[:2], 1},
		"behind another":       {jobaudit.Query{After: ids[4000], Limit: 2}, ids[4001:4003], 0},
		"before another":       {jobaudit.Query{After: ids[4000], Limit: 2, NewestFirst: true}, backward(ids[3998:4000]), 0},
		"as many as there are": {jobaudit.Query{Action: "rare", Limit: len(rare)}, rare, 0},
		"behind the last":      {jobaudit.Query{After: ids[7999]}, nil, 1},
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
					require.Less(t, live()-before, int64(3<<20), "the inbox is %d MB", 8000*850>>20)
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
