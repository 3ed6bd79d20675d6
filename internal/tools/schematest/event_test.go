package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	schemas = "../../../docs/schema"
	golden  = "../../../testdata/*/*.json" // events and verdicts
)

func validatorOf(t *testing.T, kind kind) validator {
	t.Helper()
	v, err := newValidator(schemas, kind)
	require.NoError(t, err)
	return v
}

func TestEveryGoldenEventIsValid(t *testing.T) {
	files, err := filepath.Glob(golden)
	require.NoError(t, err)
	require.NotEmpty(t, files, "no golden events in %s", golden)
	valid := validatorOf(t, eventKind)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			input, err := os.ReadFile(file)
			require.NoError(t, err)
			count := 0
			for line, value := range eventKind.values(input) {
				count++
				require.Empty(t, valid.faults(value), "line %d", line)
			}
			require.Positive(t, count)
		})
	}
}

// The least that an event of a job and one of the audit hold, and what a
// submission, an outcome and others add.
const (
	jobEvent = `{
		"schemaVersion": "1.0.0",
		"id": "01980000-0000-7000-8000-000000000001",
		"type": "job.logged",
		"phase": "execution",
		"time": "2026-01-02T03:04:05.000006Z",
		"stream": {
			"id": "01980000-0000-7000-8000-000000000002",
			"seq": 2,
			"prev": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
		},
		"job": {
			"id": "7d444840-9dc0-11d1-b245-5ffdce74fad2",
			"state": "running",
			"attempt": 1,
			"executionId": "01980000-0000-7000-8000-000000000003",
			"rootId": "7d444840-9dc0-11d1-b245-5ffdce74fad2"
		},
		"correlationId": "7d444840-9dc0-11d1-b245-5ffdce74fad2",
		"requestId": "7d444840-9dc0-11d1-b245-5ffdce74fad2",
		"who": {"principal": {"kind": "user", "id": "u-1", "assurance": "verified"}, "orgId": ""},
		"what": {"action": "send-report"},
		"where": {"system": "reports", "environment": "test", "host": "h", "instance": "i", "version": "v1"},
		"why": {"trigger": "manual", "reason": "monthly report"},
		"data": {"line": "begun"}
	}`
	auditEvent = `{
		"schemaVersion": "1.0.0",
		"id": "01980000-0000-7000-8000-000000000001",
		"type": "audit.opened",
		"time": "2026-01-02T03:04:05.000006Z",
		"stream": {"id": "01980000-0000-7000-8000-000000000002", "seq": 1},
		"correlationId": "01980000-0000-7000-8000-000000000002",
		"requestId": "01980000-0000-7000-8000-000000000002",
		"who": {"principal": {"kind": "service", "id": "reports", "assurance": "verified"}, "orgId": ""},
		"what": {"action": "audit.opened"},
		"where": {"system": "reports", "environment": "test", "host": "h", "instance": "i", "version": "v1"},
		"why": {"trigger": "event", "reason": "the recorder was opened"}
	}`
)

// eventCase is an event, made by changing a base, and the fault in it.
type eventCase struct {
	name  string
	base  string
	patch string // merged into the base (RFC 7396): null removes a member
	fault string // the beginning of one fault's path, "" for a valid event
}

