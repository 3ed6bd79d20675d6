package gocronaudit_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-co-op/gocron/v2"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/faultsink"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/worker/gocronaudit"
)

func TestEachTickIsAJobThatSaysWhoAndWhy(t *testing.T) {
	inFakeTime(t, func(r *rig) {
		r.everyMinute(nothing)
		r.scheduler.Start()
		r.minutes(3)
		r.stop()
		require.Equal(r, []string{"success", "success", "success"}, r.states())
		jobs := r.jobs()
		require.Equal(r, time.Minute, jobs[1].CreatedAt.Sub(jobs[0].CreatedAt))
		asked := r.sink.Trail(jobs[0].ID)[0]
		require.Equal(r, "clean-up", asked.What.Action)
		require.Equal(r, jobaudit.Principal{Kind: jobaudit.Service, ID: "gocron"}, asked.Who.Principal)
		require.Equal(r, submission(r.Context()).Trigger, asked.Why)
	})
}

func TestWhatARunSubmitsIsItsChild(t *testing.T) {
	inFakeTime(t, func(r *rig) {
		r.everyMinute(func(ctx context.Context) error {
			s := submission(ctx)
			s.Action = "delete-file"
			return r.recorder.Run(ctx, s, nothing)
		})
		r.scheduler.Start()
		r.minutes(1)
		r.stop()
		jobs := r.jobs()
		require.Len(r, jobs, 2)
		require.Equal(r, jobs[0].ID, jobs[1].ParentID)
		require.Equal(r, jobs[0].CorrelationID, jobs[1].CorrelationID)
	})
}

func TestRunsUnderTheContextOfAJobAreItsChildren(t *testing.T) {
	inFakeTime(t, func(r *rig) {
		require.NoError(r, r.recorder.Run(r.Context(), submission(r.Context()), func(ctx context.Context) error {
			r.everyMinute(nothing, gocron.WithContext(ctx))
			r.scheduler.Start()
			r.minutes(1)
			return nil
		}))
		r.stop()
		jobs := r.jobs()
		require.Len(r, jobs, 2)
		require.Equal(r, jobs[0].ID, jobs[1].ParentID)
	})
}

func TestAnErrorFailsTheJobAndReachesGocronAsItIs(t *testing.T) {
	inFakeTime(t, func(r *rig) {
		var told []error
		r.everyMinute(func(context.Context) error { return errFull }, gocron.WithEventListeners(
			gocron.AfterJobRunsWithError(func(_ uuid.UUID, _ string, err error) { told = append(told, err) })))
		r.scheduler.Start()
		r.minutes(2)
		r.stop()
		require.Equal(r, []string{"failed ERROR", "failed ERROR"}, r.states())
		require.Equal(r, []error{errFull, errFull}, told)
	})
}

func TestAPanicIsOnRecordBeforeGocronSeesIt(t *testing.T) {
	inFakeTime(t, func(r *rig) {
		var onRecord []string
		r.everyMinute(func(context.Context) error { panic("out of its mind") }, gocron.WithEventListeners(
			gocron.AfterJobRunsWithPanic(func(_ uuid.UUID, _ string, p any) {
				require.Equal(r, "out of its mind", p)
				onRecord = append(onRecord, r.states()...)
			})))
		r.scheduler.Start()
		r.minutes(1)
		r.stop()
		require.Equal(r, []string{"failed PANIC"}, onRecord)
		require.Equal(r, []string{"failed PANIC"}, r.states(), "and no second job says that it was refused")
		require.NotContains(r, r.jobs()[0].Error.Message, "out of its mind", "a panic's value is not stored")
	})
}

const victimDir = "GOCRONAUDIT_TEST_VICTIM"

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimDir); dir != "" {
		if err := dieOfAPanic(dir); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// dieOfAPanic runs a job that panics, which nobody recovers.
func dieOfAPanic(dir string) error {
	ctx := context.Background()
	key, err := filesink.LoadOrCreateKey(filepath.Join(dir, "log"), filepath.Join(dir, "key"), "example.com/victim")
	if err != nil {
		return err
	}
	sink, err := filesink.Open(ctx, filepath.Join(dir, "log"), key, nil)
	if err != nil {
		return err
	}
	recorder, err := jobaudit.Open(ctx, sink, jobaudit.Source{System: "cleaner", Environment: "test"}, nil)
	if err != nil {
		return err
	}
	audit := gocronaudit.New(recorder, nil)
	scheduler, err := gocron.NewScheduler(audit.SchedulerOption())
	if err != nil {
		return err
	}
	task, option := audit.Job(submission, func(context.Context) error { panic("out of its mind") })
	if _, err = scheduler.NewJob(gocron.OneTimeJob(gocron.OneTimeJobStartImmediately()), task, option); err != nil {
		return err
	}
	scheduler.Start()
	select {}
}

func TestAPanicThatKillsTheProcessIsOnRecord(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	require.NoError(t, err)
	victim := exec.CommandContext(t.Context(), self)
	victim.Env = append(os.Environ(), victimDir+"="+dir)
	out, err := victim.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "out of its mind")
	log, err := filesink.OpenReader(filepath.Join(dir, "log"))
	require.NoError(t, err)
	var types []jobaudit.EventType
	for record, err := range log.Records(t.Context(), jobaudit.Query{Action: "clean-up"}) {
		require.NoError(t, err)
		types = append(types, record.Event().Type)
	}
	require.Equal(t, jobaudit.JobFailed, types[len(types)-1])
	require.NoError(t, log.Close())
}

