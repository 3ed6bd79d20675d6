package jobaudit_test

import (
	"context"
	"errors"
	"runtime"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// typesOf lists the types of a job's events.
func typesOf(t *testing.T, sink *memsink.Sink, id uuid.UUID) []jobaudit.EventType {
	t.Helper()
	var types []jobaudit.EventType
	for r, err := range sink.Records(t.Context(), jobaudit.Query{JobID: id}) {
		require.NoError(t, err)
		types = append(types, r.Type())
	}
	return types
}

func TestAPreparedJobIsNotOnRecordUntilItIsSubmitted(t *testing.T) {
	sink := memsink.New(nil)
	rec := open(t, sink, nil)
	trail, err := rec.Prepare(t.Context(), submission())
	require.NoError(t, err)
	carrier, err := jobaudit.ParseCarrier(trail.Carrier().String())
	require.NoError(t, err)
	require.Empty(t, typesOf(t, sink, trail.JobID()))

	require.NoError(t, trail.Submit(t.Context()))
	require.NoError(t, trail.Submit(t.Context()), "again: nothing new")
	resumed, err := rec.Resume(t.Context(), carrier, nil)
	require.NoError(t, err)
	require.NoError(t, resumed.Run(t.Context(), jobaudit.Execution{}, func(context.Context) error { return nil }))
	require.Equal(t, []jobaudit.EventType{
		jobaudit.JobSubmitted, jobaudit.JobAuthorized, jobaudit.JobStarted, jobaudit.JobSucceeded,
	}, typesOf(t, sink, trail.JobID()))
	for _, e := range events(t, sink) {
		if e.Type == jobaudit.JobAuthorized {
			require.NotZero(t, e.CausationID, "it follows from the submission, though that was not stored yet")
		}
	}
}

func TestAPreparedJobIsHeldToWhatASubmissionMustSay(t *testing.T) {
	rec := open(t, memsink.New(nil), nil)
	s := submission()
	s.Trigger.Reason = ""
	trail, err := rec.Prepare(t.Context(), s)
	require.Nil(t, trail)
	requireField(t, err, "why.reason")
}

func TestASubmissionThatNoLogHoldsIsRecordedFromItsCarrier(t *testing.T) {
	sink := memsink.New(nil)
	rec := open(t, sink, nil)
	prepared, err := rec.Prepare(t.Context(), submission())
	require.NoError(t, err)
	resumed, err := rec.Resume(t.Context(), prepared.Carrier(), nil)
	require.NoError(t, err)
	require.NoError(t, resumed.Start(t.Context(), jobaudit.Execution{}))
	require.NoError(t, resumed.Submit(t.Context()))
	require.NoError(t, resumed.Submit(t.Context()), "again: nothing new")
	require.NoError(t, resumed.Succeed(t.Context()))

	job, err := jobaudit.Replay(sink.Records(t.Context(), jobaudit.Query{JobID: prepared.JobID()}))
	require.NoError(t, err)
	require.Equal(t, jobaudit.Success, job.State)
	require.False(t, job.Incomplete)
	require.Empty(t, job.Unapplied)
	require.Equal(t, "ann", job.Metadata.UserID)
	events(t, sink)
}

func TestAnUnsettledExecutionIsEndedByWhoeverKnowsHow(t *testing.T) {
	failure := errors.New("no")
	for name, test := range map[string]struct {
		end  func(context.Context, *jobaudit.Trail) error
		last jobaudit.EventType
	}{
		"the function failed and the job succeeded": {func(ctx context.Context, t *jobaudit.Trail) error { return t.Succeed(ctx) }, jobaudit.JobSucceeded},
		"the job failed":        {func(ctx context.Context, t *jobaudit.Trail) error { return t.Fail(ctx, failure) }, jobaudit.JobFailed},
		"the job was cancelled": {func(ctx context.Context, t *jobaudit.Trail) error { return t.Cancel(ctx, "enough") }, jobaudit.JobCancelled},
	} {
		t.Run(name, func(t *testing.T) {
			sink := memsink.New(nil)
			rec := open(t, sink, nil)
			trail, err := rec.Submit(t.Context(), submission())
			require.NoError(t, err)
			err = trail.Run(t.Context(), jobaudit.Execution{Unsettled: true}, func(context.Context) error { return failure })
			require.ErrorIs(t, err, failure)
			require.Equal(t, []jobaudit.EventType{jobaudit.JobSubmitted, jobaudit.JobAuthorized, jobaudit.JobStarted},
				typesOf(t, sink, trail.JobID()))
			require.NoError(t, test.end(t.Context(), trail))
			types := typesOf(t, sink, trail.JobID())
			require.Equal(t, test.last, types[len(types)-1])
		})
	}
}

func TestThePanicOfAnUnsettledExecutionIsToldByItsEnd(t *testing.T) {
	sink := memsink.New(nil)
	rec := open(t, sink, nil)
	trail, err := rec.Submit(t.Context(), submission())
	require.NoError(t, err)
	require.PanicsWithValue(t, 42, func() {
		_ = trail.Run(t.Context(), jobaudit.Execution{Unsettled: true}, func(context.Context) error { panic(42) })
	})
	require.NoError(t, trail.Fail(t.Context(), nil))
	job, err := jobaudit.Replay(sink.Records(t.Context(), jobaudit.Query{JobID: trail.JobID()}))
	require.NoError(t, err)
	require.Equal(t, string(jobaudit.CodePanic), string(job.Error.Code))
	require.Equal(t, "int", job.Error.Type)
	require.Contains(t, job.Error.Frame, "unsettled_test.go")
}

func TestAnUnsettledExecutionThatExitsIsAFailedAttempt(t *testing.T) {
	sink := memsink.New(nil)
	rec := open(t, sink, nil)
	trail, err := rec.Submit(t.Context(), submission())
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = trail.Run(t.Context(), jobaudit.Execution{Unsettled: true}, func(context.Context) error {
			runtime.Goexit()
			return nil
		})
	}()
	<-done
	require.NoError(t, trail.Flush(t.Context()))
	types := typesOf(t, sink, trail.JobID())
	require.Equal(t, jobaudit.AttemptFailed, types[len(types)-1])
}

