package fields

import (
	"math"
	"sync"
)

// Limits of docs/format.md, F3, in encoded bytes; a string's quotation marks do not
// count.
const (
	MaxRecord     = 48_000
	MaxContent    = 16_000 // inputs, output
	MaxDocument   = 40_000 // a policy, a recovery report
	MaxText       = 1_024  // reason, name, error message, summary, impact
	MaxLine       = 4_096
	MaxIdentifier = 256
	MaxList       = 16
	MaxAttempt    = 1<<31 - 1
)

// The rows of the tables below. What is required is written by [must].

func must(f *Field) *Field { f.Required = true; return f }

// answer marks a text that answers one of the five Ws: a caller must give it,
// and there must be something to see in it.
func answer(f *Field) *Field { f.Required, f.Answer = true, true; return f }

func identifier(name string) *Field {
	return &Field{Name: name, Kind: String, Max: MaxIdentifier, Identifier: true}
}

// resource names what a job acts on. It is an identifier to who gives it, and
// passes the scan as a free text does.
func resource() *Field {
	return &Field{Name: "resource", Kind: Text, Max: MaxIdentifier, Identifier: true}
}

func word(name string, words ...string) *Field {
	return &Field{Name: name, Kind: String, Max: MaxIdentifier, Words: words}
}

func freeText(name string, limit int64) *Field {
	return &Field{Name: name, Kind: Text, Max: limit}
}

func id(name, versions string) *Field {
	return &Field{Name: name, Kind: UUID, Versions: versions}
}

func hash(name string) *Field { return &Field{Name: name, Kind: Hash} }

func moment(name string) *Field { return &Field{Name: name, Kind: Time} }

func flag(name string) *Field { return &Field{Name: name, Kind: Bool} }

func integer(name string, least, most int64) *Field {
	return &Field{Name: name, Kind: Integer, Min: least, Max: most}
}

func count(name string) *Field { return integer(name, 0, MaxCount) }

func raw(name string, limit int64) *Field {
	return &Field{Name: name, Kind: Raw, Max: limit}
}

func object(name string, members ...*Field) *Field {
	for _, m := range members {
		m.key = `,"` + m.Name + `":`
	}
	return &Field{Name: name, Kind: Object, Of: members}
}

func list(name string, element *Field) *Field {
	return &Field{Name: name, Kind: List, Max: MaxList, Of: []*Field{element}}
}

// Versions of the UUIDs that this library makes itself; those of callers may be
// of any version that RFC 9562 has.
const (
	ours      = "7"
	oursOrSet = "78" // 8 for an ID that follows from what it names
)

// Event returns the table of docs/format.md, F2: every field of an event with its
// limits and ranges. The encoder, the decoder, the checks of callers' values
// and, by a test, docs/schema go by it.
var Event = sync.OnceValue(func() *Field {
	return object("",
		must(word("schemaVersion")),
		must(id("id", oursOrSet)),
		must(identifier("type")),
		word("phase", "submission", "authorization", "execution", "outcome"),
		must(moment("time")),
		object("reconstructed", moment("queueTime")),
		must(streamFields()),
		object("job",
			must(id("id", "")),
			must(word("state", "pending", "running", "success", "failed", "cancelled")),
			must(integer("attempt", 0, MaxAttempt)),
			id("executionId", ours),
			id("parentId", ""),
			must(id("rootId", "")),
			id("retryOf", ""),
			object("queue", answer(identifier("system")), answer(identifier("id"))),
		),
		must(id("correlationId", "")),
		id("causationId", oursOrSet),
		must(id("requestId", "")),
		identifier("traceparent"),
		must(object("who",
			must(principalFields("principal")),
			must(identifier("orgId")),
			list("onBehalfOf", principalFields("")),
			count("more"),
			object("upstream", answer(identifier("system")), answer(identifier("eventId"))),
			object("proof", must(identifier("carrier")), id("submission", ours)),
		)),
		must(object("what",
			answer(identifier("action")),
			resource(),
			raw("inputs", MaxContent),
			redactionFields(),
		)),
		must(object("where",
			answer(identifier("system")),
			answer(identifier("environment")),
			must(identifier("host")),
			must(identifier("instance")),
			identifier("target"),
			must(identifier("version")),
			identifier("sourceIp"),
		)),
		must(object("why",
			must(identifier("trigger")),
			answer(freeText("reason", MaxText)),
			identifier("ref"),
		)),
		dataFields(),
	)
})

func streamFields() *Field {
	return object("stream",
		must(id("id", ours)),
		must(integer("seq", 1, MaxCount)),
		hash("prev"),
		object("after", must(id("stream", ours)), must(integer("seq", 1, MaxCount)), must(hash("hash"))),
	)
}

