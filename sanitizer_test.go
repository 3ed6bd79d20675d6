package jobaudit_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/size"
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

// says runs a job that says each of the lines, and returns its events.
func says(t *testing.T, opts *jobaudit.RegistryOptions, redactors []jobaudit.Redactor, inputs any, lines ...string) []jobaudit.Event {
	t.Helper()
	g, err := jobaudit.NewRegistry(opts, redactors...)
	require.NoError(t, err)
	sink := memsink.New(nil)
	rec := open(t, sink, &jobaudit.Options{Redactors: g, Heartbeat: -1})
	s := submission()
	s.Inputs = inputs
	require.NoError(t, rec.Run(t.Context(), s, func(ctx context.Context) error {
		for _, line := range lines {
			trail(ctx).Log(ctx, line)
		}
		return nil
	}))
	require.NoError(t, rec.Close(t.Context()))
	return events(t, sink)
}

// storedLines are the lines that were stored.
func storedLines(list []jobaudit.Event) (lines []string) {
	for _, e := range of(list, jobaudit.JobLogged) {
		lines = append(lines, e.Data.Line)
	}
	return lines
}

// requireSilent requires that no event holds the secret.
func requireSilent(t *testing.T, list []jobaudit.Event, secret string) {
	t.Helper()
	for _, e := range list {
		requireAbsent(t, fmt.Appendf(nil, "%+v %s %s", e, e.What.Inputs, e.Data.Output), secret)
	}
}

func rebuild(rules ...jobaudit.Rule) []jobaudit.Redactor {
	return []jobaudit.Redactor{jobaudit.NewRedactor("rebuild-index", "1", rules...)}
}

// A rule's function may mask its input in place, or take it apart.
func TestWhatARuleChangesInPlaceIsStillKnown(t *testing.T) {
	type in struct {
		Map   map[string]string
		Bytes []byte
		Ptr   *string
		List  []string
		Any   map[string]any
		Raw   json.RawMessage
	}
	type kept struct{ N int }
	wipe := jobaudit.Inputs(func(i *in) (kept, error) {
		clear(i.Map)
		clear(i.Bytes)
		clear(i.List)
		clear(i.Any)
		clear(i.Raw)
		if i.Ptr != nil {
			*i.Ptr = "***"
		}
		return kept{len(i.Map)}, nil
	})
	for n := range size.Times(10, 3) {
		secret := fmt.Sprintf("s3cr3t-x%dy8z9", n)
		for name, v := range map[string]*in{
			"map": {Map: map[string]string{"a": secret}}, "bytes": {Bytes: []byte(secret)}, "pointer": {Ptr: &secret},
			"list": {List: []string{secret}}, "any": {Any: map[string]any{"a": []any{secret}}}, "raw": {Raw: json.RawMessage(`{"a":"` + secret + `"}`)},
		} {
			said := strings.Clone(secret)
			requireSilent(t, says(t, nil, rebuild(wipe), v, "line "+said), said)
			if name == "pointer" {
				secret = said
			}
		}
	}
}

// Whatever stands before it, a credential has its room.
func TestLongInputsDoNotCrowdACredentialOut(t *testing.T) {
	const secret = "hunter2"
	type chat struct {
		Messages []string
		Key      jobaudit.Secret[string]
		more     jobaudit.Secret[string]
	}
	for name, message := range map[string]func(i int) string{
		"prose":  func(int) string { return strings.Repeat("Please rebuild the index of our site soon. ", 420) },
		"lines":  func(i int) string { return strings.Repeat(fmt.Sprintf("line %d of x7y8z9-%d\n", i, i), 800) },
		"tokens": func(i int) string { return fmt.Sprint(fmt.Sprintf("a%dB%dc%d ", i, i*7, i*13), manyTokens(i)) },
	} {
		t.Run(name, func(t *testing.T) {
			v := chat{Key: jobaudit.NewSecret(secret), more: jobaudit.NewSecret("tr0ub4dor")}
			for i := range size.Times(40, 16) {
				v.Messages = append(v.Messages, message(i))
			}
			for rule, redactors := range map[string][]jobaudit.Redactor{
				"none": nil, "paths": rebuild(jobaudit.InputPaths[any](jobaudit.Keep("x"))), "own": rebuild(outputs()),
			} {
				list := says(t, nil, redactors, v, "login with "+secret, "login with tr0ub4dor", "all is well")
				requireSilent(t, list, secret)
				requireSilent(t, list, "tr0ub4dor")
				require.Equal(t, "all is well", storedLines(list)[2], rule)
				if name == "tokens" && redactors != nil {
					for _, e := range list {
						if e.Job.ID != uuid.Nil {
							require.Equal(t, "unavailable", e.What.Redaction.Taint, "%s of %s says that not all is known", e.Type, rule)
						}
					}
				}
			}
		})
	}
}

