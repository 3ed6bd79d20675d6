package export

import (
	"strconv"
	"time"

	"github.com/jobaudit/jobaudit"
)

// otlpResource has the attributes of where an event comes from, by the names of
// OpenTelemetry's semantic conventions.
var otlpResource = []row{
	{"service.name", system},
	{"service.version", version},
	{"service.instance.id", instance},
	{"deployment.environment.name", environment},
	{"host.name", host},
}

// otlpTable has the attributes of an event.
var otlpTable = []row{
	{"log.record.uid", eventID},
	{"log.record.original", original},
	{"user.id", principalID},
	{"user.full_name", principalName},
	{"client.address", sourceIP},
	{"error.type", errorCode},
	{"exception.type", errorType},
	{"exception.message", errorMessage},
	{"jobaudit.event.type", eventType},
	{"jobaudit.event.phase", phase},
	{"jobaudit.event.outcome", outcome},
	{"jobaudit.event.recorded", recorded},
	{"jobaudit.event.leaf_hash", leafHash},
	{"jobaudit.job.id", jobID},
	{"jobaudit.job.state", state},
	{"jobaudit.job.attempt", attempt},
	{"jobaudit.job.execution_id", executionID},
	{"jobaudit.job.parent_id", parentID},
	{"jobaudit.job.root_id", rootID},
	{"jobaudit.job.retry_of", retryOf},
	{"jobaudit.queue.system", queueSystem},
	{"jobaudit.queue.id", queueID},
	{"jobaudit.correlation_id", correlationID},
	{"jobaudit.causation_id", causationID},
	{"jobaudit.request_id", requestID},
	{"jobaudit.stream.id", streamID},
	{"jobaudit.stream.seq", seq},
	{"jobaudit.principal.kind", principalKind},
	{"jobaudit.principal.assurance", assurance},
	{"jobaudit.principal.auth_method", authMethod},
	{"jobaudit.principal.auth_session", authSession},
	{"jobaudit.principal.on_behalf_of", onBehalfOf},
	{"jobaudit.principal.carrier_key", proofKey},
	{"jobaudit.org_id", orgID},
	{"jobaudit.upstream.system", upstreamSys},
	{"jobaudit.upstream.id", upstreamID},
	{"jobaudit.action", action},
	{"jobaudit.resource", resource},
	{"jobaudit.target", target},
	{"jobaudit.trigger", trigger},
	{"jobaudit.reason", reason},
	{"jobaudit.ref", ref},
	{"jobaudit.redaction", redaction},
	{"jobaudit.policy", policy},
	{"jobaudit.error.frame", errorFrame},
	{"jobaudit.line", line},
	{"jobaudit.impact", impact},
	{"jobaudit.inputs", inputs},
	{"jobaudit.data", data},
}

// appendOTLP appends a request with one event, without a line feed.
func appendOTLP(dst []byte, v *view) []byte {
	dst = append(dst, `{"resourceLogs":[`...)
	dst = appendResource(dst, v)
	dst = appendLog(dst, v)
	return append(dst, `]}]}]}`...)
}

// appendRequest appends a request with several events. Those that follow each
// other from one place share its description.
func appendRequest(dst []byte, records []jobaudit.Record) []byte {
	dst = append(dst, `{"resourceLogs":[`...)
	var where jobaudit.Source
	for i, r := range records {
		v := view{record: r, Event: r.Event()}
		from := v.Where
		from.Target, from.SourceIP = where.Target, where.SourceIP // of the submission
		switch {
		case i == 0:
			dst = appendResource(dst, &v)
		case from == where:
			dst = append(dst, ',')
		default:
			dst = append(dst, `]}]},`...)
			dst = appendResource(dst, &v)
		}
		where = from
		dst = appendLog(dst, &v)
	}
	if len(records) > 0 {
		dst = append(dst, `]}]}`...)
	}
	return append(dst, `]}`...)
}

// appendResource appends what stands before the events of one place.
func appendResource(dst []byte, v *view) []byte {
	dst = append(dst, `{"resource":{"attributes":`...)
	dst = appendAttributes(dst, otlpResource, v)
	return append(dst, `},"scopeLogs":[{"scope":{"name":"github.com/jobaudit/jobaudit/export"},"logRecords":[`...)
}

func appendLog(dst []byte, v *view) []byte {
	level := levels[kindOf(v.Type).level]
	dst = append(dst, `{"timeUnixNano":"`...)
	dst = strconv.AppendInt(dst, nanos(v.when()), 10)
	dst = append(dst, `","observedTimeUnixNano":"`...)
	dst = strconv.AppendInt(dst, nanos(v.Time), 10)
	dst = append(dst, `","severityNumber":`...)
	dst = strconv.AppendInt(dst, int64(level.otlp), 10)
	dst = append(append(append(dst, `,"severityText":"`...), level.otlpName...), `","eventName":`...)
	dst = appendString(dst, "jobaudit."+string(v.Type))
	dst = appendString(append(dst, `,"body":{"stringValue":`...), v.message())
	dst = appendAttributes(append(dst, `},"attributes":`...), otlpTable, v)
	if trace, span := v.trace(); trace != "" {
		dst = append(append(append(append(dst, `,"traceId":"`...), trace...), `","spanId":"`...), span...)
		dst = append(dst, '"')
	}
	return append(dst, '}')
}

// nanos is a time in OTLP: nanoseconds since 1970 that are never negative, and 0
// where it is not known, or not in this range.
func nanos(t time.Time) int64 {
	if t.Year() < 1970 || t.Year() > 2261 {
		return 0
	}
	return t.UnixNano()
}

// appendAttributes appends a list of attributes. 64-bit integers are strings in
// the JSON of Protocol Buffers.
func appendAttributes(dst []byte, rows []row, v *view) []byte {
	dst = append(dst, '[')
	for _, r := range rows {
		x := r.get(v)
		if x.form == absent {
			continue
		}
		if dst[len(dst)-1] != '[' {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, `{"key":"`...), r.name...), `","value":{`...)
		if x.form == isNumber {
			dst = append(strconv.AppendInt(append(dst, `"intValue":"`...), x.number, 10), '"')
		} else {
			dst = appendString(append(dst, `"stringValue":`...), x.text)
		}
		dst = append(dst, '}', '}')
	}
	return append(dst, ']')
}
