package pgsink_test

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/pgsink"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var removed = regexp.MustCompile(`Rows Removed by Filter: (\d+)`)

// given finds how many rows a part of a plan has given, and how often.
var given = regexp.MustCompile(`actual time=\S+ rows=(\d+)(?:\.\d+)? loops=(\d+)`)

// Whatever is selected, an index leads to it: a statement that is planned once
// for all values would read the whole log for one that is rare.
func TestWhatIsRareIsFoundWithoutReadingTheLog(t *testing.T) {
	if testing.Short() {
		t.Skip("it needs the module auto_explain, and 20,000 rows")
	}
	url := database(t)
	execute(t, url, `SET session_replication_role = replica; INSERT INTO jobaudit.events
		SELECT i, gen_random_uuid(), 'w', 'x', gen_random_uuid(), gen_random_uuid(), NULL, 'u-1', 'acme', 'reindex', 'job.submitted', 'pending', NULL, NULL, now()
		FROM generate_series(0, 20000) i`)
	execute(t, url, `ANALYZE jobaudit.events`)
	sink, plans := explaining(t, url)
	for name, q := range map[string]jobaudit.Query{
		"job":            {JobID: uuid.New()},
		"correlation":    {CorrelationID: uuid.New()},
		"root":           {RootID: uuid.New()},
		"principal":      {PrincipalID: "nobody"},
		"acting for":     {ActingFor: "nobody"},
		"org":            {OrgID: "none"},
		"action":         {Action: "none"},
		"org and action": {OrgID: "acme", Action: "none"},
		"type":           {Types: []jobaudit.EventType{jobaudit.JobFailed, jobaudit.JobDenied}},
		"state":          {State: jobaudit.Failed},
		"resource":       {Resource: "none"},
		"error":          {ErrorCode: jobaudit.CodeAbandoned},
		"since":          {Since: time.Now().Add(time.Hour)},
		"until":          {Until: time.Now().Add(-time.Hour)},
		"org and since":  {OrgID: "acme", Since: time.Now().Add(time.Hour)},
	} {
		for i := range 16 { // PostgreSQL thinks of a plan for all values after five
			for _, newest := range []bool{false, true} {
				q.NewestFirst, q.Limit = newest, i%2*10
				require.Empty(t, read(t, sink, q))
			}
		}
		removed, _, _ := plans()
		require.Less(t, removed, 1000, "%s: a statement has read the log", name)
	}
}

// Of what is not rare a page costs the same as well, wherever in the log it is and however
// long that is.
func TestAPageOfWhatIsFrequentReadsNoMoreThanAPage(t *testing.T) {
	if testing.Short() {
		t.Skip("it needs the module auto_explain, and 30,000 rows")
	}
	url := database(t)
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	root := uuid.New()
	replica := url + " options='-c session_replication_role=replica'"
	// Ten partitions, and one event in 64, so that there are as many blocks as in a long log.
	execute(t, url, `DROP TABLE jobaudit.events_00000`)
	for i := range 10 {
		execute(t, url, fmt.Sprintf(`CREATE TABLE jobaudit.events_%02d PARTITION OF jobaudit.events FOR VALUES FROM (%d) TO (%d)`, i, i<<18, (i+1)<<18))
	}
	execute(t, replica, `INSERT INTO jobaudit.events
		SELECT i << 6, gen_random_uuid(), 'w', 'x', CASE i % 2 WHEN 0 THEN $2::uuid ELSE gen_random_uuid() END, gen_random_uuid(), CASE i % 2 WHEN 1 THEN $2::uuid END,
			CASE i % 3 WHEN 0 THEN 'robot' ELSE 'u-1' END, 'acme', 'reindex', (ARRAY['job.submitted', 'job.started', 'job.succeeded'])[1 + i % 3], 'pending', NULL, NULL,
			$1::timestamptz + i * interval '1 second'
		FROM generate_series(0, 29999) i`, began, root)
	execute(t, replica, `INSERT INTO jobaudit.commits (size, prev, line) VALUES (30000 << 6, 0, 'x')`)
	execute(t, replica, `INSERT INTO jobaudit.acting SELECT 'robot', i << 6 FROM generate_series(0, 29999) i WHERE i % 3 > 0`)
	execute(t, url, `ANALYZE`)
	sink, plans := explaining(t, url)
	at := func(i int) time.Time { return began.Add(time.Duration(i) * time.Second) }
	for name, c := range map[string]struct {
		query    jobaudit.Query
		from, to int // the events that match
	}{
		"root":                {jobaudit.Query{RootID: root}, 0, 30_000},
		"acting for":          {jobaudit.Query{ActingFor: "robot"}, 0, 30_000},
		"acting for, of acme": {jobaudit.Query{ActingFor: "robot", OrgID: "acme"}, 0, 30_000},
		"acting for, since":   {jobaudit.Query{ActingFor: "robot", Since: at(25_000)}, 25_000, 30_000},
		"all types":           {jobaudit.Query{Types: []jobaudit.EventType{jobaudit.JobSubmitted, jobaudit.JobStarted, jobaudit.JobSucceeded, jobaudit.JobStarted}}, 0, 30_000},
		"since, at the end":   {jobaudit.Query{Since: at(29_000)}, 29_000, 30_000},
		"until, at the begin": {jobaudit.Query{Until: at(1000)}, 0, 1000},
		"a period":            {jobaudit.Query{Since: at(15_000), Until: at(16_000)}, 15_000, 16_000},
		"a period of acme":    {jobaudit.Query{Since: at(15_000), Until: at(16_000), OrgID: "acme"}, 15_000, 16_000},
		"root in a period":    {jobaudit.Query{RootID: root, Until: at(10_000)}, 0, 10_000},
	} {
		for _, newest := range []bool{false, true} {
			c.query.NewestFirst = newest
			for i := range 7 {
				c.query.Limit = i % 2 * 10 // these are no records, and do not count
				whole := i == 0 && (!newest || c.to-c.from <= 1000)
				next, step := c.from, 1
				if newest {
					next, step = c.to-1, -1
				}
				n := 0
				// Once all pages, else the first.
				for _, err := range sink.Records(t.Context(), c.query) {
					unreadable, ok := errors.AsType[*jobaudit.UnreadableError](err)
					if want := "event " + strconv.Itoa(next<<6); !ok || unreadable.Place != want {
						require.FailNow(t, "a page gives something else", "%s: %v, and not %s", name, err, want)
					}
					next += step
					if n++; n == 10 && !whole {
						break
					}
				}
				if whole {
					require.Equal(t, c.to-c.from, n, name)
				}
			}
			_, rows, scans := plans()
			assert.Less(t, rows, 4000, "%s, newest first %v: a page has read the log", name, newest)
			assert.LessOrEqual(t, scans, 300, "%s, newest first %v: a block is looked for in all partitions", name, newest)
		}
	}
}

