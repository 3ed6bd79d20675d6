package jobaudit_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/carriertext"
	"github.com/jobaudit/jobaudit/sink/faultsink"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// opened returns what a Carrier holds, as JSON.
func opened(t testing.TB, c jobaudit.Carrier) map[string]json.RawMessage {
	t.Helper()
	parts := strings.Split(c.String(), ".")
	require.Equal(t, "ja2", parts[0])
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	require.NoError(t, err)
	var fields map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(raw, &fields))
	return fields
}

// packed is the form that had no checksum.
func packed(text string) string { return "ja1." + base64.RawURLEncoding.EncodeToString([]byte(text)) }

// leastCarrier is the least that a Carrier holds.
const leastCarrier = `{"job":"7d444840-9dc0-41d1-b245-5ffdce74fad2","action":"a",` +
	`"correlation":"7d444840-9dc0-41d1-b245-5ffdce74fad2","request":"7d444840-9dc0-41d1-b245-5ffdce74fad2",` +
	`"root":"7d444840-9dc0-41d1-b245-5ffdce74fad2","principal":{"kind":"user","id":"u"},` +
	`"trigger":{"kind":"manual","reason":"r"}}`

func TestACarrierTakesAJobsIdentityAlong(t *testing.T) {
	r, sink := passing(t)
	s := goldenSubmission()
	trail, err := r.Submit(t.Context(), s)
	require.NoError(t, err)
	text, err := trail.Carrier().MarshalText()
	require.NoError(t, err)
	for _, c := range text {
		require.True(t, c > ' ' && c < 0x7f, "ASCII")
	}
	require.NotContains(t, string(opened(t, trail.Carrier())["principal"]), "Ann", "names stay behind")

	var c jobaudit.Carrier
	require.NoError(t, c.UnmarshalText(text))
	resumed, err := r.Resume(t.Context(), c, nil)
	require.NoError(t, err)
	require.Equal(t, trail.JobID(), resumed.JobID())
	resumed.Log(t.Context(), "here")
	require.NoError(t, resumed.Flush(t.Context()))

	events := sink.Trail(s.ID)
	first, second := events[0], events[1]
	require.Equal(t, uint64(1), second.Stream.Seq)
	require.Equal(t, first.Stream.ID, second.Stream.After.Stream)
	require.Equal(t, first.Stream.Seq, second.Stream.After.Seq)
	record, err := sink.Wait(t.Context(), jobaudit.Query{JobID: s.ID})
	require.NoError(t, err)
	require.Equal(t, record.Hash(), second.Stream.After.Hash)
	require.Equal(t, first.ID, second.CausationID)

	require.Equal(t, jobaudit.Principal{Kind: jobaudit.User, ID: "u-1"}, second.Who.Principal)
	require.Equal(t, []jobaudit.Principal{
		{Kind: jobaudit.Service, ID: "scheduler"},
		{Kind: jobaudit.System, ID: "platform"},
	}, second.Who.OnBehalfOf, "all of them are claimed")
	require.Equal(t, first.Who.OrgID, second.Who.OrgID)
	require.Equal(t, first.Who.Upstream, second.Who.Upstream)
	require.Equal(t, first.Why, second.Why)
	require.Equal(t, first.CorrelationID, second.CorrelationID)
	require.Equal(t, first.RequestID, second.RequestID)
	require.Equal(t, first.TraceParent, second.TraceParent)
	require.Equal(t, first.Job.RootID, second.Job.RootID)
	require.Equal(t, first.Job.RetryOf, second.Job.RetryOf)
	require.Equal(t, first.What.Action, second.What.Action)
	require.Equal(t, first.What.Resource, second.What.Resource)
	require.Equal(t, first.Where.Target, second.Where.Target)
	require.Nil(t, second.What.Inputs)
}

