package main

import (
	"bytes"
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

func TestThePartThatTheGroupCancelsIsToldFromTheOneThatFails(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), &out))
	printed := regexp.MustCompile(`  [0-9.]+(µs|ms|s)  `).ReplaceAllString(out.String(), "  DURATION  ")
	printed = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`).ReplaceAllString(printed, "ID")
	printed = strings.NewReplacer("├─ ", "   ", "└─ ", "   ").Replace(printed)
	lines := strings.Split(strings.TrimSpace(printed), "\n")
	slices.Sort(lines[3:]) // they begin in any order
	require.Equal(t, []string{
		"the backup: the disk is full",
		"",
		"✗ back-up  failed  DURATION  ERROR: the disk is full [*errors.errorString]  ID",
		"   ⊘ copy-images  cancelled  DURATION  CANCELLED: the disk is full [*errors.errorString]  ID",
		"   ✓ copy-accounts  success  DURATION  ID",
		"   ✗ copy-orders  failed  DURATION  ERROR: the disk is full [*errors.errorString]  ID",
	}, lines)
}

func TestAJobWhoseGroupIsStoppedFromOutsideIsCancelledWithItsParts(t *testing.T) {
	sink := memsink.New(nil)
	recorder, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "backup", Environment: "test"}, nil)
	require.NoError(t, err)
	ctx, stop := context.WithCancelCause(t.Context())
	deploy := errors.New("a new version is installed")
	until := func(ctx context.Context) error {
		stop(deploy)
		<-ctx.Done()
		return context.Cause(ctx)
	}
	err = recorder.Run(ctx, submission("back-up"), func(ctx context.Context) error {
		return fanOut(ctx, recorder, map[string]func(context.Context) error{"copy-images": until})
	})
	require.ErrorIs(t, err, deploy)
	require.Len(t, sink.Jobs(), 2)
	for _, id := range sink.Jobs() {
		sink.ExpectStates(t, id, jobaudit.Pending, jobaudit.Running, jobaudit.Cancelled)
	}
}

func TestAPartThatTheGroupDoesNotLetBeginLeavesNoRecord(t *testing.T) {
	sink := memsink.New(nil)
	recorder, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "backup", Environment: "test"}, nil)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	err = fanOut(ctx, recorder, map[string]func(context.Context) error{
		"copy-images": func(context.Context) error {
			t.Error("it runs")
			return nil
		},
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, sink.Jobs(), "to have it on record, submit it before the group does: see examples/goroutines")
}
