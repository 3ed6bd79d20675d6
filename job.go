package jobaudit

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit/internal/fields"
)

// Job is what a job's events add up to (docs/format.md, F1): the fold that [Replay]
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
	// Unreadable says where records are stored that cannot be read and may be
	// of this job, the first 16 of them. What they say is not in the Job.
	Unreadable []string `json:"unreadable,omitempty"`
}

// ErrorDetail is why a job did not succeed.
type ErrorDetail struct {
	// Code is what the error's method JobErrorCode() string says, if it has
	// one.
	Code    ErrorCode `json:"code"`
	Message string    `json:"message"`
	// Type is the Go type of the error or of a panic's value, and Frame where
	// the panic arose.
	Type  string `json:"type,omitzero"`
	Frame string `json:"frame,omitzero"`
}

// ErrorCode says what kind of error ended a job: the error's own code, or one of
// those below.
type ErrorCode string

// The codes of errors that do not bring their own.
const (
	CodeError     ErrorCode = "ERROR"
	CodePanic     ErrorCode = "PANIC"
	CodeGoexit    ErrorCode = "GOEXIT"
	CodeTimeout   ErrorCode = "TIMEOUT" // a deadline passed
	CodeCancelled ErrorCode = "CANCELLED"
	CodeForbidden ErrorCode = "FORBIDDEN"
	CodeDuplicate ErrorCode = "DUPLICATE"
	CodeAbandoned ErrorCode = "ABANDONED" // a watchdog's verdict on a start without an end
	CodeExpired   ErrorCode = "EXPIRED"   // a watchdog's verdict on a job that never started
	CodeNotRun    ErrorCode = "NOT_RUN"   // its start could not be recorded
	CodeSkipped   ErrorCode = "SKIPPED"   // its scheduler passed it over, see [Trail.Skip]
	CodeDeferred  ErrorCode = "DEFERRED"  // the attempt was put off, see [Trail.Deferring]
)

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

// Cause is why an event did not change its job.
type Cause string

// The causes.
const (
	CauseLate      Cause = "late"      // the job had ended
	CauseDuplicate Cause = "duplicate" // a second submission
	CauseIllegal   Cause = "illegal"   // the state machine has no such transition

	// CauseForeign is an event whose organization, action, root or correlation
	// is not that of the job's submission, as [Replay] finds it: a writer
	// with access to the log or to the queue has used the job's ID.
	CauseForeign Cause = "foreign"
)

// UnappliedEvent is an event that did not change its job.
type UnappliedEvent struct {
	EventID uuid.UUID    `json:"eventId"`
	Type    EventType    `json:"type"`
	Time    time.Time    `json:"time"`
	Cause   Cause        `json:"cause"`
	Error   *ErrorDetail `json:"error,omitzero"`
	// Inputs are a duplicate submission's where they differ from the first's.
	Inputs json.RawMessage `json:"inputs,omitempty"`
}

// JobStatus answers a request for a job's status.
type JobStatus struct {
	// RequestID is that of this status request, not of the job's.
	RequestID uuid.UUID `json:"requestId"`
	Job       Job       `json:"job"`
}

// MarshalJSON writes the wire form: times in UTC, logs and inputs always
// present.
func (j Job) MarshalJSON() ([]byte, error) {
	type plain Job
	p := plain(j)
	p.CreatedAt, p.StartedAt, p.CompletedAt = p.CreatedAt.UTC(), p.StartedAt.UTC(), p.CompletedAt.UTC()
	if p.Logs == nil {
		p.Logs = []string{}
	}
	if len(p.Metadata.Inputs) == 0 {
		p.Metadata.Inputs = nil // which is written as null
	}
	return json.Marshal(p)
}

// UnmarshalJSON reads the wire form, strictly: see [Job].
func (j *Job) UnmarshalJSON(data []byte) error {
	d := newDecoder(fields.Job(), "")
	parsed, err := decodeContract(data, d, d.wireJob)
	if err != nil {
		return err
	}
	*j = parsed
	return nil
}

// UnmarshalJSON reads the wire form, strictly: see [Job].
func (s *JobStatus) UnmarshalJSON(data []byte) error {
	d := newDecoder(fields.JobStatus(), "")
	parsed, err := decodeContract(data, d, d.wireStatus)
	if err != nil {
		return err
	}
	*s = parsed
	return nil
}

func decodeContract[T any](data []byte, d decoder, decode func([]byte) T) (T, error) {
	if err := checkJSON(data); err != nil {
		var zero T
		return zero, err
	}
	v := decode(bytes.TrimSpace(data))
	return v, fieldError(d.Err())
}

func (d decoder) wireStatus(raw []byte) JobStatus {
	var s JobStatus
	d.Object(raw, func(name, raw []byte) {
		switch string(name) {
		case "requestId":
			s.RequestID = d.wireUUID(raw)
		case "job":
			s.Job = d.wireJob(raw)
		}
	})
	return s
}

