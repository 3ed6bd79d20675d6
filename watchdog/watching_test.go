package watchdog_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/faultsink"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/watchdog"
)

const interval = 30 * time.Second

// watching is a scene whose watchdog goes by what it sees, and writes to the
// log through a sink that can be made to fail. The worker writes by hand.
type watching struct {
	*clock
	t     *testing.T
	log   *memsink.Sink
	sink  *faultsink.Sink
	guard *watchdog.Watchdog
	found []watchdog.Finding
	errs  []error
}

func newWatching(t *testing.T, reader func(*memsink.Sink) jobaudit.AuditReader) *watching {
	t.Helper()
	w := &watching{clock: newClock(), t: t, log: memsink.New(nil)}
	w.sink = faultsink.New(w.log)
	recorder, err := jobaudit.Open(t.Context(), w.sink, jobaudit.Source{System: "watchdog", Environment: "test"}, &jobaudit.Options{
		Now: w.Now, OnError: func(context.Context, *jobaudit.AuditError) {},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, recorder.Close(context.Background())) })
	log := jobaudit.AuditReader(w.log)
	if reader != nil {
		log = reader(w.log)
	}
	w.guard = watchdog.New(recorder, []jobaudit.AuditReader{log}, &watchdog.Options{Interval: interval, Grace: 30 * time.Second, Now: w.Now})
	return w
}

// start records the start of a job that may be silent for 90 s, by a clock that
// is wrong by skew.
func (w *watching) start(skew time.Duration) *author {
	w.t.Helper()
	a := newAuthor()
	w.store(
		a.next(w.Now().Add(skew), jobaudit.JobSubmitted, jobaudit.Pending, ""),
		a.next(w.Now().Add(skew), jobaudit.JobStarted, jobaudit.Running, deadline(w.Now().Add(skew+90*time.Second))),
	)
	return a
}

func deadline(at time.Time) string {
	return fmt.Sprintf(`{"heartbeat":{"deadline":"%s"}}`, at.UTC().Format(stamp))
}

func (w *watching) store(records ...jobaudit.Record) {
	w.t.Helper()
	require.NoError(w.t, w.log.Append(w.t.Context(), records))
}

// sweep sweeps after each of so many intervals.
func (w *watching) sweep(times int) {
	w.t.Helper()
	for range times {
		w.pass(interval)
		report, err := w.guard.Sweep(w.t.Context())
		w.found = append(w.found, report.Findings...)
		if err != nil {
			w.errs = append(w.errs, err)
		}
	}
}

func (w *watching) requireFound(jobs ...*author) {
	w.t.Helper()
	require.Len(w.t, w.found, len(jobs))
	for i, a := range jobs {
		require.Equal(w.t, watchdog.Abandoned, w.found[i].Kind)
		require.Equal(w.t, a.execution, w.found[i].ExecutionID)
		require.Equal(w.t, jobaudit.Failed, replay(w.t, a.job, w.log).State)
	}
}

// A verdict comes one deadline, one grace and some intervals after the sweep in
// which the last sign of life was read.
func TestSilenceThatTheWatchdogHasSeenIsConcludedFrom(t *testing.T) {
	w := newWatching(t, nil)
	a := w.start(0)
	w.sweep(5)
	require.Empty(t, w.found)
	w.sweep(1)
	w.requireFound(a)
	require.Empty(t, w.errs)
}

func TestNoClockOfAWorkerMakesADifference(t *testing.T) {
	for _, skew := range []time.Duration{-1000 * time.Hour, -10 * time.Minute, 10 * time.Minute, 1000 * time.Hour} {
		w := newWatching(t, nil)
		a := w.start(skew)
		w.sweep(5)
		require.Empty(t, w.found, skew)
		w.sweep(1)
		w.requireFound(a)
	}
}

// What a watchdog finds when it begins may be old, or only look so.
func TestTheFirstSweepConcludesNothing(t *testing.T) {
	w := newWatching(t, nil)
	w.start(0)
	w.pass(1000 * time.Hour)
	w.sweep(1)
	require.Empty(t, w.found)
}

func TestASweepThatIsLateBeginsTheWaitAgain(t *testing.T) {
	for name, gap := range map[string]time.Duration{"an hour's sleep": time.Hour, "a minute's": time.Minute, "a clock set back": -time.Hour} {
		w := newWatching(t, nil)
		a := w.start(0)
		w.sweep(5) // one before the verdict
		w.pass(gap)
		w.sweep(5)
		require.Empty(t, w.found, name)
		w.sweep(1)
		w.requireFound(a)
	}
}

