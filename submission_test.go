package jobaudit_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// passing opens a recorder that stores all content, and its sink.
func passing(t *testing.T) (*jobaudit.Recorder, *memsink.Sink) {
	t.Helper()
	registry, err := jobaudit.NewRegistry(&jobaudit.RegistryOptions{PassThrough: true})
	require.NoError(t, err)
	sink := memsink.New(nil)
	r, err := jobaudit.Open(t.Context(), sink, goldenSource, &jobaudit.Options{Redactors: registry, Heartbeat: -1})
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.Close(t.Context()) })
	return r, sink
}

// identifiers are the identifiers of a submission, by the names of their
// fields.
func identifiers(s *jobaudit.Submission) map[string]*string {
	return map[string]*string{
		"what.action": &s.Action, "what.resource": &s.Resource,
		"who.principal.id": &s.Principal.ID, "who.principal.auth.method": &s.Principal.AuthMethod,
		"who.principal.auth.session": &s.Principal.AuthSession,
		"who.onBehalfOf.id":          &s.OnBehalfOf[1].ID, "who.onBehalfOf.auth.method": &s.OnBehalfOf[1].AuthMethod,
		"who.orgId": &s.OrgID, "who.upstream.system": &s.Upstream.System, "who.upstream.eventId": &s.Upstream.ID,
		"where.target": &s.Target, "why.ref": &s.Trigger.Ref,
		"job.queue.system": &s.Queue.System, "job.queue.id": &s.Queue.ID,
	}
}

func TestIdentifiersAreRefusedWhereTheyCannotBeKept(t *testing.T) {
	r, sink := passing(t)
	before := sink.Len()
	sample := goldenSubmission()
	for field := range identifiers(&sample) {
		for value, ok := range map[string]bool{
			strings.Repeat("x", 256): true, strings.Repeat("x", 257): false,
			strings.Repeat("é", 128): true, strings.Repeat("é", 129): false,
			strings.Repeat(`"`, 128): true, strings.Repeat(`"`, 129): false,
			"a\nb": false, "a\x00": false, "a\u202eb": false,
			"a\xffb": false, "\xed\xa0\x80": false, "<\u2028>&": true,
		} {
			s := goldenSubmission()
			*identifiers(&s)[field] = value
			s.ID = [16]byte{}
			trail, err := r.Submit(t.Context(), s)
			if ok {
				require.NoError(t, err, "%s %.20q", field, value)
				before++
				continue
			}
			require.Nil(t, trail)
			requireField(t, err, field)
			require.NotContains(t, err.Error(), "xxx")
		}
	}
	require.Equal(t, before, sink.Len(), "nothing of the refused ones is stored")
}

func TestASubmissionSaysWhoWhatAndWhy(t *testing.T) {
	r, sink := passing(t)
	before := sink.Len()
	for field, change := range map[string]func(*jobaudit.Submission){
		"who.principal.kind":   func(s *jobaudit.Submission) { s.Principal.Kind = "" },
		"who.principal.id":     func(s *jobaudit.Submission) { s.Principal.ID = "" },
		"who.onBehalfOf.kind":  func(s *jobaudit.Submission) { s.OnBehalfOf[1].Kind = "robot" },
		"who.onBehalfOf.id":    func(s *jobaudit.Submission) { s.OnBehalfOf[1].ID = "" },
		"what.action":          func(s *jobaudit.Submission) { s.Action = "" },
		"why.trigger":          func(s *jobaudit.Submission) { s.Trigger.Kind = "whim" },
		"why.reason":           func(s *jobaudit.Submission) { s.Trigger.Reason = "" },
		"who.upstream.system":  func(s *jobaudit.Submission) { s.Upstream = jobaudit.Ref{} },
		"who.upstream.eventId": func(s *jobaudit.Submission) { s.Upstream.ID, s.Trigger.Kind = "", jobaudit.Manual },
		"job.queue.id":         func(s *jobaudit.Submission) { s.Queue.ID = "" },
		"job.queue.system":     func(s *jobaudit.Submission) { s.Queue.System = "" },
		"traceparent":          func(s *jobaudit.Submission) { s.TraceParent = strings.ToUpper(s.TraceParent) },
		"where.sourceIp": func(s *jobaudit.Submission) {
			s.SourceIP = netip.MustParseAddr("fe80::1").WithZone(strings.Repeat("z", 300))
		},
	} {
		t.Run(field, func(t *testing.T) {
			s := goldenSubmission()
			change(&s)
			trail, err := r.Submit(t.Context(), s)
			require.Nil(t, trail)
			requireField(t, err, field)
		})
	}
	require.Equal(t, before, sink.Len())
}

