package jobaudit

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit/internal/jsonenc"
	"github.com/jobaudit/jobaudit/internal/jsonscan"
)

// eventPrefix begins every event line (format F2).
const eventPrefix = `{"schemaVersion":`

// parseEvent decodes an event's line. On an error, the event holds what was
// understood before it.
func parseEvent(line []byte) (Event, error) {
	switch {
	case len(line) > maxRecord:
		return Event{}, fmt.Errorf("the line has %d bytes, more than %d", len(line), maxRecord)
	case !bytes.HasPrefix(line, []byte(eventPrefix)):
		return Event{}, errors.New("the line does not have " + eventPrefix + " at its beginning")
	case bytes.IndexByte(line, '\n') >= 0:
		return Event{}, errors.New("the line holds a line feed")
	}
	if err := checkJSON(line); err != nil {
		return Event{}, err
	}
	if jsonscan.Unpaired(line) >= 0 {
		return Event{}, errors.New("the line holds half of a surrogate pair")
	}
	return decodeEvent(line)
}

// decodeEvent decodes JSON that has been checked.
func decodeEvent(line []byte) (e Event, err error) {
	var d decoder
	d.event(line, &e)
	return e, d.err
}

// checkJSON is [jsonscan.Check] with an error that names the field. What is
// below a field that holds a user's content, or has no name of ours, is not
// named.
func checkJSON(data []byte) error {
	err := jsonscan.Check(data)
	scan, ok := errors.AsType[*jsonscan.Error](err)
	if !ok {
		return err
	}
	var path []string
	for _, name := range scan.Path {
		if len(name) > 32 || strings.Trim(name, fieldLetters) != "" {
			break
		}
		path = append(path, name)
		if name == "inputs" || name == "output" || name == "value" {
			break
		}
	}
	return &FieldError{Field: strings.Join(path, "."), Problem: scan.Error()}
}

// fieldLetters are what our names, and indices, are made of.
const fieldLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// decoder reads JSON that jsonscan has accepted. The first problem found is
// kept in err, with the path of its field.
type decoder struct {
	path [][]byte
	err  error
}

func (d *decoder) fail(problem string) {
	if d.err == nil {
		d.err = &FieldError{Field: string(bytes.Join(d.path, []byte("."))), Problem: problem}
	}
}

// failAt is fail for a member of the value that is being read.
func (d *decoder) failAt(name, problem string) {
	d.path = append(d.path, []byte(name))
	d.fail(problem)
	d.path = d.path[:len(d.path)-1]
}

// ownNames are the names in the formats that are read here. The fields of a
// user's content are not among them: they are never looked at.
var ownNames = sync.OnceValue(func() map[string]bool {
	names := map[string]bool{}
	for name := range strings.FieldsSeq("$jobaudit action after allowed assurance attempt auth by causationId class code completedAt " +
		"correction correlation correlationId count createdAt data deadline decision degraded digest done " +
		"environment erased error event eventId evidence executionId executions existing frame from hash head heartbeat hits " +
		"host id impact incomplete inputs instance job keys kind last line logs lost message metadata method moment " +
		"more name of onBehalfOf org orgId outcome output owner parent parentId path permission phase policy prev " +
		"principal progress queue queueTime reason reconstructed recorder recovery redaction ref removed removedCount request requestId " +
		"resource retryOf root rootId rule schemaVersion seq session size snapshot sourceIp startedAt state " +
		"stream summary system taint target time to total traceparent trigger type types unapplied unreadable upstream " +
		"userId value version what where who why") {
		names[name] = true
	}
	return names
})

// foldedNames are the own names, folded.
var foldedNames = sync.OnceValue(func() map[string]bool {
	names := map[string]bool{}
	for name := range ownNames() {
		names[string(appendFolded(nil, []byte(name)))] = true
	}
	return names
})

// appendFolded appends a name so that names that are equal but for their case,
// as strings.EqualFold has it, give the same bytes.
func appendFolded(dst, name []byte) []byte {
	for _, r := range string(name) {
		for { // the least of the runes that fold to each other
			next := unicode.SimpleFold(r)
			if next <= r {
				r = next
				break
			}
			r = next
		}
		dst = utf8.AppendRune(dst, r)
	}
	return dst
}