func manyTokens(i int) string {
	var b strings.Builder
	for n := range 2_000 {
		fmt.Fprintf(&b, "t%dX%dq%d ", i*n, n*31+i, n)
	}
	return b.String()
}

var humanPasswords = []string{
	"correct horse", "hunter2", "changeme", "Summer-2026", "letmein", "password", "qwerty", "4711", "123456", "dragon", "iloveyou",
	"Welcome1", "admin123", "monkey", "trustno1", "Winter2025", "football", "mustang", "shadow", "superman", "0815", "production",
}

// What is named a credential is looked for whatever it looks like.
func TestANamedCredentialIsAlwaysLookedFor(t *testing.T) {
	type hidden struct {
		Repo string `json:"repo"`
		key  jobaudit.Secret[string]
	}
	type nested struct {
		Repo  string `json:"repo"`
		inner struct{ keys [1]jobaudit.Secret[string] }
	}
	type tagged struct {
		Repo string `json:"repo"`
		Pw   string `json:"pw" audit:"drop=credential"`
	}
	typed := jobaudit.Inputs(func(tagged) (keptWorkflow, error) { return keptWorkflow{}, nil })
	drop := jobaudit.InputPaths[any](jobaudit.Keep("repo"), jobaudit.Drop("pw", "credential"))
	for _, pw := range humanPasswords[:size.Times(len(humanPasswords), 6)] {
		n := nested{Repo: "r"}
		n.inner.keys[0] = jobaudit.NewSecret(pw)
		raw, err := json.Marshal(map[string]string{"repo": "r", "pw": pw})
		require.NoError(t, err)
		for name, c := range map[string]struct {
			rule   jobaudit.Rule
			inputs any
		}{
			"dropped from a map":     {drop, map[string]any{"repo": "r", "pw": pw}},
			"dropped from JSON":      {drop, json.RawMessage(raw)},
			"dropped from a struct":  {drop, struct{ Repo, Pw string }{"r", pw}},
			"a Secret":               {jobaudit.InputPaths[any](jobaudit.Keep("repo")), map[string]any{"repo": "r", "pw": jobaudit.NewSecret(pw)}},
			"kept Secret":            {jobaudit.InputPaths[any](jobaudit.Keep("*")), map[string]any{"repo": "r", "pw": jobaudit.NewSecret(pw)}},
			"unexported Secret":      {jobaudit.InputPaths[hidden](jobaudit.Keep("repo")), hidden{"r", jobaudit.NewSecret(pw)}},
			"unexported, by pointer": {jobaudit.InputPaths[hidden](jobaudit.Keep("repo")), &hidden{"r", jobaudit.NewSecret(pw)}},
			"nested and unexported":  {jobaudit.InputPaths[nested](jobaudit.Keep("repo")), n},
			"typed, unexported":      {jobaudit.Inputs(func(h nested) (struct{ R string }, error) { return struct{ R string }{h.Repo}, nil }), &n},
			"bytes":                  {jobaudit.InputPaths[any](jobaudit.Keep("repo")), map[string]any{"k": jobaudit.NewSecret([]byte(pw))}},
			"tagged under a type":    {typed, tagged{"r", pw}},
			"tagged": {jobaudit.InputPaths[struct {
				Repo string `json:"repo" audit:"keep"`
				Pw   string `json:"pw" audit:"drop=credential"`
			}](), struct {
				Repo string `json:"repo" audit:"keep"`
				Pw   string `json:"pw" audit:"drop=credential"`
			}{"r", pw}},
		} {
			if name == "dropped from a struct" {
				c.rule = jobaudit.InputPaths[any](jobaudit.Keep("Repo"), jobaudit.Drop("Pw", "credential"))
			}
			list := says(t, nil, rebuild(c.rule), c.inputs, "login with "+pw+" refused", "all is well")
			require.Equal(t, []string{dropped, "all is well"}, linesOrMarkers(list), "%s: %q", name, pw)
		}
	}
	for _, number := range []any{jobaudit.NewSecret(471108), jobaudit.NewSecret(uint16(4711))} {
		list := says(t, nil, rebuild(jobaudit.InputPaths[any](jobaudit.Keep("repo"))), map[string]any{"pin": number}, "pin 471108", "pin 4711")
		require.Contains(t, linesOrMarkers(list), dropped)
	}
}