// Whatever address is accepted, its event can be read.
func TestEverySourceAddressCanBeReadBack(t *testing.T) {
	r, sink := passing(t)
	for _, ip := range []netip.Addr{
		{}, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("::ffff:192.0.2.1"),
		netip.MustParseAddr("fe80::1%eth0"), netip.MustParseAddr("fe80::1").WithZone("a%b \"<\n"),
		netip.MustParseAddr("::ffff:192.0.2.1").WithZone("eth0"), netip.MustParseAddr("fe80::1").WithZone("\xff"),
	} {
		s := plainSubmission()
		s.SourceIP = ip
		trail, err := r.Submit(t.Context(), s)
		if err != nil {
			requireField(t, err, "where.sourceIp")
			continue
		}
		e := sink.Trail(trail.JobID())[0]
		require.Equal(t, ip, e.Where.SourceIP)
		require.Equal(t, "every night", e.Why.Reason)
	}
}

func TestContentIsKeptUpToItsLimit(t *testing.T) {
	r, sink := passing(t)
	stored := func(inputs any) jobaudit.Event {
		s := plainSubmission()
		s.Inputs = inputs
		trail, err := r.Submit(t.Context(), s)
		require.NoError(t, err)
		trail.SetOutput(inputs)
		require.NoError(t, trail.Start(t.Context(), jobaudit.Execution{}))
		require.NoError(t, trail.Succeed(t.Context()))
		events := sink.Trail(trail.JobID())
		require.Equal(t, string(events[0].What.Inputs), string(events[len(events)-1].Data.Output))
		return events[0]
	}
	fits := []string{strings.Repeat("x", 15_996)}
	require.Len(t, stored(fits).What.Inputs, 16_000)

	e := stored([]string{strings.Repeat("x", 15_997)})
	var marker struct {
		Kind string `json:"$jobaudit"`
		Size int
		Head string
	}
	require.NoError(t, json.Unmarshal(e.What.Inputs, &marker))
	require.Equal(t, "truncated", marker.Kind)
	require.Equal(t, 16_001, marker.Size)
	require.True(t, strings.HasPrefix(marker.Head, `["xxx`))
	require.LessOrEqual(t, len(e.What.Inputs), 16_000)
	require.Greater(t, len(e.What.Inputs), 15_990)
}

func TestContentIsWrittenInTheOneForm(t *testing.T) {
	r, sink := passing(t)
	for _, c := range []struct {
		inputs any
		want   string
	}{
		{map[string]any{"b": 1, "a": 2, "B": 3, "é": 4, "\x01": 5}, `{"\u0001":5,"B":3,"a":2,"b":1,"é":4}`},
		{"<>&\u2028\u2029/\x7f", "\"<>&\u2028\u2029/\x7f\""},
		{"\b\f\n\r\t\"\\\x00\x1f", `"\b\f\n\r\t\"\\\u0000\u001f"`},
		{"a\xffb", "\"a\uFFFDb\""},
		{[]any{math.NaN(), math.Inf(1), math.Inf(-1), 1.0, 1e21, 1e-7, float32(0.1), math.Copysign(0, -1), int64(math.MinInt64), uint64(math.MaxUint64)},
			`[{"$jobaudit":"dropped","rule":"number"},{"$jobaudit":"dropped","rule":"number"},{"$jobaudit":"dropped","rule":"number"},` +
				`1,1e+21,1e-7,0.1,-0,-9223372036854775808,18446744073709551615]`},
		{json.RawMessage(`{"n": 1.50e+3, "big":123456789012345678901234567890 }`), `{"n":1.50e+3,"big":123456789012345678901234567890}`},
		{[]any{json.RawMessage(`{"a":1,"a":2}`)}, `[{"$jobaudit":"dropped","rule":"json"}]`},
		{map[string]any{"$jobaudit": "mine", "$$jobauditor": 1, "jobaudit": 2}, `{"$$$jobauditor":1,"$$jobaudit":"mine","jobaudit":2}`},
		{json.RawMessage(`{"$jobaudit":"truncated"}`), `{"$$jobaudit":"truncated"}`},
		{nil, `null`},
	} {
		s := plainSubmission()
		s.Inputs = c.inputs
		trail, err := r.Submit(t.Context(), s)
		require.NoError(t, err)
		require.Equal(t, c.want, string(sink.Trail(trail.JobID())[0].What.Inputs))
	}
}

