package export

import (
	"strconv"
	"strings"
)

// The facility of RFC 5424 for audits, and the most that its header fields hold.
const (
	logAudit    = 13
	maxHostname = 255
	maxAppName  = 48
	maxProcID   = 128
	maxMsgID    = 32
)

// sdID names the structured data. 32473 is the number that RFC 5612 keeps for
// documentation: the project has none of its own.
const sdID = "jobaudit@32473"

// syslogTable has the parameters of the structured data.
var syslogTable = []row{
	{"event_id", eventID},
	{"type", eventType},
	{"phase", phase},
	{"outcome", outcome},
	{"job_id", jobID},
	{"state", state},
	{"attempt", attempt},
	{"execution_id", executionID},
	{"parent_id", parentID},
	{"root_id", rootID},
	{"retry_of", retryOf},
	{"correlation_id", correlationID},
	{"causation_id", causationID},
	{"request_id", requestID},
	{"traceparent", traceParent},
	{"stream_id", streamID},
	{"stream_seq", seq},
	{"leaf_hash", leafHash},
	{"principal_kind", principalKind},
	{"principal_id", principalID},
	{"principal_name", principalName},
	{"assurance", assurance},
	{"auth_method", authMethod},
	{"auth_session", authSession},
	{"on_behalf_of", onBehalfOf},
	{"carrier_key", proofKey},
	{"org_id", orgID},
	{"upstream_system", upstreamSys},
	{"upstream_id", upstreamID},
	{"queue_system", queueSystem},
	{"queue_id", queueID},
	{"action", action},
	{"resource", resource},
	{"environment", environment},
	{"instance", instance},
	{"version", version},
	{"target", target},
	{"source_ip", sourceIP},
	{"trigger", trigger},
	{"reason", reason},
	{"ref", ref},
	{"redaction", redaction},
	{"policy", policy},
	{"error_code", errorCode},
	{"error_message", errorMessage},
	{"error_type", errorType},
	{"error_frame", errorFrame},
	{"line", line},
	{"impact", impact},
}

// appendSyslog appends a message of RFC 5424, without what frames it.
func appendSyslog(dst []byte, v *view) []byte {
	dst = append(appendSyslogHeader(dst, v), " ["+sdID...)
	for _, param := range syslogTable {
		x := param.get(v)
		if x.form == absent {
			continue
		}
		dst = append(append(append(dst, ' '), param.name...), '=', '"')
		dst = appendVisible(dst, x.String(), appendParam)
		dst = append(dst, '"')
	}
	dst = append(dst, "] "...)
	return appendVisible(dst, v.message(), appendRune)
}

func appendSyslogHeader(dst []byte, v *view) []byte {
	dst = append(dst, '<')
	dst = strconv.AppendInt(dst, int64(logAudit*8+levels[kindOf(v.Type).level].syslog), 10)
	dst = append(dst, ">1 "...)
	dst = append(dst, stamp(v.when())...)
	dst = appendHeader(dst, v.Where.Host, maxHostname)
	dst = appendHeader(dst, v.Where.System, maxAppName)
	dst = appendHeader(dst, v.Where.Instance, maxProcID)
	return appendHeader(dst, string(v.Type), maxMsgID)
}

// appendParam appends a character of a parameter's value (RFC 5424, 6.3.3).
func appendParam(dst []byte, r rune) []byte {
	if r == '"' || r == '\\' || r == ']' {
		dst = append(dst, '\\')
	}
	return appendRune(dst, r)
}

// appendHeader appends a field of the header: printable ASCII without spaces. What
// else there is becomes a question mark, and a hyphen stands for nothing.
func appendHeader(dst []byte, s string, most int) []byte {
	dst = append(dst, ' ')
	if s = cut(s, most); s == "" {
		return append(dst, '-')
	}
	return append(dst, strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f {
			return '?'
		}
		return r
	}, s)...)
}
