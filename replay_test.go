package jobaudit_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
)

// told is a job's event as a test writes it: what it does not set is as in any
// other.
type told struct {
	id      int // makes the event ID; verdicts have one of version 8
	verdict bool
	typ     jobaudit.EventType
	after   int // seq of the stream 1 that a stream resumes
	cause   int
	exec    int
	attempt int
	inputs  string
	data    string
	job     string
	second  int // of the event's time

	org, action, root, correlation string // default: as in any other event
	claimed                        bool   // the principal
	proof                          int    // the stream that a signed Carrier says the submission stands in
}

const storyJob = "7d444840-9dc0-41d1-b245-5ffdce74fad2"

func eventID(n int, version int) string {
	return fmt.Sprintf("01980000-0000-%d000-8000-%012d", version, n)
}

// stream returns the records of one stream.
func stream(t *testing.T, number int, events ...told) []jobaudit.Record {
	t.Helper()
	var records []jobaudit.Record
	for i, e := range events {
		version := 7
		if e.verdict {
			version = 8
		}
		place := fmt.Sprintf(`{"id":"%s","seq":%d`, eventID(number, 7), i+1)
		if i > 0 {
			place += fmt.Sprintf(`,"prev":"%s"`, records[i-1].Hash())
		}
		if e.after > 0 {
			place += fmt.Sprintf(`,"after":{"stream":"%s","seq":%d,"hash":"%s"}`, eventID(1, 7), e.after, jobaudit.Hash{})
		}
		job := storyJob
		if e.job != "" {
			job = e.job
		}
		member := func(name, value string, present bool) string {
			if !present {
				return ""
			}
			return fmt.Sprintf(`,"%s":%s`, name, value)
		}
		proof := ""
		if e.proof > 0 {
			proof = fmt.Sprintf(`,"proof":{"carrier":"k1","submission":"%s"}`, eventID(e.proof, 7))
		}
		assurance := "verified"
		if e.claimed {
			assurance = "claimed"
		}
		inputs := e.inputs
		if e.typ == jobaudit.JobSubmitted && inputs == "" {
			inputs = `{"n":1}`
		}
		line := fmt.Sprintf(`{"schemaVersion":"1.0.0","id":"%s","type":"%s"`, eventID(e.id, version), e.typ) +
			member("phase", `"`+string(e.typ.Phase())+`"`, e.typ.Phase() != "") +
			fmt.Sprintf(`,"time":"2026-01-02T03:04:%02d.000000Z","stream":%s},"job":{"id":"%s","state":"running","attempt":%d`, e.second, place, job, e.attempt) +
			member("executionId", `"`+eventID(e.exec, 7)+`"`, e.exec > 0) +
			fmt.Sprintf(`,"rootId":"%s"},"correlationId":"%s"`, cmp.Or(e.root, job), cmp.Or(e.correlation, job)) +
			member("causationId", `"`+eventID(e.cause, 7)+`"`, e.cause > 0) +
			fmt.Sprintf(`,"requestId":"%s","who":{"principal":{"kind":"user","id":"u-1","assurance":"%s"},"orgId":"%s"%s},"what":{"action":"%s"`,
				job, assurance, cmp.Or(e.org, "o"), proof, cmp.Or(e.action, "a")) +
			member("inputs", inputs, inputs != "") +
			`},"where":{"system":"s","environment":"e","host":"h","instance":"i","version":"v"},"why":{"trigger":"manual","reason":"r"}` +
			member("data", e.data, e.data != "") + `}`
		record, err := jobaudit.ParseRecord([]byte(line))
		require.NoError(t, err, line)
		records = append(records, record)
	}
	return records
}

