package jobaudit_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// Each of these was acknowledged once, and no reader got past it.
func TestWhatCouldNotBeReadIsRefusedOrMended(t *testing.T) {
	open := func(t *testing.T, change func(*jobaudit.Options)) (*jobaudit.Recorder, *parsingSink, chan error) {
		told := make(chan error, 100)
		opts := &jobaudit.Options{Heartbeat: -1, OnError: func(_ context.Context, err *jobaudit.AuditError) { told <- err }}
		change(opts)
		sink := &parsingSink{Sink: memsink.New(nil), t: t}
		r, err := jobaudit.Open(t.Context(), sink, goldenSource, opts)
		require.NoError(t, err)
		return r, sink, told
	}
	t.Run("attempts that no reader counts", func(t *testing.T) {
		r, _, _ := open(t, func(*jobaudit.Options) {})
		trail, err := r.Submit(t.Context(), plainSubmission())
		require.NoError(t, err)
		attempts := []int{-1}
		for _, n := range []int64{1 << 31, 1<<53 + 1} {
			if int64(int(n)) == n { // where an int has room for it
				attempts = append(attempts, int(n))
			}
		}
		for _, attempt := range attempts {
			requireField(t, trail.Start(t.Context(), jobaudit.Execution{Attempt: attempt}), "job.attempt")
		}
		require.NoError(t, trail.Start(t.Context(), jobaudit.Execution{Attempt: 1<<31 - 1}))
		trail.Retrying(t.Context(), nil)
		requireField(t, trail.Start(t.Context(), jobaudit.Execution{}), "job.attempt")
		require.NoError(t, trail.Succeed(t.Context()), "an outcome is never lost for it")
	})
	t.Run("clocks outside what is stored, and IDs that are none", func(t *testing.T) {
		for _, at := range extremeTimes {
			r, sink, told := open(t, func(o *jobaudit.Options) {
				o.Now, o.Heartbeat = func() time.Time { return at }, time.Hour
				o.NewID = func() uuid.UUID { return uuid.Max }
			})
			require.NoError(t, r.Run(t.Context(), plainSubmission(), func(context.Context) error { return nil }))
			require.NoError(t, r.Close(t.Context()))
			require.Len(t, sink.Jobs(), 1)
			require.ErrorContains(t, <-told, "Options.")
		}
	})
	t.Run("a clock and a source of IDs that panic", func(t *testing.T) {
		r, _, told := open(t, func(o *jobaudit.Options) {
			o.Now = func() time.Time { panic("no time") }
			o.NewID = func() uuid.UUID { panic("no ID") }
		})
		require.NoError(t, r.Run(t.Context(), plainSubmission(), func(context.Context) error { return nil }))
		require.NoError(t, r.Close(t.Context()))
		require.ErrorContains(t, <-told, "panicked")
	})
	t.Run("a record of an action that is too long", func(t *testing.T) {
		line := string(jobaudit.GoldenRecords(t)[jobaudit.JobStarted].Bytes())
		line = strings.Replace(line, `"action":"trigger-github-workflow"`, `"action":"`+strings.Repeat("a", 45_000)+`"`, 1)
		_, err := jobaudit.ParseRecord([]byte(line))
		requireField(t, err, "what.action")
	})
	t.Run("a key without an ID", func(t *testing.T) {
		r, sink, told := open(t, func(*jobaudit.Options) {})
		require.NoError(t, r.Erase(t.Context(), keysOf{"", "k1", strings.Repeat("k", 257), "\x00"}, "u-1", "asked for"))
		record, err := sink.Wait(t.Context(), jobaudit.Query{Types: []jobaudit.EventType{jobaudit.AuditErased}})
		require.NoError(t, err)
		require.Equal(t, []string{"k1"}, record.Event().Data.Erased.Keys)
		require.EqualValues(t, 3, record.Event().Data.Erased.More, "keys that cannot be named are counted")
		require.ErrorContains(t, <-told, "3 keys")
	})
}
