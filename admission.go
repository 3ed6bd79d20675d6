package jobaudit

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// Execution is one time that a job runs.
type Execution struct {
	// Attempt counts the job's attempts from 1. Default: one more than this
	// Trail's last.
	Attempt int
	// Deadline is how long the job may be silent before it may be taken for
	// dead; each heartbeat starts it anew. Default: three times the recorder's
	// Heartbeat.
	Deadline time.Duration
	// Queue names the job in the framework that owns its retries, where the
	// submission could not.
	Queue QueueRef
	// Unsettled says that how the function of [Trail.Run] ends is not how the
	// job ends: a framework decides that. Run records no outcome then, and the
	// execution stays open for Succeed, Fail, Cancel, Retrying or Deferring. A
	// panic goes on, and is what the next Fail or Retrying tells of; an end by
	// runtime.Goexit is recorded as a failed attempt.
	Unsettled bool
}

// ready says whether a call that must succeed before work begins can begin.
func (t *Trail) ready(ctx context.Context) error {
	if t.rec.closed.Load() {
		return ErrClosed
	}
	return ctx.Err()
}

// admissionOf is what a call records before work begins.
type admissionOf struct {
	entries []entry
	before  life   // what the Trail knew without them
	after   life   // and with them
	stays   bool   // if the caller gives up: the entries wait for the next call
	sent    func() // called when they are on their way
}

// unlockAndAdmit sends what was made under mu, in that order, and waits for
// the last entry. When it gives up, what has not been handed over is taken
// back.
func (t *Trail) unlockAndAdmit(ctx context.Context, op string, a admissionOf) error {
	last := &a.entries[len(a.entries)-1]
	last.ticket, a.after = newTicket(), t.life
	err := t.rec.courier.send(t.stream, a.entries...)
	if err != nil {
		t.life = a.before
	}
	t.mu.Unlock()
	if err != nil {
		return t.fail(op, err)
	}
	if a.sent != nil {
		a.sent()
	}
	err = t.rec.courier.wait(ctx, t.stream, last.ticket, t.rec.opts.Timeout)
	if err != nil && !a.stays {
		t.takeBack(&a)
	}
	return t.fail(op, err)
}

// takeBack makes the Trail forget what has not been handed over. If that can
// be taken back, no other event builds on it.
func (t *Trail) takeBack(a *admissionOf) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rec.courier.withdraw(t.stream, a.entries) && t.life == a.after {
		t.life = a.before
	}
}

// Deduplicate records that a queue already has this job under another ID: this
// one is cancelled, and its record names the other.
func (t *Trail) Deduplicate(ctx context.Context, existing uuid.UUID) error {
	if err := t.ready(ctx); err != nil {
		return t.fail("deduplicate", err)
	}
	if existing == uuid.Nil {
		return t.fail("deduplicate", &FieldError{Field: "data.existing", Problem: "is required"})
	}
	t.mu.Lock()
	if t.ended == JobDeduplicated {
		t.mu.Unlock()
		return t.fail("deduplicate", t.flush(ctx, t.rec.opts.Timeout))
	}
	a := admissionOf{before: t.life}
	event, err := t.advance(JobDeduplicated)
	if err != nil {
		t.mu.Unlock()
		return t.fail("deduplicate", err)
	}
	t.ended = JobDeduplicated
	event.data.existing = existing
	a.entries = []entry{t.seal(&event, admission)}
	return t.unlockAndAdmit(ctx, "deduplicate", a)
}

// Start records that the job starts, and returns once that is durable. Before
// the first start the job is authorized: by what [Trail.Authorize] recorded,
// else by the recorder's Authorize, else by nothing, which the record says.
// If the answer is no the error wraps [ErrDenied]; [AuditError.AskAgain] tells
// whether the job is only put off.
//
// A start while the last one has no end records that one as superseded.
func (t *Trail) Start(ctx context.Context, x Execution) error {
	_, err := t.start(ctx, x, nil)
	return err
}

// start records the start, behind first, if that is not nil. It returns what
// the Trail knew of its job then.
func (t *Trail) start(ctx context.Context, x Execution, first *entry) (life, error) {
	if err := cmp.Or(t.ready(ctx), x.Queue.check()); err != nil {
		return life{}, t.fail("start", err)
	}
	decision, err := t.decide(ctx)
	if err != nil {
		return life{}, err
	}
	t.mu.Lock()
	a := admissionOf{before: t.life, entries: make([]entry, 0, 3)}
	if first != nil {
		a.entries = append(a.entries, *first)
	}
	if decision != nil && !t.authorized {
		a.entries = append(a.entries, t.authorization(decision))
	}
	if t.open && !t.state.Terminal() {
		d := t.draft(AttemptSuperseded)
		a.entries = append(a.entries, t.seal(&d, admission))
	}
	started, err := t.begin(x)
	if err != nil {
		t.life = a.before
		t.mu.Unlock()
		return life{}, t.fail("start", err)
	}
	a.entries = append(a.entries, started)
	began := t.life
	return began, t.unlockAndAdmit(ctx, "start", a)
}

// begin makes the event of a start.
func (t *Trail) begin(x Execution) (entry, error) {
	if x.Attempt <= 0 {
		x.Attempt = t.attempt + 1
	}
	typ := JobStarted
	if x.Attempt > 1 {
		typ = AttemptStarted
	}
	if t.ended == JobDenied {
		return entry{}, ErrDenied
	}
	if effect, _ := step(t.state, typ); effect == late {
		return entry{}, fmt.Errorf("%s in state %s: %w", typ, t.state, ErrTransition)
	}
	if x.Queue != (QueueRef{}) {
		t.queue = x.Queue
	}
	if x.Deadline > 0 {
		t.patience = x.Deadline
	}
	t.attempt, t.execution, t.open = x.Attempt, t.rec.opts.NewID(), true
	t.panicked = nil
	d, err := t.advance(typ)
	if err != nil {
		return entry{}, err
	}
	if t.patience > 0 {
		d.data.heartbeat = &heartbeatData{deadline: d.time.Add(t.patience)}
	}
	d.redaction = t.door.gap()
	t.cause = d.id
	return t.seal(&d, admission), nil
}
