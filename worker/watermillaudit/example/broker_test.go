package main

import (
	"context"
	"errors"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wmnats "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/nats"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/google/uuid"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/worker/watermillaudit"
)

// The truth table against a broker that keeps its messages. What the router does
// on any Pub/Sub is tested in the adapter's own module.

var (
	ann       = jobaudit.Principal{Kind: jobaudit.User, ID: "ann", Verified: true}
	source    = jobaudit.Source{System: "worker", Environment: "test", Host: "host", Version: "v1"}
	errBroken = errors.New("the carrier does not answer")
)

const topic = "ship"

// logs reads several logs one after another.
type logs []jobaudit.AuditReader

func (l logs) Records(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		for _, log := range l {
			for r, err := range log.Records(ctx, q) {
				if !yield(r, err) {
					return
				}
			}
		}
	}
}

type jobKey struct{}

// rig is a broker, and the process that publishes.
type rig struct {
	*testing.T
	ctx    context.Context
	broker *server.Server
	sink   *memsink.Sink
	audit  *watermillaudit.Audit
}

func newRig(t *testing.T) *rig {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	t.Cleanup(cancel)
	broker, err := startNATS(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(broker.WaitForShutdown)
	t.Cleanup(broker.Shutdown)
	r := &rig{T: t, ctx: ctx, broker: broker, sink: memsink.New(nil)}
	r.audit = r.process(r.sink, &watermillaudit.Options{Logs: []jobaudit.AuditReader{r.sink}})
	return r
}

// process is what a process has of the adapter: a recorder of its own.
func (r *rig) process(sink jobaudit.AuditSink, opts *watermillaudit.Options) *watermillaudit.Audit {
	r.Helper()
	rec, err := jobaudit.Open(r.ctx, sink, source, &jobaudit.Options{
		OnError: func(_ context.Context, err *jobaudit.AuditError) { r.Errorf("complaint: %v", err) },
	})
	require.NoError(r, err)
	r.Cleanup(func() { require.NoError(r, rec.Close(context.Background())) })
	opts.OnError = func(_ context.Context, err error) { r.Errorf("complaint: %v", err) }
	opts.Submission = func(_ string, msg *message.Message) jobaudit.Submission {
		id, _ := msg.Context().Value(jobKey{}).(uuid.UUID)
		return jobaudit.Submission{
			ID: id, Principal: ann, Trigger: jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "asked by support"},
		}
	}
	audit := watermillaudit.New(rec, opts)
	r.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		defer cancel()
		require.NoError(r, audit.Wait(ctx))
	})
	return audit
}

// router is a router of a process, with one handler.
func newRouter(audit *watermillaudit.Audit, sub message.Subscriber, h message.NoPublishHandlerFunc, inner ...message.HandlerMiddleware) (*message.Router, error) {
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: 10 * time.Minute}, nil)
	if err != nil {
		return nil, err
	}
	router.AddMiddleware(audit.Middleware)
	router.AddMiddleware(inner...)
	router.AddConsumerHandler("ship", topic, sub, h)
	return router, nil
}

// serve runs a router until the test ends, or it is closed.
func (r *rig) serve(audit *watermillaudit.Audit, ackWait time.Duration, delay wmnats.Delay, h message.NoPublishHandlerFunc, inner ...message.HandlerMiddleware) *message.Router {
	r.Helper()
	sub, err := subscriber(r.broker.ClientURL(), ackWait, delay)
	require.NoError(r, err)
	router, err := newRouter(audit, sub, h, inner...)
	require.NoError(r, err)
	done := make(chan error, 1)
	go func() { done <- router.Run(r.ctx) }()
	r.Cleanup(func() {
		require.NoError(r, router.Close())
		require.NoError(r, <-done)
	})
	select {
	case <-router.Running():
	case <-r.ctx.Done():
		require.FailNow(r, "the router does not run")
	}
	return router
}

// publish publishes a message and returns its job's ID.
func (r *rig) publish() uuid.UUID {
	r.Helper()
	plain, err := publisher(r.broker.ClientURL())
	require.NoError(r, err)
	r.Cleanup(func() { require.NoError(r, plain.Close()) })
	pub, err := r.audit.Publisher(plain)
	require.NoError(r, err)
	id := uuid.Must(uuid.NewV7())
	ctx := context.WithValue(r.ctx, jobKey{}, id)
	require.NoError(r, pub.Publish(topic, message.NewMessageWithContext(ctx, watermill.NewUUID(), []byte(`{"order":7}`))))
	return id
}

var outcomes = []jobaudit.EventType{jobaudit.JobSucceeded, jobaudit.JobFailed, jobaudit.JobCancelled}

func (r *rig) event(id uuid.UUID, types ...jobaudit.EventType) jobaudit.Event {
	r.Helper()
	return r.sink.ExpectEvent(r.ctx, r, jobaudit.Query{JobID: id, Types: types})
}

