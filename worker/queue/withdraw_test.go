package queue_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/faultsink"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/worker/queue"
)

// reports are what a Withdrawals has reported.
type reports struct {
	mu      sync.Mutex
	dropped int // told of in all
	times   int // in so many reports
	others  []error
}

func (r *reports) add(_ context.Context, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !errors.Is(err, queue.ErrNotWithdrawn) {
		r.others = append(r.others, err)
		return
	}
	var n int
	_, _ = fmt.Sscan(err.Error(), &n)
	r.dropped += n
	r.times++
}

// Ten minutes of an outage, in which submissions fail again and again.
func TestWithdrawalsOfALongOutageAreBoundedAndCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memsink.New(nil)
		sink := faultsink.New(log)
		rec := open(t, sink, &jobaudit.Options{Heartbeat: -1})
		const jobs = 600
		trails := make([]*jobaudit.Trail, jobs)
		for i := range trails {
			var err error
			trails[i], err = rec.Submit(t.Context(), grace)
			require.NoError(t, err)
		}
		sink.Set(faultsink.Rule{Fault: faultsink.Fail})
		var withdrawals queue.Withdrawals
		var complaints reports
		for _, trail := range trails {
			withdrawals.Cancel(trail, "not enqueued", complaints.add)
			time.Sleep(time.Second)
		}
		synctest.Wait()
		complaints.mu.Lock()
		require.LessOrEqual(t, complaints.times, 10, "once a minute")
		require.Positive(t, complaints.times)
		complaints.mu.Unlock()
		sink.Set(faultsink.Rule{})
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		ended := 0
		for _, trail := range trails {
			job, err := jobaudit.Replay(log.Records(t.Context(), jobaudit.Query{JobID: trail.JobID()}))
			require.NoError(t, err)
			if job.State.Terminal() {
				ended++
			}
		}
		require.Equal(t, 64, ended, "those that are kept are stored when the sink comes back")
		require.Equal(t, jobs-64, complaints.dropped, "each of the others is told of")
		for _, trail := range trails[jobs-64:] { // and there is room again
			withdrawals.Cancel(trail, "not enqueued", complaints.add)
		}
		synctest.Wait()
		require.Equal(t, jobs-64, complaints.dropped)
		require.NoError(t, rec.Close(context.WithoutCancel(t.Context())))
	})
}

func TestAWithdrawalEndsWithItsRecorder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which fails if a goroutine is left
		sink := faultsink.New(memsink.New(nil))
		rec := open(t, sink, &jobaudit.Options{Heartbeat: -1})
		trail, err := rec.Submit(t.Context(), grace)
		require.NoError(t, err)
		sink.Set(faultsink.Rule{Fault: faultsink.Fail})
		var withdrawals queue.Withdrawals
		var complaints reports
		withdrawals.Cancel(trail, "not enqueued", complaints.add)
		time.Sleep(10 * time.Minute)
		require.Error(t, rec.Close(context.WithoutCancel(t.Context())))
		time.Sleep(time.Minute)
		require.Len(t, complaints.others, 1, "its error is told once")
	})
}

func TestWhatWasNeverSentIsWithdrawnWithoutAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memsink.New(nil)
		rec := open(t, log, &jobaudit.Options{Heartbeat: -1})
		trail, err := rec.Prepare(t.Context(), grace)
		require.NoError(t, err)
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		require.True(t, queue.Unsure(trail.Submit(gone)))
		var withdrawals queue.Withdrawals
		var complaints reports
		withdrawals.Cancel(trail, "not enqueued", complaints.add)
		withdrawals.Cancel(nil, "not enqueued", complaints.add)
		synctest.Wait()
		require.Empty(t, complaints.others)
		require.Empty(t, log.Jobs())
		require.NoError(t, rec.Close(context.WithoutCancel(t.Context())))
	})
}

// Where a submission is not on record, its end would be an end of nothing, and take
// the room of others.
func TestAnErrorThatSaysWhyNothingIsStoredLeavesNothingUnsure(t *testing.T) {
	for _, err := range []error{&jobaudit.FieldError{}, jobaudit.ErrNoPolicy, jobaudit.ErrClosed} {
		require.False(t, queue.Unsure(&jobaudit.AuditError{Op: "submit", Err: err}), err)
	}
	require.False(t, queue.Unsure(nil))
	for _, err := range []error{context.DeadlineExceeded, context.Canceled, errors.New("no space left")} {
		require.True(t, queue.Unsure(&jobaudit.AuditError{Op: "submit", Err: err}), err)
	}
}
