package watermillaudit_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/components/cqrs"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

var errFull = errors.New("the stream is full")

// failsAfter publishes so many messages of a call and fails then.
type failsAfter struct {
	message.Publisher
	n int
}

func (p failsAfter) Publish(topic string, messages ...*message.Message) error {
	n := min(p.n, len(messages))
	if err := p.Publisher.Publish(topic, messages[:n]...); err != nil || n == len(messages) {
		return err
	}
	return errFull
}

func TestWhatAHandlerProducesAreItsJobsChildren(t *testing.T) {
	t.Parallel()
	r := newRig(t, settings{})
	router := r.router()
	router.AddHandler("split", topic, r.pubsub, "parcels", r.pubsub, func(msg *message.Message) ([]*message.Message, error) {
		var parcels []*message.Message
		for range 3 {
			parcels = append(parcels, message.NewMessage(watermill.NewUUID(), nil))
		}
		return append(parcels, msg), nil // itself, too
	})
	router.AddConsumerHandler("send", "parcels", r.pubsub, func(*message.Message) error { return nil })
	r.run(router)
	id := r.publish()
	require.Equal(t, jobaudit.Success, r.ended(id).State)
	children := r.children(id)
	require.Len(t, children, 4)
	for _, child := range children {
		require.Equal(t, jobaudit.Success, r.ended(child.ID).State)
		require.Equal(t, r.job(id).CorrelationID, child.CorrelationID)
		asked := r.event(child.ID, jobaudit.JobSubmitted)
		require.Equal(t, ann.ID, asked.Who.OnBehalfOf[0].ID)
		require.Equal(t, "watermillaudit", asked.Who.Principal.ID)
	}
	r.sound()
}

func TestProducedMessagesThatCannotBePublishedFailTheAttempt(t *testing.T) {
	t.Parallel()
	r := newRig(t, settings{})
	router := r.router()
	var calls atomic.Int32
	pub := &flaky{Publisher: r.pubsub}
	router.AddHandler("split", topic, r.pubsub, "parcels", pub, func(*message.Message) ([]*message.Message, error) {
		pub.off.Store(calls.Add(1) == 1)
		return []*message.Message{message.NewMessage(watermill.NewUUID(), nil)}, nil
	})
	r.run(router)
	id := r.publish()
	job := r.ended(id)
	require.Equal(t, []jobaudit.EventType{jobaudit.AttemptFailed, jobaudit.JobSucceeded}, ends(job))
	children := r.children(id)
	require.Len(t, children, 2)
	require.Contains(t, children[0].Logs[0], errFull.Error())
	require.Equal(t, jobaudit.Pending, children[0].State, "nobody knows whether it arrived")
	r.sound()
}

// flaky fails while it is off.
type flaky struct {
	message.Publisher
	off atomic.Bool
}

func (f *flaky) Publish(topic string, messages ...*message.Message) error {
	if f.off.Load() {
		return errFull
	}
	return f.Publisher.Publish(topic, messages...)
}

func TestMessagesOfAHandlerWithoutAPublisherAreCancelled(t *testing.T) {
	t.Parallel()
	r := newRig(t, settings{})
	r.serve(func(*message.Message) error { return nil }, func(h message.HandlerFunc) message.HandlerFunc {
		var calls atomic.Int32
		return func(msg *message.Message) ([]*message.Message, error) {
			produced, err := h(msg)
			if calls.Add(1) == 1 {
				produced = append(produced, message.NewMessage("", nil))
			}
			return produced, err
		}
	})
	id := r.publish()
	require.Equal(t, []jobaudit.EventType{jobaudit.AttemptFailed, jobaudit.JobSucceeded}, ends(r.ended(id)))
	children := r.children(id)
	require.Len(t, children, 1)
	require.Equal(t, jobaudit.Cancelled, children[0].State)
	r.sound()
}

func TestAPublisherThatFailsLeavesThePendingJobsOfItsMessages(t *testing.T) {
	t.Parallel()
	r := newRig(t, settings{})
	r.serve(func(*message.Message) error { return nil })
	pub, err := r.audit.Publisher(failsAfter{r.pubsub, 1})
	require.NoError(t, err)
	first, firstID := order(`{}`)
	second, secondID := order(`{}`)
	require.ErrorIs(t, pub.Publish(topic, first, second), errFull)
	require.Equal(t, jobaudit.Success, r.ended(firstID).State, "it had arrived")
	r.event(secondID, jobaudit.JobLogged)
	job := r.job(secondID)
	require.Equal(t, jobaudit.Pending, job.State, "nobody knows")
	require.Contains(t, job.Logs[0], errFull.Error())
	require.Empty(t, first.Metadata, "the caller's messages are as they were")
	r.sound()
}

