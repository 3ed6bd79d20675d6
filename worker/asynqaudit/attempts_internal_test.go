package asynqaudit

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// TestOfManyAttemptsOfOneTaskAtOnceEachHasOneBeforeIt: asynq can give a task out again while
// its attempt runs. Each that begins ends the one before it, so none may be that of two, and
// none may be forgotten.
func TestOfManyAttemptsOfOneTaskAtOnceEachHasOneBeforeIt(t *testing.T) {
	for range 100 {
		manyAttempts(t)
	}
}

func manyAttempts(t *testing.T) {
	t.Helper()
	const tasks, workers, each = 2, 8, 200
	as := &attempts{by: map[place]*attempt{}}
	var mu sync.Mutex
	before := map[*attempt]int{} // how often one was found
	first := 0
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			var found []*attempt
			for range each {
				at := &attempt{place: place{"q", fmt.Sprint(worker % tasks)}, ctx: t.Context(), over: make(chan struct{})}
				prior, _ := as.put(at)
				as.get(at.place)
				if prior != nil {
					as.remove(prior) // its end is on record; the newer one stays
				}
				found = append(found, prior)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, prior := range found {
				if prior == nil {
					first++
					continue
				}
				before[prior]++
			}
		})
	}
	wg.Wait()
	require.Equal(t, tasks, first, "one of each task is the first")
	require.Equal(t, workers*each-tasks, len(before), "none comes before two, and none is forgotten")
	for _, n := range before {
		require.Equal(t, 1, n)
	}
	last := as.clear()
	require.Len(t, last, tasks, "the newest of each is kept")
	for _, at := range last {
		require.Zero(t, before[at])
	}
}

// TestAnAttemptThatIsGivenOutAgainWhileItsVerdictComesHasOneEnd: the next attempt gives it up,
// and asynq says what became of it, at the same moment. One of the two counts, and who waits
// for the end goes on.
func TestAnAttemptThatIsGivenOutAgainWhileItsVerdictComesHasOneEnd(t *testing.T) {
	sink := memsink.New(nil)
	source := jobaudit.Source{System: "worker", Environment: "test", Host: "host", Version: "v1"}
	rec, err := jobaudit.Open(t.Context(), sink, source, nil)
	require.NoError(t, err)
	a := New(rec, nil)
	for _, v := range []verdict{{fate: retried, counted: true}, {fate: requeued}, {fate: removed}, {fate: archived}} {
		for range 30 {
			trail, err := rec.Submit(t.Context(), jobaudit.Submission{
				Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ann", Verified: true}, OrgID: "acme", Action: "reindex",
				Trigger: jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "a test"},
			})
			require.NoError(t, err)
			at := &attempt{a: a, place: place{"q", trail.JobID().String()}, number: 1, ctx: t.Context(), over: make(chan struct{})}
			require.NoError(t, at.record(t.Context(), trail))
			at.trail, at.started = trail, true
			var wg, pending sync.WaitGroup
			done := make(chan struct{}, 9)
			start := make(chan struct{})
			for range 2 {
				wg.Go(func() { <-start; at.conclude(t.Context(), v, &pending, func() { done <- struct{}{} }) })
				wg.Go(func() { <-start; at.abandon(t.Context(), errRedelivered) })
			}
			close(start)
			<-at.over
			wg.Wait()
			pending.Wait()
			require.LessOrEqual(t, len(done), 1)
			require.NoError(t, trail.Flush(t.Context()))
			requireOneEnd(t, sink, trail.JobID(), v)
		}
	}
	require.NoError(t, rec.Close(context.WithoutCancel(t.Context())))
}

// requireOneEnd requires that the job's one attempt has one end.
func requireOneEnd(t *testing.T, sink *memsink.Sink, job uuid.UUID, v verdict) {
	t.Helper()
	ends := 0
	for _, e := range sink.Trail(job) {
		switch e.Type {
		case jobaudit.AttemptFailed, jobaudit.AttemptDeferred, jobaudit.JobSucceeded, jobaudit.JobFailed, jobaudit.JobCancelled:
			ends++
		}
	}
	require.Equal(t, 1, ends, "%v", v)
	replayed, err := jobaudit.Replay(sink.Records(t.Context(), jobaudit.Query{JobID: job}))
	require.NoError(t, err)
	require.Empty(t, replayed.Unapplied, "nothing twice, nothing late")
	require.Len(t, replayed.Executions, 1)
	require.NotEmpty(t, replayed.Executions[0].End)
}
