package jobaudit_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// workflow is the inputs of the action that the package's tests share.
type workflow struct {
	Repo   string `json:"repo"`
	Branch string `json:"branch"`
	PAT    string `json:"pat"`
}

type keptWorkflow struct {
	Repo   string `json:"repo"`
	Branch string `json:"branch"`
}

func keepWorkflow(in workflow) (keptWorkflow, error) {
	return keptWorkflow{in.Repo, in.Branch}, nil
}

const canary = "c4n4ry/<secret>\"é"

func aWorkflow() workflow { return workflow{"acme/site", "main", canary} }

func registry(t *testing.T, redactors ...jobaudit.Redactor) *jobaudit.Registry {
	t.Helper()
	g, err := jobaudit.NewRegistry(nil, redactors...)
	require.NoError(t, err)
	return g
}

// inputs stores v under a policy with one rule.
func inputs(t *testing.T, rule jobaudit.Rule, v any) jobaudit.Stored {
	t.Helper()
	s, err := registry(t, jobaudit.NewRedactor("act", "1", rule)).StoredInputs("act", v)
	require.NoError(t, err)
	return s
}

func TestAPolicyKeepsWhatItNamesAndNothingElse(t *testing.T) {
	typed := jobaudit.Inputs(keepWorkflow)
	paths := jobaudit.InputPaths[workflow](jobaudit.Keep("repo"), jobaudit.Keep("branch"))
	anything := jobaudit.InputPaths[any](jobaudit.Keep("repo"), jobaudit.Keep("branch"))
	w := aWorkflow()
	asJSON, err := json.Marshal(w)
	require.NoError(t, err)

	const want = `{"repo":"acme/site","branch":"main"}`
	const sorted = `{"branch":"main","repo":"acme/site"}`
	for _, c := range []struct {
		name string
		rule jobaudit.Rule
		in   any
		want string
	}{
		{"typed, value", typed, w, want},
		{"typed, pointer", typed, &w, want},
		{"typed, raw JSON", typed, json.RawMessage(asJSON), want},
		{"typed, bytes", typed, asJSON, want},
		{"paths, value", paths, w, want},
		{"paths, pointer", paths, &w, want},
		{"paths, raw JSON", paths, json.RawMessage(asJSON), want},
		{"paths, bytes", paths, asJSON, want},
		{"unchecked paths, value", anything, w, want},
		{"unchecked paths, raw JSON", anything, json.RawMessage(asJSON), want},
		{"unchecked paths, map", anything, map[string]any{"repo": "acme/site", "branch": "main", "pat": canary}, sorted},
		{"unchecked paths, map of strings", anything, map[string]string{"repo": "acme/site", "branch": "main", "pat": canary}, sorted},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := inputs(t, c.rule, c.in)
			require.Equal(t, jobaudit.RedactionKept, s.Redaction.Outcome)
			require.Equal(t, c.want, s.JSON)
			require.EqualValues(t, 1, s.Redaction.RemovedCount)
			require.Equal(t, "act", s.Redaction.Policy)
			require.Equal(t, "1", s.Redaction.Version)
		})
	}
}

func TestTheBlockNamesWhatThePolicyNamesAsRemoved(t *testing.T) {
	rule := jobaudit.InputPaths[any](jobaudit.Keep("repo"),
		jobaudit.Drop("pat", "credential"), jobaudit.Drop("files[*].key", "personal"), jobaudit.Drop("absent", "x"))
	v := map[string]any{"repo": "r", "pat": canary, "absent": nil, "other": 1,
		"files": []any{map[string]any{"key": canary, "name": "n"}, map[string]any{"key": canary}}}
	raw, err := json.Marshal(v)
	require.NoError(t, err)
	for _, in := range []any{v, json.RawMessage(raw)} {
		s := inputs(t, rule, in)
		require.Equal(t, []struct{ Path, Class string }{{"files[*].key", "personal"}, {"pat", "credential"}}, s.Redaction.Removed)
		require.EqualValues(t, 2, s.Redaction.RemovedCount, "other and name")
		require.NotContains(t, s.JSON, "c4n4ry")
	}
}

