package story

import (
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
)

// Deadlines are by when executions have announced their next sign of life, by the ID of
// the execution.
type Deadlines map[uuid.UUID]time.Time

// Add notes what an event announces.
func (d Deadlines) Add(e *jobaudit.Event) {
	if at := e.Data.Heartbeat.Deadline; at.After(d[e.Job.ExecutionID]) {
		d[e.Job.ExecutionID] = at
	}
}

// Due returns by when a job has to give its next sign of life, zero if none is due: it
// has ended, has announced nothing, or none of its executions is without an end, as
// while it waits for a retry. Of several executions the last one counts.
func (d Deadlines) Due(job *jobaudit.Job) (due time.Time) {
	if job.State != jobaudit.Running {
		return due
	}
	for _, x := range job.Executions {
		if at := d[x.ID]; x.End == "" && at.After(due) {
			due = at
		}
	}
	return due
}
