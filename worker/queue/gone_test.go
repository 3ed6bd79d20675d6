package queue_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/watchdog"
	"github.com/jobaudit/jobaudit/worker/queue"
)

// orders are all orders of up to n of the steps.
func orders(steps string, n int) []string {
	all := []string{""}
	for from := 0; n > 0; n-- {
		to := len(all)
		for _, before := range all[from:to] {
			for _, step := range steps {
				all = append(all, before+string(step))
			}
		}
		from = to
	}
	return all
}

// past plays a job of a queue: S a worker starts it, R its attempt fails and is to be
// tried again, D it is put off, W a watchdog takes what has not ended for dead, O the
// worker records the outcome. It reports false if there is no such order; unheard says
// that the newest worker has not told how it ended.
func past(t *testing.T, sink *memsink.Sink, rec *jobaudit.Recorder, order string) (job jobaudit.Job, unheard, ok bool) {
	t.Helper()
	asked := grace
	asked.Queue = jobaudit.Ref{System: "mail", ID: "1"}
	submitted, err := rec.Submit(t.Context(), asked)
	require.NoError(t, err)
	replay := func() jobaudit.Job {
		job, err := jobaudit.Replay(sink.Records(t.Context(), jobaudit.Query{JobID: submitted.JobID()}))
		require.NoError(t, err)
		return job
	}
	var worker *jobaudit.Trail
	for _, step := range order {
		switch {
		case step == 'S':
			worker, err = rec.Resume(t.Context(), submitted.Carrier(), nil)
			require.NoError(t, err)
			require.NoError(t, worker.Observe(replay()))
			require.NoError(t, worker.Start(t.Context(), jobaudit.Execution{Deadline: time.Millisecond, Queue: asked.Queue}))
			unheard = true
		case step == 'W' && worker != nil:
			later := func() time.Time { return time.Now().Add(time.Hour) }
			dog := watchdog.New(rec, []jobaudit.AuditReader{sink}, &watchdog.Options{OneShot: true, Grace: -1, Now: later})
			_, err := dog.Sweep(t.Context())
			require.NoError(t, err)
		case !unheard:
			return job, false, false
		case step == 'R':
			worker.Retrying(t.Context(), errors.New("refused"))
			unheard = false
		case step == 'D':
			worker.Deferring(t.Context(), "not now")
			unheard = false
		case step == 'O':
			require.NoError(t, worker.Succeed(t.Context()))
			return replay(), false, order[len(order)-1] == 'O'
		}
		if worker != nil {
			require.NoError(t, worker.Flush(t.Context()))
		}
	}
	return replay(), unheard, true
}

// A watchdog's verdict is no word of the worker's or the queue's: a worker that was running
// may have succeeded, with the verdict and without it.
func TestAJobThatMayHaveSucceededIsNeverRecordedAsCancelledWhateverAWatchdogSays(t *testing.T) {
	played := 0
	for _, order := range orders("SRDWO", 5) {
		sink := memsink.New(nil)
		rec := open(t, sink, nil)
		before, unheard, ok := past(t, sink, rec, order)
		if !ok {
			continue
		}
		played++
		logs := queue.NewLogs([]jobaudit.AuditReader{sink}, func(_ context.Context, err error) { t.Errorf("complaint: %v", err) })
		gone := queue.Gone{Recorder: rec, Watch: new(queue.Settling).Watch(-1), Complete: func(time.Time) bool { return true }}
		var report queue.Report
		require.NoError(t, gone.End(t.Context(), logs, before.ID, &report))
		job, err := jobaudit.Replay(sink.Records(t.Context(), jobaudit.Query{JobID: before.ID}))
		require.NoError(t, err)
		switch {
		case before.State.Terminal():
			require.Equal(t, before, job, order)
		case unheard:
			require.Equal(t, jobaudit.Failed, job.State, order)
			require.Equal(t, jobaudit.CodeAbandoned, job.Error.Code, order)
		default:
			require.Equal(t, jobaudit.Cancelled, job.State, order)
		}
		require.Empty(t, job.Unapplied, order)
	}
	require.Greater(t, played, 100)
}
