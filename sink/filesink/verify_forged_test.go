package filesink_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"iter"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// forger writes to a queue: it makes Carriers of all shapes out of those that it
// has seen, and of what stands in the log.
type forger struct {
	*rand.Rand
	seen    []jobaudit.Carrier
	records []jobaudit.Record
}

// carrier returns a Carrier that Resume may take.
func (f *forger) carrier(t *testing.T) jobaudit.Carrier {
	t.Helper()
	parts := strings.Split(f.seen[len(f.seen)-1-f.IntN(min(6, len(f.seen)))].String(), ".")
	content, err := base64.RawURLEncoding.DecodeString(parts[1])
	require.NoError(t, err)
	var g map[string]any
	require.NoError(t, json.Unmarshal(content, &g))
	for range f.IntN(4) {
		f.change(g)
	}
	content, err = json.Marshal(g)
	require.NoError(t, err)
	c, err := jobaudit.ParseCarrier("ja1." + base64.RawURLEncoding.EncodeToString(content))
	require.NoError(t, err, "%s", content)
	return c
}

// change changes one thing of a Carrier.
func (f *forger) change(g map[string]any) {
	event := f.records[f.IntN(len(f.records))].Event()
	hash := f.records[f.IntN(len(f.records))].Hash()
	head, _ := g["head"].(map[string]any)
	switch f.IntN(12) {
	case 0: // another place, with its hash or without
		g["head"] = map[string]any{"stream": event.Stream.ID, "seq": event.Stream.Seq, "hash": hash, "event": event.ID}
	case 1:
		g["head"] = map[string]any{"stream": event.Stream.ID, "seq": 1 + f.IntN(9), "hash": hash}
	case 2:
		g["head"] = map[string]any{"stream": uuid.Must(uuid.NewV7()), "seq": 1 + f.Uint64N(1<<53), "hash": hash}
	case 3:
		if head != nil {
			head["hash"] = hash
		}
	case 4:
		if head != nil {
			head["seq"] = 1 + f.IntN(5)
		}
	case 5:
		delete(g, "head")
	case 6:
		if event.Job.ID != uuid.Nil {
			g["job"], g["action"], g["org"] = event.Job.ID, event.What.Action, event.Who.OrgID
			g["correlation"], g["root"] = event.CorrelationID, event.Job.RootID
		}
	case 7:
		g["org"] = "evil"
	case 8:
		g["action"] = "evil"
	case 9:
		g["root"], g["parent"] = event.Stream.ID, event.Stream.ID
	case 10:
		g["submission"], g["recorder"] = event.Stream.ID, event.Where.Instance
		if _, err := uuid.Parse(event.Where.Instance); err != nil {
			delete(g, "recorder")
		}
	case 11:
		g["principal"] = map[string]any{"kind": "user", "id": "root"}
	}
}

// worker does what workers, queues and reconcilers make an adapter do with a
// Trail, in any order. Most of it is refused.
func (f *forger) worker(ctx context.Context, trail *jobaudit.Trail, log *memsink.Sink) {
	failure := errors.New("x")
	for range 1 + f.IntN(5) {
		switch f.IntN(13) {
		case 0, 1:
			_ = trail.Start(ctx, jobaudit.Execution{Attempt: 1 + f.IntN(3)})
		case 2:
			trail.Retrying(ctx, failure)
		case 3:
			trail.Deferring(ctx, "later")
		case 4:
			_ = trail.Succeed(ctx)
		case 5:
			_ = trail.Fail(ctx, failure)
		case 6:
			_ = trail.Cancel(ctx, "x")
		case 7:
			_ = trail.Deny(ctx, jobaudit.Decision{By: "x"})
		case 8:
			_ = trail.Skip(ctx, "x")
		case 9:
			_ = trail.Deduplicate(ctx, uuid.Must(uuid.NewV7()))
		case 10:
			_ = trail.Submit(ctx)
		case 11: // what a reconciler knows
			if job, err := jobaudit.Replay(log.Records(ctx, jobaudit.Query{JobID: trail.JobID()})); err == nil {
				_ = trail.Observe(job)
			}
		case 12:
			trail.Log(ctx, "x")
		}
	}
	_ = trail.Flush(ctx)
}

// Who can write to the queue, and to nothing else, cannot make an untouched log
// fail, whatever Carriers it makes up and whatever becomes of them.
func TestNoForgedCarrierMakesAnUntouchedLogFail(t *testing.T) {
	forgedLogs(t, 0, uint64(size.Times(6, 2)))
}

func TestSoakNoForgedCarrierMakesAnUntouchedLogFail(t *testing.T) { forgedLogs(t, size.Soak(t), 400) }

