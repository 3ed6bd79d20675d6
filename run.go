package jobaudit

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit/internal/delivery"
)

// Run runs fn as a job: it records the submission, the authorization and the
// start, calls fn with a context that carries the job's [Trail], records
// heartbeats, and records how fn ended.
//
// Before fn is called, an error of the audit path is returned, as an
// [*AuditError], and fn is not called at all: there is no unaudited work. From
// then on Run returns fn's own error and nothing else; what goes wrong with
// the record is reported to OnError. A panic of fn is recorded and goes on. If
// fn's context was cancelled and fn returns an error, the job is cancelled; if
// fn has recorded an outcome, or [Trail.Retrying], Run adds none.
func (r *Recorder) Run(ctx context.Context, s Submission, fn func(context.Context) error) error {
	if fn == nil {
		return errNoFunction
	}
	return r.run(ctx, s, func(ctx context.Context, _ *Trail) error { return fn(ctx) })
}

func (r *Recorder) run(ctx context.Context, s Submission, fn func(context.Context, *Trail) error) error {
	if err := r.opened("run"); err != nil {
		return err
	}
	t, d, err := r.submission(ctx, s)
	if err != nil {
		return err
	}
	t.inProcess = true
	submitted := t.encode(&d, delivery.Admission)
	first := &submitted
	if r.opts.Authorize != nil { // it is to be on record who was asked about
		first = nil
		t.mu.Lock()
		a := admission{before: t.trailState}
		a.add(submitted)
		err = t.unlockAndAdmit(ctx, "submit", &a)
	}
	if err != nil {
		t.notRun(ctx, err)
		return err
	}
	return t.run(ctx, Execution{}, first, fn)
}

// Wrap returns fn as a job of its own at each call: [Recorder.Run] with what
// submission returns.
func (r *Recorder) Wrap(submission func(context.Context) Submission, fn func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if submission == nil {
			return errNoFunction
		}
		return r.Run(ctx, submission(ctx), fn)
	}
}

// Call is [Recorder.Run] for a function with a result, which becomes the job's
// output.
func Call[Out any](ctx context.Context, r *Recorder, s Submission, fn func(context.Context) (Out, error)) (Out, error) {
	var out Out
	if fn == nil {
		return out, errNoFunction
	}
	err := r.run(ctx, s, func(ctx context.Context, t *Trail) error {
		var err error
		if out, err = fn(ctx); err == nil {
			t.SetOutput(out)
		}
		return err
	})
	return out, err
}

// Run runs fn as an execution of the job: see [Recorder.Run]. It is for jobs
// that were submitted before, here or elsewhere. If the start of a resumed job
// cannot be recorded, its attempt is recorded as deferred: its queue will
// bring it back.
func (t *Trail) Run(ctx context.Context, x Execution, fn func(context.Context) error) error {
	if fn == nil {
		return errNoFunction
	}
	if err := t.opened("run"); err != nil {
		return err
	}
	return t.run(ctx, x, nil, func(ctx context.Context, _ *Trail) error { return fn(ctx) })
}

func (t *Trail) run(ctx context.Context, x Execution, first *entry, fn func(context.Context, *Trail) error) error {
	began, err := t.start(ctx, x, first)
	if err != nil {
		t.notRun(ctx, err)
		return err
	}
	jobCtx, cancel := context.WithCancelCause(t.Context(ctx))
	defer cancel(nil)
	if t.cancelWith(cancel) {
		t.returned(ctx, began, nil, nil)
		return t.fail("start", ErrDenied)
	}
	heartbeats := t.heartbeats(jobCtx)
	returned := false
	defer func() {
		if returned {
			return
		}
		heartbeats.stop()
		p := recover() // nil: the goroutine ends by runtime.Goexit
		t.unwound(ctx, began, p)
		if p != nil {
			panic(p)
		}
	}()
	err = fn(jobCtx, t)
	returned = true
	heartbeats.stop()
	t.returned(ctx, began, jobCtx.Err(), err)
	return err
}

// cancelWith says how the execution that has just started is cancelled when its
// authorization is withdrawn, and reports whether that has happened already,
// while the start was on its way.
func (t *Trail) cancelWith(cancel context.CancelCauseFunc) (revoked bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cancel = cancel
	return t.revoked
}

// notRun records that the job did not run because its start could not be
// recorded, if anything of it may be stored.
func (t *Trail) notRun(ctx context.Context, err error) {
	if errors.Is(err, ErrDenied) || errors.Is(err, ErrTransition) || errors.Is(err, ErrClosed) {
		return
	}
	typ := AttemptDeferred
	switch {
	case t.inProcess && t.rec.queue.HandedOver(t.stream):
		typ = JobCancelled
	case t.inProcess || !t.resumed:
		return
	}
	why := "the start could not be recorded"
	if audit, ok := errors.AsType[*AuditError](err); ok && audit.Op == "authorize" {
		why = "whether the job may start could not be decided"
	}
	t.report(ctx, "run", t.recordNotRun(typ, why))
}

