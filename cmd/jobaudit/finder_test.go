package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// However the executions of jobs overlap, those that a review lists as without an end are
// those of jobs without an outcome that have none.
func TestAReviewListsTheExecutionsThatHaveNoEnd(t *testing.T) {
	without := 0
	seeds := size.Times(200, 40)
	for seed := range uint64(seeds) {
		random := rand.New(rand.NewPCG(seed, 1))
		log := memsink.New(nil)
		recorder, err := jobaudit.Open(t.Context(), log, jobaudit.Source{System: "jobs", Environment: "test"},
			&jobaudit.Options{OnError: func(context.Context, *jobaudit.AuditError) {}})
		require.NoError(t, err)
		var workers []*jobaudit.Trail
		var jobs []uuid.UUID
		for range 3 {
			first, err := recorder.Submit(t.Context(), jobaudit.Submission{Action: "work", Principal: jobaudit.Principal{Kind: jobaudit.System, ID: "timer"},
				Trigger: jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "it is time"}})
			require.NoError(t, err)
			jobs, workers = append(jobs, first.JobID()), append(workers, first)
			for range 2 { // a queue gives a job to several workers
				other, err := recorder.Resume(t.Context(), first.Carrier(), nil)
				require.NoError(t, err)
				workers = append(workers, other)
			}
		}
		for range 25 {
			w := workers[random.IntN(len(workers))]
			switch random.IntN(12) {
			default:
				_ = w.Start(t.Context(), jobaudit.Execution{})
			case 0, 1:
				w.Retrying(t.Context(), errors.New("busy"))
			case 2:
				w.Deferring(t.Context(), "later")
			case 3:
				_ = w.Succeed(t.Context())
			case 4:
				var starts []jobaudit.Record
				for r := range log.Records(t.Context(), jobaudit.Query{JobID: w.JobID(), Types: []jobaudit.EventType{jobaudit.JobStarted, jobaudit.AttemptStarted}}) {
					starts = append(starts, r)
				}
				if len(starts) > 0 {
					_, _ = recorder.Conclude(t.Context(), jobaudit.Verdict{Of: starts[random.IntN(len(starts))], AttemptOnly: random.IntN(4) > 0})
				}
			case 5:
				_ = w.Deny(t.Context(), jobaudit.Decision{By: "rules", Reason: "no"})
			}
		}
		require.NoError(t, recorder.Close(t.Context()))
		f := finder{}
		for r, err := range log.Records(t.Context(), jobaudit.Query{}) {
			require.NoError(t, err)
			f.add(r)
		}
		want := map[uuid.UUID]bool{}
		for _, id := range jobs {
			job, err := jobaudit.Replay(log.Records(t.Context(), jobaudit.Query{JobID: id}))
			require.NoError(t, err)
			for _, x := range job.Executions {
				if !x.Late { // those that start after the end are listed, until there is another end
					want[x.ID] = x.End == "" && !job.State.Terminal()
				}
			}
		}
		got := map[uuid.UUID]bool{}
		for _, x := range f.done() {
			if x.kind == noEnd {
				got[x.event.Job.ExecutionID] = true
			}
		}
		for id, open := range want {
			require.Equal(t, open, got[id], "seed %d", seed)
			if open {
				without++
			}
		}
	}
	require.Greater(t, without, seeds)
}
