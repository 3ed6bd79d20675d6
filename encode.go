package jobaudit

import (
	"cmp"
	"crypto/sha256"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit/internal/delivery"
	"github.com/jobaudit/jobaudit/internal/fields"
	"github.com/jobaudit/jobaudit/internal/jsonenc"
)

const (
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
	proof                            proof
	more                             int64 // principals on whose behalf, beyond those of a record that this follows

	// Encoded once, each with the comma before it:
	lineage     []byte // the job's parent, root and retryOf
	correlation []byte
	origin      []byte // from requestId to what, which is still open
	place       []byte // where and why

	err *fields.Error // what is wrong with them
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

	by            *envelope // of a principal other than the job's; nil if it is theirs
	reconstructed bool      // from what a queue's own table tells
	queueTime     time.Time // when that says it happened; zero if it does not
}

// encoded is an encoded event that still lacks its stream object: buf[:split]
// comes before it, buf[split:] after.
type encoded struct {
	id    uuid.UUID
	jobID uuid.UUID
	typ   EventType
	time  time.Time
	buf   []byte
	split int
	err   *fields.Error // why no reader would accept it
}

// encodedPool holds encoded events that have their place, for their buffers.
var encodedPool = sync.Pool{New: func() any { return new(encoded) }}

func (s *encoded) ID() uuid.UUID { return s.id }

func (s *encoded) Size() int { return len(s.buf) }

// encode encodes d. Content shrinks to a truncated marker if the event would be
// too large otherwise.
func (env *envelope) encode(d *draft) *encoded {
	s := encodedPool.Get().(*encoded)
	buf, split, err := env.appendEvent(s.buf[:0], d)
	if excess := len(buf) + maxStreamPart - fields.MaxRecord; excess > 0 {
		d.shrink(excess)
		buf, split, err = env.appendEvent(buf[:0], d)
	}
	// The record's time is the one that its bytes tell.
	when := d.time.UTC().Truncate(time.Microsecond)
	*s = encoded{id: d.id, jobID: env.jobID, typ: d.typ, time: when, buf: buf, split: split, err: cmp.Or(env.err, err)}
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
	if s := d.data.snapshot; s != nil && len(s.value) > len(*largest) {
		largest = &s.value
	}
	if e := d.data.environment; e != nil && len(e.facts) > len(*largest) {
		largest = &e.facts
	}
	if a := d.data.act; a != nil && len(a.data) > len(*largest) {
		largest = &a.data
	}
	*largest = jsonenc.Shrink(*largest, max(len(*largest)-excess, 256))
}

// Place gives an encoded event its place and makes it a Record. It allocates the
// record's bytes, unless there is room for them, and nothing else. It is the last check, and the reason that
// nothing is stored which cannot be read: what [ParseRecord] would refuse is a
// [*RecordError] here. Everything that can make an event so is checked earlier,
// where its caller learns which field it is.
func (s *encoded) Place(p delivery.Position, room []byte) (Record, []byte, error) {
	need := 1 + len(s.buf) + maxStreamPart/2
	if p.After != nil {
		need = 1 + len(s.buf) + maxStreamPart
	}
	leaf := room[len(room):]
	if cap(leaf) < need {
		leaf, room = make([]byte, 0, need), nil
	}
	leaf = append(leaf, 0)
	leaf = append(leaf, s.buf[:s.split]...)
	leaf, err := appendPosition(leaf, p)
	leaf = slices.Clip(append(leaf, s.buf[s.split:]...))
	r := Record{leaf: leaf, hash: sha256.Sum256(leaf), id: s.id, jobID: s.jobID, typ: s.typ, time: s.time}
	problem := cmp.Or(s.err, err)
	if problem == nil && r.Len() > fields.MaxRecord {
		problem = &fields.Error{Problem: "the event is too large"}
	}
	*s = encoded{buf: s.buf[:0]}
	encodedPool.Put(s)
	if problem != nil {
		return Record{}, room, &RecordError{ID: r.id, Err: fieldError(problem)}
	}
	if room != nil {
		room = room[:len(room)+len(leaf)]
	}
	return r, room, nil
}

