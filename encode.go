package jobaudit

import (
	"crypto/sha256"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit/internal/delivery"
	"github.com/jobaudit/jobaudit/internal/jsonenc"
)

// Limits of format F3, in encoded bytes; a string's quotation marks do not
// count.
const (
	maxRecord     = 48_000
	maxContent    = 16_000 // inputs, output
	maxText       = 1_024  // reason, name, error message, summary, impact
	maxLine       = 4_096
	maxIdentifier = 256
	maxList       = 16
	// maxStreamPart bounds the stream object, which is added at hand-over.
	maxStreamPart = 320
	// maxWho bounds the who object: beyond it, names of principals on whose
	// behalf the job runs are left out.
	maxWho = 12_000
)

const schemaVersion = "1.0.0"

// envelope is what all events of a Trail have in common.
type envelope struct {
	jobID, parentID, rootID, retryOf uuid.UUID
	correlationID, requestID         uuid.UUID
	traceParent                      string
	resource                         text

	// Encoded once, each with the comma before it:
	lineage     []byte // the job's parent, root and retryOf
	correlation []byte
	origin      []byte // from requestId to what, which is still open
	place       []byte // where and why
}

// draft is one event before it has its place in a stream.
type draft struct {
	id   uuid.UUID
	typ  EventType
	time time.Time

	state       JobState // empty on audit.* events: no job object is written
	attempt     int
	executionID uuid.UUID
	queue       Ref

	causationID uuid.UUID
	inputs      []byte // JSON; only on submission
	redaction   *Redaction
	data        payload

	reconstructed bool      // from what a queue's own table tells
	queueTime     time.Time // when that says it happened; zero if it does not
}

// sealed is an encoded event that still lacks its stream object: buf[:split]
// comes before it, buf[split:] after.
type sealed struct {
	id    uuid.UUID
	jobID uuid.UUID
	typ   EventType
	time  time.Time
	buf   []byte
	split int
}

// sealedPool holds sealed events that have been minted, for their buffers.
var sealedPool = sync.Pool{New: func() any { return new(sealed) }}

func (s *sealed) ID() uuid.UUID { return s.id }

func (s *sealed) Size() int { return len(s.buf) }

// seal encodes d, appending to buf. Content shrinks to a truncated marker if
// the event would be too large otherwise.
func (env *envelope) seal(d *draft) *sealed {
	s := sealedPool.Get().(*sealed)
	buf, split := env.appendEvent(s.buf[:0], d)
	if excess := len(buf) + maxStreamPart - maxRecord; excess > 0 {
		d.shrink(excess)
		buf, split = env.appendEvent(buf[:0], d)
	}
	// The record's time is the one that its bytes tell.
	when := d.time.UTC().Truncate(time.Microsecond)
	*s = sealed{id: d.id, jobID: env.jobID, typ: d.typ, time: when, buf: buf, split: split}
	return s
}

// shrink makes the largest content of d smaller by excess bytes.
func (d *draft) shrink(excess int) {
	largest := &d.inputs
	if len(d.data.output) > len(*largest) {
		largest = &d.data.output
	}
	if c := d.data.correction; c != nil && len(c.value) > len(*largest) {
		largest = &c.value
	}
	*largest = jsonenc.Shrink(*largest, max(len(*largest)-excess, 256))
}

// Mint gives a sealed event its place and makes it a Record. It allocates the
// record's bytes and nothing else.
func (s *sealed) Mint(p delivery.Position) Record {
	room := maxStreamPart / 2
	if p.After != nil {
		room = maxStreamPart
	}
	leaf := make([]byte, 1, 1+len(s.buf)+room)
	leaf = append(leaf, s.buf[:s.split]...)
	leaf = appendPosition(leaf, p)
	leaf = append(leaf, s.buf[s.split:]...)
	r := Record{leaf: leaf, hash: sha256.Sum256(leaf), id: s.id, jobID: s.jobID, typ: s.typ, time: s.time}
	*s = sealed{buf: s.buf[:0]}
	sealedPool.Put(s)
	return r
}

func appendPosition(dst []byte, p delivery.Position) []byte {
	dst = append(dst, `"stream":{`...)
	o := object{dst: dst}
	o.uuid("id", p.Stream)
	o.integer("seq", int64(p.Seq))
	if p.Seq > 1 {
		o.hash("prev", p.Prev)
	}
	if p.After != nil {
		o.open("after")
		o.uuid("stream", p.After.Stream)
		o.integer("seq", int64(p.After.Seq))
		o.hash("hash", p.After.Hash)
		o.close()
	}
	return append(o.dst, '}')
}