func TestNothingIsPublishedIfOneSubmissionCannotBeRecorded(t *testing.T) {
	t.Parallel()
	r := newRig(t, settings{})
	r.serve(func(*message.Message) error { t.Error("published"); return nil })
	good, _ := order(`{}`)
	nobody := message.NewMessage(watermill.NewUUID(), nil)
	err := r.publisher().Publish(topic, good, nobody)
	field, ok := errors.AsType[*jobaudit.FieldError](err)
	require.True(t, ok)
	require.Equal(t, "who.principal.kind", field.Field)
	refused, ok := errors.AsType[*jobaudit.AuditError](err)
	require.True(t, ok)
	require.Equal(t, "submit", refused.Op)
	require.Empty(t, r.sink.Jobs())
}

func TestNothingIsPublishedIfOneSubmissionCannotBeStored(t *testing.T) {
	t.Parallel()
	for name, events := range map[string]bool{"one message, one job": false, "events": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, _ := order(`{}`)
			second, refused := order(`{}`)
			s := settings{silent: true}
			s.audit.Events = func(string) bool { return events }
			s.sink = func(m *memsink.Sink) jobaudit.AuditSink { return refuses{m, refused} }
			r := newRig(t, s)
			r.serve(func(*message.Message) error { t.Error("published"); return nil })
			require.ErrorIs(t, r.publisher().Publish(topic, first, second), jobaudit.ErrConflict)
			for _, id := range r.sink.Jobs() {
				require.Equal(t, jobaudit.Cancelled, r.job(id).State)
			}
		})
	}
}

// refuses takes nothing of one job.
type refuses struct {
	*memsink.Sink
	job uuid.UUID
}

func (s refuses) Append(ctx context.Context, records []jobaudit.Record) error {
	for _, r := range records {
		if r.JobID() == s.job {
			return jobaudit.ErrConflict
		}
	}
	return s.Sink.Append(ctx, records)
}

func TestAMessageThatNobodyHandlesStaysPending(t *testing.T) {
	t.Parallel()
	r := newRig(t, settings{})
	msg, id := order(`{}`)
	require.NoError(t, r.publisher().Publish("nobody.listens", msg))
	require.Equal(t, jobaudit.Pending, r.job(id).State)
	r.sound()
}

func TestAForwardedMessageIsAChildWithoutMiddleware(t *testing.T) {
	t.Parallel()
	r := newRig(t, settings{})
	router, err := message.NewRouter(message.RouterConfig{}, nil) // knows nothing of the audit
	require.NoError(t, err)
	pub := r.publisher()
	router.AddHandler("forward", topic, r.pubsub, "parcels", pub, message.PassthroughHandler)
	r.run(router)
	send := r.router()
	send.AddConsumerHandler("send", "parcels", r.pubsub, func(*message.Message) error { return nil })
	r.run(send)
	id := r.publish()
	child := r.sink.ExpectEvent(r.ctx, r, jobaudit.Query{Types: []jobaudit.EventType{jobaudit.JobSucceeded}})
	require.Equal(t, id, child.Job.ParentID)
	require.Equal(t, jobaudit.Pending, r.job(id).State, "nothing is on record of what the forwarder did")
	r.sound()
}

func TestAPublisherIsDecoratedOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, settings{})
	once := r.publisher()
	twice, err := r.audit.Publisher(once)
	require.NoError(t, err)
	require.Same(t, once, twice)
	none, err := r.audit.Publisher(nil)
	require.NoError(t, err)
	require.Nil(t, none, "a handler without a publisher still has none")
	require.NoError(t, once.Publish(topic))
}

func TestTheInputsPassTheRegistry(t *testing.T) {
	t.Parallel()
	const card = "tok_9fK2mQx71LpZ"
	redactors, err := jobaudit.NewRegistry(nil, jobaudit.NewRedactor(topic, "1",
		jobaudit.InputPaths[any](jobaudit.Keep("order"), jobaudit.Drop("card", "payment"))))
	require.NoError(t, err)
	s := settings{}
	s.recorder.Redactors = redactors
	r := newRig(t, s)
	r.serve(failsOnce(errors.New("card " + card + " was refused")))
	msg, id := order(`{"order":7,"card":"` + card + `"}`)
	require.NoError(t, r.publisher().Publish(topic, msg))
	require.JSONEq(t, `{"order":7}`, string(r.ended(id).Metadata.Inputs))
	require.NoError(t, r.audit.Wait(r.ctx))
	r.sink.ExpectAbsent(t, card)
	r.sound()
}

type ship struct{ Order int }