func linesOrMarkers(list []jobaudit.Event) (lines []string) {
	for _, line := range storedLines(list) {
		if strings.Contains(line, "taint") {
			line = dropped
		}
		lines = append(lines, line)
	}
	return lines
}

func TestADropWithoutAClassIsRefused(t *testing.T) {
	_, err := jobaudit.NewRegistry(nil, rebuild(jobaudit.InputPaths[any](jobaudit.Keep("repo"), jobaudit.Drop("pw", "")))...)
	fieldErr, ok := errors.AsType[*jobaudit.FieldError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, "rebuild-index.inputs pw", fieldErr.Field)
}

// A kept neighbour that holds the credential is dropped, and the credential is
// still looked for.
func TestAKeptTextThatHoldsACredentialIsDropped(t *testing.T) {
	for i, around := range []string{"mysqldump -p%s shop", "%s", "https://app:%s@db/", "echo %s | sudo -S", "PGPASSWORD=%s psql", "k=%s", "\"%s\"", "x %s y"} {
		for _, pw := range []string{"hunter2", "c4n4ry-x7y8z9", "correct horse", "Summer-2026"} {
			command := fmt.Sprintf(around, pw)
			type in struct {
				Command string                  `json:"command"`
				Repo    string                  `json:"repo"`
				Pw      jobaudit.Secret[string] `json:"pw"`
			}
			type kept struct {
				Command string `json:"command"`
				Repo    string `json:"repo"`
			}
			calls := 0
			for name, c := range map[string]struct {
				rule   jobaudit.Rule
				inputs any
			}{
				"typed": {jobaudit.Inputs(func(i in) (kept, error) { calls++; return kept{i.Command, i.Repo}, nil }), in{command, "acme/site", jobaudit.NewSecret(pw)}},
				"paths": {jobaudit.InputPaths[any](jobaudit.Keep("command"), jobaudit.Keep("repo"), jobaudit.Drop("pw", "credential")), map[string]any{"command": command, "repo": "acme/site", "pw": pw}},
				"after": {jobaudit.InputPaths[any](jobaudit.Keep("z"), jobaudit.Keep("repo"), jobaudit.Drop("a", "credential")), map[string]any{"z": command, "repo": "acme/site", "a": pw}},
			} {
				list := says(t, nil, rebuild(c.rule), c.inputs, "login with "+pw, "acme/site is well")
				require.Equal(t, []string{dropped, "acme/site is well"}, linesOrMarkers(list), "%s %d", name, i)
				submitted := of(list, jobaudit.JobSubmitted)[0].What
				require.NotContains(t, string(submitted.Inputs), pw, "%s %d", name, i)
				require.Contains(t, string(submitted.Inputs), "acme/site")
				require.NotEmpty(t, submitted.Redaction.Hits)
			}
			require.Equal(t, 1, calls, "a rule's function is called once")
		}
	}
}