func (t *Trail) recordNotRun(typ EventType, why string) error {
	data := &errorData{code: CodeNotRun, message: t.sanitizer.text(why)}
	t.mu.Lock()
	defer t.mu.Unlock()
	d, err := t.advance(typ)
	if err != nil {
		return nil // the job has its end already
	}
	t.open = false
	t.count()
	d.data.err = data
	err = t.rec.queue.Send(t.stream, t.encode(&d, delivery.Reserved))
	if err == delivery.ErrFull { // nothing else will say that the job did not run
		t.rec.queue.Drop(t.stream, d.time, string(typ), t.lost(d))
	}
	return err
}

// KeepAlive records a heartbeat at every interval of the recorder, and asks
// again whether the job may run if it Reauthorizes, until stop is called. The
// context that it returns carries the Trail and ends with stop, or, with
// [ErrDenied] as its cause, when the authorization is withdrawn; it may have
// been withdrawn already. [Trail.Run] does this by itself. Call KeepAlive behind
// [Trail.Start] where a framework decides how the execution ends, and record
// that end.
//
// Call stop in a deferred function. It returns nil if the function that
// deferred it returns. If it panics, or ends its goroutine by runtime.Goexit,
// stop returns an error that says so, with the code PANIC or GOEXIT and the
// place of the panic but not its value, for [Trail.Retrying] or [Trail.Fail];
// the panic goes on.
func (t *Trail) KeepAlive(ctx context.Context) (jobCtx context.Context, stop func() error) {
	jobCtx, cancel := context.WithCancelCause(t.Context(ctx))
	if err := t.opened("run"); err != nil {
		cancel(err) // there is no start on record under which it could run
		return jobCtx, func() error { return nil }
	}
	if t.cancelWith(cancel) {
		cancel(ErrDenied)
	}
	heartbeats := t.heartbeats(jobCtx)
	_, before := standing() // the caller may run in a deferred function itself
	return jobCtx, func() error {
		heartbeats.stop()
		cancel(nil)
		if newest, depth := standing(); depth > before {
			return newest
		}
		return nil
	}
}

// running reports whether the execution is without an end, as far as this Trail
// has recorded one.
func (t *Trail) running() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open && t.ended == ""
}

// overtaken reports whether another start on this Trail has superseded the one
// that a Run began with: what the job's outcome is, that one's end says.
func (t *Trail) overtaken(began trailState) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.execution != began.execution && t.execution != uuid.Nil
}

// contradicts reports whether what a function returns says something else than
// what the function has recorded of its end.
func (t *Trail) contradicts(data *errorData) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ended == JobSucceeded || !t.failure.empty() && t.failure != data.message
}

// late records the end of an execution that has been superseded, or how its
// function ended after it had recorded the execution's end itself.
func (t *Trail) late(ctx context.Context, began trailState, data *errorData) {
	t.report(ctx, "run", t.offer(AttemptLate, func(d *draft) {
		d.executionID, d.attempt, d.data.err = began.execution, began.attempt, data
	}))
}

// returned records how a function that has returned ended.
func (t *Trail) returned(ctx context.Context, began trailState, ctxErr, err error) {
	if t.overtaken(began) {
		var data *errorData
		if err != nil {
			data = t.errorData(err)
		}
		t.late(ctx, began, data)
		return
	}
	if !t.running() {
		if err == nil {
			return
		}
		if data := t.errorData(err); t.contradicts(data) {
			t.late(ctx, began, data)
		}
		return
	}
	t.mu.Lock()
	revoked := t.revoked
	t.mu.Unlock()
	var auditErr error
	switch {
	case revoked:
		data := &errorData{code: CodeForbidden, message: t.sanitizer.text("authorization was withdrawn")}
		auditErr = t.end(ctx, "cancel", JobCancelled, ending{err: data})
	case err == nil:
		auditErr = t.Succeed(ctx)
	case errors.Is(ctxErr, context.Canceled):
		data := t.errorData(cancellation(ctx, err))
		setGeneric(&data.code, CodeCancelled)
		if data.typ == "signal.signalError" { // which os/signal does not export; the message names the signal
			data.typ = ""
		}
		auditErr = t.end(ctx, "cancel", JobCancelled, ending{err: data})
	default:
		data := t.errorData(err)
		if ctxErr != nil {
			setGeneric(&data.code, CodeTimeout)
		}
		auditErr = t.end(ctx, "fail", JobFailed, ending{err: data})
	}
	t.report(ctx, "run", auditErr)
}

