package watermillaudit

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/url"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/worker/queue"
)

const (
	system = "watermill" // in job.queue
	key    = "jobaudit"  // the metadata key that holds the Carrier
	maxRef = 256         // bytes of a reference's ID
)

// actionOf is the action of what has a name, which nothing has that is used
// without a router.
func actionOf(name string) string { return cmp.Or(name, system) }

// inputs are a message's payload as far as a policy can read it.
func inputs(payload []byte) any {
	switch {
	case len(payload) == 0:
		return nil
	case json.Valid(payload):
		return json.RawMessage(payload)
	}
	return payload // no policy reads it, but what is in it is kept out of later texts
}

// queueRef names a message in job.queue: its topic and its UUID, or the job's ID if
// it has none, or one that is too long.
func queueRef(topic string, msg *message.Message, job uuid.UUID) jobaudit.Ref {
	ref := jobaudit.Ref{System: system, ID: url.PathEscape(topic) + "/" + url.PathEscape(msg.UUID)}
	if msg.UUID == "" || len(ref.ID) > maxRef {
		return anywhere(job)
	}
	return ref
}

// anywhere names a message by its job alone.
func anywhere(job uuid.UUID) jobaudit.Ref {
	return jobaudit.Ref{System: system, ID: "*/" + job.String()}
}

// derivedID is a UUIDv8 of its parts.
func derivedID(parts ...string) uuid.UUID {
	text, _ := json.Marshal(parts) // strings always can be
	sum := sha256.Sum256([]byte("jobaudit " + system + "\n" + string(text)))
	id := uuid.UUID(sum[:16])
	id[6] = id[6]&0x0f | 0x80 // version 8
	id[8] = id[8]&0x3f | 0x80 // the variant of RFC 9562
	return id
}

// carried returns a Trail for the job that the message carries, or nil. What
// cannot be read is reported, and taken for nothing.
func (a *Audit) carried(ctx context.Context, topic string, msg *message.Message, in any) (*jobaudit.Trail, error) {
	text := msg.Metadata.Get(key)
	if text == "" {
		return nil, nil
	}
	c, err := jobaudit.ParseCarrier(text)
	if err != nil {
		a.report(ctx, fmt.Errorf("a message on the topic %q: %w", topic, err))
		return nil, nil
	}
	return a.rec.Resume(ctx, c, in)
}

// subject is what a delivery is an attempt of.
type subject struct {
	job   uuid.UUID
	trail *jobaudit.Trail // of the job, or, of an adopted one, of its parent; may be nil then
	// adopted says that the consumer submits the job: the message carries none,
	// or it is an event.
	adopted bool
	// singular says that nothing ties the message to its next delivery, which is
	// another job.
	singular bool
}

// identify finds out what a delivery is an attempt of. Each process that is given the
// message again finds the same.
func (a *Audit) identify(ctx context.Context, msg *message.Message) (s subject, err error) {
	topic, handler := message.SubscribeTopicFromCtx(ctx), message.HandlerNameFromCtx(ctx)
	if s.trail, err = a.carried(ctx, topic, msg, inputs(msg.Payload)); err != nil {
		return s, err
	}
	subscriber := []string{string(a.opts.Service.Kind), a.opts.Service.ID, handler}
	switch {
	case s.trail != nil && !a.opts.Events(topic):
		s.job = s.trail.JobID()
	case s.trail != nil:
		s.adopted, s.job = true, derivedID(append(subscriber, "event", s.trail.JobID().String())...)
	case msg.UUID != "":
		s.adopted, s.job = true, derivedID(append(subscriber, "message", topic, msg.UUID)...)
	default:
		s.adopted, s.singular = true, true
		s.job, err = uuid.NewV7()
	}
	return s, err
}

// adoption asks for the job of a message that carries none.
func (a *Audit) adoption(s subject, topic, handler string, msg *message.Message) jobaudit.Submission {
	sub := jobaudit.Submission{
		ID: s.job, Action: actionOf(topic), Inputs: inputs(msg.Payload), Principal: a.opts.Service,
		Queue: queueRef(topic, msg, s.job), Detached: s.trail == nil,
		Trigger: jobaudit.Trigger{
			Kind: jobaudit.OnEvent, Reason: "a message was delivered without a submitted job",
		},
	}
	if a.opts.Events(topic) {
		sub.Action = actionOf(handler)
	}
	if s.trail != nil {
		sub.Trigger.Reason = "a message on the topic " + topic
	}
	return sub
}

// past reads what the logs say of a job. If they cannot be read, that is nothing:
// the work does not wait for them.
func (a *Audit) past(ctx context.Context, id uuid.UUID) queue.Past {
	reading, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	past, err := a.logs.Past(reading, id)
	if err == nil {
		return past
	}
	if ctx.Err() == nil {
		a.report(ctx, fmt.Errorf("reading the record of job %s: %w", id, err))
	}
	return queue.Past{}
}

// enter opens the Trail of the job that a delivery is an attempt of, and returns
// the attempt's number.
func (a *Audit) enter(ctx context.Context, s subject, msg *message.Message) (trail *jobaudit.Trail, number int, err error) {
	before := a.past(ctx, s.job)
	number = before.Job.Attempt + 1
	switch {
	case !s.adopted:
		trail = s.trail
	case before.Known:
		trail, err = a.rec.Resume(ctx, before.First.Carrier(), inputs(msg.Payload))
	default:
		topic, handler := message.SubscribeTopicFromCtx(ctx), message.HandlerNameFromCtx(ctx)
		if s.trail != nil {
			ctx = s.trail.Context(ctx)
		}
		sub := a.adoption(s, topic, handler, msg)
		err = queue.WithRef(sub.Queue, anywhere(s.job), func(ref jobaudit.Ref) (err error) {
			sub.Queue = ref
			trail, err = a.rec.Submit(ctx, sub)
			if s.singular && queue.Unsure(err) { // the next delivery is another job
				a.withdrawals.Cancel(trail, "its submission could not be recorded in time", a.report)
			}
			return err
		})
	}
	if err == nil && before.Known && !before.Job.State.Terminal() {
		err = trail.Observe(before.Job)
	}
	return trail, number, err
}