// gocron's runner of a singleton job ends with the goroutine, and the job never
// runs again, which the record shows.
func TestGoexitIsAnEndAndWhatGocronDropsBehindItIsOnRecord(t *testing.T) {
	r := newRig(t, gocron.WithStopTimeout(time.Millisecond))
	job := r.everyMinute(func(context.Context) error {
		runtime.Goexit()
		return nil
	}, gocron.WithSingletonMode(gocron.LimitModeReschedule))
	r.scheduler.Start()
	ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
	defer cancel()
	for _, ended := range []jobaudit.EventType{jobaudit.JobFailed, jobaudit.JobCancelled} {
		require.NoError(r, job.RunNow())
		_, err := r.sink.Wait(ctx, jobaudit.Query{Types: []jobaudit.EventType{ended}})
		require.NoError(r, err)
	}
	require.Equal(r, []string{"failed GOEXIT", "cancelled SKIPPED"}, r.states())
	require.Equal(r, "its scheduler runs it once at a time", r.jobs()[1].Error.Message, "no run is in its way")
}

func TestARunThatTheSchedulerStopsIsCancelled(t *testing.T) {
	for name, stop := range map[string]func(*rig, gocron.Job) error{
		"Shutdown":  func(r *rig, _ gocron.Job) error { return r.scheduler.Shutdown() },
		"StopJobs":  func(r *rig, _ gocron.Job) error { return r.scheduler.StopJobs() },
		"RemoveJob": func(r *rig, job gocron.Job) error { return r.scheduler.RemoveJob(job.ID()) },
	} {
		t.Run(name, func(t *testing.T) {
			inFakeTime(t, func(r *rig) {
				job := r.everyMinute(untilStopped)
				r.scheduler.Start()
				r.minutes(1)
				require.NoError(r, stop(r, job))
				r.minutes(5)
				require.Equal(r, []string{"cancelled CANCELLED"}, r.states())
			})
		})
	}
}

func TestARunThatIgnoresTheStopAndEndsWellIsASuccess(t *testing.T) {
	inFakeTime(t, func(r *rig) {
		r.everyMinute(func(ctx context.Context) error {
			<-ctx.Done()
			return nil
		})
		r.scheduler.Start()
		r.minutes(1)
		r.stop()
		require.Equal(r, []string{"success"}, r.states())
	})
}

func TestAJobThatIsStartedAgainRunsUnderANewContext(t *testing.T) {
	inFakeTime(t, func(r *rig) {
		r.everyMinute(func(ctx context.Context) error { return ctx.Err() })
		r.scheduler.Start()
		r.minutes(1)
		require.NoError(r, r.scheduler.StopJobs())
		<-time.After(30 * time.Second)
		r.scheduler.Start()
		r.minutes(1)
		r.stop()
		require.Equal(r, []string{"success", "success"}, r.states())
	})
}

func TestRunNowAndOneTimeJobsAreTicks(t *testing.T) {
	inFakeTime(t, func(r *rig) {
		r.at(gocron.OneTimeJob(gocron.OneTimeJobStartImmediately()), nothing)
		job := r.everyMinute(nothing)
		r.scheduler.Start()
		require.NoError(r, job.RunNow())
		r.minutes(1)
		r.stop()
		require.Equal(r, []string{"success", "success", "success"}, r.states())
		for _, id := range r.sink.Jobs() {
			require.Equal(r, jobaudit.Scheduled, r.sink.Trail(id)[0].Why.Kind, "gocron does not tell them apart")
		}
	})
}

func TestAJobThatIsUpdatedKeepsItsIdentifierAndItsSkips(t *testing.T) {
	inFakeTime(t, func(r *rig) {
		task, option := r.audit.Job(submission, slow)
		singleton := gocron.WithSingletonMode(gocron.LimitModeReschedule)
		before, err := r.scheduler.NewJob(gocron.DurationJob(time.Hour), task, option, singleton)
		require.NoError(r, err)
		r.scheduler.Start()
		after, err := r.scheduler.Update(before.ID(), gocron.DurationJob(time.Minute), task, option, singleton)
		require.NoError(r, err)
		require.Equal(r, before.ID(), after.ID())
		r.minutes(2)
		r.stop()
		require.Equal(r, []string{"success", "cancelled SKIPPED"}, r.states())
	})
}