func all(records ...[]jobaudit.Record) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		for _, r := range slices.Concat(records...) {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func replay(t *testing.T, records ...[]jobaudit.Record) jobaudit.Job {
	t.Helper()
	job, err := jobaudit.Replay(all(records...))
	require.NoError(t, err)
	return job
}

func submitted(id int) told { return told{id: id, typ: jobaudit.JobSubmitted} }

func startedAs(id, exec int) told {
	return told{id: id, typ: jobaudit.JobStarted, exec: exec, attempt: 1}
}

func ended(id, exec int, typ jobaudit.EventType) told {
	return told{id: id, typ: typ, exec: exec, attempt: 1}
}

func causes(job jobaudit.Job) (list []string) {
	for _, u := range job.Unapplied {
		list = append(list, string(u.Cause)+" "+string(u.Type))
	}
	return list
}

func ends(job jobaudit.Job) (list []jobaudit.EventType) {
	for _, x := range job.Executions {
		list = append(list, x.End)
	}
	return list
}

func TestAJobIsTheFoldOfItsEvents(t *testing.T) {
	failed := ended(5, 90, jobaudit.JobFailed)
	failed.data = `{"error":{"code":"GONE","message":{"$jobaudit":"truncated","size":2000,"head":"abc"},"type":"*x.E"}}`
	failed.second = 5
	job := replay(t, stream(t, 1, submitted(1), told{id: 2, typ: jobaudit.JobAuthorized, second: 1}, startedAs(3, 90),
		told{id: 4, typ: jobaudit.JobLogged, data: `{"line":"x"}`}, failed,
		told{id: 6, typ: jobaudit.JobLogged, data: `{"line":{"$jobaudit":"dropped","rule":"jwt"}}`}))
	at := time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)
	require.Equal(t, jobaudit.Job{
		ID: uuid.MustParse(storyJob), State: jobaudit.Failed, CreatedAt: at, StartedAt: at, CompletedAt: at.Add(5 * time.Second),
		Error: &jobaudit.ErrorDetail{Code: "GONE", Message: "abc… (2000 bytes in all)", Type: "*x.E"},
		Logs:  []string{"x", "(dropped: jwt)"},
		Metadata: jobaudit.JobMetadata{
			RequestID: uuid.MustParse(storyJob), UserID: "u-1", OrgID: "o", Action: "a", Inputs: json.RawMessage(`{"n":1}`),
		},
		CorrelationID: uuid.MustParse(storyJob), RootID: uuid.MustParse(storyJob), Attempt: 1,
		Executions: []jobaudit.JobExecution{{
			ID: uuid.MustParse(eventID(90, 7)), Attempt: 1, Stream: uuid.MustParse(eventID(1, 7)),
			StartedAt: at, EndedAt: at.Add(5 * time.Second), End: jobaudit.JobFailed,
		}},
	}, job)
}

func TestFirstOutcomeWins(t *testing.T) {
	outcomes := []jobaudit.EventType{jobaudit.JobSucceeded, jobaudit.JobFailed, jobaudit.JobCancelled}
	for _, first := range outcomes {
		for _, second := range outcomes {
			late := ended(4, 90, second)
			late.data = `{"error":{"code":"LATE","message":"m"}}`
			job := replay(t, stream(t, 1, submitted(1), startedAs(2, 90), ended(3, 90, first), late))
			require.Equal(t, map[jobaudit.EventType]jobaudit.JobState{
				jobaudit.JobSucceeded: jobaudit.Success, jobaudit.JobFailed: jobaudit.Failed, jobaudit.JobCancelled: jobaudit.Cancelled,
			}[first], job.State)
			require.Nil(t, job.Error)
			require.Equal(t, []string{"late " + string(second)}, causes(job))
			require.Equal(t, jobaudit.ErrorCode("LATE"), job.Unapplied[0].Error.Code)
			require.Equal(t, []jobaudit.EventType{first}, ends(job))
		}
	}
}

func TestALateExecutionIsVisible(t *testing.T) {
	job := replay(t, stream(t, 1, submitted(1), startedAs(2, 90), ended(3, 90, jobaudit.JobSucceeded)),
		stream(t, 2, told{id: 4, typ: jobaudit.AttemptStarted, exec: 91, attempt: 2},
			told{id: 5, typ: jobaudit.JobHeartbeat, exec: 91, data: `{"heartbeat":{"deadline":"2026-01-02T03:04:05.000000Z"}}`},
			ended(6, 91, jobaudit.JobFailed)))
	require.Equal(t, jobaudit.Success, job.State)
	require.Equal(t, 2, job.Attempt)
	require.Len(t, job.Executions, 2)
	require.False(t, job.Executions[0].Late)
	require.True(t, job.Executions[1].Late)
	require.Equal(t, []jobaudit.EventType{jobaudit.JobSucceeded, jobaudit.JobFailed}, ends(job))
	require.Equal(t, []string{"late attempt.started", "late job.failed"}, causes(job), "a heartbeat is no news")
}

