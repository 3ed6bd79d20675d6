package asynqaudit_test

import (
	"bytes"
	"context"
	"iter"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/worker/asynqaudit"
	"github.com/jobaudit/jobaudit/worker/queue"
)

// contradicts is a log in which the records of some jobs contradict each other.
type contradicts struct {
	jobaudit.AuditReader
	jobs map[uuid.UUID]bool
}

func (c contradicts) Records(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	if !c.jobs[q.JobID] {
		return c.AuditReader.Records(ctx, q)
	}
	return func(yield func(jobaudit.Record, error) bool) {
		yield(jobaudit.Record{}, &jobaudit.RecordError{ID: q.JobID, Err: jobaudit.ErrConflict})
	}
}

// Somebody who can write to the queue, or has written to the log, ends no comparison: what
// stands there of one job is reported, and the others are compared.
func TestATaskThatCannotBeComparedHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	keys := map[string][]byte{"k1": bytes.Repeat([]byte{1}, 32)}
	r := newRigWith(t, startRedis(t), &jobaudit.Options{CarrierKeys: keys, RequireCarrierProof: true})
	never := func(opts *jobaudit.Options) jobaudit.Carrier {
		opts.OnError = func(context.Context, *jobaudit.AuditError) {}
		rec, err := jobaudit.Open(r.ctx, memsink.New(nil), source, opts)
		require.NoError(t, err)
		s := submission()
		s.Action = taskType
		trail, err := rec.Prepare(r.ctx, s)
		require.NoError(t, err)
		return trail.Carrier()
	}
	unsigned := never(&jobaudit.Options{})
	wrong := never(&jobaudit.Options{CarrierKeys: map[string][]byte{"k1": bytes.Repeat([]byte{2}, 32)}})
	plain := asynq.NewClient(r.redis.opt())
	defer plain.Close()
	put := func(typ string, headers map[string]string) {
		_, err := plain.Enqueue(asynq.NewTaskWithHeaders(typ, nil, headers, asynq.ProcessIn(time.Hour)))
		require.NoError(t, err)
	}
	for _, c := range []jobaudit.Carrier{unsigned, wrong} {
		put(taskType, map[string]string{"jobaudit": c.String()})
	}
	conflict, deleted, spoiled := r.enqueue(asynq.ProcessIn(time.Hour)), r.enqueue(asynq.ProcessIn(time.Hour)), r.enqueue(asynq.ProcessIn(time.Hour))
	put(taskType, nil) // to be adopted
	for _, info := range []*asynq.TaskInfo{deleted, spoiled} {
		require.NoError(t, r.inspector.Inspector.DeleteTask(info.Queue, info.ID))
	}

	log := contradicts{r.sink, map[uuid.UUID]bool{jobID(conflict): true, jobID(spoiled): true}}
	adapter := asynqaudit.New(r.rec, &asynqaudit.Options{Logs: []jobaudit.AuditReader{log}})
	inspector := adapter.NewInspector(r.redis.opt())
	defer inspector.Close()
	report, err := inspector.Reconcile(r.ctx, &queue.ReconcileOptions{Settle: -1})
	require.ErrorContains(t, err, "carrier")
	require.ErrorIs(t, err, jobaudit.ErrConflict)
	require.ElementsMatch(t, []uuid.UUID{unsigned.JobID(), wrong.JobID(), jobID(conflict), jobID(spoiled)}, report.Failed)
	report.Failed = nil
	require.Equal(t, queue.Report{Jobs: 4, Submitted: 1, Ended: 1}, report)
	require.Equal(t, jobaudit.Cancelled, r.job(jobID(deleted)).State)
	for _, c := range []jobaudit.Carrier{unsigned, wrong} {
		require.NotContains(t, r.sink.Jobs(), c.JobID(), "what is refused is not recorded")
	}
}

// A reconciler of which only one call is made waits within it.
func TestWhatHasNotSettledIsLeftToALaterCallOrWaitedFor(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, wait := range []bool{false, true} {
		info := r.enqueue(asynq.ProcessIn(time.Hour))
		require.NoError(t, r.inspector.Inspector.DeleteTask(info.Queue, info.ID))
		opts := &queue.ReconcileOptions{Settle: time.Nanosecond, Wait: wait}
		report, err := r.inspector.Reconcile(r.ctx, opts)
		require.NoError(t, err)
		if !wait {
			require.Equal(t, queue.Report{Unsettled: 1}, report, "it is met for the first time")
			report, err = r.inspector.Reconcile(r.ctx, opts)
			require.NoError(t, err)
		}
		require.Equal(t, queue.Report{Ended: 1}, report)
	}
}
