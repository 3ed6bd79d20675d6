package jobaudit_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/faultsink"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

func newest(t *testing.T, sink *memsink.Sink, job uuid.UUID, types ...jobaudit.EventType) jobaudit.Record {
	t.Helper()
	for r, err := range sink.Records(t.Context(), jobaudit.Query{JobID: job, Types: types, NewestFirst: true, Limit: 1}) {
		require.NoError(t, err)
		return r
	}
	require.Fail(t, "no such record")
	return jobaudit.Record{}
}

// ghost starts a job that never ends, and returns the verdict on it.
func ghost(t *testing.T, rec *jobaudit.Recorder, sink *memsink.Sink, s jobaudit.Submission) jobaudit.Verdict {
	t.Helper()
	trail, err := rec.Submit(t.Context(), s)
	require.NoError(t, err)
	require.NoError(t, trail.Start(t.Context(), jobaudit.Execution{Deadline: time.Minute}))
	trail.Heartbeat(t.Context(), 1, 0)
	trail.Log(t.Context(), "still here")
	require.NoError(t, trail.Flush(t.Context()))
	job := trail.JobID()
	return jobaudit.Verdict{
		Of: newest(t, sink, job, jobaudit.JobStarted), Heartbeat: newest(t, sink, job, jobaudit.JobHeartbeat), Last: newest(t, sink, job),
	}
}

func TestAVerdictIsWrittenAsItsGoldenFileSays(t *testing.T) {
	sink := memsink.New(nil)
	ids := counted()
	worker, err := jobaudit.Open(t.Context(), sink, goldenSource, &jobaudit.Options{Heartbeat: -1, Now: ticking(), NewID: ids})
	require.NoError(t, err)
	where := goldenSource
	where.System, where.Host, where.Instance = "watchdog", "host-2", "watchdog-1"
	watchdog, err := jobaudit.Open(t.Context(), sink, where, &jobaudit.Options{Now: ticking(), NewID: ids})
	require.NoError(t, err)

	s := goldenSubmission()
	s.Queue = jobaudit.Ref{}
	recorded, err := watchdog.Conclude(t.Context(), ghost(t, worker, sink, s))
	require.NoError(t, err)
	require.True(t, recorded)
	waiting, err := worker.Submit(t.Context(), plainSubmission())
	require.NoError(t, err)
	recorded, err = watchdog.Conclude(t.Context(), jobaudit.Verdict{Of: newest(t, sink, waiting.JobID())})
	require.NoError(t, err)
	require.True(t, recorded)

	for _, typ := range []jobaudit.EventType{jobaudit.AttemptLost, jobaudit.JobFailed, jobaudit.JobCancelled} {
		record, err := sink.Wait(t.Context(), jobaudit.Query{Types: []jobaudit.EventType{typ}})
		require.NoError(t, err)
		jobaudit.Golden(t, "verdicts/"+string(typ)+".json", append(record.Bytes(), '\n'))
	}
	require.NoError(t, worker.Close(t.Context()))
	require.NoError(t, watchdog.Close(t.Context()))
}

func TestAVerdictHasEvidenceAndIsTheWatchdogsOnBehalfOfThePrincipal(t *testing.T) {
	sink := memsink.New(nil)
	worker := open(t, sink, &jobaudit.Options{Heartbeat: -1})
	v := ghost(t, worker, sink, submission())
	watchdog, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "watchdog", Environment: "test"}, nil)
	require.NoError(t, err)
	recorded, err := watchdog.Conclude(t.Context(), v)
	require.NoError(t, err)
	require.True(t, recorded)

	start := v.Of.Event()
	verdicts := of(events(t, sink), jobaudit.AttemptLost, jobaudit.JobFailed)
	require.Equal(t, []jobaudit.EventType{jobaudit.AttemptLost, jobaudit.JobFailed}, types(verdicts))
	require.Equal(t, v.Last.ID(), verdicts[0].CausationID)
	require.Equal(t, verdicts[0].ID, verdicts[1].CausationID)
	require.NotEqual(t, verdicts[0].Stream.ID, verdicts[1].Stream.ID, "each is a stream of its own")
	for _, e := range verdicts {
		require.Equal(t, uuid.Version(8), e.ID.Version())
		require.Equal(t, start.Job.ExecutionID, e.Job.ExecutionID)
		require.Equal(t, jobaudit.Principal{Kind: jobaudit.Service, ID: "watchdog", Verified: true}, e.Who.Principal)
		require.Equal(t, []jobaudit.Principal{{Kind: jobaudit.User, ID: "ann"}}, e.Who.OnBehalfOf, "claimed: the watchdog only read it")
		require.Equal(t, "acme", e.Who.OrgID)
		require.Equal(t, start.CorrelationID, e.CorrelationID)
		require.Equal(t, jobaudit.CodeAbandoned, e.Data.Error.Code)
		evidence := e.Data.Evidence
		require.Equal(t, v.Last.ID(), evidence.Last.ID)
		require.Equal(t, jobaudit.JobLogged, evidence.Last.Type)
		require.Equal(t, v.Last.Time(), evidence.Last.Time)
		require.Equal(t, v.Heartbeat.ID(), evidence.Heartbeat.ID)
		require.Equal(t, v.Heartbeat.Event().Data.Heartbeat.Deadline, evidence.Deadline)
		require.Equal(t, start.Stream.ID, evidence.Owner.Stream)
		require.Equal(t, start.Where.Instance, evidence.Owner.Instance)
	}
	job := jobOf(t, sink, start.Job.ID)
	require.Equal(t, jobaudit.Failed, job.State)
	require.Equal(t, jobaudit.CodeAbandoned, job.Error.Code)
	require.Empty(t, job.Unapplied)
}

