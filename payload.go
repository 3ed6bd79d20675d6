package jobaudit

import (
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/jobaudit/jobaudit/internal/jsonenc"
)

// payload is the data of an event. Texts are sanitized.
type payload struct {
	decision   *decisionData
	output     []byte
	impact     text
	err        *errorData
	line       *text
	snapshot   *snapshotData
	heartbeat  *heartbeatData
	correction *correctionData
	existing   uuid.UUID
	evidence   *evidenceData
	lost       *lostData
	degraded   *degradedData
	erased     *erasedData
	recovery   []byte
	policy     []byte
}

type decisionData struct {
	allowed        bool
	by, permission string
	reason         text
}

type errorData struct {
	code       ErrorCode
	message    text
	typ, frame string
}

type snapshotData struct {
	resource text
	after    bool
	digest   string
	summary  text
}

type heartbeatData struct {
	progress *struct{ Done, Total int64 }
	deadline time.Time // zero if no further sign of life is promised
}

type correctionData struct {
	of       uuid.UUID
	reversal bool
	reason   text
	value    []byte
}

type lostData struct {
	count    int
	types    []EventType
	from, to time.Time
}

// evidenceData is what a verdict rests on. beat, beatTime and deadline may be
// zero.
type evidenceData struct {
	last               uuid.UUID
	lastType           EventType
	lastTime           time.Time
	beat               uuid.UUID
	beatTime, deadline time.Time
	stream             uuid.UUID // the owner's
	host, instance     string
}

type degradedData struct {
	stream, event uuid.UUID
	count         int
	reason        text
}

type erasedData struct {
	keys   []string
	reason text
}

func (p *payload) append(o *object) {
	if p.decision != nil {
		p.decision.append(o)
	}
	o.raw("output", p.output)
	o.text("impact", p.impact, maxText)
	if p.err != nil {
		p.err.append(o)
	}
	if p.line != nil {
		o.key("line")
		o.dst = p.line.append(o.dst, maxLine)
	}
	if p.snapshot != nil {
		p.snapshot.append(o)
	}
	if p.heartbeat != nil {
		p.heartbeat.append(o)
	}
	if p.correction != nil {
		p.correction.append(o)
	}
	o.uuid("existing", p.existing)
	if p.evidence != nil {
		p.evidence.append(o)
	}
	if p.lost != nil {
		p.lost.append(o)
	}
	if p.degraded != nil {
		p.degraded.append(o)
	}
	if p.erased != nil {
		p.erased.append(o)
	}
	o.raw("recovery", p.recovery)
	o.raw("policy", p.policy)
}

func (d *decisionData) append(o *object) {
	o.open("decision")
	o.key("allowed")
	o.dst = strconv.AppendBool(o.dst, d.allowed)
	o.str("by", d.by)
	o.optional("permission", d.permission)
	o.text("reason", d.reason, maxText)
	o.close()
}

func (e *errorData) append(o *object) {
	o.open("error")
	o.str("code", string(e.code))
	o.key("message")
	o.dst = e.message.append(o.dst, maxText)
	o.optional("type", jsonenc.Head(e.typ, maxIdentifier))
	o.optional("frame", jsonenc.Head(e.frame, maxIdentifier))
	o.close()
}

func (s *snapshotData) append(o *object) {
	o.open("snapshot")
	o.text("resource", s.resource, maxIdentifier)
	o.str("moment", moment(s.after))
	o.str("digest", s.digest)
	o.text("summary", s.summary, maxText)
	o.close()
}

func (h *heartbeatData) append(o *object) {
	o.open("heartbeat")
	if h.progress != nil {
		o.open("progress")
		o.integer("done", h.progress.Done)
		if h.progress.Total != 0 {
			o.integer("total", h.progress.Total)
		}
		o.close()
	}
	if !h.deadline.IsZero() {
		o.time("deadline", h.deadline)
	}
	o.close()
}

func (c *correctionData) append(o *object) {
	o.open("correction")
	o.uuid("of", c.of)
	o.str("kind", kind(c.reversal))
	o.key("reason")
	o.dst = c.reason.append(o.dst, maxText)
	o.raw("value", c.value)
	o.close()
}

func (l *lostData) append(o *object) {
	o.open("lost")
	o.integer("count", int64(l.count))
	o.key("types")
	o.dst = append(o.dst, '[')
	for i, typ := range l.types[:min(len(l.types), maxList)] {
		if i > 0 {
			o.dst = append(o.dst, ',')
		}
		o.dst = jsonenc.AppendString(o.dst, string(typ))
	}
	o.dst = append(o.dst, ']')
	o.more(len(l.types))
	o.time("from", l.from)
	o.time("to", l.to)
	o.close()
}

