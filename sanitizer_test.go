package jobaudit_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

const dropped = `{"$jobaudit":"dropped","rule":"taint"}`

// tell runs a job that says what was removed from its inputs wherever it can.
func tell(ctx context.Context, secret string) error {
	job := trail(ctx)
	job.Log(ctx, "line "+secret)
	job.Log(ctx, "nothing to hide")
	job.SetImpact("impact " + secret)
	job.Snapshot(ctx, jobaudit.Snapshot{Resource: "acme/" + secret, Digest: "none", Summary: "summary " + secret})
	job.SetOutput(map[string]any{"status": "done", "token": secret, "list": []any{1, map[string]any{"deep": "x " + secret}}, secret: 1})
	return nil
}

func outputs() jobaudit.Rule {
	return jobaudit.OutputPaths[any](jobaudit.Keep("*"), jobaudit.Keep("list[*].deep"))
}

func TestWhatAPolicyRemovedFromTheInputsStaysOutOfTheJobsLaterTexts(t *testing.T) {
	const secret = "s3cr3t-x7y8z9"
	for name, c := range map[string]struct {
		opts   jobaudit.RegistryOptions
		rules  []jobaudit.Rule
		inputs any
	}{
		"typed":     {rules: []jobaudit.Rule{jobaudit.Inputs(keepWorkflow), outputs()}, inputs: workflow{"acme/site", "main", secret}},
		"paths":     {rules: []jobaudit.Rule{jobaudit.InputPaths[any](jobaudit.Keep("repo")), outputs()}, inputs: map[string]any{"repo": "acme/site", "x": []any{map[string]string{"y": secret}}}},
		"no rule":   {rules: []jobaudit.Rule{outputs()}, inputs: &workflow{PAT: secret}},
		"Secret":    {opts: jobaudit.RegistryOptions{PassThrough: true}, inputs: struct{ S jobaudit.Secret[string] }{jobaudit.NewSecret(secret)}},
		"an error":  {rules: []jobaudit.Rule{outputs()}, inputs: map[string]any{"e": fmt.Errorf("a: %w", errors.New(secret))}},
		"failing":   {rules: []jobaudit.Rule{jobaudit.Inputs(func(workflow) (keptWorkflow, error) { panic("no") }), outputs()}, inputs: workflow{PAT: secret}},
		"wrong":     {rules: []jobaudit.Rule{jobaudit.Inputs(keepWorkflow), outputs()}, inputs: []string{secret}},
		"no policy": {inputs: workflow{PAT: secret}},
	} {
		t.Run(name, func(t *testing.T) {
			var redactors []jobaudit.Redactor
			if c.rules != nil {
				redactors = append(redactors, jobaudit.NewRedactor("rebuild-index", "1", c.rules...))
			}
			g, err := jobaudit.NewRegistry(&c.opts, redactors...)
			require.NoError(t, err)
			sink := memsink.New(nil)
			rec := open(t, sink, &jobaudit.Options{Redactors: g})
			s := submission()
			s.Inputs = c.inputs
			s.Principal.Name = "Ann " + secret
			s.Resource = "site " + secret
			s.Trigger.Reason = "because of " + base64.StdEncoding.EncodeToString([]byte(secret))
			require.NoError(t, rec.Run(t.Context(), s, func(ctx context.Context) error { return tell(ctx, secret) }))
			s.ID = uuid.Nil
			failed := fmt.Errorf("login with %q: %w", strings.ToUpper(secret), errors.New("refused"))
			require.ErrorIs(t, rec.Run(t.Context(), s, func(ctx context.Context) error {
				trail(ctx).Retrying(ctx, failed)
				return trail(ctx).Fail(ctx, failed)
			}), nil)
			require.NoError(t, rec.Close(t.Context()))
			sink.ExpectAbsent(t, secret)

			list := events(t, sink)
			lines := of(list, jobaudit.JobLogged)
			require.Contains(t, lines[0].Data.Line, "taint")
			require.Equal(t, "nothing to hide", lines[1].Data.Line)
			end := of(list, jobaudit.JobSucceeded)[0]
			if c.rules == nil && !c.opts.PassThrough {
				return
			}
			require.JSONEq(t, `{"list":[1,{"deep":`+dropped+`}],"status":"done","token":`+dropped+`}`,
				strings.Replace(string(end.Data.Output), `[{"deep`, `[1,{"deep`, 1))
			require.Len(t, end.What.Redaction.Hits, 3)
			for _, hit := range end.What.Redaction.Hits {
				require.Equal(t, "taint", hit.Rule)
				require.Contains(t, []string{"token", "list[1].deep", "list[0].deep", "*"}, hit.Path)
			}
		})
	}
}

