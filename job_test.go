package jobaudit_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
)

// foreignJob is a Job with the fields of the contract and none of ours.
const foreignJob = `{
	"id": "7d444840-9dc0-11d1-b245-5ffdce74fad2",
	"state": "success",
	"createdAt": "2026-01-02T03:04:05Z",
	"startedAt": "2026-01-02T03:04:06.5Z",
	"completedAt": "2026-01-02T03:04:07.123456789Z",
	"output": {"rows": 3},
	"logs": ["begun", ""],
	"metadata": {
		"requestId": "7d444840-9dc0-41d1-b245-5ffdce74fad3",
		"userId": "u-1",
		"orgId": "",
		"action": "send-report",
		"inputs": {"month": "2026-01"}
	}
}`

// changed returns foreignJob with one text in it replaced by another.
func changed(t *testing.T, from, to string) string {
	t.Helper()
	require.Contains(t, foreignJob, from)
	return strings.Replace(foreignJob, from, to, 1)
}

const (
	started   = `"startedAt": "2026-01-02T03:04:06.5Z",`
	completed = `"completedAt": "2026-01-02T03:04:07.123456789Z",`
)

// inState returns foreignJob in another state with the times that are kept.
func inState(t *testing.T, state, kept string) string {
	t.Helper()
	return strings.Replace(changed(t, `"success"`, `"`+state+`"`), started+"\n\t"+completed, kept, 1)
}

func TestAJobThatMeetsTheContractIsRead(t *testing.T) {
	for name, text := range map[string]string{
		"whole":                     foreignJob,
		"pending":                   inState(t, "pending", ""),
		"running":                   inState(t, "running", started),
		"failed":                    inState(t, "failed", started+completed+`"error":{"code":"X","message":"","details":1},`),
		"cancelled while running":   inState(t, "cancelled", started+completed),
		"cancelled before it ran":   inState(t, "cancelled", completed),
		"without output":            changed(t, `"output": {"rows": 3},`, ``),
		"null output":               changed(t, `{"rows": 3}`, `null`),
		"no log lines":              changed(t, `["begun", ""]`, `[]`),
		"withheld inputs":           changed(t, `{"month": "2026-01"}`, `null`),
		"inputs of any kind":        changed(t, `{"month": "2026-01"}`, `[1,"x",{"ID":1,"id":2}]`),
		"times out of order":        changed(t, `2026-01-02T03:04:05Z`, `2030-01-02T03:04:05Z`),
		"unknown fields":            changed(t, `"logs"`, `"extra":{"id":[],"ID":5},"logs"`),
		"an unknown field, inside":  changed(t, `"userId"`, `"team":5,"userId"`),
		"escapes in names":          changed(t, `"state"`, `"\u0073tate"`),
		"an upper-case ID":          changed(t, `5ffdce74fad2`, `5FFDCE74FAD2`),
		"an upper-case request ID":  changed(t, `5ffdce74fad3`, `5FFDCE74FAD3`),
		"an upper-case ID of ours":  changed(t, `"logs"`, `"rootId":"7D444840-9DC0-11D1-B245-5FFDCE74FAD2","logs"`),
		"an empty user":             changed(t, `"u-1"`, `""`),
		"an empty action":           changed(t, `"send-report"`, `""`),
		"an empty error code":       inState(t, "failed", started+completed+`"error":{"code":"","message":""},`),
		"any UUID version":          changed(t, `9dc0-11d1`, `9dc0-f1d1`),
		"white space around it":     " \n" + foreignJob + "\t\r\n",
		"deeply nested, unknown":    changed(t, `"logs"`, `"extra":`+strings.Repeat("[", 100)+strings.Repeat("]", 100)+`,"logs"`),
		"our fields":                changed(t, `"logs"`, `"correlationId":"7d444840-9dc0-11d1-b245-5ffdce74fad2","attempt":2,"incomplete":true,"logs"`),
		"an error beside a success": changed(t, `"logs"`, `"error":{"code":"X","message":"y"},"logs"`),
	} {
		t.Run(name, func(t *testing.T) {
			var job jobaudit.Job
			require.NoError(t, json.Unmarshal([]byte(text), &job))
			again, err := json.Marshal(job)
			require.NoError(t, err)
			var second jobaudit.Job
			require.NoError(t, json.Unmarshal(again, &second))
			require.Equal(t, compacted(t, job), compacted(t, second))
		})
	}
}

// compacted returns the job as JSON: raw content may come back without its
// white space.
func compacted(t *testing.T, job jobaudit.Job) string {
	t.Helper()
	text, err := json.Marshal(job)
	require.NoError(t, err)
	return string(text)
}

