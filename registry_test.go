package jobaudit_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/carriertext"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// apiToken is a text that gives itself away as a secret, made when the test runs.
func apiToken() string { return "gh" + "p_" + strings.Repeat("aB3dE6gH9", 4) }

func TestASecretThatAPolicyKeepsIsDroppedAndNamed(t *testing.T) {
	keep := jobaudit.InputPaths[any](jobaudit.Keep("*"), jobaudit.Keep("list[*].*"), jobaudit.Keep("map.*"), jobaudit.Keep("a long name, with spaces"))
	type kept struct {
		List []struct{ Note string } `json:"list"`
		Map  map[string]string       `json:"map"`
		Raw  []byte                  `json:"raw"`
	}
	typed := jobaudit.Inputs(func(in struct{ Kept kept }) (kept, error) { return in.Kept, nil })
	pass, err := jobaudit.NewRegistry(&jobaudit.RegistryOptions{PassThrough: true})
	require.NoError(t, err)

	v := map[string]any{
		"list":                     []any{map[string]any{"note": "fine"}, map[string]any{"note": "the token " + apiToken() + " is bad"}},
		"map":                      map[string]any{apiToken(): "value", "fine": "kept"},
		"a long name, with spaces": apiToken(),
	}
	raw, err := json.Marshal(v)
	require.NoError(t, err)
	for _, stored := range []jobaudit.Stored{
		inputs(t, keep, v), inputs(t, keep, json.RawMessage(raw)), pass.StoredOutput("act", v), pass.StoredOutput("act", json.RawMessage(raw)),
	} {
		require.NotContains(t, stored.JSON, apiToken())
		require.Contains(t, stored.JSON, `"list":[{"note":"fine"},{"note":{"$jobaudit":"dropped","rule":"`)
		require.Contains(t, stored.JSON, `"map":{"fine":"kept"}`)
		var paths []string
		for _, hit := range stored.Redaction.Hits {
			paths = append(paths, hit.Path)
			require.NotEmpty(t, hit.Rule)
			require.NotContains(t, hit.Rule+hit.Path, apiToken())
		}
		require.ElementsMatch(t, []string{"list[1].note", "map.*", "*"}, paths)
		require.EqualValues(t, 1, stored.Redaction.RemovedCount, "the entry of which the name was a secret")
	}

	in := struct{ Kept kept }{kept{[]struct{ Note string }{{apiToken()}}, map[string]string{"k": apiToken()}, []byte(apiToken())}}
	stored := inputs(t, typed, in)
	require.Len(t, stored.Redaction.Hits, 3)
	require.NotContains(t, stored.JSON, base64.StdEncoding.EncodeToString([]byte(apiToken()))[:20])
	g := registry(t, jobaudit.NewRedactor("act", "1", typed))
	again, err := g.StoredInputs("act", struct{ Kept kept }{})
	require.NoError(t, err)
	require.Empty(t, again.Redaction.Hits, "a block is not another job's")
	require.Equal(t, "[0]", pass.StoredOutput("act", []any{apiToken()}).Redaction.Hits[0].Path)
	require.Equal(t, ".", pass.StoredOutput("act", apiToken()).Redaction.Hits[0].Path)
}

func TestASecretSpelledInBytesOrRunesIsDropped(t *testing.T) {
	pass, err := jobaudit.NewRegistry(&jobaudit.RegistryOptions{PassThrough: true})
	require.NoError(t, err)
	var array [40]byte
	copy(array[:], apiToken())
	for _, v := range []any{array, []rune(apiToken()), []uint8(apiToken())} {
		require.Len(t, pass.StoredOutput("act", v).Redaction.Hits, 1, "%T", v)
	}
}

