package jobaudit_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
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

var errWork = errors.New("the work itself failed")

// P1: no function runs without a stored start, no running function is
// disturbed, every loss is counted, no stream has a gap; at whichever Append
// the sink begins to fail.
func TestNoUnauditedWorkWhereverTheSinkBeginsToFail(t *testing.T) {
	for _, fault := range []faultsink.Fault{faultsink.Fail, faultsink.Ambiguous, faultsink.Partial, faultsink.Hang, faultsink.Stick} {
		for _, buffer := range []int{1, 100} {
			for n := 1; n <= 40; n++ {
				if fault != faultsink.Fail && n%4 != 1 || testing.Short() && (n%16 != 1 || fault != faultsink.Fail && n%32 != 1) {
					continue
				}
				t.Run(fmt.Sprintf("fault %d from append %d, buffer %d", fault, n, buffer), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { outage(t, fault, n, buffer) })
				})
			}
		}
	}
}

// outage runs jobs over a sink that fails from its n-th Append on, lets the
// sink recover, and checks what is stored.
func outage(t *testing.T, fault faultsink.Fault, n, buffer int) {
	store := memsink.New(nil)
	sink := faultsink.New(store, faultsink.Rule{First: n, Fault: fault, Keep: 1})
	var told complaints
	rec, err := jobaudit.Open(t.Context(), sink, source, &jobaudit.Options{Buffer: buffer, OnError: told.add})
	if err != nil {
		require.LessOrEqual(t, n, 1)
		sink.Release()
		return
	}
	ran := outageJobs(t, rec, store)
	sink.Set()
	sink.Release()
	require.NoError(t, rec.Close(t.Context()))

	list := events(t, store)
	counted := map[uuid.UUID]int{}
	for _, e := range list {
		switch e.Type {
		case jobaudit.JobLogged, jobaudit.JobHeartbeat:
			counted[e.Job.ID]++
		case jobaudit.AuditLost:
			counted[e.Job.ID] += int(e.Data.Lost.Count)
		}
	}
	for job, want := range ran {
		require.Equal(t, want, counted[job], "job %s: each event of the background is stored or counted as lost", job)
		require.Equal(t, jobaudit.Failed, jobOf(t, store, job).State, "the outcome reaches the log once the sink works again")
	}
	for _, e := range of(list, jobaudit.JobStarted) {
		_, has := ran[e.Job.ID]
		j := jobOf(t, store, e.Job.ID)
		require.True(t, has || j.State == jobaudit.Cancelled && j.Error.Code == jobaudit.CodeNotRun,
			"a start is stored though nothing ran, and the record does not say so: %+v", j)
	}
}

// outageJobs runs jobs one by one and side by side. It returns, for each job
// whose function ran, how many events it recorded in the background.
func outageJobs(t *testing.T, rec *jobaudit.Recorder, store *memsink.Sink) map[uuid.UUID]int {
	var mu sync.Mutex
	ran := map[uuid.UUID]int{}
	job := func() {
		_, err := run(t.Context(), rec, func(ctx context.Context) error {
			tr := trail(ctx)
			if len(of(store.Trail(tr.JobID()), jobaudit.JobStarted)) != 1 {
				t.Errorf("job %s runs, and its start is not stored", tr.JobID())
			}
			for i := range 5 {
				tr.Log(ctx, fmt.Sprint("line ", i))
				tr.Heartbeat(ctx, int64(i), 5)
			}
			if ctx.Err() != nil {
				t.Errorf("the audit path cancelled a running job")
			}
			mu.Lock()
			defer mu.Unlock()
			ran[tr.JobID()] = 10
			return errWork
		})
		if _, audit := errors.AsType[*jobaudit.AuditError](err); !audit && err != errWork {
			t.Errorf("Run returned neither the function's error nor an audit error: %v", err)
		}
	}
	for range 6 {
		job()
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(job)
	}
	wg.Wait()
	return ran
}

