package watermillaudit_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

func (r *rig) submitted() jobaudit.Event {
	r.Helper()
	return r.sink.ExpectEvent(r.ctx, r, jobaudit.Query{Types: []jobaudit.EventType{jobaudit.JobSubmitted}})
}

func TestAMessageThatNobodySubmittedIsAJobOfTheService(t *testing.T) {
	t.Parallel()
	r := newRig(t, settings{})
	r.serve(failsOnce(errBroken))
	msg := message.NewMessage(watermill.NewUUID(), []byte(`{}`))
	msg.Metadata = nil
	require.NoError(t, r.pubsub.Publish(topic, msg))
	asked := r.submitted()
	require.Equal(t, "watermillaudit", asked.Who.Principal.ID)
	require.Equal(t, jobaudit.OnEvent, asked.Why.Kind)
	job := r.ended(asked.Job.ID)
	require.Equal(t, topic, job.Metadata.Action)
	require.Equal(t, []jobaudit.EventType{jobaudit.AttemptFailed, jobaudit.JobSucceeded}, ends(job), "the same job came back")
	require.Len(t, r.sink.Jobs(), 1)
	r.sound()
}

func TestAMessageThatNothingTellsFromOthersIsAJobAtEachDelivery(t *testing.T) {
	t.Parallel()
	r := newRig(t, settings{})
	r.serve(failsOnce(errBroken))
	require.NoError(t, r.pubsub.Publish(topic, message.NewMessage("", nil)))
	r.sink.ExpectEvent(r.ctx, r, jobaudit.Query{Types: []jobaudit.EventType{jobaudit.JobSucceeded}})
	r.sound()
	require.Len(t, r.sink.Jobs(), 2)
	require.Equal(t, jobaudit.Failed, r.job(r.sink.Jobs()[0]).State)
}

func TestAForgedCarrierIsReportedAndTheWorkIsOnRecord(t *testing.T) {
	t.Parallel()
	for name, forged := range map[string]string{
		"garbage": "ja1.garbage", "another version": "ja9.e30", "oversized": "ja1." + strings.Repeat("A", 1<<20), "empty JSON": "ja1.e30",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, settings{silent: true})
			r.serve(func(*message.Message) error { return nil })
			msg := message.NewMessage(strings.Repeat("long/", 1000), nil)
			msg.Metadata.Set("jobaudit", forged)
			require.NoError(t, r.pubsub.Publish(topic, msg))
			_, ok := errors.AsType[*jobaudit.FieldError](next(r, r.told))
			require.True(t, ok)
			require.Equal(t, jobaudit.Success, r.ended(r.submitted().Job.ID).State)
			r.sound()
		})
	}
}

func TestACarrierOfAJobThatHasEndedLeadsToLateExecutions(t *testing.T) {
	t.Parallel()
	r := newRig(t, settings{})
	again := make(chan message.Metadata, 2)
	r.serve(func(msg *message.Message) error {
		again <- msg.Copy().Metadata
		return nil
	})
	id := r.publish()
	r.ended(id)
	replayed := message.NewMessage(watermill.NewUUID(), nil)
	replayed.Metadata = next(r, again)
	require.NoError(t, r.pubsub.Publish(topic, replayed))
	next(r, again)
	require.NoError(t, r.audit.Wait(r.ctx))
	job := r.job(id)
	require.Equal(t, jobaudit.Success, job.State)
	require.Len(t, job.Executions, 2)
	require.True(t, job.Executions[1].Late)
	require.Equal(t, 2, job.Executions[1].Attempt)
}