func TestAPathInAHitIsShort(t *testing.T) {
	pass, err := jobaudit.NewRegistry(&jobaudit.RegistryOptions{PassThrough: true})
	require.NoError(t, err)
	var v any = apiToken()
	for range 10 {
		v = map[string]any{strings.Repeat("n", 40): []any{1, v}}
	}
	s := pass.StoredOutput("act", map[string]any{"deep": v, "é": apiToken()})
	require.Len(t, s.Redaction.Hits, 2)
	require.LessOrEqual(t, len(s.Redaction.Hits[0].Path), 256)
	require.True(t, strings.HasPrefix(s.Redaction.Hits[0].Path, "deep."+strings.Repeat("n", 40)+"[1].n"))
	require.Equal(t, "*", s.Redaction.Hits[1].Path)
}

func TestASecretInAFreeTextIsDropped(t *testing.T) {
	sink := memsink.New(nil)
	rec := open(t, sink, nil)
	s := submission()
	s.Resource, s.Principal.Name, s.Trigger.Reason = "site "+apiToken(), "Ann "+apiToken(), "because of "+apiToken()
	s.Principal.ID = "ann"
	err := rec.Run(t.Context(), s, func(ctx context.Context) error {
		job := trail(ctx)
		job.Log(ctx, "line "+apiToken())
		job.SetImpact("impact " + apiToken())
		job.Snapshot(ctx, jobaudit.Snapshot{Resource: apiToken(), Digest: "none", Summary: apiToken()})
		job.Retrying(ctx, errors.New("bad "+apiToken()))
		require.NoError(t, job.Correct(ctx, jobaudit.Correction{Of: job.JobID(), Reason: apiToken(), Value: apiToken()}))
		return job.Cancel(ctx, "because of "+apiToken())
	})
	require.NoError(t, err)
	require.NoError(t, rec.Close(t.Context()))
	sink.ExpectAbsent(t, apiToken())
	require.Len(t, of(events(t, sink), jobaudit.JobLogged), 1)
}

func TestTheScanIsTheRegistrysOwn(t *testing.T) {
	rule := jobaudit.InputPaths[any](jobaudit.Keep("*"))
	const own = "acme_0123456789abcdef"
	for name, c := range map[string]struct {
		opts  *jobaudit.RegistryOptions
		text  string
		found bool
	}{
		"own pattern":     {&jobaudit.RegistryOptions{Patterns: map[string]string{"acme": "acme_[0-9a-f]{16}"}}, own, true},
		"not its pattern": {nil, own, false},
		"allowed":         {&jobaudit.RegistryOptions{Allow: []string{apiToken()}}, apiToken(), false},
		"not allowed":     {&jobaudit.RegistryOptions{Allow: []string{apiToken()}}, "gh" + "p_" + strings.Repeat("zY7xW4vU1", 4), true},
		"personal":        {&jobaudit.RegistryOptions{Personal: []string{"email"}}, "ann@example.org", true},
		"not personal":    {nil, "ann@example.org", false},
	} {
		t.Run(name, func(t *testing.T) {
			g, err := jobaudit.NewRegistry(c.opts, jobaudit.NewRedactor("act", "1", rule))
			require.NoError(t, err)
			s, err := g.StoredInputs("act", map[string]string{"a": c.text})
			require.NoError(t, err)
			require.Equal(t, c.found, len(s.Redaction.Hits) == 1, s.JSON)
			plain := registry(t, jobaudit.NewRedactor("act", "1", rule))
			require.Equal(t, c.opts == nil, g.Policies()[0].Digest == plain.Policies()[0].Digest, "the policy says it")
			if c.opts != nil && c.opts.Allow != nil {
				require.Contains(t, g.Policies()[0].JSON, apiToken())
			}
		})
	}
	for _, opts := range []jobaudit.RegistryOptions{
		{Patterns: map[string]string{"acme": "[a-z]+"}}, {Personal: []string{"mood"}}, {Allow: []string{"x"}}, {Without: []string{"no such rule"}},
	} {
		_, err := jobaudit.NewRegistry(&opts)
		_, ok := errors.AsType[*jobaudit.FieldError](err)
		require.True(t, ok, "%v", err)
	}
}