func TestASweepThatCouldNotReadBeginsTheWaitAgain(t *testing.T) {
	log := &flakyLog{}
	w := newWatching(t, func(s *memsink.Sink) jobaudit.AuditReader { log.AuditReader = s; return log })
	a := w.start(0)
	w.sweep(5)
	log.err = errors.New("no route to host")
	w.sweep(1)
	log.err = nil
	w.sweep(5)
	require.Empty(t, w.found)
	w.sweep(1)
	w.requireFound(a)
	require.Len(t, w.errs, 1)
}

// The log cannot be written to for some minutes, and what the worker has to say
// comes through just behind the sweep that would have concluded.
func TestAWorkerThatCouldNotWriteIsNotAccusedWhenTheLogComesBack(t *testing.T) {
	for down := 1; down < 30; down++ {
		synctest.Test(t, func(t *testing.T) {
			w := newWatching(t, nil)
			a := w.start(0)
			w.sweep(1)
			w.sink.Set(faultsink.Rule{Fault: faultsink.Fail})
			w.sweep(down)
			w.sink.Set()
			w.sweep(1)
			w.store(a.next(w.Now(), jobaudit.JobHeartbeat, jobaudit.Running, deadline(w.Now().Add(90*time.Second))))
			w.sweep(1)
			require.Empty(t, w.found, "%d intervals", down)
			w.store(a.next(w.Now(), jobaudit.JobSucceeded, jobaudit.Success, "{}"))
			w.sweep(10)
			require.Empty(t, w.found)
			require.Equal(t, jobaudit.Success, replay(t, a.job, w.log).State)
		})
	}
}

// squatted is a record with the ID that a verdict on an execution will have.
func squatted(a *author, typ jobaudit.EventType) jobaudit.Record {
	sum := sha256.Sum256([]byte("jobaudit verdict\n" + string(typ) + "\n" + a.execution.String()))
	other := newAuthor()
	id := uuid.UUID(sum[:16])
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80
	other.id = id
	return other.next(time.Now(), jobaudit.JobLogged, jobaudit.Running, `{"line":"taken"}`)
}

func TestSomebodyWhoTakesAVerdictsIDIsTold(t *testing.T) {
	w := newWatching(t, nil)
	hidden, other := w.start(0), w.start(0)
	w.store(squatted(hidden, jobaudit.JobFailed))
	w.sweep(8)
	w.requireFound(other)
	require.Len(t, w.errs, 1)
	about, ok := errors.AsType[*jobaudit.AuditError](w.errs[0])
	require.True(t, ok)
	require.Equal(t, hidden.job, about.JobID)
	require.ErrorContains(t, w.errs[0], "taken the ID")
	w.sweep(30)
	require.Len(t, w.errs, 1, "once")

	w = newWatching(t, nil)
	half := w.start(0)
	w.store(squatted(half, jobaudit.AttemptLost))
	w.sweep(8)
	w.requireFound(half) // the job's end is the execution's as well
}

// refusing refuses one job's verdicts for good.
type refusing struct {
	jobaudit.AuditSink
	job uuid.UUID
}

func (s *refusing) Append(ctx context.Context, records []jobaudit.Record) error {
	for _, r := range records {
		if r.JobID() == s.job {
			return &jobaudit.RecordError{ID: r.ID(), Err: errors.New("too large")}
		}
	}
	return s.AuditSink.Append(ctx, records)
}

func TestAVerdictThatCannotBeRecordedHidesNoOther(t *testing.T) {
	w := newWatching(t, nil)
	hostile, other := w.start(0), w.start(0)
	recorder, err := jobaudit.Open(t.Context(), &refusing{w.log, hostile.job}, jobaudit.Source{System: "watchdog", Environment: "test"},
		&jobaudit.Options{Now: w.Now, OnError: func(context.Context, *jobaudit.AuditError) {}})
	require.NoError(t, err)
	w.guard = watchdog.New(recorder, []jobaudit.AuditReader{w.log}, &watchdog.Options{Interval: interval, Now: w.Now})
	w.sweep(8)
	w.requireFound(other)
	require.Len(t, w.errs, 1)
}

func TestRecordsThatCannotBeReadAreToldOnceAndHideNothing(t *testing.T) {
	damage := &jobaudit.UnreadableError{Place: "line 7", Err: errors.New("garbage")}
	w := newWatching(t, func(s *memsink.Sink) jobaudit.AuditReader {
		return readerFunc(func(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
			return func(yield func(jobaudit.Record, error) bool) {
				if !yield(jobaudit.Record{}, damage) {
					return
				}
				s.Records(ctx, q)(yield)
			}
		})
	})
	a := w.start(0)
	told := 0
	for range 6 {
		w.pass(interval)
		report, err := w.guard.Sweep(t.Context())
		require.NoError(t, err)
		w.found = append(w.found, report.Findings...)
		for _, err := range report.Unreadable {
			require.ErrorIs(t, err, damage)
			told++
		}
	}
	require.Equal(t, 1, told)
	w.requireFound(a)
}