func TestASecondExecutionIsNoSecondStart(t *testing.T) {
	job := replay(t, stream(t, 1, submitted(1), startedAs(2, 90)),
		stream(t, 2, told{id: 3, typ: jobaudit.JobStarted, exec: 91, attempt: 1, second: 9, after: 1}),
		stream(t, 3, told{id: 4, typ: jobaudit.AttemptSuperseded, exec: 90}))
	require.Equal(t, jobaudit.Running, job.State)
	require.Equal(t, 0, job.StartedAt.Second(), "the first start's")
	require.Equal(t, []jobaudit.EventType{jobaudit.AttemptSuperseded, ""}, ends(job))
	require.Empty(t, job.Unapplied)
}

func TestADuplicateSubmissionShowsItsInputs(t *testing.T) {
	other := submitted(2)
	other.inputs = `{"n":2}`
	job := replay(t, stream(t, 1, submitted(1)), stream(t, 2, other), stream(t, 3, submitted(3)))
	require.Equal(t, jobaudit.Pending, job.State)
	require.JSONEq(t, `{"n":1}`, string(job.Metadata.Inputs))
	require.Equal(t, []string{"duplicate job.submitted", "duplicate job.submitted"}, causes(job))
	require.JSONEq(t, `{"n":2}`, string(job.Unapplied[0].Inputs))
	require.Nil(t, job.Unapplied[1].Inputs, "the same inputs")
}

func TestAJobWithoutItsSubmissionIsIncomplete(t *testing.T) {
	job := replay(t, stream(t, 2, startedAs(2, 90), ended(3, 90, jobaudit.JobSucceeded)))
	require.True(t, job.Incomplete)
	require.Equal(t, jobaudit.Success, job.State)
	require.Nil(t, job.Metadata.Inputs)
	text, err := json.Marshal(job)
	require.NoError(t, err)
	require.Contains(t, string(text), `"inputs":null`)
	require.NoError(t, json.Unmarshal(text, &job), "it meets the contract all the same")

	job = replay(t, stream(t, 2, ended(3, 90, jobaudit.JobSucceeded)))
	require.Equal(t, jobaudit.Pending, job.State, "nothing says that it ran")
	require.Equal(t, []string{"illegal job.succeeded"}, causes(job))
}

func TestASubmissionThatComesLateCompletesTheJob(t *testing.T) {
	first := submitted(1)
	first.second = 7
	job := replay(t, stream(t, 2, startedAs(2, 90)), stream(t, 1, first))
	require.False(t, job.Incomplete)
	require.Equal(t, jobaudit.Running, job.State)
	require.Equal(t, 7, job.CreatedAt.Second())
	require.JSONEq(t, `{"n":1}`, string(job.Metadata.Inputs))
	require.Empty(t, job.Unapplied)
}

func TestDenialAndDuplicateSayWhyAJobEnded(t *testing.T) {
	job := replay(t, stream(t, 1, submitted(1),
		told{id: 2, typ: jobaudit.JobDenied, data: `{"decision":{"allowed":false,"by":"opa","reason":"a freeze"}}`}))
	require.Equal(t, jobaudit.Cancelled, job.State)
	require.Equal(t, &jobaudit.ErrorDetail{Code: jobaudit.CodeForbidden, Message: "a freeze"}, job.Error)
	require.True(t, job.StartedAt.IsZero())

	job = replay(t, stream(t, 1, submitted(1),
		told{id: 2, typ: jobaudit.JobDeduplicated, data: `{"existing":"` + eventID(50, 7) + `"}`}))
	require.Equal(t, jobaudit.Cancelled, job.State)
	require.Equal(t, jobaudit.CodeDuplicate, job.Error.Code)
	require.Contains(t, job.Error.Message, eventID(50, 7))

	revoked := ended(4, 90, jobaudit.JobCancelled)
	revoked.data = `{"error":{"code":"FORBIDDEN","message":"m"}}`
	job = replay(t, stream(t, 1, submitted(1), startedAs(2, 90),
		told{id: 3, typ: jobaudit.JobDenied, data: `{"decision":{"allowed":false,"by":"opa"}}`}, revoked))
	require.Equal(t, jobaudit.Cancelled, job.State)
	require.Equal(t, jobaudit.CodeForbidden, job.Error.Code)
	require.Empty(t, job.Unapplied)
}

