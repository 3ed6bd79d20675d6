package pgsink_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/pgsink"
	"github.com/stretchr/testify/require"
)

// A log of two million places in partitions, of which some events are there. Their lines are
// no events, so a read yields their places.
func TestAPeriodOfALongLogIsReadWholeWhateverTheClocksSaid(t *testing.T) {
	url := database(t)
	random := rand.New(rand.NewPCG(7, 7))
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const size, partition = 2_000_000, 300_000 // of the last places none has a partition
	execute(t, url, `DROP TABLE jobaudit.events_00000, jobaudit.events_00001`)
	for i := range 5 {
		execute(t, url, fmt.Sprintf(`CREATE TABLE jobaudit.events_%02d PARTITION OF jobaudit.events FOR VALUES FROM (%d) TO (%d)`, i, i*partition, (i+1)*partition))
	}
	var idx []int64
	for range 3000 {
		idx = append(idx, random.Int64N(size))
		for random.IntN(3) > 0 {
			idx = append(idx, idx[len(idx)-1]+1)
		}
	}
	idx = append(idx, 0, 1<<12-1, 1<<12, 1<<18-1, 1<<18, size-1, size, size+1<<19) // the last two no head has signed
	slices.Sort(idx)
	idx = slices.Compact(idx)
	idx = slices.DeleteFunc(idx, func(at int64) bool { return at >= 3<<18 && at < 4<<18 }) // a gap
	times, ids, places := make([]time.Time, len(idx)), make([]uuid.UUID, len(idx)), make([]string, len(idx))
	for i, at := range idx {
		times[i], ids[i], places[i] = began.Add(time.Duration(at)*time.Second), uuid.New(), fmt.Sprintf("event %d", at)
		if random.IntN(300) == 0 {
			times[i] = times[i].Add(time.Duration(random.IntN(3)-1) * 300 * time.Hour)
		}
	}
	replica := url + " options='-c session_replication_role=replica'"
	execute(t, replica, `INSERT INTO jobaudit.events (idx, id, writer, line, org, type, time)
		SELECT idx, id, 'w', 'x', CASE idx % 2 WHEN 0 THEN 'even' ELSE 'odd' END, 'job.started', time FROM unnest($1::bigint[], $2::uuid[], $3::timestamptz[]) t(idx, id, time)`, idx, ids, times)
	execute(t, replica, `INSERT INTO jobaudit.sequence (id, idx) SELECT * FROM unnest($1::uuid[], $2::bigint[])`, ids, idx)
	execute(t, replica, `INSERT INTO jobaudit.commits (size, prev, line) VALUES ($1, 0, 'x')`, size)
	execute(t, url, `INSERT INTO jobaudit.inbox (ids, keys, lines) VALUES (ARRAY[gen_random_uuid()], '{}', ARRAY['x'::bytea])`)
	execute(t, url, `ANALYZE`)
	sink := open(t, url, &pgsink.Options{Settle: time.Nanosecond, OnError: func(error) {}})
	moment := func() time.Time {
		switch random.IntN(8) {
		case 0:
			return time.Time{}
		case 1:
			return began.Add(-5000 * time.Hour)
		case 2:
			return began.Add(5000 * time.Hour)
		case 3:
			return times[random.IntN(len(times))]
		}
		return began.Add(time.Duration(random.Int64N(size+10_000)-5000) * time.Second)
	}
	for i := range 300 {
		q := jobaudit.Query{Since: moment(), Until: moment(), NewestFirst: random.IntN(2) == 0}
		if random.IntN(4) == 0 && !q.Since.IsZero() { // a short one, or one without an event
			q.Until = q.Since.Add(time.Duration(random.IntN(2000)) * time.Second)
		}
		if random.IntN(4) == 0 {
			q.OrgID = "odd"
		}
		after := -1
		if random.IntN(3) == 0 {
			after = random.IntN(len(ids))
			q.After = ids[after]
		}
		var want, got []string
		for j, at := range idx {
			if (q.Since.IsZero() || !times[j].Before(q.Since)) && (q.Until.IsZero() || times[j].Before(q.Until)) &&
				(q.OrgID == "" || at%2 == 1) && (after < 0 || j > after && !q.NewestFirst || j < after && q.NewestFirst) {
				want = append(want, places[j])
			}
		}
		if after < 0 || !q.NewestFirst {
			want = append(want, "event 0 of row 1 of the inbox")
		}
		if q.NewestFirst {
			slices.Reverse(want)
		}
		for _, err := range sink.Records(t.Context(), q) {
			unreadable, ok := errors.AsType[*jobaudit.UnreadableError](err)
			if !ok {
				require.FailNow(t, "a read has failed", "%v", err)
			}
			got = append(got, unreadable.Place)
		}
		if !slices.Equal(want, got) {
			require.Equal(t, want, got, "%d: %+v", i, q)
		}
	}
}

// The part of a log that has one event ends behind it.
func TestWhatIsPlacedBehindTheFirstEventComesOnce(t *testing.T) {
	url := database(t)
	replica := url + " options='-c session_replication_role=replica'"
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	// As the search for the period sees them: the head of the others is not there yet.
	execute(t, replica, `INSERT INTO jobaudit.events (idx, id, writer, line, type, time) SELECT n, gen_random_uuid(), 'w', 'x', 'job.started', $1 FROM generate_series(0, 2) n`, began)
	execute(t, replica, `INSERT INTO jobaudit.commits (size, prev, line) VALUES (1, 0, 'x')`)
	sink := open(t, url, &pgsink.Options{Settle: time.Nanosecond, OnError: func(error) {}})
	for _, newestFirst := range []bool{false, true} {
		var got []string
		for _, err := range sink.Records(t.Context(), jobaudit.Query{Since: began, NewestFirst: newestFirst}) {
			unreadable, ok := errors.AsType[*jobaudit.UnreadableError](err)
			require.True(t, ok, "%v", err)
			got = append(got, unreadable.Place)
		}
		want := []string{"event 0", "event 1", "event 2"}
		if newestFirst {
			slices.Reverse(want)
		}
		require.Equal(t, want, got)
	}
}
