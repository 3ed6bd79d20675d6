package jobaudit_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/faultsink"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// A reentry is called by code of the caller's while the package is at work with it.
type reentry func(*jobaudit.Recorder, *jobaudit.Trail)

type talkingValue struct{ say func() }

func (v talkingValue) MarshalJSON() ([]byte, error) { v.say(); return []byte(`"kept"`), nil }

type talkingError struct{ say func() }

func (e talkingError) Error() string { e.say(); return "failed" }
func (e talkingError) Unwrap() error { e.say(); return nil }
func (e talkingError) Code() string  { e.say(); return "CODE" }

type talkingReader struct{ say func() }

func (r talkingReader) Read([]byte) (int, error) { r.say(); return 0, errors.New("no") }

// reentries are calls that such code may make.
var reentries = map[string]reentry{
	"Log":       func(_ *jobaudit.Recorder, t *jobaudit.Trail) { t.Log(context.Background(), "line") },
	"Heartbeat": func(_ *jobaudit.Recorder, t *jobaudit.Trail) { t.Heartbeat(context.Background(), 1, 2) },
	"Retrying":  func(_ *jobaudit.Recorder, t *jobaudit.Trail) { t.Retrying(context.Background(), errors.New("again")) },
	"Flush":     func(_ *jobaudit.Recorder, t *jobaudit.Trail) { _ = t.Flush(context.Background()) },
	"Succeed":   func(_ *jobaudit.Recorder, t *jobaudit.Trail) { _ = t.Succeed(context.Background()) },
	"Deny": func(_ *jobaudit.Recorder, t *jobaudit.Trail) {
		_ = t.Deny(context.Background(), jobaudit.Decision{By: "x", Reason: "y"})
	},
	"SetOutput": func(_ *jobaudit.Recorder, t *jobaudit.Trail) { t.SetOutput(1) },
	"SetImpact": func(_ *jobaudit.Recorder, t *jobaudit.Trail) {
		t.SetImpact("x")
		t.SetAffected(context.Background(), 1, "rows")
	},
	"Snapshot": func(_ *jobaudit.Recorder, t *jobaudit.Trail) {
		t.Snapshot(context.Background(), jobaudit.Snapshot{Resource: "r", Value: 1})
	},
	"Carrier": func(_ *jobaudit.Recorder, t *jobaudit.Trail) { _ = t.Carrier() },
	"Stats":   func(r *jobaudit.Recorder, _ *jobaudit.Trail) { _, _ = r.Stats(), r.Healthy() },
	"Probe":   func(r *jobaudit.Recorder, _ *jobaudit.Trail) { _ = r.Probe(context.Background()) },
	"Drain":   func(r *jobaudit.Recorder, _ *jobaudit.Trail) { _ = r.Drain(context.Background()) },
	"Submit": func(r *jobaudit.Recorder, _ *jobaudit.Trail) {
		_, _ = r.Submit(context.Background(), plainSubmission())
	},
	"Run": func(r *jobaudit.Recorder, t *jobaudit.Trail) {
		_ = r.Run(t.Context(context.Background()), plainSubmission(), func(context.Context) error { return nil })
	},
	"Act": func(r *jobaudit.Recorder, _ *jobaudit.Trail) {
		_ = r.Act(context.Background(), jobaudit.Act{Type: jobaudit.AuditRead, Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada"}, Reason: "why"})
	},
	"Close": func(r *jobaudit.Recorder, _ *jobaudit.Trail) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = r.Close(ctx)
	},
}

// talkers make the package call code of the caller's, which says something.
var talkers = map[string]func(r *jobaudit.Recorder, t *jobaudit.Trail, say func()){
	"a marshaler of an output": func(_ *jobaudit.Recorder, t *jobaudit.Trail, say func()) { t.SetOutput(talkingValue{say}) },
	"a marshaler of a snapshot": func(_ *jobaudit.Recorder, t *jobaudit.Trail, say func()) {
		t.Snapshot(context.Background(), jobaudit.Snapshot{Resource: "r", Value: talkingValue{say}})
	},
	"a reader of a snapshot": func(_ *jobaudit.Recorder, t *jobaudit.Trail, say func()) {
		t.Snapshot(context.Background(), jobaudit.Snapshot{Resource: "r", Value: talkingReader{say}})
	},
	"an error of an attempt": func(_ *jobaudit.Recorder, t *jobaudit.Trail, say func()) {
		t.Retrying(context.Background(), talkingError{say})
	},
	"an error of the job": func(_ *jobaudit.Recorder, t *jobaudit.Trail, say func()) {
		_ = t.Fail(context.Background(), talkingError{say})
	},
	"a marshaler of a correction": func(_ *jobaudit.Recorder, t *jobaudit.Trail, say func()) {
		_ = t.Correct(context.Background(), jobaudit.Correction{Of: t.JobID(), Reason: "why", Value: talkingValue{say}})
	},
	"a marshaler of inputs": func(r *jobaudit.Recorder, _ *jobaudit.Trail, say func()) {
		s := plainSubmission()
		s.Inputs = map[string]any{"v": talkingValue{say}}
		_, _ = r.Submit(context.Background(), s)
	},
	"OnError, of a buffered line": func(_ *jobaudit.Recorder, t *jobaudit.Trail, _ func()) {
		t.Log(context.Background(), "line")
		_ = t.Flush(context.Background())
	},
	"an outcome that is refused": func(_ *jobaudit.Recorder, t *jobaudit.Trail, _ func()) { _ = t.Succeed(context.Background()) },
	"Authorize": func(r *jobaudit.Recorder, _ *jobaudit.Trail, _ func()) {
		_ = r.Run(context.Background(), plainSubmission(), func(context.Context) error { return nil })
	},
}

// What is called may use the Recorder and its Trails: nothing waits for itself.
func TestCodeOfACallersMayUseTheRecorder(t *testing.T) {
	said := 0
	for talker, talk := range talkers {
		for name, again := range reentries {
			for _, refused := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s calls %s, refused %v", talker, name, refused), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { said += reenter(t, talk, again, refused) })
				})
			}
		}
	}
	require.Greater(t, said, len(talkers)*len(reentries))
}

