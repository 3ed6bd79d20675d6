package jobaudit_test

import (
	"context"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

var auditor = jobaudit.Principal{
	Kind: jobaudit.User, ID: "aud-1", Name: "Ada", Verified: true, AuthMethod: "oidc", AuthSession: "s-3",
}

// goldenAct has every field that an act can have.
func goldenAct() jobaudit.Act {
	return jobaudit.Act{
		Type: jobaudit.AuditReviewed, Principal: auditor, OrgID: "acme", Reason: "the yearly review",
		Scope: jobaudit.Query{
			JobID:         uuid.MustParse("7d444840-9dc0-41d1-b245-5ffdce74fad2"),
			CorrelationID: uuid.MustParse("0e1f2a3b-0000-4000-8000-000000000001"),
			RootID:        uuid.MustParse("7d444840-9dc0-41d1-b245-5ffdce74fad2"),
			PrincipalID:   "u-1", ActingFor: "u-2", OrgID: "acme", Action: "trigger-github-workflow", Resource: "repo:acme/site",
			Types: []jobaudit.EventType{jobaudit.JobFailed, jobaudit.JobDenied}, State: jobaudit.Failed, ErrorCode: jobaudit.CodeError,
			Since: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Until: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC),
		},
		Data: map[string]any{"findings": 2, "decided": "none of them matters"},
	}
}

// actsSink is a sink in which people have acted.
func actsSink(t *testing.T) *memsink.Sink {
	jobaudit.WithoutEnvironment(t)
	ctx := t.Context()
	sink := memsink.New(nil)
	r, err := jobaudit.Open(ctx, sink, goldenSource, &jobaudit.Options{Heartbeat: -1, Now: ticking(), NewID: counted()})
	require.NoError(t, err)
	require.NoError(t, r.Act(ctx, jobaudit.Act{Type: jobaudit.AuditRead, Principal: auditor, Reason: "ticket 4711"}))
	require.NoError(t, r.Act(ctx, goldenAct()))
	require.NoError(t, r.EraseBy(ctx, oneKey{}, "u-1", jobaudit.Act{
		Principal: auditor, OrgID: "acme", Reason: "asked for by the person", Scope: jobaudit.Query{OrgID: "acme"},
	}))
	s := goldenSubmission()
	s.Queue = jobaudit.Ref{}
	trail, err := r.Submit(ctx, s)
	require.NoError(t, err)
	require.NoError(t, trail.CancelBy(ctx, auditor, "the release is off"))
	require.NoError(t, trail.Correct(ctx, jobaudit.Correction{Of: sink.Trail(trail.JobID())[0].ID, By: auditor, Reason: "the wrong branch"}))
	require.NoError(t, r.Act(ctx, jobaudit.Act{
		Type: jobaudit.AuditRequested, Principal: auditor, OrgID: "acme", Reason: "the release is off",
		Scope: jobaudit.Query{JobID: trail.JobID(), OrgID: "acme"}, Data: map[string]string{"request": "cancel"},
	}))
	require.NoError(t, r.Close(ctx))
	return sink
}

func TestActsOfPeopleAreWrittenAsTheirGoldenFilesSay(t *testing.T) {
	sink := actsSink(t)
	for _, typ := range []jobaudit.EventType{
		jobaudit.AuditRead, jobaudit.AuditReviewed, jobaudit.AuditErased, jobaudit.AuditRequested, jobaudit.JobCancelled,
		jobaudit.JobCorrected,
	} {
		t.Run(string(typ), func(t *testing.T) {
			record, err := sink.Wait(t.Context(), jobaudit.Query{Types: []jobaudit.EventType{typ}})
			require.NoError(t, err)
			jobaudit.Golden(t, "acts/"+string(typ)+".json", append(record.Bytes(), '\n'))
			e := record.Event()
			require.Equal(t, auditor, e.Who.Principal, "who did it")
			require.Empty(t, e.Who.OnBehalfOf)
			require.Equal(t, jobaudit.Manual, e.Why.Kind)
			require.NotEmpty(t, e.Why.Reason)
		})
	}
}

func TestAnActSaysWhatItConcerned(t *testing.T) {
	record, err := actsSink(t).Wait(t.Context(), jobaudit.Query{Types: []jobaudit.EventType{jobaudit.AuditReviewed}})
	require.NoError(t, err)
	e := record.Event()
	require.Equal(t, goldenAct().Scope, e.Data.Act.Scope)
	require.JSONEq(t, `{"decided":"none of them matters","findings":2}`, string(e.Data.Act.Data))
	require.Equal(t, "acme", e.Who.OrgID)
}