// A child job may be given what was removed from its parent's inputs.
func TestAChildJobKnowsWhatWasRemovedFromItsParents(t *testing.T) {
	g := registry(t, jobaudit.NewRedactor("rebuild-index", "1", jobaudit.InputPaths[any](jobaudit.Keep("repo"), jobaudit.Drop("pw", "credential"))))
	for _, pw := range append([]string{"c4n4ry-x7y8z9"}, humanPasswords...) {
		sink := memsink.New(nil)
		rec := open(t, sink, &jobaudit.Options{Redactors: g, Heartbeat: -1})
		s := submission()
		s.Inputs = map[string]any{"repo": "acme/site", "pw": pw, "note": "n0te-q8w7e6"}
		require.ErrorContains(t, rec.Run(t.Context(), s, func(ctx context.Context) error {
			child := submission()
			child.Inputs = map[string]any{"repo": "run -p" + pw}
			child.Trigger.Reason = "because of " + pw
			return rec.Run(ctx, child, func(ctx context.Context) error {
				trail(ctx).Log(ctx, "child "+pw)
				trail(ctx).Log(ctx, "child n0te-q8w7e6")
				trail(ctx).Log(ctx, "all is well")
				grandchild := submission()
				return rec.Run(ctx, grandchild, func(ctx context.Context) error {
					trail(ctx).Log(ctx, "grandchild "+pw)
					return errors.New("refused " + pw)
				})
			})
		}), "refused")
		require.NoError(t, rec.Close(t.Context()))
		list := events(t, sink)
		require.ElementsMatch(t, []string{dropped, dropped, "all is well", dropped}, linesOrMarkers(list), "two jobs have no order of their own")
		for _, e := range of(list, jobaudit.JobSubmitted) {
			require.NotContains(t, string(e.What.Inputs)+e.Why.Reason, pw)
		}
	}
}

// Without a policy nothing is kept, and what a newcomer logs is still stored.
func TestWithoutAPolicyOrdinaryLinesAreStored(t *testing.T) {
	type order struct {
		ID       string `json:"id"`
		Customer string `json:"customer"`
		Email    string `json:"email"`
		File     string `json:"file"`
		URL      string `json:"url"`
		Commit   string `json:"commit"`
		Pod      string `json:"pod"`
		Text     string `json:"text"`
		Total    int    `json:"total"`
		Password string `json:"password"`
		APIKey   string `json:"apiKey"`
		DSN      string `json:"dsn"`
	}
	for i := range size.Times(10, 3) {
		password, key, dsn := fmt.Sprintf("hunter2-%d", i), fmt.Sprintf("k8K2mQ9zL4vX7pR%dtW", i), fmt.Sprintf("x9y8z7w6%d", i)
		v := order{
			ID: uuid.NewSHA1(uuid.NameSpaceURL, []byte{byte(i)}).String(), Customer: "Ann Example Smith", Email: "ann@example.org",
			File: fmt.Sprintf("import-2024-11-%02d.csv", i+1), URL: fmt.Sprintf("https://shop.example.org/orders/%d?page=2", i), Commit: fmt.Sprintf("%040x", i*7919),
			Pod: fmt.Sprintf("api-7d9f8b6c%d-x2x4z", i), Text: "Please rebuild the index of acme/site", Total: 4711, Password: password, APIKey: key,
			DSN: "postgres://app:" + dsn + "@db.internal/shop",
		}
		ordinary := []string{
			"processing order " + v.ID, "mail to " + v.Email, "reading " + v.File, "GET " + v.URL + ": 200", "deploying " + v.Commit,
			"pod " + v.Pod + " is ready", "asked: " + v.Text, "for " + v.Customer, "done",
		}
		secret := []string{"password " + password, "key=" + key, "login with " + dsn, v.DSN}
		for name, inputs := range map[string]any{"struct": v, "pointer": &v, "JSON": mustJSON(v), "bytes": []byte(mustJSON(v))} {
			list := says(t, nil, nil, inputs, append(slices.Clone(ordinary), secret...)...)
			require.Equal(t, ordinary, storedLines(list)[:len(ordinary)], name)
			for _, s := range []string{password, key, dsn} {
				requireSilent(t, list, s)
			}
		}
	}
}

func mustJSON(v any) json.RawMessage {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return raw
}

