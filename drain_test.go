package jobaudit_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
)

// leftOver is what an earlier process has left in a fallback: three batches or more.
func leftOver(t *testing.T) []jobaudit.Record {
	t.Helper()
	store := newSwitched()
	rec := open(t, store, nil)
	tr := begun(t, rec)
	for range 650 {
		tr.Log(t.Context(), "line")
	}
	require.NoError(t, rec.Close(t.Context()))
	var records []jobaudit.Record
	for r, err := range store.Records(t.Context(), jobaudit.Query{JobID: tr.JobID()}) {
		require.NoError(t, err)
		records = append(records, r)
	}
	return records
}

// faultAt answers the calls for a job, from the first on; those beyond the list succeed.
func faultAt(of jobaudit.Record, answers ...error) func([]jobaudit.Record) error {
	calls := 0
	return func(records []jobaudit.Record) error {
		if records[0].JobID() != of.JobID() {
			return nil
		}
		if calls++; calls > len(answers) {
			return nil
		}
		return answers[calls-1]
	}
}

// drains runs a test over fallbacks that hold records which the sink has refused for good.
func drains(t *testing.T, test func(t *testing.T, rec *jobaudit.Recorder, store *switched, left []jobaudit.Record)) {
	t.Helper()
	for name, fallback := range map[string]func(*forgetful) jobaudit.AuditSink{
		"it forgets":   func(f *forgetful) jobaudit.AuditSink { return f },
		"it remembers": func(f *forgetful) jobaudit.AuditSink { return remembering{f} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				left := leftOver(t)
				spare, store := &forgetful{}, newSwitched()
				require.NoError(t, spare.Append(t.Context(), left))
				store.set(func(records []jobaudit.Record) error {
					if records[0].JobID() == left[0].JobID() {
						return jobaudit.ErrConflict
					}
					return nil
				})
				rec := open(t, store, &jobaudit.Options{Fallback: fallback(spare), OnError: func(context.Context, *jobaudit.AuditError) {}})
				synctest.Wait()
				require.EqualValues(t, len(left), rec.Stats().InFallback)
				test(t, rec, store, left)
				require.Zero(t, rec.Stats().InFallback)
				require.Len(t, store.Trail(left[0].JobID()), len(left))
				require.NoError(t, rec.Close(t.Context()))
			})
		})
	}
}

// A Drain that fails half way leaves the rest to the next, and the count as it was.
func TestADrainGoesOnWhereTheOneBeforeItFailed(t *testing.T) {
	drains(t, func(t *testing.T, rec *jobaudit.Recorder, store *switched, left []jobaudit.Record) {
		for range 2 {
			store.set(faultAt(left[0], nil, errWork))
			require.ErrorIs(t, rec.Drain(t.Context()), errWork)
			require.EqualValues(t, len(left), rec.Stats().InFallback)
		}
		store.set(faultAt(left[0], nil, errWork))
		require.NoError(t, rec.Drain(t.Context()), "one batch was left")
	})
}

// Who drains has all tried that the sink has refused, also what a Drain that failed has read.
func TestADrainTriesAgainWhatAFailedOneHasLeft(t *testing.T) {
	drains(t, func(t *testing.T, rec *jobaudit.Recorder, store *switched, left []jobaudit.Record) {
		refused := 0
		store.set(func(records []jobaudit.Record) error {
			switch {
			case records[0].JobID() != left[0].JobID():
				return nil
			case refused > 256:
				return errWork
			}
			refused++ // the first batch as a whole, then each of its records
			return jobaudit.ErrConflict
		})
		require.ErrorIs(t, rec.Drain(t.Context()), errWork)
		require.EqualValues(t, len(left), rec.Stats().InFallback)
		store.set(nil)
		require.NoError(t, rec.Drain(t.Context()))
	})
}
