package asynqaudit_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
)

var errBroken = errors.New("the index is broken")

// secret stands in a panic's value.
const secret = "hunter2-hunter2-hunter2"

// truth is a row of the truth table: what a handler does, what asynq makes of
// it, and what is to be on record.
type truth struct {
	name    string
	handler func(done <-chan struct{}) asynq.HandlerFunc
	typ     string // default: taskType
	payload string // default: JSON
	opts    []asynq.Option
	asynq   asynq.TaskState // 0: gone
	state   jobaudit.JobState
	code    jobaudit.ErrorCode
	ends    []jobaudit.EventType
}

func returns(err error) func(<-chan struct{}) asynq.HandlerFunc {
	return func(<-chan struct{}) asynq.HandlerFunc {
		return func(context.Context, *asynq.Task) error { return err }
	}
}

var truths = []truth{
	{
		name: "succeeds", handler: returns(nil), opts: []asynq.Option{asynq.Retention(time.Hour)},
		asynq: asynq.TaskStateCompleted, state: jobaudit.Success, ends: []jobaudit.EventType{jobaudit.JobSucceeded},
	},
	{
		name: "succeeds without retention", handler: returns(nil),
		state: jobaudit.Success, ends: []jobaudit.EventType{jobaudit.JobSucceeded},
	},
	{
		name: "fails with attempts left, then succeeds", opts: []asynq.Option{asynq.MaxRetry(3), asynq.Retention(time.Hour)},
		handler: func(<-chan struct{}) asynq.HandlerFunc {
			return func(ctx context.Context, _ *asynq.Task) error {
				if retried, _ := asynq.GetRetryCount(ctx); retried < 2 {
					return errBroken
				}
				return nil
			}
		},
		asynq: asynq.TaskStateCompleted, state: jobaudit.Success,
		ends: []jobaudit.EventType{jobaudit.AttemptFailed, jobaudit.AttemptFailed, jobaudit.JobSucceeded},
	},
	{
		name: "fails finally", handler: returns(errBroken), opts: []asynq.Option{asynq.MaxRetry(1)},
		asynq: asynq.TaskStateArchived, state: jobaudit.Failed, code: jobaudit.CodeError,
		ends: []jobaudit.EventType{jobaudit.AttemptFailed, jobaudit.JobFailed},
	},
	{
		name: "fails and is not to be tried again", handler: returns(fmt.Errorf("%w: %w", errBroken, asynq.SkipRetry)),
		opts:  []asynq.Option{asynq.MaxRetry(9)},
		asynq: asynq.TaskStateArchived, state: jobaudit.Failed, code: jobaudit.CodeError,
		ends: []jobaudit.EventType{jobaudit.JobFailed},
	},
	{
		name: "is revoked by its handler", handler: returns(fmt.Errorf("%w: %w", errBroken, asynq.RevokeTask)),
		opts:  []asynq.Option{asynq.MaxRetry(9)},
		state: jobaudit.Cancelled, code: jobaudit.CodeCancelled,
		ends: []jobaudit.EventType{jobaudit.JobCancelled},
	},
	{
		name: "panics", opts: []asynq.Option{asynq.MaxRetry(1)},
		handler: func(<-chan struct{}) asynq.HandlerFunc {
			return func(context.Context, *asynq.Task) error { panic(secret) }
		},
		asynq: asynq.TaskStateArchived, state: jobaudit.Failed, code: jobaudit.CodePanic,
		ends: []jobaudit.EventType{jobaudit.AttemptFailed, jobaudit.JobFailed},
	},
	{
		name: "returns nil after its timeout", opts: []asynq.Option{asynq.Timeout(time.Second), asynq.MaxRetry(1)},
		handler: func(done <-chan struct{}) asynq.HandlerFunc {
			return func(context.Context, *asynq.Task) error { <-done; return nil }
		},
		asynq: asynq.TaskStateArchived, state: jobaudit.Failed, code: jobaudit.CodeTimeout,
		ends: []jobaudit.EventType{jobaudit.AttemptFailed, jobaudit.JobFailed},
	},
	{
		name: "has no handler", typ: "unheard:of", handler: returns(nil), opts: []asynq.Option{asynq.MaxRetry(1)},
		asynq: asynq.TaskStateArchived, state: jobaudit.Failed, code: jobaudit.CodeError,
		ends: []jobaudit.EventType{jobaudit.AttemptFailed, jobaudit.JobFailed},
	},
	{
		name: "has a payload that cannot be decoded", payload: "{", opts: []asynq.Option{asynq.MaxRetry(9)},
		handler: func(<-chan struct{}) asynq.HandlerFunc {
			return func(_ context.Context, t *asynq.Task) error {
				var v any
				if err := json.Unmarshal(t.Payload(), &v); err != nil {
					return fmt.Errorf("%w: %w", err, asynq.SkipRetry)
				}
				return nil
			}
		},
		asynq: asynq.TaskStateArchived, state: jobaudit.Failed, code: jobaudit.CodeError,
		ends: []jobaudit.EventType{jobaudit.JobFailed},
	},
	{
		name: "has a deadline that is past", handler: returns(nil),
		opts:  []asynq.Option{asynq.Deadline(time.Now().Add(-time.Minute)), asynq.MaxRetry(1)},
		asynq: asynq.TaskStateArchived, state: jobaudit.Failed, code: jobaudit.CodeTimeout,
		ends: []jobaudit.EventType{jobaudit.AttemptFailed, jobaudit.JobFailed},
	},
}

