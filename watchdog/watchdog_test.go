package watchdog_test

import (
	"context"
	"errors"
	"iter"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/faultsink"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/story"
	"github.com/jobaudit/jobaudit/watchdog"
)

// clock is set by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func open(t *testing.T, sink jobaudit.AuditSink, system string, c *clock) *jobaudit.Recorder {
	t.Helper()
	rec, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: system, Environment: "test"}, &jobaudit.Options{
		Heartbeat: -1, Now: c.Now,
		OnError: func(_ context.Context, err *jobaudit.AuditError) { t.Errorf("complaint: %v", err) },
	})
	require.NoError(t, err)
	return rec
}

// scene is a worker with a log, and a watchdog that writes to the same.
type scene struct {
	*clock
	t      *testing.T
	log    *memsink.Sink
	worker *jobaudit.Recorder
	dog    *watchdog.Watchdog
}

func newScene(t *testing.T, opts watchdog.Options) *scene {
	t.Helper()
	s := &scene{clock: newClock(), t: t, log: memsink.New(nil)}
	s.worker = open(t, s.log, "worker", s.clock)
	s.dog = s.another(opts, s.log)
	return s
}

// another returns a watchdog over these logs, which writes to the scene's. It
// goes by the records' times: what else a watchdog waits for, watching_test.go
// tests.
func (s *scene) another(opts watchdog.Options, logs ...jobaudit.AuditReader) *watchdog.Watchdog {
	opts.Now, opts.OneShot = s.Now, true
	return watchdog.New(open(s.t, s.log, "watchdog", s.clock), logs, &opts)
}

func submission() jobaudit.Submission {
	return jobaudit.Submission{
		Action:    "reindex",
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada", Verified: true},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "the index is old"},
	}
}

func (s *scene) submit(sub jobaudit.Submission) *jobaudit.Trail {
	s.t.Helper()
	trail, err := s.worker.Submit(s.t.Context(), sub)
	require.NoError(s.t, err)
	return trail
}

// start starts a job that may be silent for a minute.
func (s *scene) start(trail *jobaudit.Trail) *jobaudit.Trail {
	s.t.Helper()
	require.NoError(s.t, trail.Start(s.t.Context(), jobaudit.Execution{Deadline: time.Minute}))
	return trail
}

func (s *scene) beat(trail *jobaudit.Trail, done int64) {
	s.t.Helper()
	trail.Heartbeat(s.t.Context(), done, 10)
	require.NoError(s.t, trail.Flush(s.t.Context()))
}

func (s *scene) sweep() watchdog.Report { return sweep(s.t, s.dog) }

func sweep(t *testing.T, dog *watchdog.Watchdog) watchdog.Report {
	t.Helper()
	report, err := dog.Sweep(t.Context())
	require.NoError(t, err)
	return report
}

func (s *scene) job(id uuid.UUID) jobaudit.Job { return replay(s.t, id, s.log) }

func replay(t *testing.T, id uuid.UUID, logs ...jobaudit.AuditReader) jobaudit.Job {
	t.Helper()
	var passes []iter.Seq2[jobaudit.Record, error]
	for _, log := range logs {
		passes = append(passes, log.Records(t.Context(), jobaudit.Query{JobID: id}))
	}
	job, err := jobaudit.Replay(story.Merge(passes...))
	require.NoError(t, err)
	return job
}

func (s *scene) count(types ...jobaudit.EventType) int {
	n := 0
	for _, err := range s.log.Records(s.t.Context(), jobaudit.Query{Types: types}) {
		require.NoError(s.t, err)
		n++
	}
	return n
}

func kinds(r watchdog.Report) (list []watchdog.Kind) {
	for _, f := range r.Findings {
		list = append(list, f.Kind)
	}
	return list
}

