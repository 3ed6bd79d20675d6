package riveraudit_test

import (
	"bytes"
	"context"
	"iter"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/worker/queue"
	"github.com/jobaudit/jobaudit/worker/riveraudit"
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

// A row whose Carrier is refused, and a job whose records contradict each other, keep
// the reconciler from no other job, nor from one that has left the table.
func TestARowThatCannotBeComparedHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t, database(t, server(t)), false)
	require.NoError(t, w.rec.Close(t.Context()))
	w.openAudit(&jobaudit.Options{CarrierKeys: map[string][]byte{"k1": bytes.Repeat([]byte{1}, 32)}, RequireCarrierProof: true})
	ran := w.insert(task{}, nil)
	w.start()
	w.await(ran, rivertype.JobStateCompleted) // the log of a worker is there
	w.stop(false)
	later := &river.InsertOpts{ScheduledAt: time.Now().Add(time.Hour)}
	conflict, _ := w.recorded(w.insert(task{}, later))
	deletedID := w.insert(task{}, later)
	deleted, _ := w.recorded(deletedID)
	_, err := w.pool.Exec(t.Context(), "DELETE FROM river_job WHERE id = $1", deletedID)
	require.NoError(t, err)

	forger, err := jobaudit.Open(t.Context(), memsink.New(nil), jobaudit.Source{System: "shop", Environment: "test"}, nil)
	require.NoError(t, err)
	s := w.asking(t.Context(), nil)
	s.Action = "task"
	forged, err := forger.Prepare(t.Context(), s)
	require.NoError(t, err)
	_, err = w.pool.Exec(t.Context(), `INSERT INTO river_job (args, kind, max_attempts, scheduled_at, metadata)
		VALUES ('{}', 'task', 3, now() + interval '1 hour', jsonb_build_object('jobaudit', $1::text))`, forged.Carrier().String())
	require.NoError(t, err)

	log := contradicts{w.sink, map[uuid.UUID]bool{conflict.ID: true}}
	audit := riveraudit.New(w.rec, &riveraudit.Options{Logs: []jobaudit.AuditReader{log}})
	report, err := audit.Reconcile(t.Context(), w.inserter(), &queue.ReconcileOptions{Settle: -1})
	require.ErrorContains(t, err, "carrier")
	require.ErrorIs(t, err, jobaudit.ErrConflict)
	require.ElementsMatch(t, []uuid.UUID{forged.JobID(), conflict.ID}, report.Failed)
	report.Failed = nil
	require.Equal(t, queue.Report{Jobs: 3, Ended: 1}, report)
	gone, _ := w.replay(deleted.ID)
	require.Equal(t, jobaudit.Cancelled, gone.State)
}

// The times that River's table gives are other machines': a row settles when it has been
// seen twice, unchanged.
func TestARowSettlesWhenItWasSeenUnchanged(t *testing.T) {
	t.Parallel()
	for _, off := range []string{"-1 year", "1 year"} {
		w := newWorld(t, database(t, server(t)), true)
		id := w.insert(task{}, &river.InsertOpts{ScheduledAt: time.Now().Add(time.Hour)})
		_, err := w.pool.Exec(t.Context(), "UPDATE river_job SET created_at = now() + $1::text::interval WHERE id = $2", off, id)
		require.NoError(t, err)
		opts := &queue.ReconcileOptions{Settle: time.Nanosecond}
		report, err := w.audit.Reconcile(t.Context(), w.inserter(), opts)
		require.NoError(t, err)
		require.Equal(t, queue.Report{Jobs: 1, Unsettled: 1}, report, off)
		report, err = w.audit.Reconcile(t.Context(), w.inserter(), opts)
		require.NoError(t, err)
		require.Equal(t, queue.Report{Jobs: 1, Submitted: 1}, report, off)
		opts.Wait = true
		report, err = w.audit.Reconcile(t.Context(), w.inserter(), opts)
		require.NoError(t, err)
		require.Equal(t, queue.Report{Jobs: 1}, report, "there is nothing to wait for")
	}
}
