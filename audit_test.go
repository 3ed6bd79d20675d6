package jobaudit_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// selecting are queries, by the one field that each sets, that select the event
// of TestEveryFieldOfAQuerySelects, and such that do not.
func selecting(e jobaudit.Event) map[string][2]jobaudit.Query {
	other := uuid.MustParse(storyJob)
	return map[string][2]jobaudit.Query{
		"JobID":         {{JobID: e.Job.ID}, {JobID: other}},
		"CorrelationID": {{CorrelationID: e.CorrelationID}, {CorrelationID: other}},
		"RootID":        {{RootID: e.Job.RootID}, {RootID: other}},
		"PrincipalID":   {{PrincipalID: e.Who.Principal.ID}, {PrincipalID: e.Who.OnBehalfOf[0].ID}},
		"ActingFor":     {{ActingFor: e.Who.OnBehalfOf[0].ID}, {ActingFor: e.Who.OrgID}},
		"OrgID":         {{OrgID: e.Who.OrgID}, {OrgID: e.Who.OrgID + "x"}},
		"Action":        {{Action: e.What.Action}, {Action: strings.ToUpper(e.What.Action)}},
		"Resource":      {{Resource: e.What.Resource}, {Resource: "other"}},
		"Types":         {{Types: []jobaudit.EventType{jobaudit.JobStarted, e.Type}}, {Types: []jobaudit.EventType{jobaudit.JobStarted}}},
		"State":         {{State: e.Job.State}, {State: jobaudit.Pending}},
		"ErrorCode":     {{ErrorCode: e.Data.Error.Code}, {ErrorCode: "OTHER"}},
		"Since":         {{Since: e.Time}, {Since: e.Time.Add(time.Microsecond)}},
		"Until":         {{Until: e.Time.Add(time.Microsecond)}, {Until: e.Time}},
	}
}

func TestEveryFieldOfAQuerySelects(t *testing.T) {
	record := parsed(t, `{"schemaVersion":"1.0.0","id":"01980000-0000-7000-8000-000000000001","type":"job.failed","phase":"outcome",`+
		`"time":"2026-01-02T03:04:05.678901Z","stream":{"id":"01980000-0000-7000-8000-000000000002","seq":1},`+
		`"job":{"id":"01980000-0000-7000-8000-000000000003","state":"failed","attempt":1,"rootId":"01980000-0000-7000-8000-000000000004"},`+
		`"correlationId":"01980000-0000-7000-8000-000000000005","requestId":"01980000-0000-7000-8000-000000000006",`+
		`"who":{"principal":{"kind":"user","id":"u-1","assurance":"verified"},"orgId":"acme","onBehalfOf":[{"kind":"user","id":"u-2","assurance":"claimed"}]},`+
		`"what":{"action":"a","resource":"index/orders"},"where":{"system":"s","environment":"e","host":"h","instance":"i","version":"v"},`+
		`"why":{"trigger":"manual","reason":"r"},"data":{"error":{"code":"E_NOSPC","message":"m"}}}`)
	queries := selecting(record.Event())
	for field := range reflect.TypeFor[jobaudit.Query]().Fields() {
		switch field.Name {
		case "After", "Limit", "NewestFirst": // which are for the reader to apply
			continue
		}
		q, ok := queries[field.Name]
		require.True(t, ok, "no query tests %s", field.Name)
		require.True(t, q[0].Match(record), field.Name)
		require.False(t, q[1].Match(record), field.Name)
	}
	require.True(t, jobaudit.Query{}.Match(record))
	require.True(t, jobaudit.Query{ActingFor: "u-1"}.Match(record), "the principal itself")
}

func parsed(t *testing.T, line string) jobaudit.Record {
	t.Helper()
	record, err := jobaudit.ParseRecord([]byte(line))
	require.NoError(t, err)
	return record
}

// The code is the one that the job's error has: it need not stand in the event.
func TestAQueryForAnErrorCodeFindsRefusalsAndDuplicates(t *testing.T) {
	golden := jobaudit.GoldenRecords(t)
	require.True(t, jobaudit.Query{ErrorCode: jobaudit.CodeForbidden}.Match(golden[jobaudit.JobDenied]))
	require.True(t, jobaudit.Query{ErrorCode: jobaudit.CodeDuplicate}.Match(golden[jobaudit.JobDeduplicated]))
	require.False(t, jobaudit.Query{ErrorCode: jobaudit.CodeForbidden}.Match(golden[jobaudit.JobStarted]))
}

