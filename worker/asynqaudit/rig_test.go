package asynqaudit_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/worker/asynqaudit"
	"github.com/jobaudit/jobaudit/worker/queue"
)

var (
	ann    = jobaudit.Principal{Kind: jobaudit.User, ID: "ann", Verified: true}
	byAnn  = jobaudit.Submission{Principal: ann, Trigger: jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "no longer wanted"}}
	source = jobaudit.Source{System: "worker", Environment: "test", Host: "host", Version: "v1"}
)

const taskType = "index:rebuild"

// submission asks for a job of its own correlation.
func submission() jobaudit.Submission {
	return jobaudit.Submission{
		ID: uuid.Must(uuid.NewV7()), CorrelationID: uuid.Must(uuid.NewV7()),
		Principal: ann, OrgID: "acme",
		Trigger: jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "asked by support"},
	}
}

// rig is a queue, an audit log, and the adapter between them.
type rig struct {
	*testing.T
	ctx       context.Context
	redis     *redisServer
	sink      *memsink.Sink
	rec       *jobaudit.Recorder
	adapter   *asynqaudit.Audit
	client    *asynqaudit.Client
	inspector *asynqaudit.Inspector
}

func newRig(t *testing.T) *rig { return newRigWith(t, startRedis(t), nil) }

// newRigWith makes a rig. All that its recorder complains of fails the test,
// unless opts say where complaints go.
func newRigWith(t *testing.T, r *redisServer, opts *jobaudit.Options) *rig {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	t.Cleanup(cancel)
	rig := &rig{T: t, ctx: ctx, redis: r, sink: memsink.New(nil)}
	rig.open(rig.sink, rig.sink, opts)
	return rig
}

func (r *rig) open(sink jobaudit.AuditSink, log jobaudit.AuditReader, opts *jobaudit.Options) {
	r.Helper()
	if opts == nil {
		opts = &jobaudit.Options{}
	}
	complain := func(err error) { r.Errorf("complaint: %v", err) }
	if opts.OnError != nil {
		complain = func(error) {}
	} else {
		opts.OnError = func(_ context.Context, err *jobaudit.AuditError) { complain(err) }
	}
	rec, err := jobaudit.Open(r.ctx, sink, source, opts)
	require.NoError(r, err)
	r.Cleanup(func() { require.NoError(r, rec.Close(context.Background())) })
	r.rec = rec
	var logs []jobaudit.AuditReader
	if log != nil {
		logs = append(logs, log)
	}
	r.adapter = asynqaudit.New(rec, &asynqaudit.Options{
		Logs: logs, OnError: func(_ context.Context, err error) { complain(err) },
	})
	r.client = r.adapter.NewClient(r.redis.opt())
	r.Cleanup(func() { _ = r.client.Close() })
	r.inspector = r.adapter.NewInspector(r.redis.opt())
	r.Cleanup(func() { _ = r.inspector.Close() })
}

// quick is a configuration that does not wait.
func quick() asynq.Config {
	return asynq.Config{
		Concurrency: 4, LogLevel: asynq.FatalLevel,
		TaskCheckInterval: 5 * time.Millisecond, DelayedTaskCheckInterval: 10 * time.Millisecond,
		ShutdownTimeout: 5 * time.Second,
		RetryDelayFunc:  func(int, error, *asynq.Task) time.Duration { return 0 },
	}
}

// muxOf serves tasks of taskType; others have no handler.
func muxOf(h asynq.HandlerFunc) *asynq.ServeMux {
	mux := asynq.NewServeMux()
	mux.Handle(taskType, h)
	return mux
}

// serve runs a server with the adapter until the test ends, or it is shut down.
func (r *rig) serve(cfg asynq.Config, h asynq.HandlerFunc) *asynqaudit.Server {
	r.Helper()
	s := r.adapter.NewServer(r.redis.opt(), cfg)
	require.NoError(r, s.Start(muxOf(h)))
	r.Cleanup(s.Shutdown)
	return s
}

// servePlain runs a server without the adapter.
func (r *rig) servePlain(cfg asynq.Config, h asynq.HandlerFunc) *asynq.Server {
	r.Helper()
	s := asynq.NewServer(r.redis.opt(), cfg)
	require.NoError(r, s.Start(muxOf(h)))
	r.Cleanup(s.Shutdown)
	return s
}

// enqueue puts a task into its queue.
func (r *rig) enqueue(opts ...asynq.Option) *asynq.TaskInfo {
	r.Helper()
	info, err := r.client.Enqueue(r.ctx, asynqaudit.NewTask(submission(), taskType, []byte(`{"index":7}`), opts...))
	require.NoError(r, err)
	return info
}