// A number that nothing names may be a card's.
func TestACardInANumberThatNothingNamesIsDropped(t *testing.T) {
	pass, err := jobaudit.NewRegistry(&jobaudit.RegistryOptions{PassThrough: true})
	require.NoError(t, err)
	_, err = jobaudit.NewRegistry(&jobaudit.RegistryOptions{Personal: []string{"email"}},
		jobaudit.NewRedactor("act", "1", jobaudit.Output(func(in struct{ Card int64 }) (struct{ Card int64 }, error) { return in, nil })))
	require.Error(t, err, "the input itself")
	type in struct{ Card int64 }
	type kept struct{ Number int64 }
	rule := jobaudit.Inputs(func(i in) (kept, error) { return kept{i.Card}, nil })
	personal, err := jobaudit.NewRegistry(&jobaudit.RegistryOptions{Personal: []string{"email"}}, jobaudit.NewRedactor("act", "1", rule))
	require.NoError(t, err)
	for _, card := range []int64{4111111111111111, 5500005555555559, 378282246310005, 6011000990139424, 30569309025904} {
		for _, v := range []any{
			card, uint64(card), float64(card), json.Number(fmt.Sprint(card)), map[string]any{"a": card}, map[string]int64{"a": card}, []int64{1, card}, []any{card},
			json.RawMessage(fmt.Sprintf(`{"a":[%d]}`, card)), struct{ A int64 }{card}, &struct{ A any }{card},
		} {
			s := pass.StoredOutput("act", v)
			require.NotContains(t, s.JSON, fmt.Sprint(card), "%T", v)
			require.Len(t, s.Redaction.Hits, 1, "%T", v)
		}
		for _, v := range []any{map[string]any{"a": card}, json.RawMessage(fmt.Sprintf(`{"a":%d}`, card))} {
			require.NotContains(t, inputs(t, jobaudit.InputPaths[any](jobaudit.Keep("*")), v).JSON, fmt.Sprint(card))
			require.Contains(t, inputs(t, jobaudit.InputPaths[any](jobaudit.Keep("a")), v).JSON, fmt.Sprint(card), "the policy names it")
		}
		require.Contains(t, inputs(t, rule, in{card}).JSON, fmt.Sprint(card), "the policy's word")
		stored, err := personal.StoredInputs("act", in{card})
		require.NoError(t, err)
		require.NotContains(t, stored.JSON, fmt.Sprint(card))
	}
}

// quoting is a sink whose error quotes what it was given.
type quoting struct{ text string }

func (q quoting) Append(_ context.Context, records []jobaudit.Record) error {
	if records[0].Type() == jobaudit.JobLogged {
		return &jobaudit.RecordError{ID: records[0].ID(), Err: errors.New("cannot store " + q.text)}
	}
	return nil
}

// What is said of the audit itself, in the log and to the program's logger, is
// scanned and compared like a job's texts.
func TestTheDefaultLogOfErrorsHoldsNoSecret(t *testing.T) {
	var out bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&out, nil)))
	defer slog.SetDefault(before)
	for _, secret := range []string{apiToken(), "s3cr3t-x7y8z9"} {
		synctest.Test(t, func(t *testing.T) {
			rec, err := jobaudit.Open(t.Context(), quoting{secret}, source, &jobaudit.Options{Heartbeat: -1})
			require.NoError(t, err)
			s := submission()
			s.Inputs = map[string]any{"pw": jobaudit.NewSecret(secret)}
			job, err := rec.Submit(t.Context(), s)
			require.NoError(t, err)
			job.Log(t.Context(), "a line")
			_ = job.Flush(t.Context())
			_ = rec.Close(t.Context())
			synctest.Wait() // until all is said
			require.Contains(t, out.String(), "job audit")
			require.NotContains(t, out.String(), secret)
			out.Reset()
		})
	}
}

