package export

import (
	"strconv"
	"unicode/utf8"
)

// cefField is a row of the table with the most characters that the field may have.
type cefField struct {
	row
	most int
}

// cefTable has the extensions of CEF: the dictionary's own keys where there is one
// for a thing, else custom strings, whose labels say what they are.
var cefTable = []cefField{
	{row{"rt", func(v *view) value { return number(v.when().UnixMilli()) }}, 20},
	{row{"externalId", eventID}, 40},
	{row{"cat", phase}, 1023},
	{row{"outcome", outcome}, 63},
	{row{"act", action}, 63},
	{row{"suid", principalID}, 1023},
	{row{"suser", principalName}, 1023},
	{row{"spriv", principalKind}, 1023},
	{row{"src", sourceIPv4}, 15},
	{row{"c6a2", sourceIPv6}, 45},
	{row{"c6a2Label", labelOf(sourceIPv6, "Source IPv6 Address")}, 63},
	{row{"dvchost", host}, 100},
	{row{"deviceProcessName", system}, 1023},
	{row{"deviceExternalId", instance}, 255},
	{row{"destinationServiceName", target}, 1023},
	{row{"fname", resource}, 1023},
	{row{"reason", errorMessage}, 1023},
	{row{"msg", message}, 1023},
	{row{"cs1", jobID}, 4000},
	{row{"cs1Label", labelOf(jobID, "job_id")}, 63},
	{row{"cs2", correlationID}, 4000},
	{row{"cs2Label", labelOf(correlationID, "correlation_id")}, 63},
	{row{"cs3", orgID}, 4000},
	{row{"cs3Label", labelOf(orgID, "org_id")}, 63},
	{row{"cs4", reason}, 4000},
	{row{"cs4Label", labelOf(reason, "why")}, 63},
	{row{"cs5", environment}, 4000},
	{row{"cs5Label", labelOf(environment, "environment")}, 63},
	{row{"cs6", errorCode}, 4000},
	{row{"cs6Label", labelOf(errorCode, "error_code")}, 63},
	{row{"cn1", attempt}, 20},
	{row{"cn1Label", labelOf(attempt, "attempt")}, 63},
	{row{"cn2", seq}, 20},
	{row{"cn2Label", labelOf(seq, "stream_seq")}, 63},
	{row{"flexString1", leafHash}, 1023},
	{row{"flexString1Label", labelOf(leafHash, "leaf_hash")}, 128},
	{row{"flexString2", rootID}, 1023},
	{row{"flexString2Label", labelOf(rootID, "root_id")}, 128},
}

// labelOf is a custom field's label, where the field has a value.
func labelOf(get func(*view) value, label string) func(*view) value {
	return func(v *view) value {
		if get(v).form == absent {
			return value{}
		}
		return text(label)
	}
}

func sourceIPv4(v *view) value {
	if !v.Where.SourceIP.Is4() {
		return value{}
	}
	return sourceIP(v)
}

func sourceIPv6(v *view) value {
	if !v.Where.SourceIP.Is6() {
		return value{}
	}
	return sourceIP(v)
}

// appendCEF appends an event as a line of CEF version 0. Its name is the type,
// which is also the class: a name that varied would be as many classes.
func appendCEF(dst []byte, v *view) []byte {
	dst = append(dst, "CEF:0|jobaudit|jobaudit|"...)
	dst = appendVisible(dst, v.SchemaVersion, appendCEFHeader)
	dst = append(dst, '|')
	dst = appendVisible(dst, string(v.Type), appendCEFHeader)
	dst = append(dst, '|')
	dst = appendVisible(dst, string(v.Type), appendCEFHeader)
	dst = append(dst, '|')
	dst = strconv.AppendInt(dst, int64(levels[kindOf(v.Type).level].cef), 10)
	dst = append(dst, '|')
	first := true
	for _, field := range cefTable {
		x := field.get(v)
		if x.form == absent {
			continue
		}
		if !first {
			dst = append(dst, ' ')
		}
		first = false
		dst = append(append(dst, field.name...), '=')
		for _, r := range cut(x.String(), field.most) {
			dst = appendExtension(dst, r)
		}
	}
	return append(dst, '\n')
}

// appendCEFHeader appends a character of the header, where a pipe ends a field.
func appendCEFHeader(dst []byte, r rune) []byte {
	if r == '|' || r == '\\' {
		dst = append(dst, '\\')
	}
	return appendRune(dst, r)
}

// appendExtension appends a character of an extension's value, where an equals
// sign begins the next one. Of control characters CEF has two.
func appendExtension(dst []byte, r rune) []byte {
	switch {
	case r == '=' || r == '\\':
		return append(dst, '\\', byte(r))
	case r == '\n':
		return append(dst, '\\', 'n')
	case r == '\r':
		return append(dst, '\\', 'r')
	case isControl(r):
		return append(dst, ' ')
	}
	return utf8.AppendRune(dst, r)
}