func TestACarrierHasAHeadOnlyWhenSomethingIsAcknowledged(t *testing.T) {
	sink := memsink.New(nil)
	broken := faultsink.New(sink, faultsink.Rule{First: 2, Fault: faultsink.Fail}) // all but the opening
	r, err := jobaudit.Open(t.Context(), broken, goldenSource, &jobaudit.Options{
		Heartbeat: -1, OnError: func(context.Context, *jobaudit.AuditError) {},
	})
	require.NoError(t, err)
	trail, err := r.Submit(t.Context(), plainSubmission())
	require.Error(t, err)
	require.NotContains(t, opened(t, trail.Carrier()), "head")

	worker, works := passing(t)
	resumed, err := worker.Resume(t.Context(), trail.Carrier(), nil)
	require.NoError(t, err)
	resumed.Log(t.Context(), "x")
	require.NoError(t, resumed.Flush(t.Context()))
	e := works.Trail(trail.JobID())[0]
	require.Zero(t, e.Stream.After)
	require.JSONEq(t, string(opened(t, trail.Carrier())["cause"]), `"`+e.CausationID.String()+`"`, "what it follows from is known all the same")
}

func TestACarrierNamesNoIDTwice(t *testing.T) {
	worker, works := passing(t)
	trail, err := worker.Submit(t.Context(), plainSubmission())
	require.NoError(t, err)
	content := opened(t, trail.Carrier())
	for _, name := range []string{"correlation", "request", "root"} {
		require.NotContains(t, content, name, "it is the job's own ID")
	}
	resumed, err := worker.Resume(t.Context(), trail.Carrier(), nil)
	require.NoError(t, err)
	require.Equal(t, opened(t, trail.Carrier())["job"], opened(t, resumed.Carrier())["job"])
	require.NoError(t, resumed.Start(t.Context(), jobaudit.Execution{}))
	job, err := jobaudit.Replay(works.Records(t.Context(), jobaudit.Query{JobID: trail.JobID()}))
	require.NoError(t, err)
	require.Equal(t, trail.JobID(), job.CorrelationID)
	require.Equal(t, trail.JobID(), job.RootID)
	require.Equal(t, trail.JobID(), job.Metadata.RequestID)
}

func TestACarrierIsNeverTooLong(t *testing.T) {
	for _, unit := range []string{"x", `"`, "é", "€"} {
		s := goldenSubmission()
		s.ID = uuid.UUID{}
		for i := range 40 {
			p := s.OnBehalfOf[0]
			if i%2 == 1 {
				p.Kind = jobaudit.System
			}
			s.OnBehalfOf = append(s.OnBehalfOf, p)
		}
		most := strings.Repeat(unit, 256/map[string]int{"x": 1, `"`: 2, "é": 2, "€": 3}[unit])
		for _, id := range identifiers(&s) {
			*id = most
		}
		s.Trigger.Reason = strings.Repeat(unit, 5_000)
		r, _ := passing(t)
		trail, err := r.Submit(t.Context(), s)
		require.NoError(t, err)
		child, err := r.Submit(trail.Context(t.Context()), s)
		require.NoError(t, err)
		for _, c := range []jobaudit.Carrier{trail.Carrier(), child.Carrier()} {
			require.LessOrEqual(t, len(c.String()), 4_096)
			again, err := jobaudit.ParseCarrier(c.String())
			require.NoError(t, err)
			resumed, err := r.Resume(t.Context(), again, nil)
			require.NoError(t, err)
			require.LessOrEqual(t, len(resumed.Carrier().String()), 4_096)
			require.Contains(t, opened(t, c), "head")
			require.JSONEq(t, string(opened(t, c)["action"]), string(opened(t, resumed.Carrier())["action"]))
		}
	}
}

// However few of them a Carrier has room for, the record says on whose behalf a
// job runs, or for how many more.
func TestOnWhoseBehalfAJobRunsIsCountedThroughEveryCarrier(t *testing.T) {
	for _, count := range []int{1, 3, 16, 40} {
		for _, length := range []int{1, 64, 256} {
			s := goldenSubmission()
			s.ID, s.OnBehalfOf = uuid.UUID{}, nil
			for i := range count {
				id := fmt.Sprintf("%0*d", length, i)
				s.OnBehalfOf = append(s.OnBehalfOf, jobaudit.Principal{Kind: jobaudit.User, ID: id[:length]})
			}
			for _, text := range []*string{&s.Action, &s.Resource, &s.Principal.ID, &s.OrgID, &s.Upstream.System, &s.Upstream.ID, &s.Target} {
				*text = strings.Repeat("x", length)
			}
			s.Trigger.Reason = strings.Repeat("why ", length)
			r, sink := passing(t)
			trail, err := r.Submit(t.Context(), s)
			require.NoError(t, err)
			for range 3 {
				trail, err = r.Resume(t.Context(), trail.Carrier(), nil)
				require.NoError(t, err)
				require.NoError(t, trail.Authorize(t.Context(), jobaudit.Decision{Allowed: true, By: "test"}))
			}
			for record, err := range sink.Records(t.Context(), jobaudit.Query{}) {
				require.NoError(t, err)
				who := record.Event().Who
				if record.JobID() == trail.JobID() {
					require.Equal(t, int64(count), int64(len(who.OnBehalfOf))+who.More, "%d of %d bytes", count, length)
				}
			}
		}
	}
}

