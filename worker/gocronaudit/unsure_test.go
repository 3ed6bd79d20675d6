package gocronaudit_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-co-op/gocron/v2"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/worker/gocronaudit"
)

func TestATickOfWhichItIsNotKnownWhetherItIsOnRecordHasAnEnd(t *testing.T) {
	eachUnsure(t, func(t *testing.T, sink *unsureSink) {
		synctest.Test(t, func(t *testing.T) {
			r := &rig{T: t, sink: sink.Sink}
			var err error
			r.recorder, err = jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "cleaner", Environment: "test"}, unsureOptions())
			require.NoError(t, err)
			r.audit = gocronaudit.New(r.recorder, &gocronaudit.Options{OnError: func(context.Context, error) {}})
			r.scheduler, err = gocron.NewScheduler(r.audit.SchedulerOption())
			require.NoError(t, err)
			r.everyMinute(slow, gocron.WithSingletonMode(gocron.LimitModeReschedule)) // which passes ticks over
			r.scheduler.Start()
			r.minutes(5)
			r.stop()
			require.NoError(t, r.recorder.Close(context.WithoutCancel(t.Context())))
			time.Sleep(time.Minute)
		})
	})
}
