package watermillaudit_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/worker/watermillaudit"
)

const topic = "orders.ship"

var (
	ann       = jobaudit.Principal{Kind: jobaudit.User, ID: "ann", Verified: true}
	source    = jobaudit.Source{System: "worker", Environment: "test", Host: "host", Version: "v1"}
	errBroken = errors.New("the carrier does not answer")
)

type askedKey struct{}

// asked is what a request handler leaves in a message's context.
type asked struct{ job, correlation uuid.UUID }

// asking submits for ann what was published under an asked context; nobody asks
// for the rest.
func asking(_ string, msg *message.Message) jobaudit.Submission {
	by, ok := msg.Context().Value(askedKey{}).(asked)
	if !ok {
		return jobaudit.Submission{}
	}
	return jobaudit.Submission{
		ID: by.job, CorrelationID: by.correlation, Principal: ann, OrgID: "acme",
		Trigger: jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "asked by support"},
	}
}

// rig is a Pub/Sub in this process, an audit log, and the adapter between them.
type rig struct {
	*testing.T
	ctx    context.Context
	pubsub *gochannel.GoChannel
	sink   *memsink.Sink
	rec    *jobaudit.Recorder
	audit  *watermillaudit.Audit
	told   chan error // what the adapter complains of
	silent bool       // complaints are expected
}

// settings are what a test's rig has of its own.
type settings struct {
	channel  gochannel.Config
	recorder jobaudit.Options
	audit    watermillaudit.Options
	sink     func(*memsink.Sink) jobaudit.AuditSink
	silent   bool
}

func newRig(t *testing.T, s settings) *rig {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	t.Cleanup(cancel)
	r := &rig{T: t, ctx: ctx, sink: memsink.New(nil), told: make(chan error, 1024), silent: s.silent}
	r.pubsub = gochannel.NewGoChannel(s.channel, nil)
	t.Cleanup(func() { _ = r.pubsub.Close() })
	var sink jobaudit.AuditSink = r.sink
	if s.sink != nil {
		sink = s.sink(r.sink)
	}
	s.recorder.OnError = func(_ context.Context, err *jobaudit.AuditError) { r.complain(err) }
	rec, err := jobaudit.Open(ctx, sink, source, &s.recorder)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, rec.Close(context.Background())) })
	r.rec = rec
	s.audit.OnError = func(_ context.Context, err error) { r.complain(err) }
	s.audit.Logs = []jobaudit.AuditReader{r.sink}
	if s.audit.Submission == nil {
		s.audit.Submission = asking
	}
	r.audit = watermillaudit.New(rec, &s.audit)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		defer cancel()
		require.NoError(t, r.audit.Wait(ctx))
	})
	return r
}

func (r *rig) complain(err error) {
	if !r.silent {
		r.Errorf("complaint: %v", err)
	}
	select {
	case r.told <- err:
	default:
	}
}

// router makes a router with the adapter.
func (r *rig) router() *message.Router {
	r.Helper()
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: 10 * time.Minute}, nil)
	require.NoError(r, err)
	router.AddMiddleware(r.audit.Middleware)
	router.AddPublisherDecorators(r.audit.Publisher)
	return router
}

// run runs a router until the test ends, or it is closed.
func (r *rig) run(router *message.Router) {
	r.Helper()
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
}

// serve runs a router with one handler of the topic.
func (r *rig) serve(h message.NoPublishHandlerFunc, inner ...message.HandlerMiddleware) *message.Router {
	r.Helper()
	router := r.router()
	router.AddMiddleware(inner...)
	router.AddConsumerHandler("ship", topic, r.pubsub, h)
	r.run(router)
	return router
}

func (r *rig) publisher() message.Publisher {
	r.Helper()
	pub, err := r.audit.Publisher(r.pubsub)
	require.NoError(r, err)
	return pub
}

// order makes a message that ann asks to be published.
func order(payload string) (*message.Message, uuid.UUID) {
	by := asked{uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())}
	msg := message.NewMessage(watermill.NewUUID(), []byte(payload))
	msg.SetContext(context.WithValue(context.Background(), askedKey{}, by))
	return msg, by.job
}

