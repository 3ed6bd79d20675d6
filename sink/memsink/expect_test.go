package memsink_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
)

var _ memsink.TB = (*testing.T)(nil)

// fake is a test that notes down its failure.
type fake struct{ message string }

func (f *fake) Helper() {}

func (f *fake) Fatalf(format string, args ...any) {
	f.message = fmt.Sprintf(format, args...)
	panic(f)
}

// failure returns how body fails, or "" if it does not.
func failure(body func(memsink.TB)) string {
	f := new(fake)
	func() {
		defer func() {
			if v := recover(); v != nil && v != any(f) {
				panic(v)
			}
		}()
		body(f)
	}()
	return f.message
}

func TestExpectedStatesFailWithTheTimeline(t *testing.T) {
	records := sinktest.Records(5)
	sink, job := memsink.New(nil), records[0].JobID()
	require.NoError(t, sink.Append(t.Context(), records))
	sink.ExpectStates(t, job, jobaudit.Pending, jobaudit.Running, jobaudit.Success)
	message := failure(func(t memsink.TB) { sink.ExpectStates(t, job, jobaudit.Pending, jobaudit.Running) })
	require.Contains(t, message, "[pending running success] instead of [pending running]")
	require.Contains(t, message, "| half of it", "the timeline")
	require.NotEmpty(t, failure(func(t memsink.TB) { sink.ExpectStates(t, records[0].ID(), jobaudit.Pending) }), "no such job")
}

func TestAnExpectedEventIsReturnedOrFailsWithTheTimeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := memsink.New(nil)
		require.NoError(t, sink.Append(t.Context(), sinktest.Records(5)))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		e := sink.ExpectEvent(ctx, t, jobaudit.Query{Types: []jobaudit.EventType{jobaudit.JobLogged}})
		require.Equal(t, "half of it", e.Data.Line)
		message := failure(func(t memsink.TB) {
			sink.ExpectEvent(ctx, t, jobaudit.Query{Action: "reindex", Types: []jobaudit.EventType{jobaudit.JobFailed}})
		})
		require.Contains(t, message, "action=reindex types=[job.failed]")
		require.Contains(t, message, "deadline exceeded")
		require.Contains(t, message, "job.succeeded", "the timeline")
	})
}

func TestAnAbsentTextIsLookedForInEveryForm(t *testing.T) {
	sink := memsink.New(nil)
	require.NoError(t, sink.Append(t.Context(), sinktest.Records(5)))
	sink.ExpectAbsent(t, "no such text")
	require.Contains(t, failure(func(t memsink.TB) { sink.ExpectAbsent(t, "half of it") }), "unchanged: job.logged")
	require.NotEmpty(t, failure(func(t memsink.TB) { sink.ExpectAbsent(t, "") }))
	require.NotEmpty(t, failure(func(t memsink.TB) { sink.ExpectAbsent(t, `"half of it"`[1:5]) }), "short ones, too")
}

func TestAFailureDoesNotQuoteTheText(t *testing.T) {
	sink := memsink.New(nil)
	require.NoError(t, sink.Append(t.Context(), sinktest.Records(5)))
	require.NotContains(t, failure(func(t memsink.TB) { sink.ExpectAbsent(t, "half of it") }), "half of it")
}