// otherCase reports whether a name is one of ours but for the case of its
// letters. Readers that ignore case, like encoding/json, would take it for
// that one.
func otherCase(name []byte) bool {
	var buf [64]byte
	return !ownNames()[string(name)] && foldedNames()[string(appendFolded(buf[:0], name))]
}

// object calls member for each member of an object. Every name in required
// must be there, and none in another case.
func (d *decoder) object(raw []byte, member func(name, raw []byte), required ...string) {
	if raw[0] != '{' {
		d.fail("is not an object")
		return
	}
	missing := len(required)
	for name, value := range jsonscan.Members(raw) {
		for _, want := range required {
			if string(name) == want {
				missing--
			}
		}
		d.path = append(d.path, name)
		if otherCase(name) {
			d.fail("is a name in another case")
		}
		member(name, value)
		d.path = d.path[:len(d.path)-1]
	}
	if missing > 0 {
		d.missing(raw, required)
	}
}

func (d *decoder) missing(raw []byte, required []string) {
	have := map[string]bool{}
	for name := range jsonscan.Object(raw) {
		have[name] = true
	}
	for _, name := range required {
		if !have[name] {
			d.failAt(name, "is missing")
		}
	}
}

// array calls element for each element of an array.
func (d *decoder) array(raw []byte, element func(raw []byte)) {
	if raw[0] != '[' {
		d.fail("is not an array")
		return
	}
	i := 0
	for value := range jsonscan.Array(raw) {
		d.path = append(d.path, strconv.AppendInt(nil, int64(i), 10))
		element(value)
		d.path = d.path[:len(d.path)-1]
		i++
	}
}

func (d *decoder) str(raw []byte) string {
	if raw[0] != '"' {
		d.fail("is not a string")
		return ""
	}
	return jsonscan.Unquote(raw)
}

// identifier reads a string that must not be empty.
func (d *decoder) identifier(raw []byte) string {
	s := d.str(raw)
	if s == "" {
		d.fail("is empty")
	}
	return s
}

// text reads a string, or the marker that stands for one.
func (d *decoder) text(raw []byte) string {
	if raw[0] != '{' {
		return d.str(raw)
	}
	var marker, rule, head string
	var size int64
	d.object(raw, func(name, raw []byte) {
		switch string(name) {
		case "$jobaudit":
			marker = d.str(raw)
		case "rule":
			rule = d.str(raw)
		case "head":
			head = d.str(raw)
		case "size":
			size = d.integer(raw)
		}
	}, "$jobaudit")
	if marker == "truncated" {
		return fmt.Sprintf("%s… (%d bytes in all)", head, size)
	}
	return fmt.Sprintf("(%s: %s)", marker, rule)
}

func (d *decoder) integer(raw []byte) int64 {
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		d.fail("is not an integer")
	}
	return n
}

// count reads an integer that is not negative.
func (d *decoder) count(raw []byte) int {
	n := d.integer(raw)
	if n < 0 || n > 1<<53 {
		d.fail("is out of range")
		return 0
	}
	return int(n)
}

func (d *decoder) boolean(raw []byte) bool {
	if raw[0] != 't' && raw[0] != 'f' {
		d.fail("is not true or false")
	}
	return raw[0] == 't'
}

// either reads one of two words and reports whether it is the first.
func (d *decoder) either(raw []byte, first, second string) bool {
	word := d.str(raw)
	if word != first && word != second {
		d.fail("is neither " + first + " nor " + second)
	}
	return word == first
}

func (d *decoder) uuid(raw []byte) uuid.UUID {
	id, ok := parseUUID(d.str(raw))
	switch {
	case !ok:
		d.fail("is not a lower-case UUID")
	case id == uuid.Nil: // which would read as an absent one
		d.fail("is the nil UUID")
	}
	return id
}