// publish publishes one message and returns its job's ID.
func (r *rig) publish() uuid.UUID {
	r.Helper()
	msg, id := order(`{"order":7}`)
	require.NoError(r, r.publisher().Publish(topic, msg))
	return id
}

func (r *rig) job(id uuid.UUID) jobaudit.Job {
	r.Helper()
	job, err := jobaudit.Replay(r.sink.Records(r.ctx, jobaudit.Query{JobID: id}))
	require.NoError(r, err)
	return job
}

var outcomes = []jobaudit.EventType{
	jobaudit.JobSucceeded, jobaudit.JobFailed, jobaudit.JobCancelled, jobaudit.JobDenied, jobaudit.JobDeduplicated,
}

// event waits for an event of the job.
func (r *rig) event(id uuid.UUID, types ...jobaudit.EventType) jobaudit.Event {
	r.Helper()
	return r.sink.ExpectEvent(r.ctx, r, jobaudit.Query{JobID: id, Types: types})
}

// ended waits for the job's end.
func (r *rig) ended(id uuid.UUID) jobaudit.Job {
	r.Helper()
	r.event(id, outcomes...)
	return r.job(id)
}

// sound holds all jobs to what every record promises.
func (r *rig) sound() {
	r.Helper()
	require.NoError(r, r.audit.Wait(r.ctx))
	for _, id := range r.sink.Jobs() {
		r.soundJob(id)
	}
}

func (r *rig) soundJob(id uuid.UUID) {
	r.Helper()
	events := r.sink.Trail(id)
	ends := 0
	told := map[uuid.UUID]int{}
	for _, e := range events {
		if e.Type == jobaudit.AttemptFailed || e.Type == jobaudit.AttemptDeferred {
			told[e.Job.ExecutionID]++
		}
		require.Equal(r, events[0].CorrelationID, e.CorrelationID, "one correlation, at %s", e.Type)
		require.Equal(r, events[0].Who.Principal.ID, e.Who.Principal.ID, "one principal, at %s", e.Type)
		require.Equal(r, events[0].Who.OrgID, e.Who.OrgID)
		require.Equal(r, events[0].Stream.ID == e.Stream.ID && events[0].Who.Principal.Verified, e.Who.Principal.Verified,
			"who resumed the job only claims to know, at %s", e.Type)
		if slices.Contains(outcomes, e.Type) {
			ends++
		}
	}
	job := r.job(id)
	require.False(r, job.Incomplete)
	require.Empty(r, job.Unapplied, "nothing twice, nothing late")
	require.LessOrEqual(r, ends, 1)
	executions := map[uuid.UUID]bool{}
	for i, x := range job.Executions {
		require.False(r, executions[x.ID], "an execution ID of its own")
		require.Equal(r, i+1, x.Attempt)
		executions[x.ID] = true
		require.NotEmpty(r, x.End, "attempt %d has an end", x.Attempt)
		require.LessOrEqual(r, told[x.ID], 1, "and one only")
	}
}

// ends are the ends of the job's executions, in order.
func ends(job jobaudit.Job) []jobaudit.EventType {
	var all []jobaudit.EventType
	for _, x := range job.Executions {
		all = append(all, x.End)
	}
	return all
}

// children are the jobs whose parent is the job.
func (r *rig) children(parent uuid.UUID) []jobaudit.Job {
	r.Helper()
	var all []jobaudit.Job
	for _, id := range r.sink.Jobs() {
		if job := r.job(id); job.ParentID == parent {
			all = append(all, job)
		}
	}
	return all
}

// failsOnce fails the first time.
func failsOnce(err error) message.NoPublishHandlerFunc {
	var calls atomic.Int32
	return func(*message.Message) error {
		if calls.Add(1) == 1 {
			return err
		}
		return nil
	}
}

// next receives what comes next, unless the rig's time is up.
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
