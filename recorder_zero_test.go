package jobaudit_test

import (
	"context"
	"fmt"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// Every exported method of a nil or zero Recorder or Trail, with nil functions
// and empty arguments, gives an error where it can, and never panics.
func TestAZeroRecorderOrTrailGivesAnErrorNotAPanic(t *testing.T) {
	for name, value := range map[string]any{
		"nil Recorder": (*jobaudit.Recorder)(nil), "zero Recorder": new(jobaudit.Recorder),
		"nil Trail": (*jobaudit.Trail)(nil), "zero Trail": new(jobaudit.Trail),
	} {
		v := reflect.ValueOf(value)
		for m := range v.Type().NumMethod() {
			method := v.Type().Method(m)
			t.Run(fmt.Sprint(name, " ", method.Name), func(t *testing.T) {
				checkZeroCall(t, v.Method(m))
			})
		}
	}
}

var errorType = reflect.TypeFor[error]()

func checkZeroCall(t *testing.T, f reflect.Value) {
	args := make([]reflect.Value, f.Type().NumIn())
	for i := range args {
		args[i] = reflect.Zero(f.Type().In(i))
		if args[i].Type() == reflect.TypeFor[context.Context]() {
			args[i] = reflect.ValueOf(t.Context())
		}
	}
	call := f.Call
	if f.Type().IsVariadic() {
		call = f.CallSlice
	}
	for _, out := range call(args) {
		switch {
		case out.Type() == errorType:
			require.False(t, out.IsNil(), "there is no error")
		case out.Kind() == reflect.Func && !out.IsNil() && out.Type().NumIn() == 0:
			out.Call(nil)
		case out.Kind() == reflect.Func && !out.IsNil():
			checkZeroCall(t, out)
		}
	}
}

func TestANilFunctionIsAnError(t *testing.T) {
	rec := open(t, memsink.New(nil), nil)
	ctx := t.Context()
	require.Error(t, rec.Run(ctx, submission(), nil))
	require.Error(t, rec.Wrap(nil, nil)(ctx))
	require.Error(t, rec.Wrap(func(context.Context) jobaudit.Submission { return submission() }, nil)(ctx))
	_, err := jobaudit.Call[int](ctx, rec, submission(), nil)
	require.Error(t, err)
	_, err = jobaudit.Call(ctx, nil, submission(), func(context.Context) (int, error) { return 0, nil })
	require.ErrorIs(t, err, jobaudit.ErrClosed)
	tr, err := rec.Submit(ctx, submission())
	require.NoError(t, err)
	require.Error(t, tr.Run(ctx, jobaudit.Execution{}, nil))
	require.NoError(t, tr.Run(ctx, jobaudit.Execution{}, func(context.Context) error { return nil }), "nothing was recorded of the call before")
}

// Defaults fill what a submission leaves empty, once for every way in.
func TestDefaultsFillEmptyFieldsOnce(t *testing.T) {
	type key struct{}
	asked := 0
	store := memsink.New(nil)
	rec := open(t, store, &jobaudit.Options{Defaults: func(ctx context.Context) jobaudit.Submission {
		asked++
		return jobaudit.Submission{
			Principal: jobaudit.Principal{Kind: jobaudit.User, ID: ctx.Value(key{}).(string), Verified: true},
			OrgID:     "acme", Action: "default",
			Trigger: jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "asked for", Ref: "default"},
		}
	}})
	ctx := context.WithValue(t.Context(), key{}, "bob")
	s := jobaudit.Submission{Action: "own", Trigger: jobaudit.Trigger{Kind: jobaudit.Scheduled, Reason: "own"}}
	done := func(context.Context) error { return nil }
	ways := map[string]func() error{
		"Submit":  func() error { _, err := rec.Submit(ctx, s); return err },
		"Prepare": func() error { _, err := rec.Prepare(ctx, s); return err },
		"Run":     func() error { return rec.Run(ctx, s, done) },
		"Wrap":    func() error { return rec.Wrap(func(context.Context) jobaudit.Submission { return s }, done)(ctx) },
		"Call": func() error {
			_, err := jobaudit.Call(ctx, rec, s, func(context.Context) (int, error) { return 1, nil })
			return err
		},
	}
	for name, way := range ways {
		asked = 0
		require.NoError(t, way(), name)
		require.Equal(t, 1, asked, name)
	}
	for _, e := range events(t, store) {
		if e.Type == jobaudit.JobSubmitted {
			require.Equal(t, "own", e.What.Action)
			require.Equal(t, "bob", e.Who.Principal.ID)
			require.Equal(t, "acme", e.Who.OrgID)
			require.Equal(t, jobaudit.Trigger{Kind: jobaudit.Scheduled, Reason: "own"}, e.Why, "as a whole, or not at all")
		}
	}
	_, err := rec.Submit(t.Context(), s)
	require.ErrorContains(t, err, "Options.Defaults panicked", "without a user in the context")
}