func TestEachBlockCountsItsOwnRemovals(t *testing.T) {
	g := registry(t, jobaudit.NewRedactor("act", "1", jobaudit.InputPaths[any](jobaudit.Keep("repo"))))
	for _, count := range []int{0, 3, 1, 1, 0} {
		v := map[string]any{"repo": "r"}
		for i := range count {
			v[fmt.Sprint(i)] = canary
		}
		s, err := g.StoredInputs("act", v)
		require.NoError(t, err)
		require.EqualValues(t, count, s.Redaction.RemovedCount)
	}
}

func TestContentWithoutAPolicyIsWithheldAndSaysSo(t *testing.T) {
	var none *jobaudit.Registry
	for name, g := range map[string]*jobaudit.Registry{"nil": none, "empty": registry(t)} {
		s, err := g.StoredInputs("act", aWorkflow())
		require.NoError(t, err, name)
		require.Equal(t, jobaudit.Stored{"null", &jobaudit.Redaction{Outcome: "no_policy"}}, s)
		require.Equal(t, s, g.StoredOutput("act", aWorkflow()))
		require.Empty(t, g.Policies())
	}
}

func TestASideWithoutARuleIsWithheldEvenUnderPassThrough(t *testing.T) {
	g, err := jobaudit.NewRegistry(&jobaudit.RegistryOptions{PassThrough: true},
		jobaudit.NewRedactor("act", "1", jobaudit.Inputs(keepWorkflow)))
	require.NoError(t, err)
	s := g.StoredOutput("act", aWorkflow())
	require.Equal(t, "null", s.JSON)
	require.Equal(t, jobaudit.RedactionNoPolicy, s.Redaction.Outcome)
	require.Equal(t, "act", s.Redaction.Policy)
}

func TestRequirePolicyRefusesAnActionWithoutOne(t *testing.T) {
	g, err := jobaudit.NewRegistry(&jobaudit.RegistryOptions{RequirePolicy: true},
		jobaudit.NewRedactor("act", "1", jobaudit.Inputs(keepWorkflow)))
	require.NoError(t, err)
	_, err = g.StoredInputs("other", aWorkflow())
	require.ErrorIs(t, err, jobaudit.ErrNoPolicy)
	require.NotContains(t, err.Error(), "c4n4ry")
	_, err = g.StoredInputs("other", nil)
	require.ErrorIs(t, err, jobaudit.ErrNoPolicy, "even without inputs")
	_, err = g.StoredInputs("act", aWorkflow())
	require.NoError(t, err)
	require.Equal(t, jobaudit.RedactionNoPolicy, g.StoredOutput("other", 1).Redaction.Outcome)
}

func TestPassThroughKeepsWhatNoPolicyNames(t *testing.T) {
	g, err := jobaudit.NewRegistry(&jobaudit.RegistryOptions{PassThrough: true})
	require.NoError(t, err)
	s, err := g.StoredInputs("act", struct {
		Repo string                    `json:"repo"`
		PAT  jobaudit.Secret[string]   `json:"pat"`
		All  []jobaudit.Secret[string] `json:"all"`
	}{"r", jobaudit.NewSecret(canary), []jobaudit.Secret[string]{{}}})
	require.NoError(t, err)
	require.Equal(t, `{"repo":"r","pat":{"$jobaudit":"dropped","rule":"secret"},"all":[{"$jobaudit":"dropped","rule":"secret"}]}`, s.JSON)
	require.Equal(t, &jobaudit.Redaction{Outcome: "passed_through"}, s.Redaction)
}

func TestWithoutAValueThereIsNothingToSay(t *testing.T) {
	g := registry(t, jobaudit.NewRedactor("act", "1", jobaudit.Inputs(keepWorkflow)))
	for _, v := range []any{nil, (*workflow)(nil)} {
		s, err := g.StoredInputs("act", v)
		require.NoError(t, err)
		require.Equal(t, jobaudit.Stored{"null", nil}, s)
	}
}