// parseUUID accepts the one form that the formats use.
func parseUUID(s string) (uuid.UUID, bool) {
	if len(s) != 36 || strings.ToLower(s) != s {
		return uuid.Nil, false
	}
	id, err := uuid.Parse(s)
	return id, err == nil
}

func (d *decoder) hash(raw []byte) Hash {
	var h Hash
	s := d.str(raw)
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != len(h) || len(s) != 44 {
		d.fail("is not a SHA-256 hash in base64")
		return h
	}
	copy(h[:], b)
	return h
}

func (d *decoder) time(raw []byte) time.Time {
	s := d.str(raw)
	t, err := time.Parse(jsonenc.TimeLayout, s)
	if err != nil || t.Format(jsonenc.TimeLayout) != s { // Parse is lenient
		d.fail("is not a UTC time with six fraction digits")
	}
	return t
}

func (d *decoder) event(line []byte, e *Event) {
	d.object(line, func(name, raw []byte) {
		switch string(name) {
		case "schemaVersion":
			e.SchemaVersion = d.str(raw)
			if !strings.HasPrefix(e.SchemaVersion, "1.") {
				d.fail("is not a version 1")
			}
		case "id":
			e.ID = d.uuid(raw)
		case "type":
			e.Type = d.eventType(raw)
		case "phase":
			e.Phase = d.str(raw)
		case "time":
			e.Time = d.time(raw)
		case "reconstructed":
			e.Reconstructed = true
			d.object(raw, func(name, raw []byte) {
				if string(name) == "queueTime" {
					e.QueueTime = d.time(raw)
				}
			})
		case "stream":
			d.stream(raw, e)
		case "job":
			d.job(raw, e)
		case "correlationId":
			e.CorrelationID = d.uuid(raw)
		case "causationId":
			e.CausationID = d.uuid(raw)
		case "requestId":
			e.RequestID = d.uuid(raw)
		case "traceparent":
			e.TraceParent = d.str(raw)
		case "who":
			d.who(raw, e)
		case "what":
			d.what(raw, e)
		case "where":
			d.where(raw, e)
		case "why":
			d.why(raw, e)
		case "data":
			d.data(raw, e)
		}
	}, "schemaVersion", "id", "type", "time", "stream", "correlationId", "requestId", "who", "what", "where", "why")
	d.consistent(e)
}

// consistent checks what the fields say of each other.
func (d *decoder) consistent(e *Event) {
	audit := strings.HasPrefix(string(e.Type), "audit.")
	switch {
	case d.err != nil:
	case e.Phase != e.Type.Phase():
		d.failAt("phase", "does not belong to the type")
	case e.Job.ID == uuid.Nil && !audit:
		d.failAt("job", "is missing")
	case e.Type == AuditLost && e.Job.ID == uuid.Nil:
		d.failAt("job", "is missing")
	case e.Job.ID != uuid.Nil && auditReasons[e.Type] != "":
		d.failAt("job", "is present on an event of the audit itself")
	case e.Type == JobSubmitted && e.What.Inputs == nil:
		d.failAt("what.inputs", "is missing")
	}
}

func (d *decoder) eventType(raw []byte) EventType {
	t := d.str(raw)
	for _, family := range []string{"job.", "attempt.", "audit."} {
		if strings.HasPrefix(t, family) && len(t) > len(family) && len(t) <= maxIdentifier {
			return EventType(t)
		}
	}
	d.fail("is no event type")
	return ""
}

func (d *decoder) stream(raw []byte, e *Event) {
	var prev, after bool
	d.object(raw, func(name, raw []byte) {
		switch string(name) {
		case "id":
			e.Stream.ID = d.uuid(raw)
		case "seq":
			e.Stream.Seq = d.seq(raw)
		case "prev":
			e.Stream.Prev, prev = d.hash(raw), true
		case "after":
			after = true
			d.object(raw, func(name, raw []byte) {
				switch string(name) {
				case "stream":
					e.Stream.After.Stream = d.uuid(raw)
				case "seq":
					e.Stream.After.Seq = d.seq(raw)
				case "hash":
					e.Stream.After.Hash = d.hash(raw)
				}
			}, "stream", "seq", "hash")
		}
	}, "id", "seq")
	if prev != (e.Stream.Seq > 1) {
		d.fail("has seq and prev that contradict each other")
	}
	if after && e.Stream.Seq > 1 {
		d.fail("has after behind its first event")
	}
}

