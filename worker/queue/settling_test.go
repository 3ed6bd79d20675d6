package queue_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/faultsink"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/worker/queue"
)

// comparison is what an adapter does with a job that is not in its queue.
type comparison struct {
	*testing.T
	rec      *jobaudit.Recorder
	sink     *memsink.Sink
	settling queue.Settling
}

func (c *comparison) once(id uuid.UUID, opts *queue.ReconcileOptions) queue.Report {
	c.Helper()
	o := opts.WithDefaults()
	logs := queue.NewLogs([]jobaudit.AuditReader{c.sink}, func(_ context.Context, err error) { c.Errorf("complaint: %v", err) })
	report, err := o.Run(c.Context(), func() (report queue.Report, err error) {
		watch := c.settling.Watch(o.Settle)
		defer watch.Done()
		gone := queue.Gone{Recorder: c.rec, Options: o, Watch: watch, Complete: func(time.Time) bool { return true }}
		return report, gone.End(c.Context(), logs, id, &report)
	})
	require.NoError(c, err)
	return report
}

// A worker's clock decides nothing: a job of which signs of life come is left alone,
// and one that is silent for as long as it has to be is ended.
func TestWhatHasSettledIsNotForTheWorkersClockToSay(t *testing.T) {
	for _, skew := range []time.Duration{0, -3 * time.Minute, -24 * 365 * time.Hour, 3 * time.Minute, 24 * 365 * time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sink := memsink.New(nil)
				worker := open(t, sink, &jobaudit.Options{Now: func() time.Time { return time.Now().Add(skew) }})
				c := comparison{T: t, rec: open(t, sink, nil), sink: sink}
				asked := grace
				asked.Queue = jobaudit.Ref{System: "mail", ID: "1"}
				trail, err := worker.Submit(t.Context(), asked)
				require.NoError(t, err)
				require.NoError(t, trail.Start(t.Context(), jobaudit.Execution{}))
				for n := range 10 {
					trail.Heartbeat(t.Context(), int64(n), 10)
					require.NoError(t, trail.Flush(t.Context()))
					require.Equal(t, queue.Report{Unsettled: 1}, c.once(trail.JobID(), nil), "it lives")
					time.Sleep(time.Minute)
				}
				require.Equal(t, queue.Report{Unsettled: 1}, c.once(trail.JobID(), nil))
				time.Sleep(time.Minute)
				require.Equal(t, queue.Report{Ended: 1}, c.once(trail.JobID(), nil))
				require.Equal(t, queue.Report{}, c.once(trail.JobID(), nil), "once")
				require.NoError(t, worker.Close(t.Context()))
				require.NoError(t, c.rec.Close(t.Context()))
			})
		})
	}
}

// A process that compares once waits within the call, and who lives meanwhile is left
// alone.
func TestAProcessThatComparesOnceWaitsForWhatHasNotSettled(t *testing.T) {
	for _, lives := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			sink := memsink.New(nil)
			c := comparison{T: t, rec: open(t, sink, nil), sink: sink}
			asked := grace
			asked.Queue = jobaudit.Ref{System: "mail", ID: "1"}
			trail, err := c.rec.Submit(t.Context(), asked)
			require.NoError(t, err)
			require.NoError(t, trail.Start(t.Context(), jobaudit.Execution{}))
			if lives {
				time.AfterFunc(time.Minute, func() { trail.Heartbeat(t.Context(), 1, 2) })
			}
			want := queue.Report{Ended: 1}
			if lives {
				want = queue.Report{Unsettled: 1}
			}
			began := time.Now()
			require.Equal(t, want, c.once(trail.JobID(), &queue.ReconcileOptions{Wait: true}))
			require.Equal(t, 2*time.Minute, time.Since(began), "for Settle")
			began = time.Now()
			if !lives {
				require.Equal(t, queue.Report{}, c.once(trail.JobID(), &queue.ReconcileOptions{Wait: true}))
				require.Zero(t, time.Since(began), "nothing is waited for if all has settled")
			}
			require.NoError(t, c.rec.Close(t.Context()))
		})
	}
}

// What is met no more is forgotten, and what was seen otherwise is new.
func TestAJobSettlesAnewWhenItsQueueShowsSomethingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s queue.Settling
		id := uuid.New()
		see := func(shown ...any) bool {
			watch := s.Watch(time.Minute)
			defer watch.Done()
			return watch.Settled(id, queue.Past{}, shown...)
		}
		require.False(t, see("retry", 1))
		time.Sleep(time.Minute)
		require.True(t, see("retry", 1))
		require.False(t, see("retry", 2))
		time.Sleep(time.Minute)
		s.Watch(time.Minute).Done() // a comparison that does not meet it
		require.False(t, see("retry", 2))
		require.True(t, s.Watch(-1).Settled(id, queue.Past{}), "nothing is waited for")
		var none *queue.Watch
		require.False(t, none.Settled(id, queue.Past{}))
	})
}

// An error of one job ends no comparison; one of a log, a queue or the sink does, as it
// would be that of all others.
func TestAnErrorOfOneJobHoldsUpNoOther(t *testing.T) {
	sink := faultsink.New(memsink.New(nil))
	rec := open(t, sink, &jobaudit.Options{Timeout: time.Second})
	failed := func(err error) error { return &jobaudit.AuditError{Op: "fail", JobID: uuid.New(), Err: err} }
	var f queue.Failures
	f.Recorder = rec
	require.False(t, f.Add(t.Context(), nil))
	require.NoError(t, f.Err())
	for _, err := range []error{
		failed(&jobaudit.FieldError{Field: "carrier", Problem: "is refused"}), &jobaudit.RecordError{Err: jobaudit.ErrConflict},
		failed(jobaudit.ErrTransition), failed(jobaudit.ErrDenied), failed(jobaudit.ErrNoPolicy),
	} {
		require.False(t, f.Add(t.Context(), fmt.Errorf("job 7: %w", err)), err)
		require.False(t, f.Ambiguous, err)
		require.ErrorIs(t, f.Err(), err)
	}
	require.False(t, f.Add(t.Context(), failed(errors.New("this record not"))), "the sink takes a probe")
	require.True(t, f.Ambiguous)
	require.True(t, f.Add(t.Context(), errors.New("the log cannot be read")))
	sink.Set(faultsink.Rule{Fault: faultsink.Fail})
	require.True(t, f.Add(t.Context(), failed(errors.New("nor that"))), "the sink takes nothing")

	many := queue.Failures{Recorder: rec}
	for range 40 {
		require.False(t, many.Add(t.Context(), failed(jobaudit.ErrTransition)))
	}
	require.ErrorContains(t, many.Err(), "and 24 more")
}

// A comparison that always fails forgets no job by Done: what it has met, and does not
// meet again, is forgotten in time.
func TestWhatComparisonsThatAreNeverDoneHaveMetIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var settling queue.Settling
		for range 10_000 {
			settling.Watch(time.Minute).Settled(uuid.New(), queue.Past{})
			time.Sleep(time.Minute)
		}
		require.LessOrEqual(t, queue.Remembered(&settling), 61)
	})
}

// Some compare every few hours.
func TestWhatRareComparisonsHaveMetIsNotForgottenBetweenThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var settling queue.Settling
		job := uuid.New()
		for n := range 3 {
			for range 3 { // which end before they meet it
				settling.Watch(time.Minute)
				time.Sleep(6 * time.Hour)
			}
			require.Equal(t, n > 0, settling.Watch(time.Minute).Settled(job, queue.Past{}))
			time.Sleep(6 * time.Hour)
		}
	})
}
