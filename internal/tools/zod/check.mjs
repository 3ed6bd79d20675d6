// Reads answers of the job API, one a line, as {"status", "body"}, and parses each as
// a client does: strictly, so that a field which no client knows is a fault, too.
// Prints how many of each kind there were. Exits with 1 on the first fault.
import {createInterface} from 'node:readline'
import {z} from 'zod'

const uuid = z.string().uuid()
const time = z.string().datetime() // in UTC, with Z
const JobState = z.nativeEnum({Pending: 'pending', Running: 'running', Success: 'success', Failed: 'failed', Cancelled: 'cancelled'})
const given = z.unknown().refine(value => value !== undefined, 'is missing')

// The contract, and behind it what is ours and optional.
const ErrorDetail = z.strictObject({code: z.string(), message: z.string(), type: z.string().optional(), frame: z.string().optional()})
const JobMetadata = z.strictObject({requestId: uuid, userId: z.string(), orgId: z.string(), action: z.string(), inputs: given})
const Execution = z.strictObject({
	id: uuid, attempt: z.number().int(), stream: uuid, startedAt: time,
	endedAt: time.optional(), end: z.string().optional(), late: z.literal(true).optional(),
})
const Unapplied = z.strictObject({
	eventId: uuid, type: z.string(), time, cause: z.string(), error: ErrorDetail.optional(), inputs: z.unknown().optional(),
})
const Job = z.strictObject({
	id: uuid, state: JobState, createdAt: time, startedAt: time.optional(), completedAt: time.optional(),
	output: z.unknown().optional(), error: ErrorDetail.optional(), logs: z.array(z.string()).default([]), metadata: JobMetadata,
	correlationId: uuid.optional(), parentId: uuid.optional(), rootId: uuid.optional(), retryOf: uuid.optional(),
	attempt: z.number().int().optional(), executions: z.array(Execution).optional(), unapplied: z.array(Unapplied).optional(),
	incomplete: z.literal(true).optional(), unreadable: z.array(z.string()).max(16).optional(),
})
const JobStatus = z.strictObject({requestId: uuid, job: Job})
const JobList = z.strictObject({requestId: uuid, jobs: z.array(Job), next: uuid.optional()})

const statuses = {
	BAD_REQUEST: 400, VALIDATION_ERROR: 400, UNAUTHORIZED: 401, FORBIDDEN: 403, NOT_FOUND: 404, CONFLICT: 409,
	INTERNAL_SERVER_ERROR: 500, SERVICE_UNAVAILABLE: 503,
}
const ErrorEnvelope = z.strictObject({
	requestId: uuid,
	error: z.strictObject({code: z.enum(Object.keys(statuses)), message: z.string(), details: z.unknown().optional()}),
})

const counts = {}
for await (const line of createInterface({input: process.stdin})) {
	const {status, body} = JSON.parse(line)
	const [kind, schema] = 'error' in body ? ['error', ErrorEnvelope] : 'jobs' in body ? ['list', JobList] : ['status', JobStatus]
	const result = schema.safeParse(body)
	const wrong = !result.success ? result.error.message
		: kind === 'error' && statuses[body.error.code] !== status ? `code ${body.error.code} with status ${status}`
			: kind !== 'error' && status !== 200 && status !== 202 ? `status ${status}` : ''
	if (wrong) {
		console.error(`${kind}: ${wrong}\n${line}`)
		process.exit(1)
	}
	counts[kind] = (counts[kind] ?? 0) + 1
	for (const job of kind === 'status' ? [body.job] : body.jobs ?? []) counts[job.state] = (counts[job.state] ?? 0) + 1
}
console.log(JSON.stringify(counts))
