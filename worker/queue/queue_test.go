package queue_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/faultsink"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/worker/queue"
)

var grace = jobaudit.Submission{
	Action: "queue-pause", Resource: "queue mail",
	Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "grace", Verified: true},
	Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "it does harm"},
}

func open(t *testing.T, sink jobaudit.AuditSink, opts *jobaudit.Options) *jobaudit.Recorder {
	t.Helper()
	if opts == nil {
		opts = &jobaudit.Options{}
	}
	opts.OnError = func(context.Context, *jobaudit.AuditError) {}
	rec, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "shop", Environment: "test"}, opts)
	require.NoError(t, err)
	return rec
}

func TestAnActIsAJobOfWhoeverActs(t *testing.T) {
	sink := memsink.New(nil)
	rec := open(t, sink, nil)
	broken := errors.New("no such queue")
	for _, failure := range []error{nil, broken} {
		err := queue.Act(t.Context(), rec, grace, func(ctx context.Context, act *jobaudit.Trail) error {
			trail, ok := jobaudit.FromContext(ctx)
			require.True(t, ok)
			require.Equal(t, trail, act)
			require.Equal(t, jobaudit.JobStarted, sink.Trail(act.JobID())[2].Type, "on record before it is done")
			return failure
		})
		require.ErrorIs(t, err, failure)
	}
	sink.ExpectStates(t, sink.Jobs()[0], jobaudit.Pending, jobaudit.Running, jobaudit.Success)
	sink.ExpectStates(t, sink.Jobs()[1], jobaudit.Pending, jobaudit.Running, jobaudit.Failed)
	require.Equal(t, "grace", sink.Trail(sink.Jobs()[0])[0].Who.Principal.ID)
}

func TestALogThatFailsKeepsNobodyFromActing(t *testing.T) {
	for _, fault := range []faultsink.Fault{faultsink.Fail, faultsink.Hang} {
		log := memsink.New(nil)
		sink := faultsink.New(log)
		rec := open(t, sink, &jobaudit.Options{Timeout: time.Second, OutcomeTimeout: time.Second})
		sink.Set(faultsink.Rule{Fault: fault})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		done := false
		err := queue.Act(ctx, rec, grace, func(ctx context.Context, _ *jobaudit.Trail) error {
			require.NoError(t, ctx.Err())
			done = true
			return nil
		})
		require.True(t, done)
		_, unrecorded := errors.AsType[*queue.UnrecordedError](err)
		require.True(t, unrecorded, "%v", err)
		sink.Set()
	}
	rec := open(t, memsink.New(nil), nil)
	require.NoError(t, rec.Close(t.Context()))
	done := false
	err := queue.Act(t.Context(), rec, grace, func(context.Context, *jobaudit.Trail) error { done = true; return nil })
	require.True(t, done)
	require.ErrorIs(t, err, jobaudit.ErrClosed)
}

func TestAnActThatCouldNotBeRecordedBeforeIsRecordedAfterwards(t *testing.T) {
	log := memsink.New(nil)
	sink := faultsink.New(log)
	rec := open(t, sink, nil)
	sink.Set(faultsink.Rule{Fault: faultsink.Fail})
	require.NoError(t, queue.Act(t.Context(), rec, grace, func(context.Context, *jobaudit.Trail) error {
		sink.Set() // it comes back
		return nil
	}))
	log.ExpectStates(t, log.Jobs()[0], jobaudit.Pending, jobaudit.Running, jobaudit.Success)
}

func TestAnActThatIsRefusedIsNotDone(t *testing.T) {
	never := func(context.Context, *jobaudit.Trail) error { require.Fail(t, "it is done"); return nil }
	nobody := grace
	nobody.Principal = jobaudit.Principal{}
	_, field := errors.AsType[*jobaudit.FieldError](queue.Act(t.Context(), open(t, memsink.New(nil), nil), nobody, never))
	require.True(t, field)

	unreachable := errors.New("the policy server does not answer")
	for _, answer := range []error{nil, unreachable} {
		rec := open(t, memsink.New(nil), &jobaudit.Options{Authorize: func(context.Context, jobaudit.Submission) (jobaudit.Decision, error) {
			return jobaudit.Decision{By: "policy", Reason: "operators only"}, answer
		}})
		err := queue.Act(t.Context(), rec, grace, never)
		if answer == nil {
			answer = jobaudit.ErrDenied
		}
		require.ErrorIs(t, err, answer)
	}
}

func TestLogsTellWhatIsMissingFromWhatWasLost(t *testing.T) {
	web, worker := memsink.New(nil), memsink.New(nil)
	submitter := open(t, web, nil)
	trail, err := submitter.Submit(t.Context(), grace)
	require.NoError(t, err)
	resumed, err := open(t, worker, nil).Resume(t.Context(), trail.Carrier(), nil)
	require.NoError(t, err)
	require.NoError(t, resumed.Start(t.Context(), jobaudit.Execution{}))
	prepared, err := submitter.Prepare(t.Context(), grace) // and never submitted
	require.NoError(t, err)

	for name, c := range map[string]struct {
		logs              []jobaudit.AuditReader
		trail             *jobaudit.Trail
		known, lost, part bool
	}{
		"all of it":                            {[]jobaudit.AuditReader{worker, web}, trail, true, false, false},
		"the worker's part":                    {[]jobaudit.AuditReader{worker}, trail, true, false, true},
		"a submission that was never recorded": {[]jobaudit.AuditReader{worker, web}, prepared, false, true, false},
		"nothing of it":                        {[]jobaudit.AuditReader{worker}, prepared, false, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			logs := queue.NewLogs(c.logs, func(_ context.Context, err error) { t.Errorf("complaint: %v", err) })
			past, err := logs.Past(t.Context(), c.trail.JobID())
			require.NoError(t, err)
			require.Equal(t, c.known, past.Known)
			if c.known {
				require.NotNil(t, past.Open())
			}
			lost, err := logs.Lost(t.Context(), c.trail.Carrier(), past, c.trail.JobID())
			require.Equal(t, c.lost, lost)
			if !c.part {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, queue.ErrPartialLog)
			audit, ok := errors.AsType[*jobaudit.AuditError](err)
			require.True(t, ok)
			require.Equal(t, c.trail.JobID(), audit.JobID)
		})
	}
	old, err := jobaudit.ParseCarrier(trail.Carrier().String())
	require.NoError(t, err)
	require.NotEqual(t, uuid.Nil, old.Recorder())
}