func TestWhileNothingCanBeRecordedNothingRunsAndSomebodyIsTold(t *testing.T) {
	synctest.Test(t, nothingCanBeRecorded)
}

func nothingCanBeRecorded(t *testing.T) {
	log := memsink.New(nil)
	sink := faultsink.New(log)
	recorder, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "cleaner", Environment: "test"}, nil)
	require.NoError(t, err)
	sink.Set(faultsink.Rule{Fault: faultsink.Fail})
	skips, starts := make(chan error, 10), make(chan error, 1)
	passed := skipClock{monitors: &monitors{}, skipped: make(chan time.Time, 1)}
	audit := gocronaudit.New(recorder, &gocronaudit.Options{
		Monitor: passed, OnError: func(_ context.Context, err error) { skips <- err },
	})
	scheduler, err := gocron.NewScheduler(audit.SchedulerOption())
	require.NoError(t, err)
	never := func(context.Context) error {
		t.Error("it runs")
		return nil
	}
	once := gocron.OneTimeJob(gocron.OneTimeJobStartImmediately())
	task, option := audit.Job(submission, never)
	_, err = scheduler.NewJob(once, task, option, gocron.WithEventListeners(
		gocron.AfterJobRunsWithError(func(_ uuid.UUID, _ string, err error) { starts <- err })))
	require.NoError(t, err)
	task, option = audit.Job(submission, never)
	_, err = scheduler.NewJob(once, task, option, gocron.WithDistributedJobLocker(&locker{taken: true}))
	require.NoError(t, err)
	began := time.Now()
	scheduler.Start()
	for _, told := range []chan error{starts, skips} {
		select {
		case err = <-told:
		case <-time.After(time.Hour):
			t.Fatal("nobody is told")
		}
		require.ErrorIs(t, err, faultsink.ErrInjected)
		_, ok := errors.AsType[*jobaudit.AuditError](err)
		require.True(t, ok)
	}
	require.Zero(t, (<-passed.skipped).Sub(began), "gocron does not wait for the end of a tick whose submission has just failed")
	require.NoError(t, scheduler.Shutdown())
	require.Empty(t, log.Jobs())
	sink.Set(faultsink.Rule{})
	require.NoError(t, recorder.Close(context.WithoutCancel(t.Context())))
	<-time.After(time.Minute) // for what goes on in the background
}

// skipClock notes when gocron goes on after a tick that is passed over.
type skipClock struct {
	*monitors
	skipped chan time.Time
}

func (c skipClock) IncrementJob(_ uuid.UUID, _ string, _ []string, status gocron.JobStatus) {
	if status == gocron.Skip {
		c.skipped <- time.Now()
	}
}

func TestNewJobFailsWithoutTheSchedulersOption(t *testing.T) {
	r := newRig(t)
	bare, err := gocron.NewScheduler()
	require.NoError(t, err)
	task, option := gocronaudit.New(r.recorder, nil).Job(submission, nothing)
	_, err = bare.NewJob(gocron.DurationJob(time.Hour), task, option)
	require.ErrorContains(t, err, "SchedulerOption")
	require.NoError(t, bare.Shutdown())
}

func TestAJobIsNamedAfterItsFunctionUnlessItHasAName(t *testing.T) {
	r := newRig(t)
	own, err := r.scheduler.NewJob(gocron.DurationJob(time.Hour), gocron.NewTask(nothing))
	require.NoError(t, err)
	require.Equal(t, own.Name(), r.everyMinute(nothing).Name())
	require.Equal(t, "nightly", r.everyMinute(nothing, gocron.WithName("nightly")).Name())
}

func TestTheProgramsOwnMonitorsAreTold(t *testing.T) {
	inFakeTime(t, func(r *rig) {
		own := &monitors{}
		audit := gocronaudit.New(r.recorder, &gocronaudit.Options{Monitor: own, SchedulerMonitor: own})
		scheduler, err := gocron.NewScheduler(audit.SchedulerOption())
		require.NoError(r, err)
		task, option := audit.Job(submission, func(ctx context.Context) error { return errors.Join(slow(ctx), errFull) })
		job, err := scheduler.NewJob(gocron.DurationJob(time.Minute), task, option, gocron.WithSingletonMode(drops))
		require.NoError(r, err)
		scheduler.Start()
		r.minutes(2)
		require.NoError(r, scheduler.RemoveJob(job.ID()))
		r.minutes(10)
		require.NoError(r, scheduler.Shutdown())
		require.Equal(r, []string{
			"registered", "started", "counted singleton_rescheduled", "limit singleton", "counted fail", "failed",
		}, own.all())
		require.Equal(r, []string{"cancelled CANCELLED", "cancelled SKIPPED"}, r.states(), "and the end of a removed job's run is no refusal")
	})
}
