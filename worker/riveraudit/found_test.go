package riveraudit_test

import (
	"context"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/worker/queue"
)

// insertPlain inserts a task without the adapter.
func (w *world) insertPlain(opts *river.InsertOpts) int64 {
	w.Helper()
	w.plain = true
	defer func() { w.plain = false }()
	return w.insert(task{}, opts)
}

// adoptPlain inserts a task for later without the adapter, and lets a comparison put its
// submission on record.
func (w *world) adoptPlain() int64 {
	w.Helper()
	id := w.insertPlain(&river.InsertOpts{ScheduledAt: time.Now().Add(time.Hour)})
	require.Equal(w, queue.Report{Jobs: 1, Submitted: 1}, w.reconcile())
	return id
}

// due makes River run a scheduled job now.
func (w *world) due(id int64) {
	w.Helper()
	_, err := w.pool.Exec(w.Context(), "UPDATE river_job SET state = 'available', scheduled_at = now() WHERE id = $1", id)
	require.NoError(w, err)
}

// failsFirst has the first n runs fail.
func (w *world) failsFirst(n int64) {
	w.do = func(context.Context, *river.Job[task]) error {
		if w.runs.Load() <= n {
			return errNo
		}
		return nil
	}
}

// requireSuccess checks that a job has succeeded, was submitted once, and so often started.
func (w *world) requireSuccess(id int64, starts int) {
	w.Helper()
	job, events := w.recorded(id)
	require.Equal(w, jobaudit.Success, job.State)
	require.Len(w, job.Executions, starts)
	require.Empty(w, job.Unapplied)
	submitted := 0
	for _, e := range events {
		if e.Type == jobaudit.JobSubmitted {
			submitted++
		}
	}
	require.Equal(w, 1, submitted)
}

func TestAJobInsertedWithoutTheAdapterRunsAgainAfterItsFirstAttemptFailed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, database(t, server(t)), false)
	w.failsFirst(1)
	id := w.insertPlain(nil)
	w.start()
	w.await(id, rivertype.JobStateCompleted)
	w.stop(false)
	w.requireSuccess(id, 2)
	require.EqualValues(t, 2, w.runs.Load())
	require.Zero(t, w.reconcile().Added())
}

func TestAJobThatAComparisonHasFoundRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t, database(t, server(t)), false)
	id := w.adoptPlain()
	w.due(id)
	w.start()
	w.await(id, rivertype.JobStateCompleted)
	w.stop(false)
	w.requireSuccess(id, 1)
	require.Zero(t, w.reconcile().Added())
}

func TestAJobThatTakesAnEndedOnesPlaceRunsAgainAfterItsFirstAttemptFailed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, database(t, server(t)), false)
	w.failsFirst(2)
	w.start()
	id := w.insert(task{}, &river.InsertOpts{MaxAttempts: 1})
	w.await(id, rivertype.JobStateDiscarded)
	w.until("its end is on record", func() bool { job, _ := w.recorded(id); return job.State.Terminal() })
	_, err := w.pool.Exec(t.Context(), "UPDATE river_job SET max_attempts = 3")
	require.NoError(t, err)
	_, err = w.admin.JobRetry(t.Context(), by(), id)
	require.NoError(t, err)
	w.await(id, rivertype.JobStateCompleted)
	w.stop(false)
	w.requireSuccess(id, 2)
	require.EqualValues(t, 3, w.runs.Load())
	require.Zero(t, w.reconcile().Added())
}

func TestWhatAComparisonHasFoundIsEndedByTheNextOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t, database(t, server(t)), false)
	id := w.adoptPlain()
	_, err := w.inserter().JobCancel(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, queue.Report{Jobs: 1, Ended: 1}, w.reconcile())
	job, events := w.recorded(id)
	require.Equal(t, jobaudit.Cancelled, job.State)
	require.Len(t, events, 2, "its submission is on record once")
}

// An attempt that no worker with the adapter made is recorded of such a job, too.
func TestAttemptsOfWhatAComparisonHasFoundAreRecordedByTheNextOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t, database(t, server(t)), false)
	id := w.adoptPlain()
	w.due(id)
	w.failsFirst(1)
	w.plain = true
	w.start()
	w.await(id, rivertype.JobStateCompleted)
	w.stop(false)
	require.Equal(t, queue.Report{Jobs: 1, Attempts: 3, Ended: 1}, w.reconcile())
	w.requireSuccess(id, 2)
}

func TestTheRecordOfWhatAComparisonHasFoundTellsWhatOperatorsDoToIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, database(t, server(t)), false)
	first := w.adoptPlain()
	w.start()
	_, err := w.admin.JobCancel(t.Context(), by(), first)
	require.NoError(t, err)
	job, events := w.recorded(first)
	require.Equal(t, jobaudit.Cancelled, job.State)
	require.Equal(t, "grace", events[len(events)-1].Who.Principal.ID)

	begun := make(chan struct{})
	w.do = func(ctx context.Context, _ *river.Job[task]) error {
		close(begun)
		<-ctx.Done()
		return ctx.Err()
	}
	second := w.insertPlain(nil)
	<-begun
	w.cancel(second)
	w.await(second, rivertype.JobStateCancelled)
	w.stop(false)
	_, events = w.recorded(second)
	told := 0
	for _, e := range events {
		if e.Type == jobaudit.JobLogged {
			told++
		}
	}
	require.Equal(t, 1, told, "the record says who asked to stop it")
}
