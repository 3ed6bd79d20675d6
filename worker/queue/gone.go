package queue

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
)

// Gone says how to end jobs that are on record, have no end there, and are in
// their queue no more.
type Gone struct {
	Recorder *jobaudit.Recorder
	Options  ReconcileOptions
	Watch    *Watch // of this comparison; without one no job has settled
	// Complete reports whether the logs of all those are given who may have
	// worked on a job since then.
	Complete func(since time.Time) bool
}

// End records the end of such a job. One that was running when it was last heard
// of may have succeeded: that is not known, and it has failed, ABANDONED, whether
// or not a watchdog has taken its worker for dead meanwhile. One that waited is
// cancelled. If it may have been run by somebody whose log is not here, nothing is
// recorded.
func (g *Gone) End(ctx context.Context, l *Logs, id uuid.UUID, report *Report) error {
	past, err := l.Past(ctx, id)
	switch {
	case err != nil:
		return err
	case !past.Known, past.Job.State.Terminal():
		return nil
	case !g.Watch.Settled(id, past):
		report.Unsettled++
		return nil
	case g.Options.Unaudited:
		report.Unresolved = append(report.Unresolved, id)
		return nil
	case !past.Submitted(), !g.Complete(past.Job.CreatedAt):
		report.Partial = append(report.Partial, id)
		return nil
	}
	trail, err := g.Recorder.Resume(ctx, past.First.Carrier(), nil)
	if err == nil {
		err = trail.Observe(past.Job)
	}
	if err != nil {
		return err
	}
	report.Ended++
	return trail.Reconstruct(time.Time{}, func() error {
		switch {
		case past.Unheard():
			return trail.Fail(ctx, ErrAbandoned)
		case past.Job.State == jobaudit.Pending:
			return trail.Cancel(ctx, "it is not in its queue, and was not started: it never came there, or was deleted")
		}
		return trail.Cancel(ctx, "it is no longer in its queue, where it was to wait for its next attempt")
	})
}

// ErrAbandoned is the end of a job that left its queue, and of which it is not known
// how it ended. Its code is ABANDONED.
var ErrAbandoned error = abandonedError{}

type abandonedError struct{}

func (abandonedError) Error() string {
	return "the job left its queue while it was running, and nothing tells whether it succeeded"
}

// JobErrorCode gives the code of a job without a known end.
func (abandonedError) JobErrorCode() string { return string(jobaudit.CodeAbandoned) }