var validEvents = []eventCase{
	{"a logged line", jobEvent, `{}`, ""},
	{"what a queue's table tells", jobEvent, `{"reconstructed":{"queueTime":"2026-01-01T03:04:05.000006Z"}}`, ""},
	{"what a queue's table tells without a time", jobEvent, `{"reconstructed":{}}`, ""},
	{"an opening", auditEvent, `{}`, ""},
	{"an opening with a recovery report", auditEvent, `{"data":{"recovery":{"tornBytes":3}}}`, ""},
	{"a closing", auditEvent, `{"type":"audit.closed","what":{"action":"audit.closed"}}`, ""},
	{"a policy", auditEvent, `{"type":"audit.policy","what":{"action":"audit.policy"},"data":{"policy":{"action":"a"}}}`, ""},
	{"a degradation", auditEvent, `{"type":"audit.degraded","what":{"action":"audit.degraded"},"data":{"degraded":{"stream":"01980000-0000-7000-8000-000000000002","event":"01980000-0000-7000-8000-000000000003","count":0,"reason":"conflict"}}}`, ""},
	{"a probe", auditEvent, `{"type":"audit.probed","what":{"action":"audit.probed"}}`, ""},
	{"an erasure", auditEvent, `{"type":"audit.erased","what":{"action":"audit.erased"},"data":{"erased":{"keys":["0123456789abcdef"],"reason":"asked for"}}}`, ""},
	{"an act: read", auditEvent, `{"type":"audit.read","what":{"action":"audit.read"},"who":{"principal":{"kind":"user","id":"aud-1"},"orgId":"o-1"},"why":{"trigger":"manual"},"data":{"act":{}}}`, ""},
	{"an act: reviewed", auditEvent, `{"type":"audit.reviewed","what":{"action":"audit.reviewed"},"who":{"principal":{"kind":"user","id":"aud-1"},"orgId":"o-1"},"why":{"trigger":"manual"},"data":{"act":{"scope":{"orgId":"o-1","types":["job.failed"],"since":"2026-01-02T03:04:05.000006Z"},"data":{"findings":0}}}}`, ""},
	{"an act: requested", auditEvent, `{"type":"audit.requested","what":{"action":"audit.requested"},"who":{"principal":{"kind":"user","id":"aud-1"},"orgId":"o-1"},"why":{"trigger":"manual"},"data":{"act":{"scope":{"orgId":"o-1","types":["job.failed"],"since":"2026-01-02T03:04:05.000006Z"},"data":{"findings":0}}}}`, ""},
	{"an act: held", auditEvent, `{"type":"audit.held","what":{"action":"audit.held"},"who":{"principal":{"kind":"user","id":"aud-1"},"orgId":"o-1"},"why":{"trigger":"manual"},"data":{"act":{"scope":{"orgId":"o-1","types":["job.failed"],"since":"2026-01-02T03:04:05.000006Z"},"data":{"findings":0}}}}`, ""},
	{"an act: released", auditEvent, `{"type":"audit.released","what":{"action":"audit.released"},"who":{"principal":{"kind":"user","id":"aud-1"},"orgId":"o-1"},"why":{"trigger":"manual"},"data":{"act":{"scope":{"orgId":"o-1","types":["job.failed"],"since":"2026-01-02T03:04:05.000006Z"},"data":{"findings":0}}}}`, ""},
	{"an act: retention", auditEvent, `{"type":"audit.retention","what":{"action":"audit.retention"},"who":{"principal":{"kind":"user","id":"aud-1"},"orgId":"o-1"},"why":{"trigger":"manual"},"data":{"act":{"scope":{"orgId":"o-1","types":["job.failed"],"since":"2026-01-02T03:04:05.000006Z"},"data":{"findings":0}}}}`, ""},
	{"an act: retired", auditEvent, `{"type":"audit.retired","what":{"action":"audit.retired"},"who":{"principal":{"kind":"user","id":"aud-1"},"orgId":"o-1"},"why":{"trigger":"manual"},"data":{"act":{"scope":{"orgId":"o-1","types":["job.failed"],"since":"2026-01-02T03:04:05.000006Z"},"data":{"findings":0}}}}`, ""},
	{"an erasure by somebody", auditEvent, `{"type":"audit.erased","what":{"action":"audit.erased"},"who":{"principal":{"kind":"user","id":"aud-1"},"orgId":"o-1"},"why":{"trigger":"manual"},"data":{"erased":{"keys":[]},"act":{}}}`, ""},
	{"an opening with an environment", auditEvent, `{"data":{"environment":{"go":"go1.26","os":"linux","arch":"amd64","vcs":{"revision":"r","modified":true},"clock":{"synchronized":false,"errorMicros":16000000}},"companionOf":{"origin":"example.com/jobs","size":7,"root":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}}}`, ""},
	{"a start that a signed Carrier brought", jobEvent, `{"type":"job.started","who":{"proof":{"carrier":"k1","submission":"01980000-0000-7000-8000-000000000004"}},"data":null}`, ""},
	{"a success with snapshots missing", jobEvent, `{"type":"job.succeeded","phase":"outcome","job":{"state":"success"},"data":{"line":null,"affected":{"count":3,"unit":"pods"},"missing":["after"]}}`, ""},
	{"a snapshot of a value", jobEvent, `{"type":"job.snapshot","data":{"line":null,"snapshot":{"resource":"r","moment":"after","digest":"hmac-sha256:k:0:x","value":{"replicas":2}}}}`, ""},
	{"a loss in a job's stream", jobEvent, `{"type":"audit.lost","phase":null,"data":{"line":null,"lost":{"count":3,"types":["job.logged","job.heartbeat"],"from":"2026-01-02T03:04:05.000006Z","to":"2026-01-02T03:04:06.000006Z"}}}`, ""},
	{"a submission", jobEvent, `{"type":"job.submitted","phase":"submission","stream":{"seq":1,"prev":null},"job":{"state":"pending","attempt":0,"executionId":null},"what":{"resource":"r","inputs":{"repo":"a/b","deep":[{"n":1.5}]},"redaction":{"policy":"p","version":"1","digest":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=","outcome":"kept","removed":[{"path":"pat","class":"secret"}],"removedCount":2,"hits":[{"path":"a[0]","rule":"github-token"}],"taint":"unavailable"}},"data":null}`, ""},
	{"a submission whose truncated inputs say so", jobEvent, `{"type":"job.submitted","phase":"submission","job":{"state":"pending","attempt":0,"executionId":null},"what":{"inputs":{"$jobaudit":"truncated","size":20000,"head":"{\"a\":"},"redaction":{"outcome":"passed_through"}},"data":null}`, ""},
	{"a submission with a dropped leaf and a user's look-alike", jobEvent, `{"type":"job.submitted","phase":"submission","job":{"state":"pending","attempt":0,"executionId":null},"what":{"inputs":[{"a":{"$jobaudit":"dropped","rule":"jwt"}},{"$$jobaudit":"mine"}],"redaction":{"outcome":"passed_through"}},"data":null}`, ""},
	{"a cascade, resumed, on behalf of others", jobEvent, `{"type":"attempt.started","stream":{"seq":1,"prev":null,"after":{"stream":"01980000-0000-7000-8000-000000000004","seq":7,"hash":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}},"job":{"attempt":2,"parentId":"01980000-0000-7000-8000-000000000005","retryOf":"01980000-0000-7000-8000-000000000006","queue":{"system":"river","id":"42"}},"causationId":"01980000-0000-8000-8000-000000000007","traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","who":{"principal":{"name":"U","assurance":"claimed","auth":{"method":"oidc"}},"orgId":"o-1","onBehalfOf":[{"kind":"system","id":"s","assurance":"claimed"}],"upstream":{"system":"crm","eventId":"e1"}},"where":{"target":"db","sourceIp":"2001:db8::1"},"why":{"trigger":"cascade","ref":"T-1","reason":{"$jobaudit":"truncated","size":2000,"head":"long"}},"data":{"line":null,"heartbeat":{"deadline":"2026-01-02T03:05:05.000006Z"}}}`, ""},
	{"a success with output", jobEvent, `{"type":"job.succeeded","phase":"outcome","job":{"state":"success"},"data":{"line":null,"output":[1],"impact":"1 report"}}`, ""},
	{"a success without data", jobEvent, `{"type":"job.succeeded","phase":"outcome","job":{"state":"success"},"data":null}`, ""},
	{"a failure whose message was dropped", jobEvent, `{"type":"job.failed","phase":"outcome","job":{"state":"failed"},"data":{"line":null,"error":{"code":"PANIC","message":{"$jobaudit":"dropped","rule":"panic"},"type":"string","frame":"main.run"}}}`, ""},
	{"a cancellation", jobEvent, `{"type":"job.cancelled","phase":"outcome","job":{"state":"cancelled"},"data":{"line":null,"error":{"code":"CANCELLED","message":"asked to"}}}`, ""},
	{"a duplicate", jobEvent, `{"type":"job.deduplicated","phase":"submission","job":{"state":"cancelled"},"data":{"line":null,"existing":"01980000-0000-7000-8000-000000000005"}}`, ""},
	{"an authorization", jobEvent, `{"type":"job.authorized","phase":"authorization","data":{"line":null,"decision":{"allowed":true,"by":"none"}}}`, ""},
	{"a denial", jobEvent, `{"type":"job.denied","phase":"authorization","job":{"state":"cancelled"},"data":{"line":null,"decision":{"allowed":false,"by":"opa","permission":"p","reason":"no"}}}`, ""},
	{"a deferral", jobEvent, `{"type":"attempt.deferred","data":{"line":null,"decision":{"allowed":false,"by":"opa"}}}`, ""},
	{"a heartbeat", jobEvent, `{"type":"job.heartbeat","data":{"line":null,"heartbeat":{"progress":{"done":1,"total":2},"deadline":"2026-01-02T03:05:05.000006Z"}}}`, ""},
	{"a snapshot", jobEvent, `{"type":"job.snapshot","data":{"line":null,"snapshot":{"resource":"r","moment":"before","digest":"sha256:1","summary":"s"}}}`, ""},
	{"a correction", jobEvent, `{"type":"job.corrected","phase":"outcome","data":{"line":null,"correction":{"of":"01980000-0000-7000-8000-000000000001","kind":"reversal","reason":"undone","value":null}}}`, ""},
	{"a failed attempt", jobEvent, `{"type":"attempt.failed","data":{"line":null,"error":{"code":"TIMEOUT","message":"late"}}}`, ""},
	{"a verdict", jobEvent, `{"id":"01980000-0000-8000-8000-000000000001","type":"attempt.lost","data":null}`, ""},
	{"a verdict with evidence", jobEvent, `{"id":"01980000-0000-8000-8000-000000000001","type":"job.failed","phase":"outcome","job":{"state":"failed"},"data":{"line":null,"error":{"code":"ABANDONED","message":"m"},"evidence":{"last":{"id":"01980000-0000-7000-8000-000000000008","type":"job.logged","time":"2026-01-02T03:04:05.000006Z"},"heartbeat":{"id":"01980000-0000-7000-8000-000000000009","time":"2026-01-02T03:04:05.000006Z"},"deadline":"2026-01-02T03:05:05.000006Z","owner":{"stream":"01980000-0000-7000-8000-000000000002","host":"h","instance":"i"}}}}`, ""},
}

