package export

import (
	"strings"
	"unicode/utf8"
)

// csvTable has the columns of CSV.
var csvTable = []row{
	{"time", happened},
	{"type", eventType},
	{"message", message},
	{"phase", phase},
	{"outcome", outcome},
	{"action", action},
	{"resource", resource},
	{"state", state},
	{"attempt", attempt},
	{"principal_kind", principalKind},
	{"principal_id", principalID},
	{"principal_name", principalName},
	{"assurance", assurance},
	{"auth_method", authMethod},
	{"auth_session", authSession},
	{"on_behalf_of", onBehalfOf},
	{"org_id", orgID},
	{"trigger", trigger},
	{"reason", reason},
	{"ref", ref},
	{"system", system},
	{"environment", environment},
	{"host", host},
	{"instance", instance},
	{"version", version},
	{"target", target},
	{"source_ip", sourceIP},
	{"error_code", errorCode},
	{"error_message", errorMessage},
	{"error_type", errorType},
	{"error_frame", errorFrame},
	{"line", line},
	{"impact", impact},
	{"inputs", inputs},
	{"output", output},
	{"data", data},
	{"redaction", redaction},
	{"policy", policy},
	{"upstream_system", upstreamSys},
	{"upstream_id", upstreamID},
	{"queue_system", queueSystem},
	{"queue_id", queueID},
	{"carrier_key", proofKey},
	{"traceparent", traceParent},
	{"event_id", eventID},
	{"job_id", jobID},
	{"execution_id", executionID},
	{"parent_id", parentID},
	{"root_id", rootID},
	{"retry_of", retryOf},
	{"correlation_id", correlationID},
	{"causation_id", causationID},
	{"request_id", requestID},
	{"stream_id", streamID},
	{"stream_seq", seq},
	{"recorded", recorded},
	{"leaf_hash", leafHash},
}

func csvHeader() []byte {
	var dst []byte
	for i, column := range csvTable {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, column.name...)
	}
	return append(dst, '\r', '\n')
}

// appendCSV appends a record of RFC 4180. Every text is quoted: what is not, some
// spreadsheets divide at other separators.
func appendCSV(dst []byte, v *view, raw bool) []byte {
	for i, column := range csvTable {
		if i > 0 {
			dst = append(dst, ',')
		}
		switch x := column.get(v); x.form {
		case absent:
		case isNumber:
			dst = appendValue(dst, x)
		default:
			dst = append(dst, '"')
			if !raw && isFormula(x.text) {
				dst = append(dst, '\'')
			}
			dst = appendCell(dst, x.text)
			dst = append(dst, '"')
		}
	}
	return append(dst, '\r', '\n')
}

// appendCell appends what stands in quotation marks. A NUL, which ends the text
// in many readers, becomes U+FFFD.
func appendCell(dst []byte, s string) []byte {
	for {
		i := strings.IndexAny(s, "\"\x00")
		if i < 0 {
			return append(dst, s...)
		}
		dst = append(dst, s[:i]...)
		if s[i] == '"' {
			dst = append(dst, '"', '"')
		} else {
			dst = utf8.AppendRune(dst, utf8.RuneError)
		}
		s = s[i+1:]
	}
}

// isFormula reports whether a spreadsheet may take a text for a formula: OWASP's
// list, with the full-width forms. One that begins with an apostrophe counts too,
// so that taking one off gives the text again.
func isFormula(s string) bool {
	first, _ := utf8.DecodeRuneInString(strings.TrimLeft(s, " "))
	return s != "" && strings.ContainsRune("=+-@\t\r\n'＝＋－＠", first)
}
