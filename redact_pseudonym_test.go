package jobaudit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

type account struct {
	Email string    `json:"email" audit:"pseudonym=email"`
	ID    int64     `json:"id" audit:"keep"`
	Key   uuid.UUID `json:"key" audit:"pseudonym=key"`
	Note  string    `json:"note"`
}

func pseudonymRules() map[string]jobaudit.Rule {
	type untagged struct {
		Email string    `json:"email"`
		ID    int64     `json:"id"`
		Key   uuid.UUID `json:"key"`
		Note  string    `json:"note"`
	}
	keep := jobaudit.Keep
	paths := []jobaudit.Path{keep("email").Pseudonym("email"), keep("id"), keep("key").Pseudonym("key")}
	return map[string]jobaudit.Rule{
		"tags":      jobaudit.InputPaths[account](),
		"paths":     jobaudit.InputPaths[untagged](paths...),
		"unchecked": jobaudit.InputPaths[any](paths...),
		"typed": jobaudit.Inputs(func(in untagged) (struct {
			Email string    `json:"email" audit:"pseudonym=email"`
			ID    int64     `json:"id"`
			Key   uuid.UUID `json:"key" audit:"pseudonym=key"`
		}, error) {
			return struct {
				Email string    `json:"email" audit:"pseudonym=email"`
				ID    int64     `json:"id"`
				Key   uuid.UUID `json:"key" audit:"pseudonym=key"`
			}{in.Email, in.ID, in.Key}, nil
		}),
	}
}

// pseudonymOf submits v for an organization and returns what is stored.
func pseudonymOf(t *testing.T, opts jobaudit.RegistryOptions, rule jobaudit.Rule, org string, v any) (stored map[string]any) {
	t.Helper()
	g, err := jobaudit.NewRegistry(&opts, jobaudit.NewRedactor("rebuild-index", "1", rule))
	require.NoError(t, err)
	sink := memsink.New(nil)
	rec := open(t, sink, &jobaudit.Options{Redactors: g})
	s := submission()
	s.OrgID, s.Inputs = org, v
	if in, ok := v.(account); !ok || in.Email == "ann@example.org" {
		s.Trigger.Reason = "asked by ann@example.org"
	}
	_, err = rec.Submit(t.Context(), s)
	require.NoError(t, err)
	sink.ExpectAbsent(t, "ann@example.org") // in the reason, too
	require.NoError(t, json.Unmarshal(of(events(t, sink), jobaudit.JobSubmitted)[0].What.Inputs, &stored))
	return stored
}

func TestAPseudonymIsTheSameForOneTenantClassAndKeyOnly(t *testing.T) {
	key := uuid.MustParse("0198f2a4-7c1e-7a6b-9d3e-5f0a1b2c3d4e")
	raw, err := json.Marshal(account{"ann@example.org", 7, key, "n"})
	require.NoError(t, err)
	opts := jobaudit.RegistryOptions{PseudonymKey: bytes.Repeat([]byte{7}, 32)}
	var first map[string]any
	for name, rule := range pseudonymRules() {
		stored := pseudonymOf(t, opts, rule, "acme", json.RawMessage(raw))
		if first == nil {
			first = stored
		}
		require.Equal(t, first, stored, name)
	}
	require.Equal(t, float64(7), first["id"])
	require.Len(t, first, 3)
	parts := strings.Split(first["email"].(string), ":")
	require.Equal(t, "pseudonym", parts[0])
	require.Equal(t, "0", parts[2])
	require.Len(t, parts[3], 22)

	rule := pseudonymRules()["tags"]
	of := func(o jobaudit.RegistryOptions, org string, in account) string {
		return pseudonymOf(t, o, rule, org, in)["email"].(string)
	}
	same := account{Email: "ann@example.org"}
	require.Equal(t, first["email"], of(opts, "acme", same))
	require.NotEqual(t, first["email"], of(opts, "other", same), "another tenant")
	require.NotEqual(t, first["email"], of(opts, "acme", account{Email: "bob@example.org"}))
	next := opts
	next.PseudonymEpoch = 1
	require.Contains(t, of(next, "acme", same), parts[1]+":1:")
	require.NotEqual(t, parts[3], strings.Split(of(next, "acme", same), ":")[3], "another epoch")
	other := jobaudit.RegistryOptions{PseudonymKey: bytes.Repeat([]byte{8}, 32)}
	require.NotEqual(t, parts[1], strings.Split(of(other, "acme", same), ":")[1], "another key")
	class := jobaudit.InputPaths[any](jobaudit.Keep("email").Pseudonym("login"))
	require.NotEqual(t, first["email"], pseudonymOf(t, opts, class, "acme", map[string]any{"email": "ann@example.org"})["email"], "another class")
}