// Where a tail begins by a time, it does not read what was before; and what one index
// leads to is not looked for by blocks.
func TestATimeCostsATailAndACorrelationLittle(t *testing.T) {
	if testing.Short() {
		t.Skip("it needs the module auto_explain, and 30,000 rows")
	}
	url := database(t)
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	replica := url + " options='-c session_replication_role=replica'"
	execute(t, replica, `INSERT INTO jobaudit.events
		SELECT i, gen_random_uuid(), 'w', 'x', gen_random_uuid(), gen_random_uuid(), NULL, 'u-1', 'acme', 'reindex', 'job.started', 'pending', NULL, NULL,
			$1::timestamptz + i * interval '1 second'
		FROM generate_series(0, 29999) i`, began)
	execute(t, replica, `INSERT INTO jobaudit.commits (size, prev, line) VALUES (30000, 0, 'x')`)
	execute(t, url, `ANALYZE`)
	sink, plans := explaining(t, url)
	for _, from := range []int{1, 12_345, 29_995} {
		next := from
		for _, err := range sink.Tail(t.Context(), jobaudit.Query{Since: began.Add(time.Duration(from) * time.Second)}) {
			unreadable, ok := errors.AsType[*jobaudit.UnreadableError](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, fmt.Sprintf("event %d", next), unreadable.Place)
			if next++; next == from+5 {
				break
			}
		}
		removed, _, _ := plans()
		require.Less(t, removed, 6000, from)
	}
	require.Empty(t, read(t, sink, jobaudit.Query{CorrelationID: uuid.New(), Since: began}))
	_, _, scans := plans()
	require.LessOrEqual(t, scans, 4)
}

// scanned finds how often a partition of events has been scanned.
var scanned = regexp.MustCompile(` on events_\S+ .*loops=(\d+)`)

// explaining opens a sink, and returns what its statements have cost since the last call:
// the most rows that one has read in vain, that a part of its plan has given, and scans of
// partitions in one.
func explaining(t *testing.T, url string) (sink *pgsink.Sink, cost func() (removedRows, rows, scans int)) {
	var mu sync.Mutex
	var mostRemoved, mostRows, mostScans int
	explained := false
	sink = open(t, url+" options='-c session_preload_libraries=auto_explain -c auto_explain.log_min_duration=0 -c auto_explain.log_analyze=on -c auto_explain.log_level=notice'",
		pgsink.On(func(config *pgx.ConnConfig) {
			config.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) {
				mu.Lock()
				defer mu.Unlock()
				explained = true
				for _, m := range removed.FindAllStringSubmatch(notice.Message, -1) {
					n, _ := strconv.Atoi(m[1])
					mostRemoved, mostRows = max(mostRemoved, n), max(mostRows, n)
				}
				for _, m := range given.FindAllStringSubmatch(notice.Message, -1) {
					n, _ := strconv.Atoi(m[1])
					loops, _ := strconv.Atoi(m[2])
					mostRows = max(mostRows, n*loops)
				}
				scans := 0
				for _, m := range scanned.FindAllStringSubmatch(notice.Message, -1) {
					loops, _ := strconv.Atoi(m[1])
					scans += loops
				}
				mostScans = max(mostScans, scans)
			}
		}, pgsink.Options{Conns: 3, OnError: func(error) {}}))
	return sink, func() (int, int, int) {
		mu.Lock()
		defer mu.Unlock()
		require.True(t, explained)
		defer func() { mostRemoved, mostRows, mostScans, explained = 0, 0, 0, false }()
		return mostRemoved, mostRows, mostScans
	}
}