func TestWhatThePolicyKeepsTaintsNothing(t *testing.T) {
	g := registry(t, jobaudit.NewRedactor("rebuild-index", "1", jobaudit.Inputs(keepWorkflow)))
	sink := memsink.New(nil)
	rec := open(t, sink, &jobaudit.Options{Redactors: g})
	s := submission()
	s.Inputs = workflow{"acme/s1te-x7y8z9", "main", "acme/s1te-x7y8z9"}
	s.Resource = "acme/s1te-x7y8z9"
	require.NoError(t, rec.Run(t.Context(), s, func(context.Context) error { return nil }))
	require.Equal(t, "acme/s1te-x7y8z9", of(events(t, sink), jobaudit.JobSubmitted)[0].What.Resource)
}

func TestAResumedTrailKnowsWhatWasRemoved(t *testing.T) {
	const secret = "s3cr3t-x7y8z9"
	g := registry(t, jobaudit.NewRedactor("rebuild-index", "1", jobaudit.Inputs(keepWorkflow), outputs()))
	for name, inputs := range map[string]any{"with inputs": &workflow{PAT: secret}, "without": nil} {
		t.Run(name, func(t *testing.T) {
			sink := memsink.New(nil)
			rec := open(t, sink, &jobaudit.Options{Redactors: g})
			s := submission()
			s.Inputs = workflow{PAT: secret}
			submitted, err := rec.Submit(t.Context(), s)
			require.NoError(t, err)
			resumed, err := rec.Resume(t.Context(), submitted.Carrier(), inputs)
			require.NoError(t, err)
			require.NoError(t, resumed.Run(t.Context(), jobaudit.Execution{}, func(ctx context.Context) error {
				trail(ctx).Log(ctx, "line "+secret)
				trail(ctx).SetOutput(map[string]string{"a": "b"})
				return nil
			}))
			require.NoError(t, rec.Close(t.Context()))
			list := events(t, sink)
			start, end := of(list, jobaudit.JobStarted)[0], of(list, jobaudit.JobSucceeded)[0]
			if inputs != nil {
				sink.ExpectAbsent(t, secret)
				require.Nil(t, start.What.Redaction)
				require.Empty(t, end.What.Redaction.Taint)
				return
			}
			require.Equal(t, "unavailable", start.What.Redaction.Taint)
			require.Equal(t, "unavailable", end.What.Redaction.Taint)
			require.Empty(t, of(list, jobaudit.JobSubmitted)[0].What.Redaction.Taint)
		})
	}
}

func TestInputsTooLargeToRememberAreReported(t *testing.T) {
	g := registry(t, jobaudit.NewRedactor("rebuild-index", "1", jobaudit.Inputs(keepWorkflow)))
	sink := memsink.New(nil)
	rec := open(t, sink, &jobaudit.Options{Redactors: g})
	s := submission()
	s.Inputs = workflow{PAT: strings.Repeat("x1y2z3", 1<<20)}
	require.NoError(t, rec.Run(t.Context(), s, func(context.Context) error { return nil }))
	require.Equal(t, "unavailable", of(events(t, sink), jobaudit.JobSucceeded)[0].What.Redaction.Taint)
}
