package memsink

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/story"
)

// TB is the part of a testing.TB that the helpers need. Fatalf must not
// return.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
}

// ExpectStates fails the test unless the job went through exactly these
// states.
func (s *Sink) ExpectStates(t TB, jobID uuid.UUID, want ...jobaudit.JobState) {
	t.Helper()
	if got := s.States(jobID); !slices.Equal(got, want) {
		t.Fatalf("job %s went through %v instead of %v\n%s", jobID, got, want, s.timeline(jobaudit.Query{JobID: jobID}))
	}
}

// ExpectEvent returns the first event that matches, as soon as one is stored.
// It fails the test if ctx ends before; a test's own context never does while
// the test runs, so give it a deadline.
func (s *Sink) ExpectEvent(ctx context.Context, t TB, q jobaudit.Query) jobaudit.Event {
	t.Helper()
	r, err := s.Wait(ctx, q)
	if err != nil {
		near := jobaudit.Query{JobID: q.JobID, CorrelationID: q.CorrelationID, RootID: q.RootID}
		t.Fatalf("no event that matches %s was stored: %v\n%s", describe(q), err, s.timeline(near))
	}
	return r.Event()
}

// ExpectAbsent fails the test if any stored byte holds the text: unchanged,
// escaped for JSON or URLs, in hex or in base64, the last three from 8
// characters up. The failure names the event and the form and prints no
// timeline: what must not be stored must not come into a test's output either.
// An empty text fails.
func (s *Sink) ExpectAbsent(t TB, text string) {
	t.Helper()
	if text == "" {
		t.Fatalf("an empty text is in everything")
	}
	c := newCanary(text)
	for _, r := range s.snapshot() {
		if form := c.find(r.Bytes()); form != "" {
			t.Fatalf("an event holds the text, %s: %s", form, r)
		}
	}
}

// timeline returns what is stored of a selection, for people to read.
func (s *Sink) timeline(q jobaudit.Query) string {
	var b strings.Builder
	if err := story.Timeline(&b, s.Records(context.Background(), q)); err != nil {
		return fmt.Sprint("no timeline: ", err)
	}
	return b.String()
}

// describe lists what a query asks for.
func describe(q jobaudit.Query) string {
	var b strings.Builder
	say := func(name string, value any, set bool) {
		if set {
			fmt.Fprintf(&b, " %s=%v", name, value)
		}
	}
	say("job", q.JobID, q.JobID != uuid.Nil)
	say("correlation", q.CorrelationID, q.CorrelationID != uuid.Nil)
	say("root", q.RootID, q.RootID != uuid.Nil)
	say("principal", q.PrincipalID, q.PrincipalID != "")
	say("actingFor", q.ActingFor, q.ActingFor != "")
	say("org", q.OrgID, q.OrgID != "")
	say("action", q.Action, q.Action != "")
	say("resource", q.Resource, q.Resource != "")
	say("types", q.Types, len(q.Types) > 0)
	say("state", q.State, q.State != "")
	say("errorCode", q.ErrorCode, q.ErrorCode != "")
	say("since", q.Since, !q.Since.IsZero())
	say("until", q.Until, !q.Until.IsZero())
	say("after", q.After, q.After != uuid.Nil)
	if b.Len() == 0 {
		return "the query for any"
	}
	return strings.TrimSpace(b.String())
}
