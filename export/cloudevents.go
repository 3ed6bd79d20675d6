package export

import "net/url"

// cloudEventTypes is put before the type of an event, as CloudEvents asks for a
// name that a domain vouches for.
const cloudEventTypes = "io.github.jobaudit."

// cloudEventTable has the attributes of a CloudEvent, with the extensions that the
// specification's own list has for them.
var cloudEventTable = []row{
	{"specversion", constant("1.0")},
	{"id", eventID},
	{"source", cloudEventSource},
	{"type", func(v *view) value {
		return text(cloudEventTypes + string(appendVisible(nil, string(v.Type), appendRune)))
	}},
	{"subject", jobID},
	{"time", happened},
	{"datacontenttype", constant("application/json")},
	{"traceparent", traceParentValid},
	{"correlationid", correlationID},
	{"causationid", causationID},
	{"partitionkey", func(v *view) value { return id(v.CorrelationID) }},
	{"jobauditleafhash", leafHash},
	{"data", func(v *view) value { return rawJSON(string(v.record.Bytes())) }},
}

// cloudEventSource is a URI reference of the environment and the system.
func cloudEventSource(v *view) value {
	return text("/jobaudit/" + url.PathEscape(v.Where.Environment) + "/" + url.PathEscape(v.Where.System))
}

func appendCloudEvent(dst []byte, v *view) []byte {
	return append(appendObject(dst, cloudEventTable, v), '\n')
}
