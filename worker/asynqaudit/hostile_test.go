package asynqaudit_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/worker/asynqaudit"
	"github.com/jobaudit/jobaudit/worker/queue"
)

// A payload that is no JSON is stored nowhere, and what stands in it is kept out
// of the job's texts.
func TestAPayloadThatIsNoJSONLeaksNowhere(t *testing.T) {
	t.Parallel()
	const secret = "hunter2hunter2"
	redactors, err := jobaudit.NewRegistry(nil, jobaudit.NewRedactor(taskType, "1",
		jobaudit.InputPaths[map[string]any](jobaudit.Keep("user"))))
	require.NoError(t, err)
	r := newRigWith(t, startRedis(t), &jobaudit.Options{Redactors: redactors})
	r.serve(quick(), returns(errors.New("the password "+secret+" was refused"))(nil))
	for _, payload := range []string{
		"user=ada&password=" + secret, "\x82\xa4user\xa3ada\xa8password\xae" + secret, "\x0a\x03ada\x12\x0e" + secret,
		`{"user":"ada","password":"` + secret + `"`,
	} {
		info, err := r.client.Enqueue(r.ctx, taskFor(taskType, []byte(payload), asynq.MaxRetry(0)))
		require.NoError(t, err)
		job := r.ended(jobID(info))
		require.Equal(t, jobaudit.Failed, job.State)
		require.Equal(t, "null", string(job.Metadata.Inputs))
	}
	r.sink.ExpectAbsent(t, secret)
	r.sound()
}

// A writer to the queue can write any header. What cannot be read is no
// Carrier, and the task is on record all the same; one that names a recorder of
// which no log was given makes nobody record anything of that job.
func TestAForgedCarrierMakesNobodyRecordAFalseEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	victim := r.enqueue(asynq.ProcessIn(time.Hour))
	other := newRigWith(t, r.redis, nil) // another process, whose log is not given
	stolen, err := other.rec.Prepare(r.ctx, jobaudit.Submission{
		Action: taskType, Principal: ann, Trigger: jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "forged"},
	})
	require.NoError(t, err)
	plain := asynq.NewClient(r.redis.opt())
	defer plain.Close()
	for _, header := range []string{stolen.Carrier().String(), "ja1.%%%", "", "ja9.AAAA"} {
		_, err := plain.Enqueue(asynq.NewTaskWithHeaders(taskType, nil, map[string]string{"jobaudit": header}, asynq.ProcessIn(time.Hour)))
		require.NoError(t, err)
	}
	report, err := r.inspector.Reconcile(r.ctx, &queue.ReconcileOptions{Settle: -1})
	require.ErrorIs(t, err, queue.ErrPartialLog)
	require.Equal(t, queue.Report{Jobs: 5, Submitted: 3, Partial: report.Partial}, report)
	require.Equal(t, stolen.JobID(), report.Partial[0])
	require.Equal(t, jobaudit.Pending, r.job(jobID(victim)).State)
}

// An Inspector works while the log does not: a job that does harm can be deleted.
func TestALogThatIsDownKeepsNobodyFromDeletingATask(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	info := r.enqueue(asynq.ProcessIn(time.Hour))
	rec, err := jobaudit.Open(r.ctx, r.sink, source, nil)
	require.NoError(t, err)
	audit := asynqaudit.New(rec, &asynqaudit.Options{
		Logs: []jobaudit.AuditReader{r.sink}, OnError: func(context.Context, error) {},
	})
	inspector := audit.NewInspector(r.redis.opt())
	defer inspector.Close()
	require.NoError(t, rec.Close(r.ctx))
	err = inspector.DeleteTask(r.ctx, byAnn, info.Queue, info.ID)
	_, unrecorded := errors.AsType[*queue.UnrecordedError](err)
	require.True(t, unrecorded, "%v", err)
	r.vanished(info)
	require.Equal(t, 1, r.reconcile().Ended)
}

// A task is a job, and its job on record, whatever its ID is; an ID that holds a
// credential is not stored.
func TestATasksOwnIDThatHoldsACredentialIsNotStored(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	plain := asynq.NewClient(r.redis.opt())
	defer plain.Close()
	secrets := []string{"gh" + "p_c4n4ryAbCdEfGhIjKlMnOpQrStUvWx0123456", "https://ada:c4n4ry-hunter2@example.org/x", "Bearer c4n4ryAbC1dEf2GhI3jKl4MnO5"}
	for _, id := range secrets {
		_, err := plain.Enqueue(asynq.NewTask(taskType, nil), asynq.TaskID(id))
		require.NoError(t, err)
	}
	r.serve(quick(), returns(nil)(nil))
	require.Eventually(t, func() bool {
		done := 0
		for _, id := range r.sink.Jobs() {
			if r.job(id).State == jobaudit.Success {
				done++
			}
		}
		return done == len(secrets)
	}, time.Minute, 10*time.Millisecond)
	r.sink.ExpectAbsent(t, "c4n4ry")
	r.sound()
}
