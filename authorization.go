package jobaudit

import (
	"context"
	"errors"
	"fmt"
)

// Authorize records a decision that was taken elsewhere. A decision that does
// not allow the job is recorded as [Trail.Deny] does.
func (t *Trail) Authorize(ctx context.Context, d Decision) error {
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
	a := admissionOf{before: t.life}
	a.entries = []entry{t.authorization(data)}
	return t.unlockAndAdmit(ctx, "authorize", a)
}

func (t *Trail) authorization(data *decisionData) entry {
	d := t.draft(JobAuthorized)
	d.data.decision = data
	t.authorized, t.revoked, t.cause = true, false, d.id
	return t.seal(&d, admission)
}

func (t *Trail) decision(d Decision) (*decisionData, error) {
	setDefault(&d.By, "none")
	err := checkIdentifiers([]struct{ field, value string }{
		{"data.decision.by", d.By}, {"data.decision.permission", d.Permission},
	})
	if err != nil {
		return nil, err
	}
	return &decisionData{allowed: d.Allowed, by: d.By, permission: d.Permission, reason: t.textOf(d.Reason)}, nil
}

// Deny records that the job is refused. A pending job is cancelled by it, or,
// with AskAgain, left pending with its attempt deferred. A running job is
// revoked: its context is cancelled if it runs in [Trail.Run], and its outcome
// there will be cancelled, FORBIDDEN; it does not start again unless it is
// authorized anew.
//
// The job is refused whether or not the sink answers: after an error the event
// is sent on in the background.
func (t *Trail) Deny(ctx context.Context, d Decision) error {
	if err := ctx.Err(); err != nil {
		return t.fail("deny", err)
	}
	return t.deny(ctx, d)
}

func (t *Trail) deny(ctx context.Context, d Decision) error {
	d.Allowed = false
	if t.rec.closed.Load() {
		return t.fail("deny", ErrClosed)
	}
	data, err := t.decision(d)
	if err != nil {
		return t.fail("deny", err)
	}
	typ := JobDenied
	if d.AskAgain {
		typ = AttemptDeferred
	}
	t.mu.Lock()
	if t.ended == typ {
		t.mu.Unlock()
		return t.fail("deny", t.flush(ctx, t.rec.opts.Timeout))
	}
	a := admissionOf{before: t.life, stays: true}
	event, err := t.advance(typ)
	if err != nil {
		t.mu.Unlock()
		return t.fail("deny", err)
	}
	event.data.decision = data
	a.entries = []entry{t.seal(&event, notice)}
	switch {
	case t.state.Terminal():
		t.ended = typ
	case typ == JobDenied:
		t.revoked, t.authorized = true, false
		if cancel := t.cancel; cancel != nil {
			a.sent = func() { cancel(ErrDenied) }
			ctx = context.WithoutCancel(ctx) // it may be the job's own
		}
	}
	return t.unlockAndAdmit(ctx, "deny", a)
}

// decide asks whether the job may start, unless that has been recorded. It
// records a no.
func (t *Trail) decide(ctx context.Context) (*decisionData, error) {
	t.mu.Lock()
	authorized, revoked := t.authorized, t.revoked
	t.mu.Unlock()
	switch {
	case authorized:
		return nil, nil
	case revoked && t.rec.opts.Authorize == nil:
		return nil, t.fail("authorize", ErrDenied)
	}
	d, err := t.ask(ctx)
	if err != nil {
		return nil, t.fail("authorize", err)
	}
	if !d.Allowed {
		d.AskAgain = d.AskAgain && !t.owned // nobody else could bring it back
		err := errors.Join(ErrDenied, t.deny(ctx, d))
		return nil, &AuditError{Op: "authorize", JobID: t.env.jobID, Err: err, putOff: d.AskAgain}
	}
	data, err := t.decision(d)
	return data, t.fail("authorize", err)
}

// ask calls the recorder's Authorize.
func (t *Trail) ask(ctx context.Context) (d Decision, err error) {
	authorize := t.rec.opts.Authorize
	if authorize == nil {
		return Decision{Allowed: true}, nil
	}
	defer func() {
		if p := recover(); p != nil {
			d, err = Decision{}, fmt.Errorf("Authorize panicked with a %T", p)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, t.rec.opts.Timeout)
	defer cancel()
	return authorize(ctx, t.sub)
}

// reauthorize asks again whether the job may run and revokes it if not. If
// nobody can say, it goes on: the audit path does not fail a job that runs.
func (t *Trail) reauthorize(ctx context.Context) {
	if !t.rec.opts.Reauthorize || t.rec.opts.Authorize == nil || ctx.Err() != nil {
		return
	}
	d, err := t.ask(ctx)
	if ctx.Err() != nil {
		return // it has ended meanwhile
	}
	if err == nil && !d.Allowed {
		d.AskAgain = false
		err = t.deny(context.WithoutCancel(ctx), d)
	}
	if !errors.Is(err, ErrTransition) {
		t.report(ctx, "reauthorize", err)
	}
}
