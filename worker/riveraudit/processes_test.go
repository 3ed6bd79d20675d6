package riveraudit_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/faultsink"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/worker/queue"
	"github.com/jobaudit/jobaudit/worker/riveraudit"
)

// processes are a web process that inserts jobs and a worker process that runs
// them, each with a log of its own.
type processes struct {
	testing.TB
	web, worker *world
}

func newProcesses(tb testing.TB) *processes {
	tb.Helper()
	url := database(tb, server(tb))
	p := &processes{tb, newWorld(tb, url, false), newWorld(tb, url, false)}
	p.worker.do = func(_ context.Context, job *river.Job[task]) error {
		if job.Args.Name == "fails once" && job.Attempt == 1 {
			return errNo
		}
		return nil
	}
	return p
}

// reconcile reconciles from a process that sees some of the logs.
func (p *processes) reconcile(opts queue.ReconcileOptions, logs ...jobaudit.AuditReader) (queue.Report, error) {
	p.Helper()
	audit := riveraudit.New(p.web.rec, &riveraudit.Options{
		Logs: logs, OnError: func(_ context.Context, err error) { p.Errorf("complaint: %v", err) },
	})
	opts.Settle = -1
	return audit.Reconcile(p.Context(), p.web.inserter(), &opts)
}

// requirePartial holds a reconciliation that sees a part to recording nothing,
// and to saying so of each of the jobs.
func (p *processes) requirePartial(jobs []uuid.UUID, logs ...jobaudit.AuditReader) {
	p.Helper()
	before := [2]int{p.web.sink.Len(), p.worker.sink.Len()}
	report, err := p.reconcile(queue.ReconcileOptions{}, logs...)
	require.ErrorIs(p, err, queue.ErrPartialLog)
	require.ElementsMatch(p, jobs, report.Partial)
	require.Zero(p, report.Added())
	require.Equal(p, before, [2]int{p.web.sink.Len(), p.worker.sink.Len()}, "nothing is recorded")
}

func (p *processes) run(ids ...int64) {
	p.Helper()
	p.worker.start()
	for _, id := range ids {
		p.worker.await(id, rivertype.JobStateCompleted)
	}
	p.worker.stop(false)
}

func (p *processes) jobs() []uuid.UUID { return p.web.sink.Jobs() }

func TestAReconcilerThatSeesAPartOfTheLogsRecordsNothingAndSaysSo(t *testing.T) {
	t.Parallel()
	p := newProcesses(t)
	ids := []int64{p.web.insert(task{Name: "succeeds"}, nil), p.web.insert(task{Name: "fails once"}, nil)}
	p.worker.openAudit(nil) // in its own log, of which alone it knows
	p.run(ids...)
	for r, err := range p.worker.sink.Records(t.Context(), jobaudit.Query{Types: []jobaudit.EventType{jobaudit.JobSubmitted}}) {
		require.NoError(t, err)
		require.Fail(t, "a worker submits no job that was submitted elsewhere", "%s", r)
	}

	p.requirePartial(p.jobs(), p.worker.sink)
	p.requirePartial(p.jobs(), p.web.sink)
	report, err := p.reconcile(queue.ReconcileOptions{}, p.web.sink, p.worker.sink)
	require.NoError(t, err)
	require.Equal(t, queue.Report{Jobs: 2}, report, "with every log there is nothing to add")

	_, err = p.web.pool.Exec(t.Context(), "DELETE FROM river_job")
	require.NoError(t, err)
	p.requirePartial(p.jobs(), p.web.sink)
	report, err = p.reconcile(queue.ReconcileOptions{}, p.web.sink, p.worker.sink)
	require.NoError(t, err)
	require.Zero(t, report)
}

// One worker's log is missing. Its jobs have ended, and one has left the table,
// where River keeps ended jobs for a day: that one must not be taken for a job that
// never ran because another worker's log is there.
func TestAJobThatLeftTheTableIsNotEndedWhileAWorkersLogIsMissing(t *testing.T) {
	t.Parallel()
	p := newProcesses(t)
	first := p.web.insert(task{Name: "here"}, nil)
	p.web.start()
	p.web.await(first, rivertype.JobStateCompleted)
	p.web.stop(false)
	stays, leaves := p.web.insert(task{Name: "stays"}, nil), p.web.insert(task{Name: "leaves"}, nil)
	p.run(stays, leaves)
	jobs := p.jobs()[1:]
	_, err := p.web.pool.Exec(t.Context(), "DELETE FROM river_job WHERE id = $1", leaves)
	require.NoError(t, err)

	p.requirePartial(jobs, p.web.sink)
	report, err := p.reconcile(queue.ReconcileOptions{}, p.web.sink, p.worker.sink)
	require.NoError(t, err)
	require.Zero(t, report.Added())
}