// Inputs may be bytes of any format: what texts they hold is known.
func TestBytesThatAreNoJSONAreStillComparedWith(t *testing.T) {
	for i := range size.Times(5, 2) {
		secret := fmt.Sprintf("s3cr3t-x%dy8z9", i)
		for name, raw := range map[string][]byte{
			"form": []byte("repo=acme&pat=" + secret), "YAML": []byte("repo: acme\npat: " + secret + "\n"), "twice": []byte(`{"pat":"` + secret + `","pat":"x"}`),
			"UTF-8": []byte("{\"pat\":\"" + secret + "\",\"x\":\"\xff\"}"), "protobuf": append([]byte{0x0a, 4, 'a', 'c', 'm', 'e', 0x12, byte(len(secret))}, secret...),
			"msgpack": append([]byte{0x81, 0xa3, 'p', 'a', 't', 0xa0 | byte(len(secret))}, secret...),
			"large":   []byte(`{"pat":"` + secret + `","fill":"` + strings.Repeat("x", 1<<20) + `"}`),
		} {
			if name == "large" && i > 0 {
				continue // that it is large does not depend on the secret, and a MiB takes its time
			}
			for rule, redactors := range map[string][]jobaudit.Redactor{
				"typed": rebuild(jobaudit.Inputs(keepWorkflow)), "paths": rebuild(jobaudit.InputPaths[any](jobaudit.Keep("repo"))),
			} {
				for kind, v := range map[string]any{"bytes": raw, "raw": json.RawMessage(raw), "text": string(raw)} {
					list := says(t, nil, redactors, v, "refused: "+secret, "all is well")
					require.Equal(t, []string{dropped, "all is well"}, linesOrMarkers(list), "%s, %s, %s", name, rule, kind)
					if name == "large" && kind != "text" {
						require.Equal(t, "unavailable", of(list, jobaudit.JobLogged)[0].What.Redaction.Taint)
					}
				}
			}
		}
	}
}

// A long text that a value holds many times is looked at once.
func TestASharedTextCostsOnce(t *testing.T) {
	text := strings.Repeat("please rebuild the index soon ", 1<<15) + apiToken()
	shared := make([]any, 1_000)
	for i := range shared {
		shared[i] = text
	}
	// A gigabyte: if it were looked at each time, this would take minutes.
	for _, rule := range []jobaudit.Rule{jobaudit.InputPaths[any](jobaudit.Keep("a[*]")), jobaudit.InputPaths[any](jobaudit.Keep("b"))} {
		g := registry(t, jobaudit.NewRedactor("act", "1", rule))
		s, err := g.StoredInputs("act", map[string]any{"a": shared})
		require.NoError(t, err)
		require.NotContains(t, s.JSON, "rebuild")
	}
}

// The names of a map that a star goes through are content, and the scan may drop one.
// What stands under it was dropped by the policy before that.
func TestACredentialUnderANameThatTheScanDropsIsStillLookedFor(t *testing.T) {
	rule := jobaudit.InputPaths[any](jobaudit.Keep("repo"), jobaudit.Drop("passwords.*", "credential"))
	for name, inputs := range map[string]any{
		"a map of texts": map[string]any{"passwords": map[string]string{"ann@example.org": "sunshine"}},
		"a map of any":   map[string]any{"passwords": map[string]any{"ann@example.org": "sunshine"}},
		"JSON":           mustJSON(map[string]any{"passwords": map[string]any{"ann@example.org": "sunshine"}}),
		"a struct": struct {
			Passwords map[string]string `json:"passwords"`
		}{map[string]string{"ann@example.org": "sunshine"}},
	} {
		t.Run(name, func(t *testing.T) {
			list := says(t, &jobaudit.RegistryOptions{Personal: []string{"email"}}, rebuild(rule), inputs, "login with sunshine failed")
			requireSilent(t, list, "sunshine")
			submitted := of(list, jobaudit.JobSubmitted)[0]
			require.Equal(t, []struct{ Path, Class string }{{"passwords.*", "credential"}}, submitted.What.Redaction.Removed)
		})
	}
}