func TestAMarkerCannotBeForged(t *testing.T) {
	g, err := jobaudit.NewRegistry(&jobaudit.RegistryOptions{PassThrough: true})
	require.NoError(t, err)
	const want = `{"$$$jobaudit2":1,"$$jobaudit":"dropped","$other":2,"jobaudit":3}`
	forged := map[string]any{"$jobaudit": "dropped", "$$jobaudit2": 1, "jobaudit": 3, "$other": 2}
	raw := json.RawMessage(`{"$$jobaudit2":1,"\u0024jobaudit":"dropped","$other":2,"jobaudit":3}`)
	for _, v := range []any{forged, raw} {
		require.Equal(t, want, g.StoredOutput("act", v).JSON)
		rule := jobaudit.InputPaths[any](jobaudit.Keep("*"))
		require.Equal(t, want, inputs(t, rule, v).JSON)
	}
	type kept struct {
		M map[string]string
		F string `json:"$jobaudit"`
	}
	s := inputs(t, jobaudit.Inputs(func(workflow) (kept, error) {
		return kept{map[string]string{"$jobaudit": "dropped"}, "dropped"}, nil
	}), aWorkflow())
	require.Equal(t, `{"M":{"$$jobaudit":"dropped"},"$$jobaudit":"dropped"}`, s.JSON)
}

func TestAFailingRedactorWithholdsTheContentAndItsOwnText(t *testing.T) {
	cause := errors.New("cannot handle " + canary)
	for _, c := range []struct {
		name, outcome string
		f             func(workflow) (keptWorkflow, error)
	}{
		{"error", "error", func(workflow) (keptWorkflow, error) { return keptWorkflow{Repo: canary}, cause }},
		{"panic", "panic", func(workflow) (keptWorkflow, error) { panic(canary) }},
		{"nil panic", "panic", func(workflow) (keptWorkflow, error) { panic(nil) }},
		{"runtime error", "panic", func(w workflow) (keptWorkflow, error) { return keptWorkflow{Repo: w.Repo[:1000]}, nil }},
		{"hostile error", "error", func(workflow) (keptWorkflow, error) { return keptWorkflow{}, hostileError{} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := inputs(t, jobaudit.Inputs(c.f), aWorkflow())
			require.Equal(t, "null", s.JSON)
			require.EqualValues(t, c.outcome, s.Redaction.Outcome)
			require.NotContains(t, fmt.Sprintf("%+v", *s.Redaction), "c4n4ry")
		})
	}
	r := jobaudit.NewRedactor("act", "1", jobaudit.Inputs(func(workflow) (keptWorkflow, error) { return keptWorkflow{}, cause }))
	_, err := r.RedactInputs(aWorkflow())
	require.ErrorIs(t, err, cause, "a unit test is told")
}

// hostileError panics whatever is asked of it.
type hostileError struct{}

func (hostileError) Error() string   { panic("no") }
func (hostileError) Unwrap() error   { panic("no") }
func (hostileError) Is(error) bool   { panic("no") }
func (hostileError) As(any) bool     { panic("no") }
func (hostileError) RuntimeError()   { panic("no") }
func (hostileError) String() string  { panic("no") }
func (hostileError) LogValue() error { panic("no") }

func TestAValueOfAnotherTypeIsWithheld(t *testing.T) {
	typed := jobaudit.Inputs(keepWorkflow)
	paths := jobaudit.InputPaths[workflow](jobaudit.Keep("repo"))
	anything := jobaudit.InputPaths[any](jobaudit.Keep("repo"))
	p := new(aWorkflow())
	for _, v := range []any{
		canary, 1, keptWorkflow{}, []workflow{{}}, map[string]string{"repo": canary}, &p,
		json.RawMessage(`{"repo":"a","repo":"` + "b" + `"}`),
		json.RawMessage(`{"repo":"a"`), json.RawMessage("{\"repo\":\"\xff\"}"), json.RawMessage(``),
	} {
		for _, rule := range []jobaudit.Rule{typed, paths} {
			s := inputs(t, rule, v)
			require.Equal(t, jobaudit.RedactionType, s.Redaction.Outcome, "%T", v)
			require.Equal(t, "null", s.JSON)
		}
	}
	require.Equal(t, jobaudit.RedactionType, inputs(t, typed, json.RawMessage(`{"repo":1}`)).Redaction.Outcome)
	require.Equal(t, jobaudit.RedactionType, inputs(t, anything, []byte(`{"repo":"r"}`)).Redaction.Outcome, "nothing says that these bytes are JSON")
}

