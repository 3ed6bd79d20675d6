package pgsink_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/pgsink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/jobaudit/jobaudit/story"
	"github.com/stretchr/testify/require"
)

var (
	correlationIn = regexp.MustCompile(`"correlationId":"[^"]*"`)
	parentOf      = regexp.MustCompile(`"rootId":"[^"]*"`)
)

// history makes events of 900 bytes as the clock goes on, ten milliseconds from one to the next.
type history struct{ at time.Time }

func newHistory() *history { return &history{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)} }

// records returns events of jobs. With a root they are one story, and the jobs its children.
func (h *history) records(t *testing.T, n int, root uuid.UUID) []jobaudit.Record {
	t.Helper()
	records := sinktest.Records(n)
	for i, r := range records {
		h.at = h.at.Add(10 * time.Millisecond)
		line := timeIn.ReplaceAll(r.Bytes(), []byte(`"time":"`+h.at.Format("2006-01-02T15:04:05.000000Z")+`"`))
		if root != uuid.Nil {
			line = correlationIn.ReplaceAll(line, []byte(`"correlationId":"`+root.String()+`"`))
			line = parentOf.ReplaceAll(line, []byte(`"parentId":"`+root.String()+`","rootId":"`+root.String()+`"`))
		}
		if more := 900 - len(line); more > 0 {
			line = bytes.Replace(line, []byte(`"conformance"`), []byte(`"conformance`+rand.Text()+strings.Repeat("x", max(more-26, 0))+`"`), 1)
		}
		changed, err := jobaudit.ParseRecord(line)
		require.NoError(t, err)
		records[i] = changed
	}
	return records
}

// bulk appends n events, and amid them the story of the root, and returns one from the middle.
func (h *history) bulk(t *testing.T, sink *pgsink.Sink, n int, root uuid.UUID) (middle jobaudit.Record) {
	t.Helper()
	for left := n; left > 0; {
		part := h.records(t, min(left, 2048), uuid.Nil)
		if left > n/2 && left-len(part) <= n/2 {
			require.NoError(t, sink.Append(t.Context(), h.records(t, 1000, root)))
			middle = part[len(part)/2]
		}
		require.NoError(t, sink.Append(t.Context(), part))
		left -= len(part)
	}
	return middle
}

// How long reads take in a log of EVENTS events (100,000 unless set), when a tenth of them is
// there, and all.
func TestSoakReadsStayFlat(t *testing.T) {
	size.Soak(t)
	events := 100_000
	if n, err := strconv.Atoi(os.Getenv("EVENTS")); err == nil {
		events = n
	}
	s := ownServer(t)
	url, k := s.URL("prepared"), newKey(t)
	sink := open(t, url, nil)
	run(t, url, k.options())
	h := newHistory()
	for _, n := range []int{events / 10, events - events/10} {
		root := uuid.New()
		began := time.Now()
		middle := h.bulk(t, sink, n, root)
		require.NoError(t, sink.Sequenced(t.Context()))
		t.Logf("%8d more events: %.0f/s", n, float64(n)/time.Since(began).Seconds())
		execute(t, url, `ANALYZE`)
		measureReads(t, sink, middle, root)
		t.Logf("%s", storedOf(t, url))
	}
}

// storedOf tells how large the tables with their indexes are.
func storedOf(t *testing.T, url string) (text string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(context.WithoutCancel(t.Context()))
	require.NoError(t, conn.QueryRow(t.Context(), `SELECT string_agg(name || ' ' || pg_size_pretty(size), ', ' ORDER BY size DESC) FROM (
		SELECT regexp_replace(relname, '_[0-9]+$', '') AS name, sum(pg_total_relation_size(oid)) AS size FROM pg_class
		WHERE relnamespace = 'jobaudit'::regnamespace AND relkind = 'r' GROUP BY 1 HAVING sum(pg_total_relation_size(oid)) > 1000000) t`).Scan(&text))
	return text
}

func measureReads(t *testing.T, sink *pgsink.Sink, middle jobaudit.Record, root uuid.UUID) {
	t.Helper()
	w, err := sink.Waiting(t.Context())
	require.NoError(t, err)
	before, after := middle.Time().Add(-time.Minute), middle.Time().Add(time.Minute)
	for _, c := range []struct {
		name  string
		query jobaudit.Query
	}{
		{"a job's trail", jobaudit.Query{JobID: middle.JobID()}},
		{"the newest 50", jobaudit.Query{NewestFirst: true, Limit: 50}},
		{"newest 50 of an org", jobaudit.Query{OrgID: "acme", NewestFirst: true, Limit: 50}},
		{"50 in the middle", jobaudit.Query{After: middle.ID(), Limit: 50}},
		{"50 of an action", jobaudit.Query{Action: "reindex", After: middle.ID(), Limit: 50}},
		{"50 of types", jobaudit.Query{Types: []jobaudit.EventType{jobaudit.JobFailed, jobaudit.JobSucceeded}, After: middle.ID(), Limit: 50}},
		{"50 of a principal", jobaudit.Query{PrincipalID: "u-1", After: middle.ID(), Limit: 50, NewestFirst: true}},
		{"50 on behalf of one", jobaudit.Query{ActingFor: "u-1", After: middle.ID(), Limit: 50}},
		{"50 since the middle", jobaudit.Query{Since: middle.Time(), Limit: 50}},
		{"50 until the middle", jobaudit.Query{Until: middle.Time(), Limit: 50, NewestFirst: true}},
		{"50 of two minutes", jobaudit.Query{Since: before, Until: after, Limit: 50}},
		{"newest 50 of them", jobaudit.Query{Since: before, Until: after, Limit: 50, NewestFirst: true}},
		{"50 more of them", jobaudit.Query{Since: before, Until: after, After: middle.ID(), Limit: 50}},
		{"50 of them of an org", jobaudit.Query{OrgID: "acme", Since: before, Until: after, Limit: 50}},
		{"50 since the begin", jobaudit.Query{Since: time.Unix(0, 0), Limit: 50}},
		{"nothing of tomorrow", jobaudit.Query{Since: time.Now().Add(24 * time.Hour), Limit: 50}},
		{"nothing of nobody", jobaudit.Query{PrincipalID: "nobody", Limit: 50}},
		{"nothing of no action", jobaudit.Query{OrgID: "acme", Action: "none", Limit: 50}},
	} {
		measureRead(t, w.Size, c.name, func() { read(t, sink, c.query) })
	}
	measureRead(t, w.Size, "the newest 50 jobs", func() {
		require.Len(t, first(jobaudit.Jobs(t.Context(), sink, jobaudit.Query{Limit: 50}), 50), 50)
	})
	measureRead(t, w.Size, "the first 50 of all jobs", func() {
		require.Len(t, first(jobaudit.Jobs(t.Context(), sink, jobaudit.Query{}), 50), 50)
	})
	measureRead(t, w.Size, "a story of 1,000", func() { require.NoError(t, story.Story(t.Context(), io.Discard, root, sink)) })
	measureRead(t, w.Size, "the tree of it, of 200", func() {
		require.NoError(t, story.Tree(io.Discard, sink.Records(t.Context(), jobaudit.Query{RootID: root})))
	})
}

func measureRead(t *testing.T, events int64, name string, read func()) {
	t.Helper()
	var times []float64
	for range 50 {
		began := time.Now()
		read()
		times = append(times, float64(time.Since(began).Microseconds())/1000)
	}
	slices.Sort(times)
	t.Logf("%8d events: %-24s p50 %6.2f ms, p90 %6.2f ms", events, name, times[25], times[45])
}