func TestACarrierIgnoresWhatItDoesNotKnow(t *testing.T) {
	c, err := jobaudit.ParseCarrier(packed(strings.Replace(leastCarrier, `"action"`, `"new":{"job":1,"Job":2},"action"`, 1)))
	require.NoError(t, err)
	r, _ := passing(t)
	trail, err := r.Resume(t.Context(), c, nil)
	require.NoError(t, err)
	require.Equal(t, "7d444840-9dc0-41d1-b245-5ffdce74fad2", trail.JobID().String())
}

func TestAMalformedCarrierIsRefusedByField(t *testing.T) {
	const id = `"7d444840-9dc0-41d1-b245-5ffdce74fad2"`
	with := func(from, to string) string {
		require.Contains(t, leastCarrier, from)
		return packed(strings.Replace(leastCarrier, from, to, 1))
	}
	filled := strings.Replace(leastCarrier, `"a"`, `"a","x":"`+strings.Repeat("x", 4_000)+`"`, 1)
	for name, c := range map[string]struct{ text, field string }{
		"empty":                    {"", "carrier"},
		"another version":          {"ja2." + packed(leastCarrier)[4:], "carrier"},
		"no prefix":                {packed(leastCarrier)[4:], "carrier"},
		"padding":                  {packed(leastCarrier+" ") + "==", "carrier"},
		"standard base64":          {"ja1." + base64.RawStdEncoding.EncodeToString([]byte(strings.Replace(leastCarrier, `"r"`, `"???>>>"`, 1))), "carrier"},
		"a line feed":              {packed(leastCarrier)[:20] + "\n" + packed(leastCarrier)[20:], "carrier"},
		"loose bits":               {"ja1.e31", "carrier"},
		"too long":                 {packed(filled), "carrier"},
		"no JSON":                  {packed("{"), "carrier"},
		"a list":                   {packed("[]"), "carrier"},
		"a name twice":             {with(`"action"`, `"job":`+id+`,"action"`), "carrier"},
		"no job":                   {with(`"job"`, `"jobs"`), "carrier.job"},
		"a name in another case":   {with(`"action"`, `"Job":1,"action"`), "carrier.Job"},
		"a nil job":                {with(id, `"00000000-0000-0000-0000-000000000000"`), "carrier.job"},
		"a nil correlation":        {with(`"correlation":`+id, `"correlation":"00000000-0000-0000-0000-000000000000"`), "carrier.correlation"},
		"no action":                {with(`"action":"a"`, `"action":""`), "carrier.action"},
		"no principal":             {with(`"principal":{"kind":"user","id":"u"},`, ``), "carrier.principal"},
		"a principal without kind": {with(`"kind":"user",`, ``), "carrier.principal.kind"},
		"an unknown kind":          {with(`"user"`, `"robot"`), "who.principal.kind"},
		"an over-long identifier":  {with(`"u"`, `"`+strings.Repeat("u", 257)+`"`), "carrier.principal.id"},
		"an unknown trigger":       {with(`"manual"`, `"whim"`), "why.trigger"},
		"a cascade from nowhere":   {with(`"manual"`, `"cascade"`), "who.upstream.system"},
		"no reason":                {with(`,"reason":"r"`, ``), "carrier.trigger.reason"},
		"a head of nothing":        {with(`"action"`, `"head":{"stream":`+id+`,"seq":0,"hash":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="},"action"`), "carrier.head.seq"},
		"a hash in hex":            {with(`"action"`, `"head":{"stream":`+id+`,"seq":1,"hash":"e3b0"},"action"`), "carrier.head.hash"},
	} {
		t.Run(name, func(t *testing.T) {
			c0, err := jobaudit.ParseCarrier(c.text)
			requireField(t, err, c.field)
			require.Zero(t, c0)
			if c.text != "" {
				require.Error(t, c0.UnmarshalText([]byte(c.text)))
			}
		})
	}
	require.Len(t, packed(leastCarrier[:1]), 6)

	r, _ := passing(t)
	_, err := r.Resume(t.Context(), jobaudit.Carrier{}, nil)
	requireField(t, err, "carrier")
	var none jobaudit.Carrier
	require.NoError(t, none.UnmarshalText(nil))
	text, err := json.Marshal(none)
	require.NoError(t, err)
	require.Equal(t, `""`, string(text))
}

