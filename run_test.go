package jobaudit_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

type quotaError struct{ code string }

func (e quotaError) Error() string        { return "coded" }
func (e quotaError) JobErrorCode() string { return e.code }

type wildError struct{}

func (wildError) Error() string { panic("no message") }

func TestRunRecordsHowTheFunctionEnded(t *testing.T) {
	cancelled := func(parent context.Context) context.Context {
		ctx, cancel := context.WithCancel(parent)
		context.AfterFunc(parent, cancel)
		return context.WithValue(ctx, cancelKey{}, cancel)
	}
	expired := func(parent context.Context) context.Context {
		ctx, cancel := context.WithTimeout(parent, time.Second)
		context.AfterFunc(parent, cancel)
		return ctx
	}
	plain := func(ctx context.Context) context.Context { return ctx }
	for _, c := range []struct {
		name  string
		ctx   func(context.Context) context.Context
		fn    func(context.Context) error
		state jobaudit.JobState
		want  jobaudit.ErrorDetail
	}{
		{"nil", plain, func(context.Context) error { return nil }, jobaudit.Success, jobaudit.ErrorDetail{}},
		{"error", plain, func(context.Context) error { return fmt.Errorf("wrapped: %w", errWork) }, jobaudit.Failed,
			jobaudit.ErrorDetail{Code: jobaudit.CodeError, Message: "wrapped: the work itself failed", Type: "*errors.errorString"}},
		{"error with its own code", plain, func(context.Context) error { return fmt.Errorf("wrapped: %w", quotaError{"QUOTA"}) }, jobaudit.Failed,
			jobaudit.ErrorDetail{Code: "QUOTA", Message: "wrapped: coded", Type: "jobaudit_test.quotaError"}},
		{"error with an empty code", plain, func(context.Context) error { return quotaError{""} }, jobaudit.Failed,
			jobaudit.ErrorDetail{Code: jobaudit.CodeError, Message: "coded", Type: "jobaudit_test.quotaError"}},
		{"error whose message panics", plain, func(context.Context) error { return wildError{} }, jobaudit.Failed,
			jobaudit.ErrorDetail{Code: jobaudit.CodeError, Message: "(dropped: error_panic)", Type: "jobaudit_test.wildError"}},
		{"cancelled", cancelled, func(ctx context.Context) error { cancelOf(ctx)(); return ctx.Err() }, jobaudit.Cancelled,
			jobaudit.ErrorDetail{Code: jobaudit.CodeCancelled, Message: "context canceled", Type: "*errors.errorString"}},
		{"cancelled, with an error of another kind", cancelled, func(ctx context.Context) error { cancelOf(ctx)(); return errWork }, jobaudit.Cancelled,
			jobaudit.ErrorDetail{Code: jobaudit.CodeCancelled, Message: "the work itself failed", Type: "*errors.errorString"}},
		{"cancelled, but done", cancelled, func(ctx context.Context) error { cancelOf(ctx)(); return nil }, jobaudit.Success, jobaudit.ErrorDetail{}},
		{"deadline", expired, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, jobaudit.Failed,
			jobaudit.ErrorDetail{Code: jobaudit.CodeTimeout, Message: "context deadline exceeded", Type: "context.deadlineExceededError"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := memsink.New(nil)
				rec := open(t, store, nil)
				var got error
				id, err := run(c.ctx(t.Context()), rec, func(ctx context.Context) error {
					got = c.fn(ctx)
					return got
				})
				require.Equal(t, got, err, "Run returns the function's own error")
				require.NoError(t, rec.Close(t.Context()))
				j := jobOf(t, store, id)
				require.Equal(t, c.state, j.State)
				if c.state != jobaudit.Success {
					require.Equal(t, c.want, *j.Error)
				}
				require.False(t, j.CompletedAt.IsZero())
				require.Len(t, j.Executions, 1)
				events(t, store)
			})
		})
	}
}

type cancelKey struct{}

func cancelOf(ctx context.Context) context.CancelFunc {
	return ctx.Value(cancelKey{}).(context.CancelFunc)
}

func explode() { panic(errWork) }