// sound folds the job's records of all logs, holds them to what every record
// promises, and returns the job and the ends of its executions.
func (r *rig) sound(id uuid.UUID, log jobaudit.AuditReader) (jobaudit.Job, []jobaudit.EventType) {
	r.Helper()
	var first *jobaudit.Event
	for record, err := range log.Records(r.ctx, jobaudit.Query{JobID: id}) {
		require.NoError(r, err)
		e := record.Event()
		if first == nil {
			first = &e
		}
		require.Equal(r, first.CorrelationID, e.CorrelationID, "one correlation, at %s", e.Type)
		require.Equal(r, first.Who.Principal.ID, e.Who.Principal.ID, "one principal, at %s", e.Type)
		require.Equal(r, e.Stream.ID == first.Stream.ID, e.Who.Principal.Verified, "what comes back is a claim, at %s", e.Type)
	}
	job, err := jobaudit.Replay(log.Records(r.ctx, jobaudit.Query{JobID: id}))
	require.NoError(r, err)
	require.False(r, job.Incomplete)
	require.Empty(r, job.Unapplied, "nothing twice, nothing late")
	var ends []jobaudit.EventType
	seen := map[uuid.UUID]bool{}
	for i, x := range job.Executions {
		require.False(r, seen[x.ID], "an execution ID of its own")
		seen[x.ID] = true
		require.Equal(r, i+1, x.Attempt)
		ends = append(ends, x.End)
	}
	return job, ends
}

func next[T any](r *rig, ch <-chan T) T {
	r.Helper()
	select {
	case v := <-ch:
		return v
	case <-r.ctx.Done():
		require.FailNow(r, "nothing came")
		panic("unreachable")
	}
}

func failsTimes(n int32, how func() error) message.NoPublishHandlerFunc {
	var calls atomic.Int32
	return func(*message.Message) error {
		if calls.Add(1) <= n {
			return how()
		}
		return nil
	}
}

func TestAFailedMessageIsRedeliveredAndSucceeds(t *testing.T) {
	t.Parallel()
	for name, how := range map[string]func() error{
		"error": func() error { return errBroken }, "panic": func() error { panic(errBroken) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.serve(r.audit, time.Minute, nil, failsTimes(2, how))
			id := r.publish()
			r.event(id, outcomes...)
			job, ends := r.sound(id, r.sink)
			require.Equal(t, jobaudit.Success, job.State)
			require.Equal(t, []jobaudit.EventType{jobaudit.AttemptFailed, jobaudit.AttemptFailed, jobaudit.JobSucceeded}, ends)
		})
	}
}

// atMost terminates a message that was delivered so many times.
type atMost uint64

func (n atMost) WaitTime(delivered uint64) time.Duration {
	if delivered >= uint64(n) {
		return wmnats.TermSignal
	}
	return 0
}

func TestAMessageThatTheBrokerTerminatesHasFailed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	audit := r.process(r.sink, &watermillaudit.Options{
		Logs: []jobaudit.AuditReader{r.sink}, Final: func(_ *message.Message, attempt int, _ error) bool { return attempt >= 3 },
	})
	r.serve(audit, time.Second, atMost(3), failsTimes(99, func() error { return errBroken }))
	id := r.publish()
	r.event(id, outcomes...)
	job, ends := r.sound(id, r.sink)
	require.Equal(t, jobaudit.Failed, job.State)
	require.Equal(t, []jobaudit.EventType{jobaudit.AttemptFailed, jobaudit.AttemptFailed, jobaudit.JobFailed}, ends)
}

func TestAMessageInThePoisonQueueHasFailedAndIsAnotherJobThere(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	plain, err := publisher(r.broker.ClientURL())
	require.NoError(t, err)
	pub, err := r.audit.Publisher(plain)
	require.NoError(t, err)
	poison, err := middleware.PoisonQueue(pub, "dead")
	require.NoError(t, err)
	router := r.serve(r.audit, time.Minute, nil, failsTimes(99, func() error { return errBroken }), poison)
	dead, err := subscriber(r.broker.ClientURL(), time.Minute, nil)
	require.NoError(t, err)
	router.AddConsumerHandler("bury", "dead", dead, func(*message.Message) error { return nil })
	require.NoError(t, router.RunHandlers(r.ctx))
	id := r.publish()
	r.event(id, outcomes...)
	job, ends := r.sound(id, r.sink)
	require.Equal(t, jobaudit.Failed, job.State)
	require.Equal(t, errBroken.Error(), job.Error.Message)
	require.Equal(t, []jobaudit.EventType{jobaudit.JobFailed}, ends)
	buried := r.sink.ExpectEvent(r.ctx, r, jobaudit.Query{Action: "dead", Types: outcomes})
	require.Equal(t, id, buried.Job.ParentID)
	require.Equal(t, job.CorrelationID, buried.CorrelationID)
}

