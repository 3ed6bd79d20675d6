package jobaudit_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
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
