package jobaudit

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit/internal/fields"
	"github.com/jobaudit/jobaudit/internal/jsonscan"
)

// eventPrefix begins every event line (docs/format.md, F2).
const eventPrefix = `{"schemaVersion":`

// parseEvent decodes an event's line. On an error, the event holds what was
// understood before it.
func parseEvent(line []byte) (Event, error) {
	switch {
	case len(line) > fields.MaxRecord:
		return Event{}, fmt.Errorf("the line has %d bytes, more than %d", len(line), fields.MaxRecord)
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
func decodeEvent(line []byte) (Event, error) {
	var e Event
	d := newDecoder(fields.Event(), "")
	d.event(line, &e)
	return e, fieldError(d.Err())
}

// decoder reads JSON that jsonscan has accepted, by a table. The first problem
// found is kept, with the path of its field.
type decoder struct{ *fields.Reader }

func newDecoder(table *fields.Field, prefix string) decoder {
	return decoder{fields.NewReader(table, ownNames(), prefix)}
}

// ownNames are the names in the formats that are read here. The fields of a
// user's content are not among them: they are never looked at.
var ownNames = sync.OnceValue(func() *fields.Names {
	return fields.NamesOf(fields.Event(), fields.Job(), fields.JobStatus(), fields.Carrier())
})

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

func (d decoder) event(line []byte, e *Event) {
	d.Object(line, func(name, raw []byte) {
		switch string(name) {
		case "schemaVersion":
			e.SchemaVersion = d.String(raw)
			if !strings.HasPrefix(e.SchemaVersion, "1.") {
				d.Fail("is not a version 1")
			}
		case "id":
			e.ID = d.UUID(raw)
		case "type":
			e.Type = d.eventType(raw)
		case "phase":
			e.Phase = Phase(d.String(raw))
		case "time":
			e.Time = d.Time(raw)
		case "reconstructed":
			e.Reconstructed = true
			d.Object(raw, func(name, raw []byte) {
				if string(name) == "queueTime" {
					e.QueueTime = d.Time(raw)
				}
			})
		case "stream":
			d.stream(raw, e)
		case "job":
			d.job(raw, e)
		case "correlationId":
			e.CorrelationID = d.UUID(raw)
		case "causationId":
			e.CausationID = d.UUID(raw)
		case "requestId":
			e.RequestID = d.UUID(raw)
		case "traceparent":
			e.TraceParent = d.String(raw)
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
	})
	d.consistent(e)
}

// consistent checks what the fields say of each other.
func (d decoder) consistent(e *Event) {
	audit := strings.HasPrefix(string(e.Type), "audit.")
	switch {
	case d.Err() != nil:
	case e.Phase != e.Type.Phase():
		d.FailAt("phase", "does not belong to the type")
	case e.Job.ID == uuid.Nil && !audit:
		d.FailAt("job", "is missing")
	case e.Type == AuditLost && e.Job.ID == uuid.Nil:
		d.FailAt("job", "is missing")
	case e.Job.ID != uuid.Nil && (auditReasons[e.Type] != "" || isAct(e.Type)):
		d.FailAt("job", "is present on an event of the audit itself")
	case e.Type == JobSubmitted && e.What.Inputs == nil:
		d.FailAt("what.inputs", "is missing")
	}
}

func (d decoder) eventType(raw []byte) EventType {
	t := d.String(raw)
	for _, family := range []string{"job.", "attempt.", "audit."} {
		if strings.HasPrefix(t, family) && len(t) > len(family) {
			return EventType(t)
		}
	}
	d.Fail("is no event type")
	return ""
}

func (d decoder) stream(raw []byte, e *Event) {
	var prev, after bool
	d.Object(raw, func(name, raw []byte) {
		switch string(name) {
		case "id":
			e.Stream.ID = d.UUID(raw)
		case "seq":
			e.Stream.Seq = uint64(d.Integer(raw))
		case "prev":
			e.Stream.Prev, prev = d.Hash(raw), true
		case "after":
			after = true
			d.Object(raw, func(name, raw []byte) {
				switch string(name) {
				case "stream":
					e.Stream.After.Stream = d.UUID(raw)
				case "seq":
					e.Stream.After.Seq = uint64(d.Integer(raw))
				case "hash":
					e.Stream.After.Hash = d.Hash(raw)
				}
			})
		}
	})
	if prev != (e.Stream.Seq > 1) {
		d.Fail("has seq and prev that contradict each other")
	}
	if after && e.Stream.Seq > 1 {
		d.Fail("has after behind its first event")
	}
}

func (d decoder) job(raw []byte, e *Event) {
	d.Object(raw, func(name, raw []byte) {
		switch string(name) {
		case "id":
			e.Job.ID = d.UUID(raw)
		case "state":
			e.Job.State = JobState(d.String(raw))
		case "attempt":
			e.Job.Attempt = int(d.Integer(raw))
		case "executionId":
			e.Job.ExecutionID = d.UUID(raw)
		case "parentId":
			e.Job.ParentID = d.UUID(raw)
		case "rootId":
			e.Job.RootID = d.UUID(raw)
		case "retryOf":
			e.Job.RetryOf = d.UUID(raw)
		case "queue":
			d.Object(raw, func(name, raw []byte) {
				switch string(name) {
				case "system":
					e.Job.Queue.System = d.String(raw)
				case "id":
					e.Job.Queue.ID = d.String(raw)
				}
			})
		}
	})
}

func (d decoder) who(raw []byte, e *Event) {
	d.Object(raw, func(name, raw []byte) {
		switch string(name) {
		case "principal":
			e.Who.Principal = d.principal(raw)
		case "orgId":
			e.Who.OrgID = d.String(raw)
		case "onBehalfOf":
			d.List(raw, func(raw []byte) {
				e.Who.OnBehalfOf = append(e.Who.OnBehalfOf, d.principal(raw))
			})
		case "more":
			e.Who.More = d.Integer(raw)
		case "upstream":
			d.upstream(raw, &e.Who.Upstream)
		case "proof":
			d.Object(raw, func(name, raw []byte) {
				switch string(name) {
				case "carrier":
					e.Who.Proof.Carrier = d.String(raw)
				case "submission":
					e.Who.Proof.Submission = d.UUID(raw)
				}
			})
		}
	})
}

func (d decoder) upstream(raw []byte, u *Ref) {
	d.Object(raw, func(name, raw []byte) {
		switch string(name) {
		case "system":
			u.System = d.String(raw)
		case "eventId":
			u.ID = d.String(raw)
		}
	})
}

func (d decoder) principal(raw []byte) Principal {
	var p Principal
	d.Object(raw, func(name, raw []byte) {
		switch string(name) {
		case "kind":
			p.Kind = PrincipalKind(d.String(raw))
		case "id":
			p.ID = d.String(raw)
		case "name":
			p.Name = d.Text(raw)
		case "assurance":
			p.Verified = d.String(raw) == "verified"
		case "auth":
			d.Object(raw, func(name, raw []byte) {
				switch string(name) {
				case "method":
					p.AuthMethod = d.String(raw)
				case "session":
					p.AuthSession = d.String(raw)
				}
			})
		}
	})
	return p
}

func (d decoder) what(raw []byte, e *Event) {
	d.Object(raw, func(name, raw []byte) {
		switch string(name) {
		case "action":
			e.What.Action = d.String(raw)
		case "resource":
			e.What.Resource = d.Text(raw)
		case "inputs":
			e.What.Inputs = d.Raw(raw)
		case "redaction":
			e.What.Redaction = d.redaction(raw)
		}
	})
}

func (d decoder) where(raw []byte, e *Event) {
	d.Object(raw, func(name, raw []byte) {
		switch string(name) {
		case "system":
			e.Where.System = d.String(raw)
		case "environment":
			e.Where.Environment = d.String(raw)
		case "host":
			e.Where.Host = d.String(raw)
		case "instance":
			e.Where.Instance = d.String(raw)
		case "target":
			e.Where.Target = d.String(raw)
		case "version":
			e.Where.Version = d.String(raw)
		case "sourceIp":
			ip, err := netip.ParseAddr(d.String(raw))
			if err != nil {
				d.Fail("is no IP address")
			}
			e.Where.SourceIP = ip
		}
	})
}

func (d decoder) why(raw []byte, e *Event) {
	d.Object(raw, func(name, raw []byte) {
		switch string(name) {
		case "trigger":
			e.Why.Kind = TriggerKind(d.String(raw))
		case "reason":
			e.Why.Reason = d.Text(raw)
		case "ref":
			e.Why.Ref = d.String(raw)
		}
	})
}