func TestAPanicIsDurableBeforeItGoesOn(t *testing.T) {
	store := memsink.New(nil)
	rec := open(t, store, nil)
	var id uuid.UUID
	func() {
		defer func() {
			require.Equal(t, any(errWork), recover(), "the same value goes on")
			j := jobOf(t, store, id)
			require.Equal(t, jobaudit.Failed, j.State, "the outcome is stored before the panic goes on")
			require.Equal(t, jobaudit.CodePanic, j.Error.Code)
			require.Equal(t, "*errors.errorString", j.Error.Type)
			require.Regexp(t, `jobaudit_test\.explode run_test\.go:\d+$`, j.Error.Frame)
			require.NotContains(t, j.Error.Message, errWork.Error(), "a panic's value is not kept")
		}()
		_, _ = run(t.Context(), rec, func(ctx context.Context) error {
			id = trail(ctx).JobID()
			explode()
			return nil
		})
	}()
	require.NoError(t, rec.Close(t.Context()))
}

func TestGoexitIsAnEnd(t *testing.T) {
	store := memsink.New(nil)
	rec := open(t, store, nil)
	ids := make(chan uuid.UUID, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = run(t.Context(), rec, func(ctx context.Context) error {
			ids <- trail(ctx).JobID()
			runtime.Goexit()
			return nil
		})
	}()
	<-ended
	j := jobOf(t, store, <-ids)
	require.Equal(t, jobaudit.Failed, j.State)
	require.Equal(t, jobaudit.CodeGoexit, j.Error.Code)
	require.NoError(t, rec.Close(t.Context()))
}

func TestRunAddsNoOutcomeToOneThatTheFunctionRecorded(t *testing.T) {
	store := memsink.New(nil)
	rec := open(t, store, nil)
	for name, c := range map[string]struct {
		record func(context.Context, *jobaudit.Trail)
		state  jobaudit.JobState
		last   jobaudit.EventType
	}{
		"succeed":  {func(ctx context.Context, tr *jobaudit.Trail) { _ = tr.Succeed(ctx) }, jobaudit.Success, jobaudit.JobSucceeded},
		"fail":     {func(ctx context.Context, tr *jobaudit.Trail) { _ = tr.Fail(ctx, errWork) }, jobaudit.Failed, jobaudit.JobFailed},
		"cancel":   {func(ctx context.Context, tr *jobaudit.Trail) { _ = tr.Cancel(ctx, "enough") }, jobaudit.Cancelled, jobaudit.JobCancelled},
		"retrying": {func(ctx context.Context, tr *jobaudit.Trail) { tr.Retrying(ctx, errWork) }, jobaudit.Running, jobaudit.AttemptFailed},
	} {
		t.Run(name, func(t *testing.T) {
			id, err := run(t.Context(), rec, func(ctx context.Context) error {
				c.record(ctx, trail(ctx))
				require.NoError(t, trail(ctx).Flush(ctx))
				return errWork
			})
			require.Equal(t, errWork, err)
			// What the function returned behind an outcome may follow as attempt.late.
			list := slices.DeleteFunc(store.Trail(id), func(e jobaudit.Event) bool { return e.Type == jobaudit.AttemptLate })
			require.Equal(t, c.last, list[len(list)-1].Type)
			require.Equal(t, c.state, jobOf(t, store, id).State)
		})
	}
	require.NoError(t, rec.Close(t.Context()))
}

func TestAJobThatIsRetriedRunsInSeveralExecutions(t *testing.T) {
	store := memsink.New(nil)
	rec := open(t, store, nil)
	tr, err := rec.Submit(t.Context(), submission())
	require.NoError(t, err)
	carrier := tr.Carrier()
	for attempt := 1; attempt <= 3; attempt++ {
		worker, err := rec.Resume(t.Context(), carrier, nil)
		require.NoError(t, err)
		_ = worker.Run(t.Context(), jobaudit.Execution{Attempt: attempt}, func(ctx context.Context) error {
			if attempt < 3 {
				trail(ctx).Retrying(ctx, errWork)
				return errWork
			}
			return nil
		})
		require.NoError(t, worker.Flush(t.Context()))
	}
	require.NoError(t, rec.Close(t.Context()))
	j := jobOf(t, store, tr.JobID())
	require.Equal(t, jobaudit.Success, j.State)
	require.Equal(t, 3, j.Attempt)
	require.Len(t, j.Executions, 3)
	require.Empty(t, j.Unapplied)
	require.Equal(t, jobaudit.AttemptFailed, j.Executions[1].End)
	require.NotEqual(t, j.Executions[0].ID, j.Executions[1].ID, "an attempt number is no key")
	require.Equal(t, []jobaudit.EventType{
		jobaudit.JobSubmitted,
		jobaudit.JobAuthorized, jobaudit.JobStarted, jobaudit.AttemptFailed,
		jobaudit.JobAuthorized, jobaudit.AttemptStarted, jobaudit.AttemptFailed,
		jobaudit.JobAuthorized, jobaudit.AttemptStarted, jobaudit.JobSucceeded,
	}, types(store.Trail(tr.JobID())))
}