func TestOneMessageInTwoRoutersAtOnceIsOneJobWithTwoExecutions(t *testing.T) {
	t.Parallel()
	r := newRig(t, settings{})
	running, finish := make(chan bool, 2), make(chan bool)
	for range 2 {
		r.serve(func(*message.Message) error {
			running <- true
			<-finish
			return nil
		})
	}
	id := r.publish()
	next(r, running)
	next(r, running)
	close(finish)
	require.NoError(t, r.audit.Wait(r.ctx))
	job := r.job(id)
	require.Equal(t, jobaudit.Success, job.State)
	require.Len(t, job.Executions, 2)
	require.NotEqual(t, job.Executions[0].ID, job.Executions[1].ID)
	require.Len(t, job.Unapplied, 1, "the second outcome is late")
	require.Equal(t, jobaudit.JobSucceeded, job.Unapplied[0].Type)
	require.Equal(t, []jobaudit.EventType{jobaudit.JobSucceeded, jobaudit.JobSucceeded}, ends(job))
}

func TestADeniedJobLeavesTheTopic(t *testing.T) {
	t.Parallel()
	s := settings{}
	var answers atomic.Int32
	s.recorder.Authorize = func(_ context.Context, sub jobaudit.Submission) (jobaudit.Decision, error) {
		return jobaudit.Decision{By: "policy", AskAgain: answers.Add(1) == 1}, nil
	}
	r := newRig(t, s)
	r.serve(func(*message.Message) error { t.Error("it ran"); return nil })
	id := r.publish()
	job := r.ended(id)
	require.Equal(t, jobaudit.Cancelled, job.State)
	require.Equal(t, jobaudit.CodeForbidden, job.Error.Code)
	require.Equal(t, int32(2), answers.Load(), "put off once, then refused, and then no more")
	r.event(id, jobaudit.AttemptDeferred)
	r.sound()
}

func TestAJobThatIsRevokedWhileItRunsIsCancelled(t *testing.T) {
	t.Parallel()
	r := newRig(t, settings{})
	r.serve(func(msg *message.Message) error {
		trail, _ := jobaudit.FromContext(msg.Context())
		require.NoError(t, trail.Deny(msg.Context(), jobaudit.Decision{By: "ann"}))
		<-msg.Context().Done()
		return msg.Context().Err()
	})
	id := r.publish()
	r.event(id, jobaudit.JobCancelled)
	job := r.job(id)
	require.Equal(t, jobaudit.Cancelled, job.State)
	require.Equal(t, jobaudit.CodeForbidden, job.Error.Code)
	require.NoError(t, r.audit.Wait(r.ctx))
	require.Empty(t, r.job(id).Unapplied)
	require.Len(t, r.job(id).Executions, 1, "it does not come back")
}

// broken is a sink that can be switched off.
type broken struct {
	*memsink.Sink
	off atomic.Bool
}

var errDisk = errors.New("no space left")

func (b *broken) Append(ctx context.Context, records []jobaudit.Record) error {
	if b.off.Load() {
		return errDisk
	}
	return b.Sink.Append(ctx, records)
}

func TestAHandlerWhoseStartCannotBeRecordedIsNotCalled(t *testing.T) {
	t.Parallel()
	var sink *broken
	s := settings{silent: true, sink: func(m *memsink.Sink) jobaudit.AuditSink {
		sink = &broken{Sink: m}
		return sink
	}}
	s.recorder.Timeout = 3 * time.Second // longer than anything else takes here
	r := newRig(t, s)
	refused := make(chan error, 8)
	router, err := message.NewRouter(message.RouterConfig{}, nil)
	require.NoError(t, err)
	var ran atomic.Int32
	router.AddMiddleware(func(h message.HandlerFunc) message.HandlerFunc {
		return func(msg *message.Message) ([]*message.Message, error) {
			_, err := h(msg)
			if err != nil {
				sink.off.Store(false)
				refused <- err
			}
			return nil, err
		}
	}, r.audit.Middleware)
	router.AddConsumerHandler("ship", topic, r.pubsub, func(*message.Message) error { ran.Add(1); return nil })
	msg, id := order(`{}`)
	hold, err := r.audit.Publisher(offAfterSubmit{r.pubsub, &sink.off})
	require.NoError(t, err)
	r.run(router)
	require.NoError(t, hold.Publish(topic, msg))
	var refusal *jobaudit.AuditError
	require.ErrorAs(t, next(r, refused), &refusal)
	require.Equal(t, jobaudit.Success, r.ended(id).State)
	require.Equal(t, int32(1), ran.Load())
	require.ErrorIs(t, refusal, errDisk)
}