func TestNamesInOtherCaseAreNotMistaken(t *testing.T) {
	paths := jobaudit.InputPaths[workflow](jobaudit.Keep("repo"))
	for _, raw := range []string{`{"REPO":"c4n4ry"}`, `{"repo":"r","Repo":"c4n4ry"}`, `{"Repo":"c4n4ry","repo":"r"}`} {
		s := inputs(t, jobaudit.Inputs(keepWorkflow), json.RawMessage(raw))
		require.Equal(t, jobaudit.RedactionType, s.Redaction.Outcome)
		require.Equal(t, "null", s.JSON)
		require.NotContains(t, inputs(t, paths, json.RawMessage(raw)).JSON, "c4n4ry")
	}
	// The long s and the Kelvin sign fold to ASCII letters for encoding/json.
	type in struct {
		Kits string `json:"kits"`
	}
	type kept struct {
		Kits string
		More bool
	}
	look := jobaudit.Inputs(func(i in) (kept, error) { return kept{Kits: i.Kits}, nil })
	require.Equal(t, jobaudit.RedactionType, inputs(t, look, json.RawMessage(`{"\u212Ait\u017F":"c4n4ry"}`)).Redaction.Outcome)
}

func TestOverLongContentIsCutToTheLimit(t *testing.T) {
	long := workflow{Repo: strings.Repeat("é", 10_000), Branch: "main"}
	for _, rule := range []jobaudit.Rule{
		jobaudit.Inputs(keepWorkflow),
		jobaudit.InputPaths[workflow](jobaudit.Keep("repo"), jobaudit.Keep("branch")),
	} {
		s := inputs(t, rule, long)
		require.Equal(t, jobaudit.RedactionKept, s.Redaction.Outcome)
		require.LessOrEqual(t, len(s.JSON), 16_000)
		require.True(t, strings.HasPrefix(s.JSON, `{"$jobaudit":"truncated","size":20027,"head":"{\"repo\":\"éé`), s.JSON[:60])
		require.True(t, json.Valid([]byte(s.JSON)))
	}
}

type tree struct {
	Kids []tree
	Next *tree
	Any  any
	Name string
}

func TestContentBeyondTheLimitsIsWithheld(t *testing.T) {
	deep := &tree{}
	for range 100_000 {
		deep = &tree{Next: deep}
	}
	self := &tree{}
	self.Next = self
	loop := []any{nil}
	loop[0] = loop
	selfMap := map[string]any{}
	selfMap["a"] = map[string]any{"a": selfMap}
	type pointer *pointer
	var pp pointer
	pp = &pp
	nested := strings.Repeat(`{"a":`, 50) + "1" + strings.Repeat("}", 50)
	deeper := strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)
	wide := make(map[string]any, 20_000)
	for i := range 20_000 {
		wide[fmt.Sprint(i)] = i
	}
	g, err := jobaudit.NewRegistry(&jobaudit.RegistryOptions{PassThrough: true})
	require.NoError(t, err)
	for _, c := range []struct {
		name, outcome string
		v             any
	}{
		{"depth 100,000", "limit", deep},
		{"million elements", "limit", make([]int, 1_000_000)},
		{"wide map", "limit", wide},
		{"8 MiB string", "limit", strings.Repeat("x", 8<<20)},
		{"8 MiB bytes", "limit", make([]byte, 8<<20)},
		{"deep raw JSON", "limit", json.RawMessage(nested)},
		{"very deep raw JSON", "limit", json.RawMessage(deeper)},
		{"large raw JSON", "limit", json.RawMessage(`"` + strings.Repeat("x", 2<<20) + `"`)},
		{"pointer to itself", "cycle", self},
		{"slice of itself", "cycle", loop},
		{"map of itself", "cycle", selfMap},
		{"pointer type to itself", "cycle", pp},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := g.StoredOutput("act", c.v)
			require.EqualValues(t, c.outcome, s.Redaction.Outcome)
			require.Equal(t, "null", s.JSON)
		})
	}
	star := jobaudit.InputPaths[any](jobaudit.Keep("*"), jobaudit.Keep("[*]"))
	for _, v := range []any{make([]int, 1_000_000), wide, map[string]any{"a": strings.Repeat("x", 2<<20)}} {
		require.Equal(t, jobaudit.RedactionLimit, inputs(t, star, v).Redaction.Outcome)
	}
	named := jobaudit.InputPaths[any](jobaudit.Keep("7"))
	s := inputs(t, named, wide)
	require.Equal(t, `{"7":7}`, s.JSON, "what is not named is not visited")
	require.EqualValues(t, 19_999, s.Redaction.RemovedCount)
}

