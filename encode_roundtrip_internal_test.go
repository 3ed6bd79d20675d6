package jobaudit

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/jobaudit/jobaudit/internal/delivery"
	"github.com/jobaudit/jobaudit/internal/environ"
	"github.com/jobaudit/jobaudit/internal/tools/size"
)

// redrafted makes of what an event says the event again: whatever decoding
// loses is missing then.
func redrafted(e Event) Record {
	passed := func(s string) text { return text{value: s} }
	env := &envelope{
		jobID: e.Job.ID, parentID: e.Job.ParentID, rootID: e.Job.RootID, retryOf: e.Job.RetryOf,
		correlationID: e.CorrelationID, requestID: e.RequestID, traceParent: e.TraceParent, more: e.Who.More,
	}
	env.proof = proof{carrier: e.Who.Proof.Carrier, submission: e.Who.Proof.Submission}
	env.describe(&Submission{
		Action: e.What.Action, Principal: e.Who.Principal, OrgID: e.Who.OrgID, OnBehalfOf: e.Who.OnBehalfOf,
		Upstream: e.Who.Upstream, Trigger: e.Why, Resource: e.What.Resource, Target: e.Where.Target, SourceIP: e.Where.SourceIP,
	}, e.Where, (*Registry)(nil).sanitizer(""))
	d := draft{
		id: e.ID, typ: e.Type, time: e.Time, state: e.Job.State, attempt: e.Job.Attempt, executionID: e.Job.ExecutionID,
		queue: e.Job.Queue, causationID: e.CausationID, inputs: e.What.Inputs, redaction: e.What.Redaction,
		data: payload{
			output: e.Data.Output, impact: passed(e.Data.Impact), existing: e.Data.Existing,
			recovery: e.Data.Recovery, policy: e.Data.Policy,
		},
	}
	if v := e.Data.Decision; v != nil {
		d.data.decision = &decisionData{v.Allowed, v.By, v.Permission, passed(v.Reason)}
	}
	if v := e.Data.Error; v != nil {
		d.data.err = &errorData{v.Code, passed(v.Message), v.Type, v.Frame}
	}
	if e.Type == JobLogged {
		line := passed(e.Data.Line)
		d.data.line = &line
	}
	if v := e.Data.Snapshot; v != nil {
		d.data.snapshot = &snapshotData{passed(v.Resource), v.After, v.Digest, passed(v.Summary), snapshotValue(v)}
	}
	if v := e.Data.Heartbeat; !v.Deadline.IsZero() {
		d.data.heartbeat = &heartbeatData{v.Progress, v.Deadline}
	}
	if v := e.Data.Correction; v != nil {
		value, _ := v.Value.(json.RawMessage)
		d.data.correction = &correctionData{v.Of, v.Reversal, passed(v.Reason), value}
	}
	if v := e.Data.Lost; v.Count > 0 {
		d.data.lost = &lostData{v.Count, v.Types, v.More, v.From, v.To}
	}
	if v := e.Data.Evidence; v.Last.ID != uuid.Nil {
		d.data.evidence = &evidenceData{
			last: v.Last.ID, lastType: v.Last.Type, lastTime: v.Last.Time, heartbeat: v.Heartbeat.ID, heartbeatTime: v.Heartbeat.Time,
			deadline: v.Deadline, stream: v.Owner.Stream, host: v.Owner.Host, instance: v.Owner.Instance,
		}
	}
	if v := e.Data.Degraded; v.Reason != "" {
		d.data.degraded = &degradedData{v.Stream, v.Event, v.Count, passed(v.Reason)}
	}
	if e.Type == AuditErased {
		d.data.erased = &erasedData{keys: e.Data.Erased.Keys, more: e.Data.Erased.More, reason: passed(e.Data.Erased.Reason)}
	}
	if isAct(e.Type) && e.What.Action == string(e.Type) && e.Why.Kind == Manual {
		d.data.act = &actData{scope: e.Data.Act.Scope, data: e.Data.Act.Data}
	}
	redraftProcess(&d, &e)
	d.reconstructed, d.queueTime = e.Reconstructed, e.QueueTime
	p := delivery.Position{Stream: e.Stream.ID, Seq: e.Stream.Seq, Prev: e.Stream.Prev}
	if after := e.Stream.After; after.Seq > 0 {
		p.After = &streamHead{Stream: after.Stream, Seq: after.Seq, Hash: after.Hash}
	}
	r, _, _ := env.encode(&d).Place(p, nil)
	return r
}