func TestAJobThatBreaksTheContractIsRefusedByField(t *testing.T) {
	const id = `"7d444840-9dc0-11d1-b245-5ffdce74fad2"`
	for _, c := range []struct{ name, text, field string }{
		{"no object", `[]`, ""},
		{"null", `null`, ""},
		{"no id", changed(t, `"id": `+id+`,`, ``), "id"},
		{"no state", changed(t, `"state": "success",`, ``), "state"},
		{"no createdAt", changed(t, `"createdAt": "2026-01-02T03:04:05Z",`, ``), "createdAt"},
		{"no logs", changed(t, `"logs": ["begun", ""],`, ``), "logs"},
		{"no metadata", changed(t, `"metadata"`, `"meta"`), "metadata"},
		{"no requestId", changed(t, `"requestId"`, `"request"`), "metadata.requestId"},
		{"no userId", changed(t, `"userId"`, `"user"`), "metadata.userId"},
		{"no orgId", changed(t, `"orgId": "",`, ``), "metadata.orgId"},
		{"no action", changed(t, `"action": "send-report",`, ``), "metadata.action"},
		{"no inputs", changed(t, `"inputs"`, `"input"`), "metadata.inputs"},
		{"a name in another case", changed(t, `"state"`, `"State"`), "State"},
		{"a name in both cases", changed(t, `"logs"`, `"ID":5,"logs"`), "ID"},
		{"a name in another case, inside", changed(t, `"orgId"`, `"orgID"`), "metadata.orgID"},
		{"a name in another alphabet's case", changed(t, `"logs"`, `"\u017ftate":"failed","logs"`), "\u017ftate"},
		{"a field twice", changed(t, `"logs"`, `"id":`+id+`,"logs"`), "id"},
		{"a field twice, by an escape", changed(t, `"logs"`, `"\u0069d":`+id+`,"logs"`), "id"},
		{"a field twice, inside", changed(t, `"orgId"`, `"userId":"u-2","orgId"`), "metadata.userId"},
		{"a name twice in the inputs", changed(t, `{"month": "2026-01"}`, `{"m":1,"m":2}`), "metadata.inputs"},
		{"unknown state", changed(t, `"success"`, `"done"`), "state"},
		{"state in capitals", changed(t, `"success"`, `"Success"`), "state"},
		{"empty state", changed(t, `"success"`, `""`), "state"},
		{"state of another type", changed(t, `"success"`, `1`), "state"},
		{"null state", changed(t, `"success"`, `null`), "state"},
		{"UUID in braces", changed(t, id, `"{7d444840-9dc0-11d1-b245-5ffdce74fad2}"`), "id"},
		{"UUID as a URN", changed(t, id, `"urn:uuid:7d444840-9dc0-11d1-b245-5ffdce74fad2"`), "id"},
		{"UUID without hyphens", changed(t, id, `"7d4448409dc011d1b2455ffdce74fad2"`), "id"},
		{"nil UUID", changed(t, id, `"00000000-0000-0000-0000-000000000000"`), "id"},
		{"bad request UUID", changed(t, `5ffdce74fad3`, `5ffdce74fadz`), "metadata.requestId"},
		{"bad UUID of ours", changed(t, `"logs"`, `"rootId":"{7d444840-9dc0-11d1-b245-5ffdce74fad2}","logs"`), "rootId"},
		{"time with an offset", changed(t, `03:04:05Z`, `04:04:05+01:00`), "createdAt"},
		{"time with offset zero", changed(t, `03:04:05Z`, `03:04:05+00:00`), "createdAt"},
		{"time without zone", changed(t, `03:04:05Z`, `03:04:05`), "createdAt"},
		{"time in lower case", changed(t, `02T03:04:05Z`, `02t03:04:05z`), "createdAt"},
		{"time with a comma", changed(t, `06.5Z`, `06,5Z`), "startedAt"},
		{"time with a short hour", changed(t, `T03:04:05Z`, `T3:04:05Z`), "createdAt"},
		{"time of no day", changed(t, `2026-01-02T03:04:05Z`, `2026-02-30T03:04:05Z`), "createdAt"},
		{"time that is a number", changed(t, `"2026-01-02T03:04:05Z"`, `1767323045`), "createdAt"},
		{"the zero time as a start", inState(t, "pending", `"startedAt":"0001-01-01T00:00:00Z",`), "startedAt"},
		{"pending that started", inState(t, "pending", started), "startedAt"},
		{"pending that ended", inState(t, "pending", completed), "completedAt"},
		{"running without a start", inState(t, "running", ``), "startedAt"},
		{"running that ended", inState(t, "running", started+completed), "completedAt"},
		{"success without a start", inState(t, "success", completed), "startedAt"},
		{"success without an end", inState(t, "success", started), "completedAt"},
		{"failed without a start", inState(t, "failed", completed), "startedAt"},
		{"failed without an end", inState(t, "failed", started), "completedAt"},
		{"cancelled without an end", inState(t, "cancelled", ``), "completedAt"},
		{"null logs", changed(t, `["begun", ""]`, `null`), "logs"},
		{"a log line that is no text", changed(t, `["begun", ""]`, `["begun", 1]`), "logs.1"},
		{"error that is a text", changed(t, `"logs"`, `"error":"x","logs"`), "error"},
		{"null error", changed(t, `"logs"`, `"error":null,"logs"`), "error"},
		{"error without a code", changed(t, `"logs"`, `"error":{"message":"x"},"logs"`), "error.code"},
		{"error without a message", changed(t, `"logs"`, `"error":{"code":"x"},"logs"`), "error.message"},
		{"metadata that is a list", changed(t, `"metadata": {`, `"metadata": [], "m": {`), "metadata"},
		{"malformed field of ours", changed(t, `"logs"`, `"attempt":"2","logs"`), "attempt"},
	} {
		t.Run(c.name, func(t *testing.T) {
			job := jobaudit.Job{Attempt: 7}
			requireField(t, json.Unmarshal([]byte(c.text), &job), c.field)
			require.Equal(t, jobaudit.Job{Attempt: 7}, job, "nothing is read")

			var status jobaudit.JobStatus
			err := json.Unmarshal([]byte(`{"requestId":`+id+`,"job":`+c.text+`}`), &status)
			requireField(t, err, strings.TrimSuffix("job."+c.field, "."))
		})
	}
}