func appendPosition(dst []byte, p delivery.Position) ([]byte, *fields.Error) {
	o := newObject(append(dst, `"stream":{`...), streamFields())
	o.UUID("id", p.Stream)
	o.Integer("seq", int64(p.Seq))
	if p.Seq > 1 {
		o.Hash("prev", p.Prev)
	}
	if p.After != nil {
		o.Open("after")
		o.UUID("stream", p.After.Stream)
		o.Integer("seq", int64(p.After.Seq))
		o.Hash("hash", p.After.Hash)
		o.Close()
	}
	return append(o.Dst, '}'), o.Err()
}

var streamFields = sync.OnceValue(func() *fields.Field { return fields.Event().Member("stream") })

// appendEvent appends the event without its stream object and returns where in
// dst that belongs.
func (env *envelope) appendEvent(dst []byte, d *draft) (out []byte, split int, err *fields.Error) {
	o := newObject(append(dst, '{'), fields.Event())
	o.String("schemaVersion", schemaVersion)
	o.UUID("id", d.id)
	o.String("type", string(d.typ))
	o.Optional("phase", string(d.typ.Phase()))
	o.Time("time", d.time)
	if d.reconstructed {
		o.Open("reconstructed")
		if !d.queueTime.IsZero() {
			o.Time("queueTime", d.queueTime)
		}
		o.Close()
	}
	o.Dst = append(o.Dst, ',')
	split = len(o.Dst)
	if d.state != "" {
		env.appendJob(&o, d)
	}
	o.Dst = append(o.Dst, env.correlation...)
	o.UUID("causationId", d.causationID)
	o.Dst = append(o.Dst, env.origin...)
	o.Enter("what")
	o.Raw("inputs", d.inputs)
	if d.redaction != nil {
		d.redaction.append(&o)
	}
	o.Close() // what
	o.Dst = append(o.Dst, env.place...)
	before := len(o.Dst)
	o.Open("data")
	empty := len(o.Dst)
	d.data.append(&o)
	isEmpty := len(o.Dst) == empty
	o.Close()
	if isEmpty {
		o.Dst = o.Dst[:before]
	}
	return append(o.Dst, '}'), split, o.Err()
}

func (env *envelope) appendJob(o *object, d *draft) {
	o.Open("job")
	o.UUID("id", env.jobID)
	o.String("state", string(d.state))
	o.Integer("attempt", int64(d.attempt))
	o.UUID("executionId", d.executionID)
	o.Dst = append(o.Dst, env.lineage...)
	if d.queue != (Ref{}) {
		o.Open("queue")
		o.String("system", d.queue.System)
		o.String("id", d.queue.ID)
		o.Close()
	}
	o.Close()
}

func (t text) empty() bool { return t == text{} }

// object writes the members of a JSON object by the table of its fields.
type object struct{ fields.Writer }

func newObject(dst []byte, table *fields.Field) object {
	return object{fields.NewWriter(dst, table)}
}

// text writes a text unless it is empty.
func (o *object) text(name string, value text) {
	if !value.empty() {
		o.must(name, value)
	}
}

// must writes a text that is always there.
func (o *object) must(name string, value text) { o.Text(name, value.value, value.dropped) }

// more says behind a list of n entries how many of them, and of others, were
// left out.
func (o *object) more(n int, others int64) {
	if others = saturated(others, n-fields.MaxList); others > 0 {
		o.Integer("more", others)
	}
}

