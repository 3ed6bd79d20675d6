package asynqaudit_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/worker/asynqaudit"
)

// unsureRig makes a rig that records to the sink and complains to nobody.
func unsureRig(t *testing.T, redis *redisServer, sink *unsureSink) *rig {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	t.Cleanup(cancel)
	r := &rig{T: t, ctx: ctx, redis: redis, sink: sink.Sink}
	r.open(sink, sink, unsureOptions())
	t.Cleanup(func() { sink.Ended(t) }) // before the recorder is closed
	return r
}

func TestATaskOfWhichItIsNotKnownWhetherItIsOnRecordHasAnEndIfItIsNotEnqueued(t *testing.T) {
	t.Parallel()
	redis := startRedis(t)
	eachUnsure(t, func(t *testing.T, sink *unsureSink) {
		r := unsureRig(t, redis, sink)
		s := submission()
		s.ID = uuid.Nil
		info, err := r.client.Enqueue(r.ctx, asynqaudit.NewTask(s, taskType, nil, asynq.ProcessIn(time.Hour)))
		if err == nil { // it is the queue's
			sink.End(t, r.rec, jobID(info))
		}
	})
}

func TestATickOfWhichItIsNotKnownWhetherItIsOnRecordHasAnEnd(t *testing.T) {
	t.Parallel()
	redis := startRedis(t)
	eachUnsure(t, func(t *testing.T, sink *unsureSink) {
		r := unsureRig(t, redis, sink)
		opts := r.adapter.SchedulerOpts(nil, func(*asynq.Task) jobaudit.Submission {
			s := submission()
			s.ID = uuid.Nil
			return s
		})
		opts.PreEnqueueFunc(asynqaudit.NewPeriodicTask(taskType, nil), nil)
		opts.PostEnqueueFunc(nil, asynq.ErrDuplicateTask)
	})
}
