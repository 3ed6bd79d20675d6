package gocronaudit_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/go-co-op/gocron/v2"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
)

var grace = jobaudit.Submission{
	Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "grace", Verified: true},
	Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "it does harm"},
}

// act returns the newest job on record of an action, and its submission.
func (r *rig) act(action string) (job jobaudit.Job, asked jobaudit.Event) {
	r.Helper()
	for _, other := range r.jobs() {
		if other.Metadata.Action == action {
			job = other
		}
	}
	require.NotEqual(r, uuid.Nil, job.ID, action)
	asked = r.sink.Trail(job.ID)[0]
	require.Equal(r, "grace", asked.Who.Principal.ID)
	require.Equal(r, "it does harm", asked.Why.Reason)
	return job, asked
}

func TestAnOperatorsRunIsOnRecord(t *testing.T) {
	inFakeTime(t, func(r *rig) {
		job := r.everyMinute(nothing)
		r.scheduler.Start()
		require.NoError(r, r.audit.NewAdmin(r.scheduler).RunNow(r.Context(), grace, job.ID()))
		synctest.Wait()
		r.stop()
		act, asked := r.act("gocron-job-run")
		require.Equal(r, jobaudit.Success, act.State)
		require.Contains(r, asked.What.Resource, job.ID().String())
		require.Contains(r, asked.What.Resource, job.Name())
		require.Equal(r, []string{"success", "success"}, r.states(), "the act, and the run")
	})
}

func TestAJobThatAnOperatorRemovesIsCancelledAndSaysByWhom(t *testing.T) {
	for name, remove := range map[string]func(*rig, gocron.Job) error{
		"by its ID": func(r *rig, job gocron.Job) error {
			return r.audit.NewAdmin(r.scheduler).RemoveJob(r.Context(), grace, job.ID())
		},
		"by a tag": func(r *rig, _ gocron.Job) error {
			n, err := r.audit.NewAdmin(r.scheduler).RemoveByTags(r.Context(), grace, "other", "slow")
			require.Equal(r, 1, n)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			inFakeTime(t, func(r *rig) {
				job := r.everyMinute(untilStopped, gocron.WithTags("slow"), gocron.WithSingletonMode(drops))
				r.everyMinute(nothing)
				r.scheduler.Start()
				r.minutes(1)
				require.NoError(r, remove(r, job))
				synctest.Wait()
				require.Len(r, r.scheduler.Jobs(), 1, "the other one stays")
				r.stop()
				act, _ := r.act("gocron-job-remove")
				require.Equal(r, jobaudit.Success, act.State)
				var run jobaudit.Job
				for _, other := range r.jobs() {
					if other.State == jobaudit.Cancelled {
						run = other
					}
				}
				require.Equal(r, []string{"its schedule is removed by user grace, job " + act.ID.String() + ": it does harm"}, run.Logs)
				require.Contains(r, act.Logs[0], run.ID.String())
			})
		})
	}
}

func TestAnOperatorStopsAndStartsTheSchedulerOnRecord(t *testing.T) {
	inFakeTime(t, func(r *rig) {
		admin, ran := r.audit.NewAdmin(r.scheduler), 0
		r.everyMinute(func(context.Context) error { ran++; return nil })
		require.NoError(r, admin.Start(r.Context(), grace))
		r.minutes(2)
		require.NoError(r, admin.StopJobs(r.Context(), grace))
		r.minutes(5)
		require.Equal(r, 2, ran)
		require.NoError(r, admin.Start(r.Context(), grace))
		r.minutes(1)
		require.Greater(r, ran, 2)
		r.stop()
		for _, action := range []string{"gocron-scheduler-stop", "gocron-scheduler-start"} {
			act, _ := r.act(action)
			require.Equal(r, jobaudit.Success, act.State)
		}
	})
}

func TestWhatAnOperatorCannotDoIsOnRecordAsFailed(t *testing.T) {
	inFakeTime(t, func(r *rig) {
		admin, none := r.audit.NewAdmin(r.scheduler), uuid.New()
		r.scheduler.Start()
		require.ErrorIs(r, admin.RemoveJob(r.Context(), grace, none), gocron.ErrJobNotFound)
		require.ErrorIs(r, admin.RunNow(r.Context(), grace, none), gocron.ErrJobNotFound)
		require.Equal(r, []string{"failed ERROR", "failed ERROR"}, r.states())
		job := r.everyMinute(nothing)
		_, incomplete := errors.AsType[*jobaudit.FieldError](admin.RemoveJob(r.Context(), jobaudit.Submission{}, job.ID()))
		require.True(r, incomplete)
		require.Len(r, r.scheduler.Jobs(), 1, "who does not say who and why does nothing")
		r.stop()
	})
}
