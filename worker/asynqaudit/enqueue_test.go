package asynqaudit_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/worker/asynqaudit"
)

func TestADuplicateNamesTheJobThatIsThere(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		opt  asynq.Option
		want error
	}{
		"unique":  {asynq.Unique(time.Hour), asynq.ErrDuplicateTask},
		"task ID": {asynq.TaskID("nightly"), asynq.ErrTaskIDConflict},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			first, second := submission(), submission()
			_, err := r.client.Enqueue(r.ctx, asynqaudit.NewTask(first, taskType, nil), test.opt)
			require.NoError(t, err)
			info, err := r.client.Enqueue(r.ctx, asynqaudit.NewTask(second, taskType, nil, test.opt))
			require.ErrorIs(t, err, test.want)
			require.Nil(t, info)

			e := r.sink.ExpectEvent(r.ctx, t, jobaudit.Query{JobID: second.ID, Types: []jobaudit.EventType{jobaudit.JobDeduplicated}})
			require.Equal(t, first.ID, e.Data.Existing)
			require.Equal(t, jobaudit.Cancelled, r.job(second.ID).State)
			require.Equal(t, jobaudit.Pending, r.job(first.ID).State)
			r.sound()

			r.serve(quick(), returns(nil)(nil))
			require.Equal(t, jobaudit.Success, r.ended(first.ID).State)
			r.sound()
		})
	}
}

func TestADuplicateOfATaskWithoutAJobNamesTheJobThatItWillBe(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	plain := asynq.NewClient(r.redis.opt())
	defer plain.Close()
	_, err := plain.Enqueue(asynq.NewTask(taskType, []byte("x"), asynq.Unique(time.Hour), asynq.Retention(time.Hour)))
	require.NoError(t, err)
	s := submission()
	_, err = r.client.Enqueue(r.ctx, asynqaudit.NewTask(s, taskType, []byte("x"), asynq.Unique(time.Hour)))
	require.ErrorIs(t, err, asynq.ErrDuplicateTask)
	e := r.sink.ExpectEvent(r.ctx, t, jobaudit.Query{JobID: s.ID, Types: []jobaudit.EventType{jobaudit.JobDeduplicated}})

	r.serve(quick(), returns(nil)(nil))
	require.Equal(t, jobaudit.Success, r.ended(e.Data.Existing).State)
	r.sound()
}

func TestEnqueuingTheSameJobAgainMakesNoSecondOne(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	task := taskFor(taskType, nil)
	first, err := r.client.Enqueue(r.ctx, task)
	require.NoError(t, err)
	again, err := r.client.Enqueue(r.ctx, task)
	require.NoError(t, err)
	require.Equal(t, first.ID, again.ID)
	require.Equal(t, jobaudit.Pending, r.job(task.Submission.ID).State)
	r.serve(quick(), returns(nil)(nil))
	require.Equal(t, jobaudit.Success, r.ended(task.Submission.ID).State)
}

func TestManyTasksAreEachOnRecordOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cfg := quick()
	cfg.Concurrency = 32
	r.serve(cfg, returns(nil)(nil))
	const producers, each = 16, 25
	var wg sync.WaitGroup
	for range producers {
		wg.Go(func() {
			for range each {
				_, err := r.client.Enqueue(r.ctx, taskFor(taskType, nil, asynq.Retention(time.Hour)))
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	jobs := r.sink.Jobs()
	require.Len(t, jobs, producers*each)
	for _, id := range jobs {
		job := r.ended(id)
		require.Equal(t, jobaudit.Success, job.State)
		require.Len(t, job.Executions, 1)
		require.Len(t, r.sink.Trail(id), 4, "submitted, authorized, started, succeeded")
	}
	r.sound()
}

func TestATaskThatCannotHaveArrivedIsCancelledAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := submission()
	_, err := r.client.Enqueue(r.ctx, asynqaudit.NewTask(s, taskType, nil, asynq.Queue(" ")))
	require.Error(t, err)
	require.Equal(t, jobaudit.Cancelled, r.job(s.ID).State)
	r.sound()
}

func TestATaskThatNeverArrivedIsCancelledByTheReconciler(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	lost := r.enqueue() // with its Redis
	r.redis.stop()
	s := submission()
	_, err := r.client.Enqueue(r.ctx, asynqaudit.NewTask(s, taskType, nil))
	require.Error(t, err)
	require.Equal(t, jobaudit.Pending, r.job(s.ID).State, "nobody knows whether it arrived")

	r.redis.start()
	require.Equal(t, 2, r.reconcile().Ended)
	require.Equal(t, jobaudit.Cancelled, r.job(s.ID).State)
	require.Equal(t, jobaudit.Cancelled, r.job(jobID(lost)).State)
	r.sound()
}

func TestNothingIsEnqueuedThatIsNotOnRecord(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := submission()
	s.Trigger.Reason = ""
	_, err := r.client.Enqueue(r.ctx, asynqaudit.NewTask(s, taskType, nil))
	var field *jobaudit.FieldError
	require.ErrorAs(t, err, &field)
	queues, err := r.inspector.Queues()
	require.NoError(t, err)
	require.Empty(t, queues)
}

func TestAHandlersOwnTasksAreItsJobsChildrenAndHeadersStay(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	headers := make(chan map[string]string, 2)
	r.serve(quick(), func(ctx context.Context, task *asynq.Task) error {
		headers <- task.Headers()
		if string(task.Payload()) == "child" {
			return nil
		}
		s := submission()
		s.CorrelationID = uuid.Nil
		_, err := r.client.Enqueue(ctx, asynqaudit.NewTask(s, taskType, []byte("child")))
		return err
	})
	task := taskFor(taskType, nil)
	task.Headers = map[string]string{"colour": "blue"}
	_, err := r.client.Enqueue(r.ctx, task)
	require.NoError(t, err)
	require.Equal(t, "blue", next(r, headers)["colour"])
	next(r, headers)
	parent := r.ended(task.Submission.ID)
	child := r.ended(r.sink.Jobs()[1])
	require.Equal(t, parent.ID, child.ParentID)
	require.Equal(t, parent.CorrelationID, child.CorrelationID)
}

func TestEachTickOfAScheduleIsAJob(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.serve(quick(), returns(nil)(nil))
	var before, after sync.WaitGroup
	before.Add(2)
	after.Add(2)
	opts := r.adapter.SchedulerOpts(&asynq.SchedulerOpts{
		LogLevel:        asynq.FatalLevel,
		PreEnqueueFunc:  func(*asynq.Task, []asynq.Option) { before.Done() },
		PostEnqueueFunc: func(*asynq.TaskInfo, error) { after.Done() },
	}, func(*asynq.Task) jobaudit.Submission {
		return jobaudit.Submission{Principal: ann, Trigger: jobaudit.Trigger{Reason: "every night"}}
	})
	// The hooks are what a scheduler calls around each enqueue.
	client := asynq.NewClient(r.redis.opt())
	defer client.Close()
	task := asynqaudit.NewPeriodicTask(taskType, nil)
	for range 2 {
		opts.PreEnqueueFunc(task, nil)
		info, err := client.Enqueue(task)
		opts.PostEnqueueFunc(info, err)
		require.NoError(t, err)
	}
	before.Wait()
	after.Wait()
	jobs := r.sink.Jobs()
	require.Len(t, jobs, 2)
	for _, id := range jobs {
		require.Equal(t, jobaudit.Success, r.ended(id).State)
		require.Equal(t, jobaudit.Scheduled, r.sink.Trail(id)[0].Why.Kind)
	}
	r.sound()
}

func TestASchedulerRecordsWhatItEnqueues(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.serve(quick(), returns(nil)(nil))
	scheduler := asynq.NewScheduler(r.redis.opt(), r.adapter.SchedulerOpts(&asynq.SchedulerOpts{LogLevel: asynq.FatalLevel},
		func(*asynq.Task) jobaudit.Submission {
			return jobaudit.Submission{Principal: ann, Trigger: jobaudit.Trigger{Reason: "every second"}}
		}))
	_, err := scheduler.Register("@every 1s", asynqaudit.NewPeriodicTask(taskType, nil))
	require.NoError(t, err)
	require.NoError(t, scheduler.Start())
	e := r.sink.ExpectEvent(r.ctx, t, jobaudit.Query{Types: []jobaudit.EventType{jobaudit.JobSucceeded}})
	scheduler.Shutdown()
	require.Equal(t, "ann", r.job(e.Job.ID).Metadata.UserID)
	require.Len(t, r.job(e.Job.ID).Executions, 1)
}

func TestAScheduledTaskThatIsDeletedBeforeItRanIsFoundByItsHeader(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	opts := r.adapter.SchedulerOpts(nil, func(*asynq.Task) jobaudit.Submission {
		return jobaudit.Submission{Principal: ann, Trigger: jobaudit.Trigger{Reason: "every night"}}
	})
	client := asynq.NewClient(r.redis.opt())
	defer client.Close()
	task := asynqaudit.NewPeriodicTask(taskType, nil)
	opts.PreEnqueueFunc(task, nil)
	info, err := client.Enqueue(task)
	opts.PostEnqueueFunc(info, err)
	require.NoError(t, err)
	r.sound()
	require.NoError(t, r.inspector.Inspector.DeleteTask(info.Queue, info.ID))
	require.Equal(t, 1, r.reconcile().Ended)
	require.Equal(t, jobaudit.Cancelled, r.job(r.sink.Jobs()[0]).State)
	r.sound()
}
