package slogaudit_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/slogaudit"
)

// logged runs a job that logs, and returns what its record holds.
func logged(t *testing.T, opts *jobaudit.Options, job func(context.Context) error) (lines []string) {
	t.Helper()
	sink := memsink.New(nil)
	recorder, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "reports", Environment: "test"}, opts)
	require.NoError(t, err)
	require.NoError(t, recorder.Run(t.Context(), jobaudit.Submission{
		Action:    "send-report",
		Inputs:    map[string]string{"card": "4929 1234 5678 9012"},
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada", Verified: true},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "the board meets"},
	}, job))
	require.NoError(t, recorder.Close(t.Context()))
	for r, err := range sink.Records(t.Context(), jobaudit.Query{Types: []jobaudit.EventType{jobaudit.JobLogged}}) {
		require.NoError(t, err)
		lines = append(lines, r.Event().Data.Line)
	}
	return lines
}

func TestAJobsLinesAreRecordedFromALevelOn(t *testing.T) {
	var out bytes.Buffer
	logger := slog.New(slogaudit.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}), nil))
	lines := logged(t, nil, func(ctx context.Context) error {
		logger.DebugContext(ctx, "cache miss", "key", 7)
		logger.InfoContext(ctx, "12 pages for 4 readers", "msg", "own", "n", 12)
		logger.With("shop", "a b").WithGroup("g").WarnContext(ctx, "slow", "ms", 900, slog.Group("x", "y", 1))
		logger.ErrorContext(ctx, "no answer", "err", errors.New("refused"))
		logger.Info("of no job")
		return nil
	})
	logger.InfoContext(t.Context(), "behind the job")
	require.Equal(t, []string{
		`12 pages for 4 readers msg=own n=12`,
		`WARN slow shop="a b" g.ms=900 g.x.y=1`,
		`ERROR no answer err=refused`,
	}, lines)
	for _, said := range []string{"cache miss", "12 pages", "slow", "no answer", "of no job", "behind the job"} {
		require.Contains(t, out.String(), said, "the handler behind gets all")
	}
}

func TestTheLevelOfTheRecordIsItsOwn(t *testing.T) {
	level := new(slog.LevelVar)
	level.Set(slog.LevelWarn)
	var out bytes.Buffer
	logger := slog.New(slogaudit.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelError}), &slogaudit.Options{Level: level}))
	lines := logged(t, nil, func(ctx context.Context) error {
		require.False(t, logger.Enabled(ctx, slog.LevelInfo))
		logger.InfoContext(ctx, "info")
		logger.WarnContext(ctx, "warned")
		level.Set(slog.LevelDebug)
		logger.DebugContext(ctx, "debugged")
		return nil
	})
	require.Equal(t, []string{"WARN warned", "DEBUG debugged"}, lines)
	require.Empty(t, out.String())
}

type hidden struct{}

func (hidden) LogValue() slog.Value { return slog.StringValue("hidden") }

func TestNoSecretOfALineIsRecorded(t *testing.T) {
	logger := slog.New(slogaudit.New(nil, nil))
	redactors, err := jobaudit.NewRegistry(nil, jobaudit.NewRedactor("send-report", "1",
		jobaudit.InputPaths[map[string]string](jobaudit.Drop("card", "payment"))))
	require.NoError(t, err)
	lines := logged(t, &jobaudit.Options{Redactors: redactors}, func(ctx context.Context) error {
		logger.InfoContext(ctx, "paid", "with", "4929 1234 5678 9012")
		logger.InfoContext(ctx, "signed in", "token", "ghp_"+"16C7e42F292c6912E7710c838347Ae178B4a")
		logger.InfoContext(ctx, "value", "v", hidden{})
		logger.With("token", jobaudit.Secret[string]{}).InfoContext(ctx, "secret")
		return nil
	})
	require.Len(t, lines, 4)
	require.NotContains(t, lines[0], "4929")
	require.NotContains(t, lines[1], "ghp_")
	require.Equal(t, "value v=hidden", lines[2])
}

func TestALineOfAnotherJobGoesToThatJob(t *testing.T) {
	logger := slog.New(slogaudit.New(nil, nil))
	sink := memsink.New(nil)
	recorder, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "reports", Environment: "test"}, nil)
	require.NoError(t, err)
	run := func(ctx context.Context, action string, job func(context.Context) error) error {
		return recorder.Run(ctx, jobaudit.Submission{
			Action: action, Principal: jobaudit.Principal{Kind: jobaudit.Service, ID: "s"},
			Trigger: jobaudit.Trigger{Kind: jobaudit.OnEvent, Reason: "r"},
		}, job)
	}
	require.NoError(t, run(t.Context(), "outer", func(ctx context.Context) error {
		err := run(ctx, "inner", func(ctx context.Context) error {
			logger.InfoContext(ctx, "in the inner")
			return nil
		})
		logger.InfoContext(ctx, "in the outer")
		return err
	}))
	require.NoError(t, recorder.Close(t.Context()))
	for r, err := range sink.Records(t.Context(), jobaudit.Query{Types: []jobaudit.EventType{jobaudit.JobLogged}}) {
		require.NoError(t, err)
		require.Equal(t, "in the "+r.Event().What.Action, r.Event().Data.Line)
	}
}
