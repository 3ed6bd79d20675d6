package jobaudit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit/internal/delivery"
	"github.com/jobaudit/jobaudit/internal/environ"
	"github.com/jobaudit/jobaudit/internal/errtree"
)

// Execution is one time that a job runs.
type Execution struct {
	// Attempt counts the job's attempts from 1, to at most 2³¹−1. Default: one
	// more than this Trail's last.
	Attempt int
	// Deadline is how long the job may be silent before it may be taken for
	// dead; each heartbeat restarts it. [Trail.Run] records one after a
	// third of it, or at the recorder's Heartbeat if that comes first. Default:
	// three times the recorder's Heartbeat.
	Deadline time.Duration
	// Queue names the job in the framework that owns its retries, where the
	// submission could not.
	Queue Ref
}

// heartbeatInterval is the recorder's, or a third of the time that the execution
// may be silent, if that is shorter: one heartbeat that is late, or two that are
// dropped, must not make it look dead.
func (t *Trail) heartbeatInterval() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.heartbeatTimeout <= 0 {
		return t.rec.opts.Heartbeat
	}
	return min(t.rec.opts.Heartbeat, max(t.heartbeatTimeout/3, time.Millisecond))
}

// ready says whether a call that must succeed before work begins can begin.
func (t *Trail) ready(ctx context.Context) error {
	if t.rec.closed.Load() {
		return ErrClosed
	}
	return ctx.Err()
}

// admission is what a call records before work begins.
type admission struct {
	room    [3]entry
	entries int        // in room
	before  trailState // what the Trail knew without them
	after   trailState // and with them
	stays   bool       // if the caller gives up: the entries wait for the next call
	undo    func()     // called under mu if they cannot be sent, or nil
	dropped func()     // called under mu if there is no room for them
	enforce func()     // called in any case, once they are on their way or cannot be
}

// add adds an entry: a submission, an authorization or what is superseded, and a
// start, at most.
func (a *admission) add(e entry) {
	a.room[a.entries] = e
	a.entries++
}

func (a *admission) enforced() {
	if a.enforce != nil {
		a.enforce()
	}
}

// unlockAndAdmit sends what was made under mu, in that order, and waits for
// the last entry. When it gives up, what has not been handed over is taken
// back.
func (t *Trail) unlockAndAdmit(ctx context.Context, op string, a *admission) error {
	entries := a.room[:a.entries]
	last := &entries[a.entries-1]
	last.Ack, a.after = t.newAck(), t.trailState
	c, err := t.rec.queue.SendDirect(t.stream, entries...)
	if err != nil {
		t.trailState = a.before
		if a.undo != nil {
			a.undo()
		}
	}
	if err == delivery.ErrFull && a.dropped != nil {
		a.dropped()
	}
	t.count()
	t.mu.Unlock()
	a.enforced()
	if err != nil {
		return t.fail(op, err)
	}
	t.rec.queue.Make(c)
	err = t.rec.queue.Wait(ctx, t.stream, last.Ack, t.rec.opts.Timeout)
	if err != nil && !a.stays {
		t.withdraw(a)
	}
	return t.fail(op, err)
}

// takeBack makes the Trail forget what has not been handed over. If that can
// be taken back, no other event builds on it.
func (t *Trail) withdraw(a *admission) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rec.queue.Withdraw(t.stream, a.room[:a.entries]) && t.trailState == a.after {
		t.trailState = a.before
		t.count()
	}
}