func TestSubmissionsInATransactionGoToItsSinkOnceAndNowhereElse(t *testing.T) {
	own, tx := memsink.New(nil), memsink.New(nil)
	rec := open(t, own, nil)
	before := own.Len()
	first, second := submission(), submission()
	first.ID = uuid.Must(uuid.NewV7())
	carriers, err := rec.SubmitTx(t.Context(), tx, first, second)
	require.NoError(t, err)
	require.Len(t, carriers, 2)
	require.Equal(t, before, own.Len())
	require.Equal(t, 2, tx.Len())
	require.Equal(t, first.ID, tx.Jobs()[0])

	// Committed, the records are where the job's others go.
	for r, err := range tx.Records(t.Context(), jobaudit.Query{}) {
		require.NoError(t, err)
		require.NoError(t, own.Append(t.Context(), []jobaudit.Record{r}))
	}
	trail, err := rec.Resume(t.Context(), carriers[0], nil)
	require.NoError(t, err)
	require.NoError(t, trail.Run(t.Context(), jobaudit.Execution{Attempt: 1}, func(context.Context) error { return nil }))
	require.NoError(t, rec.Close(t.Context()))
	events(t, own) // each stream is whole
	job, err := jobaudit.Replay(own.Records(t.Context(), jobaudit.Query{JobID: first.ID}))
	require.NoError(t, err)
	require.Equal(t, jobaudit.Success, job.State)
	require.Empty(t, job.Unapplied)
	resumed := own.Trail(first.ID)[1]
	require.NotNil(t, resumed.Stream.After)
	require.Equal(t, own.Trail(first.ID)[0].Stream.ID, resumed.Stream.After.Stream)
}

// sinkFunc is a sink that is one function.
type sinkFunc func(context.Context, []jobaudit.Record) error

func (f sinkFunc) Append(ctx context.Context, records []jobaudit.Record) error {
	return f(ctx, records)
}

func TestAFailedTransactionIsToldAndNothingIsTriedAgain(t *testing.T) {
	own := memsink.New(nil)
	rec := open(t, own, &jobaudit.Options{Fallback: memsink.New(nil)})
	before := own.Len()
	calls := 0
	failing := sinkFunc(func(context.Context, []jobaudit.Record) error {
		calls++
		return errors.New("serialization failure")
	})
	for _, test := range []struct {
		tx   jobaudit.AuditSink
		subs []jobaudit.Submission
	}{
		{failing, []jobaudit.Submission{submission()}},
		{nil, []jobaudit.Submission{submission()}},
		{failing, []jobaudit.Submission{submission(), {}}}, // one is malformed: none is sent
	} {
		carriers, err := rec.SubmitTx(t.Context(), test.tx, test.subs...)
		var audit *jobaudit.AuditError
		require.ErrorAs(t, err, &audit)
		require.Nil(t, carriers)
	}
	require.Equal(t, 1, calls)
	require.Equal(t, before, own.Len())
	carriers, err := rec.SubmitTx(t.Context(), failing)
	require.NoError(t, err)
	require.Empty(t, carriers)
}

// A prepared job that is not submitted has no event: it would not be on record who
// wanted it.
func TestAPreparedJobHasNoEventBeforeItsSubmission(t *testing.T) {
	ways := map[string]func(*jobaudit.Trail) error{
		"Start":     func(tr *jobaudit.Trail) error { return tr.Start(t.Context(), jobaudit.Execution{}) },
		"Authorize": func(tr *jobaudit.Trail) error { return tr.Authorize(t.Context(), jobaudit.Decision{Allowed: true}) },
		"Deny":      func(tr *jobaudit.Trail) error { return tr.Deny(t.Context(), jobaudit.Decision{}) },
		"Cancel":    func(tr *jobaudit.Trail) error { return tr.Cancel(t.Context(), "no") },
		"Skip":      func(tr *jobaudit.Trail) error { return tr.Skip(t.Context(), "no") },
		"Dedup":     func(tr *jobaudit.Trail) error { return tr.Deduplicate(t.Context(), uuid.New()) },
		"Run": func(tr *jobaudit.Trail) error {
			return tr.Run(t.Context(), jobaudit.Execution{}, func(context.Context) error { t.Error("it ran"); return nil })
		},
		"Log": func(tr *jobaudit.Trail) error { tr.Log(t.Context(), "a line"); return jobaudit.ErrTransition },
	}
	for name, way := range ways {
		sink := memsink.New(nil)
		rec := open(t, sink, &jobaudit.Options{Heartbeat: -1, OnError: new(complaints).add})
		tr, err := rec.Prepare(t.Context(), submission())
		require.NoError(t, err)
		require.ErrorIs(t, way(tr), jobaudit.ErrTransition, name)
		require.Empty(t, sink.Trail(tr.JobID()), name)
		require.NoError(t, tr.Submit(t.Context()), name)
		if name != "Deny" { // which holds whether it is on record or not
			require.NoError(t, tr.Start(t.Context(), jobaudit.Execution{}), name)
		}
	}
}

