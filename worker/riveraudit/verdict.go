package riveraudit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/riverqueue/river/rivertype"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/worker/queue"
)

// outcome is what a state of River's means for the job; it is empty for one
// that is not an end.
func outcome(s rivertype.JobState) jobaudit.JobState {
	switch s {
	case rivertype.JobStateCompleted:
		return jobaudit.Success
	case rivertype.JobStateDiscarded:
		return jobaudit.Failed
	case rivertype.JobStateCancelled:
		return jobaudit.Cancelled
	}
	return ""
}

// verdict records what River has decided about an attempt of this process, as
// the job's row says, and reports whether it was one. Of an attempt that is
// still running it records nothing. It may be called again after an error.
func (a *Audit) verdict(ctx context.Context, job *rivertype.JobRow) (ours bool, err error) {
	defer a.keys.lock(job.ID)()
	x := a.running.of(job)
	if x == nil {
		return false, nil
	}
	final := outcome(job.State)
	switch {
	case job.State == rivertype.JobStateRunning:
		return true, nil
	case final != "":
		err = a.settle(ctx, x, job, final)
	default:
		x.mu.Lock()
		running, failure := x.returned.IsZero(), x.err
		tell := !x.endRecorded && failure != nil
		x.mu.Unlock()
		if running {
			return true, nil // River has taken it away, and may run it twice
		}
		if tell {
			x.trail.Retrying(ctx, failure)
			err = x.trail.Flush(ctx)
		}
	}
	if err == nil {
		a.running.drop(x)
	}
	return true, err
}

// settle records the outcome of a job that this process ran last.
func (a *Audit) settle(ctx context.Context, x *attempt, job *rivertype.JobRow, final jobaudit.JobState) error {
	x.mu.Lock()
	failure := x.err
	x.mu.Unlock()
	err := end(ctx, x.trail, job, final, failure)
	if errors.Is(err, jobaudit.ErrTransition) {
		return nil // the worker's own code has recorded an outcome
	}
	return err
}

// end records an outcome. failure is what the attempt returned, if that is
// known; otherwise River's table tells.
func end(ctx context.Context, trail *jobaudit.Trail, job *rivertype.JobRow, final jobaudit.JobState, failure error) error {
	switch final {
	case jobaudit.Success:
		if output := job.Output(); len(output) > 0 {
			trail.SetOutput(json.RawMessage(output))
		}
		return trail.Succeed(ctx)
	case jobaudit.Failed:
		if failure == nil {
			failure = lastError(job)
		}
		return trail.Fail(ctx, failure)
	default:
		return trail.Cancel(ctx, cancelReason(job, failure))
	}
}

// attemptFailure is an error that River's table holds.
type attemptFailure struct {
	Message string
	At      time.Time
}

func (e *attemptFailure) Error() string { return e.Message }

// attemptError is a failed attempt's error as River keeps it: of a panic, that
// it was one and nothing of its value.
func attemptError(e rivertype.AttemptError) error {
	if e.Trace != "" {
		return &panicked{}
	}
	return &attemptFailure{Message: e.Error, At: e.At}
}

func lastError(job *rivertype.JobRow) error {
	if n := len(job.Errors); n > 0 {
		return attemptError(job.Errors[n-1])
	}
	return &attemptFailure{Message: "River discarded the job and kept no error"}
}

// panicked says that an attempt panicked. It does not hold the panic's value,
// which may be a secret.
type panicked struct {
	Type string // the value's type, if it is known

	place error // of a panic in this process: it knows where it arose
}

// Unwrap returns what the stack showed of the panic, nil if it was not seen.
func (e *panicked) Unwrap() error { return e.place }

func (e *panicked) Error() string {
	if e.Type == "" {
		return "panic"
	}
	return "panic with a " + e.Type
}

// JobErrorCode returns PANIC.
func (e *panicked) JobErrorCode() string { return string(jobaudit.CodePanic) }

func cancelReason(job *rivertype.JobRow, failure error) string {
	cancel, ok := errors.AsType[*rivertype.JobCancelError](failure)
	switch {
	case ok && cancel.Unwrap() != nil:
		return "cancelled by its worker: " + cancel.Unwrap().Error()
	case failure != nil:
		return fmt.Sprintf("cancelled in River; its last attempt ended with: %v", failure)
	case len(job.Errors) > 0 && job.Errors[len(job.Errors)-1].Attempt == job.Attempt:
		return "cancelled in River: " + attemptError(job.Errors[len(job.Errors)-1]).Error()
	}
	return "cancelled in River"
}

// gone records the end of a job that this process has run and that is no longer
// in River's table: it was deleted before its end was read. That is known only if the
// job waited for another attempt.
func (a *Audit) gone(ctx context.Context, id int64) error {
	defer a.keys.lock(id)()
	a.running.mu.Lock()
	x := a.running.byID[id]
	a.running.mu.Unlock()
	if x == nil {
		return nil
	}
	x.mu.Lock()
	waits := x.endRecorded
	x.mu.Unlock()
	var err error
	if waits {
		err = x.trail.Cancel(ctx, "River no longer has the job: it was deleted while it waited for its next attempt")
	} else { // it may have succeeded: River has forgotten
		err = x.trail.Fail(ctx, queue.ErrAbandoned)
	}
	if err == nil || errors.Is(err, jobaudit.ErrTransition) {
		a.running.drop(x)
		return nil
	}
	return err
}

// waiting returns the numbers of the jobs that this process has run and whose
// verdict was not recorded within a time after they returned.
func (a *Audit) waiting(within time.Duration) []int64 {
	return a.running.waiting(time.Now().Add(-within))
}
