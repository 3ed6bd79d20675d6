// Shows what verify.js has proven. All text goes through plain() into text nodes:
// nothing of an event is ever read as HTML.
"use strict";
(async () => {
	const byId = (id) => document.getElementById(id);
	const status = byId("status"), report = byId("report"), given = byId("given");

	// plain makes characters visible that would hide or turn text.
	const plain = (value) => String(value ?? "").replace(/[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Cn}\p{Zl}\p{Zp}]/gu, (c) => "\\u" + c.codePointAt(0).toString(16).padStart(4, "0"));

	// make makes an element: texts become text nodes, false and null nothing.
	function make(tag, attributes, ...children) {
		const e = document.createElement(tag);
		for (const [name, value] of Object.entries(attributes || {})) e.setAttribute(name, value);
		for (const c of children.flat(Infinity)) if (c !== null && c !== undefined && c !== false && c !== "") e.append(c instanceof Node ? c : plain(c));
		return e;
	}

	function table(head, rows) {
		return make("table", {}, make("thead", {}, make("tr", {}, head.map((h) => make("th", {scope: "col"}, h)))), make("tbody", {}, rows));
	}
	const row = (...cells) => make("tr", {}, cells.map((c) => (c instanceof Node && c.tagName === "TD" ? c : make("td", {}, c))));
	const section = (title, ...children) => report.append(make("h2", {}, title), ...children.filter(Boolean));
	const list = (pairs) => make("dl", {}, pairs.filter(([, v]) => v !== "" && v !== undefined && v !== null).map(([k, v]) => [make("dt", {}, k), make("dd", {}, v)]));
	const clock = (time) => (time || "").replace("T", " ").replace(/\.(\d{3})\d*Z$/, ".$1").replace(/Z$/, "");
	const json = (v) => (v === undefined || v === null ? "" : JSON.stringify(v));
	const id = (v) => make("span", {class: "id"}, v);

	function groups(items, key) {
		const found = new Map();
		for (const item of items) found.has(key(item)) ? found.get(key(item)).push(item) : found.set(key(item), [item]);
		return found;
	}

	// text reads a text, or the marker in place of one (docs/format.md, F3).
	function text(v) {
		if (v && typeof v === "object") return v.$jobaudit === "truncated" ? v.head + "… (" + v.size + " bytes in all)" : "(dropped: " + v.rule + ")";
		return v ?? "";
	}
	const person = (p) => [p.kind, p.id, p.name ? "“" + text(p.name) + "”" : "", "(" + [p.assurance, p.auth && p.auth.method].filter(Boolean).join(", ") + ")"].filter(Boolean).join(" ");
	const who = (w) => [person(w.principal), w.orgId && "organization " + w.orgId, w.onBehalfOf && "on behalf of " + w.onBehalfOf.map(person).join(", for "),
		w.upstream && "set off by " + w.upstream.system + " event " + w.upstream.eventId].filter(Boolean).join("; ");
	const where = (w) => [w.system + " in " + w.environment, "host " + w.host, "version " + w.version, "instance " + w.instance, w.target && "target " + w.target, w.sourceIp && "asked from " + w.sourceIp].filter(Boolean).join(", ");
	const why = (w) => w.trigger + ": " + text(w.reason) + (w.ref ? " (" + w.ref + ")" : "");

	// redacted says what was withheld of an event, and by which policy.
	function redacted(r) {
		if (!r) return "";
		const gone = [...(r.removed || []).map((x) => x.path + " (" + x.class + ")"), ...(r.hits || []).map((x) => x.path + " (found by " + x.rule + ")")];
		if (r.removedCount) gone.push(r.removedCount + " unnamed");
		const policy = r.policy ? "policy " + r.policy + " " + r.version : "no policy";
		if (r.outcome !== "kept" && r.outcome !== "passed_through") return "withheld, " + policy + (r.outcome === "no_policy" ? "" : ": " + r.outcome);
		return (gone.length ? "removed " + gone.join(", ") + "; " : "") + policy;
	}

	// details says what an event says beyond who, where and why.
	function details(e) {
		const d = e.data || {}, parts = [];
		const add = (name, v) => { if (v !== undefined && v !== "" && v !== null) parts.push(name ? name + " " + v : v); };
		add("", d.line === undefined ? "" : text(d.line));
		if (e.what.inputs !== undefined && e.what.inputs !== null) add("inputs", json(e.what.inputs));
		if (d.output !== undefined) add("output", json(d.output));
		if (d.decision) add(d.decision.allowed ? "allowed" : "refused", (d.decision.by === "none" ? "as nothing decides" : "by " + d.decision.by) + (d.decision.reason ? ": " + text(d.decision.reason) : ""));
		if (d.error) add("", d.error.code + ": " + text(d.error.message));
		add("impact:", d.impact && text(d.impact));
		if (d.affected) add("", d.affected.count + " " + d.affected.unit);
		if (d.correction) add(d.correction.kind, "of event " + d.correction.of + ": " + text(d.correction.reason));
		if (d.snapshot) add(d.snapshot.moment, text(d.snapshot.resource) + " " + d.snapshot.digest);
		if (d.heartbeat && d.heartbeat.progress) add("progress", d.heartbeat.progress.done + (d.heartbeat.progress.total ? " of " + d.heartbeat.progress.total : ""));
		if (d.lost) add("", d.lost.count + " events were lost: " + d.lost.types.join(", "));
		if (d.degraded) add("", text(d.degraded.reason) + (d.degraded.count ? ", " + d.degraded.count + " events" : ""));
		if (d.existing) add("duplicate of job", d.existing);
		if (d.missing) add("missing snapshots:", d.missing.join(", "));
		if (d.act) add("", [d.act.scope && "scope " + json(d.act.scope), d.act.data !== undefined && json(d.act.data)].filter(Boolean).join(", "));
		if (d.policy) add("policy", d.policy.action + " " + d.policy.version);
		if (d.recovery) add("recovery", json(d.recovery));
		if (/^audit\.(read|reviewed|erased)$/.test(e.type) || e.type === "job.cancelled" || e.type === "job.corrected") add("by", person(e.who.principal) + ", because " + text(e.why.reason));
		add("", redacted(e.what.redaction));
		return parts.join("; ");
	}

	// fold makes a job of its events.
	function fold(jobId, records) {
		let job;
		try {
			const counts = records.filter((r) => !r.aside);
			if (!counts.length) throw new Error("it is in no log here that says how a job ended");
			job = {id: jobId, ...jobauditFold.replay(counts), records};
		} catch (err) { // its records contradict each other, or none counts
			return {id: jobId, records, state: "unknown", error: err.message, first: records[0].event, executions: 0, unapplied: []};
		}
		const d = (job.end && job.end.data) || {};
		job.error = d.error ? d.error.code + ": " + text(d.error.message) : job.end && job.end.type === "job.denied" ? "FORBIDDEN" : job.end && job.end.type === "job.deduplicated" ? "DUPLICATE" : "";
		return job;
	}
	const stateOf = (job) => make("span", {class: job.state}, job.state, !job.end && ", no end here", job.incomplete && ", submitted elsewhere");
	const duration = (job) => (job.started && job.completed ? ((Date.parse(job.completed) - Date.parse(job.started)) / 1000).toFixed(3) + " s" : "");

	function eventRow(r) {
		const e = r.event;
		const raw = make("details", {}, make("summary", {class: "faint"}, "event " + e.id + ", index " + r.index));
		raw.addEventListener("toggle", () => { if (raw.childElementCount < 2) raw.append(make("pre", {}, r.line), make("p", {class: "faint"}, "leaf hash " + r.hash)); }, {once: true});
		const log = r.log && make("div", {class: "faint"}, "in the log " + r.log + (r.aside ? ", which only corrects, or may do so: it does not count" : ""));
		return row(make("td", {class: "time"}, clock(e.time)), make("td", {class: "type"}, e.type), make("td", {}, details(e), log, raw));
	}
	const events = (records) => table(["Time (UTC)", "Event", "What it says"], records.map(eventRow));

	// story shows one job whole.
	function story(job) {
		const e = job.first, d = (job.end && job.end.data) || {};
		return [
			list([["Who", who(e.who)], ["What", e.what.action + (e.what.resource ? " on " + text(e.what.resource) : "")], ["Where", where(e.where)], ["Why", why(e.why)],
				["When", clock(e.time) + (job.started ? ", started " + clock(job.started) : "") + (job.completed ? ", ended " + clock(job.completed) : "") + (duration(job) ? ", ran " + duration(job) : "")],
				["State", stateOf(job)], ["Error", job.error], ["Impact", d.impact && text(d.impact)],
				["Lineage", [e.job.parentId && "child of " + e.job.parentId, e.job.retryOf && "retry of " + e.job.retryOf, "root " + e.job.rootId, "correlation " + e.correlationId].filter(Boolean).join(", ")],
				["Not applied", job.unapplied.map(([x, cause]) => x.type + " " + x.id + " (" + cause + ")").join(", ")]]),
			events(job.records)];
	}

	function family(jobs) {
		const known = new Map(jobs.map((j) => [j.id, j]));
		const children = groups(jobs, (j) => (known.has(j.first.job.parentId) ? j.first.job.parentId : ""));
		const branch = (of, depth) => make("ul", {class: "tree"}, (children.get(of) || []).map((j) => make("li", {}, j.first.what.action + " ", stateOf(j), " ", id(j.id), " ", make("span", {class: "faint"}, duration(j)), depth < 100 && children.has(j.id) && branch(j.id, depth + 1))));
		return branch("", 0);
	}

	// totals counts what a reviewer looks for first.
	function totals(jobs, all) {
		const of = (...types) => all.filter((r) => types.includes(r.event.type)).length;
		const policies = new Map(), people = new Map();
		for (const r of all) {
			const x = r.event.what.redaction;
			if (x && (x.removed || x.hits || x.removedCount || !/^(kept|passed_through)$/.test(x.outcome))) {
				const name = x.policy ? x.policy + " " + x.version : "no policy";
				policies.set(name, (policies.get(name) || 0) + 1);
			}
		}
		for (const j of jobs) {
			const name = j.first.who.principal.kind + " " + j.first.who.principal.id + ": " + j.first.what.action;
			people.set(name, (people.get(name) || 0) + 1);
		}
		const most = (m) => [...m].sort((a, b) => b[1] - a[1]).slice(0, 50).map(([k, n]) => k + " (" + n + ")").join("; ");
		const n = (state) => jobs.filter((j) => j.state === state).length;
		return list([["Jobs", jobs.length + ": " + ["success", "failed", "cancelled", "running", "pending"].filter(n).map((s) => n(s) + " " + s).join(", ")],
			["Denied", of("job.denied")], ["Corrections", of("job.corrected")], ["Acts on records", of("audit.read", "audit.reviewed", "audit.requested", "audit.erased")],
			["Starts without an end", n("running")], ["Attempts lost", of("attempt.lost")], ["Events lost", of("audit.lost", "audit.degraded")],
			["Who did what", most(people)], ["Withheld by", most(policies) || "nothing was withheld"]]);
	}

	// evidenceFor says of a row of the standards whether the events hold evidence.
	function evidenceFor(rule, all) {
		if (rule.kind === "proof") return "present: each event is under a signed head, by hashes";
		if (rule.kind === "none") return "not ours";
		const found = all.filter(({event: e}) => rule.kind === "types" ? rule.types.includes(e.type) : rule.kind === "redaction" ? e.what.redaction || e.type === "audit.erased"
			: rule.kind === "person" ? e.who.principal.kind === "user" : rule.kind === "clock" ? e.data && e.data.environment && e.data.environment.clock : e.job).length;
		return found ? "present: " + found + (found === 1 ? " event" : " events") : "absent here";
	}
	const compliance = (all) => table(["Source", "Asks for", "Evidence here", "What counts, and what is not ours"],
		standards.map((s) => row(make("td", {class: "source"}, s.source), s.asks, evidenceFor(s.evidence, all), s.note + (s.read === "read" ? "" : " (the source was not read for this table)"))));

	function said(statement) {
		const s = statement.scope, words = [];
		if (s.jobId) words.push("job " + s.jobId);
		if (s.rootId) words.push("the family of job " + s.rootId);
		if (s.correlationId) words.push("correlation " + s.correlationId);
		if (s.actingFor) words.push("by or on behalf of " + s.actingFor);
		if (s.action) words.push("action " + s.action);
		if (s.since) words.push("from " + clock(s.since));
		if (s.until) words.push("until " + clock(s.until));
		return words.join(", ");
	}

	// place notes at each event that is not in the first log in which it is. A companion's
	// key is there to say something about a job, and not to say how the job ended. A log's
	// name and first event tell that it is one; what is later its key writes as it likes.
	function place(logs, whole) {
		const companion = ({origin, records: [first]}) => /\/acts(\/s([2-9]|[1-9][0-9]+))?$/.test(origin) ||
			(first && first.index === 0 ? Boolean(first.event.data && first.event.data.companionOf) : whole && logs.length > 1);
		const hashes = (of) => new Set(of.flatMap((l) => l.records.map((r) => r.hash)));
		const first = hashes(logs.slice(0, 1)), counted = hashes(logs.filter((l) => !companion(l)));
		for (const log of logs) for (const r of log.records) {
			const aside = r.event.job && r.event.type !== "job.corrected" && !counted.has(r.hash);
			Object.assign(r, {aside, log: aside || !first.has(r.hash) ? log.origin : ""});
		}
	}

	function show(result) {
		place(result.logs, !result.statement.summary);
		const all = jobauditFold.merge(result.logs.map((l) => l.records)), jobs = [...groups(all.filter((r) => r.event.job), (r) => r.event.job.id)].map(([k, v]) => fold(k, v));
		section("What it is about", list([["Scope", said(result.statement)], ["Made", clock(result.statement.made) + " with " + result.statement.by],
			["Complete", result.statement.summary ? "no: these jobs are not complete here. There are too many events for one file, see the summary" : result.statement.streams.length + (jobs.length === 1 ? " streams of one job, each" : " streams of " + jobs.length + " jobs, each") + " from its first event to its last here, without a gap"]]),
			make("p", {class: "faint"}, "Scope, date and program, and that these are all jobs and all events, are said by the person who made the file. The rest is proven."));
		if (result.statement.summary) return summary(result.statement.summary, all), standard(all), heads(result);
		section("Totals", totals(jobs, all));
		section("Jobs", table(["Submitted (UTC)", "Action", "Who", "State", "Ran", "Attempts", "Error"], jobs.map((j) => row(make("td", {class: "time"}, clock(j.first.time)), [j.first.what.action, make("br"), id(j.id)], person(j.first.who.principal), make("td", {class: "type"}, stateOf(j)), make("td", {class: "type"}, duration(j)), String(j.executions), j.error))));
		if (jobs.length > 1) section("Lineage", family(jobs));
		section("Records");
		for (const j of jobs) {
			const open = all.length <= 2000;
			const box = make("details", open ? {open: ""} : {}, make("summary", {}, j.first.what.action + " " + j.id));
			if (open) box.append(...story(j));
			else box.addEventListener("toggle", () => box.append(...story(j)), {once: true});
			report.append(box);
		}
		const audit = all.filter((r) => !r.event.job);
		if (audit.length) report.append(make("h3", {}, "Of the audit itself"), events(audit));
		standard(all);
		heads(result);
	}

	const standard = (all) => section("What standards ask", make("p", {}, "Whether these events hold evidence for what each source asks for. This is no judgement of conformity: that takes an assessor, and more than a log of jobs."), compliance(all));
	const heads = (result) => section("Heads and keys", table(["Log", "Size", "Root", "Key"], result.logs.map((l) => row(l.origin, String(l.size), id(l.root), id(l.keyed)))));

	// summary shows a period that has too many events for a file.
	function summary(s, all) {
		const counts = (l) => l.map((x) => x.name + " (" + x.n + ")").join("; ");
		section("Summary, as the person who made the file says", list([["Events", String(s.events)], ["Jobs", String(s.jobs)], ["Starts without an end", String(s.unended)],
			["Gaps in streams", String(s.gaps)], ["Who did what", counts(s.who)], ["Withheld by", counts(s.withheld)], ["Of each type", Object.entries(s.types).map(([k, n]) => k + " (" + n + ")").join("; ")]]));
		section("Failures, denials, corrections, losses, and acts on records", make("p", {}, all.length + " events, which are proven" + (s.left ? "; " + s.left + " more had no room" : "") + "."),
			table(["Time (UTC)", "Event", "What it says"], all.map((r) => { const line = eventRow(r); line.lastChild.prepend(r.event.job ? r.event.what.action + " " : "", r.event.job ? id(r.event.job.id) : "", " "); return line; })));
	}

	function tell(kind, message, problems) {
		status.className = "status " + kind;
		status.replaceChildren(make("span", {}, message), ...(problems && problems.length ? [make("ul", {}, problems.map((p) => make("li", {}, (p.number ? "proof " + p.number + (p.event ? ", event " + p.event : "") + ": " : "") + p.what)))] : []));
		document.body.dataset.verdict = kind || "checking";
	}

	// The evidence. Where it is not in its form any more, so much of it is read as
	// is needed to say where; nothing of that is shown.
	const source = byId("evidence").textContent;
	let bytes = jobauditEvidence.fromBase64(source), evidence = "", damaged = !bytes;
	if (damaged) {
		const body = source.replace(/={0,2}$/, "").replace(/[^A-Za-z0-9+/]/g, "A");
		bytes = Uint8Array.from(atob(body.slice(0, body.length - (body.length % 4 === 1 ? 1 : 0))), (c) => c.charCodeAt(0));
	}
	try {
		evidence = new TextDecoder("utf-8", {fatal: true, ignoreBOM: true}).decode(bytes);
	} catch {
		damaged = true;
		evidence = new TextDecoder("utf-8", {ignoreBOM: true}).decode(bytes);
	}

	async function check() {
		report.replaceChildren();
		if (!(await jobauditEvidence.supported())) return tell("bad", "This browser cannot check Ed25519 signatures here, so nothing is shown. Take a newer one, or jobaudit check-report.");
		tell("", "Checking…");
		const pasted = given.value.split("\n").map((k) => k.trim()).filter(Boolean);
		let keys = pasted, result;
		try {
			if (!pasted.length) keys = JSON.parse(evidence.split("\n", 2)[1]).logs.map((l) => l.key);
		} catch { keys = []; }
		try {
			result = await jobauditEvidence.open(evidence, keys, (n, of) => tell("", "Checking… " + Math.round((n / of) * 100) + " %"));
		} catch (err) {
			return tell("bad", "NOT PROVEN: " + (pasted.length ? "the key: " : "the key that came with the file: ") + err.message);
		}
		if (damaged) result.problems.push({number: 0, event: "", what: "the evidence in this page is not in its form any more"});
		if (result.problems.length) return tell("bad", "NOT PROVEN: something was changed. Nothing is shown.", result.problems);
		try {
			show(result);
		} catch (err) {
			report.replaceChildren();
			return tell("bad", "The events are proven, but this page cannot show them: " + err.message);
		}
		const n = result.logs.reduce((sum, l) => sum + l.records.length, 0);
		if (pasted.length) tell("good", "PROVEN with the key that you gave: " + n + " events are as they were signed.");
		else tell("own", n + " events agree with the key that came with this file. That proves nothing yet: compare the key with one that you have from elsewhere, or paste that one above. " + keys.join(" "));
	}

	byId("form").addEventListener("submit", (e) => { e.preventDefault(); check(); });
	if (!damaged) {
		const save = byId("save");
		save.hidden = false;
		save.addEventListener("click", () => {
			const a = make("a", {download: "jobs.evidence", href: URL.createObjectURL(new Blob([bytes]))});
			a.click();
		});
	}
	await check();
})();
