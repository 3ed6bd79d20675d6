package jobaudit_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/faultsink"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// P6: a job that was refused has an end, whatever the sink does meanwhile.
func TestADenialThatTheSinkDidNotTakeIsSentOn(t *testing.T) {
	for _, fault := range []faultsink.Fault{faultsink.Fail, faultsink.Ambiguous, faultsink.Hang, faultsink.Stick} {
		for _, owned := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				store := memsink.New(nil)
				sink := faultsink.New(store)
				rec := open(t, sink, &jobaudit.Options{
					OnError: new(complaints).add,
					Authorize: func(context.Context, jobaudit.Submission) (jobaudit.Decision, error) {
						sink.Set(faultsink.Rule{Fault: fault})
						return jobaudit.Decision{By: "opa", Reason: "no"}, nil
					},
				})
				began := time.Now()
				fn := func(context.Context) error { t.Error("it ran"); return nil }
				s := submission()
				s.ID = uuid.Must(uuid.NewV7())
				var err error
				if owned {
					err = rec.Run(t.Context(), s, fn)
				} else {
					tr, submitErr := rec.Submit(t.Context(), s)
					require.NoError(t, submitErr)
					err = tr.Run(t.Context(), jobaudit.Execution{}, fn)
				}
				require.ErrorIs(t, err, jobaudit.ErrDenied)
				require.LessOrEqual(t, time.Since(began), 5*time.Second)
				sink.Set()
				sink.Release()
				require.NoError(t, rec.Close(t.Context()))
				j := jobOf(t, store, s.ID)
				require.Equal(t, jobaudit.Cancelled, j.State)
				require.Equal(t, jobaudit.ErrorDetail{Code: jobaudit.CodeForbidden, Message: "no"}, *j.Error)
				events(t, store)
			})
		}
	}
}

// A denial is recorded although the caller's time is up when it is known.
func TestADenialThatComesWithTheCallersDeadlineIsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memsink.New(nil)
		rec := open(t, store, &jobaudit.Options{
			Authorize: func(ctx context.Context, _ jobaudit.Submission) (jobaudit.Decision, error) {
				<-ctx.Done()
				return jobaudit.Decision{By: "opa"}, nil
			},
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		id, err := run(ctx, rec, func(context.Context) error { t.Error("it ran"); return nil })
		require.ErrorIs(t, err, jobaudit.ErrDenied)
		require.NoError(t, rec.Close(t.Context()))
		require.Equal(t, jobaudit.CodeForbidden, jobOf(t, store, id).Error.Code)
	})
}

func TestAJobThatIsDeniedWhileItsStartIsStoredDoesNotRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		starting := make(chan struct{})
		store := &gatedBy{Sink: memsink.New(nil), gates: map[jobaudit.EventType]chan struct{}{jobaudit.JobStarted: starting}}
		rec := open(t, store, nil)
		tr, err := rec.Submit(t.Context(), submission())
		require.NoError(t, err)
		ran := make(chan error)
		go func() {
			ran <- tr.Run(t.Context(), jobaudit.Execution{}, func(context.Context) error { t.Error("it ran"); return nil })
		}()
		synctest.Wait()
		go func() { _ = tr.Deny(t.Context(), jobaudit.Decision{By: "ops"}) }()
		synctest.Wait()
		close(starting)
		require.ErrorIs(t, <-ran, jobaudit.ErrDenied)
		require.NoError(t, rec.Close(t.Context()))
		j := jobOf(t, store, tr.JobID())
		require.Equal(t, jobaudit.Cancelled, j.State)
		require.Equal(t, jobaudit.CodeForbidden, j.Error.Code)
	})
}

func TestARevokedJobDoesNotStartAgainUnlessItIsAuthorizedAnew(t *testing.T) {
	store := memsink.New(nil)
	rec := open(t, store, nil)
	tr, err := rec.Submit(t.Context(), submission())
	require.NoError(t, err)
	require.Equal(t, errWork, tr.Run(t.Context(), jobaudit.Execution{}, func(ctx context.Context) error {
		require.NoError(t, tr.Deny(ctx, jobaudit.Decision{By: "ops"}))
		require.True(t, errors.Is(context.Cause(ctx), jobaudit.ErrDenied))
		tr.Retrying(ctx, errWork)
		return errWork
	}))
	require.ErrorIs(t, tr.Start(t.Context(), jobaudit.Execution{}), jobaudit.ErrDenied)
	require.NoError(t, tr.Authorize(t.Context(), jobaudit.Decision{Allowed: true, By: "ops"}))
	require.NoError(t, tr.Run(t.Context(), jobaudit.Execution{}, func(context.Context) error { return nil }))
	require.NoError(t, rec.Close(t.Context()))
	require.Equal(t, jobaudit.Success, jobOf(t, store, tr.JobID()).State)
}

// A resumed job asks again, whatever a reader says of its executions.
func TestAJobWhoseAuthorizationWasWithdrawnDoesNotRunAgain(t *testing.T) {
	store := memsink.New(nil)
	allowed := true
	rec := open(t, store, &jobaudit.Options{
		Authorize: func(context.Context, jobaudit.Submission) (jobaudit.Decision, error) {
			return jobaudit.Decision{Allowed: allowed, By: "opa"}, nil
		},
	})
	first, err := rec.Submit(t.Context(), submission())
	require.NoError(t, err)
	require.NoError(t, first.Start(t.Context(), jobaudit.Execution{}))
	allowed = false
	require.NoError(t, first.Deny(t.Context(), jobaudit.Decision{By: "opa", Reason: "withdrawn"}))
	first.Retrying(t.Context(), errWork)
	require.NoError(t, first.Flush(t.Context()))

	again, err := rec.Resume(t.Context(), first.Carrier(), nil)
	require.NoError(t, err)
	require.NoError(t, again.Observe(jobOf(t, store, first.JobID())))
	require.ErrorIs(t, again.Start(t.Context(), jobaudit.Execution{}), jobaudit.ErrDenied)
	require.Len(t, jobOf(t, store, first.JobID()).Executions, 1)
	require.NoError(t, rec.Close(t.Context()))
}