func TestAnIDIsFoundHoweverItsWriterSpeltIt(t *testing.T) {
	line := string(stream(t, 1, submitted(1))[0].Bytes())
	escaped := strings.ReplaceAll(line, storyJob, `\u0037`+storyJob[1:])
	require.NotEqual(t, line, escaped)
	record, job := parsed(t, escaped), uuid.MustParse(storyJob)
	require.True(t, jobaudit.Query{CorrelationID: job, RootID: job, JobID: job}.Match(record))
}

func TestAnIDThatStandsElsewhereInTheLineIsNotFound(t *testing.T) {
	line := string(stream(t, 1, submitted(1))[0].Bytes())
	record, job, other := parsed(t, line), uuid.MustParse(storyJob), uuid.New()
	named := parsed(t, strings.Replace(line, `"rootId":"`, `"parentId":"`+other.String()+`","rootId":"`, 1))
	require.NotEqual(t, record.Bytes(), named.Bytes())
	require.False(t, jobaudit.Query{RootID: other}.Match(named))
	require.False(t, jobaudit.Query{CorrelationID: other}.Match(named))
	require.True(t, jobaudit.Query{RootID: job, CorrelationID: job}.Match(named))
	require.False(t, jobaudit.Query{RootID: job, CorrelationID: other}.Match(named))
	require.False(t, jobaudit.Query{RootID: job}.Match(jobaudit.Record{}))
}

// Every event is in one of the parts that a moment divides time into, and a
// moment that is read from a finer clock misses none that it should see.
func TestEventsOfAMomentAreNotMissedByAFinerBound(t *testing.T) {
	record := stream(t, 1, submitted(1))[0]
	for ns := range time.Duration(3000) {
		bound := record.Time().Add(ns - 1500)
		since, until := jobaudit.Query{Since: bound}.Match(record), jobaudit.Query{Until: bound}.Match(record)
		require.NotEqual(t, since, until, bound)
		require.Equal(t, !bound.Truncate(time.Microsecond).After(record.Time()), since, bound)
		require.Equal(t, since, jobaudit.Query{Since: bound.In(time.FixedZone("", 3600))}.Match(record))
	}
}

// BenchmarkMatch is a query in a log that it selects nothing of.
func BenchmarkMatch(b *testing.B) {
	records := jobaudit.GoldenRecords(b)
	for name, q := range map[string]jobaudit.Query{
		"correlation": {CorrelationID: uuid.New()},
		"type":        {Types: []jobaudit.EventType{"job.other"}},
		"principal":   {PrincipalID: "nobody"},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				for _, r := range records {
					if q.Match(r) {
						b.Fatal("selected")
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(records)), "ns/record")
		})
	}
}

func listed(t *testing.T, reader jobaudit.AuditReader, q jobaudit.Query) (ids []string) {
	t.Helper()
	for job, err := range jobaudit.Jobs(t.Context(), reader, q) {
		require.NoError(t, err)
		ids = append(ids, job.ID.String()[:1])
	}
	return ids
}

// otherJob is the ID of a second job.
var otherJob = strings.Replace(storyJob, "7d", "8d", 1)

func TestAJobThatWasSubmittedTwiceIsListedOnce(t *testing.T) {
	log := memsink.New(nil)
	other, again := submitted(3), submitted(4)
	other.job, again.second = otherJob, 9
	for _, records := range [][]jobaudit.Record{
		stream(t, 1, submitted(1), startedAs(2, 90)), stream(t, 2, other), stream(t, 3, again),
	} {
		require.NoError(t, log.Append(t.Context(), records))
	}
	require.Equal(t, []string{"8", "7"}, listed(t, log, jobaudit.Query{}))
	require.Equal(t, []string{"7"}, listed(t, log, jobaudit.Query{State: jobaudit.Running}))
	require.Equal(t, []string{"7"}, listed(t, log, jobaudit.Query{After: uuid.MustParse(otherJob)}))
	require.Empty(t, listed(t, log, jobaudit.Query{Since: again.at()}), "the first submission counts")
}

// at is the event's time.
func (e told) at() time.Time { return time.Date(2026, 1, 2, 3, 4, e.second, 0, time.UTC) }

func TestAJobWithoutItsSubmissionIsNotListed(t *testing.T) {
	log := memsink.New(nil)
	require.NoError(t, log.Append(t.Context(), stream(t, 1, startedAs(2, 90))))
	require.Empty(t, listed(t, log, jobaudit.Query{}))
	for _, err := range jobaudit.Jobs(t.Context(), log, jobaudit.Query{After: uuid.MustParse(storyJob)}) {
		require.ErrorIs(t, err, jobaudit.ErrNotFound)
	}
}

