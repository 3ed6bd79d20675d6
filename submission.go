package jobaudit

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit/internal/jsonenc"
)

// Submission asks for a job. Action, the principal's kind and ID, and the
// trigger's kind and reason are required.
//
// A job submitted under a context that carries a Trail is that job's child,
// unless Detached: it gets its parent, root, correlation and causation from
// there, and the parent's principal goes to the front of OnBehalfOf.
type Submission struct {
	// ID is the job's. Set it to be able to submit again, after an error that
	// left the outcome unknown, without making a second job. Default: new.
	ID     uuid.UUID
	Action string
	// Inputs are what the job works on. Only what the action's policy keeps is
	// stored. They are read before Submit returns, and never changed.
	Inputs     any
	Principal  Principal
	OrgID      string
	OnBehalfOf []Principal // nearest first, at most 16 are stored
	Upstream   Upstream    // required if the trigger is a Cascade
	Trigger    Trigger

	CorrelationID uuid.UUID // default: the parent's, else the job's ID
	RequestID     uuid.UUID // default: the job's ID
	TraceParent   string    // W3C trace context, as in the traceparent header

	Resource string // what the job acts on
	Target   string // where: another system
	SourceIP netip.Addr
	Queue    QueueRef // where a framework owns the job's retries
	Detached bool     // not a child of the job that the context carries
	RetryOf  uuid.UUID
}

// isTraceParent reports whether s has the form of a traceparent header (W3C
// Trace Context, version 00): lower-case hexadecimal fields of 2, 32, 16 and 2
// digits, of which the version is not ff and neither ID is zero.
func isTraceParent(s string) bool {
	fields := strings.Split(s, "-")
	if len(fields) != 4 || strings.Trim(s, "0123456789abcdef-") != "" {
		return false
	}
	zero := func(s string) bool { return strings.Trim(s, "0") == "" }
	return len(fields[0]) == 2 && fields[0] != "ff" && len(fields[3]) == 2 &&
		len(fields[1]) == 32 && !zero(fields[1]) && len(fields[2]) == 16 && !zero(fields[2])
}

// check says which field is missing or malformed, if one is.
func (s *Submission) check() error {
	if err := checkPrincipal("who.principal", s.Principal); err != nil {
		return err
	}
	for _, p := range s.OnBehalfOf {
		if err := checkPrincipal("who.onBehalfOf", p); err != nil {
			return err
		}
	}
	required := []struct{ field, value string }{
		{"what.action", s.Action},
		{"why.trigger", string(s.Trigger.Kind)},
		{"why.reason", s.Trigger.Reason},
	}
	if s.Trigger.Kind == Cascade || s.Upstream != (Upstream{}) {
		required = append(required, []struct{ field, value string }{
			{"who.upstream.system", s.Upstream.System}, {"who.upstream.eventId", s.Upstream.EventID}}...)
	}
	for _, r := range required {
		if r.value == "" {
			return &FieldError{Field: r.field, Problem: "is required"}
		}
	}
	switch s.Trigger.Kind {
	case Manual, Scheduled, OnEvent, Cascade, OnRetry:
	default:
		return &FieldError{Field: "why.trigger", Problem: "is no kind of trigger"}
	}
	if s.TraceParent != "" && !isTraceParent(s.TraceParent) {
		return &FieldError{Field: "traceparent", Problem: "is not W3C trace context"}
	}
	if err := checkSourceIP(s.SourceIP); err != nil {
		return err
	}
	if err := s.Queue.check(); err != nil {
		return err
	}
	return checkIdentifiers([]struct{ field, value string }{
		{"what.action", s.Action}, {"what.resource", s.Resource},
		{"who.orgId", s.OrgID}, {"who.upstream.system", s.Upstream.System}, {"who.upstream.eventId", s.Upstream.EventID},
		{"where.target", s.Target}, {"why.ref", s.Trigger.Ref},
	})
}

