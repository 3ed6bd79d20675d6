package fields

import "sync"

// Job returns the table of the job contract (docs/format.md, F1). It has no limits:
// other programs write jobs too. Its words are for readers who know the
// states.
var Job = sync.OnceValue(func() *Field { return job("") })

// JobStatus returns the table of a job's status (docs/format.md, F1).
var JobStatus = sync.OnceValue(func() *Field {
	return object("", must(id("requestId", "")), must(job("job")))
})

func job(name string) *Field {
	text := func(name string) *Field { return &Field{Name: name} }
	return object(name,
		must(id("id", "")),
		must(word("state", "pending", "running", "success", "failed", "cancelled")),
		must(moment("createdAt")),
		moment("startedAt"),
		moment("completedAt"),
		raw("output", 0),
		object("error", must(text("code")), must(text("message")), text("type"), text("frame")),
		must(&Field{Name: "logs", Kind: List, Of: []*Field{text("")}}),
		must(object("metadata",
			must(id("requestId", "")),
			must(text("userId")),
			must(text("orgId")),
			must(text("action")),
			must(raw("inputs", 0)),
		)),
		id("correlationId", ""),
		id("parentId", ""),
		id("rootId", ""),
		id("retryOf", ""),
		raw("attempt", 0),
		raw("executions", 0),
		raw("unapplied", 0),
		raw("incomplete", 0),
		raw("unreadable", 0),
	)
}

// Carrier returns the table of what a Carrier holds (docs/format.md, F3).
var Carrier = sync.OnceValue(func() *Field {
	return object("",
		must(id("job", "")),
		answer(identifier("action")),
		id("correlation", ""),
		id("request", ""),
		id("root", ""),
		id("parent", ""),
		id("retryOf", ""),
		identifier("org"),
		resource(),
		identifier("target"),
		identifier("traceparent"),
		must(identityFields("principal")),
		list("onBehalfOf", identityFields("")),
		count("more"),
		object("upstream", answer(identifier("system")), answer(identifier("eventId"))),
		must(object("trigger",
			must(identifier("kind")),
			answer(freeText("reason", MaxText)),
			identifier("ref"),
		)),
		object("head",
			must(id("stream", ours)),
			must(integer("seq", 1, MaxCount)),
			must(hash("hash")),
			id("event", oursOrSet),
		),
		id("cause", oursOrSet),
		id("recorder", ours),
		id("submission", ours),
		flag("removed"),
		flag("removedAbove"),
	)
})

func identityFields(name string) *Field {
	return object(name, must(identifier("kind")), answer(identifier("id")))
}
