package jobaudit

import (
	"encoding/json"
	"net/netip"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jobaudit/jobaudit/internal/jsonenc"
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
	Cascade   TriggerKind = "cascade"  // something happened in another system, see Submission.Upstream
	OnRetry   TriggerKind = "retry"    // another attempt at a job that has ended
)

// Trigger is why a job runs. Kind and Reason are required.
type Trigger struct {
	Kind   TriggerKind
	Reason string // free text, at most 1,024 bytes
	Ref    string // a ticket, a schedule's name, a commit
}

// Ref names a thing in another system by that system's own key: a job in the
// framework that owns its retries, the event that set a cascade off.
type Ref struct {
	System string // as in "river"
	ID     string
}

// checkIdentifier says what is wrong with an identifier, if anything is.
func checkIdentifier(field, value string) error {
	switch {
	case !utf8.ValidString(value):
		return &FieldError{Field: field, Problem: "is not valid UTF-8"}
	case jsonenc.StringLen(value) > maxIdentifier:
		return &FieldError{Field: field, Problem: "is longer than 256 bytes"}
	}
	return nil
}

// check says what is wrong with a reference that is not empty.
func (q Ref) check() error {
	switch {
	case q == Ref{}:
		return nil
	case q.System == "":
		return &FieldError{Field: "job.queue.system", Problem: "is required"}
	case q.ID == "":
		return &FieldError{Field: "job.queue.id", Problem: "is required"}
	}
	return checkIdentifiers([]struct{ field, value string }{{"job.queue.system", q.System}, {"job.queue.id", q.ID}})
}

// checkSourceIP refuses an address whose text does not say what it is.
func checkSourceIP(ip netip.Addr) error {
	if !ip.IsValid() {
		return nil
	}
	if again, err := netip.ParseAddr(ip.String()); err != nil || again != ip {
		return &FieldError{Field: "where.sourceIp", Problem: "has no text form"}
	}
	return checkIdentifier("where.sourceIp", ip.String())
}

func checkPrincipal(field string, p Principal) error {
	switch p.Kind {
	case User, Service, System:
	case "":
		return &FieldError{Field: field + ".kind", Problem: "is required"}
	default:
		return &FieldError{Field: field + ".kind", Problem: "is no kind of principal"}
	}
	if p.ID == "" {
		return &FieldError{Field: field + ".id", Problem: "is required"}
	}
	for _, id := range [...]struct{ name, value string }{
		{".id", p.ID}, {".auth.method", p.AuthMethod}, {".auth.session", p.AuthSession},
	} {
		if checkIdentifier("", id.value) != nil {
			return checkIdentifier(field+id.name, id.value)
		}
	}
	return nil
}

func checkIdentifiers(list []struct{ field, value string }) error {
	for _, id := range list {
		if err := checkIdentifier(id.field, id.value); err != nil {
			return err
		}
	}
	return nil
}

// check says which field of a recorder's source is missing or malformed.
func (s *Source) check() error {
	for _, r := range []struct{ field, value string }{{"where.system", s.System}, {"where.environment", s.Environment}} {
		if r.value == "" {
			return &FieldError{Field: r.field, Problem: "is required"}
		}
	}
	return checkIdentifiers([]struct{ field, value string }{
		{"where.system", s.System}, {"where.environment", s.Environment}, {"where.host", s.Host},
		{"where.instance", s.Instance}, {"where.version", s.Version},
	})
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