// A policy is the application's: it may use the Trail, or never return.
func TestAPolicyMayUseTheTrailWhoseSubmissionItIsCalledFor(t *testing.T) {
	var tr *jobaudit.Trail
	registry, err := jobaudit.NewRegistry(nil, jobaudit.NewRedactor("guarded", "1", jobaudit.Inputs(func(map[string]string) (int, error) {
		if tr != nil {
			tr.Log(context.Background(), "a line")
			_ = tr.Carrier()
		}
		return 1, nil
	})))
	require.NoError(t, err)
	sink := memsink.New(nil)
	rec := open(t, sink, &jobaudit.Options{Redactors: registry, Heartbeat: -1})
	s := submission()
	s.Action, s.Inputs = "guarded", map[string]string{"a": "b"}
	p, err := rec.Prepare(t.Context(), s)
	require.NoError(t, err)
	tr, err = rec.Resume(t.Context(), p.Carrier(), s.Inputs)
	require.NoError(t, err)
	require.NoError(t, tr.Submit(t.Context()))
	require.Len(t, of(events(t, sink), jobaudit.JobSubmitted), 1)
}

// What a Carrier's inputs were is not known: no event of the job says otherwise, its
// submission neither.
func TestASubmissionFromACarrierKeepsTheGap(t *testing.T) {
	redactors, err := jobaudit.NewRegistry(nil, jobaudit.NewRedactor("pay", "1",
		jobaudit.InputPaths[map[string]string](jobaudit.Keep("shop"), jobaudit.Drop("card", "payment"))))
	require.NoError(t, err)
	sink := memsink.New(nil)
	rec := open(t, sink, &jobaudit.Options{Redactors: redactors, Heartbeat: -1})
	s := submission()
	s.Action, s.Inputs = "pay", map[string]string{"shop": "a", "card": "a secret of the customer's"}
	p, err := rec.Prepare(t.Context(), s)
	require.NoError(t, err)
	tr, err := rec.Resume(t.Context(), p.Carrier(), nil)
	require.NoError(t, err)
	require.NoError(t, tr.Submit(t.Context()))
	require.NoError(t, tr.Run(t.Context(), jobaudit.Execution{}, func(context.Context) error { return nil }))
	require.Len(t, sink.Trail(tr.JobID()), 4)
	for _, e := range sink.Trail(tr.JobID()) {
		require.NotNil(t, e.What.Redaction, e.Type)
		require.Equal(t, "unavailable", e.What.Redaction.Taint, e.Type)
	}
}

// A submission that cannot be sent changes nothing of what the Trail knows.
func TestASubmissionThatCannotBeSentForgetsNothing(t *testing.T) {
	store := newSwitched()
	var told complaints
	rec := open(t, store, &jobaudit.Options{OnError: told.add, Heartbeat: -1})
	p, err := rec.Prepare(t.Context(), submission())
	require.NoError(t, err)
	tr, err := rec.Resume(t.Context(), p.Carrier(), nil)
	require.NoError(t, err)
	require.NoError(t, tr.Run(t.Context(), jobaudit.Execution{}, func(ctx context.Context) error {
		store.set(refusing(jobaudit.JobLogged, errWork))
		tr.Log(ctx, "line")
		_ = tr.Flush(ctx)
		require.Error(t, tr.Submit(ctx))
		require.Error(t, tr.Submit(ctx))
		require.EqualValues(t, 1, rec.Stats().Executions)
		return nil
	}))
	last := told.all()[len(told.all())-1]
	require.Equal(t, "succeed", last.Op, "somebody is told that the outcome is not on record")
}
