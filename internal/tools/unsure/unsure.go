// Package unsure is for tests of what a program leaves behind when it does not know
// whether an event was stored: a sink that stores, and does not say so in time.
package unsure

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

const timeout = 20 * time.Millisecond

// Options are those of a Recorder that does not wait long.
func Options() *jobaudit.Options {
	return &jobaudit.Options{
		Timeout: timeout, Heartbeat: -1, OnError: func(context.Context, *jobaudit.AuditError) {},
	}
}

// Sink stores each Append, and answers one of them only when nobody waits any more.
type Sink struct {
	*memsink.Sink

	mu  sync.Mutex // guards what follows
	n   int        // Appends so far
	bad int
}

// Append implements jobaudit.AuditSink.
func (s *Sink) Append(ctx context.Context, records []jobaudit.Record) error {
	err := s.Sink.Append(ctx, records)
	s.mu.Lock()
	s.n++
	late := s.n == s.bad && records[0].Type() != jobaudit.AuditClosed // which is no job's
	s.mu.Unlock()
	if late && err == nil {
		<-time.After(5 * timeout) // it does not hear that its context has ended
		err = context.DeadlineExceeded
	}
	return err
}

// Each calls run with a Sink, once for each of the Appends that it makes, from the
// second on: that one is not answered in time. The first is the opening of its
// Recorder. When run has returned, and its Cleanups, no job may be without an end.
func Each(t *testing.T, run func(t *testing.T, sink *Sink)) {
	t.Helper()
	for bad := 2; ; bad++ {
		sink := &Sink{Sink: memsink.New(nil), bad: bad}
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
func (s *Sink) End(t *testing.T, rec *jobaudit.Recorder, id uuid.UUID) {
	t.Helper()
	for record, err := range s.Records(t.Context(), jobaudit.Query{JobID: id, Limit: 1}) {
		require.NoError(t, err)
		trail, err := rec.Resume(t.Context(), record.Carrier(), nil)
		require.NoError(t, err)
		require.NoError(t, trail.Cancel(t.Context(), "the test ends"))
	}
}

// Ended waits until all jobs have an end.
func (s *Sink) Ended(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	for _, id := range s.Jobs() {
		s.ExpectEvent(ctx, t, jobaudit.Query{JobID: id, Types: []jobaudit.EventType{
			jobaudit.JobSucceeded, jobaudit.JobFailed, jobaudit.JobCancelled, jobaudit.JobDeduplicated,
		}})
	}
}
