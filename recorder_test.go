package jobaudit_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

func TestEveryEventAnswersTheFiveQuestions(t *testing.T) {
	store := memsink.New(nil)
	rec := open(t, store, nil)
	s := submission()
	s.ID = uuid.New()
	s.OnBehalfOf = []jobaudit.Principal{{Kind: jobaudit.User, ID: "bob"}}
	s.Resource, s.Target, s.SourceIP = "index/7", "search", netip.MustParseAddr("192.0.2.7")
	s.Trigger.Ref = "ticket-9"
	s.TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	require.NoError(t, rec.Run(t.Context(), s, func(ctx context.Context) error {
		tr := trail(ctx)
		tr.Log(ctx, "line")
		tr.Snapshot(ctx, jobaudit.Snapshot{Resource: "index/7", After: true, Digest: "d", Summary: "built"})
		tr.SetImpact("1,000 records updated")
		return nil
	}))
	require.NoError(t, rec.Close(t.Context()))
	list := events(t, store)
	require.Equal(t, []jobaudit.EventType{jobaudit.AuditOpened, jobaudit.AuditClosed}, types(of(list, jobaudit.AuditOpened, jobaudit.AuditClosed)))
	for _, e := range store.Trail(s.ID) {
		require.Equal(t, jobaudit.Principal{Kind: jobaudit.User, ID: "ann", Verified: true}, e.Who.Principal)
		require.Equal(t, "acme", e.Who.OrgID)
		require.Equal(t, s.OnBehalfOf, e.Who.OnBehalfOf)
		require.Equal(t, "rebuild-index", e.What.Action)
		require.Equal(t, "index/7", e.What.Resource)
		require.Equal(t, "worker", e.Where.System)
		require.Equal(t, "test", e.Where.Environment)
		require.Equal(t, list[0].Stream.ID.String(), e.Where.Instance, "the process is known by its incarnation")
		require.Equal(t, "search", e.Where.Target)
		require.Equal(t, s.SourceIP, e.Where.SourceIP)
		require.Equal(t, jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "asked by support", Ref: "ticket-9"}, e.Why)
		require.False(t, e.Time.IsZero())
		require.Equal(t, s.TraceParent, e.TraceParent)
	}
}

func TestASubmissionThatLacksAFieldIsRefusedAndNothingIsStored(t *testing.T) {
	store := memsink.New(nil)
	rec := open(t, store, nil)
	stored := store.Len()
	for field, spoil := range map[string]func(*jobaudit.Submission){
		"who.principal.kind":  func(s *jobaudit.Submission) { s.Principal.Kind = "" },
		"who.principal.id":    func(s *jobaudit.Submission) { s.Principal.ID = "" },
		"what.action":         func(s *jobaudit.Submission) { s.Action = "" },
		"why.trigger":         func(s *jobaudit.Submission) { s.Trigger.Kind = "whim" },
		"why.reason":          func(s *jobaudit.Submission) { s.Trigger.Reason = "" },
		"who.upstream.system": func(s *jobaudit.Submission) { s.Trigger.Kind = jobaudit.Cascade },
		"traceparent":         func(s *jobaudit.Submission) { s.TraceParent = "00-xyz" },
		"who.onBehalfOf.id":   func(s *jobaudit.Submission) { s.OnBehalfOf = []jobaudit.Principal{{Kind: jobaudit.User}} },
		"where.target":        func(s *jobaudit.Submission) { s.Target = "\xff" },
		"job.queue.id": func(s *jobaudit.Submission) {
			s.Queue = jobaudit.Ref{System: "river", ID: string(make([]byte, 300))}
		},
	} {
		t.Run(field, func(t *testing.T) {
			s := submission()
			spoil(&s)
			tr, err := rec.Submit(t.Context(), s)
			require.Nil(t, tr)
			fieldErr, ok := errors.AsType[*jobaudit.FieldError](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, field, fieldErr.Field)
			require.Equal(t, stored, store.Len())
		})
	}
	for _, where := range []jobaudit.Source{{System: "s"}, {Environment: "e"}} {
		_, err := jobaudit.Open(t.Context(), store, where, nil)
		_, ok := errors.AsType[*jobaudit.FieldError](err)
		require.True(t, ok, "%v", err)
	}
}

