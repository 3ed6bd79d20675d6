package main

import (
	"context"
	"testing"

	"github.com/robfig/cron/v3"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/worker/cronaudit"
)

// hourly holds the lines that the README shows.
func hourly(recorder *jobaudit.Recorder, logger cron.Logger, cleanUp func(context.Context) error) (*cron.Cron, error) {
	scheduler := cron.New()
	_, err := scheduler.AddJob("@hourly", cronaudit.Job(recorder, func(context.Context) jobaudit.Submission {
		return jobaudit.Submission{
			Action:    "clean-up",
			Principal: jobaudit.Principal{Kind: jobaudit.Service, ID: "cleaner"},
			Trigger:   jobaudit.Trigger{Kind: jobaudit.Scheduled, Reason: "every hour", Ref: "cron/clean-up"},
		}
	}, cleanUp, cron.NewChain(cron.Recover(logger), cron.SkipIfStillRunning(logger)).Then, nil))
	return scheduler, err
}

func TestTheLinesInTheReadmePutATickOnRecord(t *testing.T) {
	sink := memsink.New(nil)
	recorder, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "cleaner", Environment: "test"}, nil)
	require.NoError(t, err)
	scheduler, err := hourly(recorder, cron.DiscardLogger, func(context.Context) error { return nil })
	require.NoError(t, err)
	scheduler.Entries()[0].Job.Run()
	sink.ExpectStates(t, sink.Jobs()[0], jobaudit.Pending, jobaudit.Running, jobaudit.Success)
}
