package sinktest

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/jobaudit/jobaudit"
)

// Records returns n well-formed records: the trails of one job after the
// other, each with a submission, an authorization, a start, a log line and an
// outcome. All IDs are new at each call. It panics if n is negative.
func Records(n int) []jobaudit.Record {
	records := make([]jobaudit.Record, 0, n)
	for len(records) < n {
		trail := newAuthor().trail()
		records = append(records, trail[:min(len(trail), n-len(records))]...)
	}
	return records
}

// author writes the events of one stream of one job, by hand: a sink has to
// take what a Recorder could have written, not only what this one writes.
type author struct {
	stream, job, root, correlation id
	principal, org, action         string
	resource                       string
	behalf                         []string           // IDs of those on whose behalf the principal acts
	fails                          jobaudit.ErrorCode // how the trail ends, if not well
	now                            time.Time

	seq  uint64
	prev jobaudit.Hash
}

func newAuthor() *author {
	job := newID()
	return &author{
		stream: newID(), job: job, root: job, correlation: newID(),
		principal: "u-1", org: "acme", action: "reindex",
		now: time.Date(2026, 2, 3, 4, 5, 6, 789_000_000, time.UTC),
	}
}

// id is a UUID. The suite imports nothing but the standard library and the
// root.
type id [16]byte

// newID returns a UUIDv7.
func newID() id {
	var u id
	rand.Read(u[6:]) // it never fails
	ms := time.Now().UnixMilli()
	for i := range 6 {
		u[i] = byte(ms >> (40 - 8*i))
	}
	u[6] = 0x70 | u[6]&0x0f
	u[8] = 0x80 | u[8]&0x3f
	return u
}

func (u id) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// entry is what one event says beyond what all of a stream have in common.
// The JSON texts stand in the line as they are.
type entry struct {
	id     id // default: a new one
	typ    jobaudit.EventType
	state  jobaudit.JobState
	inputs string // JSON
	data   string // JSON
	extra  string // members behind data, each with a comma before it
}

// line returns the line of the stream's next event.
func (a *author) line(e entry) string {
	if e.id == (id{}) {
		e.id = newID()
	}
	var b strings.Builder
	fmt.Fprintf(&b, `{"schemaVersion":"1.0.0","id":"%s","type":"%s"`, e.id, e.typ)
	if phase := e.typ.Phase(); phase != "" {
		fmt.Fprintf(&b, `,"phase":"%s"`, phase)
	}
	fmt.Fprintf(&b, `,"time":"%s"`, a.now.Format("2006-01-02T15:04:05.000000Z"))
	fmt.Fprintf(&b, `,"stream":{"id":"%s","seq":%d`, a.stream, a.seq+1)
	if a.seq > 0 {
		fmt.Fprintf(&b, `,"prev":"%s"`, a.prev)
	}
	fmt.Fprintf(&b, `},"job":{"id":"%s","state":"%s","attempt":1,"rootId":"%s"}`, a.job, e.state, a.root)
	fmt.Fprintf(&b, `,"correlationId":"%s","requestId":"%s"`, a.correlation, a.job)
	fmt.Fprintf(&b, `,"who":{"principal":{"kind":"user","id":%s,"assurance":"verified"},"orgId":%s`, quote(a.principal), quote(a.org))
	for i, other := range a.behalf {
		b.WriteString([]string{`,"onBehalfOf":[`, ","}[min(i, 1)])
		fmt.Fprintf(&b, `{"kind":"user","id":%s,"assurance":"claimed"}`, quote(other))
	}
	if len(a.behalf) > 0 {
		b.WriteString("]")
	}
	fmt.Fprintf(&b, `},"what":{"action":%s`, quote(a.action))
	if a.resource != "" {
		fmt.Fprintf(&b, `,"resource":%s`, quote(a.resource))
	}
	if e.inputs != "" {
		fmt.Fprintf(&b, `,"inputs":%s`, e.inputs)
	}
	b.WriteString(`},"where":{"system":"sinktest","environment":"test","host":"h","instance":"i","version":"v"}`)
	b.WriteString(`,"why":{"trigger":"manual","reason":"conformance"}`)
	if e.data != "" {
		fmt.Fprintf(&b, `,"data":%s`, e.data)
	}
	return b.String() + e.extra + "}"
}

