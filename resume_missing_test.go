package jobaudit_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// A Carrier says whether something was removed from the job's inputs, or from those of a
// job above: who resumes the job cannot know that otherwise.
func TestEveryEventSaysWhatIsMissingWhenAJobIsResumed(t *testing.T) {
	secret := map[string]any{"cmd": "x", "pw": jobaudit.NewSecret("hunter2")}
	plain := map[string]any{"cmd": "x"}
	policy := rebuild(dropsAs("pw", "credential"))
	for name, c := range map[string]struct {
		opts          *jobaudit.RegistryOptions
		rules         []jobaudit.Redactor
		parent, child any // inputs
		given         any // to Resume
		missing       bool
	}{
		"all is known":                   {rules: policy, child: secret, given: secret},
		"nothing was removed":            {child: plain},
		"no policy":                      {child: secret, missing: true},
		"no policy, given":               {child: secret, given: secret},
		"no policy, no inputs":           {},
		"pass-through":                   {opts: &jobaudit.RegistryOptions{PassThrough: true}, child: secret, missing: true},
		"pass-through, nothing":          {opts: &jobaudit.RegistryOptions{PassThrough: true}, child: plain},
		"above":                          {rules: policy, parent: secret, child: plain, given: plain, missing: true},
		"above, no policy":               {parent: secret, child: plain, given: plain, missing: true},
		"above, pass-through":            {opts: &jobaudit.RegistryOptions{PassThrough: true}, parent: secret, child: nil, missing: true},
		"nothing above":                  {parent: plain, child: secret, given: secret},
		"a policy and no inputs at hand": {rules: policy, child: plain, missing: true},
	} {
		t.Run(name, func(t *testing.T) {
			g, err := jobaudit.NewRegistry(c.opts, c.rules...)
			require.NoError(t, err)
			sink := memsink.New(nil)
			rec := open(t, sink, &jobaudit.Options{Redactors: g, Heartbeat: -1})
			ctx := t.Context()
			if c.parent != nil {
				s := submission()
				s.Inputs = c.parent
				parent, err := rec.Submit(ctx, s)
				require.NoError(t, err)
				ctx = parent.Context(ctx)
			}
			s := submission()
			s.Inputs = c.child
			child, err := rec.Submit(ctx, s)
			require.NoError(t, err)
			carrier, err := jobaudit.ParseCarrier(child.Carrier().String())
			require.NoError(t, err)
			for range 3 { // what is passed on says it still
				resumed, err := rec.Resume(t.Context(), carrier, c.given)
				require.NoError(t, err)
				carrier = resumed.Carrier()
			}
			resumed, err := rec.Resume(t.Context(), carrier, c.given)
			require.NoError(t, err)
			require.NoError(t, resumed.Run(t.Context(), jobaudit.Execution{}, func(ctx context.Context) error {
				trail(ctx).Log(ctx, "a line")
				trail(ctx).SetOutput(map[string]string{"a": "b"})
				return nil
			}))
			require.NoError(t, rec.Close(t.Context()))
			seen := 0
			for _, e := range events(t, sink) {
				switch e.Type {
				case jobaudit.JobStarted, jobaudit.JobLogged, jobaudit.JobSucceeded:
					said := e.What.Redaction != nil && e.What.Redaction.Taint == "unavailable"
					require.Equal(t, c.missing, said, fmt.Sprint(e.Type))
					seen++
				}
			}
			require.Equal(t, 3, seen)
		})
	}
}

func TestARecorderWhoseSourceHoldsACredentialIsRefused(t *testing.T) {
	const token = "ghp_aB3dE6gH9aB3dE6gH9aB3dE6gH9aB3dE6gH9"
	for field, s := range map[string]jobaudit.Source{
		"where.system": {System: token, Environment: "t"}, "where.environment": {System: "s", Environment: token}, "where.host": {System: "s", Environment: "t", Host: token},
		"where.instance": {System: "s", Environment: "t", Instance: token}, "where.version": {System: "s", Environment: "t", Version: "https://u:S3cretPass9x@h/x"},
	} {
		_, err := jobaudit.Open(t.Context(), memsink.New(nil), s, nil)
		require.ErrorContains(t, err, field)
		require.NotContains(t, err.Error(), token)
	}
}
