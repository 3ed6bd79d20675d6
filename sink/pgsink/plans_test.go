package pgsink_test

import (
	"regexp"
	"strconv"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/pgsink"
	"github.com/stretchr/testify/require"
)

var removed = regexp.MustCompile(`Rows Removed by Filter: (\d+)`)

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
	var mu sync.Mutex
	most := 0
	explained := false
	sink := open(t, url+" options='-c session_preload_libraries=auto_explain -c auto_explain.log_min_duration=0 -c auto_explain.log_analyze=on -c auto_explain.log_level=notice'",
		pgsink.On(func(config *pgx.ConnConfig) {
			config.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) {
				mu.Lock()
				defer mu.Unlock()
				explained = true
				for _, m := range removed.FindAllStringSubmatch(notice.Message, -1) {
					n, _ := strconv.Atoi(m[1])
					most = max(most, n)
				}
			}
		}, pgsink.Options{Conns: 3, OnError: func(error) {}}))
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
	} {
		for range 8 { // PostgreSQL thinks of a plan for all values after five
			for _, newest := range []bool{false, true} {
				q.NewestFirst = newest
				require.Empty(t, read(t, sink, q))
			}
		}
		mu.Lock()
		require.True(t, explained)
		require.Less(t, most, 1000, "%s: a statement has read the log", name)
		mu.Unlock()
	}
}
