package watermillaudit

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/worker/queue"
)

// maxTogether is how many submissions of one call wait for the sink at the same
// time. It stores them in few batches then.
const maxTogether = 128

// Publisher returns a publisher whose messages are recorded as jobs. It is a
// message.PublisherDecorator, for Router.AddPublisherDecorators; the error is
// always nil. Decorate what publishes elsewhere as well: in handlers, in request
// handlers, in a PoisonQueue, in package cqrs.
//
// Publish returns an [*jobaudit.AuditError], and publishes nothing, if a
// submission cannot be recorded. If that may be on record all the same, its job is
// cancelled, unless Options.Submission gives it an ID: it can be published again then.
// Any other error is pub's. The message may have arrived all the same then, so its job
// stays pending, and its record says why; publishing the message again is another job.
//
// What is published under the context of a job is that job's child, and so is a
// message that carries a job already. The messages are copied; the caller's are
// not changed.
func (a *Audit) Publisher(pub message.Publisher) (message.Publisher, error) {
	if pub == nil { // a handler without one
		return nil, nil
	}
	if p, ok := pub.(*publisher); ok && p.a == a {
		return pub, nil
	}
	return &publisher{Publisher: pub, a: a}, nil
}

type publisher struct {
	message.Publisher
	a *Audit
}

// Publish records that the jobs are asked for and, once that is durable,
// publishes their messages.
func (p *publisher) Publish(topic string, messages ...*message.Message) error {
	b := &batch{a: p.a, topic: topic, event: p.a.opts.Events(topic), trails: make([]*jobaudit.Trail, len(messages))}
	if err := b.submit(messages); err != nil {
		return err
	}
	err := p.Publisher.Publish(topic, b.copies...)
	b.published(err)
	return err
}

// localKey marks the context of what was published in this process. A Pub/Sub
// that preserves contexts hands it to the handler: its end says nothing of the
// message then.
type localKey struct{}

// batch is what one call publishes.
type batch struct {
	a      *Audit
	topic  string
	event  bool
	trails []*jobaudit.Trail
	copies []*message.Message
}

// submit records the submissions, and makes messages that carry their jobs. If
// one cannot be recorded, those that are on record are cancelled.
func (b *batch) submit(messages []*message.Message) error {
	orders := make([]order, len(messages))
	for i, msg := range messages {
		var err error
		if orders[i], err = b.order(msg); err != nil {
			return err
		}
	}
	var failed atomic.Bool // the others need not try
	err := together(orders, func(i int, o order) error {
		if failed.Load() {
			return nil
		}
		err := b.place(i, o)
		if err != nil {
			failed.Store(true)
		}
		return err
	})
	if err != nil {
		b.each(func(t *jobaudit.Trail) error {
			return t.Cancel(context.Background(), "not published: not all jobs of the call could be recorded")
		})
		return err
	}
	b.copies = make([]*message.Message, len(messages))
	for i, msg := range messages {
		c := msg.Copy()
		c.SetContext(context.WithValue(msg.Context(), localKey{}, true))
		c.Metadata.Set(key, b.trails[i].Carrier().String())
		b.copies[i] = c
	}
	return nil
}

// order is a job that is going to be asked for, and the context to do it under.
type order struct {
	ctx   context.Context
	trail *jobaudit.Trail
	again bool // the program chose its ID, and can ask for it again
}

// order prepares the job of one message. It calls the program's own code, on its
// goroutine.
func (b *batch) order(msg *message.Message) (o order, err error) {
	o.ctx = context.WithoutCancel(msg.Context())
	_, child := jobaudit.FromContext(o.ctx)
	if !child {
		parent, err := b.a.carried(o.ctx, b.topic, msg, nil)
		if err != nil {
			return o, err
		}
		if child = parent != nil; child {
			o.ctx = parent.Context(o.ctx)
		}
	}
	s := b.a.submission(b.topic, msg, child)
	if o.again = s.ID != uuid.Nil; !o.again {
		if s.ID, err = uuid.NewV7(); err != nil {
			return o, err
		}
	}
	if !b.event {
		s.Queue = queueRef(b.topic, msg, s.ID)
	}
	o.trail, err = b.a.rec.Prepare(o.ctx, s)
	return o, err
}

// place submits a job. Publishing an event starts it, too.
func (b *batch) place(i int, o order) error {
	if err := o.trail.Submit(o.ctx); err != nil {
		if !o.again && queue.Unsure(err) {
			b.a.withdrawals.Cancel(o.trail, "not published: its submission could not be recorded in time", b.a.report)
		}
		return err
	}
	b.trails[i] = o.trail
	if b.event {
		return o.trail.Start(o.ctx, jobaudit.Execution{})
	}
	return nil
}

// submission asks who wants a message published.
func (a *Audit) submission(topic string, msg *message.Message, child bool) (s jobaudit.Submission) {
	if a.opts.Submission != nil {
		s = a.opts.Submission(topic, msg)
	}
	if child && s.Principal == (jobaudit.Principal{}) {
		s.Principal = a.opts.Service
	}
	if child && s.Trigger == (jobaudit.Trigger{}) {
		s.Trigger = jobaudit.Trigger{Kind: jobaudit.OnEvent, Reason: "published by a job"}
	}
	if s.Action == "" {
		s.Action = actionOf(topic)
	}
	if s.Inputs == nil {
		s.Inputs = inputs(msg.Payload)
	}
	return s
}

// published records what became of the publishing.
func (b *batch) published(err error) {
	ctx := context.Background()
	switch {
	case b.event && err == nil:
		b.each(func(t *jobaudit.Trail) error { return t.Succeed(ctx) })
	case b.event:
		b.each(func(t *jobaudit.Trail) error { return t.Fail(ctx, err) })
	case errors.Is(err, message.ErrOutputInNoPublisherHandler):
		b.each(func(t *jobaudit.Trail) error { return t.Cancel(ctx, err.Error()) })
	case err != nil:
		for _, t := range b.trails {
			t.Log(ctx, "publishing failed, and it is not known whether the message arrived: "+err.Error())
		}
	}
}

// each calls fn for all Trails that there are, and reports the errors.
func (b *batch) each(fn func(*jobaudit.Trail) error) {
	b.a.report(context.Background(), together(b.trails, func(_ int, t *jobaudit.Trail) error {
		if t == nil {
			return nil
		}
		return fn(t)
	}))
}

// together calls fn for all items, many at a time, and joins the errors.
func together[T any](items []T, fn func(int, T) error) error {
	if len(items) == 1 {
		return fn(0, items[0])
	}
	errs := make([]error, len(items))
	room := make(chan struct{}, maxTogether)
	var wg sync.WaitGroup
	for i, item := range items {
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			errs[i] = fn(i, item)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