func TestEveryCallReturnsByItsDeadlineWhenTheSinkHangs(t *testing.T) {
	for _, fault := range []faultsink.Fault{faultsink.Hang, faultsink.Stick} {
		synctest.Test(t, func(t *testing.T) {
			sink := faultsink.New(memsink.New(nil))
			var told complaints
			rec := open(t, sink, &jobaudit.Options{Timeout: 2 * time.Second, OutcomeTimeout: 7 * time.Second, OnError: told.add})
			started, err := rec.Submit(t.Context(), submission())
			require.NoError(t, err)
			require.NoError(t, started.Start(t.Context(), jobaudit.Execution{}))
			pending, err := rec.Submit(t.Context(), submission())
			require.NoError(t, err)
			sink.Set(faultsink.Rule{Fault: fault})

			within := func(limit time.Duration, what string, call func() error) {
				t.Helper()
				began := time.Now()
				err := call()
				require.ErrorIs(t, err, context.DeadlineExceeded, what)
				require.LessOrEqual(t, time.Since(began), limit, what)
			}
			ctx := t.Context()
			within(2*time.Second, "submit", func() error { _, err := rec.Submit(ctx, submission()); return err })
			within(2*time.Second, "authorize", func() error { return pending.Authorize(ctx, jobaudit.Decision{Allowed: true}) })
			within(2*time.Second, "start", func() error { return pending.Start(ctx, jobaudit.Execution{}) })
			within(2*time.Second, "deny", func() error { return pending.Deny(ctx, jobaudit.Decision{}) })
			within(2*time.Second, "run", func() error {
				_, err := run(ctx, rec, func(context.Context) error { t.Error("it ran"); return nil })
				return err
			})
			within(0, "background", func() error {
				started.Log(ctx, "line")
				started.Heartbeat(ctx, 0, 0)
				started.Snapshot(ctx, jobaudit.Snapshot{Resource: "r", Digest: "d"})
				started.Retrying(ctx, errWork)
				return context.DeadlineExceeded
			})
			within(7*time.Second, "flush", func() error { return started.Flush(ctx) })
			within(7*time.Second, "correct", func() error {
				return started.Correct(ctx, jobaudit.Correction{Of: uuid.New(), Reason: "r"})
			})
			within(7*time.Second, "succeed", func() error { return started.Succeed(ctx) })
			within(9*time.Second, "close", func() error { return rec.Close(ctx) })
			sink.Release()
		})
	}
}

// A late audit error must not make a queue run a finished job again.
func TestAFinishedJobIsNotRunAgainThoughItsOutcomeCannotBeRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := faultsink.New(memsink.New(nil))
		var told complaints
		rec := open(t, sink, &jobaudit.Options{OnError: told.add})
		runs := 0
		handler := rec.Wrap(func(context.Context) jobaudit.Submission { return submission() }, func(context.Context) error {
			runs++
			sink.Set(faultsink.Rule{Fault: faultsink.Fail})
			return nil
		})
		for range 3 { // the queue: run it again for as long as it fails
			if handler(t.Context()) == nil {
				break
			}
		}
		require.Equal(t, 1, runs)
		require.NotEmpty(t, told.all(), "the audit error goes to OnError")
		require.Error(t, rec.Close(t.Context()))
	})
}

func TestAnAmbiguousSinkStoresNothingTwiceAndAccusesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memsink.New(nil)
		sink := faultsink.New(store)
		var told complaints
		rec := open(t, sink, &jobaudit.Options{OnError: told.add})
		tr, err := rec.Submit(t.Context(), submission())
		require.NoError(t, err)

		sink.Set(faultsink.Rule{First: sink.Appends() + 1, Last: sink.Appends() + 1, Fault: faultsink.Ambiguous})
		require.Error(t, tr.Start(t.Context(), jobaudit.Execution{}), "the outcome is unknown, so the job must not run")
		require.NoError(t, tr.Start(t.Context(), jobaudit.Execution{}), "the next call settles it")
		require.NoError(t, tr.Succeed(t.Context()))
		require.NoError(t, rec.Close(t.Context()))

		list := events(t, store)
		require.Empty(t, of(list, jobaudit.AuditDegraded, jobaudit.AuditLost))
		require.Len(t, of(list, jobaudit.AttemptSuperseded), 1, "the start that nothing followed is closed by the next")
		j := jobOf(t, store, tr.JobID())
		require.Equal(t, jobaudit.Success, j.State)
		require.Len(t, j.Executions, 2)
		require.Equal(t, jobaudit.AttemptSuperseded, j.Executions[0].End)
		require.Equal(t, jobaudit.JobSucceeded, j.Executions[1].End)
	})
}