func (d *decoder) seq(raw []byte) uint64 {
	n := d.count(raw)
	if n < 1 {
		d.fail("is less than 1")
	}
	return uint64(n)
}

func (d *decoder) job(raw []byte, e *Event) {
	d.object(raw, func(name, raw []byte) {
		switch string(name) {
		case "id":
			e.Job.ID = d.uuid(raw)
		case "state":
			e.Job.State = d.state(raw)
		case "attempt":
			e.Job.Attempt = d.count(raw)
		case "executionId":
			e.Job.ExecutionID = d.uuid(raw)
		case "parentId":
			e.Job.ParentID = d.uuid(raw)
		case "rootId":
			e.Job.RootID = d.uuid(raw)
		case "retryOf":
			e.Job.RetryOf = d.uuid(raw)
		case "queue":
			d.object(raw, func(name, raw []byte) {
				switch string(name) {
				case "system":
					e.Job.Queue.System = d.str(raw)
				case "id":
					e.Job.Queue.ID = d.str(raw)
				}
			}, "system", "id")
		}
	}, "id", "state", "attempt", "rootId")
}

func (d *decoder) state(raw []byte) JobState {
	s := JobState(d.str(raw))
	if s != Pending && s != Running && !s.Terminal() {
		d.fail("is no job state")
	}
	return s
}

func (d *decoder) who(raw []byte, e *Event) {
	d.object(raw, func(name, raw []byte) {
		switch string(name) {
		case "principal":
			e.Who.Principal = d.principal(raw)
		case "orgId":
			e.Who.OrgID = d.str(raw)
		case "onBehalfOf":
			d.array(raw, func(raw []byte) {
				e.Who.OnBehalfOf = append(e.Who.OnBehalfOf, d.principal(raw))
			})
		case "more":
			e.Who.More = d.count(raw)
		case "upstream":
			d.upstream(raw, &e.Who.Upstream)
		}
	}, "principal", "orgId")
}

func (d *decoder) upstream(raw []byte, u *Ref) {
	d.object(raw, func(name, raw []byte) {
		switch string(name) {
		case "system":
			u.System = d.str(raw)
		case "eventId":
			u.ID = d.str(raw)
		}
	}, "system", "eventId")
}

func (d *decoder) principal(raw []byte) Principal {
	var p Principal
	d.object(raw, func(name, raw []byte) {
		switch string(name) {
		case "kind":
			p.Kind = PrincipalKind(d.identifier(raw))
		case "id":
			p.ID = d.identifier(raw)
		case "name":
			p.Name = d.text(raw)
		case "assurance":
			p.Verified = d.either(raw, "verified", "claimed")
		case "auth":
			d.object(raw, func(name, raw []byte) {
				switch string(name) {
				case "method":
					p.AuthMethod = d.str(raw)
				case "session":
					p.AuthSession = d.str(raw)
				}
			})
		}
	}, "kind", "id", "assurance")
	return p
}

func (d *decoder) what(raw []byte, e *Event) {
	d.object(raw, func(name, raw []byte) {
		switch string(name) {
		case "action":
			e.What.Action = d.identifier(raw)
		case "resource":
			e.What.Resource = d.text(raw)
		case "inputs":
			e.What.Inputs = bytes.Clone(raw)
		case "redaction":
			e.What.Redaction = d.redaction(raw)
		}
	}, "action")
}

