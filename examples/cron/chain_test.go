package main

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robfig/cron/v3"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/worker/cronaudit"
)

// These tests hold package cronaudit to the real robfig/cron.

// robfig/cron's scheduler is one that operators' acts can be recorded on.
var _ = func(audit *cronaudit.Audit, c *cron.Cron) *cronaudit.Admin[cron.EntryID] {
	return cronaudit.NewAdmin(audit, c)
}

// scheduled runs a job every minute for so many minutes of fake time, and
// returns the jobs that are on record, in the order of their ticks.
func scheduled(t *testing.T, minutes int, fn func(context.Context) error, wrappers ...cron.JobWrapper) []jobaudit.Job {
	t.Helper()
	jobs, errs := scheduledAndTold(t, minutes, fn, wrappers...)
	require.Empty(t, errs, "what OnError was told")
	return jobs
}

// scheduledAndTold is scheduled, and returns what OnError was told besides.
func scheduledAndTold(
	t *testing.T, minutes int, fn func(context.Context) error, wrappers ...cron.JobWrapper,
) (jobs []jobaudit.Job, errs []error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		sink := memsink.New(nil)
		recorder, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "cleaner", Environment: "test"},
			&jobaudit.Options{Heartbeat: -1})
		require.NoError(t, err)
		audit := cronaudit.New(recorder, &cronaudit.Options{OnError: func(_ context.Context, err error) {
			errs = append(errs, err) // one tick a minute: never two at a time
		}})
		scheduler := cron.New()
		_, err = scheduler.AddJob("@every 1m", cronaudit.Job(audit, submission, fn, cron.NewChain(wrappers...).Then))
		require.NoError(t, err)
		scheduler.Start()
		<-time.After(time.Duration(minutes)*time.Minute + 30*time.Second)
		<-scheduler.Stop().Done()
		require.NoError(t, recorder.Close(t.Context()))
		for _, id := range sink.Jobs() {
			job, err := jobaudit.Replay(sink.Records(t.Context(), jobaudit.Query{JobID: id}))
			require.NoError(t, err)
			require.Empty(t, job.Unapplied)
			jobs = append(jobs, job)
		}
	})
	return jobs, errs
}

func states(jobs []jobaudit.Job) (list []string) {
	for _, job := range jobs {
		state := string(job.State)
		if job.Error != nil {
			state += " " + string(job.Error.Code)
		}
		list = append(list, state)
	}
	return list
}

// slow takes two and a half minutes.
func slow(context.Context) error {
	<-time.After(150 * time.Second)
	return nil
}

func TestEachTickIsAJobThatRuns(t *testing.T) {
	jobs := scheduled(t, 3, func(context.Context) error { return nil })
	require.Equal(t, []string{"success", "success", "success"}, states(jobs))
	require.Equal(t, time.Minute, jobs[1].CreatedAt.Sub(jobs[0].CreatedAt))
}

func TestRunsThatOverlapAreToldApart(t *testing.T) {
	jobs := scheduled(t, 3, slow)
	require.Equal(t, []string{"success", "success", "success"}, states(jobs))
	require.True(t, jobs[2].StartedAt.Before(jobs[0].CompletedAt))
}

func TestASkippedTickIsCancelledAndNamesTheRun(t *testing.T) {
	jobs := scheduled(t, 5, slow, cron.SkipIfStillRunning(cron.DiscardLogger))
	require.Equal(t, []string{"success", "cancelled SKIPPED", "cancelled SKIPPED", "success", "cancelled SKIPPED"}, states(jobs))
	require.Contains(t, jobs[1].Error.Message, jobs[0].ID.String())
	require.Contains(t, jobs[4].Error.Message, jobs[3].ID.String())
	require.True(t, jobs[1].StartedAt.IsZero())
}