// Identifiers are stored as they are, so one that holds a credential is refused
// before work begins.
func TestAnIdentifierThatHoldsACredentialIsRefused(t *testing.T) {
	sink := memsink.New(nil)
	rec := open(t, sink, nil)
	for _, secret := range []string{apiToken(), "https://app:" + "hunter2-x" + "@host/x", "AKIA" + "IOSFODNN7EXAMPLQ", "?token=" + "a1B2c3D4e5F6", "Bearer " + "a1B2c3D4e5F6g7H8i9J0"} {
		for field := range identifiers(&jobaudit.Submission{OnBehalfOf: make([]jobaudit.Principal, 2)}) {
			if field == "what.resource" {
				continue // a free text
			}
			s := submission()
			s.Trigger.Kind, s.Upstream = jobaudit.Cascade, jobaudit.Ref{System: "crm", ID: "1"}
			s.Queue = jobaudit.Ref{System: "river", ID: "1"}
			s.OnBehalfOf = []jobaudit.Principal{{Kind: jobaudit.User, ID: "bob"}, {Kind: jobaudit.User, ID: "eve"}}
			*identifiers(&s)[field] = "x " + secret
			_, err := rec.Submit(t.Context(), s)
			fieldErr, ok := errors.AsType[*jobaudit.FieldError](err)
			require.True(t, ok, "%s: %v", field, err)
			require.Equal(t, field, fieldErr.Field)
			require.NotContains(t, err.Error(), secret)
		}
		job, err := rec.Submit(t.Context(), submission())
		require.NoError(t, err)
		err = job.Start(t.Context(), jobaudit.Execution{Queue: jobaudit.Ref{System: "river", ID: secret}})
		_, ok := errors.AsType[*jobaudit.FieldError](err)
		require.True(t, ok, "%v", err)
		require.NoError(t, job.Start(t.Context(), jobaudit.Execution{}))
		job.Snapshot(t.Context(), jobaudit.Snapshot{Resource: "r", Digest: secret})
		require.NoError(t, job.Succeed(t.Context()))
		denied, err := rec.Submit(t.Context(), submission())
		require.NoError(t, err)
		require.NoError(t, denied.Deny(t.Context(), jobaudit.Decision{By: secret, Permission: secret}))
	}
	s := submission()
	s.Trigger.Ref, s.Target = strings.Repeat("4", 1)+strings.Repeat("1", 15), "+49 30 901820" // numbers are identifiers
	job, err := rec.Submit(t.Context(), s)
	require.NoError(t, err)
	require.NoError(t, job.Cancel(t.Context(), "done"))
	require.NoError(t, rec.Close(t.Context()))
	for _, secret := range []string{apiToken(), "hunter2-x", "IOSFODNN7EXAMPLQ", "a1B2c3D4e5F6"} {
		sink.ExpectAbsent(t, secret)
	}
}

// vouched is an error that vouches for a text that is no constant.
type vouched struct{ text string }

func (v vouched) Error() string        { return "x " + v.text }
func (v vouched) JobErrorText() string { return "y " + v.text }

func TestATextThatAnErrorVouchesForIsScannedAllTheSame(t *testing.T) {
	sink := memsink.New(nil)
	rec := open(t, sink, nil)
	require.Error(t, rec.Run(t.Context(), submission(), func(context.Context) error { return vouched{apiToken()} }))
	require.NoError(t, rec.Close(t.Context()))
	sink.ExpectAbsent(t, apiToken())
}