// P7: who submits inside a job submits its child.
func TestAJobSubmittedInsideAJobIsItsChild(t *testing.T) {
	store := memsink.New(nil)
	rec := open(t, store, nil)
	service := submission()
	service.Principal = jobaudit.Principal{Kind: jobaudit.Service, ID: "indexer"}
	var child, detached, grandchild uuid.UUID
	parent, err := run(t.Context(), rec, func(ctx context.Context) error {
		s := service
		s.Detached, s.ID = true, uuid.New()
		detached = s.ID
		require.NoError(t, rec.Run(ctx, s, func(context.Context) error { return nil }))
		s = service
		s.ID = uuid.New()
		child = s.ID
		return rec.Run(ctx, s, func(ctx context.Context) error {
			s := service
			s.Principal.ID, s.ID = "shard", uuid.New()
			grandchild = s.ID
			return rec.Run(ctx, s, func(context.Context) error { return nil })
		})
	})
	require.NoError(t, err)
	require.NoError(t, rec.Close(t.Context()))

	p, c, g := store.Trail(parent), store.Trail(child), store.Trail(grandchild)
	started := of(p, jobaudit.JobStarted)[0]
	for _, e := range c {
		require.Equal(t, parent, e.Job.ParentID)
		require.Equal(t, parent, e.Job.RootID)
		require.Equal(t, p[0].CorrelationID, e.CorrelationID)
		require.Equal(t, "indexer", e.Who.Principal.ID, "the child keeps its own principal")
		require.Equal(t, []jobaudit.Principal{{Kind: jobaudit.User, ID: "ann", Verified: true}}, e.Who.OnBehalfOf)
	}
	require.Equal(t, started.ID, c[0].CausationID, "the parent's start is its cause")
	require.Equal(t, parent, g[0].Job.RootID)
	require.Equal(t, child, g[0].Job.ParentID)
	require.Equal(t, []string{"indexer", "ann"}, []string{g[0].Who.OnBehalfOf[0].ID, g[0].Who.OnBehalfOf[1].ID}, "nearest first")

	alone := store.Trail(detached)[0]
	require.Equal(t, detached, alone.Job.RootID)
	require.NotEqual(t, p[0].CorrelationID, alone.CorrelationID)
	require.Zero(t, alone.Job.ParentID)
	require.Empty(t, alone.Who.OnBehalfOf)
}

// P7, in another process, by another recorder: the Carrier may be old.
func TestTwoRecordersThatResumeFromOneOldCarrierTellOneStory(t *testing.T) {
	for _, together := range []bool{false, true} {
		t.Run(fmt.Sprint("at once ", together), func(t *testing.T) {
			store := memsink.New(nil)
			web := open(t, store, nil)
			tr, err := web.Submit(t.Context(), submission())
			require.NoError(t, err)
			carrier := tr.Carrier()
			require.NoError(t, web.Close(t.Context()))

			workers := []*jobaudit.Recorder{open(t, store, nil), open(t, store, nil)}
			var both sync.WaitGroup
			both.Add(2)
			work := func(rec *jobaudit.Recorder) {
				parsed, err := jobaudit.ParseCarrier(carrier.String())
				require.NoError(t, err)
				resumed, err := rec.Resume(t.Context(), parsed, nil)
				require.NoError(t, err)
				err = resumed.Run(t.Context(), jobaudit.Execution{}, func(ctx context.Context) error {
					if together {
						both.Done()
						both.Wait()
					}
					trail(ctx).Log(ctx, "at work")
					return nil
				})
				require.NoError(t, err)
				require.NoError(t, rec.Close(t.Context()))
			}
			if together {
				var wg sync.WaitGroup
				for _, rec := range workers {
					wg.Go(func() { work(rec) })
				}
				wg.Wait()
			} else {
				work(workers[0])
				work(workers[1])
			}

			events(t, store)
			j := jobOf(t, store, tr.JobID())
			require.Equal(t, jobaudit.Success, j.State)
			require.Len(t, j.Executions, 2, "both executions are visible")
			require.NotEqual(t, j.Executions[0].ID, j.Executions[1].ID)
			require.NotEqual(t, j.Executions[0].Stream, j.Executions[1].Stream)
			require.Equal(t, !together, j.Executions[1].Late, "the second run began behind the end, or not")
			require.Len(t, j.Logs, 2)
			late := 1 // the second outcome
			if !together {
				late = 2 // and the second start
			}
			require.Len(t, j.Unapplied, late)
			first := of(store.Trail(tr.JobID()), jobaudit.JobSubmitted)[0]
			for _, e := range of(store.Trail(tr.JobID()), jobaudit.JobAuthorized) {
				require.Equal(t, first.Stream.ID, e.Stream.After.Stream, "the resumed stream says what it follows")
				require.False(t, e.Who.Principal.Verified, "what comes back from a queue is a claim")
				require.Equal(t, first.ID, e.CausationID)
			}
		})
	}
}

