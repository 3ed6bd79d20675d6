package jobaudit

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/tlog"
)

// Hash is a SHA-256 hash. Its text form is standard base64, as in
// checkpoints.
type Hash = tlog.Hash

// EventType says what happened, as a past fact.
type EventType string

// The types of events. What each does to a job's state is the table of docs/format.md, F1.
const (
	JobSubmitted    EventType = "job.submitted"
	JobDeduplicated EventType = "job.deduplicated"
	JobAuthorized   EventType = "job.authorized"
	JobDenied       EventType = "job.denied"
	JobStarted      EventType = "job.started"
	JobHeartbeat    EventType = "job.heartbeat"
	JobLogged       EventType = "job.logged"
	JobSnapshot     EventType = "job.snapshot"
	JobSucceeded    EventType = "job.succeeded"
	JobFailed       EventType = "job.failed"
	JobCancelled    EventType = "job.cancelled"
	JobCorrected    EventType = "job.corrected"

	AttemptStarted    EventType = "attempt.started"
	AttemptFailed     EventType = "attempt.failed"
	AttemptDeferred   EventType = "attempt.deferred"
	AttemptLost       EventType = "attempt.lost"
	AttemptSuperseded EventType = "attempt.superseded"
	AttemptLate       EventType = "attempt.late"

	AuditOpened   EventType = "audit.opened"
	AuditClosed   EventType = "audit.closed"
	AuditPolicy   EventType = "audit.policy"
	AuditDegraded EventType = "audit.degraded"
	AuditLost     EventType = "audit.lost"
	AuditProbed   EventType = "audit.probed"
	AuditErased   EventType = "audit.erased"

	// Acts of people on records, or on a job that runs, see [Recorder.Act]. The last
	// four are reserved.
	AuditRead      EventType = "audit.read"
	AuditReviewed  EventType = "audit.reviewed"
	AuditRequested EventType = "audit.requested"
	AuditHeld      EventType = "audit.held"
	AuditReleased  EventType = "audit.released"
	AuditRetention EventType = "audit.retention"
	AuditRetired   EventType = "audit.retired"
)

// Phase is the part of a job's life that an event belongs to.
type Phase string

// The phases. Events of the audit itself belong to none.
const (
	PhaseSubmission    Phase = "submission"
	PhaseAuthorization Phase = "authorization"
	PhaseExecution     Phase = "execution"
	PhaseOutcome       Phase = "outcome"
)

// Phase returns the part of a job's life that events of this type belong to,
// and "" for those of the audit itself.
func (t EventType) Phase() Phase {
	switch t {
	case JobSubmitted, JobDeduplicated:
		return PhaseSubmission
	case JobAuthorized, JobDenied:
		return PhaseAuthorization
	case JobSucceeded, JobFailed, JobCancelled, JobCorrected:
		return PhaseOutcome
	}
	if strings.HasPrefix(string(t), "audit.") {
		return ""
	}
	return PhaseExecution
}

// isAct reports whether events of the type are acts of people.
func isAct(t EventType) bool {
	switch t {
	case AuditRead, AuditReviewed, AuditRequested, AuditErased, AuditHeld, AuditReleased, AuditRetention, AuditRetired:
		return true
	}
	return false
}

