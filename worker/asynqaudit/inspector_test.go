package asynqaudit_test

import (
	"reflect"
	"regexp"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/worker/asynqaudit"
	"github.com/jobaudit/jobaudit/worker/queue"
)

func TestATaskThatIsDeletedBeforeItRanIsCancelledByWhoDeletedIt(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	info := r.enqueue(asynq.ProcessIn(time.Hour))
	byBob := byAnn
	byBob.Principal.ID = "bob"
	require.NoError(t, r.inspector.DeleteTask(r.ctx, byBob, info.Queue, info.ID))
	job := r.job(jobID(info))
	require.Equal(t, jobaudit.Cancelled, job.State)
	require.Contains(t, job.Error.Message, "deleted by user bob, job ")
	require.Contains(t, job.Error.Message, "no longer wanted")
	last := r.sink.Trail(job.ID)[1]
	require.Equal(t, "bob", last.Who.Principal.ID, "who cancels is not who submitted")
	require.True(t, last.Who.Principal.Verified)
	require.Equal(t, "ann", job.Metadata.UserID)
	act := r.act("asynq-task-delete")
	require.Equal(t, jobaudit.Success, act.State)
	require.Contains(t, act.Logs[0], job.ID.String())
	r.sound()

	require.ErrorIs(t, r.inspector.DeleteTask(r.ctx, byAnn, info.Queue, info.ID), asynq.ErrTaskNotFound)
	var field *jobaudit.FieldError
	require.ErrorAs(t, r.inspector.DeleteTask(r.ctx, jobaudit.Submission{Principal: ann}, info.Queue, info.ID), &field)
}

// What changes something asks who does it and why, in every method that asynq has.
func TestNoChangeToAQueueGoesUnrecorded(t *testing.T) {
	asynqs := reflect.TypeFor[*asynq.Inspector]()
	ours := reflect.TypeFor[*asynqaudit.Inspector]()
	changes := regexp.MustCompile("^(Delete|Run|Archive|Cancel|Pause|Unpause|Update)")
	for method := range asynqs.Methods() {
		if !changes.MatchString(method.Name) {
			require.Regexp(t, "^(Get|List|Close|Queues|Groups|History|Servers|Cluster|SchedulerEntries)", method.Name, "is it a change?")
			continue
		}
		own, _ := ours.MethodByName(method.Name)
		require.Equal(t, reflect.TypeFor[jobaudit.Submission](), own.Type.In(2), method.Name)
	}
}

func TestAPayloadThatAnOperatorExchangesIsToldByItsJob(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	info := r.enqueue(asynq.ProcessIn(time.Hour))
	require.NoError(t, r.inspector.UpdateTaskPayload(r.ctx, byAnn, info.Queue, info.ID, []byte(`{"n":2}`)))
	job := r.job(jobID(info))
	require.Equal(t, jobaudit.Pending, job.State)
	require.Len(t, job.Logs, 1)
	require.Contains(t, job.Logs[0], "payload exchanged by user ann")
	require.Equal(t, jobaudit.Success, r.act("asynq-task-update").State)
}

func TestATaskThatOthersDeleteIsCancelledByTheReconciler(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cfg := quick()
	cfg.RetryDelayFunc = asynq.DefaultRetryDelayFunc
	r.serve(cfg, returns(errBroken)(nil))
	never, once := r.enqueue(asynq.ProcessIn(time.Hour)), r.enqueue()
	r.state(once, asynq.TaskStateRetry)
	r.sink.ExpectEvent(r.ctx, t, jobaudit.Query{JobID: jobID(once), Types: []jobaudit.EventType{jobaudit.AttemptFailed}})
	r.sound()
	for _, info := range []*asynq.TaskInfo{never, once} {
		require.NoError(t, r.inspector.Inspector.DeleteTask(info.Queue, info.ID))
	}

	report, err := r.inspector.Reconcile(r.ctx, nil)
	require.NoError(t, err)
	require.Equal(t, 2, report.Unsettled, "what is recent may still be told by others")
	require.Zero(t, report.Added())
	report, err = r.inspector.Reconcile(r.ctx, unauditedWorkers)
	require.NoError(t, err)
	require.Len(t, report.Unresolved, 2, "somebody else may have run them")
	require.Zero(t, report.Added())

	require.Equal(t, 2, r.reconcile().Ended)
	require.Equal(t, jobaudit.Cancelled, r.job(jobID(never)).State)
	require.Equal(t, jobaudit.Cancelled, r.job(jobID(once)).State)
	r.sound()
}