func TestAVerdictIsRecordedOnceHoweverManyReachIt(t *testing.T) {
	sink := memsink.New(nil)
	v := ghost(t, open(t, sink, &jobaudit.Options{Heartbeat: -1}), sink, submission())
	var wg sync.WaitGroup
	recorded, errs := make([]bool, 8), make([]error, 8)
	for i := range recorded {
		rec := open(t, sink, nil) // which complains of nothing
		wg.Go(func() { recorded[i], errs[i] = rec.Conclude(context.Background(), v) })
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	require.Len(t, of(events(t, sink), jobaudit.AttemptLost, jobaudit.JobFailed), 2)
	require.Empty(t, of(events(t, sink), jobaudit.AuditDegraded))
	n := 0
	for _, first := range recorded {
		if first {
			n++
		}
	}
	require.Contains(t, []int{1, 2}, n, "one or two of them were the first with one of its events")
}

// turnstile holds all that it is to store until it is opened.
type turnstile struct {
	*memsink.Sink
	gate  chan struct{}
	mu    sync.Mutex
	sizes []int
}

func (g *turnstile) Append(ctx context.Context, records []jobaudit.Record) error {
	<-g.gate
	g.mu.Lock()
	g.sizes = append(g.sizes, len(records))
	g.mu.Unlock()
	return g.Sink.Append(ctx, records)
}

func TestEachEventOfAVerdictIsAnAppendOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := memsink.New(nil)
		worker := open(t, sink, &jobaudit.Options{Heartbeat: -1})
		g := &turnstile{Sink: sink, gate: make(chan struct{})}
		close(g.gate)
		watchdog := open(t, g, nil)
		g.gate, g.sizes = make(chan struct{}), nil
		var wg sync.WaitGroup
		errs := make([]error, 12)
		for i := range errs {
			v := ghost(t, worker, sink, submission())
			wg.Go(func() { _, errs[i] = watchdog.Conclude(context.Background(), v) })
		}
		synctest.Wait() // they would go together now, if they could
		close(g.gate)
		wg.Wait()
		require.NoError(t, errors.Join(errs...))
		require.Equal(t, slices.Repeat([]int{1}, 24), g.sizes)
		require.NoError(t, watchdog.Close(t.Context()))
		require.NoError(t, worker.Close(t.Context()))
	})
}

func TestOfAJobThatGoesOnOnlyTheAttemptIsLost(t *testing.T) {
	queued := submission()
	queued.Queue = jobaudit.Ref{System: "river", ID: "7"}
	for _, c := range []struct {
		s    jobaudit.Submission
		only bool
	}{{queued, false}, {submission(), true}} {
		sink := memsink.New(nil)
		rec := open(t, sink, &jobaudit.Options{Heartbeat: -1})
		v := ghost(t, rec, sink, c.s)
		v.AttemptOnly = c.only
		recorded, err := rec.Conclude(t.Context(), v)
		require.NoError(t, err)
		require.True(t, recorded)
		require.Equal(t, c.s.Queue, of(events(t, sink), jobaudit.AttemptLost)[0].Job.Queue)
		job := jobOf(t, sink, v.Of.JobID())
		require.Equal(t, jobaudit.Running, job.State)
		require.Equal(t, jobaudit.AttemptLost, job.Executions[0].End)
	}
}

