package jobaudit_test

import (
	"context"
	"errors"
	"fmt"
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

// How an execution ended is what its caller says, whatever its function did.
func TestAKeptAliveExecutionIsEndedByWhoeverKnowsHow(t *testing.T) {
	failure := errors.New("no")
	for name, test := range map[string]struct {
		end  func(context.Context, *jobaudit.Trail) error
		last jobaudit.EventType
	}{
		"succeeded": {func(ctx context.Context, t *jobaudit.Trail) error { return t.Succeed(ctx) }, jobaudit.JobSucceeded},
		"failed":    {func(ctx context.Context, t *jobaudit.Trail) error { return t.Fail(ctx, failure) }, jobaudit.JobFailed},
		"cancelled": {func(ctx context.Context, t *jobaudit.Trail) error { return t.Cancel(ctx, "enough") }, jobaudit.JobCancelled},
	} {
		t.Run(name, func(t *testing.T) {
			sink := memsink.New(nil)
			trail := begun(t, open(t, sink, nil))
			ctx, stop := trail.KeepAlive(t.Context())
			require.NoError(t, stop())
			require.ErrorIs(t, ctx.Err(), context.Canceled)
			require.Equal(t, []jobaudit.EventType{jobaudit.JobSubmitted, jobaudit.JobAuthorized, jobaudit.JobStarted},
				typesOf(t, sink, trail.JobID()))
			require.NoError(t, test.end(t.Context(), trail))
			types := typesOf(t, sink, trail.JobID())
			require.Equal(t, test.last, types[len(types)-1])
		})
	}
}

func begun(t *testing.T, rec *jobaudit.Recorder) *jobaudit.Trail {
	t.Helper()
	trail, err := rec.Submit(t.Context(), submission())
	require.NoError(t, err)
	require.NoError(t, trail.Start(t.Context(), jobaudit.Execution{}))
	return trail
}

// stopped calls fn as a framework's middleware does, in a deferred function of a
// goroutine that panics already if nested, and returns what stop said.
func stopped(trail *jobaudit.Trail, nested bool, fn func()) (how error) {
	call := func() {
		_, stop := trail.KeepAlive(context.Background())
		defer func() { how = stop() }()
		fn()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = recover() }()
		if nested {
			defer call()
			panic("outer")
		}
		call()
	}()
	<-done
	return how
}

func TestStopTellsHowAFunctionEndsThatDoesNotReturn(t *testing.T) {
	for name, test := range map[string]struct {
		fn   func()
		code jobaudit.ErrorCode // "" if the function returns
	}{
		"returns": {func() {}, ""},
		"panics":  {func() { panic("hunter2") }, jobaudit.CodePanic},
		"panics in the runtime": {func() {
			var list []int
			_ = list[len(list)]
		}, jobaudit.CodePanic},
		"exits":                   {runtime.Goexit, jobaudit.CodeGoexit},
		"recovers":                {func() { defer func() { _ = recover() }(); panic("hunter2") }, ""},
		"panics again":            {func() { defer func() { panic("hunter2") }(); panic("hunter1") }, jobaudit.CodePanic},
		"exits while it panics":   {func() { defer runtime.Goexit(); panic("hunter2") }, jobaudit.CodeGoexit},
		"panics while it exits":   {func() { defer func() { panic("hunter2") }(); runtime.Goexit() }, jobaudit.CodePanic},
		"panics far down":         {func() { down(500) }, jobaudit.CodePanic},
		"panics with nil":         {func() { panic(nil) }, jobaudit.CodePanic},
		"panics with a nil error": {func() { panic(error(nil)) }, jobaudit.CodePanic},
	} {
		for _, nested := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", nested: ", nested), func(t *testing.T) {
				sink := memsink.New(nil)
				trail := begun(t, open(t, sink, nil))
				how := stopped(trail, nested, test.fn)
				if test.code == "" {
					require.NoError(t, how)
					return
				}
				require.NotContains(t, how.Error(), "hunter")
				require.NoError(t, trail.Fail(t.Context(), how))
				failure := jobOf(t, sink, trail.JobID()).Error
				require.Equal(t, test.code, failure.Code)
				if test.code == jobaudit.CodePanic {
					require.Contains(t, failure.Frame, "run_keepalive_test.go:")
				}
			})
		}
	}
}

func down(n int) {
	if n == 0 {
		panic("hunter2")
	}
	defer func() { _ = n }()
	down(n - 1)
}

func TestARevokedExecutionIsCancelledAsForbidden(t *testing.T) {
	sink := memsink.New(nil)
	trail := begun(t, open(t, sink, nil))
	ctx, stop := trail.KeepAlive(t.Context())
	require.NoError(t, trail.Deny(t.Context(), jobaudit.Decision{By: "opa"}))
	<-ctx.Done()
	require.ErrorIs(t, context.Cause(ctx), jobaudit.ErrDenied)
	require.NoError(t, stop())
	require.NoError(t, trail.Cancel(t.Context(), "revoked"))
	job := jobOf(t, sink, trail.JobID())
	require.Equal(t, jobaudit.Cancelled, job.State)
	require.Equal(t, jobaudit.CodeForbidden, job.Error.Code)
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