func TestAnAttemptThatWasPutOffInOneLogAndRanInAnotherIsNotTakenForOne(t *testing.T) {
	t.Parallel()
	p := newProcesses(t)
	id := p.web.insert(task{}, nil)
	p.web.do = func(context.Context, *river.Job[task]) error { return river.JobSnooze(0) }
	p.web.start()
	p.web.until("it was put off", func() bool { return p.web.runs.Load() > 0 })
	p.web.stop(false)
	p.run(id)
	p.requirePartial(p.jobs(), p.web.sink)
	report, err := p.reconcile(queue.ReconcileOptions{}, p.web.sink, p.worker.sink)
	require.NoError(t, err)
	require.Zero(t, report.Added())
}

// A submission that was lost between the commit and its record is told from one
// that stands in a log which was not given.
func TestASubmissionThatWasLostIsRecordedByWhoSeesItsRecordersLog(t *testing.T) {
	t.Parallel()
	p := newProcesses(t)
	sink := faultsink.New(p.web.sink)
	rec, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "shop", Environment: "test"},
		&jobaudit.Options{Timeout: time.Second, OnError: func(context.Context, *jobaudit.AuditError) {}})
	require.NoError(t, err)
	p.web.audit = riveraudit.New(rec, &riveraudit.Options{Submission: p.web.asking})
	sink.Set(faultsink.Rule{Fault: faultsink.Fail})
	var id int64
	err = p.web.audit.Transact(t.Context(), func(ctx context.Context) error {
		result, err := p.web.inserter().Insert(ctx, task{}, nil)
		id = result.Job.ID
		return err
	})
	_, unrecorded := err.(*queue.UnrecordedError)
	require.True(t, unrecorded, "%v", err)
	closing, cancel := context.WithCancel(t.Context())
	cancel() // it is gone before the sink comes back
	require.Error(t, rec.Close(closing))
	sink.Set()

	p.run(id)
	lost := p.worker.sink.Jobs()
	p.requirePartial(lost, p.worker.sink)
	report, err := p.reconcile(queue.ReconcileOptions{}, p.web.sink, p.worker.sink)
	require.NoError(t, err)
	require.Equal(t, queue.Report{Jobs: 1, Submitted: 1}, report)
	submitted := p.web.sink.Trail(lost[0])[0]
	require.True(t, submitted.Reconstructed)
	require.WithinDuration(t, p.web.row(id).CreatedAt, submitted.QueueTime, time.Microsecond)
}

func TestAJobThatAnUnauditedWorkerRanIsReconstructedIfTheOptionsSaySo(t *testing.T) {
	t.Parallel()
	p := newProcesses(t)
	id := p.web.insert(task{Name: "fails once"}, nil)
	p.worker.plain = true
	p.run(id)
	p.requirePartial(p.jobs(), p.web.sink, p.worker.sink)
	report, err := p.reconcile(queue.ReconcileOptions{Unaudited: true}, p.web.sink, p.worker.sink)
	require.NoError(t, err)
	require.Equal(t, queue.Report{Jobs: 1, Attempts: 3, Ended: 1}, report)
	job, events := p.web.replay(p.jobs()[0])
	require.Equal(t, jobaudit.Success, job.State)
	require.False(t, events[0].Reconstructed, "the submission was recorded when it happened")
	p.web.requireReconstructed(id, events[1:])
	require.WithinDuration(t, *p.web.row(id).FinalizedAt, job.CompletedAt, time.Microsecond)
}

// A job that was not submitted through the adapter is adopted by the process that finds it.
func TestAJobInsertedByPlainSQLIsAdopted(t *testing.T) {
	t.Parallel()
	p := newProcesses(t)
	_, err := p.web.pool.Exec(t.Context(), `INSERT INTO river_job (args, kind, max_attempts, scheduled_at, metadata)
		VALUES ('{"name":"by hand"}', 'task', 3, now() + interval '1 hour', '{}')`)
	require.NoError(t, err)
	report, err := p.reconcile(queue.ReconcileOptions{}, memsink.New(nil))
	require.NoError(t, err)
	require.Equal(t, queue.Report{Jobs: 1, Submitted: 1}, report)
	require.Equal(t, "river", p.web.sink.Trail(p.jobs()[0])[0].Who.Principal.ID)
}