func TestHeartbeatsAnnounceWhenTheNextIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memsink.New(nil)
		rec := open(t, store, &jobaudit.Options{Heartbeat: time.Minute})
		id, err := run(t.Context(), rec, func(ctx context.Context) error {
			trail(ctx).Heartbeat(ctx, 1, 4)
			time.Sleep(150 * time.Second)
			return nil
		})
		require.NoError(t, err)
		time.Sleep(time.Hour) // no heartbeat follows the end
		require.NoError(t, rec.Close(t.Context()))
		list := store.Trail(id)
		beats := of(list, jobaudit.JobHeartbeat)
		require.Len(t, beats, 3)
		for _, b := range append(of(list, jobaudit.JobStarted), beats...) {
			require.Equal(t, b.Time.Add(3*time.Minute), b.Data.Heartbeat.Deadline)
		}
		require.Equal(t, &struct{ Done, Total int64 }{1, 4}, beats[2].Data.Heartbeat.Progress, "the ticker repeats the newest progress")
	})
}

// An execution whose deadline is shorter than the recorder's Heartbeat would
// look dead between any two heartbeats.
func TestHeartbeatsKeepTheDeadlineThatTheExecutionAnnounced(t *testing.T) {
	for deadline, want := range map[time.Duration]int{ // heartbeats in ten minutes
		3 * time.Second: 599, time.Minute: 29, 15 * time.Minute: 1, time.Hour: 1, 0: 1, // behind the end comes none
	} {
		synctest.Test(t, func(t *testing.T) {
			store := memsink.New(nil)
			rec := open(t, store, &jobaudit.Options{Heartbeat: 5 * time.Minute})
			tr, err := rec.Submit(t.Context(), submission())
			require.NoError(t, err)
			require.NoError(t, tr.Run(t.Context(), jobaudit.Execution{Deadline: deadline}, func(context.Context) error {
				time.Sleep(10*time.Minute - time.Millisecond)
				return nil
			}))
			require.NoError(t, rec.Close(t.Context()))
			alive := store.Trail(tr.JobID())
			require.Len(t, of(alive, jobaudit.JobHeartbeat), want, deadline)
			for i, e := range alive[3:] {
				if due := alive[i+2].Data.Heartbeat.Deadline; !due.IsZero() {
					require.False(t, e.Time.After(due), "%s: silent until %s", deadline, e.Time)
				}
			}
		})
	}
}

func TestADeniedJobDoesNotRun(t *testing.T) {
	store := memsink.New(nil)
	var asked []any
	decision := jobaudit.Decision{By: "opa", Permission: "index:rebuild", Reason: "not on call"}
	rec := open(t, store, &jobaudit.Options{Authorize: func(_ context.Context, s jobaudit.Submission) (jobaudit.Decision, error) {
		require.Equal(t, "ann", s.Principal.ID)
		asked = append(asked, s.Inputs)
		return decision, nil
	}})
	s := submission()
	s.ID, s.Inputs = uuid.New(), "inputs"
	err := rec.Run(t.Context(), s, func(context.Context) error { t.Error("it ran"); return nil })
	require.ErrorIs(t, err, jobaudit.ErrDenied)
	require.Equal(t, []any{"inputs"}, asked, "who decides sees the inputs as they are")
	_, audit := errors.AsType[*jobaudit.AuditError](err)
	require.True(t, audit)
	j := jobOf(t, store, s.ID)
	require.Equal(t, jobaudit.Cancelled, j.State)
	require.Equal(t, jobaudit.ErrorDetail{Code: jobaudit.CodeForbidden, Message: "not on call"}, *j.Error)
	denied := of(store.Trail(s.ID), jobaudit.JobDenied)
	require.Equal(t, decision, *denied[0].Data.Decision)

	tr, err := rec.Submit(t.Context(), submission())
	require.NoError(t, err)
	require.NoError(t, tr.Deny(t.Context(), decision))
	require.ErrorIs(t, tr.Run(t.Context(), jobaudit.Execution{}, func(context.Context) error { t.Error("it ran"); return nil }), jobaudit.ErrDenied)

	decision.AskAgain = true
	s.ID = uuid.New()
	require.ErrorIs(t, rec.Run(t.Context(), s, func(context.Context) error { t.Error("it ran"); return nil }), jobaudit.ErrDenied)
	require.Equal(t, jobaudit.Cancelled, jobOf(t, store, s.ID).State, "no queue will bring it back")
	tr, err = rec.Submit(t.Context(), submission())
	require.NoError(t, err)
	require.ErrorIs(t, tr.Run(t.Context(), jobaudit.Execution{}, func(context.Context) error { t.Error("it ran"); return nil }), jobaudit.ErrDenied)
	require.Equal(t, jobaudit.Pending, jobOf(t, store, tr.JobID()).State, "a job that is put off stays pending")
	decision = jobaudit.Decision{Allowed: true, By: "opa"}
	require.NoError(t, tr.Run(t.Context(), jobaudit.Execution{}, func(context.Context) error { return nil }))
	require.Equal(t, []jobaudit.EventType{
		jobaudit.JobSubmitted, jobaudit.AttemptDeferred, jobaudit.JobAuthorized, jobaudit.JobStarted, jobaudit.JobSucceeded,
	}, types(store.Trail(tr.JobID())))
	require.NoError(t, rec.Close(t.Context()))
}

