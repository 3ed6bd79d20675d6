package jobaudit_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
)

// discard is a sink that costs nothing.
type discard struct{}

func (discard) Append(context.Context, []jobaudit.Record) error { return nil }

func (discard) Immediate() jobaudit.AuditSink { return discard{} }

// BenchmarkRun is what the record of a job costs the job, storage apart:
// submission, authorization, start and outcome, with inputs of which one of
// two fields is kept.
func BenchmarkRun(b *testing.B) {
	type inputs struct {
		Repo string `json:"repo"`
		PAT  string `json:"pat"`
	}
	redactors, err := jobaudit.NewRegistry(nil, jobaudit.NewRedactor("deploy", "1",
		jobaudit.InputPaths[inputs](jobaudit.Keep("repo"), jobaudit.Drop("pat", "credential"))))
	require.NoError(b, err)
	recorder, err := jobaudit.Open(b.Context(), discard{}, source, &jobaudit.Options{Redactors: redactors})
	require.NoError(b, err)
	s := submission()
	s.Action, s.Inputs = "deploy", inputs{Repo: "acme/site", PAT: "a token"}
	work := func(context.Context) error { return nil }
	b.ReportAllocs()
	for b.Loop() {
		if err := recorder.Run(b.Context(), s, work); err != nil {
			b.Fatal(err)
		}
	}
}
