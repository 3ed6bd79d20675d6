package export

import (
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/jsonscan"
)

// view is a record as the tables look at it.
type view struct {
	jobaudit.Event
	record jobaudit.Record
}

// value is what a row of a table finds in an event. The zero value is absent.
type value struct {
	form   form
	text   string
	number int64
}

type form uint8

const (
	absent form = iota
	isText
	isNumber
	isJSON // text is JSON, to stand as it is where a format has room for that
)

func text(s string) value {
	if s == "" {
		return value{}
	}
	return value{form: isText, text: s}
}

func number(n int64) value { return value{form: isNumber, number: n} }

func rawJSON(s string) value {
	if s == "" {
		return value{}
	}
	return value{form: isJSON, text: s}
}

// String is the value as text.
func (x value) String() string {
	if x.form == isNumber {
		return strconv.FormatInt(x.number, 10)
	}
	return x.text
}

// row is a row of a table: what the format calls something, and where it is found.
type row struct {
	name string
	get  func(*view) value
}

// constant is a row's value that is the same for all events.
func constant(s string) func(*view) value { return func(*view) value { return text(s) } }

// id is an ID as text, absent where it is the zero one.
func id(u uuid.UUID) value {
	if u == uuid.Nil {
		return value{}
	}
	return text(u.String())
}

// What the tables find in events, each in one place.
func eventID(v *view) value       { return id(v.ID) }
func eventType(v *view) value     { return text(string(v.Type)) }
func phase(v *view) value         { return text(string(v.Phase)) }
func jobID(v *view) value         { return id(v.Job.ID) }
func state(v *view) value         { return text(string(v.Job.State)) }
func executionID(v *view) value   { return id(v.Job.ExecutionID) }
func parentID(v *view) value      { return id(v.Job.ParentID) }
func rootID(v *view) value        { return id(v.Job.RootID) }
func retryOf(v *view) value       { return id(v.Job.RetryOf) }
func queueSystem(v *view) value   { return text(v.Job.Queue.System) }
func queueID(v *view) value       { return text(v.Job.Queue.ID) }
func correlationID(v *view) value { return id(v.CorrelationID) }
func causationID(v *view) value   { return id(v.CausationID) }
func requestID(v *view) value     { return id(v.RequestID) }
func traceParent(v *view) value   { return text(v.TraceParent) }
func streamID(v *view) value      { return id(v.Stream.ID) }
func seq(v *view) value           { return number(int64(v.Stream.Seq)) }
func principalKind(v *view) value { return text(string(v.Who.Principal.Kind)) }
func principalID(v *view) value   { return text(v.Who.Principal.ID) }
func principalName(v *view) value { return text(v.Who.Principal.Name) }
func authMethod(v *view) value    { return text(v.Who.Principal.AuthMethod) }
func authSession(v *view) value   { return text(v.Who.Principal.AuthSession) }
func orgID(v *view) value         { return text(v.Who.OrgID) }
func upstreamSys(v *view) value   { return text(v.Who.Upstream.System) }
func upstreamID(v *view) value    { return text(v.Who.Upstream.ID) }
func proofKey(v *view) value      { return text(v.Who.Proof.Carrier) }
func action(v *view) value        { return text(v.What.Action) }
func resource(v *view) value      { return text(v.What.Resource) }
func inputs(v *view) value        { return text(string(v.What.Inputs)) }
func system(v *view) value        { return text(v.Where.System) }
func environment(v *view) value   { return text(v.Where.Environment) }
func host(v *view) value          { return text(v.Where.Host) }
func instance(v *view) value      { return text(v.Where.Instance) }
func version(v *view) value       { return text(v.Where.Version) }
func target(v *view) value        { return text(v.Where.Target) }
func trigger(v *view) value       { return text(string(v.Why.Kind)) }
func reason(v *view) value        { return text(v.Why.Reason) }
func ref(v *view) value           { return text(v.Why.Ref) }
func line(v *view) value          { return text(v.Data.Line) }
func impact(v *view) value        { return text(v.Data.Impact) }
func output(v *view) value        { return text(string(v.Data.Output)) }
func message(v *view) value       { return text(v.message()) }
func original(v *view) value      { return text(string(v.record.Bytes())) }
func recorded(v *view) value      { return text(stamp(v.Time)) }
func happened(v *view) value      { return text(stamp(v.when())) }
func outcome(v *view) value       { return text(kindOf(v.Type).outcome) }

