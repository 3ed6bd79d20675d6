package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jobaudit/jobaudit"
)

// UnrecordedError means that something was done in a queue, and that it is not,
// or not all of it, on record. Do not do it again.
type UnrecordedError struct {
	Err error
}

func (e *UnrecordedError) Error() string {
	return fmt.Sprintf("done, but not all on record: %v", e.Err)
}

func (e *UnrecordedError) Unwrap() error { return e.Err }

// Act does what an operator asks of a queue (cancel, retry, delete, pause, drain),
// as a job of its own: by says who acts and why, and what on. do gets the Trail
// of that job.
//
// A log that cannot be written does not keep anybody from stopping a job that
// does harm: if the start cannot be recorded within half of the time that ctx
// leaves, and within the Recorder's Timeout, do is called all the same. The
// error is an [*UnrecordedError] then, unless what was done could be recorded
// afterwards. do is not called if the submission is incomplete or if
// authorization refuses it, or cannot be asked.
func Act(ctx context.Context, rec *jobaudit.Recorder, by jobaudit.Submission, do func(context.Context, *jobaudit.Trail) error) error {
	trail, err := rec.Prepare(ctx, by)
	switch {
	case err == nil:
		err = startAct(ctx, trail)
	case errors.Is(err, jobaudit.ErrClosed):
	default:
		return err
	}
	if refused(err) {
		return err
	}
	if trail != nil {
		ctx = trail.Context(ctx)
	}
	failure := do(ctx, trail)
	if trail == nil {
		return errors.Join(failure, &UnrecordedError{err})
	}
	if err != nil { // the sink may have come back
		err = startAct(context.WithoutCancel(ctx), trail)
	}
	if err == nil && failure == nil {
		err = trail.Succeed(ctx)
	} else if err == nil {
		err = trail.Fail(ctx, failure)
	}
	if err != nil {
		err = &UnrecordedError{err}
	}
	return errors.Join(failure, err)
}

// startAct records the submission and the start, in half of the time that is
// left.
func startAct(ctx context.Context, trail *jobaudit.Trail) error {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	if err := trail.Submit(ctx); err != nil {
		return err
	}
	return trail.Start(ctx, jobaudit.Execution{})
}

// refused reports whether an error says that authorization did not allow the
// act, or that this could not be decided.
func refused(err error) bool {
	if errors.Is(err, jobaudit.ErrDenied) {
		return true
	}
	failed, ok := errors.AsType[*jobaudit.AuditError](err)
	return ok && failed.Op == "authorize"
}