func TestWhatRecordersWriteIsValid(t *testing.T) {
	runEventCases(t, validEvents)
}

func TestWhatNoRecorderWritesIsFound(t *testing.T) {
	runEventCases(t, []eventCase{
		{"an act that does not say what", auditEvent, `{"type":"audit.read","what":{"action":"audit.read"}}`, "/"},
		{"an act upon a job object", auditEvent, `{"type":"audit.read","what":{"action":"audit.read"},"data":{"act":{}},"job":{"id":"7d444840-9dc0-11d1-b245-5ffdce74fad2","state":"running","attempt":1,"rootId":"7d444840-9dc0-11d1-b245-5ffdce74fad2"}}`, "/job"},
		{"an act for all and for nothing", auditEvent, `{"type":"audit.read","what":{"action":"audit.read"},"data":{"act":{"scope":{}}}}`, "/data/act/scope"},
		{"an attempt beyond what is counted", jobEvent, `{"job":{"attempt":2147483648}}`, "/job/attempt"},
		{"a correlation of no version", jobEvent, `{"correlationId":"7d444840-9dc0-91d1-b245-5ffdce74fad2"}`, "/correlationId"},
		{"a time before 1970", jobEvent, `{"time":"1969-12-31T23:59:59.999999Z"}`, "/time"},
		{"another version", jobEvent, `{"schemaVersion":"1.0.1"}`, "/schemaVersion"},
		{"an unknown field", jobEvent, `{"extra":1}`, "/"},
		{"no ID", jobEvent, `{"id":null}`, "/"},
		{"a random ID", jobEvent, `{"id":"7d444840-9dc0-4dd1-b245-5ffdce74fad2"}`, "/id"},
		{"an upper-case ID", jobEvent, `{"correlationId":"7D444840-9DC0-41D1-B245-5FFDCE74FAD2"}`, "/correlationId"},
		{"an unknown type", jobEvent, `{"type":"job.paused"}`, "/type"},
		{"another type's phase", jobEvent, `{"phase":"outcome"}`, "/phase"},
		{"no phase", jobEvent, `{"phase":null}`, "/"},
		{"a phase on an event of the audit", auditEvent, `{"phase":"execution"}`, "/phase"},
		{"a time with nanoseconds", jobEvent, `{"time":"2026-01-02T03:04:05.000000006Z"}`, "/time"},
		{"a queue's time with nanoseconds", jobEvent, `{"reconstructed":{"queueTime":"2026-01-01T03:04:05.000000006Z"}}`, "/reconstructed/queueTime"},
		{"a reconstruction that says how", jobEvent, `{"reconstructed":{"by":"river"}}`, "/reconstructed"},
		{"a time with an offset", jobEvent, `{"time":"2026-01-02T03:04:05.000006+00:00"}`, "/time"},
		{"no sequence number", jobEvent, `{"stream":{"seq":null}}`, "/stream"},
		{"a first event that follows one", jobEvent, `{"stream":{"seq":1}}`, "/stream/prev"},
		{"a later event without a link", jobEvent, `{"stream":{"prev":null}}`, "/stream"},
		{"a resumption in the middle", jobEvent, `{"stream":{"after":{"stream":"01980000-0000-7000-8000-000000000004","seq":7,"hash":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}}}`, "/stream/after"},
		{"a hash in hexadecimal", jobEvent, `{"stream":{"prev":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}`, "/stream/prev"},
		{"a hash with loose bits", jobEvent, `{"stream":{"prev":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV="}}`, "/stream/prev"},
		{"no job", jobEvent, `{"job":null}`, "/"},
		{"a job on an event of the audit", auditEvent, `{"job":{"id":"7d444840-9dc0-11d1-b245-5ffdce74fad2","state":"running","attempt":1,"rootId":"7d444840-9dc0-11d1-b245-5ffdce74fad2"}}`, "/job"},
		{"an unknown state", jobEvent, `{"job":{"state":"done"}}`, "/job/state"},
		{"a success that still runs", jobEvent, `{"type":"job.succeeded","phase":"outcome","data":null}`, "/job/state"},
		{"a start without an execution", jobEvent, `{"type":"job.started","job":{"executionId":null},"data":null}`, "/job"},
		{"a first start at attempt 2", jobEvent, `{"type":"job.started","job":{"attempt":2},"data":null}`, "/job/attempt"},
		{"no principal", jobEvent, `{"who":{"principal":null}}`, "/who"},
		{"an empty principal", jobEvent, `{"who":{"principal":{"id":""}}}`, "/who/principal/id"},
		{"a principal of no kind", jobEvent, `{"who":{"principal":{"kind":"robot"}}}`, "/who/principal/kind"},
		{"an audit by a user", auditEvent, `{"who":{"principal":{"kind":"user"}}}`, "/who/principal/kind"},
		{"a cascade from nowhere", jobEvent, `{"why":{"trigger":"cascade"}}`, "/who"},
		{"no action", jobEvent, `{"what":{"action":null}}`, "/what"},
		{"inputs outside a submission", jobEvent, `{"what":{"inputs":{}}}`, "/what/inputs"},
		{"inputs of which nothing is said", jobEvent, `{"type":"job.submitted","phase":"submission","job":{"state":"pending","attempt":0,"executionId":null},"what":{"inputs":[]},"data":null}`, "/what"},
		{"a submission without inputs", jobEvent, `{"type":"job.submitted","phase":"submission","job":{"state":"pending","attempt":0,"executionId":null},"data":null}`, "/what"},
		{"a forged marker in the output", jobEvent, `{"type":"job.succeeded","phase":"outcome","job":{"state":"success"},"data":{"line":null,"output":[{"$jobaudit":"mine"}]}}`, "/data/output/0"},
		{"no environment", jobEvent, `{"where":{"environment":null}}`, "/where"},
		{"an unknown trigger", jobEvent, `{"why":{"trigger":"whim"}}`, "/why/trigger"},
		{"no reason", jobEvent, `{"why":{"reason":null}}`, "/why"},
		{"an over-long reason", jobEvent, `{"why":{"reason":"` + strings.Repeat("x", 1025) + `"}}`, "/why/reason"},
		{"a marker without its size", jobEvent, `{"data":{"line":{"$jobaudit":"truncated","head":"x"}}}`, "/data/line"},
		{"a marker with more in it", jobEvent, `{"data":{"line":{"$jobaudit":"dropped","rule":"x","was":"secret"}}}`, "/data/line"},
		{"another type's data", jobEvent, `{"data":{"impact":"x"}}`, "/data"},
		{"no line", jobEvent, `{"data":null}`, "/"},
		{"empty data", jobEvent, `{"type":"attempt.lost","data":{"line":null}}`, "/data"},
		{"evidence of what is no verdict", jobEvent, `{"type":"job.failed","phase":"outcome","job":{"state":"failed"},"data":{"line":null,"error":{"code":"ABANDONED","message":"m"},"evidence":{"last":{"id":"01980000-0000-7000-8000-000000000008","type":"job.logged","time":"2026-01-02T03:04:05.000006Z"},"owner":{"stream":"01980000-0000-7000-8000-000000000002","host":"h","instance":"i"}}}}`, "/data/evidence"},
		{"a verdict that is no verdict's type", jobEvent, `{"id":"01980000-0000-8000-8000-000000000001"}`, "/type"},
		{"a verdict with an output", jobEvent, `{"id":"01980000-0000-8000-8000-000000000001","type":"job.failed","phase":"outcome","job":{"state":"failed"},"data":{"line":null,"output":1,"error":{"code":"ABANDONED","message":"m"}}}`, "/data/output"},
		{"a refusal that allows", jobEvent, `{"type":"job.denied","phase":"authorization","data":{"line":null,"decision":{"allowed":true,"by":"opa"}}}`, "/data/decision/allowed"},
		{"an error without a code", jobEvent, `{"type":"attempt.failed","data":{"line":null,"error":{"message":"x"}}}`, "/data/error"},
		{"an unknown redaction outcome", jobEvent, `{"what":{"redaction":{"outcome":"fine"}}}`, "/what/redaction/outcome"},
		{"a policy without its digest", jobEvent, `{"what":{"redaction":{"outcome":"kept","policy":"p","version":"1"}}}`, "/what/redaction"},
		{"a loss of nothing", jobEvent, `{"type":"audit.lost","phase":null,"data":{"line":null,"lost":{"count":0,"types":["job.logged"],"from":"2026-01-02T03:04:05.000006Z","to":"2026-01-02T03:04:06.000006Z"}}}`, "/data/lost/count"},
		{"a snapshot in between", jobEvent, `{"type":"job.snapshot","data":{"line":null,"snapshot":{"resource":"r","moment":"during","digest":"x"}}}`, "/data/snapshot/moment"},
	})
}