func leafHash(v *view) value {
	hash := v.record.Hash()
	return text(base64.StdEncoding.EncodeToString(hash[:]))
}

func attempt(v *view) value {
	if v.Job.ID == uuid.Nil {
		return value{}
	}
	return number(int64(v.Job.Attempt))
}

func assurance(v *view) value {
	if v.Who.Principal.Verified {
		return text("verified")
	}
	return text("claimed")
}

// onBehalfOf lists the principals behind the first as KIND:ID, the nearest first.
func onBehalfOf(v *view) value {
	var list []string
	for _, p := range v.Who.OnBehalfOf {
		list = append(list, string(p.Kind)+":"+p.ID)
	}
	if v.Who.More > 0 {
		list = append(list, "and "+strconv.FormatInt(v.Who.More, 10)+" more")
	}
	return text(strings.Join(list, " "))
}

func sourceIP(v *view) value {
	if !v.Where.SourceIP.IsValid() {
		return value{}
	}
	return text(v.Where.SourceIP.WithZone("").String())
}

func redaction(v *view) value {
	if v.What.Redaction == nil {
		return value{}
	}
	return text(string(v.What.Redaction.Outcome))
}

func policy(v *view) value {
	if v.What.Redaction == nil || v.What.Redaction.Policy == "" {
		return value{}
	}
	return text(v.What.Redaction.Policy + " " + v.What.Redaction.Version)
}

func errorCode(v *view) value {
	return v.errorText(func(d *jobaudit.ErrorDetail) string { return string(d.Code) })
}
func errorMessage(v *view) value {
	return v.errorText(func(d *jobaudit.ErrorDetail) string { return d.Message })
}
func errorType(v *view) value {
	return v.errorText(func(d *jobaudit.ErrorDetail) string { return d.Type })
}
func errorFrame(v *view) value {
	return v.errorText(func(d *jobaudit.ErrorDetail) string { return d.Frame })
}

func (v *view) errorText(of func(*jobaudit.ErrorDetail) string) value {
	if v.Data.Error == nil {
		return value{}
	}
	return text(of(v.Data.Error))
}

// data is what the type has to say, as the JSON that is stored.
func data(v *view) value {
	for name, raw := range jsonscan.Members(v.record.Bytes()) {
		if string(name) == "data" {
			return text(string(raw))
		}
	}
	return value{}
}

// when is when the event happened: for one that was read from a queue's table
// later, as far as that tells, and otherwise when it was recorded.
func (v *view) when() time.Time {
	if v.Reconstructed && !v.QueueTime.IsZero() {
		return v.QueueTime
	}
	return v.Time
}

// message says in a sentence what happened, for lists that people read.
func (v *view) message() string {
	said := string(v.Type) + ": " + v.What.Action + " by " + string(v.Who.Principal.Kind) + " " + v.Who.Principal.ID
	switch d := &v.Data; {
	case d.Error != nil:
		said += ": " + string(d.Error.Code) + ": " + d.Error.Message
	case d.Line != "":
		said += ": " + d.Line
	case d.Decision != nil && !d.Decision.Allowed:
		said += ": refused by " + d.Decision.By + ": " + d.Decision.Reason
	case d.Correction != nil:
		said += ": " + d.Correction.Reason
	case d.Impact != "":
		said += ": " + d.Impact
	default:
		said += ": " + v.Why.Reason
	}
	return said
}

// stamp is a time as RFC 3339 in UTC with six fraction digits, as it is stored.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

// trace splits a traceparent header. What another writer stored and has not its
// form gives nothing: a receiver would refuse the event for it.
func (v *view) trace() (trace, span string) {
	parts := strings.Split(v.TraceParent, "-")
	if len(parts) != 4 || !isHex(parts[0], 2) || !isHex(parts[1], 32) || !isHex(parts[2], 16) || !isHex(parts[3], 2) {
		return "", ""
	}
	return parts[1], parts[2]
}

// isHex reports whether s has n lower-case hexadecimal digits, not all zero
// where it is an ID.
func isHex(s string, n int) bool {
	return len(s) == n && strings.Trim(s, "0123456789abcdef") == "" && (n == 2 || strings.Trim(s, "0") != "")
}

func traceID(v *view) value { trace, _ := v.trace(); return text(trace) }
func spanID(v *view) value  { _, span := v.trace(); return text(span) }

func traceParentValid(v *view) value {
	if trace, _ := v.trace(); trace == "" {
		return value{}
	}
	return traceParent(v)
}