func TestAnArchivedTaskHasFailedUnlessItNeverRan(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cfg := quick()
	cfg.RetryDelayFunc = asynq.DefaultRetryDelayFunc
	r.serve(cfg, returns(errBroken)(nil))
	never, once := r.enqueue(asynq.ProcessIn(time.Hour)), r.enqueue()
	r.state(once, asynq.TaskStateRetry)
	for _, info := range []*asynq.TaskInfo{never, once} {
		require.NoError(t, r.inspector.ArchiveTask(r.ctx, byAnn, info.Queue, info.ID))
		r.state(info, asynq.TaskStateArchived)
	}
	require.Equal(t, jobaudit.Cancelled, r.job(jobID(never)).State)
	job := r.job(jobID(once))
	require.Equal(t, jobaudit.Failed, job.State)
	require.Contains(t, job.Error.Message, "archived by user ann, job ")
	r.sound()

	require.NoError(t, r.inspector.DeleteTask(r.ctx, byAnn, once.Queue, once.ID))
	require.Equal(t, jobaudit.Failed, r.job(jobID(once)).State, "what is deleted from the archive has failed before")
	r.sound()
}

func TestATaskThatOthersArchiveEndsByTheReconciler(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	never := r.enqueue(asynq.ProcessIn(time.Hour))
	require.NoError(t, r.inspector.Inspector.ArchiveTask(never.Queue, never.ID))
	require.Equal(t, 1, r.reconcile().Ended)
	require.Equal(t, jobaudit.Cancelled, r.job(jobID(never)).State)
	r.sound()
}

func TestATaskThatIsRunFromTheArchiveIsAnotherJob(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	broken := returns(errBroken)(nil)
	server := r.serve(quick(), broken)
	info := r.enqueue(asynq.MaxRetry(0), asynq.Timeout(time.Minute), asynq.Retention(time.Hour))
	first := r.ended(jobID(info))
	r.state(info, asynq.TaskStateArchived)
	server.Shutdown()

	next, err := r.inspector.RunTask(r.ctx, byAnn, info.Queue, info.ID)
	require.NoError(t, err)
	require.Equal(t, info.Payload, next.Payload)
	require.Equal(t, time.Minute, next.Timeout)
	require.Zero(t, next.MaxRetry)
	r.serve(quick(), returns(nil)(nil))
	second := r.ended(jobID(next))
	require.Equal(t, jobaudit.Success, second.State)
	require.Equal(t, first.ID, second.RetryOf)
	require.Equal(t, first.CorrelationID, second.CorrelationID)
	require.Equal(t, jobaudit.Failed, r.job(first.ID).State)
	r.sound()
}

func TestATaskThatIsToldToRunNowSaysWhoToldIt(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	info := r.enqueue(asynq.ProcessIn(time.Hour), asynq.Retention(time.Hour))
	next, err := r.inspector.RunTask(r.ctx, byAnn, info.Queue, info.ID)
	require.NoError(t, err)
	require.Equal(t, asynq.TaskStatePending, next.State)
	r.serve(quick(), returns(nil)(nil))
	job := r.ended(jobID(info))
	require.Equal(t, []string{"told to run now by user ann, job " + r.act("asynq-task-run").ID.String() + ": no longer wanted"}, job.Logs)
	r.sound()
}

func TestATaskWithoutASubmissionIsAdoptedByTheWorkerAsByTheReconciler(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	plain := asynq.NewClient(r.redis.opt())
	defer plain.Close()
	info, err := plain.Enqueue(asynq.NewTask(taskType, nil, asynq.MaxRetry(1), asynq.Retention(time.Hour)))
	require.NoError(t, err)
	require.Equal(t, queue.Report{Jobs: 1, Submitted: 1}, r.reconcile())
	require.Equal(t, queue.Report{Jobs: 1}, r.reconcile())

	r.serve(quick(), failsOnce())
	r.state(info, asynq.TaskStateCompleted)
	jobs := r.sink.Jobs()
	require.Len(t, jobs, 1)
	require.Equal(t, uuid.Version(8), jobs[0].Version())
	job := r.ended(jobs[0])
	require.Equal(t, jobaudit.Success, job.State)
	require.Equal(t, []jobaudit.EventType{jobaudit.AttemptFailed, jobaudit.JobSucceeded}, ends(job))
	r.sound()
}
