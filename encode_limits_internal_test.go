package jobaudit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/jobaudit/jobaudit/internal/delivery"
	"github.com/jobaudit/jobaudit/internal/fields"
	"github.com/jobaudit/jobaudit/internal/jsonenc"
)

// member returns a member of the record's JSON, by its path.
func member(t *testing.T, r Record, path ...string) json.RawMessage {
	t.Helper()
	raw := json.RawMessage(r.Bytes())
	for _, name := range path {
		var object map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(raw, &object), "%s", raw)
		raw = object[name]
	}
	return raw
}

type marker struct {
	Kind string `json:"$jobaudit"`
	Size int    `json:"size"`
	Head string `json:"head"`
	Rule string `json:"rule"`
}

// Each text is kept up to its limit, in encoded bytes, and becomes the marker
// of a truncated one beyond.
func TestTextsAreKeptUpToTheirLimit(t *testing.T) {
	logged := func(s string) Record {
		return minted(testEnvelope(), draft{id: testID(2), typ: JobLogged, time: testTime, state: Running,
			data: payload{line: &text{value: s}}})
	}
	for name, c := range map[string]struct {
		limit int
		path  []string
		write func(string) Record
	}{
		"a log line": {4096, []string{"data", "line"}, logged},
		"a reason": {1024, []string{"why", "reason"}, func(s string) Record {
			sub := testSubmission()
			sub.Trigger.Reason = s
			return minted(envelopeOf(sub), draft{id: testID(2), typ: JobLogged, time: testTime, state: Running})
		}},
		"a name": {1024, []string{"who", "principal", "name"}, func(s string) Record {
			sub := testSubmission()
			sub.Principal.Name = s
			return minted(envelopeOf(sub), draft{id: testID(2), typ: JobLogged, time: testTime, state: Running})
		}},
		"an error message": {1024, []string{"data", "error", "message"}, func(s string) Record {
			return minted(testEnvelope(), draft{id: testID(2), typ: JobFailed, time: testTime, state: Failed,
				data: payload{err: &errorData{code: CodeError, message: text{value: s}}}})
		}},
		"an impact": {1024, []string{"data", "impact"}, func(s string) Record {
			return minted(testEnvelope(), draft{id: testID(2), typ: JobSucceeded, time: testTime, state: Success,
				data: payload{impact: text{value: s}}})
		}},
		"a summary": {1024, []string{"data", "snapshot", "summary"}, func(s string) Record {
			return minted(testEnvelope(), draft{id: testID(2), typ: JobSnapshot, time: testTime, state: Running,
				data: payload{snapshot: &snapshotData{resource: text{value: "r"}, digest: "d", summary: text{value: s}}}})
		}},
		"a decision's reason": {1024, []string{"data", "decision", "reason"}, func(s string) Record {
			return minted(testEnvelope(), draft{id: testID(2), typ: JobAuthorized, time: testTime, state: Pending,
				data: payload{decision: &decisionData{allowed: true, by: "x", reason: text{value: s}}}})
		}},
		"a correction's reason": {1024, []string{"data", "correction", "reason"}, func(s string) Record {
			return minted(testEnvelope(), draft{id: testID(2), typ: JobCorrected, time: testTime, state: Running,
				data: payload{correction: &correctionData{of: testID(9), reason: text{value: s}}}})
		}},
		"a degradation's reason": {1024, []string{"data", "degraded", "reason"}, func(s string) Record {
			return minted(rareEnvelope(AuditDegraded), draft{id: testID(2), typ: AuditDegraded, time: testTime,
				data: payload{degraded: &degradedData{stream: testID(1), event: testID(2), reason: text{value: s}}}})
		}},
		"an erasure's reason": {1024, []string{"data", "erased", "reason"}, func(s string) Record {
			return minted(rareEnvelope(AuditDegraded), draft{id: testID(2), typ: AuditErased, time: testTime,
				data: payload{erased: &erasedData{reason: text{value: s}}}})
		}},
	} {
		// A letter, one that is escaped, one of three bytes, an invalid byte.
		for unit, size := range map[string]int{"x": 1, "\n": 2, "\x01": 6, "€": 3, "\xff": 3, "😀": 4, "<": 1, "\u2028": 3} {
			t.Run(fmt.Sprintf("%s of %q", name, unit), func(t *testing.T) {
				fits := strings.Repeat(unit, c.limit/size) + strings.Repeat("y", c.limit%size)
				record := c.write(fits)
				raw := member(t, record, c.path...)
				require.Len(t, raw, c.limit+2, "the quotation marks do not count")
				var back string
				require.NoError(t, json.Unmarshal(raw, &back))
				require.Equal(t, string([]rune(fits)), back, "each invalid byte is replaced")

				record = c.write(fits + "z")
				raw = member(t, record, c.path...)
				require.LessOrEqual(t, len(raw), c.limit)
				require.Greater(t, len(raw), c.limit-8, "no more is cut than must be")
				var m marker
				require.NoError(t, json.Unmarshal(raw, &m))
				require.Equal(t, "truncated", m.Kind)
				require.Equal(t, c.limit+1, m.Size)
				require.True(t, strings.HasPrefix(string([]rune(fits)), m.Head), "cut on a character")
			})
		}
	}
}