// Deduplicate records that a queue already has this job under another ID: this
// one is cancelled, and its record names the other.
func (t *Trail) Deduplicate(ctx context.Context, existing uuid.UUID) error {
	if err := t.opened("deduplicate"); err != nil {
		return err
	}
	if err := t.ready(ctx); err != nil {
		return t.fail("deduplicate", err)
	}
	if existing == uuid.Nil {
		return t.fail("deduplicate", &FieldError{Field: "data.existing", Problem: "is required"})
	}
	if err := checkID("data.existing", existing); err != nil {
		return t.fail("deduplicate", err)
	}
	t.mu.Lock()
	if t.ended == JobDeduplicated && t.existing == existing {
		t.mu.Unlock()
		return t.fail("deduplicate", t.flush(ctx, t.rec.opts.Timeout))
	}
	a := admission{before: t.trailState}
	event, err := t.advance(JobDeduplicated)
	if err != nil {
		t.mu.Unlock()
		return t.fail("deduplicate", err)
	}
	t.ended, t.existing = JobDeduplicated, existing
	event.data.existing = existing
	a.add(t.encode(&event, delivery.Admission))
	return t.unlockAndAdmit(ctx, "deduplicate", &a)
}

// Start records that the job starts, and returns once that is durable. Before
// the first start the job is authorized: by what [Trail.Authorize] recorded,
// or by the recorder's Authorize, or by nothing, which the record says.
// If the answer is no the error wraps [ErrDenied]; [AuditError.AskAgain] says
// whether the job is only put off.
//
// A start while the last one has no end records that one as superseded.
func (t *Trail) Start(ctx context.Context, x Execution) error {
	if err := t.opened("start"); err != nil {
		return err
	}
	_, err := t.start(ctx, x, nil)
	return err
}

// start records the start, behind first, if that is not nil. It returns what
// the Trail knew of its job then.
func (t *Trail) start(ctx context.Context, x Execution, first *entry) (trailState, error) {
	queue := []given{{"job.queue.system", x.Queue.System}, {"job.queue.id", x.Queue.ID}}
	if err := cmp.Or(t.ready(ctx), x.Queue.check(), t.rec.opts.Redactors.checkIdentifiers(queue...)); err != nil {
		return trailState{}, t.fail("start", err)
	}
	decision, refusals, err := t.decide(ctx)
	if err != nil {
		return trailState{}, err
	}
	t.mu.Lock()
	if t.revoked && (decision == nil || t.refusals != refusals) { // it was refused meanwhile
		t.mu.Unlock()
		return trailState{}, t.fail("start", ErrDenied)
	}
	a := admission{before: t.trailState}
	if first != nil {
		a.add(*first)
	}
	if decision != nil && !t.authorized {
		a.add(t.authorization(decision))
	}
	if t.open && !t.state.Terminal() {
		d := t.draft(AttemptSuperseded)
		a.add(t.encode(&d, delivery.Admission))
	}
	started, err := t.begin(x)
	if err != nil {
		t.trailState = a.before
		t.mu.Unlock()
		return trailState{}, t.fail("start", err)
	}
	a.add(started)
	began := t.trailState
	return began, t.unlockAndAdmit(ctx, "start", &a)
}

