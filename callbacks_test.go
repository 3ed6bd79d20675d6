package jobaudit_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// gate blocks until it is released.
type gate struct {
	reached, released chan struct{}
	once              *sync.Once
}

func newGate() gate { return gate{make(chan struct{}), make(chan struct{}), new(sync.Once)} }

func (g gate) pass() {
	g.once.Do(func() { close(g.reached) })
	<-g.released
}

// What the package calls of what it is given.
type (
	blockedValue  struct{ gate gate }
	blockedError  struct{ gate gate }
	blockedReader struct{ gate gate }
)

func (b blockedValue) MarshalJSON() ([]byte, error) { b.gate.pass(); return []byte(`"kept"`), nil }
func (b blockedError) Error() string                { b.gate.pass(); return "failed" }
func (b blockedReader) Read([]byte) (int, error)    { b.gate.pass(); return 0, io.EOF }

// blocked are the calls that run code of the caller's.
var blocked = map[string]func(*jobaudit.Recorder, *jobaudit.Trail, gate) error{
	"a redactor of inputs": func(r *jobaudit.Recorder, _ *jobaudit.Trail, g gate) error {
		s := plainSubmission()
		s.Action, s.Inputs = "guarded", map[string]string{"a": "b"}
		_, err := r.Submit(context.Background(), s)
		return err
	},
	"a marshaler in inputs": func(r *jobaudit.Recorder, _ *jobaudit.Trail, g gate) error {
		s := plainSubmission()
		s.Inputs = map[string]any{"v": blockedValue{g}}
		_, err := r.Submit(context.Background(), s)
		return err
	},
	"a marshaler in an output": func(_ *jobaudit.Recorder, t *jobaudit.Trail, g gate) error { t.SetOutput(blockedValue{g}); return nil },
	"a marshaler in a snapshot": func(_ *jobaudit.Recorder, t *jobaudit.Trail, g gate) error {
		t.Snapshot(context.Background(), jobaudit.Snapshot{Resource: "r", Value: blockedValue{g}})
		return nil
	},
	"a reader in a snapshot": func(_ *jobaudit.Recorder, t *jobaudit.Trail, g gate) error {
		t.Snapshot(context.Background(), jobaudit.Snapshot{Resource: "r", Value: blockedReader{g}})
		return nil
	},
	"an error's own text": func(_ *jobaudit.Recorder, t *jobaudit.Trail, g gate) error {
		return t.Fail(context.Background(), blockedError{g})
	},
	"a marshaler in a correction": func(_ *jobaudit.Recorder, t *jobaudit.Trail, g gate) error {
		return t.Correct(context.Background(), jobaudit.Correction{Of: t.JobID(), Reason: "why", Value: blockedValue{g}})
	},
	"a marshaler in an act": func(r *jobaudit.Recorder, _ *jobaudit.Trail, g gate) error {
		return r.Act(context.Background(), jobaudit.Act{
			Type: jobaudit.AuditReviewed, Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada"}, Reason: "why", Data: blockedValue{g},
		})
	},
}

// A redactor, a marshaler, an error's method that blocks holds up the call that it
// was given to and nothing else, not even another call on the same Trail.
func TestACallersCodeThatBlocksHoldsUpItsOwnCallOnly(t *testing.T) {
	for name, call := range blocked {
		t.Run(name, func(t *testing.T) {
			g, done := newGate(), make(chan error, 1)
			guarded := jobaudit.NewRedactor("guarded", "1", jobaudit.Inputs(func(map[string]string) (int, error) { g.pass(); return 1, nil }))
			registry, err := jobaudit.NewRegistry(&jobaudit.RegistryOptions{PassThrough: true, PseudonymKey: make([]byte, 32)}, guarded)
			require.NoError(t, err)
			sink := memsink.New(nil)
			r, err := jobaudit.Open(t.Context(), sink, goldenSource, &jobaudit.Options{
				Redactors: registry, Heartbeat: -1,
				OnError: func(_ context.Context, err *jobaudit.AuditError) { t.Errorf("told of %v", err) },
			})
			require.NoError(t, err)
			trail, err := r.Submit(t.Context(), plainSubmission())
			require.NoError(t, err)
			require.NoError(t, trail.Start(t.Context(), jobaudit.Execution{}))

			go func() { done <- call(r, trail, g) }()
			<-g.reached
			trail.Log(t.Context(), "meanwhile")
			trail.Heartbeat(t.Context(), 1, 2)
			require.NoError(t, trail.Flush(t.Context()))
			own := errors.New("its own")
			require.ErrorIs(t, r.Run(t.Context(), plainSubmission(), func(context.Context) error { return own }), own)
			require.NoError(t, r.Healthy())
			close(g.released)
			require.NoError(t, <-done)
			require.NoError(t, r.Close(t.Context()))
			require.Equal(t, jobaudit.JobLogged, sink.Trail(trail.JobID())[3].Type)
		})
	}
}

