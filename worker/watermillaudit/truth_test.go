package watermillaudit_test

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/components/requeuer"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
)

func TestAMessageThatIsHandledIsASuccess(t *testing.T) {
	t.Parallel()
	r := newRig(t, settings{})
	seen := make(chan *jobaudit.Trail, 1)
	r.serve(func(msg *message.Message) error {
		trail, _ := jobaudit.FromContext(msg.Context())
		seen <- trail
		return nil
	})
	id := r.publish()
	job := r.ended(id)
	require.Equal(t, jobaudit.Success, job.State)
	require.Equal(t, id, next(r, seen).JobID(), "the handler finds its job")
	require.Equal(t, []jobaudit.EventType{jobaudit.JobSucceeded}, ends(job))
	require.Equal(t, ann.ID, job.Metadata.UserID)
	require.Equal(t, topic, job.Metadata.Action)
	require.Equal(t, "acme", job.Metadata.OrgID)
	r.sound()
	start := r.event(id, jobaudit.JobStarted)
	require.Equal(t, "watermill", start.Job.Queue.System)
	require.False(t, start.Who.Principal.Verified, "what came out of the queue is a claim")
}

func TestAMessageThatFailsComesBackAsTheSameJob(t *testing.T) {
	t.Parallel()
	r := newRig(t, settings{})
	r.serve(failsOnce(errBroken))
	job := r.ended(r.publish())
	require.Equal(t, jobaudit.Success, job.State)
	require.Equal(t, []jobaudit.EventType{jobaudit.AttemptFailed, jobaudit.JobSucceeded}, ends(job))
	r.sound()
	require.Equal(t, errBroken.Error(), r.event(job.ID, jobaudit.AttemptFailed).Data.Error.Message)
}

func TestAMessageThatWillNotComeBackHasFailed(t *testing.T) {
	t.Parallel()
	s := settings{}
	s.audit.Final = func(_ *message.Message, attempt int, err error) bool {
		return attempt == 3 && errors.Is(err, errBroken)
	}
	r := newRig(t, s)
	last, closing := make(chan bool, 8), make(chan bool)
	defer close(closing)
	var calls atomic.Int32
	r.serve(func(msg *message.Message) error {
		if calls.Add(1) > 3 {
			last <- true
			<-closing // it does come back, here
		}
		return errBroken
	})
	id := r.publish()
	job := r.ended(id)
	require.Equal(t, jobaudit.Failed, job.State)
	require.Equal(t, errBroken.Error(), job.Error.Message)
	require.Equal(t, []jobaudit.EventType{jobaudit.AttemptFailed, jobaudit.AttemptFailed, jobaudit.JobFailed}, ends(job)[:3])
	next(r, last)
	require.True(t, r.job(id).Executions[3].Late, "who says that it is final is believed")
}

func TestAMessageThatGoesToThePoisonQueueHasFailed(t *testing.T) {
	t.Parallel()
	const dead = "orders.dead"
	for name, test := range map[string]struct {
		inner func(poison message.HandlerMiddleware) []message.HandlerMiddleware
		h     message.NoPublishHandlerFunc
		code  jobaudit.ErrorCode
		text  string
	}{
		"by an error": {
			func(p message.HandlerMiddleware) []message.HandlerMiddleware { return []message.HandlerMiddleware{p} },
			func(*message.Message) error { return errBroken }, jobaudit.CodeError, errBroken.Error(),
		},
		"by a panic that was recovered": {
			func(p message.HandlerMiddleware) []message.HandlerMiddleware {
				return []message.HandlerMiddleware{p, middleware.Recoverer}
			},
			blowUp, jobaudit.CodePanic, "panic in github.com/jobaudit/jobaudit/worker/watermillaudit_test.blowUp truth_test.go:",
		},
		"after all retries": {
			func(p message.HandlerMiddleware) []message.HandlerMiddleware {
				return []message.HandlerMiddleware{p, middleware.Retry{MaxRetries: 2}.Middleware}
			},
			func(*message.Message) error { return errBroken }, jobaudit.CodeError, errBroken.Error(),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, settings{})
			poison, err := middleware.PoisonQueue(r.publisher(), dead)
			require.NoError(t, err)
			r.serve(test.h, test.inner(poison)...)
			id := r.publish()
			job := r.ended(id)
			require.Equal(t, jobaudit.Failed, job.State)
			require.Equal(t, test.code, job.Error.Code)
			require.Contains(t, job.Error.Message, test.text)
			require.Len(t, job.Executions, 1, "a delivery is an attempt, whatever middleware does inside")
			r.sound()
			children := r.children(id)
			require.Len(t, children, 1)
			require.Equal(t, dead, children[0].Metadata.Action)
			require.Equal(t, jobaudit.Pending, children[0].State, "what lies in the poison queue waits there")
			r.sink.ExpectAbsent(t, secret)
		})
	}
}

