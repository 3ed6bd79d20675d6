package asynqaudit_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

const unsureTimeout = 20 * time.Millisecond

// unsureOptions are those of a Recorder that does not wait long.
func unsureOptions() *jobaudit.Options {
	return &jobaudit.Options{
		Timeout: unsureTimeout, Heartbeat: -1, OnError: func(context.Context, *jobaudit.AuditError) {},
	}
}

// unsureSink stores each Append, and answers one of them only when nobody waits any more.
type unsureSink struct {
	*memsink.Sink

	mu  sync.Mutex // guards what follows
	n   int        // Appends so far
	bad int
}

// Append implements jobaudit.AuditSink.
func (s *unsureSink) Append(ctx context.Context, records []jobaudit.Record) error {
	err := s.Sink.Append(ctx, records)
	s.mu.Lock()
	s.n++
	late := s.n == s.bad && records[0].Type() != jobaudit.AuditClosed // which is no job's
	s.mu.Unlock()
	if late && err == nil {
		<-time.After(5 * unsureTimeout) // it does not hear that its context has ended
		err = context.DeadlineExceeded
	}
	return err
}

// eachUnsure calls run with such a sink, once for each of the Appends that it makes, from the
// second on: that one is not answered in time. The first is the opening of its
// Recorder. When run has returned, and its Cleanups, no job may be without an end.
func eachUnsure(t *testing.T, run func(t *testing.T, sink *unsureSink)) {
	t.Helper()
	for bad := 2; ; bad++ {
		sink := &unsureSink{Sink: memsink.New(nil), bad: bad}
		if !t.Run(fmt.Sprint("append ", bad), func(t *testing.T) { run(t, sink) }) {
			return
		}
		for _, id := range sink.Jobs() {
			job, err := jobaudit.Replay(sink.Records(t.Context(), jobaudit.Query{JobID: id}))
			require.NoError(t, err)
			require.True(t, job.State.Terminal(), "append %d: job %s of action %s is left %s", bad, id, job.Metadata.Action, job.State)
		}
		if sink.n < bad {
			require.Greater(t, bad, 3, "something was recorded")
			return
		}
	}
}

// End ends a job that is its queue's, as the test ends.
func (s *unsureSink) End(t *testing.T, rec *jobaudit.Recorder, id uuid.UUID) {
	t.Helper()
	for record, err := range s.Records(t.Context(), jobaudit.Query{JobID: id, Limit: 1}) {
		require.NoError(t, err)
		trail, err := rec.Resume(t.Context(), record.Carrier(), nil)
		require.NoError(t, err)
		require.NoError(t, trail.Cancel(t.Context(), "the test ends"))
	}
}

// Ended waits until all jobs have an end.
func (s *unsureSink) Ended(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	for _, id := range s.Jobs() {
		s.ExpectEvent(ctx, t, jobaudit.Query{JobID: id, Types: []jobaudit.EventType{
			jobaudit.JobSucceeded, jobaudit.JobFailed, jobaudit.JobCancelled, jobaudit.JobDeduplicated,
		}})
	}
}
