package jobaudit

import (
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/causal"
	"github.com/jobaudit/jobaudit/internal/tools/size"
)

// A job that a queue has tried again for years must not take hours to read: in
// one pass this takes part of a second, in one for each execution the test's
// time runs out.
func TestAJobOfManyExecutionsIsFoldedInOnePass(t *testing.T) {
	executions := 100_000
	if size.Race { // which is ten times slower, and finds nothing in one goroutine
		executions = size.Times(30_000, 10_000)
	}
	events := make([]Event, 2*executions)
	for i := range events {
		e := &events[i]
		e.Type, e.Job.ID, e.Stream.ID, e.Stream.Seq = AttemptStarted, uuid.UUID{1}, uuid.UUID{2}, uint64(i+1)
		if i%2 == 1 {
			e.Type = AttemptFailed
		}
		e.ID = uuid.UUID{3, byte(i), byte(i >> 8), byte(i >> 16), byte(i >> 24)}
		e.Job.ExecutionID = uuid.UUID{4, byte(i / 2), byte(i >> 9), byte(i >> 17), byte(i >> 25)}
	}
	f := fold{executions: map[uuid.UUID]int{}, concluded: map[uuid.UUID]bool{}}
	order := make([]causal.Event, len(events))
	for i := range events {
		order[i] = links(&events[i], Hash{5, byte(i), byte(i >> 8), byte(i >> 16), byte(i >> 24)})
	}
	for _, i := range causal.NewGraph(order).Order() {
		f.apply(&events[i])
	}
	require.Len(t, f.job.Executions, executions)
	open := slices.ContainsFunc(f.job.Executions, func(x JobExecution) bool { return x.End != AttemptFailed })
	require.False(t, open)
}