func TestARecordsCarrierTakesTheJobOnFromThatRecord(t *testing.T) {
	r, sink := passing(t)
	s := goldenSubmission()
	trail, err := r.Submit(t.Context(), s)
	require.NoError(t, err)
	for record, err := range sink.Records(t.Context(), jobaudit.Query{JobID: s.ID}) {
		require.NoError(t, err)
		made := opened(t, trail.Carrier())
		delete(made, "recorder") // which a job's record does not tell
		require.Equal(t, made, opened(t, record.Carrier()), "as the Trail made it")
	}
	require.Zero(t, jobaudit.Record{}.Carrier())
	for record, err := range sink.Records(t.Context(), jobaudit.Query{Types: []jobaudit.EventType{jobaudit.AuditOpened}}) {
		require.NoError(t, err)
		require.Zero(t, record.Carrier(), "a record of no job has no Carrier")
	}
}

// A reader who misses a submission can find out whether the log that it went to is among
// those that it reads.
func TestACarrierNamesTheRecorderThatTheJobWasSubmittedBy(t *testing.T) {
	web, log := passing(t)
	worker, elsewhere := passing(t)
	opener := func(sink *memsink.Sink) uuid.UUID {
		opened, err := sink.Wait(t.Context(), jobaudit.Query{Types: []jobaudit.EventType{jobaudit.AuditOpened}})
		require.NoError(t, err)
		return opened.Event().Stream.ID
	}
	prepared, err := web.Prepare(t.Context(), goldenSubmission())
	require.NoError(t, err)
	require.Equal(t, opener(log), prepared.Carrier().Recorder(), "also of a job that is not submitted yet")
	require.NoError(t, prepared.Submit(t.Context()))

	received, err := jobaudit.ParseCarrier(prepared.Carrier().String())
	require.NoError(t, err)
	require.Equal(t, opener(log), received.Recorder())
	resumed, err := worker.Resume(t.Context(), received, nil)
	require.NoError(t, err)
	require.Equal(t, opener(log), resumed.Carrier().Recorder(), "who resumes a job has not submitted it")
	require.NotEqual(t, opener(elsewhere), resumed.Carrier().Recorder())
	require.Equal(t, opener(log), web.ID())

	old, err := jobaudit.ParseCarrier(packed(leastCarrier))
	require.NoError(t, err)
	require.Zero(t, old.Recorder(), "a Carrier of an earlier version does not say")
	require.Zero(t, jobaudit.Carrier{}.Recorder())
}

// Somebody who writes to the queue may claim that more was left out than can be counted.
func TestAClaimOfMorePrincipalsThanCanBeCountedKeepsNoVerdictOut(t *testing.T) {
	for _, claimed := range []int64{1, 1<<53 - 17, 1<<53 - 1, 1 << 53} {
		for _, listed := range []int{0, 1, 15, 16} {
			job, list := uuid.Must(uuid.NewV7()), ""
			for i := range listed {
				list += fmt.Sprintf(`{"kind":"user","id":"u%d"},`, i)
			}
			if listed > 0 {
				list = `"onBehalfOf":[` + strings.TrimSuffix(list, ",") + `],`
			}
			raw := fmt.Sprintf(`{"job":%q,"action":"sweep","principal":{"kind":"user","id":"a"},%s"more":%d,"trigger":{"kind":"manual","reason":"x"}}`, job, list, claimed)
			c, err := jobaudit.ParseCarrier(carriertext.Seal([]byte(raw), nil))
			require.NoError(t, err, raw)
			sink := memsink.New(nil)
			rec := open(t, sink, nil)
			resumed, err := rec.Resume(t.Context(), c, nil)
			require.NoError(t, err)
			require.NoError(t, resumed.Start(t.Context(), jobaudit.Execution{Deadline: time.Minute}))
			require.NotZero(t, resumed.Carrier())
			child, err := rec.Submit(resumed.Context(t.Context()), submission())
			require.NoError(t, err)
			require.NotZero(t, newest(t, sink, child.JobID(), jobaudit.JobSubmitted).Event().Who.More, "its chain is the parent's, which is not whole")
			recorded, err := rec.Conclude(t.Context(), jobaudit.Verdict{Of: newest(t, sink, job, jobaudit.JobStarted)})
			require.NoError(t, err)
			require.True(t, recorded)
		}
	}
}

