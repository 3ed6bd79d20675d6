package jobaudit_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
)

const nilID = `"00000000-0000-0000-0000-000000000000"`

func TestARecordThatTwoReadersCouldReadDifferentlyIsRefused(t *testing.T) {
	line := string(jobaudit.GoldenRecords(t)[jobaudit.JobSucceeded].Bytes())
	audit := string(jobaudit.GoldenRecords(t)[jobaudit.AuditOpened].Bytes())
	resumed := string(jobaudit.GoldenRecords(t)[jobaudit.AttemptDeferred].Bytes())
	with := func(line, from, to string) string {
		require.Contains(t, line, from)
		return strings.Replace(line, from, to, 1)
	}
	for _, c := range []struct{ name, line, field string }{
		{"a name twice", with(line, `"type"`, `"id":1,"type"`), "id"},
		{"a name twice by an escape", with(line, `"type"`, `"\u0069d":1,"type"`), "id"},
		{"a name twice, inside", with(line, `"orgId"`, `"orgId":"x","orgId"`), "who.orgId"},
		{"a name twice in the output", with(line, `{"run":12}`, `{"run":12,"run":13}`), "data.output"},
		{"a name in another case beside", with(line, `"type"`, `"ID":1,"type"`), "ID"},
		{"a name in another case, beyond ASCII", with(line, `"type"`, `"ſtream":1,"type"`), "ſtream"},
		{"a name in another case instead", with(line, `"causationId"`, `"causationID"`), "causationID"},
		{"a name in another case, inside", with(line, `"attempt"`, `"State":"failed","attempt"`), "job.State"},
		{"no ID", with(line, `"id":"01980000-0000-7000-8000-000000000012",`, ``), "id"},
		{"no type", with(line, `"type":"job.succeeded",`, ``), "type"},
		{"no phase", with(line, `"phase":"outcome",`, ``), "phase"},
		{"another type's phase", with(line, `"outcome"`, `"execution"`), "phase"},
		{"a phase on the audit's own", with(audit, `"time"`, `"phase":"execution","time"`), "phase"},
		{"no time", with(line, `"time"`, `"when"`), "time"},
		{"no stream", with(line, `"stream"`, `"strand"`), "stream"},
		{"no seq", with(line, `"seq":11,`, ``), "stream.seq"},
		{"seq 0", with(line, `"seq":11,`, `"seq":0,`), "stream.seq"},
		{"seq with a fraction", with(line, `"seq":11,`, `"seq":11.0,`), "stream.seq"},
		{"seq with an exponent", with(line, `"seq":11,`, `"seq":11e0,`), "stream.seq"},
		{"seq beyond what all readers count", with(line, `"seq":11,`, `"seq":9007199254740993,`), "stream.seq"},
		{"a link at seq 1", with(line, `"seq":11,`, `"seq":1,`), "stream"},
		{"no link behind seq 1", with(line, `"prev"`, `"previous"`), "stream"},
		{"a resumption behind seq 1", with(line, `"prev"`, `"after":{"stream":"01980000-0000-7000-8000-000000000015","seq":1,"hash":"8Khuk0M/F7pjdqwjc2o3PimRCD92+8s1R2VCl/Kdnq0="},"prev"`), "stream"},
		{"a resumption without a hash", with(resumed, `"hash"`, `"hush"`), "stream.after.hash"},
		{"no job", with(line, `"job":{`, `"jobs":{`), "job"},
		{"no state", with(line, `"state":"success",`, ``), "job.state"},
		{"no attempt", with(line, `"attempt"`, `"try"`), "job.attempt"},
		{"a negative attempt", with(line, `"attempt":3`, `"attempt":-3`), "job.attempt"},
		{"no root", with(line, `"rootId"`, `"root2"`), "job.rootId"},
		{"half a queue", with(line, `"system":"river",`, ``), "job.queue.system"},
		{"a job on the audit's own", with(audit, `"correlationId"`, `"job":{"id":"7d444840-9dc0-41d1-b245-5ffdce74fad2","state":"running","attempt":1,"rootId":"7d444840-9dc0-41d1-b245-5ffdce74fad2"},"correlationId"`), "job"},
		{"no correlation", with(line, `"correlationId"`, `"correlation2"`), "correlationId"},
		{"no request", with(line, `"requestId"`, `"request2"`), "requestId"},
		{"no who", with(line, `"who"`, `"whom"`), "who"},
		{"no principal", with(line, `"principal"`, `"agent"`), "who.principal"},
		{"no assurance", with(line, `"assurance"`, `"trust"`), "who.principal.assurance"},
		{"no orgId", with(line, `"orgId"`, `"organ"`), "who.orgId"},
		{"no what", with(line, `"what"`, `"which"`), "what"},
		{"no action", with(line, `"action"`, `"deed"`), "what.action"},
		{"no where", with(line, `"where"`, `"place"`), "where"},
		{"no version", with(line, `"version":"v1.2.3"`, `"v":1`), "where.version"},
		{"no why", with(line, `"why"`, `"because"`), "why"},
		{"no reason", with(line, `"reason"`, `"cause"`), "why.reason"},
		{"a marker of nothing", with(line, `"impact":"1 deployment"`, `"impact":{}`), "data.impact.$jobaudit"},
		{"an upper-case ID", with(line, `0e1f2a3b-0000-4000-8000-000000000001`, `0E1F2A3B-0000-4000-8000-000000000001`), "correlationId"},
		{"a nil causation", with(line, `"01980000-0000-7000-8000-000000000011"`, nilID), "causationId"},
		{"a nil ID", with(line, `"01980000-0000-7000-8000-000000000012"`, nilID), "id"},
		{"a time with a comma", with(line, `18.000019Z`, `18,000019Z`), "time"},
		{"a time with a short hour", with(line, `T03:04:18.`, `T3:04:18.`), "time"},
		{"a time with five digits", with(line, `18.000019Z`, `18.00019Z`), "time"},
		{"a time with nine digits", with(line, `18.000019Z`, `18.000019000Z`), "time"},
		{"a time with an offset", with(line, `18.000019Z`, `18.000019+00:00`), "time"},
		{"a leap second", with(line, `03:04:18.`, `03:04:60.`), "time"},
		{"a hash of another length", with(line, `"prev":"`, `"prev":"AAAA`), "stream.prev"},
		{"another version", with(line, `"1.0.0"`, `"2.0.0"`), "schemaVersion"},
		{"a type of no family", with(line, `"job.succeeded"`, `"succeeded"`), "type"},
		{"a submission without inputs", with(with(line, `"job.succeeded"`, `"job.submitted"`), `"outcome"`, `"submission"`), "what.inputs"},
		{"a redaction without an outcome", with(line, `"outcome":"kept",`, ``), "what.redaction.outcome"},
	} {
		t.Run(c.name, func(t *testing.T) {
			record, err := jobaudit.ParseRecord([]byte(c.line))
			requireField(t, err, c.field)
			require.Zero(t, record)
			var refused *jobaudit.RecordError
			require.ErrorAs(t, err, &refused)
		})
	}
	for name, line := range map[string]string{
		"nothing":                      "",
		"white space before it":        " " + line,
		"another first name":           with(line, `"schemaVersion":"1.0.0","id"`, `"id"`),
		"white space before its colon": with(line, `"schemaVersion":`, `"schemaVersion" :`),
		"a line feed behind it":        line + "\n",
		"a line feed inside":           with(line, `,"who"`, ",\n\"who\""),
		"text behind it":               line + "x",
		"two events":                   line + line,
		"half of it":                   line[:len(line)/2],
		"invalid UTF-8":                with(line, "acme", "ac\xff"),
		"half of a surrogate pair":     with(line, "1 deployment", `\ud83d deployment`),
		"the other half":               with(line, "1 deployment", `\ude00`),
		"halves in the wrong order":    with(line, "1 deployment", `\ude00\ud83d`),
		"a raw control character":      with(line, "1 deployment", "1\x01"),
		"too much":                     with(line, `{"run":12}`, `"`+strings.Repeat("x", 48_000)+`"`),
		"too deep":                     with(line, `{"run":12}`, strings.Repeat("[", 200)+strings.Repeat("]", 200)),
	} {
		_, err := jobaudit.ParseRecord([]byte(line))
		var refused *jobaudit.RecordError
		require.ErrorAs(t, err, &refused, name)
	}
}