func TestASharedValueIsNoCycle(t *testing.T) {
	shared := &tree{Name: "s"}
	g, err := jobaudit.NewRegistry(&jobaudit.RegistryOptions{PassThrough: true})
	require.NoError(t, err)
	s := g.StoredOutput("act", []any{shared, shared, map[string]any{"a": shared}})
	require.Equal(t, jobaudit.RedactionPassedThrough, s.Redaction.Outcome)
}

func TestWhatTheCallerDoesAfterwardsChangesNothing(t *testing.T) {
	in := map[string]any{"repo": "r", "list": []any{"a"}, "raw": json.RawMessage(`"raw"`)}
	before := fmt.Sprintf("%#v", in)
	r := jobaudit.NewRedactor("act", "1", jobaudit.InputPaths[any](jobaudit.Keep("*"), jobaudit.Keep("list[*]")))
	out, err := r.RedactInputs(in)
	require.NoError(t, err)
	require.Equal(t, before, fmt.Sprintf("%#v", in))
	copy(in["raw"].(json.RawMessage), `"XXX"`)
	in["list"].([]any)[0] = "X"
	in["repo"] = "X"
	again, err := r.RedactInputs(map[string]any{"repo": "other"})
	require.NoError(t, err)
	require.Equal(t, `{"list":["a"],"raw":"raw","repo":"r"}`, string(out))
	require.Equal(t, `{"repo":"other"}`, string(again))
}

func TestOneDoorServesManyGoroutines(t *testing.T) {
	g := registry(t, jobaudit.NewRedactor("typed", "1", jobaudit.Inputs(keepWorkflow)),
		jobaudit.NewRedactor("paths", "1", jobaudit.InputPaths[any](jobaudit.Keep("repo"), jobaudit.Keep("m.*"))))
	var wg sync.WaitGroup
	typed, paths := g.Sanitize("typed"), g.Sanitize("paths")
	for i := range 64 {
		wg.Go(func() {
			repo := fmt.Sprint("repo", i)
			for range 50 {
				if got := typed(workflow{repo, "b", canary}); got != `{"repo":"`+repo+`","branch":"b"}` {
					t.Error(got)
				}
				if got := paths(map[string]any{"repo": repo, "m": map[string]int{"i": i}, "pat": canary}); got != fmt.Sprintf(`{"m":{"i":%d},"repo":%q}`, i, repo) {
					t.Error(got)
				}
			}
		})
	}
	wg.Wait()
}