// A log may hold what a later version writes: no Carrier can be made of it.
func TestARecordOfALaterVersionHasNoCarrierOrAUsableOne(t *testing.T) {
	sink := memsink.New(nil)
	rec := open(t, sink, nil)
	s := submission()
	s.Trigger, s.Upstream = jobaudit.Trigger{Kind: jobaudit.Cascade, Reason: "r"}, jobaudit.Ref{System: "crm", ID: "1"}
	s.TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	tr, err := rec.Submit(t.Context(), s)
	require.NoError(t, err)
	line := string(newest(t, sink, tr.JobID(), jobaudit.JobSubmitted).Bytes())
	for _, change := range [][2]string{
		{`"trigger":"cascade"`, `"trigger":"webhook"`}, {`"kind":"user"`, `"kind":"device"`}, {`"kind":"user"`, `"kind":""`},
		{`,"upstream":{"system":"crm","eventId":"1"}`, ``}, {`"reason":"r"`, `"reason":""`}, {`"reason":"r"`, `"reason":{"truncated":true}`},
		{`"action":"` + s.Action + `"`, `"action":""`}, {`00-0af7651916cd43dd8448eb211c80319c`, `zz-0af7`}, {`"id":"` + s.Principal.ID + `"`, `"id":""`},
	} {
		changed := strings.Replace(line, change[0], change[1], 1)
		require.NotEqual(t, line, changed, "%q is not in %s", change[0], line)
		r, err := jobaudit.ParseRecord([]byte(changed))
		if err != nil {
			continue
		}
		if c := r.Carrier(); c.String() != "" {
			_, err := rec.Resume(t.Context(), c, nil)
			require.NoError(t, err, "%q", change[1])
		}
	}
}

// A caller may use its slice for the next job, and Options.Authorize may do with it what
// it likes.
func TestACarrierSaysWhatTheRecordSaysWhateverBecomesOfTheCallersSlice(t *testing.T) {
	sink := memsink.New(nil)
	rec := open(t, sink, &jobaudit.Options{Authorize: func(_ context.Context, s jobaudit.Submission) (jobaudit.Decision, error) {
		s.OnBehalfOf[0].ID = "eve"
		return jobaudit.Decision{Allowed: true}, nil
	}})
	s := submission()
	s.OnBehalfOf = []jobaudit.Principal{{Kind: jobaudit.User, ID: "ann"}}
	tr, err := rec.Submit(t.Context(), s)
	require.NoError(t, err)
	s.OnBehalfOf[0].ID = "bob"
	require.NoError(t, tr.Start(t.Context(), jobaudit.Execution{}))
	worker, err := rec.Resume(t.Context(), tr.Carrier(), nil)
	require.NoError(t, err)
	require.NoError(t, worker.Start(t.Context(), jobaudit.Execution{Attempt: 2}))
	for _, e := range sink.Trail(tr.JobID()) {
		require.Equal(t, "ann", e.Who.OnBehalfOf[0].ID, e.Type)
	}
}

// All copies of a Carrier share what it holds: resuming changes none of it.
func TestOneCarrierIsResumedByManyAtOnce(t *testing.T) {
	rec := open(t, memsink.New(nil), nil)
	s := submission()
	s.OnBehalfOf = []jobaudit.Principal{{Kind: jobaudit.User, ID: "ann"}, {Kind: jobaudit.Service, ID: "api"}}
	tr, err := rec.Submit(t.Context(), s)
	require.NoError(t, err)
	c, err := jobaudit.ParseCarrier(tr.Carrier().String())
	require.NoError(t, err)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := rec.Resume(t.Context(), c, nil); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}