func TestALossIsCountedWhereItHappened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memsink.New(nil)
		sink := faultsink.New(store)
		var told complaints
		rec := open(t, sink, &jobaudit.Options{Buffer: 2, OnError: told.add})
		id, err := run(t.Context(), rec, func(ctx context.Context) error {
			tr := trail(ctx)
			sink.Set(faultsink.Rule{Fault: faultsink.Fail})
			for i := range 7 {
				tr.Log(ctx, fmt.Sprint(i))
			}
			tr.Heartbeat(ctx, 1, 0)
			sink.Set()
			require.NoError(t, tr.Flush(ctx))
			tr.Log(ctx, "after")
			return nil
		})
		require.NoError(t, err)
		require.NoError(t, rec.Close(t.Context()))

		list := store.Trail(id)
		require.Equal(t, []jobaudit.EventType{
			jobaudit.JobSubmitted, jobaudit.JobAuthorized, jobaudit.JobStarted, jobaudit.JobLogged, jobaudit.JobLogged,
			jobaudit.AuditLost, jobaudit.JobLogged, jobaudit.JobSucceeded,
		}, types(list))
		lost := list[5].Data.Lost
		require.EqualValues(t, 6, lost.Count)
		require.Equal(t, []jobaudit.EventType{jobaudit.JobLogged, jobaudit.JobHeartbeat}, lost.Types)
		require.Equal(t, []string{"0", "1", "after"}, jobOf(t, store, id).Logs)
		events(t, store)
	})
}

// brittle refuses one type of event for good.
type brittle struct {
	*memsink.Sink
	refuse jobaudit.EventType
	err    func(jobaudit.Record) error
}

func (b brittle) Append(ctx context.Context, records []jobaudit.Record) error {
	for i, r := range records {
		if r.Type() == b.refuse {
			if err := b.Sink.Append(ctx, records[:i]); err != nil {
				return err
			}
			return b.err(r)
		}
	}
	return b.Sink.Append(ctx, records)
}

func TestARefusedRecordEndsItsStreamAndIsOnRecord(t *testing.T) {
	for name, refusal := range map[string]func(jobaudit.Record) error{
		"record error":          func(r jobaudit.Record) error { return &jobaudit.RecordError{ID: r.ID(), Err: errors.New("too odd")} },
		"conflict":              func(jobaudit.Record) error { return fmt.Errorf("store: %w", jobaudit.ErrConflict) },
		"conflict with its ID":  func(r jobaudit.Record) error { return &jobaudit.RecordError{ID: r.ID(), Err: jobaudit.ErrConflict} },
		"record error, no more": func(jobaudit.Record) error { return &jobaudit.RecordError{Err: errors.New("no")} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := memsink.New(nil)
				var told complaints
				sink := faultsink.New(brittle{store, jobaudit.JobSnapshot, refusal})
				rec := open(t, sink, &jobaudit.Options{OnError: told.add})
				ran := false
				bad, err := run(t.Context(), rec, func(ctx context.Context) error {
					tr := trail(ctx)
					sink.Set(faultsink.Rule{Fault: faultsink.Fail})
					defer sink.Set()
					tr.Log(ctx, "stored")
					synctest.Wait() // it has failed, and waits to be sent again
					tr.Snapshot(ctx, jobaudit.Snapshot{Resource: "r", Digest: "d"})
					tr.Log(ctx, "behind it")
					ran = true
					return nil
				})
				require.NoError(t, err, "the running job is not disturbed")
				require.True(t, ran)
				good, err := run(t.Context(), rec, func(context.Context) error { return nil })
				require.NoError(t, err)
				require.NoError(t, rec.Close(t.Context()))

				list := events(t, store)
				require.Equal(t, jobaudit.Success, jobOf(t, store, good).State, "other streams go on")
				require.Equal(t, jobaudit.Running, jobOf(t, store, bad).State)
				degraded := of(list, jobaudit.AuditDegraded)
				require.Len(t, degraded, 1)
				require.Equal(t, store.Trail(bad)[0].Stream.ID, degraded[0].Data.Degraded.Stream)
				require.EqualValues(t, 2, degraded[0].Data.Degraded.Count, "a line and the outcome are behind it")
				require.NotEmpty(t, told.all())
			})
		})
	}
}

func TestAnOutcomeGoesToTheFallbackAndComesHome(t *testing.T) {
	for _, fault := range []faultsink.Fault{faultsink.Fail, faultsink.Hang, faultsink.Stick, faultsink.Ambiguous, faultsink.Partial} {
		synctest.Test(t, func(t *testing.T) {
			store, spare := memsink.New(nil), memsink.New(nil)
			sink := faultsink.New(store)
			defer sink.Release()
			var told complaints
			rec := open(t, sink, &jobaudit.Options{Fallback: spare, OnError: told.add})
			id, err := run(t.Context(), rec, func(ctx context.Context) error {
				sink.Set(faultsink.Rule{Fault: fault, Keep: 1})
				trail(ctx).Log(ctx, "during the outage")
				return nil
			})
			require.NoError(t, err)
			require.NotEmpty(t, told.all())
			require.Len(t, of(spare.Trail(id), jobaudit.JobSucceeded), 1, "the outcome is with the fallback sink")

			sink.Set()
			sink.Release()
			require.NoError(t, rec.Drain(t.Context()))
			require.NoError(t, rec.Drain(t.Context()), "draining again changes nothing")
			require.NoError(t, rec.Close(t.Context()))
			j := jobOf(t, store, id)
			require.Equal(t, jobaudit.Success, j.State)
			require.Equal(t, []string{"during the outage"}, j.Logs)
			events(t, store)
		})
	}
}