func TestAnActThatDoesNotSayWhoOrWhyIsRefused(t *testing.T) {
	r, sink := passing(t)
	before := sink.Len()
	for field, change := range map[string]func(*jobaudit.Act){
		"type":                       func(a *jobaudit.Act) { a.Type = jobaudit.AuditClosed },
		"who.principal.kind":         func(a *jobaudit.Act) { a.Principal.Kind = "" },
		"who.principal.id":           func(a *jobaudit.Act) { a.Principal.ID = "\u200b" },
		"who.orgId":                  func(a *jobaudit.Act) { a.OrgID = "a\x00" },
		"why.reason":                 func(a *jobaudit.Act) { a.Reason = " " },
		"data.act.scope.jobId":       func(a *jobaudit.Act) { a.Scope.JobID = uuid.Max },
		"data.act.scope.action":      func(a *jobaudit.Act) { a.Scope.Action = strings.Repeat("x", 257) },
		"data.act.scope.until":       func(a *jobaudit.Act) { a.Scope.Until = time.Unix(-1, 0) },
		"data.act.scope.types":       func(a *jobaudit.Act) { a.Scope.Types = make([]jobaudit.EventType, 17) },
		"data.act.scope.errorCode":   func(a *jobaudit.Act) { a.Scope.ErrorCode = "\xff" },
		"who.principal.auth.session": func(a *jobaudit.Act) { a.Principal.AuthSession = "\n" },
	} {
		a := goldenAct()
		change(&a)
		requireField(t, r.Act(t.Context(), a), field)
	}
	for _, reserved := range []jobaudit.EventType{
		jobaudit.AuditHeld, jobaudit.AuditReleased, jobaudit.AuditRetention, jobaudit.AuditRetired,
	} {
		a := goldenAct()
		a.Type = reserved
		requireField(t, r.Act(t.Context(), a), "type")
	}
	trail, err := r.Submit(t.Context(), plainSubmission())
	require.NoError(t, err)
	requireField(t, trail.CancelBy(t.Context(), jobaudit.Principal{}, "because"), "who.principal.kind")
	requireField(t, trail.CancelBy(t.Context(), auditor, ""), "why.reason")
	requireField(t, trail.Correct(t.Context(), jobaudit.Correction{
		Of: trail.JobID(), By: jobaudit.Principal{Kind: jobaudit.User}, Reason: "r",
	}), "who.principal.id")
	require.Equal(t, before+1, sink.Len(), "nothing but the submission is stored")
}

// What is reserved today is read today: a later version may write it.
func TestReservedTypesOfActsAreRead(t *testing.T) {
	record, err := actsSink(t).Wait(t.Context(), jobaudit.Query{Types: []jobaudit.EventType{jobaudit.AuditReviewed}})
	require.NoError(t, err)
	for _, typ := range []string{"audit.held", "audit.released", "audit.retention", "audit.retired"} {
		line := strings.ReplaceAll(string(record.Bytes()), "audit.reviewed", typ)
		again, err := jobaudit.ParseRecord([]byte(line))
		require.NoError(t, err)
		require.EqualValues(t, typ, again.Type())
	}
}

func TestWhatAnActSaysPassesTheScan(t *testing.T) {
	const secret = "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a"
	sink := memsink.New(nil)
	r, err := jobaudit.Open(t.Context(), sink, goldenSource, nil)
	require.NoError(t, err)
	a := goldenAct()
	a.Reason, a.Principal.Name = "with "+secret, secret
	a.Data = map[string]any{"note": "found " + secret, "size": strings.Repeat("x", 20_000), "secret": jobaudit.NewSecret("s3cr3t")}
	require.NoError(t, r.Act(t.Context(), a))
	require.NoError(t, r.Close(t.Context()))
	sink.ExpectAbsent(t, secret)
	sink.ExpectAbsent(t, "s3cr3t")
}