func TestAMessageThatWasPoisonedBeforeIsJudgedAnew(t *testing.T) {
	t.Parallel()
	const dead = "orders.dead"
	r := newRig(t, settings{})
	pub := r.publisher()
	poison, err := middleware.PoisonQueue(pub, dead)
	require.NoError(t, err)
	var calls atomic.Int32
	var states []jobaudit.JobState
	r.serve(func(msg *message.Message) error {
		if calls.Add(1) < 3 {
			return errBroken // the same each time
		}
		require.Equal(t, errBroken.Error(), msg.Metadata.Get(middleware.ReasonForPoisonedKey), "the handler may look")
		return nil
	}, poison)
	plain, err := message.NewRouter(message.RouterConfig{}, nil)
	require.NoError(t, err)
	_, err = requeuer.NewRequeuer(requeuer.Config{
		Router: plain, Subscriber: r.pubsub, SubscribeTopic: dead, Publisher: pub,
		GeneratePublishTopic: func(requeuer.GeneratePublishTopicParams) (string, error) { return topic, nil },
	}, watermill.NopLogger{})
	require.NoError(t, err)
	r.run(plain)
	id := r.publish()
	for range 2 {
		job := r.ended(id)
		states = append(states, job.State)
		children := r.children(id) // it lies in the poison queue
		require.Len(t, children, 1)
		r.sink.ExpectEvent(r.ctx, r, jobaudit.Query{Action: topic, CorrelationID: job.CorrelationID, Types: []jobaudit.EventType{jobaudit.JobSucceeded}})
		children = r.children(children[0].ID) // and is put back
		require.Len(t, children, 1)
		id = children[0].ID
	}
	states = append(states, r.ended(id).State)
	require.Equal(t, []jobaudit.JobState{jobaudit.Failed, jobaudit.Failed, jobaudit.Success}, states)
	r.sound()
}

const secret = "the value of the panic"

func blowUp(*message.Message) error { panic(secret) }

func TestWithTheMiddlewareInsideEveryRetryIsAnExecution(t *testing.T) {
	t.Parallel()
	r := newRig(t, settings{})
	poison, err := middleware.PoisonQueue(r.pubsub, "orders.dead")
	require.NoError(t, err)
	router, err := message.NewRouter(message.RouterConfig{}, nil)
	require.NoError(t, err)
	router.AddMiddleware(poison, middleware.Retry{MaxRetries: 2, ResetContextOnRetry: true}.Middleware, r.audit.Middleware)
	router.AddConsumerHandler("ship", topic, r.pubsub, func(msg *message.Message) error {
		trail, ok := jobaudit.FromContext(msg.Context())
		require.True(t, ok)
		trail.Log(msg.Context(), "tried")
		return errBroken
	})
	r.run(router)
	job := r.ended(r.publish())
	require.Equal(t, jobaudit.Failed, job.State)
	require.Equal(t, errBroken.Error(), job.Error.Message)
	require.Equal(t, []jobaudit.EventType{jobaudit.AttemptFailed, jobaudit.AttemptFailed, jobaudit.AttemptFailed}, ends(job))
	require.Len(t, job.Logs, 3)
	r.sound()
}

func TestAHandlerThatIsCalledTwiceHasTwoExecutions(t *testing.T) {
	t.Parallel()
	r := newRig(t, settings{})
	router, err := message.NewRouter(message.RouterConfig{}, nil)
	require.NoError(t, err)
	router.AddMiddleware(middleware.Duplicator, r.audit.Middleware)
	router.AddConsumerHandler("ship", topic, r.pubsub, func(*message.Message) error { return nil })
	r.run(router)
	job := r.ended(r.publish())
	require.Equal(t, jobaudit.Success, job.State)
	require.Equal(t, []jobaudit.EventType{jobaudit.AttemptSuperseded, jobaudit.JobSucceeded}, ends(job))
	r.sound()
}