// Event is what a [Record]'s bytes say: a view for reading. No call that
// writes takes one. Absent values are zero. A text that was too long to keep
// reads as its beginning and a note of its size, a dropped one as a note that
// names the rule; the exact form is in the record's bytes.
type Event struct {
	SchemaVersion string
	ID            uuid.UUID
	Type          EventType
	Phase         Phase
	Time          time.Time
	// Reconstructed says that this was not recorded when it happened: Time is
	// when it was found in the queue's own table, and QueueTime when that says
	// it happened, which is zero if it does not. See [Trail.Reconstruct].
	Reconstructed bool
	QueueTime     time.Time

	// Stream is the event's place among those of its writer.
	Stream struct {
		ID   uuid.UUID
		Seq  uint64 // 1, 2, 3… without gaps
		Prev Hash   // of the event before it; zero at Seq 1
		// After is, on the first event of a resumed stream, the newest event
		// that its writer knew to be stored.
		After struct {
			Stream uuid.UUID
			Seq    uint64
			Hash   Hash
		}
	}

	// Job is zero on audit.* events other than audit.lost.
	Job struct {
		ID          uuid.UUID
		State       JobState // after the event, as its writer knew it
		Attempt     int      // 0 before the first start
		ExecutionID uuid.UUID
		ParentID    uuid.UUID
		RootID      uuid.UUID
		RetryOf     uuid.UUID
		Queue       Ref
	}

	CorrelationID uuid.UUID
	CausationID   uuid.UUID
	RequestID     uuid.UUID
	TraceParent   string

	Who struct {
		Principal  Principal
		OrgID      string
		OnBehalfOf []Principal // nearest first
		More       int64       // principals that OnBehalfOf had no room for
		Upstream   Ref
		// Proof is set where a signed Carrier brought the job: the principal and
		// the rest of what it says are claimed by a holder of that key, not by
		// anyone who can write to the queue.
		Proof struct {
			Carrier    string    // ID of the key
			Submission uuid.UUID // the stream that the submission stands in; zero if the Carrier does not say
		}
	}
	What struct {
		Action    string
		Resource  string
		Inputs    json.RawMessage // on submission only
		Redaction *Redaction
	}
	Where Source
	Why   Trigger

	// Data depends on the type.
	Data struct {
		Decision  *Decision
		Output    json.RawMessage
		Impact    string
		Error     *ErrorDetail
		Line      string
		Snapshot  *Snapshot
		Heartbeat struct {
			Progress *struct{ Done, Total int64 } // Total is 0 if it is not known
			Deadline time.Time                    // the next sign of life is due by then; zero if none is promised
		}
		Correction *Correction // Value is a json.RawMessage
		Existing   uuid.UUID   // the job that a deduplicated one duplicates
		Evidence   struct {    // of a verdict: what it rests on
			Last struct { // the newest event of what it is about
				ID   uuid.UUID
				Type EventType
				Time time.Time
			}
			Heartbeat struct { // the newest, if there was one
				ID   uuid.UUID
				Time time.Time
			}
			Deadline time.Time // announced and missed; zero if none was announced
			Owner    struct {  // whose end it is: the writer of the start or submission
				Stream         uuid.UUID // of one process's run, whatever its host is called
				Host, Instance string
			}
		}
		Lost struct {
			Count    int64
			Types    []EventType
			More     int64 // types that Types had no room for
			From, To time.Time
		}
		Degraded struct {
			Stream, Event uuid.UUID
			Count         int64 // events behind Event that are not stored either
			Reason        string
		}
		// Erased are the keys of sealed values that were deleted.
		Erased struct {
			Keys   []string // their IDs, as in the sealed values
			More   int64    // keys that Keys had no room for, or whose IDs could not be stored
			Reason string   // free text
		}
		// Act is what a principal did with records: with which, and what came of it.
		Act struct {
			Scope Query
			Data  json.RawMessage
		}
		// Affected says how many of what the job has changed.
		Affected struct {
			Count int64
			Unit  string
		}
		// Missing are the snapshots, "before" or "after", that the action requires
		// and that a job which succeeded does not have.
		Missing []string
		// Environment is of the process that a recorder was opened in. Its starts
		// refer to it by their Where.Instance.
		Environment struct {
			Go, OS, Arch string
			Module       struct{ Path, Version string } // the main one
			VCS          struct {
				Revision, Time string
				Modified       bool // the source was not as the revision has it
			}
			Dependencies Hash // of the modules that the program is built from
			Image        string
			Orchestrator map[string]string
			Clock        struct {
				Known        bool // the system says something of its clock
				Synchronized bool
				ErrorMicros  int64  // estimated
				Source       string // what counts its time, as in "tsc"
			}
			Facts json.RawMessage // the application's own
		}
		// CompanionOf is the log that the acts in this one are about.
		CompanionOf struct {
			Origin string
			Head   tlog.Tree
		}
		Recovery json.RawMessage
		Policy   json.RawMessage
	}
}

// Decision is the answer of an authorization.
type Decision struct {
	Allowed    bool
	By         string // what decided, as in "opa"; "none" if nothing did
	Permission string // which permission it turned on
	Reason     string // free text
	// AskAgain, on a refusal, says that the job is put off rather than denied:
	// its queue will bring it back and the question is asked again. A job that
	// [Recorder.Run] submitted is denied all the same, as no queue has it, and so
	// is one that runs, which cannot be put off. It is not stored: the event's
	// type, attempt.deferred, says it.
	AskAgain bool
}

// Snapshot is the state of a resource before or after a job changed it.
type Snapshot struct {
	Resource string
	After    bool // taken after the change; otherwise before it
	// Digest is that of the resource's content, as its owner computes it.
	// Default: of Value, a MAC with the Registry's PseudonymKey. Equal digests of
	// one resource in one organization mean equal states.
	Digest string
	// Value is the state itself, or an [io.Reader] of it. What the action's policy
	// keeps of it on the side of outputs is stored, of a reader nothing. In the
	// digest a [Secret] counts as its mask. On an event it is a json.RawMessage.
	Value   any
	Summary string // free text
}

// Correction adds to an event what was found out later. Nothing is changed.
type Correction struct {
	Of       uuid.UUID // the event that it corrects
	By       Principal // who corrects it; default: the job's principal. On an event it is in Who
	Reversal bool      // what the job did was undone; otherwise the record was wrong
	Reason   string    // free text
	Value    any       // passes the action's output policy
}

// Redaction says what was done to an event's content before it was encoded
// (docs/format.md, F4).
type Redaction struct {
	Policy, Version string
	Digest          Hash
	Outcome         RedactionOutcome
	Removed         []struct{ Path, Class string }
	RemovedCount    int64
	Hits            []struct{ Path, Rule string }
	More            int64 // hits that Hits had no room for
	Taint           string
}

// RedactionOutcome is what became of an event's content.
type RedactionOutcome string

// What can become of content. It is stored after the first and the third, as
// far as its policy keeps it, and withheld otherwise.
const (
	RedactionKept          RedactionOutcome = "kept"
	RedactionNoPolicy      RedactionOutcome = "no_policy" // the action, or this side of it, has no rule
	RedactionPassedThrough RedactionOutcome = "passed_through"
	RedactionError         RedactionOutcome = "error" // of the rule's function, or of a value's own method
	RedactionPanic         RedactionOutcome = "panic" // likewise
	RedactionType          RedactionOutcome = "type"  // not the type that the rule is for
	RedactionLimit         RedactionOutcome = "limit" // too deep, too many values or too large
	RedactionCycle         RedactionOutcome = "cycle" // the value contains itself
)

// auditReasons are why the audit's own events are recorded.
var auditReasons = map[EventType]string{
	AuditOpened:   "a recorder was opened",
	AuditClosed:   "a recorder was closed",
	AuditPolicy:   "a redaction policy is in force",
	AuditDegraded: "events could not be stored",
	AuditErased:   "the keys of sealed values were deleted",
	AuditProbed:   "before a verdict, the log is to take a record",
}