func TestASilentExecutionIsAbandonedOnceItsDeadlineAndTheGraceHavePassed(t *testing.T) {
	s := newScene(t, watchdog.Options{Grace: 10 * time.Second})
	trail := s.start(s.submit(submission()))
	due := s.Now().Add(time.Minute)
	require.Equal(t, watchdog.Report{Open: 1}, s.sweep())
	s.pass(70 * time.Second)
	require.Empty(t, s.sweep().Findings, "the grace is not over")
	s.pass(1)
	report := s.sweep()
	require.Len(t, report.Findings, 1)
	f := report.Findings[0]
	require.Equal(t, watchdog.Abandoned, f.Kind)
	require.Equal(t, trail.JobID(), f.JobID)
	require.True(t, f.Recorded)
	require.True(t, due.Equal(f.Since))
	require.Zero(t, report.Open)
	job := s.job(trail.JobID())
	require.Equal(t, jobaudit.Failed, job.State)
	require.Equal(t, jobaudit.CodeAbandoned, job.Error.Code)
	require.Equal(t, jobaudit.AttemptLost, job.Executions[0].End)
	require.Equal(t, f.ExecutionID, job.Executions[0].ID)

	require.Equal(t, watchdog.Report{}, s.sweep(), "once")
	require.Equal(t, watchdog.Report{}, sweep(t, s.another(watchdog.Options{}, s.log)), "a new watchdog sees what was concluded")
	require.Equal(t, 2, s.count(jobaudit.AttemptLost, jobaudit.JobFailed))
}

func TestWhateverAnExecutionRecordsIsASignOfLife(t *testing.T) {
	s := newScene(t, watchdog.Options{Grace: -1})
	beating, logging := s.start(s.submit(submission())), s.start(s.submit(submission()))
	for range 5 {
		s.pass(50 * time.Second)
		s.beat(beating, 1)
		logging.Log(t.Context(), "at work")
		require.NoError(t, logging.Flush(t.Context()))
		require.Equal(t, watchdog.Report{Open: 2}, s.sweep())
	}
	require.NoError(t, beating.Succeed(t.Context()))
	require.Equal(t, watchdog.Report{Open: 1}, s.sweep())
	s.pass(50*time.Second + 1)
	require.Empty(t, s.sweep().Findings)
	s.pass(10 * time.Second)
	require.Equal(t, []watchdog.Kind{watchdog.Abandoned}, kinds(s.sweep()), "a minute after its last line")
}

func TestEndedJobsAreNotJudged(t *testing.T) {
	s := newScene(t, watchdog.Options{Grace: -1, StartWithin: func(jobaudit.Event) time.Duration { return time.Minute }})
	require.NoError(t, s.start(s.submit(submission())).Succeed(t.Context()))
	require.NoError(t, s.start(s.submit(submission())).Fail(t.Context(), errors.New("x")))
	require.NoError(t, s.start(s.submit(submission())).Cancel(t.Context(), "x"))
	require.NoError(t, s.submit(submission()).Cancel(t.Context(), "x"))
	require.NoError(t, s.submit(submission()).Deny(t.Context(), jobaudit.Decision{By: "opa"}))
	require.NoError(t, s.worker.Close(t.Context()))
	before := s.log.Len()
	s.pass(time.Hour)
	require.Equal(t, watchdog.Report{}, s.sweep())
	require.Equal(t, before, s.log.Len())
}

func TestWhatOthersRecordOfAnExecutionIsNoSignOfItsLife(t *testing.T) {
	s := newScene(t, watchdog.Options{Grace: -1})
	trail := s.start(s.submit(submission()))
	s.pass(50 * time.Second)
	observer, err := s.worker.Resume(t.Context(), trail.Carrier(), nil)
	require.NoError(t, err)
	require.NoError(t, observer.Observe(s.job(trail.JobID())))
	start := s.job(trail.JobID()).Executions[0]
	require.NoError(t, observer.Correct(t.Context(), jobaudit.Correction{Of: start.ID, Reason: "another index"}))
	s.pass(20 * time.Second)
	report := s.sweep()
	require.Equal(t, []watchdog.Kind{watchdog.Abandoned}, kinds(report))
	require.Equal(t, jobaudit.JobStarted, report.Findings[0].Evidence.Last.Type())
}

