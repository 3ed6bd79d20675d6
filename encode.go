package jobaudit

import (
	"crypto/sha256"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

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
	queue       QueueRef

	causationID uuid.UUID
	inputs      []byte // JSON; only on submission
	redaction   *Redaction
	data        payload
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

// seal encodes d, appending to buf. Content shrinks to a truncated marker if
// the event would be too large otherwise.
func (env *envelope) seal(buf []byte, d *draft) sealed {
	start := len(buf)
	buf, split := env.appendEvent(buf, d)
	if excess := len(buf) - start + maxStreamPart - maxRecord; excess > 0 {
		d.shrink(excess)
		buf, split = env.appendEvent(buf[:start], d)
	}
	// The record's time is the one that its bytes tell.
	when := d.time.UTC().Truncate(time.Microsecond)
	return sealed{id: d.id, jobID: env.jobID, typ: d.typ, time: when, buf: buf[start:], split: split - start}
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

// position is an event's place in its stream. after is nil but on the first
// event of a resumed stream.
type position struct {
	stream uuid.UUID
	seq    uint64
	prev   Hash
	after  *streamHead
}

// streamHead names an event of a stream. A carrier's also holds its ID.
type streamHead struct {
	stream uuid.UUID
	seq    uint64
	hash   Hash
	event  uuid.UUID
}

// mint gives a sealed event its place and makes it a Record. It allocates the
// record's bytes and nothing else.
func (s *sealed) mint(p position) Record {
	leaf := make([]byte, 1, 1+len(s.buf)+p.size())
	leaf = append(leaf, s.buf[:s.split]...)
	leaf = p.append(leaf)
	leaf = append(leaf, s.buf[s.split:]...)
	return Record{leaf: leaf, hash: sha256.Sum256(leaf), id: s.id, jobID: s.jobID, typ: s.typ, time: s.time}
}

// size is at least what append appends.
func (p *position) size() int {
	if p.after != nil {
		return maxStreamPart
	}
	return maxStreamPart / 2
}

func (p *position) append(dst []byte) []byte {
	dst = append(dst, `"stream":{`...)
	o := object{dst: dst}
	o.uuid("id", p.stream)
	o.integer("seq", int64(p.seq))
	if p.seq > 1 {
		o.hash("prev", p.prev)
	}
	if p.after != nil {
		o.open("after")
		o.uuid("stream", p.after.stream)
		o.integer("seq", int64(p.after.seq))
		o.hash("hash", p.after.hash)
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
	if d.queue != (QueueRef{}) {
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
