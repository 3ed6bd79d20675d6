package jobaudit_test

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/faultsink"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// rude is an error whose methods panic.
type rude struct{}

func (rude) Error() string   { panic("no text") }
func (rude) Is(error) bool   { panic("no identity") }
func (rude) As(any) bool     { panic("no type") }
func (rude) Unwrap() []error { panic("no cause") }

func TestASinkWhoseErrorsPanicIsASinkThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memsink.New(nil)
		sink := faultsink.New(store)
		rec := open(t, sink, &jobaudit.Options{OnError: func(context.Context, *jobaudit.AuditError) {}})
		id, err := run(t.Context(), rec, func(ctx context.Context) error {
			sink.Set(faultsink.Rule{Fault: faultsink.Fail, Err: rude{}})
			trail(ctx).Log(ctx, "line")
			time.Sleep(time.Minute)
			return nil
		})
		require.NoError(t, err)
		require.NotPanics(t, func() {
			_, err = rec.Submit(t.Context(), submission())
			require.NotNil(t, err)
		})
		sink.Set()
		require.NoError(t, rec.Close(t.Context()))
		require.Equal(t, jobaudit.Success, jobOf(t, store, id).State)
	})
}

func TestOnErrorMayUseTheTrail(t *testing.T) {
	store := memsink.New(nil)
	refusal := func(r jobaudit.Record) error { return &jobaudit.RecordError{ID: r.ID(), Err: errors.New("too odd")} }
	var tr *jobaudit.Trail
	rec := open(t, brittle{store, jobaudit.JobStarted, refusal}, &jobaudit.Options{OnError: func(ctx context.Context, err *jobaudit.AuditError) {
		if err.Op == "run" {
			tr.Log(ctx, "something went wrong")
		}
	}})
	submitted, err := rec.Submit(t.Context(), submission())
	require.NoError(t, err)
	tr, err = rec.Resume(t.Context(), submitted.Carrier(), nil)
	require.NoError(t, err)
	require.Error(t, tr.Run(t.Context(), jobaudit.Execution{}, func(context.Context) error { t.Error("it ran"); return nil }))
	require.NoError(t, rec.Close(t.Context()))
}

func TestAnOnErrorThatEndsItsGoroutineKeepsNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := faultsink.New(memsink.New(nil))
		rec := open(t, sink, &jobaudit.Options{OnError: func(context.Context, *jobaudit.AuditError) { runtime.Goexit() }})
		tr, err := rec.Submit(t.Context(), submission())
		require.NoError(t, err)
		sink.Set(faultsink.Rule{Fault: faultsink.Fail})
		tr.Log(t.Context(), "line")
		synctest.Wait()
		sink.Set()
		require.NoError(t, rec.Close(t.Context()))
	})
}

func TestAnOnErrorThatWaitsKeepsNoOtherJobFromTheSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		sink := faultsink.New(memsink.New(nil))
		rec := open(t, sink, &jobaudit.Options{OnError: func(context.Context, *jobaudit.AuditError) { <-gate }})
		for range 10 { // more than may fly at once
			tr, err := rec.Submit(t.Context(), submission())
			require.NoError(t, err)
			sink.Set(faultsink.Rule{Fault: faultsink.Fail})
			tr.Log(t.Context(), "line")
			synctest.Wait() // OnError has been told, and waits
			sink.Set()
		}
		_, err := rec.Submit(t.Context(), submission())
		require.NoError(t, err)
		close(gate)
		require.NoError(t, rec.Close(t.Context()))
	})
}

func TestAnOnErrorThatWaitsAtAHeartbeatDoesNotKeepTheJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		rec := open(t, memsink.New(nil), &jobaudit.Options{
			Heartbeat: time.Second,
			OnError: func(_ context.Context, err *jobaudit.AuditError) {
				if err.Op == "heartbeat" {
					<-gate
				}
			},
		})
		began := time.Now()
		_, err := run(t.Context(), rec, func(context.Context) error {
			require.NoError(t, rec.Close(t.Context())) // the heartbeat cannot be recorded
			time.Sleep(1500 * time.Millisecond)
			return errWork
		})
		require.Equal(t, errWork, err)
		require.Equal(t, 1500*time.Millisecond, time.Since(began))
		close(gate)
	})
}

func TestAnAuthorizerThatHangsDoesNotStopTheHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memsink.New(nil)
		var hang atomic.Bool
		rec := open(t, store, &jobaudit.Options{
			Heartbeat: time.Second, Reauthorize: true, OnError: new(complaints).add,
			Authorize: func(ctx context.Context, _ jobaudit.Submission) (jobaudit.Decision, error) {
				if hang.Load() {
					<-ctx.Done()
				}
				return jobaudit.Decision{Allowed: true, By: "opa"}, ctx.Err()
			},
		})
		id, err := run(t.Context(), rec, func(ctx context.Context) error {
			hang.Store(true)
			time.Sleep(10*time.Second + time.Millisecond)
			return nil
		})
		require.NoError(t, err)
		require.NoError(t, rec.Close(t.Context()))
		require.Len(t, of(store.Trail(id), jobaudit.JobHeartbeat), 10)
	})
}