// readerFunc is a reader.
type readerFunc func(jobaudit.Query) iter.Seq2[jobaudit.Record, error]

func (f readerFunc) Records(_ context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	return f(q)
}

func TestAJobThatCannotBeFoldedHidesNoOther(t *testing.T) {
	log, other := memsink.New(nil), submitted(3)
	other.job = otherJob
	require.NoError(t, log.Append(t.Context(), stream(t, 2, other)))
	require.NoError(t, log.Append(t.Context(), stream(t, 1, submitted(1))))
	twin := stream(t, 4, told{id: 1, typ: jobaudit.JobLogged})
	var got []jobaudit.Job
	for job, err := range jobaudit.Jobs(t.Context(), readerFunc(func(q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
		return func(yield func(jobaudit.Record, error) bool) {
			for r, err := range log.Records(t.Context(), q) {
				if !yield(r, err) || q.JobID == r.JobID() && r.ID() == twin[0].ID() && !yield(twin[0], nil) {
					return
				}
			}
		}
	}), jobaudit.Query{}) {
		if len(got) == 0 {
			require.ErrorIs(t, err, jobaudit.ErrConflict)
			require.Equal(t, jobaudit.Job{ID: uuid.MustParse(storyJob)}, job)
		} else {
			require.NoError(t, err)
		}
		got = append(got, job)
	}
	require.Len(t, got, 2)
}

func TestAnErrorOfTheReaderEndsTheListOfJobs(t *testing.T) {
	broken := errors.New("medium")
	log := memsink.New(nil)
	require.NoError(t, log.Append(t.Context(), stream(t, 1, submitted(1))))
	for _, whileListing := range []bool{true, false} {
		n := 0
		for job, err := range jobaudit.Jobs(t.Context(), readerFunc(func(q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
			if whileListing == (q.JobID == uuid.Nil) {
				return func(yield func(jobaudit.Record, error) bool) { yield(jobaudit.Record{}, broken) }
			}
			return log.Records(t.Context(), q)
		}), jobaudit.Query{}) {
			require.Equal(t, broken, err)
			require.Zero(t, job)
			n++
		}
		require.Equal(t, 1, n)
	}
}

// damaged passes on what a reader yields, and an unreadable record behind each.
func damaged(records iter.Seq2[jobaudit.Record, error]) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		n := 0
		for r, err := range records {
			n++
			if !yield(r, err) || !yield(jobaudit.Record{}, fmt.Errorf("read: %w", &jobaudit.UnreadableError{
				Place: fmt.Sprint("line ", n), Err: errors.New("garbage"),
			})) {
				return
			}
		}
	}
}

func TestAnUnreadableRecordHidesNoneOfAJobsOthers(t *testing.T) {
	records := [][]jobaudit.Record{stream(t, 1, submitted(1), startedAs(2, 90), ended(3, 90, jobaudit.JobSucceeded))}
	want := replay(t, records...)
	want.Unreadable = []string{"line 1", "line 2", "line 3"}
	got, err := jobaudit.Replay(damaged(all(records...)))
	require.NoError(t, err)
	require.Equal(t, want, got)
	var back jobaudit.Job
	wire, err := json.Marshal(got)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(wire, &back))
	require.Equal(t, want.Unreadable, back.Unreadable)

	many := make([]told, 40)
	for i := range many {
		many[i] = told{id: i + 1, typ: jobaudit.JobLogged, data: `{"line":"x"}`}
	}
	got, err = jobaudit.Replay(damaged(all(stream(t, 1, many...))))
	require.NoError(t, err)
	require.Len(t, got.Unreadable, 16)
}

func TestAnUnreadableRecordDoesNotEndTheListOfJobs(t *testing.T) {
	log, other := memsink.New(nil), submitted(3)
	other.job = otherJob
	require.NoError(t, log.Append(t.Context(), stream(t, 2, other)))
	require.NoError(t, log.Append(t.Context(), stream(t, 1, submitted(1))))
	var jobs, errs int
	for job, err := range jobaudit.Jobs(t.Context(), readerFunc(func(q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
		return damaged(log.Records(t.Context(), q))
	}), jobaudit.Query{Limit: 2}) {
		if err != nil {
			_, ok := errors.AsType[*jobaudit.UnreadableError](err)
			require.True(t, ok)
			require.Zero(t, job)
			errs++
			continue
		}
		require.Len(t, job.Unreadable, 1)
		jobs++
	}
	require.Equal(t, 2, jobs)
	require.Equal(t, 1, errs)
}