func TestAHandlerThatOutlastsTheAckWaitHasNotSucceeded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	running, finish := make(chan bool, 2), make(chan bool)
	var calls atomic.Int32
	r.serve(r.audit, 2*time.Second, nil, func(*message.Message) error {
		running <- true
		if calls.Add(1) == 1 {
			<-finish // whatever its context says
		}
		return nil
	})
	id := r.publish()
	next(r, running)
	next(r, running) // the broker has given it out again
	r.event(id, jobaudit.JobSucceeded)
	close(finish) // and the router acks it, too late
	r.event(id, jobaudit.JobLogged)
	require.NoError(t, r.audit.Wait(r.ctx))
	job, ends := r.sound(id, r.sink)
	require.Equal(t, jobaudit.Success, job.State)
	require.Equal(t, []jobaudit.EventType{jobaudit.AttemptDeferred, jobaudit.JobSucceeded}, ends)
}

func TestAMessageOfARouterThatIsClosedIsRedeliveredToTheNext(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	running := make(chan bool, 1)
	router := r.serve(r.audit, 5*time.Second, nil, func(msg *message.Message) error {
		running <- true
		<-msg.Context().Done()
		return msg.Context().Err()
	})
	id := r.publish()
	next(r, running)
	require.NoError(t, router.Close())
	require.NoError(t, r.audit.Wait(r.ctx))
	job, ends := r.sound(id, r.sink)
	require.Equal(t, jobaudit.Running, job.State)
	require.Equal(t, []jobaudit.EventType{jobaudit.AttemptDeferred}, ends)

	r.serve(r.process(r.sink, &watermillaudit.Options{Logs: []jobaudit.AuditReader{r.sink}}), time.Minute, nil, failsTimes(0, nil))
	r.event(id, outcomes...)
	job, ends = r.sound(id, r.sink)
	require.Equal(t, jobaudit.Success, job.State)
	require.Equal(t, []jobaudit.EventType{jobaudit.AttemptDeferred, jobaudit.JobSucceeded}, ends)
}

const (
	victimURL = "WATERMILLAUDIT_VICTIM_URL"
	victimDir = "WATERMILLAUDIT_VICTIM_DIR"
)

// TestMain is also the worker process that a test kills.
func TestMain(m *testing.M) {
	if os.Getenv(victimURL) != "" {
		if err := victim(); err != nil {
			panic(err)
		}
		return
	}
	os.Exit(m.Run())
}

func openLog(ctx context.Context, dir string) (*filesink.Sink, error) {
	key, err := filesink.LoadOrCreateKey(filepath.Join(dir, "log"), filepath.Join(dir, "key"), "example.com/victim")
	if err != nil {
		return nil, err
	}
	return filesink.Open(ctx, filepath.Join(dir, "log"), key, nil)
}

// victim handles messages until it is killed.
func victim() error {
	ctx := context.Background()
	sink, err := openLog(ctx, os.Getenv(victimDir))
	if err != nil {
		return err
	}
	rec, err := jobaudit.Open(ctx, sink, source, nil)
	if err != nil {
		return err
	}
	sub, err := subscriber(os.Getenv(victimURL), 5*time.Second, nil)
	if err != nil {
		return err
	}
	router, err := newRouter(watermillaudit.New(rec, nil), sub, func(*message.Message) error {
		if _, err := os.Stdout.WriteString("running\n"); err != nil {
			return err
		}
		select {}
	})
	if err != nil {
		return err
	}
	return router.Run(ctx)
}

func TestAMessageWhoseWorkerIsKilledIsRedeliveredAndItsLostAttemptSuperseded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	dir := t.TempDir()
	id := r.publish()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(r.ctx, self)
	cmd.Env = append(os.Environ(), victimURL+"="+r.broker.ClientURL(), victimDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = out.Read(make([]byte, 64))
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Kill()) // SIGKILL
	_ = cmd.Wait()

	// The same worker, started again: it goes on in its own log.
	own, err := openLog(r.ctx, dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, own.Close()) })
	log := logs{r.sink, own}
	audit := r.process(own, &watermillaudit.Options{Logs: []jobaudit.AuditReader{log}})
	handled := make(chan bool, 1)
	r.serve(audit, 5*time.Second, nil, func(*message.Message) error { handled <- true; return nil })
	next(r, handled)
	require.Eventually(t, func() bool {
		job, err := jobaudit.Replay(log.Records(r.ctx, jobaudit.Query{JobID: id}))
		return err == nil && job.State.Terminal()
	}, 10*time.Minute, 5*time.Millisecond)
	job, ends := r.sound(id, log)
	require.Equal(t, jobaudit.Success, job.State)
	require.Equal(t, []jobaudit.EventType{jobaudit.AttemptSuperseded, jobaudit.JobSucceeded}, ends)
}

func TestAMessageThatCannotBePublishedLeavesItsJobPending(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	plain, err := publisher(r.broker.ClientURL())
	require.NoError(t, err)
	pub, err := r.audit.Publisher(plain)
	require.NoError(t, err)
	require.NoError(t, plain.Close())
	require.Error(t, pub.Publish(topic, message.NewMessage(watermill.NewUUID(), nil)))
	id := r.sink.Jobs()[0]
	r.event(id, jobaudit.JobLogged)
	job, ends := r.sound(id, r.sink)
	require.Equal(t, jobaudit.Pending, job.State)
	require.Empty(t, ends)
}
