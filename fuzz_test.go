package jobaudit_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

func FuzzParseRecord(f *testing.F) {
	for _, record := range jobaudit.GoldenRecords(f) {
		f.Add(record.Bytes())
	}
	f.Add([]byte(`{"schemaVersion":"1.0.0","ID":1}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		record, err := jobaudit.ParseRecord(line)
		if err != nil {
			require.ErrorAs(t, err, new(*jobaudit.RecordError))
			require.Zero(t, record)
			return
		}
		require.Equal(t, line, record.Bytes())
		require.Equal(t, tlog.RecordHash(line), record.Hash())
		again, err := jobaudit.ParseRecord(record.Bytes())
		require.NoError(t, err)
		e := record.Event()
		require.Equal(t, e, again.Event())
		require.Equal(t, e.ID, record.ID())
		require.NotEqual(t, uuid.Nil, record.ID())
		require.Equal(t, e.Job.ID, record.JobID())
		require.Equal(t, e.Type, record.Type())
		require.Equal(t, e.Time, record.Time())

		// A reader that ignores the case of names and lets the last of two win
		// sees the same event.
		var careless struct {
			ID            uuid.UUID
			Type, Phase   string
			CausationID   uuid.UUID
			CorrelationID uuid.UUID
			Stream        struct{ Seq uint64 }
			Job           struct {
				ID    uuid.UUID
				State string
			}
			Who struct {
				Principal struct{ Kind, ID string }
				OrgID     string
			}
			What struct {
				Action string
				Inputs json.RawMessage
			}
			Data struct{ Output json.RawMessage }
		}
		require.NoError(t, json.Unmarshal(line, &careless))
		require.Equal(t, e.ID, careless.ID)
		require.Equal(t, string(e.Type), careless.Type)
		require.Equal(t, string(e.Phase), careless.Phase)
		require.Equal(t, e.CausationID, careless.CausationID)
		require.Equal(t, e.CorrelationID, careless.CorrelationID)
		require.Equal(t, e.Stream.Seq, careless.Stream.Seq)
		require.Equal(t, e.Job.ID, careless.Job.ID)
		require.Equal(t, string(e.Job.State), careless.Job.State)
		require.Equal(t, string(e.Who.Principal.Kind), careless.Who.Principal.Kind)
		require.Equal(t, e.Who.Principal.ID, careless.Who.Principal.ID)
		require.Equal(t, e.Who.OrgID, careless.Who.OrgID)
		require.Equal(t, e.What.Action, careless.What.Action)
		require.True(t, bytes.Equal(e.What.Inputs, careless.What.Inputs))
		require.True(t, bytes.Equal(e.Data.Output, careless.Data.Output))

		// What can be read can be folded.
		if record.JobID() != uuid.Nil {
			_, err = jobaudit.Replay(all([]jobaudit.Record{record}))
			require.NoError(t, err)
		}
	})
}

func FuzzParseCarrier(f *testing.F) {
	f.Add(packed(leastCarrier))
	f.Add("ja1.")
	f.Add("")
	f.Add(packed(`{"job":null}`))
	r, err := jobaudit.Open(f.Context(), memsink.New(nil), goldenSource, &jobaudit.Options{Heartbeat: -1})
	require.NoError(f, err)
	trail, err := r.Submit(f.Context(), goldenSubmission())
	require.NoError(f, err)
	f.Add(trail.Carrier().String())
	f.Fuzz(func(t *testing.T, text string) {
		for _, text := range []string{text, packed(text)} { // as it is, and as what a Carrier holds
			c, err := jobaudit.ParseCarrier(text)
			if err != nil {
				require.ErrorAs(t, err, new(*jobaudit.FieldError))
				require.Zero(t, c)
				continue
			}
			require.Equal(t, text, c.String())
			resumed, err := r.Resume(t.Context(), c, nil)
			require.NoError(t, err, "what parses can be resumed")
			again := resumed.Carrier()
			require.LessOrEqual(t, len(again.String()), 4_096)
			second, err := r.Resume(t.Context(), again, nil)
			require.NoError(t, err, "what we write parses")
			require.Equal(t, again, second.Carrier())
			require.Equal(t, resumed.JobID(), second.JobID())
		}
	})
}

func FuzzJobUnmarshal(f *testing.F) {
	f.Add([]byte(foreignJob))
	f.Add([]byte(`{"id":"7d444840-9dc0-11d1-b245-5ffdce74fad2","executions":[{"id":"7D444840-9dc0-11d1-b245-5ffdce74fad2"}],"unapplied":null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var job jobaudit.Job
		if err := job.UnmarshalJSON(text); err != nil {
			require.ErrorAs(t, err, new(*jobaudit.FieldError))
			require.Zero(t, job)
			return
		}
		require.True(t, json.Valid(text))
		written, err := json.Marshal(job)
		require.NoError(t, err)
		var again jobaudit.Job
		require.NoError(t, json.Unmarshal(written, &again), "%s", written)
		rewritten, err := json.Marshal(again)
		require.NoError(t, err)
		require.Equal(t, string(written), string(rewritten))
	})
}

// Whatever a caller says, the event can be read, fits, and says it.
func FuzzSubmit(f *testing.F) {
	f.Add("user", "u-1", "Ann", "acme", "sweep", "manual", "because", "res", "line", "river", "42")
	f.Add("service", "\xff", "\u2028", "", "a\x00", "cascade", "<&>\xed\xa0\x80", "$jobaudit", "\xf0\x9f", "", "x")
	f.Fuzz(func(t *testing.T, kind, id, name, org, action, trigger, reason, resource, line, system, key string) {
		sink := memsink.New(nil)
		r, err := jobaudit.Open(t.Context(), sink, goldenSource, &jobaudit.Options{Heartbeat: -1})
		require.NoError(t, err)
		s := jobaudit.Submission{
			Action: action, OrgID: org, Resource: resource, Inputs: line,
			Principal:  jobaudit.Principal{Kind: jobaudit.PrincipalKind(kind), ID: id, Name: name, AuthMethod: key},
			OnBehalfOf: slices.Repeat([]jobaudit.Principal{{Kind: jobaudit.User, ID: id + "x", Name: name}}, len(line)%40),
			Trigger:    jobaudit.Trigger{Kind: jobaudit.TriggerKind(trigger), Reason: reason, Ref: resource},
			Upstream:   jobaudit.Ref{System: system, ID: key}, Queue: jobaudit.Ref{System: system, ID: key},
		}
		trail, err := r.Submit(t.Context(), s)
		if err != nil {
			require.ErrorAs(t, err, new(*jobaudit.FieldError))
			require.Nil(t, trail)
			require.NoError(t, r.Close(t.Context()))
			return
		}
		trail.Log(t.Context(), line)
		require.NoError(t, trail.Cancel(t.Context(), line))
		require.NoError(t, r.Close(t.Context()))
		for record, err := range sink.Records(t.Context(), jobaudit.Query{JobID: trail.JobID()}) {
			require.NoError(t, err)
			again, err := jobaudit.ParseRecord(record.Bytes())
			require.NoError(t, err, "%s", record.Bytes())
			require.Equal(t, record, again)
			e := record.Event()
			require.Equal(t, id, e.Who.Principal.ID)
			require.Equal(t, action, e.What.Action)
			require.Equal(t, resource, e.What.Resource)
			require.LessOrEqual(t, record.Len(), 48_000)
		}
		require.Len(t, sink.Trail(trail.JobID()), 3)
	})
}