func TestARegistrationThatKeepsTooMuchOrNothingIsRefused(t *testing.T) {
	type in struct {
		Repo  string            `json:"repo"`
		User  struct{ ID int }  `json:"user"`
		Env   map[string]string `json:"env"`
		Files []struct{ Path string }
		Ch    chan int
		hide  string
		Skip  string `json:"-"`
		Self  *in
	}
	_ = in{hide: ""}
	keep, drop := jobaudit.Keep, jobaudit.Drop
	bad := func(paths ...jobaudit.Path) jobaudit.Rule { return jobaudit.InputPaths[in](paths...) }
	typed := jobaudit.Inputs(keepWorkflow)
	redactor := func(rules ...jobaudit.Rule) jobaudit.Redactor { return jobaudit.NewRedactor("act", "1", rules...) }
	for name, c := range map[string]struct {
		r     jobaudit.Redactor
		field string
	}{
		"zero":             {jobaudit.Redactor{}, "redactor.action"},
		"no action":        {jobaudit.NewRedactor("", "1", typed), "redactor.action"},
		"no version":       {jobaudit.NewRedactor("act", "", typed), "act.version"},
		"long action":      {jobaudit.NewRedactor(strings.Repeat("a", 257), "1", typed), "redactor.action"},
		"no rules":         {redactor(), "act"},
		"zero rule":        {redactor(jobaudit.Rule{}), "act"},
		"two rules":        {redactor(typed, typed), "act.inputs"},
		"no function":      {redactor(jobaudit.Inputs[workflow, keptWorkflow](nil)), "act.inputs ."},
		"kept any":         {redactor(jobaudit.Inputs(func(w workflow) (any, error) { return w, nil })), "act.inputs ."},
		"kept error":       {redactor(jobaudit.Inputs(func(w workflow) (error, error) { return nil, nil })), "act.inputs ."},
		"kept is in":       {redactor(jobaudit.Inputs(func(w workflow) (workflow, error) { return w, nil })), "act.inputs ."},
		"kept points to":   {redactor(jobaudit.Inputs(func(w workflow) (*workflow, error) { return &w, nil })), "act.inputs ."},
		"kept is string":   {redactor(jobaudit.Inputs(func(s string) (string, error) { return s, nil })), "act.inputs ."},
		"kept has in":      {redactor(jobaudit.Inputs(func(w workflow) (struct{ W []workflow }, error) { return struct{ W []workflow }{}, nil })), "act.inputs W[*]"},
		"kept has any":     {redactor(jobaudit.Inputs(func(workflow) (map[string]any, error) { return nil, nil })), "act.inputs *"},
		"kept has raw":     {redactor(jobaudit.Inputs(func(workflow) (struct{ R json.RawMessage }, error) { return struct{ R json.RawMessage }{}, nil })), "act.inputs R"},
		"kept has channel": {redactor(jobaudit.Output(func(workflow) ([]chan int, error) { return nil, nil })), "act.output [*]"},
		"unknown":          {redactor(bad(keep("rep"))), "act.inputs rep"},
		"go name":          {redactor(bad(keep("Repo"))), "act.inputs Repo"},
		"unexported":       {redactor(bad(keep("hide"))), "act.inputs hide"},
		"skipped":          {redactor(bad(keep("Skip"))), "act.inputs Skip"},
		"unknown below":    {redactor(bad(keep("user.Name"))), "act.inputs user.Name"},
		"unknown drop":     {redactor(bad(drop("pat", "credential"))), "act.inputs pat"},
		"a composite":      {redactor(bad(keep("user"))), "act.inputs user"},
		"a map":            {redactor(bad(keep("env"))), "act.inputs env"},
		"a list":           {redactor(bad(keep("Files[*]"))), "act.inputs Files[*]"},
		"a channel":        {redactor(bad(keep("Ch"))), "act.inputs Ch"},
		"below a leaf":     {redactor(bad(keep("repo.x"))), "act.inputs repo"},
		"not a list":       {redactor(bad(keep("repo[*]"))), "act.inputs repo"},
		"empty":            {redactor(bad(keep(""))), "act.inputs "},
		"malformed":        {redactor(bad(keep("a..b"))), "act.inputs a..b"},
		"index":            {redactor(bad(keep("Files[0].Path"))), "act.inputs Files[0].Path"},
		"named twice":      {redactor(bad(keep("repo"), keep("repo"))), "act.inputs repo"},
		"kept and dropped": {redactor(bad(keep("repo"), drop("repo", "x"))), "act.inputs repo"},
		"contradiction":    {redactor(jobaudit.InputPaths[any](keep("a"), keep("a.b"))), "act.inputs a.b"},
		"in what dropped":  {redactor(jobaudit.InputPaths[any](keep("a.b"), drop("a", "x"))), "act.inputs a.b"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := jobaudit.NewRegistry(nil, c.r)
			fieldErr, ok := errors.AsType[*jobaudit.FieldError](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, c.field, fieldErr.Field)
			_, err = c.r.RedactInputs(in{})
			require.Error(t, err, "nor can it be used")
		})
	}
	_, err := jobaudit.NewRegistry(nil, redactor(typed), redactor(typed))
	require.ErrorContains(t, err, "two redactors")
	_, err = jobaudit.NewRegistry(&jobaudit.RegistryOptions{RequirePolicy: true, PassThrough: true})
	require.Error(t, err)
	_, err = jobaudit.NewRegistry(nil, redactor(bad(keep("x"), keep("y"))), jobaudit.Redactor{})
	require.ErrorContains(t, err, "act.inputs x")
	require.ErrorContains(t, err, "act.inputs y")
	require.ErrorContains(t, err, "redactor.action")
	_, err = jobaudit.NewRegistry(nil, redactor(bad(keep("Self.Self.repo"), keep("env.*"), keep("Files[*].Path"), keep("user.*"))))
	require.NoError(t, err)
}

