package jobaudit

import (
	"bytes"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit/internal/carriertext"
	"github.com/jobaudit/jobaudit/internal/fields"
	"github.com/jobaudit/jobaudit/internal/jsonscan"
)

const maxCarrier = 4_096

// Carrier takes a job's identity through a queue: an opaque ASCII string of at
// most 4,096 bytes that goes into the queue's metadata or headers and comes
// back as the argument of [Recorder.Resume]. It holds no inputs. What comes
// back is a claim until the log confirms it: it says what came before, as it
// was known when the Carrier was made, and is never a position. The zero
// Carrier is empty.
//
// A checksum finds what damages it on its way. Where [Options.CarrierKeys] are
// given, a MAC proves besides that a holder of such a key made it, so that who
// writes to the queue cannot make one for another job.
type Carrier struct {
	text string
	data *carrierData // what text says, if it has been read
}

// ParseCarrier reads what [Carrier.String] wrote. The error is a
// [*FieldError].
func ParseCarrier(s string) (Carrier, error) {
	g, err := decodeCarrier(s)
	if err != nil {
		return Carrier{}, err
	}
	return Carrier{text: s, data: g}, nil
}

// open returns what the Carrier holds. The caller must not change it.
func (c Carrier) open() (*carrierData, error) {
	if c.data != nil {
		return c.data, nil
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
// record concerns no job, or says what no Carrier can, as a kind of principal that a
// later version knows.
func (r Record) Carrier() Carrier {
	if r.jobID == uuid.Nil {
		return Carrier{}
	}
	e := r.Event()
	g := &carrierData{
		sub: Submission{
			ID: e.Job.ID, Action: e.What.Action, CorrelationID: e.CorrelationID, RequestID: e.RequestID,
			RetryOf: e.Job.RetryOf, OrgID: e.Who.OrgID, Resource: e.What.Resource, Target: e.Where.Target,
			TraceParent: e.TraceParent, Principal: e.Who.Principal, OnBehalfOf: e.Who.OnBehalfOf,
			Upstream: e.Who.Upstream, Trigger: e.Why,
		},
		parentID: e.Job.ParentID, rootID: e.Job.RootID, more: e.Who.More,
		reason: text{value: e.Why.Reason},
		head:   &streamHead{Stream: e.Stream.ID, Seq: e.Stream.Seq, Hash: r.hash, Event: e.ID},
	}
	if e.Type == JobSubmitted {
		g.submission = e.Stream.ID
	}
	c := g.encode(nil)
	var err error
	if c.data, err = decodeCarrier(c.text); err != nil {
		return Carrier{}
	}
	c.data.logged = true
	return c
}

// JobID returns the ID of the job that the Carrier names: a claim, as [Recorder.Resume]
// may refuse the Carrier. It is the zero UUID if the Carrier is empty.
func (c Carrier) JobID() uuid.UUID {
	g, err := c.open()
	if err != nil {
		return uuid.Nil
	}
	return g.sub.ID
}

// Recorder returns the recorder that the job was submitted by: the ID of that
// recorder's own stream, whose first event, audit.opened, stands in the log that
// the submission went to. So a reader of logs that does not find the submission
// can say whether that log is among them. It is the zero UUID if the Carrier does
// not say, and a claim like all that a Carrier holds.
func (c Carrier) Recorder() uuid.UUID {
	g, err := c.open()
	if err != nil {
		return uuid.Nil
	}
	return g.recorder
}

// carrierData is what a Carrier holds.
type carrierData struct {
	sub              Submission // without inputs
	parentID, rootID uuid.UUID
	reason           text
	more             int64 // principals that OnBehalfOf has no room for
	head             *streamHead
	cause            uuid.UUID // the newest event, where no head tells it
	recorder         uuid.UUID // by which the job was submitted
	submission       uuid.UUID // the stream that the submission stands in
	removed          bool      // something was removed from the job's inputs
	removedAbove     bool      // or from those of a job above it

	signature carriertext.Signature // as it came
	logged    bool                  // it was made from a record, in this process
}

// encode makes the Carrier, signed if signer is not nil. What makes it too long
// is left out, least important first: principals on whose behalf the job runs,
// the reference, the end of the reason, the resource and the target. No more
// than one of each is tried: the time does not depend on how much there is.
func (g *carrierData) encode(signer *carriertext.Key) Carrier {
	reason := fields.MaxText
	if n := len(g.sub.OnBehalfOf); n > fields.MaxList {
		g.sub.OnBehalfOf = g.sub.OnBehalfOf[:fields.MaxList]
		g.more = saturated(g.more, n-fields.MaxList)
	}
	for {
		raw, err := g.append(nil, reason)
		if err != nil {
			return Carrier{}
		}
		if c := carriertext.Seal(raw, signer); len(c) <= maxCarrier {
			return Carrier{text: c}
		}
		switch {
		case len(g.sub.OnBehalfOf) > 0:
			g.sub.OnBehalfOf = g.sub.OnBehalfOf[:len(g.sub.OnBehalfOf)-1]
			g.more = saturated(g.more, 1)
		case g.sub.Trigger.Ref != "":
			g.sub.Trigger.Ref = ""
		case reason > 0:
			reason /= 2
		case g.sub.Resource+g.sub.Target != "":
			g.sub.Resource, g.sub.Target = "", ""
		default:
			return Carrier{}
		}
	}
}

func (g *carrierData) append(dst []byte, reason int) ([]byte, *fields.Error) {
	o := newObject(append(dst, '{'), fields.Carrier())
	o.UUID("job", g.sub.ID)
	o.String("action", g.sub.Action)
	for _, id := range []struct {
		name string
		id   uuid.UUID
	}{{"correlation", g.sub.CorrelationID}, {"request", g.sub.RequestID}, {"root", g.rootID}} {
		if id.id != g.sub.ID { // queues keep every byte in every row
			o.UUID(id.name, id.id)
		}
	}
	o.UUID("parent", g.parentID)
	o.UUID("retryOf", g.sub.RetryOf)
	o.Optional("org", g.sub.OrgID)
	o.Optional("resource", g.sub.Resource)
	o.Optional("target", g.sub.Target)
	o.Optional("traceparent", g.sub.TraceParent)
	o.Open("principal")
	o.identity(g.sub.Principal)
	if n := len(g.sub.OnBehalfOf); n > 0 {
		o.List("onBehalfOf", n, func(i int) {
			o.OpenElement()
			o.identity(g.sub.OnBehalfOf[i])
		})
	}
	o.more(0, g.more)
	if g.sub.Upstream != (Ref{}) {
		o.Open("upstream")
		o.String("system", g.sub.Upstream.System)
		o.String("eventId", g.sub.Upstream.ID)
		o.Close()
	}
	o.Open("trigger")
	o.String("kind", string(g.sub.Trigger.Kind))
	o.TextWithin("reason", g.reason.value, g.reason.dropped, reason)
	o.Optional("ref", g.sub.Trigger.Ref)
	o.Close()
	if g.head != nil {
		o.Open("head")
		o.UUID("stream", g.head.Stream)
		o.Integer("seq", int64(g.head.Seq))
		o.Hash("hash", g.head.Hash)
		o.UUID("event", g.head.Event)
		o.Close()
	} else {
		o.UUID("cause", g.cause)
	}
	o.UUID("recorder", g.recorder)
	o.UUID("submission", g.submission)
	if g.removed {
		o.Bool("removed", true)
	}
	if g.removedAbove {
		o.Bool("removedAbove", true)
	}
	return append(o.Dst, '}'), o.Err()
}

// identity writes what identifies a principal. Its name stays behind: it may be
// personal, and queues are read by many.
func (o *object) identity(p Principal) {
	o.String("kind", string(p.Kind))
	o.String("id", p.ID)
	o.Close()
}

func decodeCarrier(s string) (*carrierData, error) {
	problem := func(text string) error { return &FieldError{Field: "carrier", Problem: text} }
	if len(s) > maxCarrier {
		return nil, problem("is longer than 4096 bytes")
	}
	raw, signature, wrong := carriertext.Open(s)
	if wrong != "" {
		return nil, problem(wrong)
	}
	if jsonscan.Check(raw) != nil {
		return nil, problem("does not hold JSON")
	}
	raw = bytes.TrimSpace(raw)
	d := newDecoder(fields.Carrier(), "carrier")
	g := d.carrier(raw)
	if err := fieldError(d.Err()); err != nil {
		return nil, err
	}
	if err := g.sub.checkShape(); err != nil {
		return nil, err
	}
	g.signature = signature
	return g, nil
}

func (d decoder) carrier(raw []byte) *carrierData {
	var g carrierData
	s := &g.sub
	d.Object(raw, func(name, raw []byte) {
		switch string(name) {
		case "job":
			s.ID = d.UUID(raw)
		case "action":
			s.Action = d.identifier(raw)
		case "correlation":
			s.CorrelationID = d.UUID(raw)
		case "request":
			s.RequestID = d.UUID(raw)
		case "parent":
			g.parentID = d.UUID(raw)
		case "root":
			g.rootID = d.UUID(raw)
		case "retryOf":
			s.RetryOf = d.UUID(raw)
		case "org":
			s.OrgID = d.String(raw)
		case "resource":
			s.Resource = d.String(raw)
		case "target":
			s.Target = d.String(raw)
		case "traceparent":
			s.TraceParent = d.String(raw)
		case "principal":
			s.Principal = d.identity(raw)
		case "onBehalfOf":
			d.List(raw, func(raw []byte) { s.OnBehalfOf = append(s.OnBehalfOf, d.identity(raw)) })
		case "more":
			g.more = d.Integer(raw)
		case "upstream":
			d.upstream(raw, &s.Upstream)
		case "trigger":
			s.Trigger = d.trigger(raw)
		case "head":
			g.head = d.head(raw)
		case "cause":
			g.cause = d.UUID(raw)
		case "recorder":
			g.recorder = d.UUID(raw)
		case "submission":
			g.submission = d.UUID(raw)
		case "removed":
			g.removed = d.Bool(raw)
		case "removedAbove":
			g.removedAbove = d.Bool(raw)
		}
	})
	for _, id := range []*uuid.UUID{&s.CorrelationID, &s.RequestID, &g.rootID} {
		if *id == uuid.Nil {
			*id = s.ID
		}
	}
	return &g
}

func (d decoder) trigger(raw []byte) Trigger {
	var t Trigger
	d.Object(raw, func(name, raw []byte) {
		switch string(name) {
		case "kind":
			t.Kind = TriggerKind(d.String(raw))
		case "reason":
			t.Reason = d.Text(raw)
		case "ref":
			t.Ref = d.String(raw)
		}
	})
	return t
}

func (d decoder) identity(raw []byte) Principal {
	var p Principal
	d.Object(raw, func(name, raw []byte) {
		switch string(name) {
		case "kind":
			p.Kind = PrincipalKind(d.identifier(raw))
		case "id":
			p.ID = d.identifier(raw)
		}
	})
	return p
}

func (d decoder) head(raw []byte) *streamHead {
	var h streamHead
	d.Object(raw, func(name, raw []byte) {
		switch string(name) {
		case "stream":
			h.Stream = d.UUID(raw)
		case "seq":
			h.Seq = uint64(d.Integer(raw))
		case "hash":
			h.Hash = d.Hash(raw)
		case "event":
			h.Event = d.UUID(raw)
		}
	})
	return &h
}

// identifier reads a string that must not be empty.
func (d decoder) identifier(raw []byte) string {
	s := d.String(raw)
	if s == "" {
		d.Fail("is empty")
	}
	return s
}