func TestEachInvalidByteBecomesOneReplacement(t *testing.T) {
	record := minted(testEnvelope(), draft{id: testID(2), typ: JobLogged, time: testTime, state: Running,
		data: payload{line: &text{value: "a\xff\xfeb\xe2\x82"}}})
	require.Equal(t, `"a`+"\uFFFD\uFFFDb\uFFFD\uFFFD"+`"`, string(member(t, record, "data", "line")))
}

func TestADroppedTextNamesItsRuleOnly(t *testing.T) {
	record := minted(testEnvelope(), draft{id: testID(2), typ: JobLogged, time: testTime, state: Running,
		data: payload{line: &text{dropped: "jwt"}}})
	require.Equal(t, `{"$jobaudit":"dropped","rule":"jwt"}`, string(member(t, record, "data", "line")))
	require.Equal(t, "(dropped: jwt)", record.Event().Data.Line)
}

func TestListsKeepSixteenAndCountTheRest(t *testing.T) {
	for n := range 40 {
		sub := testSubmission()
		sub.OnBehalfOf = nil
		r := &Redaction{Outcome: RedactionKept}
		lost := &lostData{count: int64(n), from: testTime, to: testTime}
		for i := range n {
			sub.OnBehalfOf = append(sub.OnBehalfOf, Principal{Kind: Service, ID: fmt.Sprint(i)})
			r.Removed = append(r.Removed, struct{ Path, Class string }{fmt.Sprint(i), "secret"})
			r.Hits = append(r.Hits, struct{ Path, Rule string }{fmt.Sprint(i), "jwt"})
			lost.types = append(lost.types, EventType(fmt.Sprintf("job.x%d", i)))
		}
		record := minted(envelopeOf(sub), draft{id: testID(2), typ: AuditLost, time: testTime, state: Running, redaction: r, data: payload{lost: lost}})
		_, err := ParseRecord(record.Bytes())
		require.NoError(t, err)

		more := ""
		if n > 16 {
			more = fmt.Sprint(n - 16)
		}
		kept := min(n, 16)
		e := record.Event()
		require.Len(t, e.Who.OnBehalfOf, kept)
		require.Equal(t, more, string(member(t, record, "who", "more")))
		require.Len(t, e.Data.Lost.Types, kept)
		require.Equal(t, more, string(member(t, record, "data", "lost", "more")))
		require.Len(t, e.What.Redaction.Hits, kept)
		require.Equal(t, more, string(member(t, record, "what", "redaction", "more")))
		require.Len(t, e.What.Redaction.Removed, kept)
		require.EqualValues(t, n-kept, e.What.Redaction.RemovedCount, "what is not named is counted")
		if n > 0 {
			require.Equal(t, "0", e.Who.OnBehalfOf[0].ID, "the nearest stay")
		}
	}
}

// largest returns a submission and a source with everything at its maximum.
func largest(unit string) (Submission, Source) {
	id := strings.Repeat("i", fields.MaxIdentifier)
	long := "r" + strings.Repeat(unit, 3000)
	p := Principal{Kind: Service, ID: id, Name: long, Verified: true, AuthMethod: id, AuthSession: id}
	s := Submission{
		ID: testID(1), Action: id, Principal: p, OrgID: id, Upstream: Ref{id, id},
		Trigger: Trigger{Kind: Cascade, Reason: long, Ref: id}, CorrelationID: testID(1), RequestID: testID(1),
		TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		Resource:    id, Target: id, SourceIP: netip.MustParseAddr("fe80::1%" + id[:200]), Queue: Ref{id, id}, RetryOf: testID(1),
	}
	for range 40 {
		s.OnBehalfOf = append(s.OnBehalfOf, p)
	}
	return s, Source{System: id, Environment: id, Host: id, Instance: id, Version: id}
}

func fullRedaction() *Redaction {
	long := strings.Repeat("\x01", 300)
	r := &Redaction{Policy: long[:40], Version: long[:40], Digest: Hash{1}, Outcome: RedactionPassedThrough, Taint: "unavailable"}
	for range 40 {
		r.Removed = append(r.Removed, struct{ Path, Class string }{long, long})
		r.Hits = append(r.Hits, struct{ Path, Rule string }{long, long})
	}
	return r
}