// The worker's stream resumes the submitter's; the second attempt's event
// follows from the first's; the times say otherwise.
func story(t *testing.T) [][]jobaudit.Record {
	first := submitted(1)
	first.second = 50
	return [][]jobaudit.Record{
		stream(t, 1, first, told{id: 2, typ: jobaudit.JobAuthorized, second: 51, cause: 1}),
		stream(t, 2, told{id: 13, typ: jobaudit.JobStarted, exec: 90, attempt: 1, after: 2, cause: 1, second: 40},
			told{id: 14, typ: jobaudit.JobLogged, data: `{"line":"first"}`, second: 39},
			told{id: 15, typ: jobaudit.AttemptFailed, exec: 90, cause: 13, second: 38}),
		stream(t, 3, told{id: 6, typ: jobaudit.AttemptStarted, exec: 91, attempt: 2, after: 1, cause: 15, second: 20},
			told{id: 7, typ: jobaudit.JobLogged, data: `{"line":"second"}`},
			told{id: 8, typ: jobaudit.JobSucceeded, exec: 91, data: `{"output":[1]}`, second: 3}),
		stream(t, 4, told{id: 5, typ: jobaudit.JobCancelled, cause: 8, second: 1}),
	}
}

func TestOrderOfStreamsDoesNotMatterWhereCausesDecide(t *testing.T) {
	streams := story(t)
	want := replay(t, streams...)
	require.Equal(t, jobaudit.Success, want.State)
	require.Equal(t, []string{"first", "second"}, want.Logs)
	require.Equal(t, []jobaudit.EventType{jobaudit.AttemptFailed, jobaudit.JobSucceeded}, ends(want))
	require.Equal(t, []string{"late job.cancelled"}, causes(want))

	permute(streams, func(order [][]jobaudit.Record) {
		require.Equal(t, want, replay(t, order...))
		backwards := slices.Concat(order...)
		slices.Reverse(backwards)
		require.Equal(t, want, replay(t, backwards), "not even within a stream")
	})
}

// permute calls f with every order of list.
func permute[T any](list []T, f func([]T)) {
	var rest func(n int)
	rest = func(n int) {
		if n == len(list) {
			f(slices.Clone(list))
			return
		}
		for i := n; i < len(list); i++ {
			list[n], list[i] = list[i], list[n]
			rest(n + 1)
			list[n], list[i] = list[i], list[n]
		}
	}
	rest(0)
}

func TestTheReadersOrderDecidesWhereNothingElseDoes(t *testing.T) {
	start := stream(t, 1, submitted(1), startedAs(2, 90))
	a, b := stream(t, 2, ended(9, 90, jobaudit.JobSucceeded)), stream(t, 3, ended(3, 90, jobaudit.JobFailed))
	require.Equal(t, jobaudit.Success, replay(t, start, a, b).State)
	require.Equal(t, jobaudit.Failed, replay(t, start, b, a).State)
}

func TestARecordThatStandsTwiceCountsOnce(t *testing.T) {
	records := stream(t, 1, submitted(1), startedAs(2, 90), told{id: 3, typ: jobaudit.JobLogged, data: `{"line":"x"}`})
	require.Equal(t, replay(t, records), replay(t, records, records, records[1:]))
}

func TestOfOneVerdictTheLowestHashCounts(t *testing.T) {
	start := stream(t, 1, submitted(1), startedAs(2, 90))
	verdict := func(number int, code string) []jobaudit.Record {
		return stream(t, number, told{id: 4, verdict: true, typ: jobaudit.JobFailed, exec: 90,
			data: `{"error":{"code":"` + code + `","message":"m"}}`})
	}
	verdicts := [][]jobaudit.Record{verdict(5, "A"), verdict(6, "B"), verdict(7, "C")}
	lowest := slices.MinFunc(slices.Concat(verdicts...), func(a, b jobaudit.Record) int {
		ha, hb := a.Hash(), b.Hash()
		return slices.Compare(ha[:], hb[:])
	})
	permute(verdicts, func(order [][]jobaudit.Record) {
		job := replay(t, append([][]jobaudit.Record{start}, order...)...)
		require.Equal(t, lowest.Event().Data.Error, job.Error)
		require.Empty(t, job.Unapplied)
	})
}