// The job's own context has mostly ended when its outcome is recorded.
func TestWhatIsToldOfAFallbackComesWithALiveContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := faultsink.New(memsink.New(nil))
		var mu sync.Mutex
		var ended []error
		rec := open(t, sink, &jobaudit.Options{Fallback: memsink.New(nil), OnError: func(ctx context.Context, _ *jobaudit.AuditError) {
			mu.Lock()
			defer mu.Unlock()
			ended = append(ended, ctx.Err())
		}})
		ctx, cancel := context.WithCancel(t.Context())
		_, err := run(ctx, rec, func(context.Context) error {
			sink.Set(faultsink.Rule{Fault: faultsink.Fail})
			cancel()
			return nil
		})
		require.NoError(t, err)
		synctest.Wait()
		require.Equal(t, []error{nil, nil}, ended, "of the sink's error, and of the fallback")
		sink.Set()
		require.NoError(t, rec.Close(t.Context()))
	})
}

func TestASubmissionInDoubtIsSettledByTheNextCall(t *testing.T) {
	for _, fault := range []faultsink.Fault{faultsink.Fail, faultsink.Ambiguous, faultsink.Hang, faultsink.Stick} {
		synctest.Test(t, func(t *testing.T) {
			store := memsink.New(nil)
			sink := faultsink.New(store)
			var told complaints
			rec := open(t, sink, &jobaudit.Options{OnError: told.add})
			sink.Set(faultsink.Rule{Fault: fault})
			tr, err := rec.Submit(t.Context(), submission())
			require.Error(t, err)
			require.NotNil(t, tr)
			sink.Set()
			sink.Release()
			require.NoError(t, tr.Start(t.Context(), jobaudit.Execution{}))
			require.NoError(t, tr.Succeed(t.Context()))
			require.NoError(t, rec.Close(t.Context()))
			events(t, store)
			require.Equal(t, []jobaudit.EventType{
				jobaudit.JobSubmitted, jobaudit.JobAuthorized, jobaudit.JobStarted, jobaudit.JobSucceeded,
			}, types(store.Trail(tr.JobID())))
		})
	}
}

func TestSubmittingAgainUnderTheSameIDMakesNoSecondJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memsink.New(nil)
		sink := faultsink.New(store)
		rec := open(t, sink, nil)
		s := submission()
		s.ID = uuid.Must(uuid.NewV7())
		sink.Set(faultsink.Rule{Fault: faultsink.Ambiguous})
		_, err := rec.Submit(t.Context(), s)
		require.Error(t, err)
		sink.Set()
		tr, err := rec.Submit(t.Context(), s)
		require.NoError(t, err)
		require.NoError(t, tr.Start(t.Context(), jobaudit.Execution{}))
		require.NoError(t, tr.Succeed(t.Context()))
		require.NoError(t, rec.Close(t.Context()))
		j := jobOf(t, store, s.ID)
		require.Equal(t, jobaudit.Success, j.State)
		require.Len(t, j.Unapplied, 1)
		require.Equal(t, jobaudit.CauseDuplicate, j.Unapplied[0].Cause)
		require.Equal(t, []uuid.UUID{s.ID}, store.Jobs())
	})
}

// What callers gave up on before any work began must not pile up while the
// sink is gone.
func TestFailedSubmissionsLeaveNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := faultsink.New(memsink.New(nil))
		rec := open(t, sink, nil)
		sink.Set(faultsink.Rule{Fault: faultsink.Fail})
		for range 50 {
			_, err := rec.Submit(t.Context(), submission())
			require.Error(t, err)
		}
		before := sink.Appends()
		time.Sleep(time.Hour) // of the bubble's clock: nothing is sent again in the background
		require.Equal(t, before, sink.Appends())
		sink.Set()
		require.NoError(t, rec.Close(t.Context()))
	})
}

func TestALineDoesNotHastenARetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memsink.New(nil)
		sink := faultsink.New(store)
		rec := open(t, sink, &jobaudit.Options{OnError: new(complaints).add})
		id, err := run(t.Context(), rec, func(ctx context.Context) error {
			sink.Set(faultsink.Rule{Fault: faultsink.Fail})
			before := sink.Appends()
			for range 100 {
				trail(ctx).Log(ctx, "line")
				synctest.Wait()
			}
			require.Equal(t, before+1, sink.Appends())
			sink.Set()
			return nil
		})
		require.NoError(t, err)
		require.NoError(t, rec.Close(t.Context()))
		require.Len(t, jobOf(t, store, id).Logs, 100)
	})
}

func TestAPanickingSinkIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memsink.New(nil)
		_, err := jobaudit.Open(t.Context(), brittle{store, jobaudit.AuditOpened, func(jobaudit.Record) error { panic("ouch") }}, source, nil)
		_, ok := errors.AsType[*jobaudit.AuditError](err)
		require.True(t, ok, "%v", err)
	})
}

// gated holds one Append until it is released, and then fails it.
type gated struct {
	*memsink.Sink
	gate chan struct{} // nil: open
}

func (g *gated) Append(ctx context.Context, records []jobaudit.Record) error {
	if gate := g.gate; gate != nil {
		g.gate = nil
		<-gate
		return errors.New("the line broke")
	}
	return g.Sink.Append(ctx, records)
}

func TestACallIsNotFailedByAnAppendThatBeganBeforeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &gated{Sink: memsink.New(nil)}
		rec := open(t, sink, &jobaudit.Options{OnError: new(complaints).add})
		gate := make(chan struct{})
		sink.gate = gate
		ctx, leave := context.WithTimeout(t.Context(), time.Millisecond)
		defer leave()
		tr, err := rec.Submit(ctx, submission())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		started := make(chan error)
		go func() { started <- tr.Start(t.Context(), jobaudit.Execution{}) }()
		synctest.Wait()
		close(gate)
		require.NoError(t, <-started)
		require.NoError(t, tr.Succeed(t.Context()))
		require.NoError(t, rec.Close(t.Context()))
		events(t, sink)
	})
}

// wary fails the Append of a start once without saying what became of it, and
// refuses it from then on.
type wary struct {
	*memsink.Sink
	asked int
}

func (w *wary) Append(ctx context.Context, records []jobaudit.Record) error {
	for _, r := range records {
		if r.Type() == jobaudit.JobStarted {
			if w.asked++; w.asked == 1 {
				return errors.New("the line broke")
			}
			return &jobaudit.RecordError{ID: r.ID(), Err: errors.New("too odd")}
		}
	}
	return w.Sink.Append(ctx, records)
}

func TestARefusalBehindADoubtIsToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := open(t, &wary{Sink: memsink.New(nil)}, &jobaudit.Options{OnError: new(complaints).add})
		tr, err := rec.Submit(t.Context(), submission())
		require.NoError(t, err)
		began := time.Now()
		require.Error(t, tr.Start(t.Context(), jobaudit.Execution{}))
		_, refused := errors.AsType[*jobaudit.RecordError](tr.Start(t.Context(), jobaudit.Execution{}))
		require.True(t, refused)
		require.Zero(t, time.Since(began))
		require.NoError(t, rec.Close(t.Context()))
	})
}

// What is kept of jobs that could not start is bounded in bytes, too.
func TestJobsThatCouldNotStartKeepABoundedMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("its jobs have more inputs than are kept")
	}
	synctest.Test(t, func(t *testing.T) {
		registry, err := jobaudit.NewRegistry(&jobaudit.RegistryOptions{PassThrough: true})
		require.NoError(t, err)
		store := memsink.New(nil)
		sink := faultsink.New(store)
		var told complaints
		rec := open(t, sink, &jobaudit.Options{Redactors: registry, OnError: told.add})
		sink.Set(faultsink.Rule{Fault: faultsink.Fail})
		s := submission()
		s.Inputs = strings.Repeat("input ", 2500)
		const jobs = 1500
		for range jobs {
			require.Error(t, rec.Run(t.Context(), s, func(context.Context) error { t.Error("it ran"); return nil }))
		}
		require.NotEmpty(t, told.all(), "who was dropped is told")
		sink.Set()
		require.NoError(t, rec.Close(t.Context()))
		kept := len(of(events(t, store), jobaudit.JobCancelled))
		require.Less(t, kept, jobs)
		require.Greater(t, kept, jobs/2)
	})
}
