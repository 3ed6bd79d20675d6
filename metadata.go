package jobaudit

import (
	"encoding/json"
	"net/netip"

	"github.com/google/uuid"
)

// JobMetadata says on whose behalf a [Job] runs and with what.
type JobMetadata struct {
	// RequestID is the request that asked for the job, or the job's own ID
	// where no request exists.
	RequestID uuid.UUID `json:"requestId"`
	// UserID is the principal's ID, whatever its kind.
	UserID string `json:"userId"`
	// OrgID is the tenant. It may be empty.
	OrgID string `json:"orgId"`
	// Action names what the job does, as in "trigger-github-workflow".
	Action string `json:"action"`
	// Inputs are the inputs as they were kept: null when they were withheld.
	Inputs json.RawMessage `json:"inputs"`
}

// PrincipalKind is the kind of a [Principal].
type PrincipalKind string

// The kinds of principals.
const (
	User    PrincipalKind = "user"    // a person
	Service PrincipalKind = "service" // a program with an identity of its own
	System  PrincipalKind = "system"  // the platform itself
)

// Principal is who acts. Kind and ID are required; an ID is at most 256 bytes
// and should be a stable key rather than an address.
type Principal struct {
	Kind PrincipalKind
	ID   string
	Name string // for people to read; free text, at most 1,024 bytes
	// Verified says that the recording program has authenticated the principal
	// itself. Otherwise the identity is claimed: by a header, a payload, a
	// queue's metadata.
	Verified    bool
	AuthMethod  string // how it was authenticated, as in "oidc"
	AuthSession string // which session, never the credential itself
}

// Upstream names the event in another system that set a cascade off.
type Upstream struct {
	System  string
	EventID string
}

// Source is where events come from. System and Environment are required.
type Source struct {
	System      string // the program or service, as in "billing-worker"
	Environment string // as in "production"
	Host        string // default: the operating system's host name
	Instance    string // default: the recorder's incarnation ID
	Version     string // of the running code; default: from the build information
	// Target and SourceIP belong to a submission. They are set on events and
	// ignored by [Open].
	Target   string
	SourceIP netip.Addr
}

// TriggerKind is the kind of a [Trigger].
type TriggerKind string

// The kinds of triggers.
const (
	Manual    TriggerKind = "manual"   // a person asked
	Scheduled TriggerKind = "schedule" // a clock
	OnEvent   TriggerKind = "event"    // something happened in this system
	Cascade   TriggerKind = "cascade"  // something happened in another system, see [Upstream]
	OnRetry   TriggerKind = "retry"    // another attempt at a job that has ended
)

// Trigger is why a job runs. Kind and Reason are required.
type Trigger struct {
	Kind   TriggerKind
	Reason string // free text, at most 1,024 bytes
	Ref    string // a ticket, a schedule's name, a commit
}

// QueueRef names a job in the framework that owns its retries.
type QueueRef struct {
	System string // as in "river"
	ID     string // the framework's own key
}