func (e *evidenceData) append(o *object) {
	o.open("evidence")
	o.open("last")
	o.uuid("id", e.last)
	o.str("type", string(e.lastType))
	o.time("time", e.lastTime)
	o.close()
	if e.beat != uuid.Nil {
		o.open("heartbeat")
		o.uuid("id", e.beat)
		o.time("time", e.beatTime)
		o.close()
	}
	if !e.deadline.IsZero() {
		o.time("deadline", e.deadline)
	}
	o.open("owner")
	o.uuid("stream", e.stream)
	o.str("host", e.host)
	o.str("instance", e.instance)
	o.close()
	o.close()
}

func (d *degradedData) append(o *object) {
	o.open("degraded")
	o.uuid("stream", d.stream)
	o.uuid("event", d.event)
	o.integer("count", int64(d.count))
	o.text("reason", d.reason, maxText)
	o.close()
}

func (e *erasedData) append(o *object) {
	o.open("erased")
	o.key("keys")
	o.dst = append(o.dst, '[')
	for i, id := range e.keys[:min(len(e.keys), maxList)] {
		if i > 0 {
			o.dst = append(o.dst, ',')
		}
		o.dst = jsonenc.AppendString(o.dst, jsonenc.Head(id, maxIdentifier))
	}
	o.dst = append(o.dst, ']')
	o.more(len(e.keys))
	o.text("reason", e.reason, maxText)
	o.close()
}

func (r *Redaction) append(o *object) {
	o.open("redaction")
	o.optional("policy", r.Policy)
	o.optional("version", r.Version)
	if r.Digest != (Hash{}) {
		o.hash("digest", r.Digest)
	}
	o.str("outcome", string(r.Outcome))
	count := r.RemovedCount
	if len(r.Removed) > 0 {
		o.key("removed")
		o.dst = append(o.dst, '[')
		for i, removed := range r.Removed[:min(len(r.Removed), maxList)] {
			o.dst = appendPair(o.dst, i, "path", removed.Path, "class", removed.Class)
		}
		o.dst = append(o.dst, ']')
		count += max(len(r.Removed)-maxList, 0)
	}
	if count > 0 {
		o.integer("removedCount", int64(count))
	}
	if len(r.Hits) > 0 {
		o.key("hits")
		o.dst = append(o.dst, '[')
		for i, hit := range r.Hits[:min(len(r.Hits), maxList)] {
			o.dst = appendPair(o.dst, i, "path", hit.Path, "rule", hit.Rule)
		}
		o.dst = append(o.dst, ']')
		o.more(len(r.Hits))
	}
	o.optional("taint", r.Taint)
	o.close()
}

func appendPair(dst []byte, i int, key1, value1, key2, value2 string) []byte {
	if i > 0 {
		dst = append(dst, ',')
	}
	o := object{dst: append(dst, '{')}
	o.str(key1, jsonenc.Head(value1, maxIdentifier))
	o.str(key2, jsonenc.Head(value2, maxIdentifier))
	return append(o.dst, '}')
}

func moment(after bool) string {
	if after {
		return "after"
	}
	return "before"
}

func kind(reversal bool) string {
	if reversal {
		return "reversal"
	}
	return "correction"
}

// append appends the report as JSON.
func (v *Recovery) append(dst []byte) []byte {
	o := object{dst: append(dst, '{')}
	o.uuid("incarnation", v.Incarnation)
	o.key("closed")
	o.dst = fmt.Appendf(o.dst, "%t", v.Closed)
	o.head("head", v.Head)
	o.head("anchor", v.Anchor)
	if v.TornBytes > 0 {
		o.open("torn")
		o.integer("bytes", v.TornBytes)
		o.hash("sha256", v.TornSHA256)
		o.heads("heads", v.TornHeads)
		o.close()
	}
	o.text("predecessor", text{value: v.Predecessor}, maxIdentifier)
	if n := len(v.Overrides); n > 0 {
		o.key("overrides")
		o.dst = append(o.dst, '[')
		for i, name := range v.Overrides[:min(n, maxList)] {
			if i > 0 {
				o.dst = append(o.dst, ',')
			}
			o.dst = text{value: name}.append(o.dst, maxIdentifier)
		}
		o.dst = append(o.dst, ']')
		o.more(n)
	}
	return append(o.dst, '}')
}

func (o *object) head(name string, h *tlog.Tree) {
	if h != nil {
		o.open(name)
		o.integer("size", h.N)
		o.hash("root", h.Hash)
		o.close()
	}
}

func (o *object) heads(name string, list []tlog.Tree) {
	o.key(name)
	o.dst = append(o.dst, '[')
	for i, h := range list[:min(len(list), maxList)] {
		if i > 0 {
			o.dst = append(o.dst, ',')
		}
		o.dst = append(o.dst, '{')
		o.integer("size", h.N)
		o.hash("root", h.Hash)
		o.close()
	}
	o.dst = append(o.dst, ']')
	o.more(len(list))
}
