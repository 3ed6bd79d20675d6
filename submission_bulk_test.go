package jobaudit_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// counting is a sink that counts what it is asked for.
type counting struct {
	store *memsink.Sink
	calls atomic.Int64
	fails func(call int64, records []jobaudit.Record) error
}

func (c *counting) Append(ctx context.Context, records []jobaudit.Record) error {
	call := c.calls.Add(1)
	if c.fails != nil {
		if err := c.fails(call, records); err != nil {
			return err
		}
	}
	return c.store.Append(ctx, records)
}

func manySubmissions(n int) []jobaudit.Submission {
	list := make([]jobaudit.Submission, n)
	for i := range list {
		list[i] = submission()
		list[i].Resource = fmt.Sprint("thing ", i)
	}
	return list
}

func TestSubmissionsOfOneCallAreStoredByOneAppend(t *testing.T) {
	sink := &counting{store: memsink.New(nil)}
	rec := open(t, sink, nil)
	before := sink.calls.Load()
	list := manySubmissions(1_000)
	trails, err := rec.SubmitAll(t.Context(), list)
	require.NoError(t, err)
	require.Equal(t, before+1, sink.calls.Load())
	require.Len(t, trails, len(list))
	for i, tr := range trails {
		stored := sink.store.Trail(tr.JobID())
		require.Len(t, stored, 1)
		require.Equal(t, jobaudit.JobSubmitted, stored[0].Type)
		require.Equal(t, list[i].Resource, stored[0].What.Resource, "in their order")
	}
	require.NoError(t, trails[7].Run(t.Context(), jobaudit.Execution{}, func(context.Context) error { return nil }))
	require.Equal(t, jobaudit.Success, jobOf(t, sink.store, trails[7].JobID()).State)
	none, err := rec.SubmitAll(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, none)
	require.NoError(t, rec.Close(t.Context()))
}

func TestOneInvalidSubmissionOfACallIsNamedAndNoneIsStored(t *testing.T) {
	sink := &counting{store: memsink.New(nil)}
	rec := open(t, sink, nil)
	same := uuid.Must(uuid.NewV7())
	for name, spoil := range map[string]func(list []jobaudit.Submission){
		"a field is missing": func(list []jobaudit.Submission) { list[3].Action = "" },
		"an ID stands twice": func(list []jobaudit.Submission) { list[1].ID, list[3].ID = same, same },
	} {
		t.Run(name, func(t *testing.T) {
			list := manySubmissions(5)
			spoil(list)
			before := sink.store.Len()
			trails, err := rec.SubmitAll(t.Context(), list)
			require.Nil(t, trails)
			_, ok := errors.AsType[*jobaudit.AuditError](err)
			require.True(t, ok)
			_, ok = errors.AsType[*jobaudit.FieldError](err)
			require.True(t, ok)
			require.ErrorContains(t, err, "submission 3")
			require.Equal(t, before, sink.store.Len())
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	trails, err := rec.SubmitAll(ctx, manySubmissions(2))
	require.ErrorIs(t, err, context.Canceled)
	require.Nil(t, trails)
	require.NoError(t, rec.Close(t.Context()))
	_, err = rec.SubmitAll(t.Context(), manySubmissions(2))
	require.ErrorIs(t, err, jobaudit.ErrClosed)
}

// Whatever the sink does with a large call, what is acknowledged is stored, and the
// caller waits no longer than for one submission.
func TestSubmissionsOfOneCallAreSettledOneByOneWhereTheSinkFails(t *testing.T) {
	for name, fails := range map[string]func(call int64, records []jobaudit.Record) error{
		"it has no answer once": func(call int64, _ []jobaudit.Record) error {
			if call == 2 {
				return errors.New("no answer")
			}
			return nil
		},
		"it refuses one": func(_ int64, records []jobaudit.Record) error {
			for _, r := range records {
				if e := r.Event(); e.What.Resource == "thing 3" {
					return &jobaudit.RecordError{ID: r.ID(), Err: errors.New("not this one")}
				}
			}
			return nil
		},
		"it never answers": func(call int64, _ []jobaudit.Record) error {
			if call > 1 {
				time.Sleep(time.Hour)
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sink := &counting{store: memsink.New(nil), fails: fails}
				rec := open(t, sink, &jobaudit.Options{OnError: func(context.Context, *jobaudit.AuditError) {}})
				begun := time.Now()
				trails, err := rec.SubmitAll(t.Context(), manySubmissions(20))
				require.LessOrEqual(t, time.Since(begun), 5*time.Second)
				require.Len(t, trails, 20)
				stored := 0
				for _, tr := range trails {
					stored += len(sink.store.Trail(tr.JobID()))
				}
				switch name {
				case "it has no answer once":
					require.NoError(t, err)
					require.Equal(t, 20, stored)
				case "it refuses one":
					require.ErrorContains(t, err, "submission 3: ")
					require.Equal(t, 19, stored)
				case "it never answers":
					require.ErrorIs(t, err, context.DeadlineExceeded)
				}
				_ = rec.Close(t.Context())
				time.Sleep(3 * time.Hour) // the sink's calls end
			})
		})
	}
}
