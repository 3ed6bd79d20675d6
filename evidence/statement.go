package evidence

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
)

// A Scope says which jobs a file is about: those that have an event which
// matches. Each field that is set is a further condition. Of these jobs the file
// holds all events.
type Scope struct {
	JobID         uuid.UUID `json:"jobId,omitzero"`
	RootID        uuid.UUID `json:"rootId,omitzero"`
	CorrelationID uuid.UUID `json:"correlationId,omitzero"`
	ActingFor     string    `json:"actingFor,omitempty"` // ID of a principal, or of one on whose behalf it acts
	Action        string    `json:"action,omitempty"`
	Since         time.Time `json:"since,omitzero"` // at or after
	Until         time.Time `json:"until,omitzero"` // before
}

// query selects the events that bring their jobs into the scope.
func (s Scope) query() jobaudit.Query {
	return jobaudit.Query{JobID: s.JobID, RootID: s.RootID, CorrelationID: s.CorrelationID,
		ActingFor: s.ActingFor, Action: s.Action, Since: s.Since, Until: s.Until}
}

// Period reports whether the scope is no single job, family or correlation.
func (s Scope) Period() bool {
	return s.JobID == uuid.Nil && s.RootID == uuid.Nil && s.CorrelationID == uuid.Nil
}

// during reports whether an event of the audit itself belongs to the scope: a
// period without further conditions.
func (s Scope) during(r jobaudit.Record) bool {
	return s == Scope{Since: s.Since, Until: s.Until} && s.query().Match(r)
}

// beside reports whether an event can stand beside a summary: one that a reviewer looks
// for, of the scope. That a job has an event in the period is not to be seen from another.
func (s Scope) beside(r jobaudit.Record) bool {
	if !notable[r.Type()] {
		return false
	}
	if r.JobID() == uuid.Nil {
		return s.during(r)
	}
	return s.Action == "" || r.Event().What.Action == s.Action
}

// A Statement is what the person who made a file says about it. Nobody signs
// it. Where the events show the same, [Open] compares.
type Statement struct {
	Scope Scope `json:"scope"`
	// Logs are the logs that were read, in the file's order.
	Logs []LogStatement `json:"logs"`
	// Streams are all streams of these jobs that stand in these logs, in order of
	// their first event. Each is here from 1 to Last.
	Streams []Stream `json:"streams"`
	// Summary stands instead of the events if there are too many of them.
	Summary *Summary `json:"summary,omitempty"`
	// Made is when, by the clock of the person who made it, and By with which
	// program.
	Made time.Time `json:"made"`
	By   string    `json:"by"`
}

// A LogStatement is about one log.
type LogStatement struct {
	Origin string `json:"origin"`
	// Key is the verifier key that the log was checked with. It is here to be
	// compared with one that came another way, and proves nothing.
	Key string `json:"key"`
	// Unread counts lines of the log that are no events.
	Unread int64 `json:"unread,omitempty"`
}

// A Stream is one writer's run of one job.
type Stream struct {
	ID   uuid.UUID `json:"id"`
	Last uint64    `json:"last"` // number of its last event under the head
}

// parseStatement takes the one form that a statement has.
func parseStatement(line []byte) (s Statement, err error) {
	if err := json.Unmarshal(line, &s); err != nil {
		return s, fmt.Errorf("statement: %w", err)
	}
	again, err := json.Marshal(s)
	if err != nil || !bytes.Equal(again, line) {
		return s, errors.New("statement: not in the form of this version")
	}
	return s, nil
}