func principalFields(name string) *Field {
	return object(name,
		must(identifier("kind")),
		answer(identifier("id")),
		freeText("name", MaxText),
		must(word("assurance", "verified", "claimed")),
		object("auth", identifier("method"), identifier("session")),
	)
}

func redactionFields() *Field {
	return object("redaction",
		identifier("policy"),
		identifier("version"),
		hash("digest"),
		must(identifier("outcome")),
		list("removed", object("", must(identifier("path")), must(identifier("class")))),
		count("removedCount"),
		list("hits", object("", must(identifier("path")), must(identifier("rule")))),
		count("more"),
		identifier("taint"),
	)
}

func dataFields() *Field {
	return object("data",
		object("decision",
			must(flag("allowed")),
			must(identifier("by")),
			identifier("permission"),
			freeText("reason", MaxText),
		),
		raw("output", MaxContent),
		freeText("impact", MaxText),
		object("error",
			must(identifier("code")),
			must(freeText("message", MaxText)),
			identifier("type"),
			identifier("frame"),
		),
		freeText("line", MaxLine),
		snapshotFields(),
		object("heartbeat",
			object("progress", must(integer("done", math.MinInt64, math.MaxInt64)), integer("total", math.MinInt64, math.MaxInt64)),
			moment("deadline"),
		),
		object("correction",
			must(id("of", "")),
			must(word("kind", "correction", "reversal")),
			answer(freeText("reason", MaxText)),
			raw("value", MaxContent),
		),
		id("existing", ""),
		evidenceFields(),
		object("lost",
			must(count("count")),
			must(list("types", identifier(""))),
			count("more"),
			must(moment("from")),
			must(moment("to")),
		),
		object("degraded",
			id("stream", ours),
			id("event", oursOrSet),
			must(count("count")),
			freeText("reason", MaxText),
		),
		object("erased",
			must(list("keys", identifier(""))),
			count("more"),
			freeText("reason", MaxText),
		),
		raw("recovery", MaxDocument),
		raw("policy", MaxDocument),
		object("act", scopeFields(), raw("data", MaxContent)),
		object("affected", must(count("count")), answer(identifier("unit"))),
		list("missing", word("", "before", "after")),
		environmentFields(),
		object("companionOf", answer(identifier("origin")), must(integer("size", 0, math.MaxInt64)), must(hash("root"))),
	)
}

func snapshotFields() *Field {
	return object("snapshot",
		answer(resource()),
		must(word("moment", "before", "after")),
		answer(identifier("digest")),
		freeText("summary", MaxText),
		raw("value", MaxContent),
	)
}

func evidenceFields() *Field {
	return object("evidence",
		must(object("last", must(id("id", oursOrSet)), must(identifier("type")), must(moment("time")))),
		object("heartbeat", must(id("id", ours)), must(moment("time"))),
		moment("deadline"),
		must(object("owner", must(id("stream", ours)), must(identifier("host")), must(identifier("instance")))),
	)
}

func environmentFields() *Field {
	return object("environment",
		must(identifier("go")),
		must(identifier("os")),
		must(identifier("arch")),
		object("module", identifier("path"), identifier("version")),
		object("vcs", must(identifier("revision")), identifier("time"), must(flag("modified"))),
		hash("dependencies"),
		identifier("image"),
		list("orchestrator", object("", answer(identifier("name")), must(identifier("value")))),
		object("clock", must(flag("synchronized")), must(integer("errorMicros", 0, math.MaxInt64)), identifier("source")),
		raw("facts", MaxContent),
	)
}

// scopeFields select the records that an act concerns.
func scopeFields() *Field {
	return object("scope",
		id("jobId", ""),
		id("correlationId", ""),
		id("rootId", ""),
		identifier("principalId"),
		identifier("actingFor"),
		identifier("orgId"),
		identifier("action"),
		identifier("resource"),
		list("types", identifier("")),
		identifier("state"),
		identifier("errorCode"),
		moment("since"),
		moment("until"),
	)
}

// Recovery returns the table of an audit.opened event's data.recovery, which a
// reader keeps as it stands.
var Recovery = sync.OnceValue(func() *Field {
	head := func(name string) *Field {
		return object(name, must(integer("size", 0, math.MaxInt64)), must(hash("root")))
	}
	return object("data.recovery",
		id("incarnation", ""),
		must(flag("closed")),
		head("head"),
		head("anchor"),
		object("torn",
			must(integer("bytes", 0, math.MaxInt64)),
			must(hash("sha256")),
			list("heads", head("")),
			list("files", freeText("", MaxIdentifier)),
			count("more"),
		),
		freeText("predecessor", MaxIdentifier),
		list("overrides", freeText("", MaxIdentifier)),
		count("more"),
		list("warnings", freeText("", MaxIdentifier)),
	)
})