func TestKeysOutOfOrderAreFound(t *testing.T) {
	valid := validatorOf(t, eventKind)
	require.Empty(t, valid.faults([]byte(jobEvent)))
	require.Empty(t, valid.faults([]byte(auditEvent)))

	swap := strings.NewReplacer(
		`"seq": 2,`, `"prev": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",`,
		`"prev": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="`, `"seq": 2`,
		`{"kind": "user", "id": "u-1",`, `{"id": "u-1", "kind": "user",`,
		`"data": {"line": "begun"}`, `"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "data": {"line": "begun"}`)
	require.Equal(t, []string{
		"/stream: seq stands behind prev",
		"/who/principal: kind stands behind id",
		"/: traceparent stands behind why",
	}, valid.faults([]byte(swap.Replace(jobEvent))))
}

func TestEveryTypeHasAValidEvent(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(schemas, eventKind.file()))
	require.NoError(t, err)
	var schema struct {
		Defs struct{ Type struct{ Enum []string } } `json:"$defs"`
	}
	require.NoError(t, json.Unmarshal(content, &schema))
	seen := map[string]bool{}
	for _, c := range validEvents {
		var event struct{ Type string }
		require.NoError(t, json.Unmarshal(c.event(t), &event))
		seen[event.Type] = true
	}
	for _, typ := range []string{"job.started", "attempt.superseded", "attempt.late"} {
		seen[typ] = true // like others
	}
	for _, typ := range schema.Defs.Type.Enum {
		require.True(t, seen[typ], "no example of %s", typ)
	}
	require.Len(t, seen, len(schema.Defs.Type.Enum))
}

func runEventCases(t *testing.T, cases []eventCase) {
	t.Helper()
	valid := validatorOf(t, eventKind)
	valid.order = nil // a merge sorts the keys
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			requireFault(t, valid.faults(c.event(t)), c.fault)
		})
	}
}

func (c eventCase) event(t *testing.T) []byte {
	t.Helper()
	var base, patch any
	require.NoError(t, json.Unmarshal([]byte(c.base), &base))
	require.NoError(t, json.Unmarshal([]byte(c.patch), &patch))
	event, err := json.Marshal(merge(base, patch))
	require.NoError(t, err)
	return event
}

// merge is a JSON merge patch (RFC 7396), but for a null inside what the patch
// adds, which stays.
func merge(target, patch any) any {
	change, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	object, ok := target.(map[string]any)
	if !ok {
		return patch
	}
	for name, value := range change {
		if _, there := object[name]; value == nil && there {
			delete(object, name)
			continue
		}
		object[name] = merge(object[name], value)
	}
	return object
}
