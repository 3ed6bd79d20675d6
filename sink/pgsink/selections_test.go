package pgsink_test

import (
	"context"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/pgsink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
)

var (
	timeIn = regexp.MustCompile(`"time":"[^"]*"`)
	rootIn = regexp.MustCompile(`"rootId":"[^"]*"`)
)

// However a selection is served, it yields what Match takes, in the order of the log: with
// clocks that differ, and with events that come while it is read.
func TestEverySelectionYieldsWhatMatchesInOrder(t *testing.T) {
	url, k := database(t), newKey(t)
	sink := open(t, url, &pgsink.Options{Settle: time.Nanosecond, OnError: func(error) {}})
	random := rand.New(rand.NewPCG(12, 12))
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	people := []string{"u-1", "ada", "bob", "a\\u0000b", "a\ufffdb"}
	var roots []uuid.UUID
	var all []jobaudit.Record
	var events []jobaudit.Event // of all
	add := func(n int) {
		records := sinktest.Records(n)
		for i, r := range records {
			if len(roots) < 4 {
				roots = append(roots, r.JobID())
			}
			at := began.Add(time.Duration(len(all)+i) * time.Second)
			if random.IntN(1000) == 0 {
				at = at.Add(time.Duration(random.IntN(3)-1) * 1000 * time.Hour) // a clock that is wrong
			}
			line := timeIn.ReplaceAllString(string(r.Bytes()), `"time":"`+at.Format("2006-01-02T15:04:05.000000Z")+`"`)
			if random.IntN(4) == 0 {
				line = rootIn.ReplaceAllString(line, `"rootId":"`+roots[random.IntN(4)].String()+`"`)
			}
			line = strings.Replace(line, `"id":"u-1"`, `"id":"`+people[random.IntN(len(people))]+`"`, 1)
			if random.IntN(3) == 0 {
				line = strings.Replace(line, `"orgId":"acme"`, `"orgId":"acme","onBehalfOf":[{"kind":"user","id":"`+people[random.IntN(len(people))]+`","assurance":"claimed"}]`, 1)
			}
			changed, err := jobaudit.ParseRecord([]byte(line))
			require.NoError(t, err)
			records[i] = changed
			events = append(events, changed.Event())
		}
		for part := range slices.Chunk(records, 2048) {
			require.NoError(t, sink.Append(t.Context(), part))
		}
		all = append(all, records...)
	}
	stop := run(t, url, k.options())
	add(8500)
	require.NoError(t, sink.Sequenced(t.Context()))
	stop()
	add(50) // these wait
	execute(t, url, `ANALYZE`)
	value := func(text string) string { return strings.ReplaceAll(text, `\u0000`, "\x00") }
	types := []jobaudit.EventType{"", "job.unknown"}
	for _, r := range all[:50] {
		types = append(types, r.Type())
	}
	found := make(map[string]int)
	queries := 60
	if size.Race {
		queries = 40
	}
	for i := range queries {
		var q jobaudit.Query
		some := func(of int) bool { return random.IntN(of) == 0 }
		if some(3) {
			q.Since = began.Add(time.Duration(random.IntN(9000)-200) * time.Second)
		}
		if some(3) {
			q.Until = began.Add(time.Duration(random.IntN(9000)-200) * time.Second)
		}
		if some(3) {
			q.ActingFor = value(people[random.IntN(len(people))])
		}
		if some(4) {
			q.PrincipalID = value(people[random.IntN(len(people))])
		}
		if some(4) {
			q.RootID = roots[random.IntN(4)]
		}
		if some(12) {
			q.JobID = all[random.IntN(len(all))].JobID()
		}
		if some(12) {
			e := all[random.IntN(len(all))].Event()
			q.CorrelationID = e.CorrelationID
		}
		for some(2) {
			q.Types = append(q.Types, types[random.IntN(len(types))])
		}
		q.NewestFirst = some(2)
		var want []uuid.UUID
		for j, r := range all {
			matches := matchesEvent(&q, &events[j])
			if (i+j)%64 == 0 && matches != q.Match(r) {
				require.FailNow(t, "the test says something else than Match", "%+v: %s", q, r)
			}
			if matches {
				want = append(want, r.ID())
			}
		}
		if q.NewestFirst {
			slices.Reverse(want)
		}
		if len(want) > 3 && some(2) {
			at := random.IntN(len(want) - 1)
			q.After = want[at]
			want = want[at+1:]
		}
		if some(3) {
			q.Limit = 1 + random.IntN(400)
			want = want[:min(q.Limit, len(want))]
		}
		for name, used := range map[string]bool{"time": !q.Since.IsZero() || !q.Until.IsZero(), "acting": q.ActingFor != "", "root": q.RootID != uuid.Nil, "types": len(q.Types) > 0} {
			if used && len(want) > 0 {
				found[name]++
			}
		}
		if got := read(t, sink, q); !slices.Equal(want, got) {
			require.Equal(t, want, got, "%d: %+v", i, q)
		}
	}
	for _, name := range []string{"time", "acting", "root", "types"} {
		require.Greater(t, found[name], 3, name)
	}
	// What comes, and gets its place, meanwhile is neither missed nor there twice.
	stop = run(t, url, k.options())
	defer stop()
	q := jobaudit.Query{Since: began.Add(4000 * time.Second)}
	seen := make(map[uuid.UUID]bool)
	var before int
	for r, err := range sink.Records(context.Background(), q) {
		if err != nil || seen[r.ID()] {
			require.FailNow(t, "a read has failed, or yields a record twice", "%v: %v", r, err)
		}
		seen[r.ID()] = true
		if len(seen) == 700 {
			before = len(all)
			add(300)
			require.NoError(t, sink.Sequenced(t.Context()))
		}
	}
	require.Positive(t, before)
	for _, r := range all {
		if q.Match(r) != seen[r.ID()] {
			require.FailNow(t, "a record is missing, or one too many", "%s", r)
		}
	}
}

// matchesEvent is what Match says, of a record that was decoded once for all queries.
func matchesEvent(q *jobaudit.Query, e *jobaudit.Event) bool {
	acts := func(id string) bool {
		return e.Who.Principal.ID == id || slices.ContainsFunc(e.Who.OnBehalfOf, func(p jobaudit.Principal) bool { return p.ID == id })
	}
	return (q.Since.IsZero() || !e.Time.Before(q.Since)) && (q.Until.IsZero() || e.Time.Before(q.Until)) &&
		(q.ActingFor == "" || acts(q.ActingFor)) && (q.PrincipalID == "" || q.PrincipalID == e.Who.Principal.ID) &&
		(q.RootID == uuid.Nil || q.RootID == e.Job.RootID) && (q.JobID == uuid.Nil || q.JobID == e.Job.ID) &&
		(q.CorrelationID == uuid.Nil || q.CorrelationID == e.CorrelationID) && (len(q.Types) == 0 || slices.Contains(q.Types, e.Type))
}
