package jobaudit

import (
	"bytes"
	"encoding/base64"
	"strings"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit/internal/jsonscan"
)

const (
	carrierPrefix = "ja1."
	maxCarrier    = 4_096
)

// Carrier takes a job's identity through a queue: an opaque ASCII string of at
// most 4,096 bytes that goes into the queue's metadata or headers and comes
// back as the argument of [Recorder.Resume]. It holds no inputs. What comes
// back is a claim until the log confirms it: it says what came before, as it
// was known when the Carrier was made, and is never a position. The zero
// Carrier is empty.
type Carrier struct {
	text  string
	cargo *cargo // what text says, if it has been read
}

// ParseCarrier reads what [Carrier.String] wrote. The error is a
// [*FieldError].
func ParseCarrier(s string) (Carrier, error) {
	g, err := decodeCarrier(s)
	if err != nil {
		return Carrier{}, err
	}
	return Carrier{text: s, cargo: g}, nil
}

// open returns what the Carrier holds. Nobody may change it.
func (c Carrier) open() (*cargo, error) {
	if c.cargo != nil {
		return c.cargo, nil
	}
	return decodeCarrier(c.text)
}

// String returns the text form.
func (c Carrier) String() string { return c.text }

// MarshalText returns the text form.
func (c Carrier) MarshalText() ([]byte, error) { return []byte(c.text), nil }

// UnmarshalText is [ParseCarrier]; an empty text gives the zero Carrier.
func (c *Carrier) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*c = Carrier{}
		return nil
	}
	parsed, err := ParseCarrier(string(b))
	if err == nil {
		*c = parsed
	}
	return err
}

// Carrier returns the Carrier of the record's job, as the Trail that wrote the
// record would have made it then: for those who record of a job what its
// queue's table tells, and have no Carrier but the log. It is empty if the
// record concerns no job.
func (r Record) Carrier() Carrier {
	if r.jobID == uuid.Nil {
		return Carrier{}
	}
	e := r.Event()
	g := cargo{
		sub: Submission{
			ID: e.Job.ID, Action: e.What.Action, CorrelationID: e.CorrelationID, RequestID: e.RequestID,
			RetryOf: e.Job.RetryOf, OrgID: e.Who.OrgID, Resource: e.What.Resource, Target: e.Where.Target,
			TraceParent: e.TraceParent, Principal: e.Who.Principal, OnBehalfOf: e.Who.OnBehalfOf,
			Upstream: e.Who.Upstream, Trigger: e.Why,
		},
		parentID: e.Job.ParentID, rootID: e.Job.RootID,
		reason: text{value: e.Why.Reason},
		head:   &streamHead{Stream: e.Stream.ID, Seq: e.Stream.Seq, Hash: r.hash, Event: e.ID},
	}
	return g.encode()
}

// Recorder returns the recorder that the job was submitted by: the ID of that
// recorder's own stream, whose first event, audit.opened, stands in the log that
// the submission went to. So whoever reads logs and misses the submission can
// tell whether that log is among them. It is the zero UUID if the Carrier does
// not say, and a claim like all that a Carrier holds.
func (c Carrier) Recorder() uuid.UUID {
	g, err := c.open()
	if err != nil {
		return uuid.Nil
	}
	return g.recorder
}

// cargo is what a Carrier holds.
type cargo struct {
	sub              Submission // without inputs
	parentID, rootID uuid.UUID
	reason           text
	head             *streamHead
	cause            uuid.UUID // the newest event, where no head tells it
	recorder         uuid.UUID // by which the job was submitted
}

// encode makes the Carrier. What makes it too long is left out, least
// important first: principals on whose behalf the job runs, the reference, the
// end of the reason.
func (g *cargo) encode() Carrier {
	reason := maxText
	for {
		raw := g.append(nil, reason)
		if base64.RawURLEncoding.EncodedLen(len(raw)) <= maxCarrier-len(carrierPrefix) {
			return Carrier{text: carrierPrefix + base64.RawURLEncoding.EncodeToString(raw)}
		}
		switch {
		case len(g.sub.OnBehalfOf) > 0:
			g.sub.OnBehalfOf = g.sub.OnBehalfOf[:len(g.sub.OnBehalfOf)-1]
		case g.sub.Trigger.Ref != "":
			g.sub.Trigger.Ref = ""
		default:
			reason /= 2
		}
	}
}