func TestAPolicyCanBeReadAndItsDigestCoversIt(t *testing.T) {
	paths := jobaudit.OutputPaths[workflow](jobaudit.Keep("*"), jobaudit.Drop("pat", "credential"))
	g := registry(t, jobaudit.NewRedactor("b", "1", jobaudit.Inputs(keepWorkflow), paths),
		jobaudit.NewRedactor("a", "2", jobaudit.InputPaths[any](jobaudit.Keep("m.*"))))
	p := g.Policies()
	require.Len(t, p, 2)
	require.Equal(t, `{"action":"a","version":"2","inputs":{"form":"paths","keeps":{"m.*":"any"}}}`, p[0].JSON)
	require.Equal(t, `{"action":"b","version":"1","inputs":{"form":"typed","keeps":{"branch":"string","repo":"string"}},`+
		`"output":{"form":"paths","keeps":{"branch":"string","repo":"string"},"drops":{"pat":"credential"}}}`, p[1].JSON)
	require.Equal(t, jobaudit.Hash(sha256.Sum256([]byte(p[1].JSON))), p[1].Digest)
	s, err := g.StoredInputs("b", aWorkflow())
	require.NoError(t, err)
	require.Equal(t, p[1].Digest, s.Redaction.Digest)
}

func TestAPolicyTooLargeToRecordIsRefused(t *testing.T) {
	var paths []jobaudit.Path
	for i := range 2_000 {
		paths = append(paths, jobaudit.Keep(fmt.Sprintf("a_rather_long_name_%d", i)))
	}
	_, err := jobaudit.NewRegistry(nil, jobaudit.NewRedactor("act", "1", jobaudit.InputPaths[any](paths...)))
	require.ErrorContains(t, err, "too large")
}

// A kept type that is the input's type by another name keeps everything.
func TestAKeptTypeThatIsTheInputByAnotherNameIsRefused(t *testing.T) {
	type in struct {
		Repo, PAT string
		Nested    struct{ A, B string }
	}
	type kept in
	type wrapped struct{ In kept }
	type listed struct{ In []kept }
	type mapped struct{ In map[string]*kept }
	for name, rule := range map[string]jobaudit.Rule{
		"itself":  jobaudit.Inputs(func(i in) (kept, error) { return kept(i), nil }),
		"pointer": jobaudit.Inputs(func(i in) (*kept, error) { k := kept(i); return &k, nil }),
		"inside":  jobaudit.Inputs(func(i *in) (wrapped, error) { return wrapped{kept(*i)}, nil }),
		"list":    jobaudit.Inputs(func(i in) (listed, error) { return listed{}, nil }),
		"map":     jobaudit.Inputs(func(i in) (mapped, error) { return mapped{}, nil }),
	} {
		_, err := jobaudit.NewRegistry(nil, jobaudit.NewRedactor("act", "1", rule))
		require.ErrorContains(t, err, "keeps the whole value", name)
	}
}

// The registry tells what it would store, with its own options.
func TestTheRegistryTellsWhatItWouldStore(t *testing.T) {
	g, err := jobaudit.NewRegistry(&jobaudit.RegistryOptions{Patterns: map[string]string{"acme": "acme_[0-9a-f]{16}"}, PseudonymKey: bytes.Repeat([]byte{7}, 32)},
		jobaudit.NewRedactor("rebuild-index", "1", jobaudit.InputPaths[any](jobaudit.Keep("repo"), jobaudit.Keep("mail").Pseudonym("email"), jobaudit.Drop("pw", "credential")), outputs()))
	require.NoError(t, err)
	for _, repo := range []string{"acme/site", "acme_0123456789abcdef", apiToken(), "run -phunter2"} {
		in := map[string]any{"repo": repo, "mail": "ann@example.org", "pw": "hunter2"}
		sink := memsink.New(nil)
		rec := open(t, sink, &jobaudit.Options{Redactors: g})
		s := submission()
		s.Inputs, s.OrgID = in, ""
		job, err := rec.Submit(t.Context(), s)
		require.NoError(t, err)
		require.NoError(t, job.Cancel(t.Context(), "done"))
		tried, err := g.RedactInputs("rebuild-index", in)
		require.NoError(t, err)
		require.Equal(t, string(of(events(t, sink), jobaudit.JobSubmitted)[0].What.Inputs), string(tried))
		require.Contains(t, string(tried), g.Pseudonym("", "email", "ann@example.org"))
	}
	out, err := g.RedactOutput("rebuild-index", map[string]any{"a": "b"})
	require.NoError(t, err)
	require.Equal(t, `{"a":"b"}`, string(out))
	require.NotEqual(t, g.Pseudonym("acme", "email", "ann@example.org"), g.Pseudonym("", "email", "ann@example.org"))
	require.NotEqual(t, g.Pseudonym("", "email", "Ann@example.org"), g.Pseudonym("", "email", "ann@example.org"), "case matters")
	require.Empty(t, (*jobaudit.Registry)(nil).Pseudonym("", "email", "x"))
	_, err = g.RedactInputs("other", 1)
	require.ErrorIs(t, err, jobaudit.ErrNoPolicy)
	cause := errors.New("no")
	failing := registry(t, jobaudit.NewRedactor("act", "1", jobaudit.Inputs(func(workflow) (keptWorkflow, error) { return keptWorkflow{}, cause })))
	_, err = failing.RedactInputs("act", workflow{})
	require.ErrorIs(t, err, cause)
}