func forgedLogs(t *testing.T, first uint64, logs uint64) {
	t.Helper()
	notes := map[auditlog.Kind]int{}
	for i := range logs {
		report := forgedLog(t, first+i)
		for _, n := range report.Notes {
			notes[n.Kind]++
		}
	}
	t.Logf("%d logs with %d forged Carriers each; notes: %v", logs, size.Times(120, 30), notes)
}

func forgedLog(t *testing.T, seed uint64) filesink.Report {
	t.Helper()
	f := &forger{Rand: rand.New(rand.NewPCG(seed, 18))}
	ours, theirs, log := &batches{}, &batches{}, memsink.New(nil)
	if seed%2 == 0 { // the processes have one log
		theirs = ours
	}
	open := func(lines jobaudit.AuditSink) *jobaudit.Recorder {
		r, err := jobaudit.Open(t.Context(), both{lines, log}, jobaudit.Source{System: "s", Environment: "test"},
			&jobaudit.Options{Heartbeat: -1, OnError: func(context.Context, *jobaudit.AuditError) {}})
		require.NoError(t, err)
		return r
	}
	web, worker := open(ours), open(theirs)
	for i := range size.Times(120, 30) {
		trail, err := web.Submit(t.Context(), submission(i))
		require.NoError(t, err)
		f.seen = append(f.seen, trail.Carrier())
		if f.IntN(4) == 0 {
			require.NoError(t, trail.Run(t.Context(), jobaudit.Execution{}, func(context.Context) error { return nil }))
		}
		f.records = all(log.Records(t.Context(), jobaudit.Query{}))
		by := worker
		if f.IntN(4) == 0 { // a reconciler in the other process
			by = web
		}
		trail, err = by.Resume(t.Context(), f.carrier(t), nil)
		require.NoError(t, err)
		f.worker(t.Context(), trail, log)
	}
	require.NoError(t, web.Close(t.Context()))
	require.NoError(t, worker.Close(t.Context()))

	var report filesink.Report
	for i, lines := range []*batches{ours, theirs, ours} {
		l := logOf(t, lines.all())
		with := l.keys()
		with.ParseAll = i == 2
		r, found := l.verify(with)
		require.Empty(t, found, "seed %d", seed)
		require.Equal(t, auditlog.Signed, r.Level)
		report = r
	}
	for _, err := range jobaudit.Jobs(t.Context(), log, jobaudit.Query{}) {
		require.NoError(t, err)
	}
	return report
}

// both writes to two sinks.
type both struct {
	a, b jobaudit.AuditSink
}

func (s both) Append(ctx context.Context, records []jobaudit.Record) error {
	return errors.Join(s.a.Append(ctx, records), s.b.Append(ctx, records))
}

func all(records iter.Seq2[jobaudit.Record, error]) (list []jobaudit.Record) {
	for r, err := range records {
		if err == nil {
			list = append(list, r)
		}
	}
	return list
}

// The attempts of a job stand in a worker's log, all with an end; another process
// records in its own log what became of the job.
func TestAnOutcomeOfAttemptsInAnotherLogIsNoFinding(t *testing.T) {
	for name, end := range map[string]func(*jobaudit.Trail) error{
		"failed":    func(trail *jobaudit.Trail) error { return trail.Fail(t.Context(), errors.New("x")) },
		"succeeded": func(trail *jobaudit.Trail) error { return trail.Succeed(t.Context()) },
		"cancelled": func(trail *jobaudit.Trail) error { return trail.Cancel(t.Context(), "x") },
	} {
		ours, theirs, log := &batches{}, &batches{}, memsink.New(nil)
		open := func(lines jobaudit.AuditSink) *jobaudit.Recorder {
			r, err := jobaudit.Open(t.Context(), both{lines, log}, jobaudit.Source{System: "s", Environment: "test"}, nil)
			require.NoError(t, err)
			return r
		}
		web, worker := open(ours), open(theirs)
		trail, err := web.Submit(t.Context(), submission(1))
		require.NoError(t, err)
		attempt, err := worker.Resume(t.Context(), trail.Carrier(), nil)
		require.NoError(t, err)
		require.NoError(t, attempt.Start(t.Context(), jobaudit.Execution{}))
		attempt.Retrying(t.Context(), errors.New("x"))
		require.NoError(t, attempt.Flush(t.Context()))
		job, err := jobaudit.Replay(log.Records(t.Context(), jobaudit.Query{JobID: trail.JobID()}))
		require.NoError(t, err)
		reconciler, err := web.Resume(t.Context(), trail.Carrier(), nil)
		require.NoError(t, err)
		require.NoError(t, reconciler.Observe(job))
		require.NoError(t, end(reconciler))
		require.NoError(t, web.Close(t.Context()))
		require.NoError(t, worker.Close(t.Context()))
		for _, lines := range []*batches{ours, theirs} {
			l := logOf(t, lines.all())
			_, found := l.verify(l.keys())
			require.Empty(t, found, name)
		}
	}
}