type readerFunc func(context.Context, jobaudit.Query) iter.Seq2[jobaudit.Record, error]

func (f readerFunc) Records(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	return f(ctx, q)
}

func TestALogThatKnowsItsOpenJobsTellsOfSignsOfLife(t *testing.T) {
	w := newWatching(t, func(s *memsink.Sink) jobaudit.AuditReader { return &openJobs{Sink: s} })
	ghost, alive := w.start(0), w.start(0)
	for range 20 {
		w.store(alive.next(w.Now(), jobaudit.JobHeartbeat, jobaudit.Running, deadline(w.Now().Add(90*time.Second))))
		w.sweep(1)
	}
	w.requireFound(ghost)
	require.Equal(t, jobaudit.Running, replay(t, alive.job, w.log).State)
}

// filed is the log as a filesink has it, which knows its open jobs.
type filed struct {
	*memsink.Sink
	t      *testing.T
	files  *filesink.Sink
	stored uuid.UUID
}

func newFiled(t *testing.T) func(*memsink.Sink) jobaudit.AuditReader {
	return func(s *memsink.Sink) jobaudit.AuditReader {
		dir := t.TempDir()
		key, err := filesink.LoadOrCreateKey(dir+"/log", dir+"/key", "example.com/watched")
		require.NoError(t, err)
		files, err := filesink.Open(t.Context(), dir+"/log", key, &filesink.Options{SegmentSize: 4 << 10})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, files.Close()) })
		return &filed{Sink: s, t: t, files: files}
	}
}

func (f *filed) OpenJobs(ctx context.Context) iter.Seq2[jobaudit.Record, error] {
	for r, err := range f.Sink.Records(ctx, jobaudit.Query{After: f.stored}) {
		require.NoError(f.t, err)
		require.NoError(f.t, f.files.Append(ctx, []jobaudit.Record{r}))
		f.stored = r.ID()
	}
	return f.files.OpenJobs(ctx)
}

// onEachLog runs a test with a log that is read and with one that knows its open
// jobs.
func onEachLog(t *testing.T, test func(*testing.T, func(*memsink.Sink) jobaudit.AuditReader)) {
	t.Run("that is read", func(t *testing.T) { test(t, nil) })
	t.Run("that knows its open jobs", func(t *testing.T) { test(t, newFiled(t)) })
}

func TestAnyRecordOfAnExecutionIsASignOfItsLife(t *testing.T) {
	onEachLog(t, anyRecordIsASignOfLife)
}

func anyRecordIsASignOfLife(t *testing.T, log func(*memsink.Sink) jobaudit.AuditReader) {
	w := newWatching(t, log)
	ghost, logging := w.start(0), w.start(0)
	for range 20 {
		w.store(logging.next(w.Now(), jobaudit.JobLogged, jobaudit.Running, `{"line":"at work"}`))
		w.sweep(1)
	}
	w.requireFound(ghost)
	w.sweep(10)
	w.requireFound(ghost, logging)
}

// Somebody who has learned a job's ID writes an end, or signs of life, in the
// name of another organization.
func TestAForgedRecordNeitherHidesAJobWithoutAnEndNorAccusesOneThatLives(t *testing.T) {
	onEachLog(t, forgedRecordsHideNothing)
}

func forgedRecordsHideNothing(t *testing.T, log func(*memsink.Sink) jobaudit.AuditReader) {
	w := newWatching(t, log)
	ghost, kept, alive := w.start(0), w.start(0), w.start(0)
	forge := func(a *author, typ jobaudit.EventType, state jobaudit.JobState, data string) {
		evil := *a
		evil.org, evil.stream, evil.seq = "evil", uuid.New(), 0
		w.store(evil.next(w.Now(), typ, state, data))
	}
	forge(ghost, jobaudit.JobSucceeded, jobaudit.Success, "{}")
	forge(alive, jobaudit.AttemptLost, jobaudit.Running, "")
	for range 6 {
		forge(kept, jobaudit.JobHeartbeat, jobaudit.Running, deadline(w.Now().Add(1000*time.Hour)))
		w.store(alive.next(w.Now(), jobaudit.JobHeartbeat, jobaudit.Running, deadline(w.Now().Add(90*time.Second))))
		w.sweep(1)
	}
	require.ElementsMatch(t, []uuid.UUID{ghost.job, kept.job}, []uuid.UUID{w.found[0].JobID, w.found[1].JobID})
	require.Equal(t, jobaudit.Running, replay(t, alive.job, w.log).State)
}