// check says what is wrong with a reference that is not empty.
func (q QueueRef) check() error {
	switch {
	case q == QueueRef{}:
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

// inherit completes a submission from the job that the context carries, if it
// carries one, and returns the ID of the event that caused it.
func (s *Submission) inherit(parent *Trail, env *envelope) (cause uuid.UUID) {
	env.jobID, env.rootID, env.retryOf = s.ID, s.ID, s.RetryOf
	if parent != nil && !s.Detached {
		env.parentID, env.rootID = parent.env.jobID, parent.env.rootID
		if s.CorrelationID == uuid.Nil {
			s.CorrelationID = parent.env.correlationID
		}
		if s.TraceParent == "" {
			s.TraceParent = parent.env.traceParent
		}
		s.OnBehalfOf = delegates(s.Principal, parent.sub.Principal, parent.sub.OnBehalfOf, s.OnBehalfOf)
		cause = parent.newestCause()
	}
	if s.CorrelationID == uuid.Nil {
		s.CorrelationID = s.ID
	}
	if s.RequestID == uuid.Nil {
		s.RequestID = s.ID
	}
	env.correlationID, env.requestID, env.traceParent = s.CorrelationID, s.RequestID, s.TraceParent
	return cause
}

// delegates returns on whose behalf a child job runs: the parent's principal
// first, then those behind it, then its own. A principal is not named twice in
// a row.
func delegates(self, parent Principal, behindParent, own []Principal) []Principal {
	chain := append([]Principal{parent}, behindParent...)
	chain = append(chain, own...)
	last := self
	return slices.DeleteFunc(chain, func(p Principal) bool {
		same := p.Kind == last.Kind && p.ID == last.ID
		last = p
		return same
	})
}

// describe encodes the parts of the envelope that all events of a Trail share.
// Its IDs are there already. Free texts go through the door.
func (env *envelope) describe(s *Submission, where Source, d *door) {
	if s.Resource != "" {
		env.resource = d.text(s.Resource)
	}
	o := object{dst: append(make([]byte, 0, 768), ' ')} // not a brace: there is a member before each
	part := func(write func()) []byte {
		start := len(o.dst)
		write()
		return o.dst[start:len(o.dst):len(o.dst)]
	}
	env.lineage = part(func() {
		o.uuid("parentId", env.parentID)
		o.uuid("rootId", env.rootID)
		o.uuid("retryOf", env.retryOf)
	})
	env.correlation = part(func() { o.uuid("correlationId", env.correlationID) })
	env.origin = part(func() {
		o.uuid("requestId", env.requestID)
		o.optional("traceparent", env.traceParent)
		o.key("who")
		o.dst = appendWho(o.dst, s, d)
		o.open("what")
		o.str("action", s.Action)
		o.text("resource", env.resource, maxIdentifier)
	})
	env.place = part(func() {
		where.Target, where.SourceIP = s.Target, s.SourceIP
		o.key("where")
		o.dst = appendWhere(o.dst, where)
		o.key("why")
		o.dst = appendWhy(o.dst, s.Trigger, d.text(s.Trigger.Reason))
	})
}

// appendWho leaves names of principals on whose behalf the job runs out if they
// make it too long.
func appendWho(dst []byte, s *Submission, d *door) []byte {
	start := len(dst)
	dst = appendWhoWith(dst, s, d, true)
	if len(dst)-start > maxWho {
		dst = appendWhoWith(dst[:start], s, d, false)
	}
	return dst
}

func appendWhoWith(dst []byte, s *Submission, d *door, names bool) []byte {
	o := object{dst: append(dst, '{')}
	o.key("principal")
	o.dst = appendPrincipal(o.dst, s.Principal, d, true)
	o.str("orgId", s.OrgID)
	if n := len(s.OnBehalfOf); n > 0 {
		o.key("onBehalfOf")
		o.dst = append(o.dst, '[')
		for i, p := range s.OnBehalfOf[:min(n, maxList)] {
			if i > 0 {
				o.dst = append(o.dst, ',')
			}
			o.dst = appendPrincipal(o.dst, p, d, names)
		}
		o.dst = append(o.dst, ']')
		o.more(n)
	}
	if s.Upstream != (Upstream{}) {
		o.open("upstream")
		o.str("system", s.Upstream.System)
		o.str("eventId", s.Upstream.EventID)
		o.close()
	}
	return append(o.dst, '}')
}

func appendPrincipal(dst []byte, p Principal, d *door, name bool) []byte {
	o := object{dst: append(dst, '{')}
	o.str("kind", string(p.Kind))
	o.str("id", p.ID)
	if name && p.Name != "" {
		o.text("name", d.text(p.Name), maxText)
	}
	o.str("assurance", assurance(p.Verified))
	if p.AuthMethod != "" || p.AuthSession != "" {
		o.open("auth")
		o.optional("method", p.AuthMethod)
		o.optional("session", p.AuthSession)
		o.close()
	}
	return append(o.dst, '}')
}

func assurance(verified bool) string {
	if verified {
		return "verified"
	}
	return "claimed"
}

func appendWhere(dst []byte, s Source) []byte {
	o := object{dst: append(dst, '{')}
	o.str("system", s.System)
	o.str("environment", s.Environment)
	o.str("host", s.Host)
	o.str("instance", s.Instance)
	o.optional("target", s.Target)
	o.str("version", s.Version)
	if s.SourceIP.IsValid() {
		o.key("sourceIp")
		o.dst = jsonenc.AppendString(o.dst, s.SourceIP.String())
	}
	return append(o.dst, '}')
}

func appendWhy(dst []byte, t Trigger, reason text) []byte {
	o := object{dst: append(dst, '{')}
	o.str("trigger", string(t.Kind))
	o.key("reason")
	o.dst = reason.append(o.dst, maxText)
	o.optional("ref", t.Ref)
	return append(o.dst, '}')
}