// cancellation is the error of a job whose context was cancelled: what cancelled
// it, as a signal, if the job says no more than that its context was.
func cancellation(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err == context.Canceled && cause != nil {
		return cause
	}
	return err
}

// setGeneric replaces a code that the error did not bring itself.
func setGeneric(code *ErrorCode, by ErrorCode) {
	switch *code {
	case CodeError, CodeTimeout, CodeCancelled:
		*code = by
	}
}

// unwound records that a function ended by a panic, or, with nil, by
// runtime.Goexit.
func (t *Trail) unwound(ctx context.Context, began trailState, p any) {
	data := &errorData{code: CodeGoexit, message: t.sanitizer.text(goexitMessage)}
	if p != nil {
		data = &errorData{code: CodePanic, message: panicMessage(t.sanitizer, p), typ: fmt.Sprintf("%T", p)}
		if newest, _ := standing(); newest != nil {
			data.frame = newest.frame
		}
	}
	if t.overtaken(began) || !t.running() {
		t.late(ctx, began, data)
		return
	}
	t.report(ctx, "run", t.end(ctx, "fail", JobFailed, ending{err: data}))
}

// heartbeats are the executions of a Recorder that wait for their next heartbeat.
// One timer serves them all: most jobs end before their first.
type heartbeats struct {
	mu    sync.Mutex // guards what follows
	next  heartbeatHeap
	timer *time.Timer
	at    time.Time // when the timer fires; zero if it is not set
}

// heartbeater is the heartbeats of one execution.
type heartbeater struct {
	trail  *Trail
	ctx    context.Context
	asking atomic.Bool

	due     time.Time // guarded by the mutex of the Recorder's heartbeats, as the rest
	at      int       // its place in the heap; -1 if it is not there
	stopped bool
}

// heartbeats records a heartbeat at every interval, and asks again whether the
// job may run, until it is stopped. Neither waits for the other. It is nil where
// the Recorder sends none.
func (t *Trail) heartbeats(ctx context.Context) *heartbeater {
	if t.rec.opts.Heartbeat < 0 {
		return nil
	}
	p := &heartbeater{trail: t, ctx: ctx, at: -1}
	p.goesOn()
	return p
}

func (p *heartbeater) stop() {
	if p == nil {
		return
	}
	l := &p.trail.rec.heartbeats
	l.mu.Lock()
	defer l.mu.Unlock()
	p.stopped = true
	if p.at >= 0 {
		heap.Remove(&l.next, p.at)
	}
}

// goesOn sets the time of the next heartbeat, and reports false once the
// heartbeats are stopped.
func (p *heartbeater) goesOn() bool {
	interval := p.trail.heartbeatInterval()
	l := &p.trail.rec.heartbeats
	l.mu.Lock()
	defer l.mu.Unlock()
	if !p.stopped {
		p.due = time.Now().Add(interval)
		heap.Push(&l.next, p)
		l.set()
	}
	return !p.stopped
}

// set sets the timer for the first heartbeat that is due. One that is stopped
// leaves the timer as it is: the next job most often comes before it fires.
func (l *heartbeats) set() {
	if len(l.next) == 0 || !l.at.IsZero() && !l.next[0].due.Before(l.at) {
		return
	}
	l.at = l.next[0].due
	if l.timer == nil {
		l.timer = time.AfterFunc(time.Until(l.at), l.fire)
		return
	}
	l.timer.Reset(time.Until(l.at))
}

// fire begins the heartbeats that are due, each in a goroutine of its own.
func (l *heartbeats) fire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at = time.Time{}
	for now := time.Now(); len(l.next) > 0 && !l.next[0].due.After(now); {
		go heap.Pop(&l.next).(*heartbeater).tick()
	}
	l.set()
}

func (p *heartbeater) tick() {
	t := p.trail
	if !p.goesOn() {
		return
	}
	if t.running() {
		// It may end meanwhile, and the Recorder be closed.
		if err := t.offerHeartbeat(); !errors.Is(err, ErrTransition) && !p.isStopped() {
			t.report(p.ctx, "heartbeat", err)
		}
	}
	if p.asking.CompareAndSwap(false, true) {
		defer p.asking.Store(false)
		t.reauthorize(p.ctx)
	}
}

func (p *heartbeater) isStopped() bool {
	l := &p.trail.rec.heartbeats
	l.mu.Lock()
	defer l.mu.Unlock()
	return p.stopped
}

// heartbeatHeap has the one first that is due first.
type heartbeatHeap []*heartbeater

func (h heartbeatHeap) Len() int           { return len(h) }
func (h heartbeatHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }

func (h heartbeatHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

func (h *heartbeatHeap) Push(x any) {
	p := x.(*heartbeater)
	p.at = len(*h)
	*h = append(*h, p)
}

func (h *heartbeatHeap) Pop() any {
	last := len(*h) - 1
	p := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	p.at = -1
	return p
}
