package watermillaudit_test

import (
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/worker/watermillaudit"
)

// quiet makes a rig that records to the sink and complains to nobody.
func quiet(t *testing.T, sink *unsureSink, audit watermillaudit.Options) *rig {
	t.Helper()
	r := newRig(t, settings{
		silent: true, recorder: *unsureOptions(), audit: audit,
		sink: func(*memsink.Sink) jobaudit.AuditSink { return sink },
	})
	t.Cleanup(func() { sink.Ended(t) }) // before the recorder is closed
	return r
}

func TestAMessageOfWhichItIsNotKnownWhetherItIsOnRecordHasAnEndIfItIsNotPublished(t *testing.T) {
	eachUnsure(t, func(t *testing.T, sink *unsureSink) {
		r := quiet(t, sink, watermillaudit.Options{Submission: askingForAny})
		one, _ := order("{}")
		two, _ := order("{}")
		if r.publisher().Publish(topic, one, two) != nil {
			return
		}
		for _, id := range sink.Jobs() { // they are the queue's
			sink.End(t, r.rec, id)
		}
	})
}

// askingForAny is asking that leaves the job's ID to the adapter.
func askingForAny(topic string, msg *message.Message) jobaudit.Submission {
	s := asking(topic, msg)
	s.ID = uuid.Nil
	return s
}

func TestAMessageWhoseJobTheProgramHasNamedCanBePublishedAgain(t *testing.T) {
	sink := &unsureSink{Sink: memsink.New(nil), bad: 2}
	msg, id := order("{}")
	t.Cleanup(func() { sink.ExpectStates(t, id, jobaudit.Pending) }) // when the recorder is closed, and all is stored
	r := newRig(t, settings{
		silent: true, recorder: *unsureOptions(), sink: func(*memsink.Sink) jobaudit.AuditSink { return sink },
	})
	require.Error(t, r.publisher().Publish(topic, msg))
	require.NoError(t, r.publisher().Publish(topic, msg))
}

func TestAnEventOfWhichItIsNotKnownWhetherItIsOnRecordHasAnEnd(t *testing.T) {
	eachUnsure(t, func(t *testing.T, sink *unsureSink) {
		r := quiet(t, sink, watermillaudit.Options{Submission: askingForAny, Events: func(string) bool { return true }})
		one, _ := order("{}")
		two, _ := order("{}")
		_ = r.publisher().Publish(topic, one, two)
	})
}

// A message that nothing ties to its next delivery is another job then.
func TestAMessageWithoutAnIDLeavesNoJobBehind(t *testing.T) {
	eachUnsure(t, func(t *testing.T, sink *unsureSink) {
		r := quiet(t, sink, watermillaudit.Options{})
		done := make(chan struct{})
		r.serve(func(*message.Message) error { close(done); return nil })
		if err := r.pubsub.Publish(topic, message.NewMessage("", []byte("{}"))); err != nil {
			t.Error(err)
		}
		next(r, done)
		if err := r.audit.Wait(r.ctx); err != nil {
			t.Error(err)
		}
	})
}
