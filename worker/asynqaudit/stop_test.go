package asynqaudit_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/worker/asynqaudit"
	"github.com/jobaudit/jobaudit/worker/queue"
)

// gate is a handler that tells when it runs and returns when it is told to.
type gate struct {
	running chan context.Context
	open    chan error
	ignores bool // its context's end
}

func newGate() *gate {
	return &gate{running: make(chan context.Context, 16), open: make(chan error, 16)}
}

func (g *gate) ProcessTask(ctx context.Context, _ *asynq.Task) error {
	g.running <- ctx
	if g.ignores {
		return <-g.open
	}
	select {
	case err := <-g.open:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestATaskThatAShutdownGivesBackIsDeferredAndRunsAgainAsTheSameAttempt(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cfg := quick()
	cfg.ShutdownTimeout = time.Millisecond
	first := newGate()
	first.ignores = true
	server := r.serve(cfg, first.ProcessTask)
	info := r.enqueue(asynq.MaxRetry(3), asynq.Retention(time.Hour))
	next(r, first.running)
	server.Shutdown()
	require.Equal(t, asynq.TaskStatePending, r.state(info, asynq.TaskStatePending).State)
	require.Equal(t, []jobaudit.EventType{jobaudit.AttemptDeferred}, ends(r.job(jobID(info))))
	r.sound()
	first.open <- nil // too late
	r.sink.ExpectEvent(r.ctx, t, jobaudit.Query{JobID: jobID(info), Types: []jobaudit.EventType{jobaudit.JobLogged}})

	r.serve(quick(), returns(nil)(nil))
	job := r.ended(jobID(info))
	require.Equal(t, jobaudit.Success, job.State)
	require.Equal(t, []jobaudit.EventType{jobaudit.AttemptDeferred, jobaudit.JobSucceeded}, ends(job))
	require.Equal(t, 1, job.Attempt, "asynq has not counted the first")
	require.Equal(t, []string{"the handler returned without an error after its attempt had ended"}, job.Logs)
	r.state(info, asynq.TaskStateCompleted)
	r.sound()
}

func TestATaskWhoseContextAShutdownCancelsIsTriedAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	base, cancel := context.WithCancel(r.ctx)
	cfg := quick()
	cfg.BaseContext = func() context.Context { return base }
	cfg.RetryDelayFunc = asynq.DefaultRetryDelayFunc
	running := newGate()
	server := r.serve(cfg, running.ProcessTask)
	info := r.enqueue(asynq.MaxRetry(3), asynq.Retention(time.Hour))
	next(r, running.running)
	cancel()
	server.Shutdown()
	require.Equal(t, 1, r.state(info, asynq.TaskStateRetry).Retried)
	require.Equal(t, []jobaudit.EventType{jobaudit.AttemptFailed}, ends(r.job(jobID(info))))
	r.sound()

	require.NoError(t, r.inspector.Inspector.RunTask(info.Queue, info.ID))
	r.serve(quick(), returns(nil)(nil))
	job := r.ended(jobID(info))
	require.Equal(t, jobaudit.Success, job.State)
	require.Equal(t, []jobaudit.EventType{jobaudit.AttemptFailed, jobaudit.JobSucceeded}, ends(job))
	r.sound()
}

func TestAWorkerThatIsToldToStopEndsAsAsynqSaysWhetherItObeysOrNot(t *testing.T) {
	t.Parallel()
	for _, ignores := range []bool{false, true} {
		for _, last := range []bool{false, true} {
			r := newRig(t)
			g := newGate()
			g.ignores = ignores
			server := r.serve(quick(), g.ProcessTask)
			opts := []asynq.Option{asynq.MaxRetry(0)}
			if !last {
				opts = []asynq.Option{asynq.MaxRetry(1), asynq.Retention(time.Hour)}
			}
			info := r.enqueue(opts...)
			ctx := next(r, g.running)
			client := r.redis.client()
			poll(r.ctx, t, "the server listens", func() bool { // or the signal is lost
				n, err := client.PubSubNumSub(r.ctx, "asynq:cancel").Result()
				return err == nil && n["asynq:cancel"] > 0
			})
			require.NoError(t, r.inspector.CancelProcessing(r.ctx, byAnn, info.Queue, info.ID))
			<-ctx.Done()
			if !last {
				next(r, g.running)
				g.open <- nil
				g.open <- nil
			}
			job := r.ended(jobID(info))
			require.Contains(t, job.Logs, "asked to stop by user ann, job "+r.act("asynq-task-cancel").ID.String()+": no longer wanted")
			if last {
				r.state(info, asynq.TaskStateArchived)
				require.Equal(t, jobaudit.Failed, job.State)
				require.Equal(t, jobaudit.CodeCancelled, job.Error.Code)
				require.Equal(t, []jobaudit.EventType{jobaudit.JobFailed}, ends(job))
				g.open <- nil
			} else {
				r.state(info, asynq.TaskStateCompleted)
				require.Equal(t, jobaudit.Success, job.State)
				require.Equal(t, []jobaudit.EventType{jobaudit.AttemptFailed, jobaudit.JobSucceeded}, ends(job))
			}
			server.Shutdown()
			r.sound()
		}
	}
}

func TestAnErrorThatDoesNotCountDefersTheAttempt(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	errBusy := errors.New("busy")
	cfg := quick()
	cfg.IsFailure = func(err error) bool { return !errors.Is(err, errBusy) }
	var calls atomic.Int32
	r.serve(cfg, func(context.Context, *asynq.Task) error {
		if calls.Add(1) == 1 {
			return errBusy
		}
		return nil
	})
	info := r.enqueue(asynq.MaxRetry(1), asynq.Retention(time.Hour))
	job := r.ended(jobID(info))
	require.Equal(t, jobaudit.Success, job.State)
	require.Equal(t, []jobaudit.EventType{jobaudit.AttemptDeferred, jobaudit.JobSucceeded}, ends(job))
	require.Zero(t, r.state(info, asynq.TaskStateCompleted).Retried)
	r.sound()
}

func TestTheUsersErrorHandlerIsStillCalledAndFindsTheTrail(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	type call struct {
		err   error
		trail *jobaudit.Trail
		in    bool
	}
	calls := make(chan call, 1)
	cfg := quick()
	cfg.ErrorHandler = asynq.ErrorHandlerFunc(func(ctx context.Context, task *asynq.Task, err error) {
		trail, in := jobaudit.FromContext(ctx)
		calls <- call{err, trail, in}
	})
	r.serve(cfg, returns(errBroken)(nil))
	info := r.enqueue(asynq.MaxRetry(0))
	told := next(r, calls)
	require.ErrorIs(t, told.err, errBroken)
	require.True(t, told.in)
	require.Equal(t, jobID(info), told.trail.JobID())
	require.Equal(t, "the index is broken", r.ended(jobID(info)).Error.Message)
}

// What a handler panicked with is for asynq to tell, as without the adapter.
func TestAsynqStillSaysWhereTheHandlerPanicked(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.serve(quick(), func(context.Context, *asynq.Task) error { panic(secret) })
	info := r.enqueue(asynq.MaxRetry(0))
	job := r.ended(jobID(info))
	require.Contains(t, r.state(info, asynq.TaskStateArchived).LastErr, "stop_test.go")
	require.Contains(t, job.Error.Frame, "stop_test.go")
	r.sink.ExpectAbsent(t, secret)
}

func TestAJobThatMayNotRunLeavesItsQueueWithoutRunning(t *testing.T) {
	t.Parallel()
	r := newRigWith(t, startRedis(t), &jobaudit.Options{
		Authorize: func(context.Context, jobaudit.Submission) (jobaudit.Decision, error) {
			return jobaudit.Decision{By: "opa", Reason: "not this one"}, nil
		},
	})
	r.serve(quick(), func(context.Context, *asynq.Task) error { t.Error("it ran"); return nil })
	info := r.enqueue(asynq.MaxRetry(3))
	job := r.ended(jobID(info))
	r.vanished(info)
	require.Equal(t, jobaudit.Cancelled, job.State)
	require.Equal(t, jobaudit.CodeForbidden, job.Error.Code)
	require.Empty(t, job.Executions)
	r.sound()
}

func TestAJobThatIsToBeAskedAboutAgainBurnsNoAttempt(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	r := newRigWith(t, startRedis(t), &jobaudit.Options{
		Authorize: func(context.Context, jobaudit.Submission) (jobaudit.Decision, error) {
			return jobaudit.Decision{Allowed: asked.Add(1) == 3, By: "opa", AskAgain: true}, nil
		},
	})
	r.serve(quick(), returns(nil)(nil))
	info := r.enqueue(asynq.MaxRetry(1), asynq.Retention(time.Hour))
	job := r.ended(jobID(info))
	require.Equal(t, jobaudit.Success, job.State)
	require.Zero(t, r.state(info, asynq.TaskStateCompleted).Retried)
	require.Len(t, job.Executions, 1)
	r.sound()
}

func TestAJobThatIsRevokedWhileItRunsIsCancelledAndNotTriedAgain(t *testing.T) {
	t.Parallel()
	var allowed atomic.Bool
	allowed.Store(true)
	r := newRigWith(t, startRedis(t), &jobaudit.Options{
		Heartbeat: 10 * time.Millisecond, Reauthorize: true,
		Authorize: func(context.Context, jobaudit.Submission) (jobaudit.Decision, error) {
			return jobaudit.Decision{Allowed: allowed.Load(), By: "opa"}, nil
		},
	})
	g := newGate()
	r.serve(quick(), g.ProcessTask)
	info := r.enqueue(asynq.MaxRetry(3))
	next(r, g.running)
	r.sink.ExpectEvent(r.ctx, t, jobaudit.Query{JobID: jobID(info), Types: []jobaudit.EventType{jobaudit.JobHeartbeat}})
	allowed.Store(false)
	r.sink.ExpectEvent(r.ctx, t, jobaudit.Query{JobID: jobID(info), Types: []jobaudit.EventType{jobaudit.JobCancelled}})
	job := r.job(jobID(info))
	require.Equal(t, jobaudit.Cancelled, job.State)
	require.Equal(t, jobaudit.CodeForbidden, job.Error.Code)
	r.vanished(info)
}

func TestAReconcilerWithoutALogSaysSo(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	blind := asynqaudit.New(r.rec, nil).NewInspector(r.redis.opt())
	defer blind.Close()
	_, err := blind.Reconcile(r.ctx, nil)
	require.ErrorIs(t, err, queue.ErrNoLogs)
}