func TestAnAuthorizerThatCannotDecideLetsNothingRun(t *testing.T) {
	for name, authorize := range map[string]func(context.Context, jobaudit.Submission) (jobaudit.Decision, error){
		"error": func(context.Context, jobaudit.Submission) (jobaudit.Decision, error) {
			return jobaudit.Decision{Allowed: true}, errWork
		},
		"panic": func(context.Context, jobaudit.Submission) (jobaudit.Decision, error) { panic("ouch") },
		"hang": func(ctx context.Context, _ jobaudit.Submission) (jobaudit.Decision, error) {
			<-ctx.Done()
			return jobaudit.Decision{Allowed: true}, ctx.Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := memsink.New(nil)
				rec := open(t, store, &jobaudit.Options{Authorize: authorize})
				id, err := run(t.Context(), rec, func(context.Context) error { t.Error("it ran"); return nil })
				_, audit := errors.AsType[*jobaudit.AuditError](err)
				require.True(t, audit, "%v", err)
				require.NoError(t, rec.Close(t.Context()))
				j := jobOf(t, store, id)
				require.Equal(t, jobaudit.Cancelled, j.State)
				require.Equal(t, jobaudit.CodeNotRun, j.Error.Code)
			})
		})
	}
}

func TestARevokedJobIsCancelledWithoutLeavingRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memsink.New(nil)
		var allowed atomic.Bool
		allowed.Store(true)
		rec := open(t, store, &jobaudit.Options{
			Heartbeat: time.Second, Reauthorize: true,
			Authorize: func(context.Context, jobaudit.Submission) (jobaudit.Decision, error) {
				return jobaudit.Decision{Allowed: allowed.Load(), By: "opa"}, nil
			},
		})
		id, err := run(t.Context(), rec, func(ctx context.Context) error {
			time.Sleep(2500 * time.Millisecond)
			allowed.Store(false)
			<-ctx.Done()
			require.ErrorIs(t, context.Cause(ctx), jobaudit.ErrDenied)
			return nil // even so
		})
		require.NoError(t, err)
		require.NoError(t, rec.Close(t.Context()))
		list := store.Trail(id)
		denied := of(list, jobaudit.JobDenied)
		require.Len(t, denied, 1)
		require.Equal(t, jobaudit.Running, denied[0].Job.State)
		j := jobOf(t, store, id)
		require.Equal(t, jobaudit.Cancelled, j.State)
		require.Equal(t, jobaudit.CodeForbidden, j.Error.Code)
	})
}