func TestNothingIsLostWhenManyRecordAtOnce(t *testing.T) {
	requireNothingLost(t, 64, size.Times(100, 15))
}

func TestSoakNothingIsLostWhenManyRecordAtOnce(t *testing.T) {
	size.Soak(t)
	for range 20 {
		requireNothingLost(t, 64, 1000)
	}
}

func requireNothingLost(t *testing.T, workers, jobs int) {
	t.Helper()
	store := memsink.New(nil)
	rec := open(t, store, &jobaudit.Options{Buffer: 1 << 20})
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range jobs {
				_, err := run(t.Context(), rec, func(ctx context.Context) error {
					trail(ctx).Log(ctx, "line")
					return nil
				})
				if err != nil {
					t.Errorf("run: %v", err)
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, rec.Close(t.Context()))

	counts := map[jobaudit.EventType]int{}
	last := map[uuid.UUID]jobaudit.Hash{}
	seqs := map[uuid.UUID]uint64{}
	for r, err := range store.Records(t.Context(), jobaudit.Query{}) {
		require.NoError(t, err)
		e := r.Event()
		counts[e.Type]++
		if e.Stream.Seq != seqs[e.Stream.ID]+1 || e.Stream.Prev != last[e.Stream.ID] {
			t.Fatalf("stream %s is not whole at %d", e.Stream.ID, e.Stream.Seq)
		}
		seqs[e.Stream.ID], last[e.Stream.ID] = e.Stream.Seq, r.Hash()
	}
	for _, typ := range []jobaudit.EventType{
		jobaudit.JobSubmitted, jobaudit.JobAuthorized, jobaudit.JobStarted, jobaudit.JobLogged, jobaudit.JobSucceeded,
	} {
		require.Equal(t, workers*jobs, counts[typ], typ)
	}
}

func TestACallAfterCloseSaysSo(t *testing.T) {
	store := memsink.New(nil)
	var told complaints
	rec := open(t, store, &jobaudit.Options{OnError: told.add})
	tr, err := rec.Submit(t.Context(), submission())
	require.NoError(t, err)
	require.NoError(t, tr.Start(t.Context(), jobaudit.Execution{}))
	require.NoError(t, rec.Close(t.Context()))
	stored := store.Len()

	_, submitErr := rec.Submit(t.Context(), submission())
	_, resumeErr := rec.Resume(t.Context(), tr.Carrier(), nil)
	_, runErr := run(t.Context(), rec, func(context.Context) error { t.Error("it ran"); return nil })
	for _, err := range []error{
		submitErr, resumeErr, runErr, rec.Close(t.Context()),
		tr.Authorize(t.Context(), jobaudit.Decision{Allowed: true}), tr.Deny(t.Context(), jobaudit.Decision{}),
		tr.Start(t.Context(), jobaudit.Execution{}), tr.Succeed(t.Context()), tr.Flush(t.Context()),
		tr.Correct(t.Context(), jobaudit.Correction{Of: uuid.New(), Reason: "r"}), tr.Deduplicate(t.Context(), uuid.New()),
	} {
		require.ErrorIs(t, err, jobaudit.ErrClosed)
	}
	tr.Log(t.Context(), "line")
	require.Len(t, told.all(), 1)
	require.ErrorIs(t, told.all()[0], jobaudit.ErrClosed)
	require.Equal(t, stored, store.Len())
}

func TestAWriterRefusesWhatItKnowsCannotBe(t *testing.T) {
	store := memsink.New(nil)
	var told complaints
	rec := open(t, store, &jobaudit.Options{OnError: told.add})
	ctx := t.Context()
	tr, err := rec.Submit(ctx, submission())
	require.NoError(t, err)
	require.ErrorIs(t, tr.Succeed(ctx), jobaudit.ErrTransition, "it has not started")
	require.NoError(t, tr.Start(ctx, jobaudit.Execution{}))
	require.NoError(t, tr.Succeed(ctx))
	stored := store.Len()
	require.NoError(t, tr.Succeed(ctx), "the same again waits for what is stored already")
	require.ErrorIs(t, tr.Fail(ctx, errWork), jobaudit.ErrTransition)
	require.ErrorIs(t, tr.Start(ctx, jobaudit.Execution{}), jobaudit.ErrTransition)
	require.ErrorIs(t, tr.Deny(ctx, jobaudit.Decision{}), jobaudit.ErrTransition)
	tr.Heartbeat(ctx, 0, 0)
	tr.Retrying(ctx, errWork)
	require.Len(t, told.all(), 2)
	for _, err := range told.all() {
		require.ErrorIs(t, err, jobaudit.ErrTransition)
	}
	require.Equal(t, stored, store.Len())

	tr.Log(ctx, "a late line") // which the log of a job that has ended still takes
	require.NoError(t, tr.Correct(ctx, jobaudit.Correction{Of: uuid.New(), Reversal: true, Reason: "rolled back"}))
	j := jobOf(t, store, tr.JobID())
	require.Equal(t, []string{"a late line"}, j.Logs)
	require.Equal(t, jobaudit.Success, j.State)
	require.NoError(t, rec.Close(ctx))
}

func TestWhatIsIncompleteIsRefusedAndNamed(t *testing.T) {
	store := memsink.New(nil)
	var told complaints
	rec := open(t, store, &jobaudit.Options{OnError: told.add})
	ctx := t.Context()
	tr, err := rec.Submit(ctx, submission())
	require.NoError(t, err)
	before := store.Len()
	tr.Snapshot(ctx, jobaudit.Snapshot{Digest: "d"})
	tr.Snapshot(ctx, jobaudit.Snapshot{Resource: "r"})
	errs := []error{
		told.all()[0], told.all()[1],
		tr.Deduplicate(ctx, uuid.Nil),
		tr.Start(ctx, jobaudit.Execution{Queue: jobaudit.Ref{System: "river"}}),
		tr.Correct(ctx, jobaudit.Correction{Reason: "r"}),
		tr.Correct(ctx, jobaudit.Correction{Of: uuid.New()}),
		tr.Authorize(ctx, jobaudit.Decision{Allowed: true, By: "\xff"}),
	}
	var fields []string
	for _, err := range errs {
		field, ok := errors.AsType[*jobaudit.FieldError](err)
		require.True(t, ok, "%v", err)
		fields = append(fields, field.Field)
	}
	require.Equal(t, []string{
		"data.snapshot.resource", "data.snapshot.digest", "data.existing", "job.queue.id",
		"data.correction.of", "data.correction.reason", "data.decision.by",
	}, fields)
	require.Equal(t, before, store.Len(), "nothing of it is stored")
	require.NoError(t, rec.Close(ctx))

	for _, opts := range []jobaudit.Options{{Timeout: -1}, {OutcomeTimeout: -1}, {Buffer: -1}, {Fallback: writeOnly{}}} {
		_, err := jobaudit.Open(ctx, store, source, &opts)
		_, ok := errors.AsType[*jobaudit.FieldError](err)
		require.True(t, ok, "%v", err)
	}
	_, err = jobaudit.Open(ctx, nil, source, nil)
	require.Error(t, err)
}

type writeOnly struct{}

func (writeOnly) Append(context.Context, []jobaudit.Record) error { return nil }

func TestAnObserverEndsWhatAnotherProcessBegan(t *testing.T) {
	store := memsink.New(nil)
	rec := open(t, store, nil)
	ctx := t.Context()
	submitted, err := rec.Submit(ctx, submission())
	require.NoError(t, err)
	worker, err := rec.Resume(ctx, submitted.Carrier(), nil)
	require.NoError(t, err)
	require.NoError(t, worker.Start(ctx, jobaudit.Execution{}))
	worker.Deferring(ctx, "snoozed")
	require.NoError(t, worker.Start(ctx, jobaudit.Execution{Attempt: 2}))
	require.NoError(t, worker.Flush(ctx)) // and here the worker dies

	reconciler, err := rec.Resume(ctx, submitted.Carrier(), nil)
	require.NoError(t, err)
	require.ErrorIs(t, reconciler.Succeed(ctx), jobaudit.ErrTransition, "it does not know of any start")
	other := jobOf(t, store, submitted.JobID())
	other.ID = uuid.New()
	require.Error(t, reconciler.Observe(other))
	require.NoError(t, reconciler.Observe(jobOf(t, store, submitted.JobID())))
	require.NoError(t, reconciler.Succeed(ctx))
	require.NoError(t, rec.Close(ctx))

	j := jobOf(t, store, submitted.JobID())
	require.Equal(t, jobaudit.Success, j.State)
	require.Len(t, j.Executions, 2)
	require.Equal(t, jobaudit.AttemptDeferred, j.Executions[0].End)
	require.Equal(t, jobaudit.JobSucceeded, j.Executions[1].End)
	require.Empty(t, j.Unapplied)
	deferred := of(store.Trail(submitted.JobID()), jobaudit.AttemptDeferred)
	require.Equal(t, jobaudit.CodeDeferred, deferred[0].Data.Error.Code)
}

func TestADuplicateNamesTheJobThatIsThereAlready(t *testing.T) {
	store := memsink.New(nil)
	rec := open(t, store, nil)
	tr, err := rec.Submit(t.Context(), submission())
	require.NoError(t, err)
	existing := uuid.New()
	require.NoError(t, tr.Deduplicate(t.Context(), existing))
	require.NoError(t, rec.Close(t.Context()))
	j := jobOf(t, store, tr.JobID())
	require.Equal(t, jobaudit.Cancelled, j.State)
	require.Equal(t, jobaudit.CodeDuplicate, j.Error.Code)
	require.Equal(t, existing, store.Trail(tr.JobID())[1].Data.Existing)
}

// recovering is a sink that tells what it found when it was opened.
type recovering struct {
	*memsink.Sink
	report jobaudit.Recovery
}

func (r recovering) Recovery() jobaudit.Recovery { return r.report }

func TestOpenRecordsTheRecoveryReportAndEachNewPolicyOnce(t *testing.T) {
	type in struct{ Repo string }
	registry, err := jobaudit.NewRegistry(nil,
		jobaudit.NewRedactor("b", "1", jobaudit.InputPaths[in](jobaudit.Keep("Repo"))),
		jobaudit.NewRedactor("a", "1", jobaudit.InputPaths[in](jobaudit.Keep("Repo"))))
	require.NoError(t, err)
	store := recovering{Sink: memsink.New(nil), report: jobaudit.Recovery{
		Incarnation: uuid.New(), TornBytes: 7, TornHeads: []tlog.Tree{{N: 3}},
		Head: &tlog.Tree{N: 2}, Predecessor: "example.org/log", Overrides: []string{"missing anchor"},
	}}
	rec := open(t, store, &jobaudit.Options{Redactors: registry})
	require.NoError(t, rec.Close(t.Context()))
	list := events(t, store)
	require.Equal(t, []jobaudit.EventType{
		jobaudit.AuditOpened, jobaudit.AuditPolicy, jobaudit.AuditPolicy, jobaudit.AuditClosed,
	}, types(list))
	zero := (jobaudit.Hash{}).String()
	require.JSONEq(t, `{"incarnation":"`+store.report.Incarnation.String()+`","closed":false,
		"head":{"size":2,"root":"`+zero+`"},"torn":{"bytes":7,"sha256":"`+zero+`","heads":[{"size":3,"root":"`+zero+`"}]},
		"predecessor":"example.org/log","overrides":["missing anchor"]}`, string(list[0].Data.Recovery))
	require.Contains(t, string(list[1].Data.Policy), `"action":"a"`)

	s := submission()
	s.Action, s.ID, s.Inputs = "a", uuid.New(), in{Repo: "r"}
	rec = open(t, store, &jobaudit.Options{Redactors: registry})
	require.NoError(t, rec.Run(t.Context(), s, func(context.Context) error { return nil }))
	digest := store.Trail(s.ID)[0].What.Redaction.Digest
	require.NoError(t, rec.Close(t.Context()))
	before := store.Len()
	store.report.Policies = []jobaudit.Hash{digest}
	rec = open(t, store, &jobaudit.Options{Redactors: registry})
	require.Equal(t, before+2, store.Len(), "opened, and the one policy that the log does not hold")
	require.NoError(t, rec.Close(t.Context()))
}

// TestEachPartOfARecoveryIsStored: lists hold what they were given, up to their limit.
func TestEachPartOfARecoveryIsStored(t *testing.T) {
	for n := range 20 {
		report := jobaudit.Recovery{Incarnation: uuid.New(), Closed: true, Head: &tlog.Tree{N: 2}, Anchor: &tlog.Tree{N: 1}, TornBytes: 7, Predecessor: "example.org/log"}
		texts := func(what string) []any {
			list := []any{}
			for i := range min(n, 16) {
				list = append(list, fmt.Sprint(what, i))
			}
			return list
		}
		heads := []any{}
		for i := range n {
			report.TornHeads = append(report.TornHeads, tlog.Tree{N: int64(i)})
			report.TornFiles = append(report.TornFiles, fmt.Sprint("torn/", i))
			report.Overrides = append(report.Overrides, fmt.Sprint("override", i))
			report.Warnings = append(report.Warnings, fmt.Sprint("warning", i))
			if i < 16 {
				heads = append(heads, map[string]any{"size": float64(i), "root": jobaudit.Hash{}.String()})
			}
		}
		store := recovering{Sink: memsink.New(nil), report: report}
		require.NoError(t, open(t, store, nil).Close(t.Context()))
		var stored map[string]any
		require.NoError(t, json.Unmarshal(events(t, store)[0].Data.Recovery, &stored))
		torn := stored["torn"].(map[string]any)
		require.Equal(t, heads, torn["heads"])
		if n == 0 {
			require.NotContains(t, torn, "files")
			continue
		}
		require.Equal(t, texts("torn/"), torn["files"])
		require.Equal(t, texts("override"), stored["overrides"])
		require.Equal(t, texts("warning"), stored["warnings"])
	}
}

func TestAnActionWithoutARequiredPolicyIsNotSubmitted(t *testing.T) {
	registry, err := jobaudit.NewRegistry(&jobaudit.RegistryOptions{RequirePolicy: true})
	require.NoError(t, err)
	store := memsink.New(nil)
	rec := open(t, store, &jobaudit.Options{Redactors: registry})
	before := store.Len()
	_, err = rec.Submit(t.Context(), submission())
	require.ErrorIs(t, err, jobaudit.ErrNoPolicy)
	require.Equal(t, before, store.Len())
	require.NoError(t, rec.Close(t.Context()))
}
