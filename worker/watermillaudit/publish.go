package watermillaudit

import (
	"context"
	"errors"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
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
// submission cannot be recorded. Any other error is pub's. The message may have
// arrived all the same then, so its job stays pending, and its record says why;
// publishing the message again is another job.
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
// one cannot be recorded, the others are cancelled.
func (b *batch) submit(messages []*message.Message) error {
	err := together(messages, func(i int, msg *message.Message) error {
		ctx := context.WithoutCancel(msg.Context())
		trail, err := b.one(ctx, msg)
		if err == nil {
			b.trails[i] = trail
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

// one submits the job of one message. Publishing an event starts it, too.
func (b *batch) one(ctx context.Context, msg *message.Message) (*jobaudit.Trail, error) {
	_, child := jobaudit.FromContext(ctx)
	if !child {
		parent, err := b.a.carried(ctx, b.topic, msg, nil)
		if err != nil {
			return nil, err
		}
		if child = parent != nil; child {
			ctx = parent.Context(ctx)
		}
	}
	s, err := b.a.submission(b.topic, msg, child)
	if err != nil {
		return nil, err
	}
	if !b.event {
		s.Queue = refTo(b.topic, msg, s.ID)
	}
	trail, err := b.a.rec.Submit(ctx, s)
	if err == nil && b.event {
		err = trail.Start(ctx, jobaudit.Execution{})
	}
	return trail, err
}

// submission asks who wants a message published.
func (a *Audit) submission(topic string, msg *message.Message, child bool) (s jobaudit.Submission, err error) {
	if a.asking != nil {
		s = a.asking(topic, msg)
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
	if s.ID == uuid.Nil {
		s.ID, err = uuid.NewV7()
	}
	return s, err
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
			t.Log(ctx, "publishing failed, and nobody knows whether the message arrived: "+err.Error())
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
