package jobaudit_test

import (
	"context"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
)

// discard is a sink that costs nothing.
type discard struct{}

func (discard) Append(context.Context, []jobaudit.Record) error { return nil }

func (discard) Immediate() jobaudit.AuditSink { return discard{} }

// later is discard without the promise that it never waits.
type later struct{}

func (later) Append(context.Context, []jobaudit.Record) error { return nil }

// BenchmarkRun is what the record of a job costs the job, storage apart:
// submission, authorization, start and outcome, with inputs of which one of
// two fields is kept.
func BenchmarkRun(b *testing.B) {
	benchmarkRun(b, discard{})
}

// BenchmarkRunHandedOver is BenchmarkRun with a sink that may wait: a goroutine of
// the recorder's calls it.
func BenchmarkRunHandedOver(b *testing.B) {
	benchmarkRun(b, later{})
}

func benchmarkRun(b *testing.B, sink jobaudit.AuditSink) {
	b.Helper()
	recorder, s, work := aRun(b, sink)
	for b.Loop() {
		if err := recorder.Run(b.Context(), s, work); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWrap is BenchmarkRun through a function that Wrap has made.
func BenchmarkWrap(b *testing.B) {
	recorder, s, work := aRun(b, discard{})
	wrapped := recorder.Wrap(func(context.Context) jobaudit.Submission { return s }, work)
	for b.Loop() {
		if err := wrapped(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRunTogether is BenchmarkRun with 32 callers at once.
func BenchmarkRunTogether(b *testing.B) {
	recorder, s, work := aRun(b, discard{})
	b.SetParallelism(max(32/runtime.GOMAXPROCS(0), 1))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := recorder.Run(b.Context(), s, work); err != nil {
				b.Error(err)
			}
		}
	})
}

func aRun(b *testing.B, sink jobaudit.AuditSink) (*jobaudit.Recorder, jobaudit.Submission, func(context.Context) error) {
	b.Helper()
	type inputs struct {
		Repo string `json:"repo"`
		PAT  string `json:"pat"`
	}
	redactors, err := jobaudit.NewRegistry(nil, jobaudit.NewRedactor("deploy", "1",
		jobaudit.InputPaths[inputs](jobaudit.Keep("repo"), jobaudit.Drop("pat", "credential"))))
	require.NoError(b, err)
	recorder, err := jobaudit.Open(b.Context(), sink, source, &jobaudit.Options{Redactors: redactors})
	require.NoError(b, err)
	s := submission()
	s.Action, s.Inputs = "deploy", inputs{Repo: "acme/site", PAT: "a token"}
	b.ReportAllocs()
	return recorder, s, func(context.Context) error { return nil }
}
