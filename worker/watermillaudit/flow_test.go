package watermillaudit_test

import (
	"context"
	"errors"
	"iter"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/faultsink"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/worker/watermillaudit"
)

// bench is a middleware without a router: its tests acknowledge the messages,
// in a bubble whose clock is theirs.
type bench struct {
	*rig
	faults *faultsink.Sink
}

func onBench(t *testing.T, s settings, test func(*bench)) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{}
		s.sink = func(m *memsink.Sink) jobaudit.AuditSink {
			b.faults = faultsink.New(m)
			return b.faults
		}
		b.rig = newRig(t, s)
		test(b)
	})
}

// A message that nothing ties to its next delivery, or that Final speaks of, is
// not lost before it is nacked: middleware outside may try it again.
func TestRetriesOutsideGoOnWhateverIsFinal(t *testing.T) {
	for name, uuid := range map[string]string{"final": "1", "without a UUID": ""} {
		t.Run(name, func(t *testing.T) {
			s := settings{}
			s.audit.Final = func(*message.Message, int, error) bool { return true }
			onBench(t, s, func(b *bench) {
				retry := middleware.Retry{MaxRetries: 1, InitialInterval: time.Second}
				fails := failsOnce(errBroken)
				h := retry.Middleware(b.audit.Middleware(func(msg *message.Message) ([]*message.Message, error) {
					require.NoError(b, msg.Context().Err())
					return nil, fails(msg)
				}))
				msg := message.NewMessage(uuid, nil)
				_, err := h(msg)
				require.NoError(b, err)
				msg.Ack()
				require.NoError(b, b.audit.Wait(b.ctx))
				id := b.sink.Jobs()[0]
				require.Equal(b, jobaudit.Success, b.job(id).State)
				b.sound()
			})
		})
	}
}

func TestARetryThatCannotBeRecordedLeavesNothingBehind(t *testing.T) {
	onBench(t, settings{silent: true}, func(b *bench) {
		retry := middleware.Retry{MaxRetries: 2, InitialInterval: time.Second}
		var calls atomic.Int32
		h := retry.Middleware(b.audit.Middleware(func(*message.Message) ([]*message.Message, error) {
			if calls.Add(1) == 1 {
				b.faults.Set(faultsink.Rule{Fault: faultsink.Fail}) // but not always
				time.AfterFunc(500*time.Millisecond, func() { b.faults.Set() })
				time.AfterFunc(1500*time.Millisecond, func() { b.faults.Set(faultsink.Rule{Fault: faultsink.Hang}) })
			}
			return nil, errBroken
		}))
		msg := message.NewMessage("1", nil)
		_, err := h(msg)
		require.Error(b, err)
		b.faults.Set()
		msg.Nack()
		require.NoError(b, b.audit.Wait(b.ctx))
		b.soundJob(b.sink.Jobs()[0])
	})
}

func TestALogThatHangsDoesNotHoldUpAHandlerForEver(t *testing.T) {
	onBench(t, settings{silent: true}, func(b *bench) {
		audit := watermillaudit.New(b.rec, &watermillaudit.Options{
			Logs: []jobaudit.AuditReader{stuck{}}, OnError: func(_ context.Context, err error) { b.complain(err) },
		})
		msg := message.NewMessage("1", nil)
		began := time.Now()
		_, err := audit.Middleware(func(*message.Message) ([]*message.Message, error) { return nil, nil })(msg)
		require.NoError(b, err)
		require.Equal(b, 5*time.Second, time.Since(began))
		require.ErrorIs(b, next(b.rig, b.told), context.DeadlineExceeded)
		msg.Ack()
		require.NoError(b, audit.Wait(b.ctx))
	})
}

// stuck answers when its context ends.
type stuck struct{}

func (stuck) Records(ctx context.Context, _ jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		<-ctx.Done()
		yield(jobaudit.Record{}, ctx.Err())
	}
}

func TestASinkThatHangsHoldsUpNoNackForLong(t *testing.T) {
	s := settings{silent: true}
	s.audit.Final = func(*message.Message, int, error) bool { return true }
	onBench(t, s, func(b *bench) {
		h := b.audit.Middleware(func(*message.Message) ([]*message.Message, error) {
			b.faults.Set(faultsink.Rule{Fault: faultsink.Hang})
			return nil, errBroken
		})
		msg := message.NewMessage("1", nil)
		began := time.Now()
		_, err := h(msg)
		require.ErrorIs(b, err, errBroken)
		require.LessOrEqual(b, time.Since(began), 5*time.Second)
		msg.Nack()
		b.faults.Set()
		require.NoError(b, b.audit.Wait(b.ctx))
		require.Equal(b, jobaudit.Failed, b.job(b.sink.Jobs()[0]).State)
	})
}

// An authorization that is withdrawn when the work is done does not undo it.
func TestWhatIsWithdrawnBehindTheHandlerIsASuccess(t *testing.T) {
	s := settings{}
	var withdrawn atomic.Bool
	s.recorder = jobaudit.Options{
		Heartbeat: time.Second, Reauthorize: true,
		Authorize: func(context.Context, jobaudit.Submission) (jobaudit.Decision, error) {
			return jobaudit.Decision{By: "policy", Allowed: !withdrawn.Load()}, nil
		},
	}
	onBench(t, s, func(b *bench) {
		h := b.audit.Middleware(func(*message.Message) ([]*message.Message, error) { return nil, nil })
		msg := message.NewMessage("1", nil)
		_, err := h(msg)
		require.NoError(b, err)
		withdrawn.Store(true)
		time.Sleep(2 * time.Second) // what it produced is being published
		msg.Ack()
		require.NoError(b, b.audit.Wait(b.ctx))
		require.Equal(b, jobaudit.Success, b.job(b.sink.Jobs()[0]).State)
	})
}