func TestCommandsAreJobsByTheirTopics(t *testing.T) {
	t.Parallel()
	s := settings{}
	s.audit.Final = func(_ *message.Message, attempt int, _ error) bool { return attempt == 2 }
	s.channel.PreserveContext = false
	r := newRig(t, s)
	router := r.router()
	processor, err := cqrs.NewCommandProcessorWithConfig(router, cqrs.CommandProcessorConfig{
		GenerateSubscribeTopic: func(p cqrs.CommandProcessorGenerateSubscribeTopicParams) (string, error) {
			return p.CommandName, nil
		},
		SubscriberConstructor: func(cqrs.CommandProcessorSubscriberConstructorParams) (message.Subscriber, error) {
			return r.pubsub, nil
		},
		Marshaler: cqrs.JSONMarshaler{GenerateName: cqrs.StructName},
	})
	require.NoError(t, err)
	trails := make(chan *jobaudit.Trail, 1)
	require.NoError(t, processor.AddHandlers(cqrs.NewCommandHandler("ship", func(ctx context.Context, _ *ship) error {
		trail, _ := jobaudit.FromContext(ctx)
		trails <- trail
		return nil
	})))
	r.run(router)
	bus, err := cqrs.NewCommandBusWithConfig(r.publisher(), cqrs.CommandBusConfig{
		GeneratePublishTopic: func(p cqrs.CommandBusGeneratePublishTopicParams) (string, error) {
			return p.CommandName, nil
		},
		Marshaler: cqrs.JSONMarshaler{GenerateName: cqrs.StructName},
	})
	require.NoError(t, err)
	msg, id := order("")
	require.NoError(t, bus.Send(msg.Context(), ship{7}))
	job := r.ended(id)
	require.Equal(t, jobaudit.Success, job.State)
	require.Equal(t, "ship", job.Metadata.Action)
	require.Equal(t, id, next(r, trails).JobID())

	broken, id := order(`{"Order": "seven"}`) // cannot be decoded
	broken.Metadata.Set("name", "ship")
	require.NoError(t, r.publisher().Publish("ship", broken))
	job = r.ended(id)
	require.Equal(t, jobaudit.Failed, job.State)
	require.Equal(t, []jobaudit.EventType{jobaudit.AttemptFailed, jobaudit.JobFailed}, ends(job)[:2])
}

// A form, msgpack, a protocol buffer: nothing of it is stored, and what stands in
// it is kept out of the job's texts.
func TestAPayloadThatIsNoJSONHasNoInputsAndLeaksNowhere(t *testing.T) {
	t.Parallel()
	const secret = "hunter2hunter2"
	for name, payload := range map[string]string{
		"a form":            "user=ada&password=" + secret,
		"msgpack":           "\x82\xa4user\xa3ada\xa8password\xae" + secret,
		"a protocol buffer": "\x0a\x03ada\x12\x0e" + secret,
		"broken JSON":       `{"user":"ada","password":"` + secret + `"`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			redactors, err := jobaudit.NewRegistry(nil, jobaudit.NewRedactor(topic, "1",
				jobaudit.InputPaths[map[string]any](jobaudit.Keep("user"))))
			require.NoError(t, err)
			s := settings{}
			s.recorder.Redactors = redactors
			r := newRig(t, s)
			r.serve(failsOnce(errors.New("the password " + secret + " was refused")))
			msg, id := order(payload)
			require.NoError(t, r.publisher().Publish(topic, msg))
			job := r.ended(id)
			require.Equal(t, jobaudit.Success, job.State)
			require.Equal(t, "null", string(job.Metadata.Inputs))
			require.NoError(t, r.audit.Wait(r.ctx))
			r.sink.ExpectAbsent(t, secret)
			r.sound()
		})
	}
}

func TestEventsHaveAJobForEachHandler(t *testing.T) {
	t.Parallel()
	s := settings{}
	s.audit.Events = func(name string) bool { return name == topic }
	r := newRig(t, s)
	router := r.router()
	router.AddConsumerHandler("ship", topic, r.pubsub, failsOnce(errBroken))
	router.AddConsumerHandler("bill", topic, r.pubsub, func(msg *message.Message) error { return errBroken }).AddMiddleware(poisonOf(r))
	r.run(router)
	id := r.publish()
	published := r.ended(id)
	require.Equal(t, jobaudit.Success, published.State)
	require.Equal(t, topic, published.Metadata.Action)
	r.sink.ExpectEvent(r.ctx, r, jobaudit.Query{Action: "ship", Types: outcomes})
	r.sink.ExpectEvent(r.ctx, r, jobaudit.Query{Action: "bill", Types: outcomes})
	require.NoError(t, r.audit.Wait(r.ctx))
	states := map[string]jobaudit.JobState{}
	for _, child := range r.children(id) {
		states[child.Metadata.Action] = child.State
		require.Equal(t, published.CorrelationID, child.CorrelationID)
		require.Equal(t, ann.ID, r.event(child.ID, jobaudit.JobSubmitted).Who.OnBehalfOf[0].ID)
		if child.Metadata.Action == "ship" {
			require.Equal(t, []jobaudit.EventType{jobaudit.AttemptFailed, jobaudit.JobSucceeded}, ends(child), "it came back as the same job")
		}
	}
	require.Equal(t, map[string]jobaudit.JobState{"ship": jobaudit.Success, "bill": jobaudit.Failed}, states)
	r.sound()

	pub, err := r.audit.Publisher(failsAfter{r.pubsub, 0})
	require.NoError(t, err)
	msg, id := order(`{}`)
	require.ErrorIs(t, pub.Publish(topic, msg), errFull)
	require.Equal(t, jobaudit.Failed, r.job(id).State)
}

func poisonOf(r *rig) message.HandlerMiddleware {
	poison, err := middleware.PoisonQueue(r.pubsub, "orders.dead")
	require.NoError(r, err)
	return poison
}