// begin makes the event of a start.
func (t *Trail) begin(x Execution) (entry, error) {
	if x.Attempt == 0 {
		x.Attempt = t.attempt + 1
	}
	if err := checkAttempt("job.attempt", x.Attempt, 1); err != nil {
		return entry{}, err
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
	if x.Queue != (Ref{}) {
		t.queue = x.Queue
	}
	if x.Deadline > 0 {
		t.heartbeatTimeout = x.Deadline
	}
	t.observed = false
	t.attempt, t.execution, t.open, t.failure = x.Attempt, t.rec.opts.NewID(), true, text{}
	d, err := t.advance(typ)
	if err != nil {
		return entry{}, err
	}
	if t.heartbeatTimeout > 0 {
		d.data.heartbeat = &heartbeatData{deadline: environ.Within(d.time.Add(t.heartbeatTimeout))}
	}
	t.cause = d.id
	return t.encode(&d, delivery.Admission), nil
}

// Authorize records a decision that was taken elsewhere. A decision that does
// not allow the job is recorded as [Trail.Deny] does.
func (t *Trail) Authorize(ctx context.Context, d Decision) error {
	if err := t.opened("authorize"); err != nil {
		return err
	}
	if !d.Allowed {
		return t.Deny(ctx, d)
	}
	if err := t.ready(ctx); err != nil {
		return t.fail("authorize", err)
	}
	data, err := t.decision(d)
	if err != nil {
		return t.fail("authorize", err)
	}
	t.mu.Lock()
	if err := t.isSubmitted(JobAuthorized); err != nil {
		t.mu.Unlock()
		return t.fail("authorize", err)
	}
	a := admission{before: t.trailState}
	a.add(t.authorization(data))
	return t.unlockAndAdmit(ctx, "authorize", &a)
}

func (t *Trail) authorization(data *decisionData) entry {
	d := t.draft(JobAuthorized)
	d.data.decision = data
	t.authorized, t.revoked, t.cause = true, false, d.id
	return t.encode(&d, delivery.Admission)
}

func (t *Trail) decision(d Decision) (*decisionData, error) {
	setDefault(&d.By, "unnamed") // it was decided, if not said by what
	for _, id := range []struct {
		path  string
		value *string
	}{{"data.decision.by", &d.By}, {"data.decision.permission", &d.Permission}} {
		said := given{id.path, *id.value}
		err := cmp.Or(checkStrings(said), t.rec.opts.Redactors.checkIdentifiers(said))
		switch {
		case err == nil:
		case d.Allowed:
			return nil, err
		case checkStrings(said) != nil: // a refusal is recorded whatever it says
			*id.value = "dropped:malformed"
		default:
			*id.value = t.rec.opts.Redactors.safe(*id.value)
		}
	}
	return &decisionData{allowed: d.Allowed, by: d.By, permission: d.Permission, reason: t.textOf(d.Reason)}, nil
}

// Deny records that the job is refused. A pending job is cancelled by it, or,
// with AskAgain, left pending with its attempt deferred. A running job is
// revoked, whatever AskAgain says while an execution goes on: its context is
// cancelled if it runs in [Trail.Run], and its outcome there will be cancelled,
// FORBIDDEN; it does not start again unless it is authorized again.
//
// The job is refused whether or not the sink answers: after an error the event
// is sent on in the background. It is refused, too, where the event cannot be sent
// at all, as there is no room for it or the Recorder is closed: then call Deny
// again for the record. A By or Permission that may not be stored is replaced.
func (t *Trail) Deny(ctx context.Context, d Decision) error {
	if err := t.opened("deny"); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return t.fail("deny", err)
	}
	_, err := t.deny(ctx, d, false)
	return err
}

// deny records a refusal, of a start that is asked for or of what is there, and
// reports whether it only puts the job off. An execution that goes on cannot be put
// off: it would seem to have ended. One that goes on elsewhere is taken for lost by
// who starts the job again.
func (t *Trail) deny(ctx context.Context, d Decision, starting bool) (putOff bool, err error) {
	d.Allowed = false
	data, err := t.decision(d)
	if err != nil {
		return d.AskAgain, t.fail("deny", err)
	}
	t.mu.Lock()
	goesOn := t.open && !t.state.Terminal() && (!starting || t.cancel != nil)
	putOff = d.AskAgain && !goesOn
	typ := JobDenied
	if putOff {
		typ = AttemptDeferred
	}
	a := admission{stays: true}
	if typ == JobDenied && !t.state.Terminal() { // this holds even if it cannot be recorded
		t.revoked, t.authorized = true, false
		t.refusals++
		if cancel := t.cancel; cancel != nil {
			a.enforce = func() { cancel(ErrDenied) }
			ctx = context.WithoutCancel(ctx) // it may be the job's own
		}
	}
	if t.rec.closed.Load() {
		t.mu.Unlock()
		a.enforced()
		return putOff, t.fail("deny", ErrClosed)
	}
	if t.ended == typ {
		t.mu.Unlock()
		return putOff, t.fail("deny", t.flush(ctx, t.rec.opts.Timeout))
	}
	a.before = t.trailState
	event, err := t.advance(typ)
	if err != nil {
		t.mu.Unlock()
		return putOff, t.fail("deny", err)
	}
	event.data.decision = data
	a.add(t.encode(&event, delivery.JobRefused))
	if t.state.Terminal() {
		t.ended = typ
	}
	if typ == JobDenied && (t.inProcess || !t.state.Terminal()) { // nobody calls Deny again
		a.dropped = func() { t.rec.queue.Drop(t.stream, event.time, string(typ), t.lost(event)) }
	}
	return putOff, t.unlockAndAdmit(ctx, "deny", &a)
}