func TestALaterMinorVersionIsRead(t *testing.T) {
	line := string(jobaudit.GoldenRecords(t)[jobaudit.JobSucceeded].Bytes())
	line = strings.NewReplacer(`"1.0.0"`, `"1.7.0"`, `"type":"job.succeeded","phase":"outcome"`, `"type":"job.paused","phase":"execution"`,
		`"time"`, `"new":{"a":[1,null]},"time"`, `"seq"`, `"shard":1,"seq"`, `1 deployment`, `\ud83d\ude00 \/ \u003c`).Replace(line)
	record, err := jobaudit.ParseRecord([]byte(line))
	require.NoError(t, err)
	require.Equal(t, line, string(record.Bytes()), "with all that is not known")
	e := record.Event()
	require.Equal(t, "1.7.0", e.SchemaVersion)
	require.Equal(t, jobaudit.EventType("job.paused"), e.Type)
	require.Equal(t, "😀 / <", e.Data.Impact)
}

func TestARecordErrorNamesTheEvent(t *testing.T) {
	record := jobaudit.GoldenRecords(t)[jobaudit.JobSucceeded]
	_, err := jobaudit.ParseRecord([]byte(strings.Replace(string(record.Bytes()), `"outcome"`, `"x"`, 1)))
	var refused *jobaudit.RecordError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, record.ID(), refused.ID)
}
