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
			if frame, panicking := frames(); panicking {
				at.returned(&panicked{frame})
			} else {
				at.returned(errGoexit)
			}
		}()
		produced, err := h(msg)
		returned = true
		if at.denied() {
			produced, err = nil, nil
		}
		for _, p := range produced {
			if _, ok := jobaudit.FromContext(p.Context()); !ok {
				p.SetContext(at.trail.Context(p.Context()))
			}
		}
		at.returned(err)
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
	s, err := a.identify(startCtx, msg)
	if err != nil {
		return nil, err
	}
	before := a.newest(s.job)
	if before != nil && before.msg == msg {
		return before, before.again(startCtx)
	}
	if before != nil && before.sentBack() {
		before.await(startCtx) // or its end would seem to be this one's
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

// notBegun is what the router is told of a delivery whose handler was not
// called.
func (a *Audit) notBegun(ctx context.Context, err error) error {
	refusal, ok := errors.AsType[*jobaudit.AuditError](err)
	if ok && errors.Is(err, jobaudit.ErrDenied) && !refusal.AskAgain() {
		return nil
	}
	select {
	case <-ctx.Done():
	case <-time.After(pause):
	}
	return fmt.Errorf("watermillaudit: the handler was not called: %w", err)
}
