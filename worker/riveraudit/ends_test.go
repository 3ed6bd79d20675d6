package riveraudit_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/worker/queue"
	"github.com/jobaudit/jobaudit/worker/riveraudit"
)

func TestADuplicateIsOnRecordAndNamesTheJobItDuplicates(t *testing.T) {
	t.Parallel()
	w := newWorld(t, database(t, server(t)), false)
	rows["unique duplicate"](w)
	first, err := w.audit.JobID(t.Context(), w.row(1))
	require.NoError(t, err)
	var duplicates []jobaudit.Event
	for r, err := range w.sink.Records(t.Context(), jobaudit.Query{Types: []jobaudit.EventType{jobaudit.JobDeduplicated}}) {
		require.NoError(t, err)
		duplicates = append(duplicates, r.Event())
	}
	require.Len(t, duplicates, 1)
	require.Equal(t, first, duplicates[0].Data.Existing)
	job, _ := w.replay(duplicates[0].Job.ID)
	require.Equal(t, jobaudit.Cancelled, job.State)
}

func TestACancelThatNobodyToldOfIsFoundInTheTable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, database(t, server(t)), false)
	id := w.insert(task{}, &river.InsertOpts{ScheduledAt: time.Now().Add(time.Hour)})
	_, err := w.inserter().JobCancel(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, queue.Report{Jobs: 1, Ended: 1}, w.reconcile())
	w.requireTruth(truth{id: id, state: rivertype.JobStateCancelled, code: jobaudit.CodeCancelled})
	require.Zero(t, w.reconcile().Added())
}

func TestWhoCancelledIsOnRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t, database(t, server(t)), false)
	rows["cancelled before it ran"](w)
	job, _ := w.recorded(1)
	require.Contains(t, job.Error.Message, "by user grace")
	var admin []jobaudit.Event
	for r, err := range w.sink.Records(t.Context(), jobaudit.Query{Action: "river-job-cancel"}) {
		require.NoError(t, err)
		admin = append(admin, r.Event())
	}
	require.Equal(t, "grace", admin[0].Who.Principal.ID)
	require.Equal(t, "river job 1", admin[0].What.Resource)
	require.Equal(t, jobaudit.JobSucceeded, admin[len(admin)-1].Type)
}

func TestWhatIsDoneByHandIsNotDoneUnrecorded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, database(t, server(t)), false)
	w.start()
	defer w.stop(false)
	id := w.insert(task{}, &river.InsertOpts{ScheduledAt: time.Now().Add(time.Hour)})
	nobody := by()
	nobody.Principal = jobaudit.Principal{}
	_, err := w.admin.JobCancel(t.Context(), nobody, id)
	_, refused := errors.AsType[*jobaudit.FieldError](err)
	require.True(t, refused)
	require.Equal(t, rivertype.JobStateScheduled, w.row(id).State)
}

func TestADeletedJobIsCancelled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, database(t, server(t)), false)
	w.start()
	defer w.stop(false)
	id := w.insert(task{}, &river.InsertOpts{ScheduledAt: time.Now().Add(time.Hour)})
	jobID, err := w.audit.JobID(t.Context(), w.row(id))
	require.NoError(t, err)
	_, err = w.admin.JobDelete(t.Context(), by(), id)
	require.NoError(t, err)
	job, _ := w.replay(jobID)
	require.Equal(t, jobaudit.Cancelled, job.State)
	require.Contains(t, job.Error.Message, "deleted by user grace")
	require.Equal(t, queue.Report{}, w.reconcile())
}

func TestJobsThatADrainDeletesAreCancelledByWhoDrained(t *testing.T) {
	t.Parallel()
	w := newWorld(t, database(t, server(t)), false)
	w.start()
	defer w.stop(false)
	var jobs []uuid.UUID
	for range 3 {
		id, err := w.audit.JobID(t.Context(), w.row(w.insert(task{}, &river.InsertOpts{ScheduledAt: time.Now().Add(time.Hour)})))
		require.NoError(t, err)
		jobs = append(jobs, id)
	}
	gone, err := w.admin.JobDeleteMany(t.Context(), by(), river.NewJobDeleteManyParams().Queues(river.QueueDefault))
	require.NoError(t, err)
	require.Len(t, gone.Jobs, 3)
	for _, id := range jobs {
		job, events := w.replay(id)
		require.Equal(t, jobaudit.Cancelled, job.State)
		require.Contains(t, job.Error.Message, "deleted by user grace")
		require.Equal(t, "grace", events[len(events)-1].Who.Principal.ID)
	}
	require.Equal(t, queue.Report{}, w.reconcile())
	for r, err := range w.sink.Records(t.Context(), jobaudit.Query{Action: "river-queue-drain", Types: []jobaudit.EventType{jobaudit.JobSucceeded}}) {
		require.NoError(t, err)
		require.Equal(t, "3 jobs", r.Event().Data.Impact)
	}
}

func TestPausingAQueueIsOnRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t, database(t, server(t)), false)
	w.start()
	defer w.stop(false)
	require.NoError(t, w.admin.QueuePause(t.Context(), by(), river.QueueDefault, nil))
	require.NoError(t, w.admin.QueueResume(t.Context(), by(), river.QueueDefault, nil))
	for _, action := range []string{"river-queue-pause", "river-queue-resume"} {
		n := 0
		for r, err := range w.sink.Records(t.Context(), jobaudit.Query{Action: action, Types: []jobaudit.EventType{jobaudit.JobSucceeded}}) {
			require.NoError(t, err)
			require.Equal(t, "river queue default", r.Event().What.Resource)
			n++
		}
		require.Equal(t, 1, n)
	}
}

func TestARetryAfterTheEndIsANewJob(t *testing.T) {
	t.Parallel()
	for _, cancelled := range []bool{false, true} {
		w := newWorld(t, database(t, server(t)), false)
		w.do = func(context.Context, *river.Job[task]) error {
			if w.runs.Load() == 1 && !cancelled {
				return errNo
			}
			return nil
		}
		w.start()
		opts := &river.InsertOpts{MaxAttempts: 1}
		if cancelled {
			opts.ScheduledAt = time.Now().Add(time.Hour)
		}
		id := w.insert(task{}, opts)
		if cancelled {
			w.cancel(id)
			// River shows a retry of it by its schedule, to the second.
			_, err := w.pool.Exec(t.Context(), "UPDATE river_job SET created_at = created_at - interval '1 minute'")
			require.NoError(t, err)
		}
		ended := rivertype.JobStateDiscarded
		if cancelled {
			ended = rivertype.JobStateCancelled
		}
		w.await(id, ended)
		w.until("its end is on record", func() bool { job, _ := w.recorded(id); return job.State.Terminal() })
		old, err := w.audit.JobID(t.Context(), w.row(id))
		require.NoError(t, err)
		_, err = w.admin.JobRetry(t.Context(), by(), id)
		require.NoError(t, err)
		w.await(id, rivertype.JobStateCompleted)
		w.stop(false)

		before, _ := w.replay(old)
		require.Equal(t, states[ended], before.State, "what has ended stays as it is")
		require.Empty(t, before.Unapplied)
		again, _ := w.recorded(id)
		require.NotEqual(t, old, again.ID)
		require.Equal(t, old, again.RetryOf)
		require.Equal(t, jobaudit.Success, again.State)
		require.Equal(t, w.story, again.CorrelationID)
		require.Zero(t, w.reconcile().Added())
	}
}

func TestADeniedJobIsCancelledAndTakesNoRetry(t *testing.T) {
	t.Parallel()
	w := newWorld(t, database(t, server(t)), false)
	w.openAudit(&jobaudit.Options{Authorize: func(context.Context, jobaudit.Submission) (jobaudit.Decision, error) {
		return jobaudit.Decision{By: "opa", Reason: "not on Sundays"}, nil
	}})
	w.start()
	id := w.insert(task{}, nil)
	w.await(id, rivertype.JobStateCancelled)
	w.stop(false)
	require.Zero(t, w.runs.Load())
	job, _ := w.recorded(id)
	require.Equal(t, jobaudit.Cancelled, job.State)
	require.Equal(t, jobaudit.CodeForbidden, job.Error.Code)
	require.Zero(t, w.reconcile().Added())
}

func TestAJobThatIsPutOffIsAskedForAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, database(t, server(t)), false)
	var asked atomic.Int64
	w.openAudit(&jobaudit.Options{Authorize: func(context.Context, jobaudit.Submission) (jobaudit.Decision, error) {
		return jobaudit.Decision{By: "opa", Allowed: asked.Add(1) > 2, AskAgain: true}, nil
	}})
	w.start()
	id := w.insert(task{}, &river.InsertOpts{MaxAttempts: 1})
	w.await(id, rivertype.JobStateCompleted)
	w.stop(false)
	require.EqualValues(t, 1, w.runs.Load())
	job, _ := w.recorded(id)
	require.Equal(t, jobaudit.Success, job.State)
	require.Len(t, job.Executions, 1)
	require.Zero(t, w.reconcile().Added())
}

func TestARevokedJobEndsAsForbidden(t *testing.T) {
	t.Parallel()
	w := newWorld(t, database(t, server(t)), false)
	var asked atomic.Int64
	w.openAudit(&jobaudit.Options{
		Reauthorize: true, Heartbeat: 10 * time.Millisecond,
		Authorize: func(context.Context, jobaudit.Submission) (jobaudit.Decision, error) {
			return jobaudit.Decision{By: "opa", Allowed: asked.Add(1) == 1}, nil
		},
	})
	w.do = func(ctx context.Context, _ *river.Job[task]) error {
		<-ctx.Done()
		return ctx.Err()
	}
	w.start()
	id := w.insert(task{}, nil)
	w.await(id, rivertype.JobStateCancelled)
	w.stop(false)
	job, _ := w.recorded(id)
	require.Equal(t, jobaudit.Cancelled, job.State)
	require.Equal(t, jobaudit.CodeForbidden, job.Error.Code)
}

func TestAJobInsertedByAJobIsItsChild(t *testing.T) {
	t.Parallel()
	w := newWorld(t, database(t, server(t)), false)
	w.do = func(ctx context.Context, job *river.Job[task]) error {
		if job.Args.Name == "parent" {
			_, err := river.ClientFromContext[pgx.Tx](ctx).Insert(ctx, task{Name: "child"}, nil)
			return err
		}
		return nil
	}
	w.start()
	parent := w.insert(task{Name: "parent"}, nil)
	w.await(parent, rivertype.JobStateCompleted)
	w.await(parent+1, rivertype.JobStateCompleted)
	w.stop(false)
	mother, _ := w.recorded(parent)
	child, _ := w.recorded(parent + 1)
	require.Equal(t, mother.ID, child.ParentID)
	require.Equal(t, mother.ID, child.RootID)
	require.Equal(t, mother.CorrelationID, child.CorrelationID)
}

func TestRiversScheduleIsWhyAPeriodicJobRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t, database(t, server(t)), false)
	w.audit = riveraudit.New(w.rec, &riveraudit.Options{Logs: []jobaudit.AuditReader{w.sink}, Snooze: time.Millisecond,
		Submission: func(ctx context.Context, _ *rivertype.JobInsertParams) jobaudit.Submission {
			return jobaudit.Submission{Principal: ctx.Value(userKey{}).(jobaudit.Principal)} // of a request's context
		}})
	workers := river.NewWorkers()
	river.AddWorker(workers, &worker{w: w})
	config := w.config()
	config.Workers, config.Queues = workers, map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 1}}
	config.PeriodicJobs = []*river.PeriodicJob{river.NewPeriodicJob(river.PeriodicInterval(time.Hour),
		func() (river.JobArgs, *river.InsertOpts) { return task{}, nil },
		&river.PeriodicJobOpts{ID: "hourly", RunOnStart: true})}
	client, follower := startClient(w, config)
	w.await(1, rivertype.JobStateCompleted)
	require.NoError(t, client.Stop(t.Context()))
	require.NoError(t, follower.Stop(t.Context()))
	job, events := w.recorded(1)
	require.Equal(t, jobaudit.Success, job.State)
	require.Equal(t, jobaudit.Scheduled, events[0].Why.Kind)
	require.Equal(t, "hourly", events[0].Why.Ref)
	require.Equal(t, jobaudit.Principal{Kind: jobaudit.Service, ID: "river"}, events[0].Who.Principal)
}

type userKey struct{}