// What else is stored unchanged: of acts, of those who cancel or correct, of the
// environment, and what a queue brings back.
func TestNoOtherIdentifierHoldsACredential(t *testing.T) {
	sink := memsink.New(nil)
	rec := open(t, sink, nil)
	person := jobaudit.Principal{Kind: jobaudit.User, ID: "ann"}
	opened := 0
	for _, secret := range []string{apiToken(), "AKIA" + "IOSFODNN7EXAMPLQ", "Bearer " + "a1B2c3D4e5F6g7H8i9J0"} {
		refused := func(what string, err error) {
			t.Helper()
			_, ok := errors.AsType[*jobaudit.FieldError](err)
			require.True(t, ok, "%s: %v", what, err)
			require.NotContains(t, err.Error(), secret)
		}
		for _, p := range []jobaudit.Principal{
			{Kind: jobaudit.User, ID: secret}, {Kind: jobaudit.User, ID: "ann", AuthMethod: secret}, {Kind: jobaudit.User, ID: "ann", AuthSession: secret},
		} {
			job := begun(t, rec)
			refused("CancelBy", job.CancelBy(t.Context(), p, "it does harm"))
			refused("Correct", job.Correct(t.Context(), jobaudit.Correction{Of: uuid.New(), By: p, Reason: "it was wrong"}))
			refused("Act", rec.Act(t.Context(), jobaudit.Act{Type: jobaudit.AuditRead, Principal: p, Reason: "x"}))
			require.NoError(t, job.Succeed(t.Context()))
		}
		for _, a := range []jobaudit.Act{
			{OrgID: secret},
			{Scope: jobaudit.Query{PrincipalID: secret}},
			{Scope: jobaudit.Query{ActingFor: secret}},
			{Scope: jobaudit.Query{OrgID: secret}},
			{Scope: jobaudit.Query{Action: secret}},
			{Scope: jobaudit.Query{Resource: secret}},
			{Scope: jobaudit.Query{ErrorCode: jobaudit.ErrorCode(secret)}},
			{Scope: jobaudit.Query{State: jobaudit.JobState(secret)}},
			{Scope: jobaudit.Query{Types: []jobaudit.EventType{jobaudit.EventType(secret)}}},
		} {
			a.Type, a.Principal, a.Reason = jobaudit.AuditRead, person, "x"
			refused("Act", rec.Act(t.Context(), a))
		}
		for range 4 {
			var opts jobaudit.Options
			switch opened++; opened % 4 {
			case 0:
				opts.Environment.Image = secret
			case 1:
				opts.Environment.Orchestrator = map[string]string{"pod": secret}
			case 2:
				opts.Environment.Orchestrator = map[string]string{secret: "a"}
			case 3:
				opts.CompanionOf.Origin = secret
			}
			_, err := jobaudit.Open(t.Context(), sink, source, &opts)
			refused("Open", err)
		}
		// A Carrier was written by somebody who reaches the queue.
		for field := range identifiers(&jobaudit.Submission{OnBehalfOf: make([]jobaudit.Principal, 2)}) {
			s := submission()
			s.Trigger.Kind, s.Upstream, s.Queue = jobaudit.Cascade, jobaudit.Ref{System: "crm", ID: "1"}, jobaudit.Ref{System: "river", ID: "1"}
			s.OnBehalfOf = []jobaudit.Principal{{Kind: jobaudit.User, ID: "bob"}, {Kind: jobaudit.User, ID: "eve"}}
			*identifiers(&s)[field] = "placeholder-of-it"
			careless := open(t, memsink.New(nil), nil)
			p, err := careless.Prepare(t.Context(), s)
			require.NoError(t, err)
			raw, err := base64.RawURLEncoding.DecodeString(strings.Split(p.Carrier().String(), ".")[1])
			require.NoError(t, err)
			forged, err := jobaudit.ParseCarrier(carriertext.Seal([]byte(strings.ReplaceAll(string(raw), "placeholder-of-it", secret)), nil))
			require.NoError(t, err, field)
			job, err := rec.Resume(t.Context(), forged, nil)
			require.NoError(t, err)
			require.NoError(t, job.Run(t.Context(), jobaudit.Execution{}, func(context.Context) error { return nil }), field)
		}
	}
	require.NoError(t, rec.Close(t.Context()))
	for _, secret := range []string{apiToken(), "IOSFODNN7EXAMPLQ", "a1B2c3D4e5F6"} {
		sink.ExpectAbsent(t, secret)
	}
}
