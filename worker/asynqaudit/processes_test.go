package asynqaudit_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/worker/asynqaudit"
	"github.com/jobaudit/jobaudit/worker/queue"
)

// reconcileFrom reconciles in a process that sees some of the logs.
func (r *rig) reconcileFrom(opts queue.ReconcileOptions, logs ...jobaudit.AuditReader) (queue.Report, error) {
	r.Helper()
	audit := asynqaudit.New(r.rec, &asynqaudit.Options{
		Logs: logs, OnError: func(_ context.Context, err error) { r.Errorf("complaint: %v", err) },
	})
	inspector := audit.NewInspector(r.redis.opt())
	defer inspector.Close()
	opts.Settle = -1
	return inspector.Reconcile(r.ctx, &opts)
}

// requirePartial holds a reconciliation that sees a part to recording nothing of
// the jobs, and to saying so.
func requirePartial(web, worker *rig, jobs []uuid.UUID, logs ...jobaudit.AuditReader) {
	web.Helper()
	before := [2]int{web.sink.Len(), worker.sink.Len()}
	report, err := web.reconcileFrom(queue.ReconcileOptions{}, logs...)
	require.ErrorIs(web, err, queue.ErrPartialLog)
	require.ElementsMatch(web, jobs, report.Partial)
	require.Zero(web, report.Added())
	require.Equal(web, before, [2]int{web.sink.Len(), worker.sink.Len()}, "nothing is recorded")
}

func TestAReconcilerThatSeesAPartOfTheLogsRecordsNothingAndSaysSo(t *testing.T) {
	t.Parallel()
	web := newRig(t)
	worker := newRigWith(t, web.redis, nil)
	server := worker.serve(quick(), func(ctx context.Context, _ *asynq.Task) error {
		retried, _ := asynq.GetRetryCount(ctx)
		limit, _ := asynq.GetMaxRetry(ctx)
		if retried < limit { // fails as often as it may, but for the last time
			return errBroken
		}
		return nil
	})
	kept := []*asynq.TaskInfo{
		web.enqueue(asynq.Retention(time.Hour), asynq.MaxRetry(0)), web.enqueue(asynq.Retention(time.Hour), asynq.MaxRetry(1)),
	}
	forgotten := web.enqueue(asynq.MaxRetry(1))
	all := []uuid.UUID{jobID(kept[0]), jobID(kept[1]), jobID(forgotten)}
	for _, id := range all {
		worker.ended(id)
	}
	server.Shutdown()

	requirePartial(web, worker, all[:2], worker.sink) // of the third it knows that it has ended
	requirePartial(web, worker, all, web.sink)
	report, err := web.reconcileFrom(queue.ReconcileOptions{}, web.sink, worker.sink)
	require.NoError(t, err)
	require.Equal(t, queue.Report{Jobs: 2}, report, "with every log there is nothing to add")
}

func TestATaskThatWasGivenBackInOneLogAndRanInAnotherIsNotTakenForOne(t *testing.T) {
	t.Parallel()
	web := newRig(t)
	worker := newRigWith(t, web.redis, nil)
	cfg := quick()
	cfg.IsFailure = func(error) bool { return false }
	first := web.serve(cfg, returns(errBroken)(nil))
	info := web.enqueue(asynq.Retention(time.Hour))
	web.sink.ExpectEvent(web.ctx, t, jobaudit.Query{JobID: jobID(info), Types: []jobaudit.EventType{jobaudit.AttemptDeferred}})
	first.Shutdown()
	server := worker.serve(quick(), returns(nil)(nil))
	worker.ended(jobID(info))
	server.Shutdown()
	requirePartial(web, worker, []uuid.UUID{jobID(info)}, web.sink)
	report, err := web.reconcileFrom(queue.ReconcileOptions{}, web.sink, worker.sink)
	require.NoError(t, err)
	require.Zero(t, report.Added())
}

func TestWhatIsReconstructedCarriesAsynqsOwnTimes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.servePlain(quick(), returns(nil)(nil))
	info := r.enqueue(asynq.Retention(time.Hour))
	done := r.state(info, asynq.TaskStateCompleted)
	requirePartial(r, r, []uuid.UUID{jobID(info)}, r.sink)
	report, err := r.reconcileFrom(queue.ReconcileOptions{Unaudited: true}, r.sink)
	require.NoError(t, err)
	require.Equal(t, queue.Report{Jobs: 1, Attempts: 1, Ended: 1}, report)
	events := r.sink.Trail(jobID(info))
	require.False(t, events[0].Reconstructed)
	for _, e := range events[1:] {
		require.True(t, e.Reconstructed, e.Type)
	}
	last := events[len(events)-1]
	require.Equal(t, jobaudit.JobSucceeded, last.Type)
	require.True(t, last.QueueTime.Equal(done.CompletedAt))
	require.True(t, r.job(jobID(info)).CompletedAt.Equal(done.CompletedAt))
}

func TestWhatIsDoneToAQueueIsOnRecord(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	info := r.enqueue(asynq.ProcessIn(time.Hour))
	require.NoError(t, r.inspector.PauseQueue(r.ctx, byAnn, info.Queue))
	require.NoError(t, r.inspector.UnpauseQueue(r.ctx, byAnn, info.Queue))
	n, err := r.inspector.DeleteAllScheduledTasks(r.ctx, byAnn, info.Queue)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.NoError(t, r.inspector.DeleteQueue(r.ctx, byAnn, info.Queue, false))
	for _, action := range []string{"asynq-queue-pause", "asynq-queue-unpause", "asynq-queue-drain", "asynq-queue-delete"} {
		act := r.act(action)
		require.Equal(t, jobaudit.Success, act.State)
		require.Equal(t, "ann", act.Metadata.UserID)
		events := r.sink.Trail(act.ID)
		require.Equal(t, "asynq queue default", events[0].What.Resource)
		require.Equal(t, "no longer wanted", events[0].Why.Reason)
		if action == "asynq-queue-drain" {
			require.Equal(t, "1 scheduled tasks", events[len(events)-1].Data.Impact)
		}
	}
	require.Equal(t, 1, r.reconcile().Ended, "what was drained ends when it is looked for")
	require.Equal(t, jobaudit.Cancelled, r.job(jobID(info)).State)
}