// next returns the stream's next record.
func (a *author) next(e entry) jobaudit.Record {
	line := a.line(e)
	r, err := jobaudit.ParseRecord([]byte(line))
	if err != nil {
		panic(fmt.Sprintf("sinktest: the suite's own record is refused: %v\n%s", err, line))
	}
	a.seq++
	a.prev = r.Hash()
	a.now = a.now.Add(time.Millisecond)
	return r
}

// twin returns a record with the ID of r and other bytes, as a fork of r's
// stream would have it.
func (a *author) twin(r jobaudit.Record) jobaudit.Record {
	fork := *a
	fork.stream, fork.seq = newID(), 0
	return fork.next(entry{id: id(r.ID()), typ: jobaudit.JobLogged, state: jobaudit.Running, data: `{"line":"another"}`})
}

// trail returns the records of a job from submission to its end.
func (a *author) trail() []jobaudit.Record {
	end := entry{typ: jobaudit.JobSucceeded, state: jobaudit.Success, data: `{"output":{"documents":1204},"impact":"1,204 documents"}`}
	if a.fails != "" {
		end = entry{typ: jobaudit.JobFailed, state: jobaudit.Failed, data: `{"error":{"code":` + quote(string(a.fails)) + `,"message":"no space left"}}`}
	}
	return []jobaudit.Record{
		a.next(entry{typ: jobaudit.JobSubmitted, state: jobaudit.Pending, inputs: `{"index":"orders","shards":4}`}),
		a.next(entry{typ: jobaudit.JobAuthorized, state: jobaudit.Pending, data: `{"decision":{"allowed":true,"by":"none"}}`}),
		a.next(entry{typ: jobaudit.JobStarted, state: jobaudit.Running}),
		a.log("half of it"),
		a.next(end),
	}
}

// log returns a record with a log line.
func (a *author) log(line string) jobaudit.Record {
	return a.next(entry{typ: jobaudit.JobLogged, state: jobaudit.Running, data: `{"line":` + quote(line) + `}`})
}

// logs returns n records with a log line.
func (a *author) logs(n int) []jobaudit.Record {
	records := make([]jobaudit.Record, n)
	for i := range records {
		records[i] = a.log(fmt.Sprint("line ", i))
	}
	return records
}

// nasty returns records whose bytes do not survive a medium that decodes and
// encodes them again, or that takes text for less than it is.
func (a *author) nasty() []jobaudit.Record {
	log := func(line, extra string) jobaudit.Record {
		return a.next(entry{typ: jobaudit.JobLogged, state: jobaudit.Running, data: `{"line":` + line + `}`, extra: extra})
	}
	submit := func(inputs string) jobaudit.Record {
		return a.next(entry{typ: jobaudit.JobSubmitted, state: jobaudit.Pending, inputs: inputs})
	}
	fit := func(size int) jobaudit.Record { // by a field of a later version: those known have their limits
		pad := func(n int) entry {
			return entry{typ: jobaudit.JobLogged, state: jobaudit.Running, data: `{"line":"x"}`, extra: `,"later":"` + strings.Repeat("x", n) + `"`}
		}
		return a.next(pad(size - len(a.line(pad(0)))))
	}
	return []jobaudit.Record{
		submit(`{"z":1,"a":2,"m":{"b":null,"a":[]}}`), // not in the order of a map
		submit(`{"big":123456789012345678901234567890,"exp":1E+400,"zero":-0,"one":1.0}`),
		submit(`"\u0000\u001f\"\\\/ not ASCII: é \u00e9 𝄞 \ud834\udd1e"`),
		submit(`{"":"", "two":  "spaces" }`),
		log(`"<script> & \u2028 `+"\u2028"+` '; DROP TABLE x; -- %s %00 $1 ? \\n"`, ""),
		log(`"ends in spaces   "`, `,"unknown":{"of":["a","later","version"]}`),
		log(`"{\"checkpoint\":\"not one\"}"`, ""),
		log(`"e\u0301 and é, K and K, ﬀ"`, ""), // not normalized
		fit(4_095), fit(4_096), fit(4_097), fit(48_000),
	}
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string cannot fail
	}
	return string(b)
}
