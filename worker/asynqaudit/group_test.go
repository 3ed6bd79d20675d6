package asynqaudit_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/worker/asynqaudit"
)

const digestType = "index:digest"

// grouped puts n tasks of one correlation into a group, by ann and bob in turn,
// and returns their jobs.
func (r *rig) grouped(n int) (jobs []uuid.UUID) {
	r.Helper()
	correlation := uuid.Must(uuid.NewV7())
	for i := range n {
		s := submission()
		s.CorrelationID = correlation
		if i%2 == 1 {
			s.Principal = jobaudit.Principal{Kind: jobaudit.User, ID: "bob", Verified: true}
		}
		info, err := r.client.Enqueue(r.ctx, asynqaudit.NewTask(s, taskType, []byte(`{"index":7}`), asynq.Group("index")))
		require.NoError(r, err)
		jobs = append(jobs, jobID(info))
	}
	return jobs
}

// aggregating is a server whose groups are complete with so many tasks.
func aggregating(size int, aggregator asynq.GroupAggregatorFunc) asynq.Config {
	cfg := quick()
	cfg.GroupMaxSize, cfg.GroupGracePeriod, cfg.GroupAggregator = size, time.Second, aggregator
	return cfg
}

// serveDigests runs a server that handles aggregated tasks.
func (r *rig) serveDigests(cfg asynq.Config) *asynqaudit.Server {
	r.Helper()
	mux := asynq.NewServeMux()
	mux.HandleFunc(digestType, func(context.Context, *asynq.Task) error { return nil })
	s := r.adapter.NewServer(r.redis.opt(), cfg)
	require.NoError(r, s.Start(mux))
	r.Cleanup(s.Shutdown)
	return s
}

func TestTasksThatAreAggregatedNameTheJobThatTheyBecameAndItNamesThem(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	members := r.grouped(3)
	s := r.serveDigests(aggregating(3, func(string, []*asynq.Task) *asynq.Task {
		return asynqaudit.NewPeriodicTask(digestType, []byte(`{"indexes":3}`))
	}))
	done, err := r.sink.Wait(r.ctx, jobaudit.Query{Types: []jobaudit.EventType{jobaudit.JobSucceeded}})
	require.NoError(t, err)
	s.Shutdown()
	whole := done.Event().Job.ID
	require.NotContains(t, members, whole)
	asked := r.sink.Trail(whole)[0]
	require.Equal(t, digestType, asked.What.Action)
	require.Equal(t, "asynq made one task of 3 in group index", asked.Why.Reason)
	require.Equal(t, []string{"ann", "bob"}, []string{asked.Who.OnBehalfOf[0].ID, asked.Who.OnBehalfOf[1].ID})
	require.Len(t, asked.Who.OnBehalfOf, 2, "it is a set")
	require.Equal(t, r.sink.Trail(members[0])[0].CorrelationID, asked.CorrelationID)
	logs := strings.Join(r.job(whole).Logs, "\n")
	for _, id := range members {
		job := r.job(id)
		require.Equal(t, jobaudit.Cancelled, job.State)
		require.Equal(t, "aggregated into job "+whole.String(), job.Error.Message)
		require.Contains(t, logs, id.String())
	}
	r.sound()
}

func TestAnAggregatedTaskThatCanCarryNoJobGetsOneWhenItRuns(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	members := r.grouped(2)
	s := r.serveDigests(aggregating(2, func(string, []*asynq.Task) *asynq.Task { return asynq.NewTask(digestType, nil) }))
	done, err := r.sink.Wait(r.ctx, jobaudit.Query{Types: []jobaudit.EventType{jobaudit.JobSucceeded}})
	require.NoError(t, err)
	s.Shutdown()
	require.NotContains(t, members, done.Event().Job.ID)
	for _, id := range members {
		require.Equal(t, "aggregated into a task of type index:digest", r.job(id).Error.Message)
	}
	r.sound()
}

// told is a logger of asynq's that waits for an error.
type told chan string

func (told) Debug(...any) {}
func (told) Info(...any)  {}
func (told) Warn(...any)  {}
func (told) Fatal(...any) {}
func (l told) Error(args ...any) {
	select {
	case l <- args[0].(string):
	default:
	}
}

func TestTasksWhoseAggregationFailsWaitOn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	taken := asynq.TaskID("taken")
	_, err := r.client.Enqueue(r.ctx, asynqaudit.NewTask(submission(), taskType, nil, taken, asynq.ProcessIn(time.Hour)))
	require.NoError(t, err)
	members := r.grouped(2)
	cfg := aggregating(2, func(string, []*asynq.Task) *asynq.Task {
		return asynqaudit.NewPeriodicTask(digestType, nil, taken)
	})
	failed := make(told, 1)
	cfg.Logger, cfg.LogLevel = failed, asynq.ErrorLevel
	s := r.serveDigests(cfg)
	select {
	case text := <-failed:
		require.Contains(t, text, "Failed to enqueue aggregated task")
	case <-r.ctx.Done():
		t.Fatal("asynq says nothing")
	}
	s.Shutdown()
	r.reconcile()
	for _, id := range members {
		require.Equal(t, jobaudit.Pending, r.job(id).State)
	}
	for _, id := range r.sink.Jobs() {
		if asked := r.sink.Trail(id)[0]; asked.What.Action == digestType {
			require.Equal(t, jobaudit.Cancelled, r.job(id).State, "its task never was")
		}
	}
}

func TestOnlyWhatAggregatedTasksHaveInCommonIsTheirJobs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var members []uuid.UUID
	for _, tenant := range []string{"acme", "globex"} {
		s := submission()
		s.OrgID = tenant
		info, err := r.client.Enqueue(r.ctx, asynqaudit.NewTask(s, taskType, nil, asynq.Group("index")))
		require.NoError(t, err)
		members = append(members, jobID(info))
	}
	others := asynq.NewClient(r.redis.opt()) // knows nothing of the audit
	_, err := others.Enqueue(asynq.NewTask(taskType, nil, asynq.Group("index")))
	require.NoError(t, err)
	require.NoError(t, others.Close())
	s := r.serveDigests(aggregating(3, func(_ string, tasks []*asynq.Task) *asynq.Task {
		return asynq.NewTaskWithHeaders(digestType, nil, tasks[0].Headers()) // with a member's job in it
	}))
	done, err := r.sink.Wait(r.ctx, jobaudit.Query{Types: []jobaudit.EventType{jobaudit.JobSucceeded}})
	require.NoError(t, err)
	s.Shutdown()
	whole := r.sink.Trail(done.Event().Job.ID)[0]
	require.Equal(t, digestType, whole.What.Action)
	require.Equal(t, "asynq made one task of 3 in group index", whole.Why.Reason)
	require.Empty(t, whole.Who.OrgID)
	for _, id := range members {
		require.NotEqual(t, r.sink.Trail(id)[0].CorrelationID, whole.CorrelationID)
		require.Equal(t, "aggregated into job "+whole.Job.ID.String(), r.job(id).Error.Message)
	}
	r.sound()
}