func TestAJobThatNeverStartedExpiresUnlessAQueueOwnsIt(t *testing.T) {
	sink := memsink.New(nil)
	rec := open(t, sink, nil)
	trail, err := rec.Submit(t.Context(), submission())
	require.NoError(t, err)
	recorded, err := rec.Conclude(t.Context(), jobaudit.Verdict{Of: newest(t, sink, trail.JobID())})
	require.NoError(t, err)
	require.True(t, recorded)
	job := jobOf(t, sink, trail.JobID())
	require.Equal(t, jobaudit.Cancelled, job.State)
	require.Equal(t, jobaudit.CodeExpired, job.Error.Code)

	s := submission()
	s.Queue = jobaudit.Ref{System: "river", ID: "7"}
	trail, err = rec.Submit(t.Context(), s)
	require.NoError(t, err)
	recorded, err = rec.Conclude(t.Context(), jobaudit.Verdict{Of: newest(t, sink, trail.JobID())})
	require.NoError(t, err)
	require.False(t, recorded)
	require.Equal(t, jobaudit.Pending, jobOf(t, sink, trail.JobID()).State)
}

func TestAnEndThatComesAfterAVerdictChangesNothingAndStaysVisible(t *testing.T) {
	sink := memsink.New(nil)
	rec := open(t, sink, &jobaudit.Options{Heartbeat: -1})
	trail, err := rec.Submit(t.Context(), submission())
	require.NoError(t, err)
	require.NoError(t, trail.Start(t.Context(), jobaudit.Execution{Deadline: time.Minute}))
	_, err = rec.Conclude(t.Context(), jobaudit.Verdict{Of: newest(t, sink, trail.JobID())})
	require.NoError(t, err)
	require.NoError(t, trail.Succeed(t.Context()))
	job := jobOf(t, sink, trail.JobID())
	require.Equal(t, jobaudit.Failed, job.State)
	require.Equal(t, jobaudit.JobSucceeded, job.Executions[0].End, "the worker knows best how its execution ended")
	require.Equal(t, jobaudit.JobSucceeded, job.Unapplied[0].Type)
	require.Equal(t, jobaudit.CauseLate, job.Unapplied[0].Cause)
}

func TestAVerdictWithoutItsRecordsIsRefused(t *testing.T) {
	sink := memsink.New(nil)
	rec := open(t, sink, &jobaudit.Options{Heartbeat: -1})
	mine, other := ghost(t, rec, sink, submission()), ghost(t, rec, sink, submission())
	before := sink.Len()
	for field, v := range map[string]jobaudit.Verdict{
		"Verdict.Of":        {Of: mine.Last},
		"Verdict.Last":      {Of: mine.Of, Last: other.Last},
		"Verdict.Heartbeat": {Of: mine.Of, Heartbeat: other.Heartbeat},
	} {
		_, err := rec.Conclude(t.Context(), v)
		wrong, ok := errors.AsType[*jobaudit.FieldError](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, field, wrong.Field)
	}
	_, err := rec.Conclude(t.Context(), jobaudit.Verdict{})
	require.Error(t, err)
	require.Equal(t, before, sink.Len())

	require.NoError(t, rec.Close(t.Context()))
	_, err = rec.Conclude(t.Context(), mine)
	require.ErrorIs(t, err, jobaudit.ErrClosed)
}

func TestAVerdictThatCouldNotBeStoredIsReachedAgain(t *testing.T) {
	sink := memsink.New(nil)
	v := ghost(t, open(t, sink, &jobaudit.Options{Heartbeat: -1}), sink, submission())
	faulty := faultsink.New(sink)
	rec := open(t, faulty, nil)
	for _, fault := range []faultsink.Fault{faultsink.Fail, faultsink.Ambiguous} {
		faulty.Set(faultsink.Rule{Fault: fault})
		recorded, err := rec.Conclude(t.Context(), v)
		require.ErrorIs(t, err, faultsink.ErrInjected)
		require.False(t, recorded)
	}
	faulty.Set()
	appends := faulty.Appends()
	recorded, err := rec.Conclude(t.Context(), v)
	require.NoError(t, err)
	require.True(t, recorded)
	require.Equal(t, appends+2, faulty.Appends(), "an Append for each of its events")
	require.Len(t, of(events(t, sink), jobaudit.AttemptLost, jobaudit.JobFailed), 2)
	require.NoError(t, rec.Close(t.Context()))
}