// Anybody who inserts a job can mark it as periodic.
func TestAMarkInTheMetadataDoesNotTakeAwayWhoAsked(t *testing.T) {
	sink := memsink.New(nil)
	rec, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "shop", Environment: "test"}, nil)
	require.NoError(t, err)
	ada := jobaudit.Principal{Kind: jobaudit.User, ID: "ada", Verified: true}
	audit := riveraudit.New(rec, &riveraudit.Options{Submission: func(context.Context, *rivertype.JobInsertParams) jobaudit.Submission {
		return jobaudit.Submission{Principal: ada, OrgID: "acme", Trigger: jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "she asked"}}
	}})
	_, err = audit.InsertMany(t.Context(), []*rivertype.JobInsertParams{{Kind: "bill", EncodedArgs: []byte(`{}`), Metadata: []byte(`{"periodic":true}`)}},
		func(context.Context) ([]*rivertype.JobInsertResult, error) {
			return []*rivertype.JobInsertResult{{Job: &rivertype.JobRow{ID: 1}}}, nil
		})
	require.NoError(t, err)
	for r, err := range sink.Records(t.Context(), jobaudit.Query{Types: []jobaudit.EventType{jobaudit.JobSubmitted}}) {
		require.NoError(t, err)
		e := r.Event()
		require.Equal(t, "ada", e.Who.Principal.ID)
		require.Equal(t, "acme", e.Who.OrgID)
		require.Equal(t, "she asked", e.Why.Reason)
	}
	require.NoError(t, rec.Close(t.Context()))
}

func TestAnInsertThatSaysNotWhoAsksIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, database(t, server(t)), false)
	nobody := func(context.Context, *rivertype.JobInsertParams) jobaudit.Submission { return jobaudit.Submission{} }
	for _, opts := range []*riveraudit.Options{nil, {Submission: nobody}} {
		w.audit = riveraudit.New(w.rec, opts)
		for _, metadata := range []string{`{}`, `{"periodic":true,"river:periodic_job_id":"hourly"}`} {
			_, err := w.inserter().Insert(t.Context(), task{}, &river.InsertOpts{Metadata: []byte(metadata)})
			_, refused := errors.AsType[*jobaudit.FieldError](err)
			require.True(t, refused, "%s: %v", metadata, err)
		}
	}
}

func TestAnInsertThatRiverRefusesIsNotLeftPending(t *testing.T) {
	t.Parallel()
	w := newWorld(t, database(t, server(t)), false)
	_, err := w.pool.Exec(t.Context(), "ALTER TABLE river_job ADD CONSTRAINT none CHECK (kind <> 'strange')")
	require.NoError(t, err)
	_, err = w.inserter().Insert(t.Context(), strangeTask{}, nil)
	require.Error(t, err)
	for r, err := range w.sink.Records(t.Context(), jobaudit.Query{Types: []jobaudit.EventType{jobaudit.JobSubmitted}}) {
		require.NoError(t, err)
		job, _ := w.replay(r.JobID())
		require.Equal(t, jobaudit.Cancelled, job.State)
	}
	require.Equal(t, queue.Report{}, w.reconcile())
}

func TestARollbackBehindOurBackIsFoundAsAStray(t *testing.T) {
	t.Parallel()
	w := newWorld(t, database(t, server(t)), false)
	rows["succeeds"](w) // so that the log of a worker is seen to be there
	err := pgx.BeginFunc(t.Context(), w.pool, func(tx pgx.Tx) error {
		_, err := w.inserter().InsertTx(t.Context(), tx, task{}, nil)
		require.NoError(t, err)
		return errNo
	})
	require.ErrorIs(t, err, errNo)
	require.Equal(t, queue.Report{Jobs: 1, Ended: 1}, w.reconcile())
	require.Equal(t, queue.Report{Jobs: 1}, w.reconcile())
	for r, err := range w.sink.Records(t.Context(), jobaudit.Query{Types: []jobaudit.EventType{jobaudit.JobCancelled}}) {
		require.NoError(t, err)
		job, events := w.replay(r.JobID())
		require.Equal(t, jobaudit.Cancelled, job.State)
		require.Equal(t, w.story, events[len(events)-1].CorrelationID)
	}
}

func TestAGoroutineThatExitsIsAFailedAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, database(t, server(t)), false)
	w.do = func(context.Context, *river.Job[task]) error {
		runtime.Goexit()
		return nil
	}
	w.start()
	id := w.insert(task{}, nil)
	w.until("the attempt's end is on record", func() bool {
		job, _ := w.recorded(id)
		return len(job.Executions) == 1 && job.Executions[0].End == jobaudit.AttemptFailed
	})
	job, _ := w.recorded(id)
	require.Equal(t, jobaudit.Running, job.State, "River has it running")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.Error(t, w.client.StopAndCancel(ctx), "River waits for the goroutine without end")
	_ = w.follow.Stop(ctx)
}

// deaf is a client whose subscriptions drop every event.
type deaf struct{ *river.Client[pgx.Tx] }

func (d deaf) SubscribeConfig(*river.SubscribeConfig) (<-chan *river.Event, func()) {
	events := make(chan *river.Event)
	return events, func() { close(events) }
}

func TestEventsThatRiverDropsAreMadeUpFor(t *testing.T) {
	t.Parallel()
	for _, inTime := range []bool{false, true} {
		w := newWorld(t, database(t, server(t)), false)
		workers := river.NewWorkers()
		river.AddWorker(workers, &worker{w: w})
		config := w.config()
		config.Workers, config.Queues = workers, map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 4}}
		client := newClient(w, config)
		opts := &riveraudit.FollowOptions{Sweep: time.Hour}
		if inTime {
			opts.Sweep = 10 * time.Millisecond
		}
		follower := w.audit.Follow(t.Context(), deaf{client}, opts)
		require.NoError(t, client.Start(t.Context()))
		id := w.insert(task{}, nil)
		w.await(id, rivertype.JobStateCompleted)
		if inTime {
			w.until("its end is on record", func() bool { job, _ := w.recorded(id); return job.State.Terminal() })
		}
		require.NoError(t, client.Stop(t.Context()))
		require.NoError(t, follower.Stop(t.Context()))
		w.requireTruth(truth{id: id, state: rivertype.JobStateCompleted, starts: 1})
		require.Zero(t, w.reconcile().Added())
	}
}

// refusing is a sink that does not store the ends of some jobs.
type refusing struct {
	*memsink.Sink
	refuses func(job uuid.UUID) error
	deaf    bool // it takes nothing at all once it was given an end

	mu    sync.Mutex
	tried []uuid.UUID // the jobs whose ends it was given, in that order
}

func (s *refusing) Append(ctx context.Context, records []jobaudit.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range records {
		if e := r.Event(); e.Type == jobaudit.JobSucceeded {
			if !slices.Contains(s.tried, e.Job.ID) {
				s.tried = append(s.tried, e.Job.ID)
			}
			if err := s.refuses(e.Job.ID); err != nil {
				return err
			}
		}
	}
	if s.deaf && len(s.tried) > 0 {
		return errNo
	}
	return s.Sink.Append(ctx, records)
}

// swept runs jobs whose ends a sweep alone can record, and stops. It returns how
// many jobs have their end once the recorder is closed, and what Stop said.
func swept(t *testing.T, sink *refusing, jobs int, opts *jobaudit.Options) (ended int, stopped error) {
	t.Helper()
	w := newWorld(t, database(t, server(t)), false)
	sink.Sink = w.sink
	opts.OnError = func(context.Context, *jobaudit.AuditError) {}
	rec, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "shop", Environment: "test"}, opts)
	require.NoError(t, err)
	w.audit = riveraudit.New(rec, &riveraudit.Options{Logs: []jobaudit.AuditReader{w.sink}, Submission: w.asking, OnError: func(context.Context, error) {}})
	workers := river.NewWorkers()
	river.AddWorker(workers, &worker{w: w})
	config := w.config()
	config.Workers, config.Queues = workers, map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 4}}
	client := newClient(w, config)
	follower := w.audit.Follow(t.Context(), deaf{client}, &riveraudit.FollowOptions{Sweep: time.Hour})
	require.NoError(t, client.Start(t.Context()))
	ids := make([]int64, jobs)
	for i := range ids {
		ids[i] = w.insert(task{}, nil)
	}
	for _, id := range ids {
		w.await(id, rivertype.JobStateCompleted)
	}
	require.NoError(t, client.Stop(t.Context()))
	stopped = follower.Stop(t.Context())
	_ = rec.Close(t.Context()) // what is refused is lost
	for _, err := range w.sink.Records(t.Context(), jobaudit.Query{Types: []jobaudit.EventType{jobaudit.JobSucceeded}}) {
		require.NoError(t, err)
		ended++
	}
	return ended, stopped
}

func TestAJobThatCannotBeSettledHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	for name, refusal := range map[string]error{"for good": jobaudit.ErrConflict, "again and again": errNo} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sink := &refusing{}
			sink.refuses = func(job uuid.UUID) error {
				if job == sink.tried[0] {
					return refusal
				}
				return nil
			}
			ended, stopped := swept(t, sink, 8, &jobaudit.Options{Timeout: 2 * time.Second, OutcomeTimeout: time.Second})
			require.Error(t, stopped)
			require.Equal(t, 7, ended)
		})
	}
}

func TestASweepEndsAtASinkThatTakesNothing(t *testing.T) {
	t.Parallel()
	sink := &refusing{refuses: func(uuid.UUID) error { return errNo }, deaf: true}
	ended, stopped := swept(t, sink, 4, &jobaudit.Options{Timeout: 2 * time.Second, OutcomeTimeout: time.Second})
	require.Error(t, stopped)
	require.Zero(t, ended)
	require.Len(t, sink.tried, 1, "further jobs would wait as long")
}

func TestTheErrorOfASweepNamesSomeOfManyJobs(t *testing.T) {
	t.Parallel()
	const jobs = 20
	sink := &refusing{refuses: func(uuid.UUID) error { return jobaudit.ErrConflict }}
	ended, stopped := swept(t, sink, jobs, &jobaudit.Options{})
	require.Zero(t, ended)
	require.Len(t, sink.tried, jobs, "each was tried")
	named, ok := stopped.(interface{ Unwrap() []error })
	require.True(t, ok)
	require.Len(t, named.Unwrap(), 16)
}

func TestTwoReconcilersAgreeOnTheJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t, database(t, server(t)), true)
	rows["succeeds"](w)
	w.reconcile()
	first, _ := w.recorded(1)
	w.sink = memsink.New(nil)
	w.openAudit(nil)
	w.reconcile()
	second, _ := w.recorded(1)
	require.Equal(t, first.ID, second.ID)
	require.EqualValues(t, 8, first.ID.Version())
	require.NotEqual(t, uuid.Nil, first.ID)
}

func TestAJobInsertedWithoutTheAdapterIsOnRecordBeforeItRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t, database(t, server(t)), true)
	id := w.insert(task{}, nil)
	w.plain = false
	w.do = func(ctx context.Context, _ *river.Job[task]) error {
		trail, ok := jobaudit.FromContext(ctx)
		require.True(t, ok)
		_, events := w.replay(trail.JobID())
		require.Equal(t, jobaudit.JobSubmitted, events[0].Type)
		return nil
	}
	w.start()
	w.await(id, rivertype.JobStateCompleted)
	w.stop(false)
	job, _ := w.recorded(id)
	require.Equal(t, jobaudit.Success, job.State)
	require.Equal(t, "river", job.Metadata.UserID)
	require.Zero(t, w.reconcile().Added())
}

// flaky is a sink that can be switched off.
type flaky struct {
	*memsink.Sink
	off atomic.Bool
}

func (s *flaky) Append(ctx context.Context, records []jobaudit.Record) error {
	if s.off.Load() {
		return errNo
	}
	return s.Sink.Append(ctx, records)
}

func TestAJobWhoseStartCannotBeRecordedDoesNotRunAndLosesNoAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, database(t, server(t)), false)
	sink := &flaky{Sink: w.sink}
	rec, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "shop", Environment: "test"}, &jobaudit.Options{
		Timeout: time.Second, OnError: func(context.Context, *jobaudit.AuditError) {},
	})
	require.NoError(t, err)
	var put atomic.Int64
	w.audit = riveraudit.New(rec, &riveraudit.Options{
		Submission: w.asking,
		Logs:       []jobaudit.AuditReader{w.sink}, Snooze: time.Millisecond, OnError: func(context.Context, error) { put.Add(1) },
	})
	id := w.insert(task{}, &river.InsertOpts{MaxAttempts: 1})
	sink.off.Store(true)
	_, err = w.inserter().Insert(t.Context(), task{}, nil)
	_, ok := errors.AsType[*jobaudit.AuditError](err)
	require.True(t, ok, "an insert that cannot be recorded is refused")
	w.start()
	w.until("it was put off", func() bool { return put.Load() > 1 })
	require.Zero(t, w.runs.Load())
	sink.off.Store(false)
	w.await(id, rivertype.JobStateCompleted)
	w.stop(false)
	require.EqualValues(t, 1, w.runs.Load())
	job, _ := w.recorded(id)
	require.Equal(t, jobaudit.Success, job.State)
	require.NoError(t, rec.Close(t.Context()))
}