func requireField(t *testing.T, err error, field string) {
	t.Helper()
	var fault *jobaudit.FieldError
	require.ErrorAs(t, err, &fault)
	require.Equal(t, field, fault.Field, err)
	require.NotEmpty(t, fault.Problem)
}

func TestAJobOfInvalidUTF8IsRefused(t *testing.T) {
	var job jobaudit.Job
	require.Error(t, json.Unmarshal([]byte(changed(t, "send-report", "send\xffreport")), &job))
}

func TestAnErrorNeverQuotesWhatWasSent(t *testing.T) {
	for _, text := range []string{
		changed(t, `"success"`, `"ghp_secret"`),
		changed(t, `2026-01-02T03:04:05Z`, `ghp_secret`),
		changed(t, `{"month": "2026-01"}`, `{"ghp_secret":1,"ghp_secret":2}`),
		changed(t, `"logs"`, `"ghp_secret":1,"ghp_secret":2,"logs"`),
	} {
		var job jobaudit.Job
		err := json.Unmarshal([]byte(text), &job)
		require.Error(t, err)
		require.NotContains(t, err.Error(), "ghp_")
	}
}

func TestAStatusNeedsItsOwnRequest(t *testing.T) {
	var status jobaudit.JobStatus
	requireField(t, json.Unmarshal([]byte(`{"job":`+foreignJob+`}`), &status), "requestId")
	requireField(t, json.Unmarshal([]byte(`{"requestId":"7d444840-9dc0-11d1-b245-5ffdce74fad2"}`), &status), "job")
	require.NoError(t, json.Unmarshal([]byte(`{"requestId":"7d444840-9dc0-11d1-b245-5ffdce74fad9","job":`+foreignJob+`}`), &status))
	require.Equal(t, uuid.MustParse("7d444840-9dc0-11d1-b245-5ffdce74fad9"), status.RequestID)
	require.Equal(t, jobaudit.Success, status.Job.State)

	text, err := json.Marshal(status)
	require.NoError(t, err)
	var again jobaudit.JobStatus
	require.NoError(t, json.Unmarshal(text, &again))
	require.Equal(t, status.RequestID, again.RequestID)
	require.Equal(t, compacted(t, status.Job), compacted(t, again.Job))
}

func TestLogsAndInputsAreNeverAbsent(t *testing.T) {
	for _, inputs := range []json.RawMessage{nil, {}, json.RawMessage("null")} {
		job := jobaudit.Job{
			ID: uuid.MustParse("7d444840-9dc0-11d1-b245-5ffdce74fad2"), State: jobaudit.Pending,
			CreatedAt: time.Date(2026, 1, 2, 4, 4, 5, 0, time.FixedZone("CET", 3600)),
			Metadata: jobaudit.JobMetadata{
				RequestID: uuid.MustParse("7d444840-9dc0-11d1-b245-5ffdce74fad3"), UserID: "u-1", Action: "a", Inputs: inputs,
			},
		}
		text, err := json.Marshal(job)
		require.NoError(t, err)
		require.Equal(t, `{"id":"7d444840-9dc0-11d1-b245-5ffdce74fad2","state":"pending","createdAt":"2026-01-02T03:04:05Z",`+
			`"logs":[],"metadata":{"requestId":"7d444840-9dc0-11d1-b245-5ffdce74fad3","userId":"u-1","orgId":"","action":"a","inputs":null}}`,
			string(text))
		require.Nil(t, job.Logs, "the caller's own is not changed")
		var again jobaudit.Job
		require.NoError(t, json.Unmarshal(text, &again))
	}
}

// Every job that we write is one that we, and every reader of the contract,
// can read.
func TestEveryJobThatWeWriteIsRead(t *testing.T) {
	sink := goldenSink(t)
	require.NotEmpty(t, sink.Jobs())
	for _, id := range sink.Jobs() {
		job, err := jobaudit.Replay(sink.Records(t.Context(), jobaudit.Query{JobID: id}))
		require.NoError(t, err)
		text, err := json.Marshal(job)
		require.NoError(t, err)
		var again jobaudit.Job
		require.NoError(t, json.Unmarshal(text, &again), "%s", text)
		require.Equal(t, job, again)
	}
}