// appendEvent appends the event without its stream object and returns where in
// dst that belongs.
func (env *envelope) appendEvent(dst []byte, d *draft) (out []byte, split int) {
	o := object{dst: append(dst, '{')}
	o.str("schemaVersion", schemaVersion)
	o.uuid("id", d.id)
	o.str("type", string(d.typ))
	o.optional("phase", string(d.typ.Phase()))
	o.time("time", d.time)
	if d.reconstructed {
		o.open("reconstructed")
		if !d.queueTime.IsZero() {
			o.time("queueTime", d.queueTime)
		}
		o.close()
	}
	o.dst = append(o.dst, ',')
	split = len(o.dst)
	if d.state != "" {
		env.appendJob(&o, d)
	}
	o.dst = append(o.dst, env.correlation...)
	o.uuid("causationId", d.causationID)
	o.dst = append(o.dst, env.origin...)
	o.raw("inputs", d.inputs)
	if d.redaction != nil {
		d.redaction.append(&o)
	}
	o.close() // what
	o.dst = append(o.dst, env.place...)
	before := len(o.dst)
	o.open("data")
	empty := len(o.dst)
	d.data.append(&o)
	if len(o.dst) == empty {
		o.dst = o.dst[:before]
	} else {
		o.close()
	}
	return append(o.dst, '}'), split
}

func (env *envelope) appendJob(o *object, d *draft) {
	o.open("job")
	o.uuid("id", env.jobID)
	o.str("state", string(d.state))
	o.integer("attempt", int64(d.attempt))
	o.uuid("executionId", d.executionID)
	o.dst = append(o.dst, env.lineage...)
	if d.queue != (Ref{}) {
		o.open("queue")
		o.str("system", d.queue.System)
		o.str("id", d.queue.ID)
		o.close()
	}
	o.close()
}

// append appends the text, or the marker of a dropped or truncated one.
func (t text) append(dst []byte, limit int) []byte {
	if t.dropped != "" {
		return jsonenc.AppendDropped(dst, t.dropped)
	}
	return jsonenc.AppendText(dst, t.value, limit)
}

func (t text) empty() bool { return t == text{} }

// object appends the members of a JSON object whose brace is written.
type object struct{ dst []byte }

func (o *object) key(name string) {
	if c := o.dst[len(o.dst)-1]; c != '{' {
		o.dst = append(o.dst, ',')
	}
	o.dst = append(o.dst, '"')
	o.dst = append(o.dst, name...)
	o.dst = append(o.dst, '"', ':')
}

func (o *object) open(name string) {
	o.key(name)
	o.dst = append(o.dst, '{')
}

func (o *object) close() { o.dst = append(o.dst, '}') }

func (o *object) str(name, value string) {
	o.key(name)
	o.dst = jsonenc.AppendString(o.dst, value)
}

func (o *object) optional(name, value string) {
	if value != "" {
		o.str(name, value)
	}
}

func (o *object) text(name string, value text, limit int) {
	if !value.empty() {
		o.key(name)
		o.dst = value.append(o.dst, limit)
	}
}

func (o *object) integer(name string, value int64) {
	o.key(name)
	o.dst = strconv.AppendInt(o.dst, value, 10)
}

func (o *object) uuid(name string, value uuid.UUID) {
	if value != uuid.Nil {
		o.key(name)
		o.dst = jsonenc.AppendUUID(o.dst, value)
	}
}

func (o *object) hash(name string, value Hash) {
	o.key(name)
	o.dst = jsonenc.AppendHash(o.dst, value)
}

func (o *object) time(name string, value time.Time) {
	o.key(name)
	o.dst = jsonenc.AppendTime(o.dst, value)
}

func (o *object) raw(name string, value []byte) {
	if value != nil {
		o.key(name)
		o.dst = append(o.dst, value...)
	}
}

// more says behind a list of n entries how many of them were left out.
func (o *object) more(n int) {
	if n > maxList {
		o.integer("more", int64(n-maxList))
	}
}

// text is a free text that has been sanitized: what may be stored of it, or the rule
// that dropped it.
type text struct{ value, dropped string }

// describe encodes the parts of the envelope that all events of a Trail share.
// Its IDs are there already. Free texts are sanitized.
func (env *envelope) describe(s *Submission, where Source, d *sanitizer) {
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
func appendWho(dst []byte, s *Submission, d *sanitizer) []byte {
	start := len(dst)
	dst = appendWhoWith(dst, s, d, true)
	if len(dst)-start > maxWho {
		dst = appendWhoWith(dst[:start], s, d, false)
	}
	return dst
}

func appendWhoWith(dst []byte, s *Submission, d *sanitizer, names bool) []byte {
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
	if s.Upstream != (Ref{}) {
		o.open("upstream")
		o.str("system", s.Upstream.System)
		o.str("eventId", s.Upstream.ID)
		o.close()
	}
	return append(o.dst, '}')
}

func appendPrincipal(dst []byte, p Principal, d *sanitizer, name bool) []byte {
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

// What a Recorder hands over, and to whom.
type (
	stream     = delivery.Stream[Record]
	entry      = delivery.Entry[Record]
	streamHead = delivery.Head
)