func TestWhatHasTooFewValuesGetsNoPseudonym(t *testing.T) {
	type color int64
	type in struct {
		Bool  bool
		Byte  int8
		Short uint16
		Color color
		Float float64
		Time  time.Time
		List  []bool
		Int   int64
		Any   any
		Role  string
	}
	for _, path := range []string{"Bool", "Byte", "Short", "Color", "Float", "Time", "List[*]"} {
		_, err := jobaudit.NewRegistry(&jobaudit.RegistryOptions{PseudonymKey: make([]byte, 32)},
			jobaudit.NewRedactor("act", "1", jobaudit.InputPaths[in](jobaudit.Keep(path).Pseudonym("x"))))
		fieldErr, ok := errors.AsType[*jobaudit.FieldError](err)
		require.True(t, ok, path)
		require.Equal(t, "act.inputs "+path, fieldErr.Field)
	}
	r := jobaudit.NewRedactor("act", "1", jobaudit.InputPaths[in](jobaudit.Keep("Int").Pseudonym("x"), jobaudit.Keep("Any").Pseudonym("x"), jobaudit.Keep("Role").Pseudonym("x")))
	for _, v := range []any{true, 1.5, map[string]any{"a": "c4n4ry"}, []any{"c4n4ry"}} {
		stored, err := r.RedactInputs(in{Int: 4711, Any: v})
		require.NoError(t, err)
		require.NotContains(t, string(stored), "4711")
		require.NotContains(t, string(stored), "c4n4ry")
		require.NotContains(t, string(stored), "true")
	}
}

func TestPseudonymsNeedAKey(t *testing.T) {
	for _, rule := range pseudonymRules() {
		r := jobaudit.NewRedactor("act", "1", rule)
		for _, opts := range []*jobaudit.RegistryOptions{nil, {}, {PseudonymKey: make([]byte, 31)}, {PseudonymKey: make([]byte, 32), PseudonymEpoch: -1}} {
			_, err := jobaudit.NewRegistry(opts, r)
			_, ok := errors.AsType[*jobaudit.FieldError](err)
			require.True(t, ok, "%v", err)
		}
		stored, err := r.RedactInputs(account{Email: "ann@example.org"})
		if err == nil { // a unit test needs none
			require.NotContains(t, string(stored), "ann@example.org")
			require.Contains(t, string(stored), "pseudonym:")
		}
	}
	_, err := jobaudit.NewRegistry(nil, jobaudit.NewRedactor("act", "1", jobaudit.InputPaths[any](jobaudit.Keep("a").Pseudonym(""))))
	require.ErrorContains(t, err, "class")
	_, err = jobaudit.NewRegistry(nil, jobaudit.NewRedactor("act", "1", jobaudit.InputPaths[any](jobaudit.Drop("a", "x").Pseudonym("y"))))
	require.Error(t, err)
}