// A text in the APIs of chats is a string or a list of parts.
func TestATextThatMayBeAListIsNamedByTwoPaths(t *testing.T) {
	rule := jobaudit.InputPaths[any](jobaudit.Keep("messages[*].role"), jobaudit.Keep("messages[*].content"), jobaudit.Keep("messages[*].content[*].text"))
	raw := `{"messages":[{"content":"hello","role":"user"},{"content":[{"image":"x","text":"part"}],"role":"user"}],"key":"k"}`
	var v any
	require.NoError(t, json.Unmarshal([]byte(raw), &v))
	for _, in := range []any{v, json.RawMessage(raw)} {
		require.Equal(t, `{"messages":[{"content":"hello","role":"user"},{"content":[{"text":"part"}],"role":"user"}]}`, inputs(t, rule, in).JSON)
	}
	_, err := jobaudit.NewRegistry(nil, jobaudit.NewRedactor("act", "1", jobaudit.InputPaths[struct{ A string }](jobaudit.Keep("A"), jobaudit.Keep("A[*]"))))
	require.Error(t, err)
	_, err = jobaudit.NewRegistry(nil, jobaudit.NewRedactor("act", "1", jobaudit.InputPaths[any](jobaudit.Keep("a"), jobaudit.Keep("a.b"))))
	require.Error(t, err)
}

func TestPathsOfAPointerTakeTheValue(t *testing.T) {
	rule := jobaudit.InputPaths[*workflow](jobaudit.Keep("repo"))
	w := aWorkflow()
	for _, v := range []any{w, &w} {
		require.Equal(t, `{"repo":"acme/site"}`, inputs(t, rule, v).JSON, "%T", v)
	}
}

func TestAListAsAPseudonymIsRefusedWithTheRealReason(t *testing.T) {
	type in struct {
		Tags []string
		Map  map[string]string
	}
	for _, path := range []string{"Tags", "Map"} {
		_, err := jobaudit.NewRegistry(&jobaudit.RegistryOptions{PseudonymKey: make([]byte, 32)},
			jobaudit.NewRedactor("act", "1", jobaudit.InputPaths[in](jobaudit.Keep(path).Pseudonym("x"))))
		require.ErrorContains(t, err, "more than one value")
	}
}

// A client decides how many texts the scan drops, and what stands before them.
func TestTheCostOfManyHitsIsLinear(t *testing.T) {
	g, err := jobaudit.NewRegistry(&jobaudit.RegistryOptions{PassThrough: true})
	require.NoError(t, err)
	allocations := func(hits int) float64 {
		inputs := map[string]any{}
		for i := range hits {
			inputs[fmt.Sprintf("name%05d", i)] = "ghp_" + strings.Repeat("a1B2", 9)
		}
		return testing.AllocsPerRun(1, func() {
			kept, err := g.RedactInputs("a", inputs)
			require.NoError(t, err)
			require.NotContains(t, string(kept), "a1B2")
		})
	}
	few, many := allocations(200), allocations(2000)
	require.Less(t, many, 20*few)
}
