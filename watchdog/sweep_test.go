package watchdog_test

import (
	"context"
	"errors"
	"iter"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/watchdog"
)

// openJobs is a log that knows its open jobs.
type openJobs struct {
	*memsink.Sink
	reads int
}

func (l *openJobs) Records(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	if q.JobID == uuid.Nil {
		l.reads++
	}
	return l.Sink.Records(ctx, q)
}

func (l *openJobs) OpenJobs(ctx context.Context) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		for _, id := range l.Jobs() {
			job, err := jobaudit.Replay(l.Sink.Records(ctx, jobaudit.Query{JobID: id}))
			if err != nil {
				yield(jobaudit.Record{}, err)
				return
			}
			if job.State.Terminal() {
				continue
			}
			for r, err := range l.Sink.Records(ctx, jobaudit.Query{JobID: id}) {
				if !yield(r, err) {
					return
				}
			}
		}
	}
}

func TestALogThatKnowsItsOpenJobsIsNotReadWhole(t *testing.T) {
	s := newScene(t, watchdog.Options{})
	log := &openJobs{Sink: s.log}
	dog := s.another(watchdog.Options{StartWithin: func(jobaudit.Event) time.Duration { return time.Hour }}, log)
	ghost, alive := s.start(s.submit(submission())), s.start(s.submit(submission()))
	s.submit(submission())
	require.Equal(t, watchdog.Report{Open: 3}, sweep(t, dog))
	s.pass(50 * time.Second)
	s.beat(alive, 1)
	s.pass(50 * time.Second)
	report := sweep(t, dog)
	require.Equal(t, []watchdog.Kind{watchdog.Abandoned}, kinds(report))
	require.Equal(t, ghost.JobID(), report.Findings[0].JobID)
	require.NoError(t, alive.Succeed(t.Context()))
	s.pass(time.Hour)
	require.Equal(t, []watchdog.Kind{watchdog.Expired}, kinds(sweep(t, dog)))
	require.Equal(t, watchdog.Report{}, sweep(t, dog))
	require.Zero(t, log.reads)
}

// counted is a log that counts the records that are read from it.
type counted struct {
	*memsink.Sink
	n int
}

func (l *counted) Records(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		for r, err := range l.Sink.Records(ctx, q) {
			if l.n++; !yield(r, err) {
				return
			}
		}
	}
}

func TestASweepReadsWhatIsNewAndKeepsWhatIsOpen(t *testing.T) {
	s := newScene(t, watchdog.Options{})
	log := &counted{Sink: s.log}
	dog := s.another(watchdog.Options{}, log)
	for range 100 {
		require.NoError(t, s.start(s.submit(submission())).Succeed(t.Context()))
	}
	require.Equal(t, watchdog.Report{}, sweep(t, dog))
	require.Equal(t, 300, log.n, "submission, start and end of each")
	s.start(s.submit(submission()))
	require.Equal(t, watchdog.Report{Open: 1}, sweep(t, dog))
	require.Equal(t, 302, log.n)
	sweep(t, dog)
	require.Equal(t, 302, log.n)
}

func TestTwoWatchdogsThatRaceRecordOneVerdict(t *testing.T) {
	s := newScene(t, watchdog.Options{})
	var jobs []uuid.UUID
	for range 20 {
		jobs = append(jobs, s.start(s.submit(submission())).JobID())
	}
	s.pass(time.Hour)
	dogs := []*watchdog.Watchdog{s.dog, s.another(watchdog.Options{}, s.log), s.another(watchdog.Options{}, s.log)}
	errs := make([]error, len(dogs))
	var wg sync.WaitGroup
	for i, dog := range dogs {
		wg.Go(func() { _, errs[i] = dog.Sweep(context.Background()) })
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	require.Equal(t, len(jobs), s.count(jobaudit.AttemptLost))
	require.Equal(t, len(jobs), s.count(jobaudit.JobFailed))
	for _, id := range jobs {
		job := s.job(id)
		require.Equal(t, jobaudit.Failed, job.State)
		require.Empty(t, job.Unapplied)
	}
}

var errOnce = errors.New("no route to host")

// onceBroken is a log that cannot be read at first.
type onceBroken struct {
	jobaudit.AuditReader
	once sync.Once
}

func (l *onceBroken) Records(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	records := l.AuditReader.Records(ctx, q)
	l.once.Do(func() {
		records = func(yield func(jobaudit.Record, error) bool) { yield(jobaudit.Record{}, errOnce) }
	})
	return records
}

func TestRunSweepsUntilItsContextEndsAndOutlivesErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memsink.New(nil)
		sink := jobaudit.AuditSink(log)
		where := jobaudit.Source{System: "worker", Environment: "test"}
		worker, err := jobaudit.Open(t.Context(), sink, where, &jobaudit.Options{Heartbeat: -1})
		require.NoError(t, err)
		trail, err := worker.Submit(t.Context(), submission())
		require.NoError(t, err)
		require.NoError(t, trail.Start(t.Context(), jobaudit.Execution{Deadline: 65 * time.Second}))

		flaky := &onceBroken{AuditReader: log}
		found, failed := make(chan watchdog.Finding, 9), make(chan error, 9)
		dog := watchdog.New(worker, []jobaudit.AuditReader{flaky}, &watchdog.Options{
			OnFinding: func(_ context.Context, f watchdog.Finding) { found <- f },
			OnError:   func(_ context.Context, err error) { failed <- err },
		})
		ctx, cancel := context.WithCancel(t.Context())
		begun, ended := time.Now(), make(chan error)
		go func() { ended <- dog.Run(ctx) }()
		require.ErrorIs(t, <-failed, errOnce, "and the next sweep goes on")
		require.Equal(t, watchdog.Abandoned, (<-found).Kind)
		require.Equal(t, 150*time.Second, time.Since(begun), "the first sweep after 65 s and 30 s of grace, from the one on that could read")
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
		require.Empty(t, failed)
		require.Empty(t, found)
		require.NoError(t, worker.Close(t.Context()))
	})
}

func TestASweepWhoseContextHasEndedConcludesNothing(t *testing.T) {
	s := newScene(t, watchdog.Options{})
	s.start(s.submit(submission()))
	s.pass(time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.dog.Sweep(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.Zero(t, s.count(jobaudit.AttemptLost))
	require.Equal(t, []watchdog.Kind{watchdog.Abandoned}, kinds(s.sweep()))
}
