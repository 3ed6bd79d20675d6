package jobaudit

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"
)

// Job is what a job's events add up to (format F1): the fold that [Replay]
// computes. Its JSON form is a wire contract. The fields from CorrelationID on
// are ours and optional there.
//
// Unmarshalling is strict about the contract: an unknown state, a missing
// field, a malformed UUID, a time that is not UTC or that contradicts the
// state is a [*FieldError]. Fields it does not know are ignored.
type Job struct {
	ID          uuid.UUID       `json:"id"`
	State       JobState        `json:"state"`
	CreatedAt   time.Time       `json:"createdAt"`
	StartedAt   time.Time       `json:"startedAt,omitzero"`
	CompletedAt time.Time       `json:"completedAt,omitzero"`
	Output      json.RawMessage `json:"output,omitempty"`
	Error       *ErrorDetail    `json:"error,omitzero"`
	Logs        []string        `json:"logs"`
	Metadata    JobMetadata     `json:"metadata"`

	CorrelationID uuid.UUID `json:"correlationId,omitzero"`
	ParentID      uuid.UUID `json:"parentId,omitzero"`
	RootID        uuid.UUID `json:"rootId,omitzero"`
	RetryOf       uuid.UUID `json:"retryOf,omitzero"`
	// Attempt is the number of the newest attempt.
	Attempt int `json:"attempt,omitzero"`
	// Executions are all the times that the job was started, in order.
	Executions []JobExecution `json:"executions,omitempty"`
	// Unapplied are the events that did not change the job, and why: outcomes
	// after the first, starts after the end, second submissions.
	Unapplied []UnappliedEvent `json:"unapplied,omitempty"`
	// Incomplete is set when the submission is not among the events. CreatedAt
	// is then the first event's time and the inputs are null.
	Incomplete bool `json:"incomplete,omitzero"`
}

// ErrorDetail is why a job did not succeed.
type ErrorDetail struct {
	// Code is the error's own, or one of ERROR, PANIC, GOEXIT, TIMEOUT,
	// CANCELLED, FORBIDDEN, DUPLICATE, ABANDONED, EXPIRED, NOT_RUN.
	Code    string `json:"code"`
	Message string `json:"message"`
	// Type is the Go type of the error or of a panic's value, and Frame where
	// the panic arose.
	Type  string `json:"type,omitzero"`
	Frame string `json:"frame,omitzero"`
}

// JobExecution is one time that a job ran.
type JobExecution struct {
	ID        uuid.UUID `json:"id"`
	Attempt   int       `json:"attempt"`
	Stream    uuid.UUID `json:"stream"`
	StartedAt time.Time `json:"startedAt"`
	// EndedAt and End are zero while no end is known.
	EndedAt time.Time `json:"endedAt,omitzero"`
	End     EventType `json:"end,omitzero"`
	// Late is set if it started after the job had ended.
	Late bool `json:"late,omitzero"`
}

// UnappliedEvent is an event that did not change its job.
type UnappliedEvent struct {
	EventID uuid.UUID `json:"eventId"`
	Type    EventType `json:"type"`
	Time    time.Time `json:"time"`
	// Cause is "late" behind a terminal state, "duplicate" for a second
	// submission, "illegal" where the state machine has no such transition.
	Cause string       `json:"cause"`
	Error *ErrorDetail `json:"error,omitzero"`
	// Inputs are a duplicate submission's where they differ from the first's.
	Inputs json.RawMessage `json:"inputs,omitempty"`
}

// JobStatus answers a request for a job's status.
type JobStatus struct {
	// RequestID is that of this status request, not of the job's.
	RequestID uuid.UUID `json:"requestId"`
	Job       Job       `json:"job"`
}
