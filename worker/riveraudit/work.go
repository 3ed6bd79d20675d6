package riveraudit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/riverqueue/river/rivertype"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/worker/queue"
)

// Work is called by River around every attempt that reaches a worker. The
// attempt starts when its start is on record; otherwise it is snoozed, which
// takes no attempt from the job, or cancelled if its authorization was refused.
// The worker's context carries the job's Trail.
//
// What the worker returns is not the job's outcome, and none is recorded here:
// that is River's to decide.
func (a *Audit) Work(ctx context.Context, job *rivertype.JobRow, doInner func(context.Context) error) (err error) {
	trail, err := a.begin(ctx, job)
	if err != nil {
		return a.notBegun(ctx, err)
	}
	if err := trail.Start(ctx, a.execution(job)); err != nil {
		if !errors.Is(err, jobaudit.ErrDenied) && !errors.Is(err, jobaudit.ErrClosed) && !errors.Is(err, jobaudit.ErrTransition) {
			trail.Deferring(context.WithoutCancel(ctx), "the start could not be recorded, and the worker was not called")
		}
		return a.notBegun(ctx, err)
	}
	x := &attempt{trail: trail, job: job.ID, at: fetchedAt(job)}
	a.running.put(x)
	jobCtx, stop := trail.KeepAlive(ctx)
	defer func() {
		unwinding := stop()
		x.end(cmp.Or(unwinding, err))
		if exited(unwinding) { // River's error handler is called after a panic, and not after this
			trail.Retrying(ctx, unwinding)
		}
	}()
	if !errors.Is(context.Cause(jobCtx), jobaudit.ErrDenied) { // it may have been withdrawn already
		err = doInner(jobCtx)
	}
	if errors.Is(context.Cause(jobCtx), jobaudit.ErrDenied) {
		err = rivertype.JobCancel(jobaudit.ErrDenied)
	}
	a.putOff(ctx, x, err)
	return err
}

// exited reports whether the error is that of a function that ended its
// goroutine by runtime.Goexit.
func exited(err error) bool {
	coded, ok := errors.AsType[interface {
		error
		JobErrorCode() string
	}](err)
	return ok && coded.JobErrorCode() == string(jobaudit.CodeGoexit)
}

func (a *Audit) execution(job *rivertype.JobRow) jobaudit.Execution {
	return jobaudit.Execution{Attempt: max(job.Attempt, 1), Queue: a.queueRef(job)}
}

// begin opens the Trail of a job that is to run.
func (a *Audit) begin(ctx context.Context, job *rivertype.JobRow) (*jobaudit.Trail, error) {
	o, err := a.open(ctx, job)
	if err != nil {
		return nil, err
	}
	if !a.logs.None() && (o.found || hasPast(job)) {
		s, err := a.story(ctx, job, o)
		if err != nil {
			return nil, err
		}
		if err := s.submit(ctx); !errors.Is(err, queue.ErrPartialLog) {
			return s.trail, err
		}
		return s.trail, nil // it is on record elsewhere; the work need not wait for that log
	}
	if o.found {
		err = o.trail.Reconstruct(o.inserted, func() error { return o.trail.Submit(ctx) })
	}
	return o.trail, err
}

// hasPast reports whether something may be on record of a job besides its
// submission, as far as its row tells: it ran before, or it was put off.
func hasPast(job *rivertype.JobRow) bool {
	return len(job.AttemptedBy) > 1 || job.Attempt > 1 || job.ScheduledAt.Sub(job.CreatedAt) > time.Second
}

// notBegun is what River gets for an attempt that may not run.
func (a *Audit) notBegun(ctx context.Context, err error) error {
	refusal, ok := errors.AsType[*jobaudit.AuditError](err)
	if ok && errors.Is(err, jobaudit.ErrDenied) && !refusal.AskAgain() {
		return rivertype.JobCancel(jobaudit.ErrDenied)
	}
	if !errors.Is(err, jobaudit.ErrDenied) {
		a.report(ctx, fmt.Errorf("snoozed, as its start cannot be recorded: %w", err))
	}
	return &rivertype.JobSnoozeError{Duration: a.opts.Snooze}
}

// putOff records that an attempt ended without failing and that River will
// bring the job back. It is on record before River knows of it.
func (a *Audit) putOff(ctx context.Context, x *attempt, err error) {
	var reason string
	snooze, snoozed := errors.AsType[*rivertype.JobSnoozeError](err)
	switch cause := context.Cause(ctx); {
	case err == nil:
		return
	case snoozed:
		reason = fmt.Sprintf("snoozed for %s", snooze.Duration)
	case cause != nil && !errors.Is(cause, rivertype.ErrJobCancelledRemotely) && !errors.Is(err, &rivertype.JobCancelError{}) &&
		(errors.Is(err, context.Canceled) || errors.Is(err, cause)):
		reason = "the client is stopping"
	default:
		return
	}
	x.trail.Deferring(ctx, reason)
	a.flushEnd(ctx, x)
}

// flushEnd notes that the attempt's end is recorded, and waits until it is stored.
func (a *Audit) flushEnd(ctx context.Context, x *attempt) {
	x.mu.Lock()
	x.endRecorded = true
	x.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.opts.Timeout)
	defer cancel()
	a.report(ctx, x.trail.Flush(ctx))
}

// attemptFailed records that an attempt has ended with an error, or, with
// panicked set, in a panic; a panic's err says no more than its type. It is
// called by River's error handler, before River decides, and also for attempts
// that never reached a worker: of an unknown kind, or with a row that cannot be
// decoded. cancelled says that the error handler wants the job cancelled.
func (a *Audit) attemptFailed(ctx context.Context, job *rivertype.JobRow, err error, cancelled bool) {
	x := a.running.of(job)
	if x == nil {
		trail, beginErr := a.begin(ctx, job)
		if beginErr == nil {
			beginErr = trail.Start(context.WithoutCancel(ctx), a.execution(job))
		}
		if beginErr != nil {
			a.report(ctx, fmt.Errorf("an attempt that no worker saw: %w", beginErr))
			return
		}
		x = &attempt{trail: trail, job: job.ID, at: fetchedAt(job)}
		a.running.put(x)
	}
	if p, ok := err.(*panicked); ok {
		x.mu.Lock()
		err = &panicked{Type: p.Type, place: x.err}
		x.mu.Unlock()
	}
	x.end(err)
	if cancelled || job.Attempt >= job.MaxAttempts {
		return
	}
	x.trail.Retrying(ctx, err)
	a.flushEnd(ctx, x)
}
