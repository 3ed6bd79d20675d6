package jobaudit

import (
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/jobaudit/jobaudit/internal/environ"
	"github.com/jobaudit/jobaudit/internal/fields"
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
	act        *actData

	affected    *affectedData
	missing     []string // snapshots
	environment *environment
	companionOf *companionData
	recovery    []byte
	policy      []byte
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
	value    []byte
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
	count    int64
	types    []EventType
	more     int64
	from, to time.Time
}

// evidenceData is what a verdict rests on. heartbeat, heartbeatTime and deadline
// may be zero.
type evidenceData struct {
	last                    uuid.UUID
	lastType                EventType
	lastTime                time.Time
	heartbeat               uuid.UUID
	heartbeatTime, deadline time.Time
	stream                  uuid.UUID // the owner's
	host, instance          string
}

type degradedData struct {
	stream, event uuid.UUID
	count         int64
	reason        text
}

type erasedData struct {
	keys   []string
	more   int64 // further keys, whose IDs cannot be stored
	reason text
}

func (p *payload) append(o *object) {
	if p.decision != nil {
		p.decision.append(o)
	}
	o.Raw("output", p.output)
	o.text("impact", p.impact)
	if p.err != nil {
		p.err.append(o)
	}
	if p.line != nil {
		o.must("line", *p.line)
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
	if p.existing != uuid.Nil {
		o.UUID("existing", p.existing)
	}
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
	o.Raw("recovery", p.recovery)
	o.Raw("policy", p.policy)
	if p.act != nil {
		p.act.append(o)
	}
	if p.affected != nil {
		p.affected.append(o)
	}
	if n := len(p.missing); n > 0 {
		o.List("missing", n, func(i int) { o.StringElement(p.missing[i]) })
	}
	if p.environment != nil {
		p.environment.append(o)
	}
	if p.companionOf != nil {
		p.companionOf.append(o)
	}
}

func (d *decisionData) append(o *object) {
	o.Open("decision")
	o.Bool("allowed", d.allowed)
	o.String("by", d.by)
	o.Optional("permission", d.permission)
	o.text("reason", d.reason)
	o.Close()
}

func (e *errorData) append(o *object) {
	o.Open("error")
	o.String("code", string(e.code))
	o.must("message", e.message)
	o.Cut("type", e.typ)
	o.Cut("frame", e.frame)
	o.Close()
}

func (s *snapshotData) append(o *object) {
	o.Open("snapshot")
	o.text("resource", s.resource)
	o.String("moment", moment(s.after))
	o.String("digest", s.digest)
	o.text("summary", s.summary)
	o.Raw("value", s.value)
	o.Close()
}

func (h *heartbeatData) append(o *object) {
	o.Open("heartbeat")
	if h.progress != nil {
		o.Open("progress")
		o.Integer("done", h.progress.Done)
		if h.progress.Total != 0 {
			o.Integer("total", h.progress.Total)
		}
		o.Close()
	}
	if !h.deadline.IsZero() {
		o.Time("deadline", h.deadline)
	}
	o.Close()
}

func (c *correctionData) append(o *object) {
	o.Open("correction")
	o.UUID("of", c.of)
	o.String("kind", kind(c.reversal))
	o.must("reason", c.reason)
	o.Raw("value", c.value)
	o.Close()
}

func (l *lostData) append(o *object) {
	o.Open("lost")
	o.Integer("count", l.count)
	o.List("types", len(l.types), func(i int) { o.StringElement(string(l.types[i])) })
	o.more(len(l.types), l.more)
	o.Time("from", l.from)
	o.Time("to", l.to)
	o.Close()
}

func (e *evidenceData) append(o *object) {
	o.Open("evidence")
	o.Open("last")
	o.UUID("id", e.last)
	o.String("type", string(e.lastType))
	o.Time("time", e.lastTime)
	o.Close()
	if e.heartbeat != uuid.Nil {
		o.Open("heartbeat")
		o.UUID("id", e.heartbeat)
		o.Time("time", e.heartbeatTime)
		o.Close()
	}
	if !e.deadline.IsZero() {
		o.Time("deadline", e.deadline)
	}
	o.Open("owner")
	o.UUID("stream", e.stream)
	o.String("host", e.host)
	o.String("instance", e.instance)
	o.Close()
	o.Close()
}

func (d *degradedData) append(o *object) {
	o.Open("degraded")
	o.UUID("stream", d.stream)
	o.UUID("event", d.event)
	o.Integer("count", d.count)
	o.text("reason", d.reason)
	o.Close()
}

func (e *erasedData) append(o *object) {
	o.Open("erased")
	o.List("keys", len(e.keys), func(i int) { o.StringElement(e.keys[i]) })
	o.more(len(e.keys), e.more)
	o.text("reason", e.reason)
	o.Close()
}

func (r *Redaction) append(o *object) {
	o.Open("redaction")
	o.Optional("policy", r.Policy)
	o.Optional("version", r.Version)
	if r.Digest != (Hash{}) {
		o.Hash("digest", r.Digest)
	}
	o.String("outcome", string(r.Outcome))
	count := r.RemovedCount
	if len(r.Removed) > 0 {
		o.List("removed", len(r.Removed), func(i int) {
			o.pair("path", r.Removed[i].Path, "class", r.Removed[i].Class)
		})
		count += int64(max(len(r.Removed)-fields.MaxList, 0))
	}
	if count > 0 {
		o.Integer("removedCount", count)
	}
	if len(r.Hits) > 0 {
		o.List("hits", len(r.Hits), func(i int) { o.pair("path", r.Hits[i].Path, "rule", r.Hits[i].Rule) })
		o.more(len(r.Hits), r.More)
	}
	o.Optional("taint", r.Taint)
	o.Close()
}

func (o *object) pair(key1, value1, key2, value2 string) {
	o.OpenElement()
	o.cutOrEmpty(key1, value1)
	o.cutOrEmpty(key2, value2)
	o.Close()
}

// cutOrEmpty is Cut for a field that is always there.
func (o *object) cutOrEmpty(name, value string) {
	if value == "" {
		o.String(name, value)
		return
	}
	o.Cut(name, value)
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
	o := newObject(append(dst, '{'), fields.Recovery())
	o.UUID("incarnation", v.Incarnation)
	o.Bool("closed", v.Closed)
	o.head("head", v.Head)
	o.head("anchor", v.Anchor)
	if v.TornBytes > 0 || len(v.TornHeads) > 0 {
		o.Open("torn")
		o.Integer("bytes", v.TornBytes)
		o.Hash("sha256", v.TornSHA256)
		o.List("heads", len(v.TornHeads), func(i int) {
			o.OpenElement()
			o.sizeAndRoot(v.TornHeads[i])
			o.Close()
		})
		o.more(len(v.TornHeads), 0)
		if n := len(v.TornFiles); n > 0 {
			o.List("files", n, func(i int) { o.TextElement(v.TornFiles[i]) })
		}
		o.Close()
	}
	o.text("predecessor", text{value: v.Predecessor})
	if n := len(v.Overrides); n > 0 {
		o.List("overrides", n, func(i int) { o.TextElement(v.Overrides[i]) })
		o.more(n, 0)
	}
	if n := len(v.Warnings); n > 0 {
		o.List("warnings", n, func(i int) { o.TextElement(v.Warnings[i]) })
	}
	return append(o.Dst, '}')
}

func (o *object) head(name string, h *tlog.Tree) {
	if h != nil {
		o.Open(name)
		o.sizeAndRoot(*h)
		o.Close()
	}
}

func (o *object) sizeAndRoot(h tlog.Tree) {
	o.Integer("size", h.N)
	o.Hash("root", h.Hash)
}

// environment is what an audit.opened event says of the process that its
// recorder runs in. Starts refer to it by their where.instance.
type environment struct {
	*environ.Process
	image        string
	orchestrator map[string]string
	facts        []byte
}

func (e *environment) append(o *object) {
	o.Open("environment")
	o.Cut("go", e.Go)
	o.Cut("os", e.OS)
	o.Cut("arch", e.Arch)
	if e.Path != "" {
		o.Open("module")
		o.Cut("path", e.Path)
		o.Cut("version", e.Version)
		o.Close()
	}
	if e.Revision != "" {
		o.Open("vcs")
		o.Cut("revision", e.Revision)
		o.Cut("time", e.Time)
		o.Bool("modified", e.Modified)
		o.Close()
	}
	if e.Dependencies != nil {
		o.Hash("dependencies", Hash(*e.Dependencies))
	}
	o.Optional("image", e.image)
	if names := slices.Sorted(maps.Keys(e.orchestrator)); len(names) > 0 {
		o.List("orchestrator", len(names), func(i int) {
			o.OpenElement()
			o.String("name", names[i])
			o.String("value", e.orchestrator[names[i]])
			o.Close()
		})
	}
	if c := e.Clock; c != nil {
		o.Open("clock")
		o.Bool("synchronized", c.Synchronized)
		o.Integer("errorMicros", c.ErrorMicros)
		o.Cut("source", c.Source)
		o.Close()
	}
	o.Raw("facts", e.facts)
	o.Close()
}

// companionData names the log that acts in this one are about.
type companionData struct {
	origin string
	head   tlog.Tree
}

func (c *companionData) append(o *object) {
	o.Open("companionOf")
	o.String("origin", c.origin)
	o.sizeAndRoot(c.head)
	o.Close()
}

type affectedData struct {
	count int64
	unit  string
}

func (a *affectedData) append(o *object) {
	o.Open("affected")
	o.Integer("count", a.count)
	o.String("unit", a.unit)
	o.Close()
}

// actData is what an act says of itself.
type actData struct {
	scope Query
	data  []byte
}

func (a *actData) append(o *object) {
	o.Open("act")
	o.scope(&a.scope)
	if a.data != nil {
		o.Raw("data", a.data)
	}
	o.Close()
}

// scope writes a scope unless it is that of all records.
func (o *object) scope(q *Query) {
	before := len(o.Dst)
	o.Open("scope")
	empty := len(o.Dst)
	o.UUID("jobId", q.JobID)
	o.UUID("correlationId", q.CorrelationID)
	o.UUID("rootId", q.RootID)
	o.Optional("principalId", q.PrincipalID)
	o.Optional("actingFor", q.ActingFor)
	o.Optional("orgId", q.OrgID)
	o.Optional("action", q.Action)
	o.Optional("resource", q.Resource)
	if len(q.Types) > 0 {
		o.List("types", len(q.Types), func(i int) { o.StringElement(string(q.Types[i])) })
	}
	o.Optional("state", string(q.State))
	o.Optional("errorCode", string(q.ErrorCode))
	if !q.Since.IsZero() {
		o.Time("since", q.Since)
	}
	if !q.Until.IsZero() {
		o.Time("until", q.Until)
	}
	isEmpty := len(o.Dst) == empty
	o.Close()
	if isEmpty {
		o.Dst = o.Dst[:before]
	}
}
