package asynqaudit

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/worker/queue"
)

// What a watchdog concluded, and when by its clock, says nothing of what stands in
// other logs: each task is then as partial as if nobody had looked at its worker.
func TestAWatchdogsVerdictMakesNoLogPartial(t *testing.T) {
	now := time.Now()
	compared := 0
	for _, state := range []asynq.TaskState{
		asynq.TaskStateActive, asynq.TaskStatePending, asynq.TaskStateScheduled, asynq.TaskStateRetry,
		asynq.TaskStateArchived, asynq.TaskStateCompleted, asynq.TaskStateAggregating,
	} {
		for _, text := range []string{"", "refused", asynq.ErrLeaseExpired.Error()} {
			for retried := range 4 {
				for _, failed := range []time.Time{{}, now.Add(-time.Hour), now, now.Add(time.Hour)} {
					for executions := 1; executions < 4; executions++ {
						info := &asynq.TaskInfo{State: state, LastErr: text, Retried: retried, LastFailedAt: failed}
						past := queue.Past{Known: true, Job: jobaudit.Job{State: jobaudit.Running, Attempt: executions}}
						for n := range executions {
							past.Job.Executions = append(past.Job.Executions, jobaudit.JobExecution{
								ID: uuid.New(), Attempt: n + 1, End: jobaudit.AttemptFailed, EndedAt: now.Add(-2 * time.Hour),
							})
						}
						newest := &past.Job.Executions[executions-1]
						newest.End, newest.EndedAt = "", time.Time{}
						want := tellsMore(info, past)
						for _, verdict := range []time.Time{now.Add(-24 * time.Hour), now.Add(-time.Minute), now.Add(24 * time.Hour)} {
							newest.End, newest.EndedAt = jobaudit.AttemptLost, verdict
							require.Equal(t, want, tellsMore(info, past), fmt.Sprint(info, verdict))
							compared++
						}
					}
				}
			}
		}
	}
	require.Positive(t, compared)
}