// offAfterSubmit switches a sink off when the submissions are stored.
type offAfterSubmit struct {
	message.Publisher
	off *atomic.Bool
}

func (p offAfterSubmit) Publish(topic string, messages ...*message.Message) error {
	p.off.Store(true)
	return p.Publisher.Publish(topic, messages...)
}

func TestAThousandMessagesAtOnceAreAThousandJobs(t *testing.T) {
	t.Parallel()
	const n = 1000
	r := newRig(t, settings{})
	var failed sync.Map
	r.serve(func(msg *message.Message) error {
		if _, again := failed.LoadOrStore(msg.UUID, true); !again && msg.UUID[0]%4 == 0 {
			return errBroken
		}
		return nil
	})
	var messages []*message.Message
	var ids []uuid.UUID
	for range n {
		msg, id := order(`{"order":7}`)
		messages, ids = append(messages, msg), append(ids, id)
	}
	var wg sync.WaitGroup
	pub := r.publisher()
	for i := range 10 {
		wg.Go(func() { require.NoError(t, pub.Publish(topic, messages[i*n/10:(i+1)*n/10]...)) })
	}
	wg.Wait()
	for i, id := range ids {
		job := r.ended(id)
		require.Equal(t, jobaudit.Success, job.State)
		require.Equal(t, messages[i].UUID[0]%4 == 0, len(job.Executions) == 2)
	}
	require.Len(t, r.sink.Jobs(), n)
	r.sound()
}

func TestAnAcknowledgementAfterTheReturnIsTheOutcome(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		settle func(*message.Message) bool
		end    jobaudit.EventType
	}{
		"ack": {(*message.Message).Ack, jobaudit.JobSucceeded}, "nack": {(*message.Message).Nack, jobaudit.AttemptFailed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, settings{})
			handle := r.audit.Middleware(func(*message.Message) ([]*message.Message, error) { return nil, nil })
			msg := message.NewMessage(watermill.NewUUID(), nil)
			_, err := handle(msg) // without a router
			require.NoError(t, err)
			id := r.submitted().Job.ID
			require.Equal(t, jobaudit.Running, r.job(id).State)
			ctx, cancel := context.WithCancel(r.ctx)
			cancel()
			require.ErrorIs(t, r.audit.Wait(ctx), context.Canceled)
			go test.settle(msg)
			r.event(id, test.end)
			r.sound()
		})
	}
}

// A message is a job, and its job on record, whatever its ID is; an ID that holds a
// credential is not stored.
func TestAMessagesOwnIDThatHoldsACredentialIsNotStored(t *testing.T) {
	t.Parallel()
	r := newRig(t, settings{})
	r.serve(failsOnce(errBroken))
	secrets := []string{"gh" + "p_c4n4ryAbCdEfGhIjKlMnOpQrStUvWx0123456", "https://ada:c4n4ry-hunter2@example.org/x", "Bearer c4n4ryAbC1dEf2GhI3jKl4MnO5"}
	for _, id := range secrets {
		require.NoError(t, r.pubsub.Publish(topic, message.NewMessage(id, []byte(`{}`))))
	}
	require.Eventually(t, func() bool {
		done := 0
		for _, id := range r.sink.Jobs() {
			if r.job(id).State == jobaudit.Success {
				done++
			}
		}
		return done == len(secrets)
	}, time.Minute, 10*time.Millisecond)
	r.sink.ExpectAbsent(t, "c4n4ry")
	r.sound()
}