// Its mutex does not go with fake time, so the ticks come by hand.
func TestADelayedTickWaitsAndThenRuns(t *testing.T) {
	sink := memsink.New(nil)
	recorder, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "cleaner", Environment: "test"}, nil)
	require.NoError(t, err)
	begun, goOn := make(chan struct{}), make(chan struct{})
	job := cronaudit.Job(cronaudit.New(recorder, nil), submission, func(context.Context) error {
		begun <- struct{}{}
		<-goOn
		return nil
	}, cron.NewChain(cron.DelayIfStillRunning(cron.DiscardLogger)).Then)
	var ticks sync.WaitGroup
	ticks.Go(job.Run)
	<-begun
	first := sink.Jobs()[0]
	for range 2 {
		q := jobaudit.Query{Types: []jobaudit.EventType{jobaudit.JobSubmitted}}
		for _, id := range sink.Jobs() {
			q.After = sink.Trail(id)[0].ID
		}
		ticks.Go(job.Run)
		_, err := sink.Wait(t.Context(), q)
		require.NoError(t, err)
	}
	for _, id := range sink.Jobs()[1:] {
		require.Equal(t, []jobaudit.JobState{jobaudit.Pending}, sink.States(id), "asked for, and not started")
	}
	sink.ExpectStates(t, first, jobaudit.Pending, jobaudit.Running)
	goOn <- struct{}{}
	for range 2 {
		<-begun
		goOn <- struct{}{}
	}
	ticks.Wait()
	for _, id := range sink.Jobs() {
		sink.ExpectStates(t, id, jobaudit.Pending, jobaudit.Running, jobaudit.Success)
	}
}

func TestAJobThatPanicsOnceRunsAgainIfRecoverStandsLast(t *testing.T) {
	runs := 0
	once := func(context.Context) error {
		if runs++; runs == 1 {
			panic("out of its mind")
		}
		return nil
	}
	told := &panics{}
	jobs := scheduled(t, 5, once, cron.SkipIfStillRunning(cron.DiscardLogger), cron.Recover(told))
	require.Equal(t, []string{"failed PANIC", "success", "success", "success", "success"}, states(jobs))
	require.Equal(t, []string{"out of its mind"}, told.list)
	require.NotContains(t, jobs[0].Error.Message, "out of its mind", "a panic's value is not stored")
}

// The trap of robfig/cron 3: SkipIfStillRunning never releases a run that panics
// through it. The record shows it, and OnError is told once.
func TestAJobThatPanicsThroughSkipIfStillRunningIsToldToBeStuck(t *testing.T) {
	told := &panics{}
	jobs, errs := scheduledAndTold(t, 5, func(context.Context) error { panic("out of its mind") },
		cron.Recover(told), cron.SkipIfStillRunning(cron.DiscardLogger))
	require.Equal(t, []string{
		"failed PANIC", "cancelled SKIPPED", "cancelled SKIPPED", "cancelled SKIPPED", "cancelled SKIPPED",
	}, states(jobs))
	for _, job := range jobs[1:] {
		require.Contains(t, job.Error.Message, "no run of it was at work")
	}
	require.Len(t, errs, 1)
	require.ErrorIs(t, errs[0], cronaudit.ErrStuck)
}

// panics is a logger that panics are reported to.
type panics struct {
	mu   sync.Mutex
	list []string
}

func (p *panics) Info(string, ...any) {}

func (p *panics) Error(err error, _ string, _ ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = append(p.list, err.Error())
}

func TestAJobUnderAWrapperOfTheWholeSchedulerLeavesNoTraceOfWhatThatSkips(t *testing.T) {
	sink := memsink.New(nil)
	recorder, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "cleaner", Environment: "test"}, nil)
	require.NoError(t, err)
	scheduler := cron.New(cron.WithChain(func(cron.Job) cron.Job { return cron.FuncJob(func() {}) }))
	id, err := scheduler.AddJob("@hourly", cronaudit.Job(cronaudit.New(recorder, nil), submission, slow, cron.NewChain().Then))
	require.NoError(t, err)
	scheduler.Entry(id).WrappedJob.Run()
	require.Empty(t, sink.Jobs(), "as the package's documentation says")
}
