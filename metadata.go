package jobaudit

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit/internal/fields"
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

// check says what is wrong with a reference that is not empty.
func (q Ref) check() error {
	if q == (Ref{}) {
		return nil
	}
	return checkStrings(given{"job.queue.system", q.System}, given{"job.queue.id", q.ID})
}

// checkSourceIP refuses an address whose text does not say what it is.
func checkSourceIP(ip netip.Addr) error {
	if !ip.IsValid() {
		return nil
	}
	if again, err := netip.ParseAddr(ip.String()); err != nil || again != ip {
		return &FieldError{Field: "where.sourceIp", Problem: "has no text form"}
	}
	return checkStrings(given{"where.sourceIp", ip.String()})
}

// principalPaths are the paths of a principal's fields.
type principalPaths struct{ kind, id, method, session string }

func fieldsOfPrincipal(principal string) *principalPaths {
	return &principalPaths{principal + ".kind", principal + ".id", principal + ".auth.method", principal + ".auth.session"}
}

// Made once: they are asked for at every submission.
var (
	principalFields  = fieldsOfPrincipal("who.principal")
	onBehalfOfFields = fieldsOfPrincipal("who.onBehalfOf")
)

func checkPrincipal(at *principalPaths, p Principal) error {
	if err := checkKind(at.kind, p.Kind); err != nil {
		return err
	}
	return checkStrings(given{at.id, p.ID}, given{at.method, p.AuthMethod}, given{at.session, p.AuthSession})
}

func checkKind(path string, k PrincipalKind) error {
	switch k {
	case User, Service, System:
		return nil
	case "":
		return &FieldError{Field: path, Problem: "is required"}
	}
	return &FieldError{Field: path, Problem: "is no kind of principal"}
}

func checkTrigger(k TriggerKind) error {
	switch k {
	case Manual, Scheduled, OnEvent, Cascade, OnRetry:
		return nil
	case "":
		return &FieldError{Field: "why.trigger", Problem: "is required"}
	}
	return &FieldError{Field: "why.trigger", Problem: "is no kind of trigger"}
}

// check says which field of a recorder's source is missing or malformed.
func (s *Source) check() error {
	for i, v := range s.given() {
		if i > 1 && v.value == "" {
			continue // it has a default
		}
		if err := checkStrings(v); err != nil {
			return err
		}
	}
	return nil
}

// given lists the fields, the required ones first.
func (s *Source) given() []given {
	return []given{{"where.system", s.System}, {"where.environment", s.Environment},
		{"where.host", s.Host}, {"where.instance", s.Instance}, {"where.version", s.Version}}
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// fieldsByPath finds the rows of the table by their paths.
var fieldsByPath = sync.OnceValue(func() map[string]*fields.Field {
	rows := map[string]*fields.Field{}
	fields.Event().All("", func(path string, f *fields.Field) { rows[path] = f })
	return rows
})

// given is a value of a caller and the field that it is for.
type given struct{ path, value string }

// checkStrings says which value may not be written, if one may not: the error
// is a [*FieldError].
func checkStrings(values ...given) error {
	for _, v := range values {
		if problem := fieldsByPath()[v.path].CheckString(v.value); problem != "" {
			return &FieldError{Field: v.path, Problem: problem}
		}
	}
	return nil
}

// checkID is checkStrings for a UUID.
func checkID(path string, id uuid.UUID) error {
	if problem := fieldsByPath()[path].CheckUUID(id); problem != "" {
		return &FieldError{Field: path, Problem: problem}
	}
	return nil
}

// checkAttempt is checkStrings for the number of an attempt.
func checkAttempt(path string, n, least int) error {
	if n < least || int64(n) > fields.MaxAttempt {
		return &FieldError{Field: path, Problem: fmt.Sprintf("is out of range: it must be from %d to %d", least, fields.MaxAttempt)}
	}
	return nil
}

// fieldError is the error of a table as callers get it.
func fieldError(err *fields.Error) error {
	if err == nil {
		return nil
	}
	return &FieldError{Field: err.Path, Problem: err.Problem}
}

// asFieldError is fieldError for an error that may be one of a table.
func asFieldError(err error) error {
	if field, ok := errors.AsType[*fields.Error](err); ok {
		return fieldError(field)
	}
	return err
}

// checkEnvironment says what is wrong with what the options say of the
// environment.
func (o *Options) checkEnvironment() error {
	const at = "data.environment."
	check := func(list ...given) error { return cmp.Or(checkStrings(list...), o.Redactors.checkIdentifiers(list...)) }
	if err := check(given{at + "image", o.Environment.Image}); err != nil {
		return err
	}
	if len(o.Environment.Orchestrator) > fields.MaxList {
		return &FieldError{Field: at + "orchestrator", Problem: fmt.Sprintf("has more than %d elements", fields.MaxList)}
	}
	for name, value := range o.Environment.Orchestrator {
		if err := check(given{at + "orchestrator.name", name}, given{at + "orchestrator.value", value}); err != nil {
			return err
		}
	}
	if c := &o.CompanionOf; c.Origin != "" || c.Head.N != 0 {
		if problem := fieldsByPath()["data.companionOf.size"].CheckInteger(c.Head.N); problem != "" {
			return &FieldError{Field: "data.companionOf.size", Problem: problem}
		}
		return check(given{"data.companionOf.origin", c.Origin})
	}
	return nil
}
