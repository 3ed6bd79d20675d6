// Checks a file of evidence (docs/format.md, F8) with WebCrypto and nothing else.
//
//   const result = await jobauditEvidence.open(text, ["NAME+HASH+KEY", …])
//
// result.problems is empty if all of it is proven: each is {number, event, what},
// the number of the proof in the file from 1, 0 for none, and the event's ID as
// the bytes at hand say. Only then result.logs holds the events:
// [{origin, size, root, keyed, records: [{index, hash, line, event}]}].
// result.statement is the word of the person who made the file. It takes no key
// from the file by itself.
"use strict";
const jobauditEvidence = (() => {
	const utf8 = new TextEncoder();
	const subtle = globalThis.crypto && globalThis.crypto.subtle;
	const sha256 = async (bytes) => new Uint8Array(await subtle.digest("SHA-256", bytes));

	function toBase64(bytes) {
		if (bytes.toBase64) return bytes.toBase64();
		let s = "";
		for (let i = 0; i < bytes.length; i += 8192) s += String.fromCharCode(...bytes.subarray(i, i + 8192));
		return btoa(s);
	}

	// fromBase64 takes the one form that bytes have: null for any other.
	function fromBase64(text) {
		if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text) || text.length % 4) return null;
		if (Uint8Array.fromBase64) {
			try {
				return Uint8Array.fromBase64(text, {lastChunkHandling: "strict"});
			} catch { return null; }
		}
		const binary = atob(text);
		const bytes = new Uint8Array(binary.length);
		for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
		return text.length && toBase64(bytes.subarray(bytes.length - ((bytes.length - 1) % 3) - 1)) !== text.slice(-4) ? null : bytes;
	}

	const decimal = (text) => (/^(0|[1-9][0-9]{0,15})$/.test(text) && Number(text) <= 2 ** 53 ? Number(text) : -1);
	const isHash = (text) => text.length === 44 && fromBase64(text)?.length === 32;

	// parseKey reads a verifier key.
	async function parseKey(text) {
		const [, name, hash, key] = /^([^+]+)\+([0-9a-f]{8})\+(.+)$/.exec(text.trim()) || [];
		const bytes = key && fromBase64(key);
		if (!bytes || bytes.length !== 33 || bytes[0] !== 1) throw new Error("this is no verifier key: NAME+HASH+KEY");
		const prefix = utf8.encode(name + "\n"), all = new Uint8Array(prefix.length + 33);
		all.set(prefix);
		all.set(bytes, prefix.length);
		const id = (await sha256(all)).subarray(0, 4);
		if ([...id].map((b) => b.toString(16).padStart(2, "0")).join("") !== hash) throw new Error("the verifier key is mistyped: its hash does not agree");
		const verifier = await subtle.importKey("raw", bytes.subarray(1), {name: "Ed25519"}, false, ["verify"]);
		return {name, id, verifier, text: text.trim()};
	}

	// openHead checks a signed head: the text and the signatures are its two blocks.
	async function openHead(text, signatures, keys) {
		if (utf8.encode(text).length + utf8.encode(signatures).length + 3 > 16384) throw new Error("malformed: it is larger than 16 KiB");
		const [origin, size, root] = text.split("\n");
		const head = {origin, size: decimal(size || ""), root, records: []};
		if (!origin || head.size < 1 || !isHash(root || "")) throw new Error("malformed");
		const key = keys.find((k) => k.name === origin);
		if (!key) throw new Error("no key of this log was given");
		let good = false;
		for (const line of signatures.split("\n")) {
			const [, name, value] = /^— (\S+) (\S+)$/.exec(line) || [];
			const bytes = value && fromBase64(value);
			if (!bytes || bytes.length < 5) throw new Error("malformed signature");
			if (name !== origin || !key.id.every((b, i) => b === bytes[i])) continue;
			if (!(await subtle.verify({name: "Ed25519"}, key.verifier, bytes.subarray(4), utf8.encode(text + "\n")))) throw new Error("bad signature");
			good = true;
		}
		if (!good) throw new Error("not signed by the given key");
		head.keyed = key.text;
		return head;
	}

	// steps lists the nodes from a leaf up to the root (RFC 6962, 2.1.1): each with
	// the range of leaves below it and the range of its sibling.
	function steps(index, size) {
		const list = [];
		let lo = 0, hi = size;
		while (hi - lo > 1) {
			let k = 1;
			while (k * 2 < hi - lo) k *= 2;
			const parent = lo + "-" + hi;
			if (index < lo + k) {
				list.push({left: true, sibling: lo + k + "-" + hi, parent});
				hi = lo + k;
			} else {
				list.push({left: false, sibling: lo + "-" + (lo + k), parent});
				lo += k;
			}
		}
		return list.reverse();
	}

	async function nodeHash(left, right) {
		const all = new Uint8Array(65);
		all[0] = 1;
		all.set(left, 1);
		all.set(right, 33);
		return sha256(all);
	}

	// prove checks one proof. known holds the hashes of the nodes on and beside the
	// paths that are proven: above one of them the path is known, and only compared.
	async function prove(block, head, known) {
		const lines = block.split("\n");
		if (lines[0] !== "c2sp.org/tlog-proof@v1" || !(lines[1] || "").startsWith("extra ") || !(lines[2] || "").startsWith("index ")) throw new Error("malformed");
		const leaf = fromBase64(lines[1].slice(6)), index = decimal(lines[2].slice(6)), path = lines.slice(3);
		if (!leaf || !leaf.length || leaf.length > 65535) throw new Error("malformed");
		const way = index < 0 || index >= head.size ? null : steps(index, head.size);
		if (!way || way.length !== path.length) throw new Error("does not lead to the signed root");
		const prefixed = new Uint8Array(leaf.length + 1);
		prefixed.set(leaf, 1);
		let hash = await sha256(prefixed), text = toBase64(hash), at = index + "-" + (index + 1), i = 0;
		const leafHash = text, found = [[at, text]];
		for (; i < path.length && !known.has(at); i++) {
			if (!isHash(path[i])) throw new Error("malformed");
			const other = fromBase64(path[i]);
			hash = way[i].left ? await nodeHash(hash, other) : await nodeHash(other, hash);
			text = toBase64(hash);
			at = way[i].parent;
			found.push([way[i].sibling, path[i]], [at, text]);
		}
		if (text !== (known.has(at) ? known.get(at) : head.root)) throw new Error("does not lead to the signed root");
		for (; i < path.length; i++) if (path[i] !== known.get(way[i].sibling)) throw new Error("does not lead to the signed root");
		for (const [range, value] of found) known.set(range, value);
		const line = new TextDecoder("utf-8", {fatal: true, ignoreBOM: true}).decode(leaf);
		return {index, hash: leafHash, line, event: JSON.parse(line)};
	}

	// idIn returns the ID that an event seems to have, for people to look for.
	function idIn(block) {
		const [, extra] = /\nextra ([A-Za-z0-9+/]{4,400})/.exec(block) || [];
		if (!extra) return "";
		const begin = atob(extra.slice(0, extra.length - (extra.length % 4)));
		return (/"id":"([0-9a-f-]{36})"/.exec(begin) || [])[1] || "";
	}

	// micros is a time in microseconds since 1970.
	function micros(time) {
		const [, seconds, fraction] = /^(.*?)(?:\.([0-9]+))?Z$/.exec(time) || [];
		return Date.parse(seconds + "Z") * 1000 + Number((fraction || "").padEnd(6, "0").slice(0, 6));
	}

	// matches reports whether an event brings its job into the scope.
	function matches(e, scope) {
		const time = micros(e.time);
		return (!scope.jobId || e.job.id === scope.jobId) && (!scope.rootId || e.job.rootId === scope.rootId) &&
			(!scope.correlationId || e.correlationId === scope.correlationId) && (!scope.action || e.what.action === scope.action) &&
			(!scope.actingFor || [e.who.principal, ...(e.who.onBehalfOf || [])].some((p) => p.id === scope.actingFor)) &&
			(!scope.since || time >= micros(scope.since)) && (!scope.until || time < micros(scope.until));
	}

	// notable are the types of events that stand beside a summary.
	const notable = new Set(["job.failed", "job.denied", "job.cancelled", "job.corrected", "attempt.lost", "attempt.superseded",
		"audit.lost", "audit.degraded", "audit.erased", "audit.read", "audit.reviewed", "audit.requested"]);

	// checkBeside requires of what stands beside a summary that it can stand there, and
	// that it is as much as the summary says.
	function checkBeside(about, summary, logs, wrong) {
		const period = !about.actingFor && !about.action;
		let number = 0;
		for (const log of logs) for (const {event: e} of log.records) {
			number++;
			const inScope = e.job ? !about.action || e.what.action === about.action : period && matches(e, about);
			if (!notable.has(e.type) || !inScope) wrong(number, e.id, "the statement has a summary, beside which no such event stands: " + e.type);
		}
		const types = [...notable].map((t) => summary.types[t] || 0);
		if ([summary.left, ...types].some((n) => !(n >= 0)) || types.reduce((sum, n) => sum + n, 0) !== number + summary.left) wrong(0, "", "the statement has a summary, which counts more or fewer events that a reviewer looks for than the " + number + " here, and those that it says had no room");
	}

	// check compares the statement with the events, all of which are proven.
	function check(statement, logs, wrong) {
		if (statement.logs.length !== logs.length || logs.some((l, i) => l.origin !== statement.logs[i].origin)) return wrong(0, "", "the statement names other logs");
		const about = statement.scope;
		if (statement.summary && (about.jobId || about.rootId || about.correlationId || statement.streams.length)) wrong(0, "", "the statement has a summary, and is not about a period: all events of its jobs must be here");
		if (statement.summary) return checkBeside(about, statement.summary, logs, wrong);
		const streams = new Map(), jobs = new Map();
		let number = 0;
		for (const log of logs) for (const record of log.records) {
			number++;
			const e = record.event;
			if (!e.job) continue;
			if (!streams.has(e.stream.id)) streams.set(e.stream.id, []);
			streams.get(e.stream.id).push({number, ...record});
			const job = jobs.get(e.job.id) || {number, ok: false};
			job.ok ||= matches(e, statement.scope);
			jobs.set(e.job.id, job);
		}
		const list = [];
		for (const [id, events] of streams) {
			events.sort((a, b) => a.event.stream.seq - b.event.stream.seq);
			let before = null;
			for (const r of events) {
				const s = r.event.stream;
				if (before && s.seq === before.event.stream.seq && r.hash === before.hash) continue;
				if (s.seq !== (before ? before.event.stream.seq + 1 : 1)) wrong(r.number, r.event.id, "events of its stream are missing before it");
				else if (before && s.prev !== before.hash) wrong(r.number, r.event.id, "it follows another event than the one that is here");
				before = r;
			}
			list.push(id + " " + before.event.stream.seq);
		}
		if (list.join() !== statement.streams.map((s) => s.id + " " + s.last).join()) wrong(0, "", "the events here are not those that the statement names: a stream is missing, or its end");
		for (const [id, job] of jobs) if (!job.ok) wrong(job.number, "", "job " + id + " is not one that the statement is about");
	}

	// open checks a file. progress, if given, is called with the number of proofs
	// that are checked, and of all.
	async function open(text, keyTexts, progress) {
		const problems = [], logs = [];
		const wrong = (number, event, what) => { if (problems.length < 100) problems.push({number, event, what}); };
		const result = {problems, logs: [], statement: null};
		const blocks = text.split("\n\n");
		if (!blocks[0].startsWith("jobaudit.evidence/v1\n") || blocks.length < 4) {
			wrong(0, "", "this is no file of evidence, or its first line was changed");
			return result;
		}
		const keys = [];
		for (const k of keyTexts) keys.push(await parseKey(k));
		try {
			result.statement = JSON.parse(blocks[0].slice(blocks[0].indexOf("\n") + 1));
			if (!Array.isArray(result.statement.logs) || !Array.isArray(result.statement.streams) || typeof result.statement.scope !== "object") throw new Error();
		} catch {
			wrong(0, "", "the statement at the beginning of the file is malformed");
		}
		const last = blocks.pop();
		const covered = utf8.encode(text.slice(0, text.length - last.length));
		const agrees = last === "sha256 " + toBase64(await sha256(covered)) + "\n";
		let head = null, heads = 0, number = 0, known = null;
		const total = blocks.length;
		for (let i = 1; i < blocks.length; i++) {
			const block = blocks[i];
			if (block.startsWith("c2sp.org/tlog-proof@v1")) {
				number++;
				if (!head) {
					if (heads++ === 0) wrong(number, idIn(block), "no signed head stands before it");
					continue;
				}
				try {
					const record = await prove(block, head, known);
					const before = head.records[head.records.length - 1];
					if (before && before.index >= record.index) throw new Error("it stands behind a later one");
					head.records.push(record);
				} catch (err) {
					wrong(number, idIn(block), err.message);
				}
				if (progress && number % 500 === 0) {
					progress(i, total);
					await new Promise((done) => setTimeout(done));
				}
			} else if (i + 1 < blocks.length && blocks[i + 1].startsWith("— ")) {
				heads++;
				try {
					head = await openHead(block, blocks[++i], keys);
					known = new Map();
					logs.push(head);
				} catch (err) {
					head = null;
					wrong(0, "", "the signed head of the log " + JSON.stringify(block.split("\n")[0]) + ": " + err.message);
				}
			} else if (block.includes("\nextra ")) {
				number++;
				wrong(number, idIn(block), "it is no proof: its first line was changed");
			} else {
				head = null;
				heads++;
				wrong(0, "", "behind proof " + number + " stands what is neither a proof nor a signed head");
			}
		}
		if (!problems.length && !heads) wrong(0, "", "there is no signed head");
		if (!problems.length) check(result.statement, logs, wrong);
		if (!problems.length && !agrees) wrong(0, "", "the hash over the whole file does not agree: the statement at its beginning, or the hash at its end, was changed");
		if (!problems.length) result.logs = logs;
		return result;
	}

	return {open, parseKey, fromBase64, supported: async () => {
		try {
			await subtle.importKey("raw", fromBase64("11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="), {name: "Ed25519"}, false, ["verify"]);
			return true;
		} catch { return false; }
	}};
})();