func TestOfAJobInAQueueOnlyTheAttemptIsLost(t *testing.T) {
	s := newScene(t, watchdog.Options{Grace: -1, StartWithin: func(jobaudit.Event) time.Duration { return time.Minute }})
	queued := submission()
	queued.Queue = jobaudit.Ref{System: "river", ID: "7"}
	s.submit(queued) // and never started
	trail := s.start(s.submit(queued))
	later := s.submit(submission())
	require.NoError(t, later.Start(t.Context(), jobaudit.Execution{Deadline: time.Minute, Queue: queued.Queue}))
	s.pass(time.Hour)
	require.Equal(t, []watchdog.Kind{watchdog.Lost, watchdog.Lost}, kinds(s.sweep()))
	require.Empty(t, s.sweep().Findings)
	require.Zero(t, s.count(jobaudit.JobFailed, jobaudit.JobCancelled))
	require.Equal(t, jobaudit.Running, s.job(trail.JobID()).State)

	s.start(trail) // its queue rescues it
	s.pass(time.Hour)
	require.Equal(t, []watchdog.Kind{watchdog.Lost}, kinds(s.sweep()), "and that is lost, too")
}

func TestAJobThatRunsElsewhereOutlivesALostExecution(t *testing.T) {
	s := newScene(t, watchdog.Options{Grace: -1})
	first := s.start(s.submit(submission()))
	second, err := s.worker.Resume(t.Context(), first.Carrier(), nil)
	require.NoError(t, err)
	s.start(second)
	s.pass(50 * time.Second)
	s.beat(second, 1)
	s.pass(50 * time.Second)
	require.Equal(t, []watchdog.Kind{watchdog.Lost}, kinds(s.sweep()))
	require.Equal(t, jobaudit.Running, s.job(first.JobID()).State)
	s.pass(50 * time.Second)
	require.Equal(t, []watchdog.Kind{watchdog.Abandoned}, kinds(s.sweep()))
	job := s.job(first.JobID())
	require.Equal(t, jobaudit.Failed, job.State)
	require.Empty(t, job.Unapplied)
}

func TestTheNewestExecutionIsTheJobsEndWhicheverIsLostLast(t *testing.T) {
	s := newScene(t, watchdog.Options{Grace: -1})
	first := s.start(s.submit(submission()))
	second, err := s.worker.Resume(t.Context(), first.Carrier(), nil)
	require.NoError(t, err)
	s.start(second)
	s.pass(50 * time.Second)
	s.beat(first, 1)
	s.pass(50 * time.Second)
	require.Equal(t, []watchdog.Kind{watchdog.Lost}, kinds(s.sweep()))
	s.pass(50 * time.Second)
	require.ElementsMatch(t, []watchdog.Kind{watchdog.Lost, watchdog.Abandoned}, kinds(s.sweep()))
	job := s.job(first.JobID())
	require.Equal(t, jobaudit.Failed, job.State)
	require.Equal(t, 1, s.count(jobaudit.JobFailed))
	for r, err := range s.log.Records(t.Context(), jobaudit.Query{Types: []jobaudit.EventType{jobaudit.JobFailed}}) {
		require.NoError(t, err)
		require.Equal(t, job.Executions[1].ID, r.Event().Job.ExecutionID)
	}
}

func TestAnExecutionThatOutlivesItsJobIsStillFoundLost(t *testing.T) {
	s := newScene(t, watchdog.Options{Grace: -1})
	first := s.start(s.submit(submission()))
	second, err := s.worker.Resume(t.Context(), first.Carrier(), nil)
	require.NoError(t, err)
	require.NoError(t, s.start(second).Succeed(t.Context()))
	s.pass(time.Hour)
	require.Equal(t, []watchdog.Kind{watchdog.Lost}, kinds(s.sweep()))
	job := s.job(first.JobID())
	require.Equal(t, jobaudit.Success, job.State)
	require.Empty(t, job.Unapplied)
}