func TestAPanicIsAFailedAttemptWithoutItsValue(t *testing.T) {
	t.Parallel()
	for name, inner := range map[string][]message.HandlerMiddleware{
		"the router recovers it": nil, "Recoverer recovers it": {middleware.Recoverer},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, settings{})
			var calls atomic.Int32
			r.serve(func(msg *message.Message) error {
				if calls.Add(1) == 1 {
					return blowUp(msg)
				}
				return nil
			}, inner...)
			job := r.ended(r.publish())
			require.Equal(t, []jobaudit.EventType{jobaudit.AttemptFailed, jobaudit.JobSucceeded}, ends(job))
			failed := r.event(job.ID, jobaudit.AttemptFailed).Data.Error
			require.Equal(t, jobaudit.CodePanic, failed.Code)
			require.Contains(t, failed.Message+" in "+failed.Frame, "watermillaudit_test.blowUp truth_test.go:")
			r.sink.ExpectAbsent(t, secret)
			r.sound()
		})
	}
}

func TestAHandlerThatEndsItsGoroutineHasFailedItsAttempt(t *testing.T) {
	t.Parallel()
	r := newRig(t, settings{})
	r.serve(func(*message.Message) error { runtime.Goexit(); return nil })
	id := r.publish()
	require.Equal(t, jobaudit.CodeGoexit, r.event(id, jobaudit.AttemptFailed).Data.Error.Code)
	require.NoError(t, r.audit.Wait(r.ctx), "though nobody acknowledges the message")
	require.Equal(t, jobaudit.Running, r.job(id).State)
}

func TestAHandlerThatRunsOutOfTimeHasFailedItsAttempt(t *testing.T) {
	t.Parallel()
	r := newRig(t, settings{})
	var calls atomic.Int32
	r.serve(func(msg *message.Message) error {
		if calls.Add(1) > 1 {
			return nil
		}
		<-msg.Context().Done()
		return msg.Context().Err()
	}, func(h message.HandlerFunc) message.HandlerFunc { // as middleware.Timeout does, when the handler runs
		return func(msg *message.Message) ([]*message.Message, error) {
			passed := make(chan struct{})
			close(passed)
			msg.SetContext(&expiring{Context: msg.Context(), passed: passed})
			return h(msg)
		}
	})
	job := r.ended(r.publish())
	require.Equal(t, jobaudit.Success, job.State)
	require.Equal(t, []jobaudit.EventType{jobaudit.AttemptFailed, jobaudit.JobSucceeded}, ends(job))
	require.Equal(t, jobaudit.CodeTimeout, r.event(job.ID, jobaudit.AttemptFailed).Data.Error.Code)
	r.sound()
}

// expiring is a context whose deadline passes when a channel is closed.
type expiring struct {
	context.Context
	passed <-chan struct{}
}

func (e *expiring) Deadline() (time.Time, bool) { return time.Now(), true }

func (e *expiring) Done() <-chan struct{} { return e.passed }