// jobID is the ID of the job of a task whose ID was left to the adapter.
func jobID(info *asynq.TaskInfo) uuid.UUID { return uuid.MustParse(info.ID) }

func (r *rig) job(id uuid.UUID) jobaudit.Job {
	r.Helper()
	job, err := jobaudit.Replay(r.sink.Records(r.ctx, jobaudit.Query{JobID: id}))
	require.NoError(r, err)
	return job
}

// act returns the job that an operator's act is.
func (r *rig) act(action string) jobaudit.Job {
	r.Helper()
	for record, err := range r.sink.Records(r.ctx, jobaudit.Query{Action: action}) {
		require.NoError(r, err)
		return r.job(record.JobID())
	}
	require.FailNow(r, "no act is on record: "+action)
	panic("unreachable")
}

// ended waits for the job's end.
func (r *rig) ended(id uuid.UUID) jobaudit.Job {
	r.Helper()
	r.sink.ExpectEvent(r.ctx, r, jobaudit.Query{JobID: id, Types: outcomes})
	return r.job(id)
}

var outcomes = []jobaudit.EventType{
	jobaudit.JobSucceeded, jobaudit.JobFailed, jobaudit.JobCancelled, jobaudit.JobDenied, jobaudit.JobDeduplicated,
}

// state waits until asynq has the task in the state.
func (r *rig) state(info *asynq.TaskInfo, want asynq.TaskState) *asynq.TaskInfo {
	r.Helper()
	var found *asynq.TaskInfo
	poll(r.ctx, r, "the task is "+want.String(), func() bool {
		var err error
		found, err = r.inspector.GetTaskInfo(info.Queue, info.ID)
		return err == nil && found.State == want
	})
	return found
}

// vanished waits until asynq has forgotten the task.
func (r *rig) vanished(info *asynq.TaskInfo) {
	r.Helper()
	poll(r.ctx, r, "the task is gone", func() bool {
		_, err := r.inspector.GetTaskInfo(info.Queue, info.ID)
		return errors.Is(err, asynq.ErrTaskNotFound)
	})
}

// reconcile reconciles at once, without waiting for jobs to settle.
func (r *rig) reconcile() queue.Report {
	r.Helper()
	report, err := r.inspector.Reconcile(r.ctx, &queue.ReconcileOptions{Settle: -1})
	require.NoError(r, err)
	return report
}

// sound holds all jobs to what every record promises, and finds that the
// reconciler has nothing to add.
func (r *rig) sound() {
	r.Helper()
	report := r.reconcile()
	require.Zero(r, report.Added(), "the reconciler finds nothing to add: %+v", report)
	require.Zero(r, report.Unsettled)
	require.Empty(r, report.Unresolved)
	for _, id := range r.sink.Jobs() {
		r.soundJob(id)
	}
}

func (r *rig) soundJob(id uuid.UUID) {
	r.Helper()
	events := r.sink.Trail(id)
	ends := 0
	for _, e := range events {
		require.Equal(r, events[0].CorrelationID, e.CorrelationID, "one correlation, at %s", e.Type)
		if e.Type != jobaudit.JobCancelled && e.Type != jobaudit.AttemptLost { // which may be by somebody else
			require.Equal(r, events[0].Who.Principal.ID, e.Who.Principal.ID, "one principal, at %s", e.Type)
		}
		require.Equal(r, events[0].Who.OrgID, e.Who.OrgID)
		if slices.Contains(outcomes, e.Type) {
			ends++
		}
	}
	job := r.job(id)
	require.False(r, job.Incomplete)
	require.Empty(r, job.Unapplied, "nothing twice, nothing late")
	require.LessOrEqual(r, ends, 1)
	executions := map[uuid.UUID]bool{}
	for _, x := range job.Executions {
		require.False(r, executions[x.ID], "an execution ID of its own")
		executions[x.ID] = true
		require.Equal(r, job.State.Terminal() || x.End != "", x.End != "", "attempt %d has an end", x.Attempt)
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

func taskFor(typ string, payload []byte, opts ...asynq.Option) *asynqaudit.Task {
	return asynqaudit.NewTask(submission(), typ, payload, opts...)
}

var unauditedWorkers = &queue.ReconcileOptions{Settle: -1, Unaudited: true}

func texts(ids []uuid.UUID) []string {
	var all []string
	for _, id := range ids {
		all = append(all, id.String())
	}
	return all
}

// failsOnce fails the first time.
func failsOnce() asynq.HandlerFunc {
	var calls atomic.Int32
	return func(context.Context, *asynq.Task) error {
		if calls.Add(1) == 1 {
			return errBroken
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
