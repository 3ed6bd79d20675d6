package gocronaudit_test

import (
	"context"
	"testing"
	"time"

	"github.com/go-co-op/gocron/v2"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/worker/gocronaudit"
)

// hourly holds the lines that the README and docs/adapters.md show.
func hourly(recorder *jobaudit.Recorder, cleanUp func(context.Context) error) (gocron.Scheduler, error) {
	audit := gocronaudit.New(recorder, nil)
	scheduler, err := gocron.NewScheduler(audit.SchedulerOption())
	if err != nil {
		return nil, err
	}
	task, option := audit.Job(func(context.Context) jobaudit.Submission {
		return jobaudit.Submission{
			Action:    "clean-up",
			Principal: jobaudit.Principal{Kind: jobaudit.Service, ID: "cleaner"},
			Trigger:   jobaudit.Trigger{Kind: jobaudit.Scheduled, Reason: "every hour", Ref: "gocron/clean-up"},
		}
	}, cleanUp)
	_, err = scheduler.NewJob(gocron.DurationJob(time.Hour), task, option,
		gocron.WithSingletonMode(gocron.LimitModeReschedule))
	return scheduler, err
}

func TestTheLinesInTheReadmePutTicksOnRecord(t *testing.T) {
	inFakeTime(t, func(r *rig) {
		scheduler, err := hourly(r.recorder, untilStopped)
		require.NoError(r, err)
		scheduler.Start()
		r.minutes(150)
		require.NoError(r, scheduler.Shutdown())
		require.Equal(r, []string{"cancelled CANCELLED", "cancelled SKIPPED"}, r.states())
	})
}