func (e *expiring) Err() error {
	select {
	case <-e.passed:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

func TestATimeoutThatTheHandlerIgnoresDoesNotMatter(t *testing.T) {
	t.Parallel()
	r := newRig(t, settings{})
	// Outside of the adapter, too: that deadline is not the Pub/Sub's. It passes
	// when the handler runs, and not before the start is on record.
	router, err := message.NewRouter(message.RouterConfig{}, nil)
	require.NoError(t, err)
	running := make(chan struct{})
	router.AddMiddleware(func(h message.HandlerFunc) message.HandlerFunc {
		return func(msg *message.Message) ([]*message.Message, error) {
			msg.SetContext(&expiring{Context: msg.Context(), passed: running})
			return h(msg)
		}
	}, r.audit.Middleware)
	router.AddConsumerHandler("ship", topic, r.pubsub, func(msg *message.Message) error {
		close(running)
		<-msg.Context().Done()
		require.ErrorIs(t, msg.Context().Err(), context.DeadlineExceeded)
		return nil
	})
	r.run(router)
	job := r.ended(r.publish())
	require.Equal(t, jobaudit.Success, job.State)
	r.sound()
}

func TestClosingTheRouterDefersWhatItsHandlersWereAt(t *testing.T) {
	t.Parallel()
	for name, ignore := range map[string]bool{"the handler obeys": false, "the handler ignores it": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, settings{})
			running, finish := make(chan bool, 1), make(chan bool)
			router := r.serve(func(msg *message.Message) error {
				running <- true
				if ignore {
					<-finish
					return nil // and the router acks, to nobody
				}
				<-msg.Context().Done()
				return msg.Context().Err()
			})
			id := r.publish()
			next(r, running)
			closed := make(chan error, 1)
			go func() { closed <- router.Close() }()
			r.event(id, jobaudit.AttemptDeferred)
			close(finish)
			require.NoError(t, next(r, closed))
			require.NoError(t, r.audit.Wait(r.ctx))
			job := r.job(id)
			require.Equal(t, jobaudit.Running, job.State, "nobody has acknowledged it")
			require.Equal(t, []jobaudit.EventType{jobaudit.AttemptDeferred}, ends(job))
			r.event(id, jobaudit.JobLogged)
			r.sound()
		})
	}
}

func TestTheAcknowledgementIsTheOutcome(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		h     message.NoPublishHandlerFunc
		inner []message.HandlerMiddleware
		state jobaudit.JobState
		ends  []jobaudit.EventType
	}{
		"acked, then failed": {
			func(msg *message.Message) error { msg.Ack(); return errBroken }, nil,
			jobaudit.Failed, []jobaudit.EventType{jobaudit.JobFailed},
		},
		"acked, then panicked": {
			func(msg *message.Message) error { msg.Ack(); return blowUp(msg) }, nil,
			jobaudit.Failed, []jobaudit.EventType{jobaudit.JobFailed},
		},
		"acked, then done": {
			func(msg *message.Message) error { msg.Ack(); <-msg.Context().Done(); return nil }, nil,
			jobaudit.Success, []jobaudit.EventType{jobaudit.JobSucceeded},
		},
		"acked at once by middleware": {
			func(msg *message.Message) error { <-msg.Context().Done(); return nil },
			[]message.HandlerMiddleware{middleware.InstantAck},
			jobaudit.Success, []jobaudit.EventType{jobaudit.JobSucceeded},
		},
		"nacked, then done": {
			nackOnce(), nil,
			jobaudit.Success, []jobaudit.EventType{jobaudit.AttemptFailed, jobaudit.JobSucceeded},
		},
		"an error that is ignored": {
			func(*message.Message) error { return errBroken },
			[]message.HandlerMiddleware{middleware.NewIgnoreErrors([]error{errBroken}).Middleware},
			jobaudit.Success, []jobaudit.EventType{jobaudit.JobSucceeded},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, settings{})
			r.serve(test.h, test.inner...)
			job := r.ended(r.publish())
			require.Equal(t, test.state, job.State)
			require.Equal(t, test.ends, ends(job))
			r.sound()
		})
	}
}

// nackOnce nacks the first delivery and says nothing of it.
func nackOnce() message.NoPublishHandlerFunc {
	var calls atomic.Int32
	return func(msg *message.Message) error {
		if calls.Add(1) == 1 {
			msg.Nack()
		}
		return nil
	}
}

func TestAContextThatThePublisherKeepsIsNoVerdict(t *testing.T) {
	t.Parallel()
	s := settings{}
	s.channel.PreserveContext = true
	r := newRig(t, s)
	cancelled := make(chan bool)
	r.serve(func(*message.Message) error {
		<-cancelled
		return nil
	})
	msg, id := order(`{}`)
	ctx, cancel := context.WithCancel(msg.Context()) // as of an HTTP request
	msg.SetContext(ctx)
	require.NoError(t, r.publisher().Publish(topic, msg))
	r.event(id, jobaudit.JobStarted)
	cancel()
	close(cancelled)
	require.Equal(t, jobaudit.Success, r.ended(id).State)
	r.sound()
}