func reenter(t *testing.T, talk func(*jobaudit.Recorder, *jobaudit.Trail, func()), again reentry, refused bool) (said int) {
	store := memsink.New(nil)
	sink := faultsink.New(store)
	var r *jobaudit.Recorder
	var trail *jobaudit.Trail
	var ready atomic.Bool
	var depth atomic.Int64
	say := func() {
		if !ready.Load() || depth.Add(1) > 3 {
			return
		}
		again(r, trail)
	}
	registry, err := jobaudit.NewRegistry(&jobaudit.RegistryOptions{PassThrough: true, PseudonymKey: make([]byte, 32)})
	require.NoError(t, err)
	r, err = jobaudit.Open(t.Context(), sink, goldenSource, &jobaudit.Options{
		Redactors: registry, Heartbeat: -1, Fallback: memsink.New(nil),
		OnError: func(context.Context, *jobaudit.AuditError) { say() },
		Authorize: func(context.Context, jobaudit.Submission) (jobaudit.Decision, error) {
			say()
			return jobaudit.Decision{Allowed: true, By: "x", Reason: "y"}, nil
		},
		Defaults: func(context.Context) jobaudit.Submission { say(); return jobaudit.Submission{} },
	})
	require.NoError(t, err)
	trail, err = r.Submit(t.Context(), plainSubmission())
	require.NoError(t, err)
	require.NoError(t, trail.Start(t.Context(), jobaudit.Execution{}))
	ready.Store(true)
	if refused {
		sink.Set(faultsink.Rule{Fault: faultsink.Fail})
	}
	talk(r, trail, say)
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	_ = r.Close(ctx)
	require.NoError(t, ctx.Err())
	time.Sleep(time.Minute) // a Close in what was called may have been first, and still try
	seen := map[string]uint64{}
	for record, err := range store.Records(t.Context(), jobaudit.Query{}) {
		require.NoError(t, err)
		e := record.Event()
		seen[e.Stream.ID.String()]++
		require.Equal(t, seen[e.Stream.ID.String()], e.Stream.Seq, "no gap")
	}
	return int(depth.Load())
}