func TestAQueuesAttemptIsKeptAliveAndEndsAsItsQueueSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memsink.New(nil)
		var allowed atomic.Bool
		allowed.Store(true)
		rec := open(t, store, &jobaudit.Options{
			Heartbeat: time.Second, Reauthorize: true,
			Authorize: func(context.Context, jobaudit.Submission) (jobaudit.Decision, error) {
				return jobaudit.Decision{Allowed: allowed.Load(), By: "opa"}, nil
			},
		})
		job, err := rec.Submit(t.Context(), submission())
		require.NoError(t, err)
		require.NoError(t, job.Start(t.Context(), jobaudit.Execution{}))
		ctx, stop := job.KeepAlive(t.Context())
		require.Equal(t, job, trail(ctx))
		time.Sleep(1500 * time.Millisecond)
		allowed.Store(false)
		<-ctx.Done()
		require.ErrorIs(t, context.Cause(ctx), jobaudit.ErrDenied)
		synctest.Wait() // for the heartbeat that follows the answer
		require.NoError(t, stop())
		time.Sleep(time.Minute)
		require.NoError(t, job.Cancel(t.Context(), "taken off the queue"))
		require.NoError(t, rec.Close(t.Context()))
		list := store.Trail(job.JobID())
		require.Len(t, of(list, jobaudit.JobHeartbeat), 2, "none behind stop")
		require.Len(t, of(list, jobaudit.JobDenied), 1)
		require.Equal(t, jobaudit.JobCancelled, list[len(list)-1].Type)
		require.Len(t, list, 7, "no end but the queue's")
		require.Equal(t, jobaudit.CodeForbidden, jobOf(t, store, job.JobID()).Error.Code)
	})
}

func TestCallKeepsOfTheResultWhatThePolicyKeeps(t *testing.T) {
	type result struct{ Run, Token string }
	type kept struct{ Run string }
	registry, err := jobaudit.NewRegistry(nil, jobaudit.NewRedactor("rebuild-index", "1",
		jobaudit.Output(func(r result) (kept, error) { return kept{r.Run}, nil })))
	require.NoError(t, err)
	store := memsink.New(nil)
	rec := open(t, store, &jobaudit.Options{Redactors: registry})
	s := submission()
	s.ID = uuid.New()
	out, err := jobaudit.Call(t.Context(), rec, s, func(context.Context) (result, error) {
		return result{"42", "hunter2-hunter2"}, nil
	})
	require.NoError(t, err)
	require.Equal(t, result{"42", "hunter2-hunter2"}, out)
	require.JSONEq(t, `{"Run":"42"}`, string(jobOf(t, store, s.ID).Output))
	store.ExpectAbsent(t, "hunter2-hunter2")
	require.NoError(t, rec.Close(t.Context()))
}

func TestAHeartbeatPromisesNothingWhereNoneIsDue(t *testing.T) {
	store := memsink.New(nil)
	rec := open(t, store, &jobaudit.Options{Heartbeat: -1})
	id, err := run(t.Context(), rec, func(ctx context.Context) error {
		trail(ctx).Heartbeat(ctx, 1, 0)
		return nil
	})
	require.NoError(t, err)
	require.NoError(t, rec.Close(t.Context()))
	for _, e := range store.Trail(id) {
		require.Zero(t, e.Data.Heartbeat.Deadline, "%s says that the job may be taken for dead", e.Type)
	}
	require.Len(t, of(store.Trail(id), jobaudit.JobHeartbeat), 1)
}

// A second Run of a Trail supersedes the first, which ends all the same.
func TestEachExecutionThatOverlapsAnotherHasItsOwnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, firstEndsFirst := range []bool{true, false} {
			store := memsink.New(nil)
			rec := open(t, store, nil)
			tr, err := rec.Submit(t.Context(), submission())
			require.NoError(t, err)
			var wg sync.WaitGroup
			for i, last := range []time.Duration{time.Minute, time.Minute} {
				if i == 0 && !firstEndsFirst {
					last += time.Minute
				}
				wg.Go(func() {
					time.Sleep(time.Duration(i) * time.Second)
					_ = tr.Run(t.Context(), jobaudit.Execution{}, func(context.Context) error {
						time.Sleep(last)
						if i == 0 {
							return errWork
						}
						return nil
					})
				})
			}
			wg.Wait()
			require.NoError(t, rec.Close(t.Context()))
			j := jobOf(t, store, tr.JobID())
			require.Equal(t, jobaudit.Success, j.State, "the newest execution says how the job ended")
			require.Len(t, j.Executions, 2)
			require.Equal(t, jobaudit.AttemptLate, j.Executions[0].End)
			require.Equal(t, jobaudit.JobSucceeded, j.Executions[1].End)
			late := of(store.Trail(tr.JobID()), jobaudit.AttemptLate)
			require.Len(t, late, 1)
			require.Equal(t, jobaudit.CodeError, late[0].Data.Error.Code)
		}
	})
}