func TestTheWorkersOwnEndReplacesAConclusion(t *testing.T) {
	start := stream(t, 1, submitted(1), startedAs(2, 90))
	own := stream(t, 2, ended(9, 90, jobaudit.JobSucceeded))
	verdict := func(typ jobaudit.EventType) []jobaudit.Record {
		return stream(t, 3, told{id: 4, verdict: true, typ: typ, exec: 90})
	}
	for _, typ := range []jobaudit.EventType{jobaudit.AttemptLost, jobaudit.JobFailed, jobaudit.JobCancelled} {
		require.Equal(t, []jobaudit.EventType{typ}, ends(replay(t, start, verdict(typ))))
		require.Equal(t, []jobaudit.EventType{jobaudit.JobSucceeded}, ends(replay(t, start, verdict(typ), own)))
		require.Equal(t, []jobaudit.EventType{jobaudit.JobSucceeded}, ends(replay(t, start, own, verdict(typ))))
	}
	superseded := stream(t, 4, told{id: 5, typ: jobaudit.AttemptSuperseded, exec: 90})
	require.Equal(t, []jobaudit.EventType{jobaudit.AttemptSuperseded}, ends(replay(t, start, superseded, verdict(jobaudit.AttemptLost))),
		"the first conclusion stands")
	job := replay(t, start, verdict(jobaudit.AttemptLost), own)
	require.Equal(t, jobaudit.Success, job.State)
	require.Empty(t, job.Unapplied)
	job = replay(t, start, own, verdict(jobaudit.AttemptLost))
	require.Empty(t, job.Unapplied, "a lost attempt changes no job, not even an ended one")
}

func TestEventsInACircleDoNoHarm(t *testing.T) {
	records := [][]jobaudit.Record{
		stream(t, 1, submitted(1), startedAs(2, 90)),
		stream(t, 2, told{id: 3, typ: jobaudit.JobLogged, data: `{"line":"a"}`, cause: 4}),
		stream(t, 3, told{id: 4, typ: jobaudit.JobLogged, data: `{"line":"b"}`, cause: 3}),
		stream(t, 4, told{id: 5, typ: jobaudit.JobLogged, data: `{"line":"c"}`, cause: 5}),
	}
	permute(records, func(order [][]jobaudit.Record) {
		job := replay(t, order...)
		require.Equal(t, jobaudit.Running, job.State)
		require.ElementsMatch(t, []string{"a", "b", "c"}, job.Logs)
		require.False(t, job.Incomplete)
	})
}

func TestADanglingLinkIsNoError(t *testing.T) {
	job := replay(t, stream(t, 2, told{id: 3, typ: jobaudit.JobStarted, exec: 90, after: 7, cause: 77}),
		stream(t, 1, submitted(1)))
	require.Equal(t, jobaudit.Running, job.State)
	require.False(t, job.Incomplete)
}

func TestReplayRefusesWhatIsNotOneJob(t *testing.T) {
	mine := stream(t, 1, submitted(1))
	other := submitted(2)
	other.job = strings.Replace(storyJob, "7d", "8d", 1)
	_, err := jobaudit.Replay(all(mine, stream(t, 2, other)))
	require.Error(t, err, "two jobs")

	_, err = jobaudit.Replay(all())
	require.ErrorIs(t, err, jobaudit.ErrNotFound)

	_, err = jobaudit.Replay(all(mine, []jobaudit.Record{jobaudit.GoldenRecords(t)[jobaudit.AuditOpened]}))
	require.Error(t, err, "no job's")

	_, err = jobaudit.Replay(all(mine, stream(t, 2, submitted(1))))
	require.ErrorIs(t, err, jobaudit.ErrConflict)
	var refused *jobaudit.RecordError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, mine[0].ID(), refused.ID)

	broken := errors.New("medium")
	_, err = jobaudit.Replay(func(yield func(jobaudit.Record, error) bool) {
		_ = yield(mine[0], nil) && yield(jobaudit.Record{}, broken)
	})
	require.Equal(t, broken, err)
}