func (d *decoder) redaction(raw []byte) *Redaction {
	var r Redaction
	d.object(raw, func(name, raw []byte) {
		switch string(name) {
		case "policy":
			r.Policy = d.str(raw)
		case "version":
			r.Version = d.str(raw)
		case "digest":
			r.Digest = d.hash(raw)
		case "outcome":
			r.Outcome = RedactionOutcome(d.str(raw))
		case "removed":
			d.array(raw, func(raw []byte) {
				path, class := d.pair(raw, "path", "class")
				r.Removed = append(r.Removed, struct{ Path, Class string }{path, class})
			})
		case "removedCount":
			r.RemovedCount = d.count(raw)
		case "hits":
			d.array(raw, func(raw []byte) {
				path, rule := d.pair(raw, "path", "rule")
				r.Hits = append(r.Hits, struct{ Path, Rule string }{path, rule})
			})
		case "taint":
			r.Taint = d.str(raw)
		}
	}, "outcome")
	return &r
}

func (d *decoder) pair(raw []byte, first, second string) (a, b string) {
	d.object(raw, func(name, raw []byte) {
		switch string(name) {
		case first:
			a = d.str(raw)
		case second:
			b = d.str(raw)
		}
	}, first, second)
	return a, b
}

func (d *decoder) where(raw []byte, e *Event) {
	d.object(raw, func(name, raw []byte) {
		switch string(name) {
		case "system":
			e.Where.System = d.identifier(raw)
		case "environment":
			e.Where.Environment = d.identifier(raw)
		case "host":
			e.Where.Host = d.str(raw)
		case "instance":
			e.Where.Instance = d.str(raw)
		case "target":
			e.Where.Target = d.str(raw)
		case "version":
			e.Where.Version = d.str(raw)
		case "sourceIp":
			ip, err := netip.ParseAddr(d.str(raw))
			if err != nil {
				d.fail("is no IP address")
			}
			e.Where.SourceIP = ip
		}
	}, "system", "environment", "host", "instance", "version")
}

func (d *decoder) why(raw []byte, e *Event) {
	d.object(raw, func(name, raw []byte) {
		switch string(name) {
		case "trigger":
			e.Why.Kind = TriggerKind(d.identifier(raw))
		case "reason":
			e.Why.Reason = d.text(raw)
		case "ref":
			e.Why.Ref = d.str(raw)
		}
	}, "trigger", "reason")
}

func (d *decoder) data(raw []byte, e *Event) {
	d.object(raw, func(name, raw []byte) {
		switch string(name) {
		case "decision":
			e.Data.Decision = d.decision(raw)
		case "output":
			e.Data.Output = bytes.Clone(raw)
		case "impact":
			e.Data.Impact = d.text(raw)
		case "error":
			e.Data.Error = d.errorDetail(raw)
		case "line":
			e.Data.Line = d.text(raw)
		case "snapshot":
			e.Data.Snapshot = d.snapshot(raw)
		case "heartbeat":
			d.heartbeat(raw, e)
		case "correction":
			e.Data.Correction = d.correction(raw)
		case "existing":
			e.Data.Existing = d.uuid(raw)
		case "evidence":
			d.evidence(raw, e)
		case "lost":
			d.lost(raw, e)
		case "degraded":
			d.degraded(raw, e)
		case "erased":
			d.erased(raw, e)
		case "recovery":
			e.Data.Recovery = json.RawMessage(bytes.Clone(raw))
		case "policy":
			e.Data.Policy = json.RawMessage(bytes.Clone(raw))
		}
	})
}

func (d *decoder) decision(raw []byte) *Decision {
	var v Decision
	d.object(raw, func(name, raw []byte) {
		switch string(name) {
		case "allowed":
			v.Allowed = d.boolean(raw)
		case "by":
			v.By = d.str(raw)
		case "permission":
			v.Permission = d.str(raw)
		case "reason":
			v.Reason = d.text(raw)
		}
	}, "allowed", "by")
	return &v
}

func (d *decoder) errorDetail(raw []byte) *ErrorDetail {
	var v ErrorDetail
	d.object(raw, func(name, raw []byte) {
		switch string(name) {
		case "code":
			v.Code = ErrorCode(d.identifier(raw))
		case "message":
			v.Message = d.text(raw)
		case "type":
			v.Type = d.str(raw)
		case "frame":
			v.Frame = d.str(raw)
		}
	}, "code", "message")
	return &v
}