func TestNoEventIsTooLarge(t *testing.T) {
	for _, unit := range []string{"x", "\x01", "€", `"`} {
		s, where := largest(unit)
		require.NoError(t, s.check())
		require.NoError(t, where.check())
		env := &envelope{jobID: s.ID, parentID: s.ID, rootID: s.ID, retryOf: s.ID,
			correlationID: s.ID, requestID: s.ID, traceParent: s.TraceParent}
		env.describe(&s, where, (*Registry)(nil).sanitizer(""))
		content := jsonenc.AppendString(nil, strings.Repeat(unit, 16_000))
		content = jsonenc.AppendValue(nil, content, fields.MaxContent)
		require.LessOrEqual(t, len(content), fields.MaxContent)
		long := text{value: strings.Repeat(unit, 5000)}
		failure := &errorData{code: ErrorCode(strings.Repeat("C", 256)), message: long, typ: long.value, frame: long.value}
		for name, data := range map[string]payload{
			"submitted": {},
			"succeeded": {output: content, impact: long},
			"failed":    {output: content, impact: long, err: failure},
			"corrected": {correction: &correctionData{of: testID(1), reason: long, value: content}},
			"logged":    {line: &long},
			"all": {output: content, impact: long, err: failure, line: &long,
				correction: &correctionData{of: testID(1), reason: long, value: content}},
		} {
			d := draft{
				id: testID(1), typ: JobSucceeded, time: testTime, state: Success, attempt: 1<<31 - 1, executionID: testID(1),
				queue: s.Queue, causationID: testID(1), redaction: fullRedaction(), data: data,
			}
			if name == "submitted" {
				d.typ, d.inputs = JobSubmitted, content
			}
			for _, p := range []delivery.Position{
				{Stream: testID(1), Seq: 1<<53 - 1, Prev: Hash{1}},
				{Stream: testID(1), Seq: 1, After: &streamHead{Stream: testID(1), Seq: 1<<53 - 1}},
			} {
				record, _, err := env.encode(&d).Place(p, nil)
				if name != "all" { // no event has all of it
					require.NoError(t, err)
					require.LessOrEqual(t, record.Len(), fields.MaxRecord, name)
					again, err := ParseRecord(record.Bytes())
					require.NoError(t, err, name)
					require.Equal(t, record, again)
					require.Greater(t, record.Len(), 20_000)
				}
			}
			require.LessOrEqual(t, positionLen(delivery.Position{Stream: testID(1), Seq: 1<<53 - 1, Prev: Hash{1}}), maxStreamPart)
			require.LessOrEqual(t, positionLen(delivery.Position{Stream: testID(1), Seq: 1, After: &streamHead{Stream: testID(1), Seq: 1<<53 - 1}}), maxStreamPart)
		}
	}
}

func positionLen(p delivery.Position) int {
	text, _ := appendPosition(nil, p)
	return len(text)
}

func TestContentThatIsCutTwiceTellsItsTrueSize(t *testing.T) {
	value := jsonenc.AppendString(nil, strings.Repeat(`"€`, 20_000))
	once := jsonenc.AppendValue(nil, value, fields.MaxContent)
	twice := jsonenc.Shrink(once, 3_000)
	var m marker
	require.NoError(t, json.Unmarshal(twice, &m))
	require.LessOrEqual(t, len(twice), 3_000)
	require.Greater(t, len(twice), 2_990)
	require.Equal(t, len(value), m.Size)
	require.True(t, bytes.HasPrefix(value, []byte(m.Head)))

	require.Equal(t, "[1,2]", string(jsonenc.Shrink([]byte("[1,2]"), 5)))
}

func TestARecordsHashIsItsLeafHash(t *testing.T) {
	for typ, record := range goldenRecords(t) {
		require.Equal(t, tlog.RecordHash(record.Bytes()), record.Hash(), typ)
	}
	record := minted(testEnvelope(), rareDrafts()[AuditLost])
	require.Equal(t, tlog.RecordHash(record.Bytes()), record.Hash())
}

// A record says the same of itself whether it was just minted or read back.
func TestAMintedRecordEqualsTheOneReadBack(t *testing.T) {
	for typ, d := range rareDrafts() {
		d.time = time.Now().In(time.FixedZone("CET", 3600))
		if typ == AuditDegraded {
			d.attempt, d.executionID = 0, uuid.Nil
		}
		record := minted(rareEnvelope(typ), d)
		again, err := ParseRecord(record.Bytes())
		require.NoError(t, err)
		require.Equal(t, record, again)
		require.Equal(t, again.Event().Time, record.Time())
		require.Zero(t, record.Time().Nanosecond()%1000)
	}
}

func TestRecordsCannotBeChangedThroughTheirBytes(t *testing.T) {
	line := goldenRecords(t)[JobSubmitted].Bytes()
	record, err := ParseRecord(line)
	require.NoError(t, err)
	want := string(line)
	clear(line)
	clear(record.Bytes())
	clear(record.AppendTo(nil))
	clear(record.Event().What.Inputs)
	require.Equal(t, want, string(record.Bytes()))
	require.Equal(t, "x"+want, string(record.AppendTo([]byte("x"))))
	require.Equal(t, len(want), record.Len())

	var zero Record
	require.Zero(t, zero.Len())
	require.Nil(t, zero.Bytes())
	require.Equal(t, Event{}, zero.Event())
}
