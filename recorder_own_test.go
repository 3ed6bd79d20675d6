package jobaudit_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/delivery"
	"github.com/jobaudit/jobaudit/sink/faultsink"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// keysOnce holds one key, which can be erased once.
type keysOnce struct{ erased bool }

func (k *keysOnce) Erase(string) ([]string, error) {
	if k.erased {
		return nil, nil
	}
	k.erased = true
	return []string{"key-1"}, nil
}

// ownCalls are the calls that record what somebody did with records or keys.
func ownCalls() map[string]func(context.Context, *jobaudit.Recorder) error {
	return map[string]func(context.Context, *jobaudit.Recorder) error{
		"Act": func(ctx context.Context, r *jobaudit.Recorder) error { return r.Act(ctx, goldenAct()) },
		"Erase": func(ctx context.Context, r *jobaudit.Recorder) error {
			return r.Erase(ctx, new(keysOnce), "u-9", "asked for")
		},
		"EraseBy": func(ctx context.Context, r *jobaudit.Recorder) error {
			return r.EraseBy(ctx, new(keysOnce), "u-9", jobaudit.Act{Principal: auditor, Reason: "asked for"})
		},
	}
}

var ownTypes = []jobaudit.EventType{jobaudit.AuditReviewed, jobaudit.AuditErased}

func TestAnActIsRetriedUntilItsDeadline(t *testing.T) {
	for name, call := range ownCalls() {
		for _, fault := range []faultsink.Fault{faultsink.Fail, faultsink.Ambiguous, faultsink.Partial, faultsink.Hang} {
			t.Run(fmt.Sprint(name, " fault ", fault), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := memsink.New(nil)
					rec := open(t, faultsink.New(store, faultsink.Rule{First: 2, Last: 4, Fault: fault}), &jobaudit.Options{OnError: new(complaints).add})
					require.NoError(t, call(t.Context(), rec))
					require.Len(t, of(events(t, store), ownTypes...), 1)
					require.NoError(t, rec.Close(t.Context()))
				})
			})
		}
	}
}

// The keys are gone when the sink is found not to answer: the record follows.
func TestAnActThatTheSinkDidNotTakeInTimeIsSentOn(t *testing.T) {
	for name, call := range ownCalls() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := memsink.New(nil)
				sink := faultsink.New(store)
				rec := open(t, sink, &jobaudit.Options{OnError: new(complaints).add})
				sink.Set(faultsink.Rule{Fault: faultsink.Fail})
				began := time.Now()
				require.ErrorIs(t, call(t.Context(), rec), context.DeadlineExceeded)
				require.Equal(t, 30*time.Second, time.Since(began))
				sink.Set()
				time.Sleep(time.Minute)
				list := of(events(t, store), ownTypes...)
				require.Len(t, list, 1)
				if name != "Act" {
					require.Equal(t, []string{"key-1"}, list[0].Data.Erased.Keys)
				}
				require.NoError(t, rec.Close(t.Context()))
			})
		})
	}
}

func TestCloseCountsTheActsThatAreNotStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := faultsink.New(memsink.New(nil))
		rec := open(t, sink, &jobaudit.Options{OnError: new(complaints).add})
		sink.Set(faultsink.Rule{Fault: faultsink.Fail})
		for _, call := range ownCalls() {
			require.Error(t, call(t.Context(), rec))
		}
		require.ErrorContains(t, rec.Close(t.Context()), "3 events are not known to be stored")
	})
}

// Who reads a log decides how many acts and probes there are, and not how much memory
// they take while the sink is away.
func TestActsAndProbesKeepABoundedMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memsink.New(nil)
		sink := faultsink.New(store)
		rec := open(t, sink, &jobaudit.Options{OnError: new(complaints).add})
		sink.Set(faultsink.Rule{Fault: faultsink.Fail})
		const rounds, beside = 30, 50
		for range rounds {
			var calls sync.WaitGroup
			for range beside {
				calls.Go(func() {
					if rec.Probe(t.Context()) == nil {
						t.Error("a log that takes nothing was found well")
					}
				})
			}
			calls.Wait()
		}
		require.Error(t, rec.Act(t.Context(), goldenAct()))
		require.LessOrEqual(t, rec.Stats().Buffered, delivery.MaxBatchRecords+1, "of probes there is what was handed over")

		jobaudit.TakeRoom(t, rec, delivery.Reserved)
		before := rec.Stats().Buffered
		err := rec.Act(t.Context(), goldenAct())
		require.ErrorIs(t, err, delivery.ErrFull)
		require.Equal(t, before, rec.Stats().Buffered)
		require.ErrorIs(t, rec.Erase(t.Context(), new(keysOnce), "u-9", ""), context.DeadlineExceeded, "what is done already has its record")
		sink.Set()
		require.NoError(t, rec.Close(t.Context()))
		require.Len(t, of(events(t, store), jobaudit.AuditErased), 1)
		require.Len(t, of(events(t, store), jobaudit.AuditReviewed), 1)
		var audit *jobaudit.AuditError
		require.True(t, errors.As(err, &audit))
	})
}

// confessing is a sink that says when it does not give all that it promises.
type confessing struct {
	jobaudit.AuditSink
	report func(error)
}

func (s *confessing) Degraded(report func(error)) { s.report = report }

// While acts find no room any more, there is some for what tells of losses.
func TestActsLeaveRoomForWhatTellsOfLosses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memsink.New(nil)
		sink := faultsink.New(store)
		weak := &confessing{AuditSink: sink}
		rec := open(t, weak, &jobaudit.Options{OnError: new(complaints).add})
		sink.Set(faultsink.Rule{Fault: faultsink.Fail})
		jobaudit.TakeRoom(t, rec, delivery.Snapshot)
		before := rec.Stats().Buffered
		require.ErrorIs(t, rec.Act(t.Context(), goldenAct()), delivery.ErrFull, "half of the room is taken")
		weak.report(errors.New("the heads cannot be kept"))
		require.Equal(t, before+1, rec.Stats().Buffered)
		sink.Set()
		require.NoError(t, rec.Close(t.Context()))
		require.Empty(t, of(events(t, store), jobaudit.AuditReviewed))
		require.Len(t, of(events(t, store), jobaudit.AuditDegraded), 1)
	})
}