func (g *cargo) append(dst []byte, reason int) []byte {
	o := object{dst: append(dst, '{')}
	o.uuid("job", g.sub.ID)
	o.str("action", g.sub.Action)
	for _, id := range []struct {
		name string
		id   uuid.UUID
	}{{"correlation", g.sub.CorrelationID}, {"request", g.sub.RequestID}, {"root", g.rootID}} {
		if id.id != g.sub.ID { // queues keep every byte in every row
			o.uuid(id.name, id.id)
		}
	}
	o.uuid("parent", g.parentID)
	o.uuid("retryOf", g.sub.RetryOf)
	o.optional("org", g.sub.OrgID)
	o.optional("resource", g.sub.Resource)
	o.optional("target", g.sub.Target)
	o.optional("traceparent", g.sub.TraceParent)
	o.key("principal")
	o.dst = appendIdentity(o.dst, g.sub.Principal)
	if len(g.sub.OnBehalfOf) > 0 {
		o.key("onBehalfOf")
		o.dst = append(o.dst, '[')
		for i, p := range g.sub.OnBehalfOf {
			if i > 0 {
				o.dst = append(o.dst, ',')
			}
			o.dst = appendIdentity(o.dst, p)
		}
		o.dst = append(o.dst, ']')
	}
	if g.sub.Upstream != (Ref{}) {
		o.open("upstream")
		o.str("system", g.sub.Upstream.System)
		o.str("eventId", g.sub.Upstream.ID)
		o.close()
	}
	o.open("trigger")
	o.str("kind", string(g.sub.Trigger.Kind))
	o.key("reason")
	o.dst = g.reason.append(o.dst, reason)
	o.optional("ref", g.sub.Trigger.Ref)
	o.close()
	if g.head != nil {
		o.open("head")
		o.uuid("stream", g.head.Stream)
		o.integer("seq", int64(g.head.Seq))
		o.hash("hash", g.head.Hash)
		o.uuid("event", g.head.Event)
		o.close()
	} else {
		o.uuid("cause", g.cause)
	}
	o.uuid("recorder", g.recorder)
	return append(o.dst, '}')
}

// appendIdentity appends what identifies a principal. Its name stays behind: it
// may be personal, and queues are read by many.
func appendIdentity(dst []byte, p Principal) []byte {
	o := object{dst: append(dst, '{')}
	o.str("kind", string(p.Kind))
	o.str("id", p.ID)
	return append(o.dst, '}')
}

func decodeCarrier(s string) (*cargo, error) {
	problem := func(text string) error { return &FieldError{Field: "carrier", Problem: text} }
	encoded, ok := strings.CutPrefix(s, carrierPrefix)
	switch {
	case !ok:
		return nil, problem("does not begin with " + carrierPrefix)
	case len(s) > maxCarrier:
		return nil, problem("is longer than 4096 bytes")
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil || strings.ContainsAny(encoded, "\r\n") {
		return nil, problem("is not unpadded base64url")
	}
	if jsonscan.Check(raw) != nil {
		return nil, problem("does not hold JSON")
	}
	raw = bytes.TrimSpace(raw)
	d := decoder{path: [][]byte{[]byte("carrier")}}
	g := d.cargo(raw)
	if d.err != nil {
		return nil, d.err
	}
	if err := g.sub.check(); err != nil {
		return nil, err
	}
	return g, nil
}

func (d *decoder) cargo(raw []byte) *cargo {
	var g cargo
	s := &g.sub
	d.object(raw, func(name, raw []byte) {
		switch string(name) {
		case "job":
			s.ID = d.uuid(raw)
		case "action":
			s.Action = d.identifier(raw)
		case "correlation":
			s.CorrelationID = d.uuid(raw)
		case "request":
			s.RequestID = d.uuid(raw)
		case "parent":
			g.parentID = d.uuid(raw)
		case "root":
			g.rootID = d.uuid(raw)
		case "retryOf":
			s.RetryOf = d.uuid(raw)
		case "org":
			s.OrgID = d.str(raw)
		case "resource":
			s.Resource = d.str(raw)
		case "target":
			s.Target = d.str(raw)
		case "traceparent":
			s.TraceParent = d.str(raw)
		case "principal":
			s.Principal = d.identity(raw)
		case "onBehalfOf":
			d.array(raw, func(raw []byte) { s.OnBehalfOf = append(s.OnBehalfOf, d.identity(raw)) })
		case "upstream":
			d.upstream(raw, &s.Upstream)
		case "trigger":
			d.object(raw, func(name, raw []byte) {
				switch string(name) {
				case "kind":
					s.Trigger.Kind = TriggerKind(d.str(raw))
				case "reason":
					s.Trigger.Reason = d.text(raw)
				case "ref":
					s.Trigger.Ref = d.str(raw)
				}
			}, "kind", "reason")
		case "head":
			g.head = d.head(raw)
		case "cause":
			g.cause = d.uuid(raw)
		case "recorder":
			g.recorder = d.uuid(raw)
		}
	}, "job", "action", "principal", "trigger")
	for _, id := range []*uuid.UUID{&s.CorrelationID, &s.RequestID, &g.rootID} {
		if *id == uuid.Nil {
			*id = s.ID
		}
	}
	return &g
}

func (d *decoder) identity(raw []byte) Principal {
	var p Principal
	d.object(raw, func(name, raw []byte) {
		switch string(name) {
		case "kind":
			p.Kind = PrincipalKind(d.identifier(raw))
		case "id":
			p.ID = d.identifier(raw)
		}
	}, "kind", "id")
	return p
}

func (d *decoder) head(raw []byte) *streamHead {
	var h streamHead
	d.object(raw, func(name, raw []byte) {
		switch string(name) {
		case "stream":
			h.Stream = d.uuid(raw)
		case "seq":
			h.Seq = d.seq(raw)
		case "hash":
			h.Hash = d.hash(raw)
		case "event":
			h.Event = d.uuid(raw)
		}
	}, "stream", "seq", "hash")
	return &h
}
