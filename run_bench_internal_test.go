package jobaudit

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit/internal/delivery"
)

// nowhere is a sink that costs nothing.
type nowhere struct{}

func (nowhere) Append(context.Context, []Record) error { return nil }

func (nowhere) Immediate() AuditSink { return nowhere{} }

// lifeOfAJob returns a job's Trail and its four events as drafts: those that
// BenchmarkRun records.
func lifeOfAJob(b *testing.B) (*Trail, []draft) {
	b.Helper()
	type inputs struct {
		Repo string `json:"repo"`
		PAT  string `json:"pat"`
	}
	redactors, err := NewRegistry(nil, NewRedactor("deploy", "1", InputPaths[inputs](Keep("repo"), Drop("pat", "credential"))))
	if err != nil {
		b.Fatal(err)
	}
	where := Source{System: "worker", Environment: "test", Host: "host", Version: "v1"}
	r, err := Open(b.Context(), nowhere{}, where, &Options{Redactors: redactors})
	if err != nil {
		b.Fatal(err)
	}
	t, submitted, err := r.submission(b.Context(), Submission{
		Action: "deploy", OrgID: "acme", Inputs: inputs{Repo: "acme/site", PAT: "a token"},
		Principal: Principal{Kind: User, ID: "ann", Verified: true},
		Trigger:   Trigger{Kind: Manual, Reason: "asked by support"},
	})
	if err != nil {
		b.Fatal(err)
	}
	decision, err := t.decision(Decision{Allowed: true, By: "none"})
	if err != nil {
		b.Fatal(err)
	}
	authorized := t.draft(JobAuthorized)
	authorized.data.decision = decision
	t.state, t.attempt, t.execution = Running, 1, uuid.Must(uuid.NewV7())
	started := t.draft(JobStarted)
	started.data.heartbeat = &heartbeatData{deadline: started.time.Add(time.Minute)}
	t.state = Success
	return t, []draft{submitted, authorized, started, t.draft(JobSucceeded)}
}

// BenchmarkEvent is one event, the submission, as bytes that lack their place.
func BenchmarkEvent(b *testing.B) {
	t, drafts := lifeOfAJob(b)
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf, _, _ = t.env.appendEvent(buf[:0], &drafts[0])
	}
	b.ReportMetric(float64(len(buf)), "B/event")
}

// BenchmarkRecord is one event, the submission, encoded, placed, hashed and kept.
func BenchmarkRecord(b *testing.B) {
	t, drafts := lifeOfAJob(b)
	benchmarkRecords(b, t, drafts[:1])
}

// BenchmarkFloor is the least that the record of a job costs: its four events,
// encoded, placed, hashed and kept. It is what BenchmarkRun is measured by.
func BenchmarkFloor(b *testing.B) {
	t, drafts := lifeOfAJob(b)
	benchmarkRecords(b, t, drafts)
}

func benchmarkRecords(b *testing.B, t *Trail, drafts []draft) {
	b.Helper()
	var kept [1024]Record
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		p := delivery.Position{Stream: t.stream.ID}
		for i := range drafts {
			p.Seq++
			r, _, err := t.env.encode(&drafts[i]).Place(p, nil)
			if err != nil {
				b.Fatal(err)
			}
			p.Prev, kept[n%len(kept)] = r.hash, r
			n++
		}
	}
}