// A delivery does not wait for as long as middleware outside holds an earlier
// one that it is going to try again.
func TestADeliveryIsNotHeldUpByRetriesOfAnother(t *testing.T) {
	onBench(t, settings{}, func(b *bench) {
		retry := middleware.Retry{MaxRetries: 1, InitialInterval: 10 * time.Minute}
		var calls atomic.Int32
		h := retry.Middleware(b.audit.Middleware(func(*message.Message) ([]*message.Message, error) {
			if calls.Add(1) == 1 {
				return nil, errBroken
			}
			return nil, nil
		}))
		first, second := message.NewMessage("1", nil), message.NewMessage("1", nil)
		done := make(chan error)
		go func() {
			_, err := h(first)
			first.Ack()
			done <- err
		}()
		synctest.Wait()
		began := time.Now()
		_, err := h(second)
		require.NoError(b, err)
		require.LessOrEqual(b, time.Since(began), 5*time.Second)
		second.Ack()
		require.NoError(b, <-done)
		require.NoError(b, b.audit.Wait(context.Background()))
	})
}

func TestAFinalThatPanicsIsReported(t *testing.T) {
	s := settings{silent: true}
	s.audit.Final = func(*message.Message, int, error) bool { panic(secret) }
	onBench(t, s, func(b *bench) {
		h := b.audit.Middleware(func(*message.Message) ([]*message.Message, error) { return nil, nil })
		msg := message.NewMessage("1", nil)
		_, err := h(msg)
		require.NoError(b, err)
		msg.Nack()
		require.NoError(b, b.audit.Wait(b.ctx))
		told := next(b.rig, b.told)
		require.NotContains(b, told.Error(), secret)
		b.sound()
	})
}

// A panic of the program's own code comes out where the program can recover it.
func TestASubmissionThatPanicsDoesSoWhereItIsCalled(t *testing.T) {
	onBench(t, settings{}, func(b *bench) {
		audit := watermillaudit.New(b.rec, &watermillaudit.Options{
			Submission: func(string, *message.Message) jobaudit.Submission { panic(errBroken) },
		})
		pub, err := audit.Publisher(b.pubsub)
		require.NoError(b, err)
		require.PanicsWithError(b, errBroken.Error(), func() {
			_ = pub.Publish(topic, message.NewMessage("1", nil), message.NewMessage("2", nil))
		})
	})
}

func TestPublishingManyDoesNotWaitForASinkThatHangs(t *testing.T) {
	onBench(t, settings{silent: true}, func(b *bench) {
		b.faults.Set(faultsink.Rule{Fault: faultsink.Hang})
		var messages []*message.Message
		for range 1000 {
			msg, _ := order(`{}`)
			messages = append(messages, msg)
		}
		began := time.Now()
		err := b.publisher().Publish(topic, messages...)
		_, audit := errors.AsType[*jobaudit.AuditError](err)
		require.True(b, audit)
		require.LessOrEqual(b, time.Since(began), 10*time.Second)
		b.faults.Set()
	})
}

func TestAMessageOfNothingIsAPanicOnRecord(t *testing.T) {
	onBench(t, settings{}, func(b *bench) {
		h := b.audit.Middleware(func(*message.Message) ([]*message.Message, error) {
			return []*message.Message{nil}, nil
		})
		msg := message.NewMessage("1", nil)
		require.Panics(b, func() { _, _ = h(msg) }) // as the router would
		msg.Nack()
		require.NoError(b, b.audit.Wait(b.ctx))
		b.sound()
	})
}

func TestWhatIsWithdrawnBetweenRetriesIsDenied(t *testing.T) {
	for name, reset := range map[string]bool{"the context is kept": false, "the context is reset": true} {
		t.Run(name, func(t *testing.T) {
			s := settings{}
			var withdrawn atomic.Bool
			s.recorder = jobaudit.Options{
				Heartbeat: time.Second, Reauthorize: true,
				Authorize: func(context.Context, jobaudit.Submission) (jobaudit.Decision, error) {
					return jobaudit.Decision{By: "policy", Allowed: !withdrawn.Load()}, nil
				},
			}
			onBench(t, s, func(b *bench) {
				retry := middleware.Retry{MaxRetries: 1, InitialInterval: 10 * time.Second, ResetContextOnRetry: reset}
				h := retry.Middleware(b.audit.Middleware(func(*message.Message) ([]*message.Message, error) {
					require.False(b, withdrawn.Swap(true), "it is called once")
					return nil, errBroken
				}))
				msg := message.NewMessage("1", nil)
				_, err := h(msg)
				require.NoError(b, err)
				msg.Ack()
				require.NoError(b, b.audit.Wait(b.ctx))
				require.Equal(b, jobaudit.Cancelled, b.job(b.sink.Jobs()[0]).State)
			})
		})
	}
}