// decide asks whether the job may start, unless that has been recorded. It
// records a no.
func (t *Trail) decide(ctx context.Context) (decision *decisionData, refusals uint64, err error) {
	t.mu.Lock()
	authorized, revoked := t.authorized, t.revoked
	refusals = t.refusals
	t.mu.Unlock()
	switch {
	case authorized:
		return nil, refusals, nil
	case revoked && t.rec.opts.Authorize == nil:
		return nil, 0, t.fail("authorize", ErrDenied)
	}
	d, err := t.askAuthorize(ctx)
	if err != nil {
		return nil, 0, t.fail("authorize", err)
	}
	if !d.Allowed {
		d.AskAgain = d.AskAgain && !t.inProcess // no queue could bring it back
		putOff, err := t.deny(ctx, d, true)
		return nil, 0, &AuditError{Op: "authorize", JobID: t.env.jobID, Err: errors.Join(ErrDenied, err), putOff: putOff}
	}
	decision, err = t.decision(d)
	return decision, refusals, t.fail("authorize", err)
}

// askAuthorize calls the recorder's Authorize, in a goroutine of its own: one that
// ignores its context holds up the caller for Timeout and no longer, and a later answer
// does not count.
func (t *Trail) askAuthorize(ctx context.Context) (d Decision, err error) {
	authorize := t.rec.opts.Authorize
	if authorize == nil {
		return Decision{Allowed: true, By: "none"}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, t.rec.opts.Timeout)
	defer cancel()
	type answer struct {
		decision Decision
		err      error
	}
	answers := make(chan answer, 1)
	t.asking.Add(1)
	go func() {
		a := answer{err: errors.New("Options.Authorize ended its goroutine")}
		defer func() {
			if p := recover(); p != nil {
				a = answer{err: fmt.Errorf("Options.Authorize panicked with a %T", p)}
			}
			t.asking.Add(-1)
			answers <- a
		}()
		s := t.sub
		s.OnBehalfOf = slices.Clone(s.OnBehalfOf)
		if a.decision, a.err = authorize(ctx, s); a.err != nil {
			a.err = errtree.Usable(a.err)
		}
	}()
	timer := time.NewTimer(t.rec.opts.Timeout)
	defer timer.Stop()
	select {
	case a := <-answers:
		if a.err != nil {
			return Decision{}, a.err
		}
		if ctx.Err() == nil || !a.decision.Allowed { // a no is on record even if its caller has given up
			return a.decision, nil
		}
	case <-timer.C:
	}
	return Decision{}, errLate
}

var errLate = fmt.Errorf("Options.Authorize has not answered in time: %w", context.DeadlineExceeded)

// reauthorize asks again whether the job may run and revokes it if not. If
// there is no answer, the job goes on: the audit path does not fail a job that
// runs. As long as an answer is owed, it is not asked for another: heartbeats would
// gather goroutines.
func (t *Trail) reauthorize(ctx context.Context) {
	if !t.rec.opts.Reauthorize || t.rec.opts.Authorize == nil || ctx.Err() != nil {
		return
	}
	if t.asking.Load() > 0 {
		t.report(ctx, "reauthorize", errLate)
		return
	}
	d, err := t.askAuthorize(ctx)
	if ctx.Err() != nil {
		return // it has ended meanwhile
	}
	if err == nil && !d.Allowed {
		d.AskAgain = false
		_, err = t.deny(context.WithoutCancel(ctx), d, false)
	}
	if !errors.Is(err, ErrTransition) {
		t.report(ctx, "reauthorize", err)
	}
}