// saturated adds what was left out to what others have left out, which may be what
// somebody else claims, as far as it can be stored.
func saturated(others int64, left int) int64 {
	return min(others+int64(max(left, 0)), fields.MaxCount)
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
	o := newObject(append(make([]byte, 0, 768), ' '), fields.Event()) // not a brace: there is a member before each
	part := func(write func()) []byte {
		start := len(o.Dst)
		write()
		return o.Dst[start:len(o.Dst):len(o.Dst)]
	}
	if env.jobID != uuid.Nil {
		o.Enter("job")
		env.lineage = part(func() {
			o.UUID("parentId", env.parentID)
			o.UUID("rootId", env.rootID)
			o.UUID("retryOf", env.retryOf)
		})
		o.Leave()
	}
	env.correlation = part(func() { o.UUID("correlationId", env.correlationID) })
	env.origin = part(func() {
		o.UUID("requestId", env.requestID)
		o.Optional("traceparent", env.traceParent)
		o.who(s, d, env)
		o.Open("what")
		o.String("action", s.Action)
		o.text("resource", env.resource)
	})
	o.Leave()
	env.place = part(func() {
		where.Target, where.SourceIP = s.Target, s.SourceIP
		o.where(where)
		o.Open("why")
		o.String("trigger", string(s.Trigger.Kind))
		o.must("reason", d.text(s.Trigger.Reason))
		o.Optional("ref", s.Trigger.Ref)
		o.Close()
	})
	env.err = o.Err()
}

// who leaves names of principals on whose behalf the job runs out if they make
// it too long.
func (o *object) who(s *Submission, d *sanitizer, env *envelope) {
	start := len(o.Dst)
	o.whoWith(s, d, env, true)
	if len(o.Dst)-start > maxWho {
		o.Dst = o.Dst[:start]
		o.whoWith(s, d, env, false)
	}
}

func (o *object) whoWith(s *Submission, d *sanitizer, env *envelope, names bool) {
	o.Open("who")
	o.Open("principal")
	o.principal(s.Principal, d, true)
	o.Close()
	o.String("orgId", s.OrgID)
	if n := len(s.OnBehalfOf); n > 0 {
		o.List("onBehalfOf", n, func(i int) {
			o.OpenElement()
			o.principal(s.OnBehalfOf[i], d, names)
			o.Close()
		})
	}
	o.more(len(s.OnBehalfOf), env.more) // also where a Carrier had no room for any
	if s.Upstream != (Ref{}) {
		o.Open("upstream")
		o.String("system", s.Upstream.System)
		o.String("eventId", s.Upstream.ID)
		o.Close()
	}
	if p := env.proof; p != (proof{}) {
		o.Open("proof")
		o.String("carrier", p.carrier)
		o.UUID("submission", p.submission)
		o.Close()
	}
	o.Close()
}

// proof says that a signed Carrier brought the job: with which key, and in which
// stream the submission stands that it was made for.
type proof struct {
	carrier    string
	submission uuid.UUID
}

func (o *object) principal(p Principal, d *sanitizer, name bool) {
	o.String("kind", string(p.Kind))
	o.String("id", p.ID)
	if name && p.Name != "" {
		o.must("name", d.text(p.Name))
	}
	o.String("assurance", assurance(p.Verified))
	if p.AuthMethod != "" || p.AuthSession != "" {
		o.Open("auth")
		o.Optional("method", p.AuthMethod)
		o.Optional("session", p.AuthSession)
		o.Close()
	}
}

func assurance(verified bool) string {
	if verified {
		return "verified"
	}
	return "claimed"
}

func (o *object) where(s Source) {
	o.Open("where")
	o.String("system", s.System)
	o.String("environment", s.Environment)
	o.String("host", s.Host)
	o.String("instance", s.Instance)
	o.Optional("target", s.Target)
	o.String("version", s.Version)
	if s.SourceIP.IsValid() {
		o.String("sourceIp", s.SourceIP.String())
	}
	o.Close()
}

// What a Recorder hands over, and to whom.
type (
	stream     = delivery.Stream[Record]
	entry      = delivery.Entry[Record]
	streamHead = delivery.Head
)