func (row *truth) task() (typ string, payload []byte) {
	typ, payload = row.typ, []byte(row.payload)
	if typ == "" {
		typ = taskType
	}
	if row.payload == "" {
		payload = []byte(`{"index":7}`)
	}
	return typ, payload
}

// verdict waits for asynq's own, which is not the adapter's to say.
func (row *truth) verdict(r *rig, info *asynq.TaskInfo) {
	r.Helper()
	if row.asynq == 0 {
		r.vanished(info)
	} else {
		r.state(info, row.asynq)
	}
}

func TestTheRecordEndsAsTheTaskDoes(t *testing.T) {
	t.Parallel()
	for _, row := range truths {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			done := make(chan struct{})
			defer close(done)
			r.serve(quick(), row.handler(done))
			typ, payload := row.task()
			info, err := r.client.Enqueue(r.ctx, taskFor(typ, payload, row.opts...))
			require.NoError(t, err)
			job := r.ended(jobID(info))
			row.verdict(r, info)
			require.Equal(t, row.state, job.State)
			require.Equal(t, row.ends, ends(job))
			if row.code != "" {
				require.Equal(t, row.code, job.Error.Code)
			}
			for i, x := range job.Executions {
				require.Equal(t, i+1, x.Attempt)
			}
			r.sink.ExpectAbsent(t, secret)
			r.sound()
		})
	}
}

// The same rows with nobody on the worker's side, and then with nobody on the
// client's either: all that is left of the story is what the queue keeps.
func TestTheReconcilerFindsEverythingThatNobodyRecorded(t *testing.T) {
	t.Parallel()
	for _, row := range truths {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			done := make(chan struct{})
			defer close(done)
			r.servePlain(quick(), row.handler(done))
			typ, payload := row.task()
			submitted, err := r.client.Enqueue(r.ctx, taskFor(typ, payload, row.opts...))
			require.NoError(t, err)
			client := asynq.NewClient(r.redis.opt())
			defer client.Close()
			unknown, err := client.Enqueue(asynq.NewTask(typ, payload, row.opts...))
			require.NoError(t, err)
			row.verdict(r, submitted)
			row.verdict(r, unknown)

			if row.asynq == 0 { // Redis keeps nothing of it
				report, err := r.inspector.Reconcile(r.ctx, unauditedWorkers)
				require.NoError(t, err)
				require.Zero(t, report.Added())
				require.Equal(t, []string{submitted.ID}, texts(report.Unresolved))
				return
			}
			report, err := r.inspector.Reconcile(r.ctx, unauditedWorkers)
			require.NoError(t, err)
			require.Equal(t, 1, report.Submitted)
			require.Equal(t, 2, report.Ended)
			jobs := r.sink.Jobs()
			require.Len(t, jobs, 2)
			for _, id := range jobs {
				job := r.job(id)
				require.Equal(t, row.state, job.State)
				require.Equal(t, len(row.ends), job.Attempt, "asynq's count")
				if row.code != "" {
					require.Equal(t, row.code, job.Error.Code)
				}
			}
			adopted := r.job(jobs[1])
			require.Equal(t, "asynqaudit", adopted.Metadata.UserID)
			require.Equal(t, typ, adopted.Metadata.Action)
			r.sink.ExpectAbsent(t, secret)
			r.sound()
		})
	}
}