func TestARevokedUnsettledJobIsCancelledAsForbidden(t *testing.T) {
	sink := memsink.New(nil)
	rec := open(t, sink, nil)
	trail, err := rec.Submit(t.Context(), submission())
	require.NoError(t, err)
	err = trail.Run(t.Context(), jobaudit.Execution{Unsettled: true}, func(ctx context.Context) error {
		if err := trail.Deny(context.WithoutCancel(ctx), jobaudit.Decision{By: "opa"}); err != nil {
			return err
		}
		<-ctx.Done()
		return context.Cause(ctx)
	})
	require.ErrorIs(t, err, jobaudit.ErrDenied)
	require.NoError(t, trail.Cancel(t.Context(), "revoked"))
	job, err := jobaudit.Replay(sink.Records(t.Context(), jobaudit.Query{JobID: trail.JobID()}))
	require.NoError(t, err)
	require.Equal(t, jobaudit.Cancelled, job.State)
	require.Equal(t, string(jobaudit.CodeForbidden), string(job.Error.Code))
}

func TestARefusalThatIsPutOffCanBeTold(t *testing.T) {
	for _, later := range []bool{false, true} {
		rec := open(t, memsink.New(nil), &jobaudit.Options{
			Authorize: func(context.Context, jobaudit.Submission) (jobaudit.Decision, error) {
				return jobaudit.Decision{AskAgain: later}, nil
			},
		})
		trail, err := rec.Submit(t.Context(), submission())
		require.NoError(t, err)
		err = trail.Start(t.Context(), jobaudit.Execution{})
		require.ErrorIs(t, err, jobaudit.ErrDenied)
		refusal, ok := errors.AsType[*jobaudit.AuditError](err)
		require.True(t, ok)
		require.Equal(t, later, refusal.AskAgain())
	}
}