func (d *decoder) snapshot(raw []byte) *Snapshot {
	var v Snapshot
	d.object(raw, func(name, raw []byte) {
		switch string(name) {
		case "resource":
			v.Resource = d.text(raw)
		case "moment":
			v.After = d.either(raw, "after", "before")
		case "digest":
			v.Digest = d.str(raw)
		case "summary":
			v.Summary = d.text(raw)
		}
	}, "resource", "moment", "digest")
	return &v
}

func (d *decoder) heartbeat(raw []byte, e *Event) {
	d.object(raw, func(name, raw []byte) {
		switch string(name) {
		case "progress":
			var p struct{ Done, Total int64 }
			d.object(raw, func(name, raw []byte) {
				switch string(name) {
				case "done":
					p.Done = d.integer(raw)
				case "total":
					p.Total = d.integer(raw)
				}
			}, "done")
			e.Data.Heartbeat.Progress = &p
		case "deadline":
			e.Data.Heartbeat.Deadline = d.time(raw)
		}
	})
}

func (d *decoder) correction(raw []byte) *Correction {
	var v Correction
	d.object(raw, func(name, raw []byte) {
		switch string(name) {
		case "of":
			v.Of = d.uuid(raw)
		case "kind":
			v.Reversal = d.either(raw, "reversal", "correction")
		case "reason":
			v.Reason = d.text(raw)
		case "value":
			v.Value = json.RawMessage(bytes.Clone(raw))
		}
	}, "of", "kind", "reason")
	return &v
}

func (d *decoder) lost(raw []byte, e *Event) {
	v := &e.Data.Lost
	d.object(raw, func(name, raw []byte) {
		switch string(name) {
		case "count":
			v.Count = d.count(raw)
		case "types":
			d.array(raw, func(raw []byte) { v.Types = append(v.Types, EventType(d.str(raw))) })
		case "from":
			v.From = d.time(raw)
		case "to":
			v.To = d.time(raw)
		}
	}, "count", "types", "from", "to")
}

func (d *decoder) erased(raw []byte, e *Event) {
	v := &e.Data.Erased
	d.object(raw, func(name, raw []byte) {
		switch string(name) {
		case "keys":
			d.array(raw, func(raw []byte) { v.Keys = append(v.Keys, d.identifier(raw)) })
		case "reason":
			v.Reason = d.text(raw)
		}
	}, "keys")
}

func (d *decoder) evidence(raw []byte, e *Event) {
	v := &e.Data.Evidence
	d.object(raw, func(name, raw []byte) {
		switch string(name) {
		case "last":
			d.object(raw, func(name, raw []byte) {
				switch string(name) {
				case "id":
					v.Last.ID = d.uuid(raw)
				case "type":
					v.Last.Type = d.eventType(raw)
				case "time":
					v.Last.Time = d.time(raw)
				}
			}, "id", "type", "time")
		case "heartbeat":
			d.object(raw, func(name, raw []byte) {
				switch string(name) {
				case "id":
					v.Heartbeat.ID = d.uuid(raw)
				case "time":
					v.Heartbeat.Time = d.time(raw)
				}
			}, "id", "time")
		case "deadline":
			v.Deadline = d.time(raw)
		case "owner":
			d.object(raw, func(name, raw []byte) {
				switch string(name) {
				case "stream":
					v.Owner.Stream = d.uuid(raw)
				case "host":
					v.Owner.Host = d.str(raw)
				case "instance":
					v.Owner.Instance = d.str(raw)
				}
			}, "stream", "host", "instance")
		}
	}, "last", "owner")
}

func (d *decoder) degraded(raw []byte, e *Event) {
	v := &e.Data.Degraded
	d.object(raw, func(name, raw []byte) {
		switch string(name) {
		case "stream":
			v.Stream = d.uuid(raw)
		case "event":
			v.Event = d.uuid(raw)
		case "count":
			v.Count = d.count(raw)
		case "reason":
			v.Reason = d.text(raw)
		}
	}, "count")
}