func TestWhatAWorkerReturnsIsNotTheOutcome(t *testing.T) {
	t.Parallel()
	for _, state := range []rivertype.JobState{rivertype.JobStateCancelled, rivertype.JobStateDiscarded} {
		w := newWorld(t, database(t, server(t)), false)
		w.do = func(ctx context.Context, job *river.Job[task]) error {
			_, err := w.pool.Exec(ctx, "UPDATE river_job SET state = $1, finalized_at = now() WHERE id = $2", string(state), job.ID)
			return err
		}
		w.start()
		id := w.insert(task{}, nil)
		w.until("the worker has returned", func() bool { return len(w.audit.Waiting(0)) > 0 || w.row(id).FinalizedAt != nil })
		w.stop(false)
		w.requireTruth(truth{id: id, state: state, starts: 1})
		require.Zero(t, w.reconcile().Added())
	}
}

func TestAJobTakenAwayFromItsWorkerEndsOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, database(t, server(t)), false)
	again := make(chan struct{})
	w.do = func(ctx context.Context, job *river.Job[task]) error {
		if w.runs.Load() > 1 {
			close(again)
			return nil
		}
		// As a rescuer does that takes it for stuck.
		_, err := w.pool.Exec(ctx, "UPDATE river_job SET state = 'available', scheduled_at = now() WHERE id = $1", job.ID)
		<-again
		return err
	}
	w.start()
	id := w.insert(task{}, nil)
	w.await(id, rivertype.JobStateCompleted)
	w.stop(false)
	job, events := w.recorded(id)
	require.Equal(t, jobaudit.Success, job.State)
	require.Len(t, job.Executions, 2)
	require.Empty(t, job.Unapplied)
	outcomes := 0
	for _, e := range events {
		if e.Type.Phase() == "outcome" {
			outcomes++
		}
	}
	require.Equal(t, 1, outcomes)
	require.Zero(t, w.reconcile().Added())
}

func TestAVerdictOnAnEarlierAttemptSaysNothingOfTheNewest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, database(t, server(t)), false)
	var first *rivertype.JobRow
	w.do = func(ctx context.Context, job *river.Job[task]) error {
		if w.runs.Load() == 1 {
			first = job.JobRow
			return river.JobSnooze(time.Millisecond)
		}
		late := *first
		late.State = rivertype.JobStateCancelled
		ours, err := w.audit.Verdict(ctx, &late)
		require.NoError(t, err)
		require.False(t, ours)
		return nil
	}
	w.start()
	id := w.insert(task{}, nil)
	w.await(id, rivertype.JobStateCompleted)
	w.stop(false)
	w.requireTruth(truth{id: id, state: rivertype.JobStateCompleted, starts: 2, others: []jobaudit.EventType{jobaudit.AttemptDeferred}})
}

// A job that is deleted while the process that ran it waits for River's verdict may have
// succeeded: it is not recorded as cancelled.
func TestAJobThatIsDeletedBeforeRiverSaysHowItEndedIsAbandoned(t *testing.T) {
	t.Parallel()
	for _, returns := range []error{nil, errNo} {
		w := newWorld(t, database(t, server(t)), false)
		w.do = func(ctx context.Context, job *river.Job[task]) error {
			_, err := w.pool.Exec(ctx, "DELETE FROM river_job WHERE id = $1", job.ID)
			require.NoError(t, err)
			return returns
		}
		w.start()
		id := w.insert(task{}, &river.InsertOpts{MaxAttempts: 1})
		var of uuid.UUID
		w.until("the worker has run", func() bool { return w.runs.Load() == 1 })
		for _, job := range w.sink.Jobs() {
			of = job
		}
		w.stop(false)
		job, _ := w.replay(of)
		require.Equal(t, jobaudit.Failed, job.State, id)
		require.Equal(t, jobaudit.CodeAbandoned, job.Error.Code)
	}
}