func TestAVerdictThatWasInterruptedIsCompleted(t *testing.T) {
	s := newScene(t, watchdog.Options{Grace: -1})
	trail := s.start(s.submit(submission()))
	s.pass(time.Hour)
	faulty := faultsink.New(s.log)
	dying := open(t, faulty, "watchdog", s.clock)
	faulty.Set(faultsink.Rule{First: faulty.Appends() + 2, Fault: faultsink.Fail}) // once the attempt is lost
	dog := watchdog.New(dying, []jobaudit.AuditReader{s.log}, &watchdog.Options{Grace: -1, Now: s.Now, OneShot: true})
	report, err := dog.Sweep(t.Context())
	require.ErrorIs(t, err, faultsink.ErrInjected)
	require.Empty(t, report.Findings)
	require.Equal(t, jobaudit.Running, s.job(trail.JobID()).State)
	require.Equal(t, 1, s.count(jobaudit.AttemptLost))

	s.pass(1)
	_, err = dog.Sweep(t.Context()) // which knows by now that the attempt is lost
	require.ErrorIs(t, err, faultsink.ErrInjected)
	faulty.Set()
	for i, dog := range []*watchdog.Watchdog{dog, s.dog} {
		require.Len(t, sweep(t, dog).Findings, 1-i, "the first that can completes it")
	}
	require.Equal(t, jobaudit.Failed, s.job(trail.JobID()).State)
	require.Equal(t, 2, s.count(jobaudit.AttemptLost, jobaudit.JobFailed))
}

func TestNothingIsConcludedWhileALogCannotBeRead(t *testing.T) {
	s := newScene(t, watchdog.Options{})
	s.start(s.submit(submission()))
	s.pass(time.Hour)
	broken := errors.New("no route to host")
	log := &flakyLog{AuditReader: memsink.New(nil), err: broken}
	dog := s.another(watchdog.Options{}, s.log, log)
	for range 2 {
		report, err := dog.Sweep(t.Context())
		require.ErrorIs(t, err, broken)
		require.Empty(t, report.Findings)
	}
	log.err = nil
	require.Equal(t, []watchdog.Kind{watchdog.Abandoned}, kinds(sweep(t, dog)))
}

type flakyLog struct {
	jobaudit.AuditReader
	err error
}

func (l *flakyLog) Records(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	if l.err == nil {
		return l.AuditReader.Records(ctx, q)
	}
	return func(yield func(jobaudit.Record, error) bool) { yield(jobaudit.Record{}, l.err) }
}

func TestAnEndInAnotherLogCountsWhicheverIsReadFirst(t *testing.T) {
	c := newClock()
	a, b, own := memsink.New(nil), memsink.New(nil), memsink.New(nil)
	first, second := open(t, a, "first", c), open(t, b, "second", c)
	asked, err := first.Submit(t.Context(), submission())
	require.NoError(t, err)
	trail, err := second.Resume(t.Context(), asked.Carrier(), nil)
	require.NoError(t, err)
	require.NoError(t, trail.Start(t.Context(), jobaudit.Execution{Deadline: time.Minute}))
	// The worker's own table says that it has ended, and so does its log.
	observer, err := first.Resume(t.Context(), asked.Carrier(), nil)
	require.NoError(t, err)
	require.NoError(t, observer.Observe(replay(t, asked.JobID(), a, b)))
	require.NoError(t, observer.Succeed(t.Context()))
	c.pass(time.Hour)
	for _, logs := range [][]jobaudit.AuditReader{{a, b, own}, {own, b, a}} {
		dog := watchdog.New(open(t, own, "watchdog", c), logs, &watchdog.Options{Now: c.Now, OneShot: true})
		require.Equal(t, watchdog.Report{}, sweep(t, dog))
	}
}