// redraftProcess is redrafted for what an opening and an outcome say beside it.
func redraftProcess(d *draft, e *Event) {
	if v := e.Data.Environment; v.Go != "" {
		dependencies := [32]byte(v.Dependencies)
		d.data.environment = &environment{
			Process: &environ.Process{
				Program: environ.Program{
					Go: v.Go, OS: v.OS, Arch: v.Arch, Path: v.Module.Path, Version: v.Module.Version,
					Revision: v.VCS.Revision, Time: v.VCS.Time, Modified: v.VCS.Modified, Dependencies: &dependencies,
				},
				Clock: &environ.Clock{Synchronized: v.Clock.Synchronized, ErrorMicros: v.Clock.ErrorMicros, Source: v.Clock.Source},
			},
			image: v.Image, orchestrator: v.Orchestrator, facts: v.Facts,
		}
	}
	if v := e.Data.CompanionOf; v.Origin != "" {
		d.data.companionOf = &companionData{origin: v.Origin, head: v.Head}
	}
	if v := e.Data.Affected; v.Unit != "" {
		d.data.affected = &affectedData{count: v.Count, unit: v.Unit}
	}
	d.data.missing = e.Data.Missing
}

func snapshotValue(s *Snapshot) []byte {
	value, _ := s.Value.(json.RawMessage)
	return value
}

// What any version has stored, every later one reads, and one before it reads
// what a later one of the same major version stores: the gate for the format runs
// this test of the last tag on the golden files of the newest commit.
func TestWhatIsStoredIsRead(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(*stored, "*", "*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		for line := range bytes.Lines(content) {
			line = bytes.TrimSuffix(line, []byte("\n"))
			record, err := ParseRecord(line)
			require.NoError(t, err, file)
			require.Equal(t, string(line), string(record.Bytes()), file)
			require.Equal(t, tlog.RecordHash(line), record.Hash(), file)
		}
	}
	t.Logf("%d files of %s", len(files), *stored)
}

func TestAnEventSaysAllThatItsRecordDoes(t *testing.T) {
	for _, dir := range []string{"events", "acts"} {
		files, err := filepath.Glob(filepath.Join("testdata", dir, "*.json"))
		require.NoError(t, err)
		require.NotEmpty(t, files)
		for _, file := range files {
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			record, err := ParseRecord(bytes.TrimSuffix(content, []byte("\n")))
			require.NoError(t, err, file)
			require.Equal(t, string(record.Bytes()), string(redrafted(record.Event()).Bytes()), file)
		}
	}
	full := fullRedaction()
	full.Removed, full.Hits = full.Removed[:2], full.Hits[:3]
	for i := range full.Removed {
		full.Removed[i] = struct{ Path, Class string }{"user.email", "personal"}
	}
	for i := range full.Hits {
		full.Hits[i] = struct{ Path, Rule string }{"a[0]", "jwt"}
	}
	full.More = 7
	record := minted(testEnvelope(), draft{id: testID(2), typ: JobSubmitted, time: testTime, state: Pending,
		inputs: []byte("null"), redaction: full})
	require.Contains(t, string(record.Bytes()), `"removed":[{"path":"user.email","class":"personal"},{"path":"user.email","class":"personal"}],`+
		`"hits":[{"path":"a[0]","rule":"jwt"},`)
	require.Equal(t, string(record.Bytes()), string(redrafted(record.Event()).Bytes()))
	require.Equal(t, full, record.Event().What.Redaction)
}

// hotPath encodes and places as a Trail and its delivery queue do.
func hotPath() (once func() Record) {
	env := testEnvelope()
	line := text{value: "copied 12 files from \"a\" to \"b\""}
	p := delivery.Position{Stream: testID(0xf0), Seq: 1_000, Prev: Hash{1, 2, 3}}
	return func() Record {
		d := draft{
			id: testID(2), typ: JobLogged, time: testTime, state: Running, attempt: 2, executionID: testID(3),
			causationID: testID(4), data: payload{line: &line},
		}
		r, _, _ := env.encode(&d).Place(p, nil)
		return r
	}
}

func TestEncodingAllocatesAtMostTwicePerEvent(t *testing.T) {
	if size.Race {
		t.Skip("the race detector has a sync.Pool forget at random")
	}
	once := hotPath()
	require.LessOrEqual(t, testing.AllocsPerRun(1_000, func() { once() }), 2.0)
}

func BenchmarkEncode(b *testing.B) {
	once := hotPath()
	b.ReportAllocs()
	b.SetBytes(int64(once().Len()))
	for b.Loop() {
		once()
	}
}

func BenchmarkParseRecord(b *testing.B) {
	line := goldenRecords(b)[JobSubmitted].Bytes()
	b.ReportAllocs()
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		if _, err := ParseRecord(line); err != nil {
			b.Fatal(err)
		}
	}
}
