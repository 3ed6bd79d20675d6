package watermillaudit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/jobaudit/jobaudit"
)

// pause is how long a message is held whose handler could not be called, before
// it is nacked. Most Pub/Subs deliver it again at once.
const pause = time.Second

// Middleware records the attempts of the router's handlers: add it first. It is
// a message.HandlerMiddleware. The handler is called when its start is on
// record, with a message whose context carries the job's Trail. If the start
// cannot be recorded the handler is not called and the message is nacked, a
// second later; if the job is denied for good, it is acked.
//
// What the handler returns is not the outcome: that is the acknowledgement which
// the message gets, see the package's documentation.
func (a *Audit) Middleware(h message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		at, err := a.begin(msg)
		if err != nil {
			return nil, a.notBegun(msg.Context(), err)
		}
		returned := false
		defer func() {
			if returned {
				return
			}
			at.returned(at.stop(), false)
		}()
		produced, err := h(msg)
		denied := at.withdrawn()
		if denied {
			produced, err = nil, nil
		}
		for _, p := range produced {
			if _, ok := jobaudit.FromContext(p.Context()); !ok {
				p.SetContext(at.trail.Context(p.Context()))
			}
		}
		returned = true
		at.returned(err, denied)
		return produced, err
	}
}

// begin records the start of an attempt.
func (a *Audit) begin(msg *message.Message) (*attempt, error) {
	ctx := msg.Context()
	_, local := ctx.Value(localKey{}).(bool)
	startCtx := ctx
	if local {
		startCtx = context.WithoutCancel(ctx)
	}
	if before := a.delivery(msg); before != nil {
		if again, err := before.again(startCtx); again {
			return before, err
		}
	}
	s, err := a.identify(startCtx, msg)
	if err != nil {
		return nil, err
	}
	before := a.newest(s.job)
	if before != nil && before.sentBack() {
		before.ended(startCtx) // or its end would seem to be this one's
	}
	trail, number, err := a.enter(startCtx, s, msg)
	if err != nil {
		return nil, err
	}
	at := &attempt{
		a: a, msg: msg, trail: trail, number: number, singular: s.singular, handled: ctx, local: local,
		over: make(chan struct{}),
	}
	if err := at.start(startCtx); err != nil {
		if s.singular && !refused(err) { // the next delivery is another job
			a.withdrawals.Cancel(trail, "its start could not be recorded, and nothing ties its message to the next delivery", a.report)
		}
		return nil, err
	}
	at.mark = unmark(msg)
	a.add(at)
	at.jobCtx, at.stop = trail.KeepAlive(ctx)
	msg.SetContext(at.jobCtx)
	if !local {
		at.mu.Lock() // giveUp may be called at once
		defer at.mu.Unlock()
		at.unwatch = context.AfterFunc(ctx, func() { at.giveUp() })
	}
	return at, nil
}

// notBegun is what the router gets for a delivery whose handler was not
// called.
func (a *Audit) notBegun(ctx context.Context, err error) error {
	if refused(err) {
		return nil
	}
	select {
	case <-ctx.Done():
	case <-time.After(pause):
	}
	return fmt.Errorf("watermillaudit: the handler was not called: %w", err)
}

// refused reports whether an execution is not begun because the job is denied
// for good.
func refused(err error) bool {
	refusal, ok := errors.AsType[*jobaudit.AuditError](err)
	return errors.Is(err, jobaudit.ErrDenied) && !(ok && refusal.AskAgain())
}
