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

// hourly holds the lines that the README and docs/adapters.md show.
func hourly(recorder *jobaudit.Recorder, logger cron.Logger, cleanUp func(context.Context) error) (*cron.Cron, error) {
	audit := cronaudit.New(recorder, nil)
	scheduler := cron.New()
	_, err := scheduler.AddJob("@hourly", cronaudit.Job(audit, func(context.Context) jobaudit.Submission {
		return jobaudit.Submission{
			Action:    "clean-up",
			Principal: jobaudit.Principal{Kind: jobaudit.Service, ID: "cleaner"},
			Trigger:   jobaudit.Trigger{Kind: jobaudit.Scheduled, Reason: "every hour", Ref: "cron/clean-up"},
		}
	}, cleanUp, cron.NewChain(cron.SkipIfStillRunning(logger), cron.Recover(logger)).Then))
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

func TestAJobOfTheReadmesChainRunsAgainAfterAPanic(t *testing.T) {
	sink := memsink.New(nil)
	recorder, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "cleaner", Environment: "test"}, nil)
	require.NoError(t, err)
	runs := 0
	scheduler, err := hourly(recorder, cron.DiscardLogger, func(context.Context) error {
		if runs++; runs == 1 {
			panic("out of its mind, once")
		}
		return nil
	})
	require.NoError(t, err)
	for range 5 {
		scheduler.Entries()[0].Job.Run()
	}
	require.Equal(t, 5, runs)
	require.Equal(t, jobaudit.Failed, last(sink.States(sink.Jobs()[0])))
	for _, id := range sink.Jobs()[1:] {
		require.Equal(t, jobaudit.Success, last(sink.States(id)))
	}
}

func last(states []jobaudit.JobState) jobaudit.JobState { return states[len(states)-1] }