func TestTagsKeepWhatTheyNameAndNothingElse(t *testing.T) {
	type item struct {
		SKU   string `json:"sku" audit:"keep"`
		Price int    `json:"price"`
	}
	type in struct {
		Repo   string            `json:"repo" audit:"keep"`
		PAT    string            `json:"pat" audit:"drop=credential"`
		Items  []item            `json:"items"`
		ByName map[string]item   `json:"byName"`
		Tags   []string          `json:"tags" audit:"keep"`
		Labels map[string]string `json:"labels" audit:"keep"`
		Other  map[string]string `json:"other"`
		Nested struct {
			Deep *item
			Note string
		} `json:"nested"`
		Any any `json:"any" audit:"keep"`
	}
	v := in{"acme/site", canary, []item{{"a", 1}}, map[string]item{"x": {"b", 2}}, []string{"t"}, map[string]string{"l": "m"}, map[string]string{canary: canary},
		struct {
			Deep *item
			Note string
		}{&item{"c", 3}, canary}, 7}
	s := inputs(t, jobaudit.InputPaths[in](), v)
	require.Equal(t, `{"repo":"acme/site","items":[{"sku":"a"}],"byName":{"x":{"sku":"b"}},"tags":["t"],"labels":{"l":"m"},"nested":{"Deep":{"sku":"c"}},"any":7}`, s.JSON)
	require.Equal(t, []struct{ Path, Class string }{{"pat", "credential"}}, s.Redaction.Removed)
	g := registry(t, jobaudit.NewRedactor("act", "1", jobaudit.InputPaths[in]()))
	require.Contains(t, g.Policies()[0].JSON, `"form":"tags","keeps":{"any":"any","byName.*.sku":"string"`)
}

func TestTagsThatContradictOrSayNothingAreRefused(t *testing.T) {
	type self struct {
		Name string `audit:"keep"`
		Next *self
	}
	refused := func(rule jobaudit.Rule, field string) {
		t.Helper()
		_, err := jobaudit.NewRegistry(nil, jobaudit.NewRedactor("act", "1", rule))
		fieldErr, ok := errors.AsType[*jobaudit.FieldError](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, "act.inputs "+field, fieldErr.Field)
	}
	refused(jobaudit.InputPaths[struct{ A string }](), ".")
	refused(jobaudit.InputPaths[any](), ".")
	refused(jobaudit.InputPaths[account](jobaudit.Keep("id")), ".")
	refused(jobaudit.InputPaths[self](), "Next")
	refused(jobaudit.InputPaths[struct {
		A string `audit:"kept"`
	}](), "A")
	refused(jobaudit.InputPaths[struct {
		A string `audit:"keep=x"`
	}](), "A")
	refused(jobaudit.InputPaths[struct {
		A string `audit:"drop"`
	}](), "A")
	refused(jobaudit.InputPaths[struct {
		A struct{ B string } `audit:"keep"`
	}](), "A")
	refused(jobaudit.InputPaths[struct {
		A string `json:"-" audit:"keep"`
	}](), "A")
	refused(jobaudit.InputPaths[struct {
		A chan int `audit:"keep"`
	}](), "A")
	refused(jobaudit.InputPaths[struct {
		A bool `audit:"pseudonym=x"`
	}](), "A")
	refused(jobaudit.Inputs(func(workflow) (struct {
		A string `audit:"drop=x"`
	}, error) {
		panic("not called")
	}), "A")
}

func TestAPseudonymOfWhatWasRemovedOrScannedStays(t *testing.T) {
	g, err := jobaudit.NewRegistry(&jobaudit.RegistryOptions{PseudonymKey: make([]byte, 32), Personal: []string{"email"}},
		jobaudit.NewRedactor("rebuild-index", "1", jobaudit.InputPaths[any](jobaudit.Keep("email").Pseudonym("email")),
			jobaudit.OutputPaths[any](jobaudit.Keep("to").Pseudonym("email"), jobaudit.Keep("plain"))))
	require.NoError(t, err)
	sink := memsink.New(nil)
	rec := open(t, sink, &jobaudit.Options{Redactors: g})
	s := submission()
	s.Inputs = map[string]any{"email": "ann@example.org"}
	require.NoError(t, rec.Run(t.Context(), s, func(ctx context.Context) error {
		trail(ctx).SetOutput(map[string]string{"to": "ann@example.org", "plain": "ann@example.org"})
		return nil
	}))
	require.NoError(t, rec.Close(t.Context()))
	sink.ExpectAbsent(t, "ann@example.org")
	var in, out map[string]any
	require.NoError(t, json.Unmarshal(of(events(t, sink), jobaudit.JobSubmitted)[0].What.Inputs, &in))
	require.NoError(t, json.Unmarshal(of(events(t, sink), jobaudit.JobSucceeded)[0].Data.Output, &out))
	require.Contains(t, in["email"].(string), "pseudonym:")
	require.Equal(t, in["email"], out["to"])
	require.Contains(t, out["plain"], "$jobaudit")
}