func (d decoder) wireJob(raw []byte) Job {
	var j Job
	extras := map[string]any{
		"attempt": &j.Attempt, "executions": &j.Executions, "unapplied": &j.Unapplied, "incomplete": &j.Incomplete,
		"unreadable": &j.Unreadable,
	}
	d.Object(raw, func(name, raw []byte) {
		switch string(name) {
		case "id":
			j.ID = d.wireUUID(raw)
		case "state":
			j.State = JobState(d.String(raw))
		case "createdAt":
			j.CreatedAt = d.wireTime(raw)
		case "startedAt":
			j.StartedAt = d.wireMoment(raw)
		case "completedAt":
			j.CompletedAt = d.wireMoment(raw)
		case "output":
			j.Output = d.Raw(raw)
		case "error":
			j.Error = d.wireError(raw)
		case "logs":
			j.Logs = []string{}
			d.List(raw, func(raw []byte) { j.Logs = append(j.Logs, d.String(raw)) })
		case "metadata":
			j.Metadata = d.wireMetadata(raw)
		case "correlationId":
			j.CorrelationID = d.wireUUID(raw)
		case "parentId":
			j.ParentID = d.wireUUID(raw)
		case "rootId":
			j.RootID = d.wireUUID(raw)
		case "retryOf":
			j.RetryOf = d.wireUUID(raw)
		default:
			if field, ok := extras[string(name)]; ok && json.Unmarshal(raw, field) != nil {
				d.Fail("is malformed")
			}
		}
	})
	d.wireTimes(&j)
	return j
}

// wireTimes checks that the times are there which the state calls for.
func (d decoder) wireTimes(j *Job) {
	check := func(field string, present, wanted bool) {
		switch {
		case wanted && !present:
			d.FailAt(field, "is missing in state "+string(j.State))
		case present && !wanted:
			d.FailAt(field, "is present in state "+string(j.State))
		}
	}
	if d.Err() != nil {
		return
	}
	started, completed := !j.StartedAt.IsZero(), !j.CompletedAt.IsZero()
	if j.State != Cancelled { // which may have been reached with or without a start
		check("startedAt", started, j.State != Pending)
	}
	check("completedAt", completed, j.State.Terminal())
}

// wireUUID reads a UUID of the contract, which other programs may have written in
// capitals (RFC 9562, section 4).
func (d decoder) wireUUID(raw []byte) uuid.UUID {
	return d.UUID(bytes.ToLower(raw))
}

func (d decoder) wireTime(raw []byte) time.Time {
	s := d.String(raw)
	t, err := time.Parse(time.RFC3339, s)
	// Parse is lenient: it takes an hour of one digit, and a comma.
	fraction, ok := strings.CutPrefix(s, t.Format("2006-01-02T15:04:05"))
	if err != nil || !ok || fraction != "Z" && !strings.HasPrefix(fraction, ".") || !strings.HasSuffix(s, "Z") {
		d.Fail("is not an RFC 3339 time in UTC")
	}
	return t
}

// wireMoment reads a time whose zero value means that there is none.
func (d decoder) wireMoment(raw []byte) time.Time {
	t := d.wireTime(raw)
	if t.IsZero() {
		d.Fail("is the zero time")
	}
	return t
}

func (d decoder) wireError(raw []byte) *ErrorDetail {
	var e ErrorDetail
	d.Object(raw, func(name, raw []byte) {
		switch string(name) {
		case "code":
			e.Code = ErrorCode(d.String(raw))
		case "message":
			e.Message = d.String(raw)
		case "type":
			e.Type = d.String(raw)
		case "frame":
			e.Frame = d.String(raw)
		}
	})
	return &e
}

func (d decoder) wireMetadata(raw []byte) JobMetadata {
	var m JobMetadata
	d.Object(raw, func(name, raw []byte) {
		switch string(name) {
		case "requestId":
			m.RequestID = d.wireUUID(raw)
		case "userId":
			m.UserID = d.String(raw)
		case "orgId":
			m.OrgID = d.String(raw)
		case "action":
			m.Action = d.String(raw)
		case "inputs":
			m.Inputs = d.Raw(raw)
		}
	})
	return m
}

// errorOf is the error that an event gives its job.
func errorOf(e *Event) *ErrorDetail {
	switch e.Type {
	case JobDenied:
		detail := &ErrorDetail{Code: CodeForbidden}
		if e.Data.Decision != nil {
			detail.Message = e.Data.Decision.Reason
		}
		return detail
	case JobDeduplicated:
		return &ErrorDetail{Code: CodeDuplicate, Message: "duplicate of job " + e.Data.Existing.String()}
	}
	return e.Data.Error
}