func TestAPolicyOfTheActsTypeDecidesWhatIsKept(t *testing.T) {
	registry, err := jobaudit.NewRegistry(nil, jobaudit.NewRedactor("audit.reviewed", "1",
		jobaudit.OutputPaths[map[string]any](jobaudit.Keep("findings"))))
	require.NoError(t, err)
	sink := memsink.New(nil)
	r, err := jobaudit.Open(t.Context(), sink, goldenSource, &jobaudit.Options{Redactors: registry})
	require.NoError(t, err)
	require.NoError(t, r.Act(t.Context(), goldenAct()))
	record, err := sink.Wait(t.Context(), jobaudit.Query{Types: []jobaudit.EventType{jobaudit.AuditReviewed}})
	require.NoError(t, err)
	require.JSONEq(t, `{"findings":2}`, string(record.Event().Data.Act.Data))
	require.NoError(t, r.Close(t.Context()))
}

func TestTheSubjectOfAnErasureIsNotStored(t *testing.T) {
	r, sink := passing(t)
	requireField(t, r.EraseBy(t.Context(), oneKey{}, "aud-1", jobaudit.Act{Principal: auditor, Reason: "mine"}), "who.principal.id")
	requireField(t, r.EraseBy(t.Context(), oneKey{}, "u-9", jobaudit.Act{Type: jobaudit.AuditRead, Principal: auditor, Reason: "mine"}), "type")
	require.NoError(t, r.EraseBy(t.Context(), oneKey{}, "U-9", jobaudit.Act{Principal: auditor, Reason: "u-9 asked for it"}))
	sink.ExpectAbsent(t, "u-9")
}

func TestAnActIsRecordedThoughItsContextEnds(t *testing.T) {
	r, sink := passing(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, r.Act(ctx, goldenAct()), context.Canceled, "what has not begun is not recorded")
	require.NoError(t, r.Act(t.Context(), goldenAct()))
	require.NoError(t, r.Close(t.Context()))
	require.ErrorIs(t, r.Act(t.Context(), goldenAct()), jobaudit.ErrClosed)
	_, err := sink.Wait(t.Context(), jobaudit.Query{Types: []jobaudit.EventType{jobaudit.AuditReviewed}})
	require.NoError(t, err)
}

// The subject is in no part of the record of its erasure.
func TestNoPartOfAnErasureNamesItsSubject(t *testing.T) {
	const subject = "Person-4711"
	r, sink := passing(t)
	for name, a := range map[string]jobaudit.Act{
		"who.orgId":                      {OrgID: "of " + subject},
		"who.principal.name":             {Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "dpo", Name: "for person-4711"}},
		"who.principal.auth.session":     {Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "dpo", AuthSession: subject}},
		"data.act.scope.principalId":     {Scope: jobaudit.Query{PrincipalID: subject}},
		"data.act.scope.actingFor":       {Scope: jobaudit.Query{ActingFor: subject}},
		"data.act.scope.orgId":           {Scope: jobaudit.Query{OrgID: subject}},
		"data.act.scope.resource":        {Scope: jobaudit.Query{Resource: "/people/" + subject}},
		"data.act.data":                  {Data: map[string]any{"of": "PERSON-4711"}},
		"data.act.data ":                 {Data: map[string]any{subject: 1}},
		"data.act.data, in another form": {Data: []any{base64.StdEncoding.EncodeToString([]byte(subject))}},
	} {
		if a.Principal.ID == "" {
			a.Principal = jobaudit.Principal{Kind: jobaudit.User, ID: "dpo"}
		}
		a.Reason = "asked for"
		path, _, _ := strings.Cut(name, ",")
		requireField(t, r.EraseBy(t.Context(), oneKey{}, subject, a), strings.TrimSpace(path))
	}
	requireField(t, r.EraseBy(t.Context(), oneKey{}, "471147114711", jobaudit.Act{
		Principal: auditor, Reason: "asked for", Data: map[string]int64{"customer": 471147114711},
	}), "data.act.data")
	// A short one stands in other values by chance.
	require.NoError(t, r.EraseBy(t.Context(), oneKey{}, "12", jobaudit.Act{
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "user-3125", AuthSession: "s-0012-x"}, Reason: "asked for", Data: map[string]any{"ticket": 4128, "of": "a120"},
	}))
	for _, data := range []any{map[string]int{"n": 12}, []string{"12"}, map[string]int{"12": 1}} {
		requireField(t, r.EraseBy(t.Context(), oneKey{}, "12", jobaudit.Act{Principal: auditor, Reason: "asked for", Data: data}), "data.act.data")
	}
	for _, form := range []string{subject, "PERSON-4711", "person-4711", "471147114711"} {
		sink.ExpectAbsent(t, form)
	}
	require.Len(t, of(events(t, sink), jobaudit.AuditErased), 1)
}