// A source of IDs that repeats itself loses no outcome: sinks refuse what comes
// under an ID that they hold.
func TestASourceOfIDsThatRepeatsItselfLosesNothing(t *testing.T) {
	for _, cycle := range []int{1, 2, 3, size.Times(100, 20)} {
		for after := range 8 {
			synctest.Test(t, func(t *testing.T) {
				var told atomic.Int64
				given := []uuid.UUID{}
				for range cycle {
					given = append(given, uuid.Must(uuid.NewV7()))
				}
				n := 0
				sink := memsink.New(nil)
				rec := open(t, sink, &jobaudit.Options{
					NewID: func() uuid.UUID {
						if n++; n <= after {
							return uuid.Must(uuid.NewV7())
						}
						return given[n%cycle]
					},
					OnError: func(_ context.Context, err *jobaudit.AuditError) {
						require.ErrorContains(t, err, "Options.NewID")
						told.Add(1)
					},
				})
				for range cycle + 2 { // more than once round
					id, err := run(t.Context(), rec, func(ctx context.Context) error { trail(ctx).Log(ctx, "line"); return nil })
					require.NoError(t, err)
					sink.ExpectStates(t, id, jobaudit.Pending, jobaudit.Running, jobaudit.Success)
				}
				require.NoError(t, rec.Close(t.Context()))
				require.Zero(t, rec.Stats().Lost)
				synctest.Wait() // Close does not wait for OnError
				require.NotZero(t, told.Load())
			})
		}
	}
}

// A clock or a source of IDs that ends the goroutine of its caller, as a test's
// failing assertion does, keeps no lock: the Trail and the Recorder go on.
func TestACallbackThatEndsItsGoroutineLocksNothing(t *testing.T) {
	for at := range 40 {
		synctest.Test(t, func(t *testing.T) {
			var calls, armed atomic.Int64
			exit := func() {
				if armed.Load() == 1 && calls.Add(1) == int64(at) {
					runtime.Goexit()
				}
			}
			sink := memsink.New(nil)
			rec := open(t, sink, &jobaudit.Options{
				Heartbeat: -1,
				Now:       func() time.Time { exit(); return time.Now() },
				NewID:     func() uuid.UUID { exit(); return uuid.Must(uuid.NewV7()) },
				OnError:   func(context.Context, *jobaudit.AuditError) {},
			})
			tr, err := rec.Submit(t.Context(), plainSubmission())
			require.NoError(t, err)
			armed.Store(1)
			done := make(chan struct{})
			go func() {
				defer close(done)
				_ = tr.Start(t.Context(), jobaudit.Execution{})
				tr.Log(t.Context(), "line")
				tr.Heartbeat(t.Context(), 1, 2)
				tr.Snapshot(t.Context(), jobaudit.Snapshot{Resource: "r", Digest: "d"})
				tr.Retrying(t.Context(), errWork)
				_ = tr.Start(t.Context(), jobaudit.Execution{Attempt: 2})
				_ = tr.Succeed(t.Context())
				_ = tr.Correct(t.Context(), jobaudit.Correction{Of: tr.JobID(), Reason: "why"})
				_ = rec.Run(t.Context(), plainSubmission(), func(context.Context) error { return nil })
				_ = rec.Act(t.Context(), jobaudit.Act{Type: jobaudit.AuditRead, Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "a"}, Reason: "why"})
			}()
			<-done
			armed.Store(0)
			_ = tr.Start(t.Context(), jobaudit.Execution{Attempt: 3})
			tr.Log(t.Context(), "after")
			_ = tr.Fail(t.Context(), errWork)
			require.NoError(t, rec.Run(t.Context(), plainSubmission(), func(context.Context) error { return nil }))
			require.NoError(t, rec.Close(t.Context()))
			require.True(t, jobOf(t, sink, tr.JobID()).State.Terminal())
		})
	}
}

// The same of every other function in Options, and of a sink's errors.
func TestAnyFunctionThatEndsItsGoroutineLocksNothing(t *testing.T) {
	for name, opts := range map[string]*jobaudit.Options{
		"OnError":   {OnError: func(context.Context, *jobaudit.AuditError) { runtime.Goexit() }},
		"Authorize": {Authorize: func(context.Context, jobaudit.Submission) (jobaudit.Decision, error) { runtime.Goexit(); panic(0) }},
		"Defaults":  {Defaults: func(context.Context) jobaudit.Submission { runtime.Goexit(); panic(0) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if opts.OnError == nil {
					opts.OnError = func(context.Context, *jobaudit.AuditError) {}
				}
				store := newSwitched()
				rec := open(t, store, opts)
				for _, fault := range []func([]jobaudit.Record) error{
					nil, func([]jobaudit.Record) error { return errWork }, func([]jobaudit.Record) error { return goexitError{} },
					func([]jobaudit.Record) error { runtime.Goexit(); return nil },
				} {
					store.set(fault)
					for _, call := range []func(){
						func() { _ = rec.Run(t.Context(), plainSubmission(), func(context.Context) error { return errWork }) },
						func() {
							if tr, err := rec.Submit(t.Context(), plainSubmission()); err == nil {
								_ = tr.Start(t.Context(), jobaudit.Execution{})
								tr.Log(t.Context(), "line")
								_ = tr.Fail(t.Context(), goexitError{})
							}
						},
						func() { _ = rec.Probe(t.Context()) },
					} {
						done := make(chan struct{})
						go func() { defer close(done); call() }()
						<-done
					}
				}
				store.set(nil)
				done := make(chan struct{})
				go func() { defer close(done); _ = rec.Close(t.Context()) }()
				<-done
				synctest.Wait()
			})
		})
	}
}

// goexitError ends the goroutine of its reader.
type goexitError struct{}

func (goexitError) Error() string { runtime.Goexit(); return "" }
