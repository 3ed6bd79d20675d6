package gocronaudit_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-co-op/gocron/v2"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/worker/gocronaudit"
)

// rig is a scheduler of gocron's in fake time, whose jobs are on record.
type rig struct {
	*testing.T
	sink      *memsink.Sink
	recorder  *jobaudit.Recorder
	audit     *gocronaudit.Audit
	scheduler gocron.Scheduler
}

// inFakeTime runs a test in which minutes pass at once. A rig there has stopped
// when the test returns.
func inFakeTime(t *testing.T, test func(r *rig), options ...gocron.SchedulerOption) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(newRig(t, options...)) })
}

func newRig(t *testing.T, options ...gocron.SchedulerOption) *rig {
	t.Helper()
	r := &rig{T: t, sink: memsink.New(nil)}
	var err error
	r.recorder, err = jobaudit.Open(t.Context(), r.sink, jobaudit.Source{System: "cleaner", Environment: "test"},
		&jobaudit.Options{Heartbeat: -1, OnError: func(ctx context.Context, err *jobaudit.AuditError) { r.unexpected(ctx, err) }})
	require.NoError(t, err)
	r.audit = gocronaudit.New(r.recorder, &gocronaudit.Options{OnError: r.unexpected})
	r.scheduler, err = gocron.NewScheduler(append(options, r.audit.SchedulerOption())...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.scheduler.Shutdown() })
	return r
}

func (r *rig) unexpected(_ context.Context, err error) { r.Errorf("told of %v", err) }

func submission(context.Context) jobaudit.Submission {
	return jobaudit.Submission{
		Action:    "clean-up",
		Principal: jobaudit.Principal{Kind: jobaudit.Service, ID: "gocron"},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Scheduled, Reason: "every minute", Ref: "gocron/clean-up"},
	}
}

// every minute is when a job runs here.
func (r *rig) everyMinute(fn func(context.Context) error, options ...gocron.JobOption) gocron.Job {
	r.Helper()
	return r.at(gocron.DurationJob(time.Minute), fn, options...)
}

func (r *rig) at(when gocron.JobDefinition, fn func(context.Context) error, options ...gocron.JobOption) gocron.Job {
	r.Helper()
	task, option := r.audit.Job(submission, fn)
	job, err := r.scheduler.NewJob(when, task, append([]gocron.JobOption{option}, options...)...)
	require.NoError(r, err)
	return job
}

// minutes lets so many pass, and what begins at their end come to rest.
func (r *rig) minutes(n int) {
	<-time.After(time.Duration(n) * time.Minute)
	synctest.Wait()
}

// jobs returns those on record in the order of their submissions.
func (r *rig) jobs() (jobs []jobaudit.Job) {
	r.Helper()
	for _, id := range r.sink.Jobs() {
		job, err := jobaudit.Replay(r.sink.Records(r.Context(), jobaudit.Query{JobID: id}))
		require.NoError(r, err)
		require.Empty(r, job.Unapplied)
		jobs = append(jobs, job)
	}
	return jobs
}

// states says how the jobs on record ended.
func (r *rig) states() (list []string) {
	r.Helper()
	for _, job := range r.jobs() {
		state := string(job.State)
		if job.Error != nil {
			state += " " + string(job.Error.Code)
		}
		list = append(list, state)
	}
	return list
}

// stop ends the ticks, and the scheduler when the runs have ended: Shutdown spins
// while it waits for runs, and that stops fake time.
func (r *rig) stop() {
	r.Helper()
	for _, job := range r.scheduler.Jobs() {
		require.NoError(r, r.scheduler.RemoveJob(job.ID()))
	}
	r.minutes(10)
	require.NoError(r, r.scheduler.Shutdown())
}

func nothing(context.Context) error { return nil }

// slow takes two and a half minutes.
func slow(context.Context) error {
	<-time.After(150 * time.Second)
	return nil
}

// untilStopped takes as long as it may.
func untilStopped(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

var errFull = errors.New("no space left")

// monitors are a program's own.
type monitors struct {
	mu    sync.Mutex
	heard []string
}

func (m *monitors) add(what string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.heard = append(m.heard, what)
}

func (m *monitors) all() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.heard)
}

func (m *monitors) IncrementJob(_ uuid.UUID, _ string, _ []string, status gocron.JobStatus) {
	m.add("counted " + string(status))
}
func (m *monitors) RecordJobTiming(_, _ time.Time, _ uuid.UUID, _ string, _ []string)    {}
func (m *monitors) SchedulerStarted()                                                    {}
func (m *monitors) SchedulerStopped()                                                    {}
func (m *monitors) SchedulerShutdown()                                                   {}
func (m *monitors) JobRegistered(gocron.Job)                                             { m.add("registered") }
func (m *monitors) JobUnregistered(gocron.Job)                                           {}
func (m *monitors) JobStarted(gocron.Job)                                                { m.add("started") }
func (m *monitors) JobRunning(gocron.Job)                                                {}
func (m *monitors) JobFailed(gocron.Job, error)                                          { m.add("failed") }
func (m *monitors) JobCompleted(gocron.Job)                                              {}
func (m *monitors) JobExecutionTime(gocron.Job, time.Duration)                           {}
func (m *monitors) JobSchedulingDelay(_ gocron.Job, scheduledTime, actualTime time.Time) {}
func (m *monitors) ConcurrencyLimitReached(limit string, _ gocron.Job)                   { m.add("limit " + limit) }
