// Brings the events of a job, or of several logs, into their order, and folds a job of
// its events: the rules of docs/format.md, F1 and F2, that package jobaudit has for
// Replay and package story for Merge.
//
//   const records = jobauditFold.merge([logRecords, …])  // each [{hash, event}]
//   const job = jobauditFold.replay(recordsOfOneJob)
//
// A job has: state, created, started and completed (times), first (the event that says
// whose it is), end (the event of its outcome), executions, incomplete, and unapplied, which
// lists [event, cause]. A test holds it to Replay.
"use strict";
const jobauditFold = (() => {
	const terminal = (state) => state === "success" || state === "failed" || state === "cancelled";
	const isVerdict = (e) => e.id[14] === "8";
	const order = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
	const bytes = (hash) => atob(hash); // compares as the bytes do

	// compare orders by verdict or not, by ID and by hash: verdicts last, or first.
	const compare = (a, b, last) => last * (isVerdict(a.event) - isVerdict(b.event)) || order(a.event.id, b.event.id) || order(bytes(a.hash), bytes(b.hash));

	function push(map, key, value) {
		if (map.has(key)) map.get(key).push(value);
		else map.set(key, [value]);
	}

	// graph lists for each record those that it follows: the one before it in its
	// stream, the newest one of the stream that it resumes, and its cause.
	function graph(records) {
		const streams = new Map(), byId = new Map(), byHash = new Map();
		records.forEach((r, i) => {
			push(streams, r.event.stream.id, i);
			byHash.set(r.hash, i);
			const have = byId.get(r.event.id);
			if (have === undefined || compare(r, records[have], 1) < 0) byId.set(r.event.id, i);
		});
		const seq = (i) => records[i].event.stream.seq;
		for (const list of streams.values()) list.sort((a, b) => seq(a) - seq(b) || compare(records[a], records[b], 1));
		function newest(stream, most, hash) {
			const list = streams.get(stream) || [];
			let n = 0;
			for (let below = list.length; n < below;) {
				const half = (n + below) >> 1;
				if (seq(list[half]) <= most) n = half + 1;
				else below = half;
			}
			if (n === 0) return -1;
			const number = seq(list[n - 1]), named = byHash.get(hash);
			if (named !== undefined && records[named].event.stream.id === stream && seq(named) === number) return named;
			while (n > 1 && seq(list[n - 2]) === number) n--;
			return list[n - 1];
		}
		return records.map(({event: e}, i) => {
			const after = e.stream.after, cause = byId.get(e.causationId);
			const before = [e.stream.seq > 0 ? newest(e.stream.id, e.stream.seq - 1, e.stream.prev) : -1, after ? newest(after.stream, after.seq, after.hash) : -1, cause === undefined ? -1 : cause];
			return before.filter((p) => p >= 0 && p !== i);
		});
	}

	// heap hands out the number of the lowest rank.
	function heap(rank) {
		const h = [];
		const swap = (a, b) => ([h[a], h[b]] = [h[b], h[a]]);
		const less = (a, b) => rank[h[a]] < rank[h[b]];
		return {
			size: () => h.length,
			push(i) {
				let at = h.push(i) - 1;
				for (let up = (at - 1) >> 1; at > 0 && less(at, up); up = (at - 1) >> 1) {
					swap(at, up);
					at = up;
				}
			},
			pop() {
				const top = h[0], end = h.pop();
				if (!h.length) return top;
				h[0] = end;
				for (let at = 0, low = 1; low < h.length; low = 2 * at + 1) {
					if (low + 1 < h.length && less(low + 1, low)) low++;
					if (!less(low, at)) break;
					swap(low, at);
					at = low;
				}
				return top;
			},
		};
	}

	// sorter is a topological sort: of those that follow nothing any more, the one of the
	// lowest rank comes next, or one that leads a log.
	function sorter(before, todo, rank) {
		const s = {after: before.map(() => []), waits: before.map(() => 0), placed: before.map(() => false), leading: heap(rank)};
		const ready = heap(rank), path = [], onPath = new Set();
		let next = 0;
		todo = [...todo].sort((a, b) => rank[a] - rank[b]);
		for (const i of todo) {
			s.waits[i] = before[i].length;
			for (const p of before[i]) s.after[p].push(i);
			if (!s.waits[i]) ready.push(i);
		}
		const enter = (i) => { path.push(i); onPath.add(i); };
		const leave = (n) => { for (const i of path.splice(n)) onPath.delete(i); };
		// waitsFor is the one of the lowest rank that one waits for.
		function waitsFor(i) {
			let lowest = -1;
			for (const p of before[i]) if (!s.placed[p] && (lowest < 0 || rank[p] < rank[lowest])) lowest = p;
			return lowest;
		}
		// breakCircle takes the one of the lowest rank of those that follow each other in a
		// circle, as only forged ones do.
		function breakCircle() {
			while (path.length && s.placed[path[path.length - 1]]) leave(path.length - 1);
			if (!path.length) {
				while (s.placed[todo[next]]) next++;
				enter(todo[next]);
			}
			for (;;) {
				const p = waitsFor(path[path.length - 1]);
				if (!onPath.has(p)) {
					enter(p);
					continue;
				}
				let at = path.indexOf(p);
				for (let n = at; n < path.length; n++) if (rank[path[n]] < rank[path[at]]) at = n;
				const i = path[at];
				leave(at);
				return i;
			}
		}
		function choose() {
			for (const from of [s.leading, ready]) {
				while (from.size()) {
					const i = from.pop();
					if (!s.placed[i]) return i;
				}
			}
			return breakCircle();
		}
		s.run = (placed) => {
			const list = [];
			while (list.length < todo.length) {
				const i = choose();
				s.placed[i] = true;
				list.push(i);
				for (const n of s.after[i]) if (--s.waits[n] === 0 && !s.placed[n]) ready.push(n);
				if (placed) placed(i);
			}
			return list;
		};
		return s;
	}

	// sorted is a log's own order, but for records that stand before what they follow.
	function sorted(before, log) {
		const rank = before.map(() => -1);
		log.forEach((i, at) => { rank[i] = at; });
		return sorter(before.map((list, i) => (rank[i] < 0 ? [] : list.filter((p) => rank[p] >= 0))), log, rank).run();
	}

	const ends = ["job.succeeded", "job.failed", "job.cancelled", "job.denied", "job.deduplicated"];
	const outcomeOf = ({event: e}) => (e.job && terminal(e.job.state) && ends.includes(e.type) ? e.job.id : "");
	const submissionOf = ({event: e}) => (e.job && e.type === "job.submitted" ? e.job.id : "");
	const claimed = ({event: e}) => e.who.principal.assurance !== "verified";

	// contests decides which of the submissions, and of the outcomes, of a job counts that
	// stand in different logs: the others follow it.
	function contests(records, before, logs) {
		const previous = records.map(() => []), first = new Map();
		logs.forEach((log) => {
			const decided = new Set();
			log.forEach((i, at) => {
				if (at > 0) previous[i].push(log[at - 1]);
				for (const [kind, job] of [["0", submissionOf(records[i])], ["1", outcomeOf(records[i])]]) {
					if (job && !decided.has(kind + job)) {
						decided.add(kind + job);
						push(first, kind + job, i);
					}
				}
			});
		});
		function follows(b, a) {
			const reached = new Set(), todo = [b];
			while (todo.length) {
				const i = todo.pop();
				if (i === a) return true;
				if (!reached.has(i)) todo.push(...before[i], ...previous[i]);
				reached.add(i);
			}
			return false;
		}
		for (const key of [...first.keys()].sort()) {
			const list = [...new Set(first.get(key))].sort((a, b) => (key[0] === "0" && claimed(records[a]) - claimed(records[b])) || compare(records[a], records[b], -1));
			const counts = list.length > 1 ? list.find((i) => !list.some((other) => other !== i && follows(i, other))) : undefined;
			for (const i of counts === undefined ? [] : list) if (i !== counts && !follows(i, counts)) before[i].push(counts);
		}
	}

	// merge brings the records of logs into one order, each record once.
	function merge(logs) {
		if (logs.length === 1) return logs[0];
		const records = [], byHash = new Map(), verdicts = new Map();
		function add(r) {
			const have = isVerdict(r.event) ? verdicts.get(r.event.id) : undefined;
			if (have !== undefined) {
				if (bytes(r.hash) < bytes(records[have].hash)) records[have] = r;
				return have;
			}
			if (isVerdict(r.event)) verdicts.set(r.event.id, records.length);
			return records.push(r) - 1;
		}
		const lists = logs.map((log) => {
			const here = new Set();
			for (const r of log) {
				if (!byHash.has(r.hash)) byHash.set(r.hash, add(r));
				here.add(byHash.get(r.hash));
			}
			return [...here];
		});
		const before = graph(records), ordered = lists.map((log) => sorted(before, log));
		contests(records, before, ordered);
		const all = records.map((_, i) => i), rank = [];
		[...all].sort((a, b) => compare(records[a], records[b], 1)).forEach((i, at) => { rank[i] = at; });
		const s = sorter(before, all, rank), heads = ordered.map(() => 0), within = all.map(() => []);
		ordered.forEach((log, n) => log.forEach((i) => within[i].push(n)));
		function lead(n) {
			const log = ordered[n];
			while (heads[n] < log.length && s.placed[log[heads[n]]]) heads[n]++;
			if (heads[n] < log.length && s.waits[log[heads[n]]] === 0) s.leading.push(log[heads[n]]);
		}
		ordered.forEach((_, n) => lead(n));
		return s.run((i) => {
			for (const n of within[i]) lead(n);
			for (const next of s.after[i]) for (const n of within[next]) if (s.waits[next] === 0 && ordered[n][heads[n]] === next) s.leading.push(next);
		}).map((i) => records[i]);
	}

	// transitions is the table of F1: what a type does to a job that is not yet known,
	// pending, running, and ended. Other types change nothing.
	const transitions = {
		"job.submitted": ["pending", "duplicate", "duplicate", "duplicate"], "job.deduplicated": ["cancelled", "cancelled", "illegal", "late"],
		"job.denied": ["cancelled", "cancelled", "", "late"], "job.started": ["running", "running", "", "late"], "attempt.started": ["running", "running", "", "late"],
		"job.succeeded": ["illegal", "illegal", "success", "late"], "job.failed": ["illegal", "illegal", "failed", "late"], "job.cancelled": ["cancelled", "cancelled", "cancelled", "late"],
	};
	const column = {"": 0, pending: 1, running: 2};
	const set = ["duplicate", "illegal", "late"];
	const happened = (e) => (e.reconstructed && e.reconstructed.queueTime) || e.time;
	const subject = (e) => JSON.stringify([e.who.orgId || "", e.what.action, e.job.rootId || "", e.correlationId || ""]);

	// authority is the submission that says whose job it is: the one that proofs name, if
	// they name one only, or else the first.
	function authority(events, ordered) {
		const places = new Map();
		let first, proven;
		for (const e of ordered) {
			if (e.type !== "job.submitted") continue;
			first ||= e;
			const place = e.stream.id + subject(e);
			if (!places.has(place)) places.set(place, e);
		}
		for (const e of events) {
			if (e.type === "job.submitted" || !e.who.proof || !e.who.proof.submission) continue;
			const named = places.get(e.who.proof.submission + subject(e));
			if (named && proven && named !== proven) return first;
			proven ||= named;
		}
		return proven || first;
	}

	// once takes each event once; of two records of one verdict the one with the lower hash.
	function once(records) {
		const list = [], byId = new Map();
		for (const r of records) {
			const at = byId.get(r.event.id);
			if (at === undefined) byId.set(r.event.id, list.push(r) - 1);
			else if (list[at].hash === r.hash) continue;
			else if (!isVerdict(r.event)) throw new Error("two different events have the ID " + r.event.id);
			else if (bytes(r.hash) < bytes(list[at].hash)) list[at] = r;
		}
		return list;
	}

	function replay(records) {
		records = once(records);
		const events = records.map((r) => r.event), ordered = sorted(graph(records), events.map((_, i) => i)).map((i) => events[i]);
		const owner = authority(events, ordered);
		const job = {state: "", created: "", started: "", completed: "", first: null, end: null, executions: 0, incomplete: false, unapplied: []};
		const aside = (e, cause) => job.unapplied.push([e, cause]);
		for (const e of ordered) {
			if (owner && subject(e) !== subject(owner)) aside(e, "foreign");
			else if (owner && e.type === "job.submitted" && e !== owner) aside(e, "duplicate");
			else apply(job, e, aside);
		}
		return job;
	}

	function apply(job, e, aside) {
		if (!job.first || (e.type === "job.submitted" && job.incomplete)) {
			const begins = !job.first;
			job.first = e;
			job.created = happened(e);
			job.incomplete = e.type !== "job.submitted";
			if (!begins) return;
			if (job.incomplete) job.state = "pending";
		}
		const does = (transitions[e.type] || [])[column[job.state] ?? 3] || "";
		if (e.type === "job.started" || e.type === "attempt.started") job.executions++;
		if (set.includes(does)) return aside(e, does);
		if (!does) return;
		job.state = does;
		if (does === "running") job.started = happened(e);
		if (terminal(does)) Object.assign(job, {end: e, completed: happened(e)});
	}

	return {merge, replay};
})();
