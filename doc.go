// Package jobaudit gives every background job a definitive, immutable,
// verifiable audit record: who did what, when, where and why.
//
// It wraps the workers that a program has already. The life of a job is recorded
// as events, in a store that implements [AuditSink]: the job was asked for, was
// allowed, started, is alive, ended. A job does not start until its submission
// and its start are stored; once it runs, recording never gets in its way.
//
//	sink := memsink.New(nil)
//	recorder, err := jobaudit.Open(ctx, sink, jobaudit.Source{System: "reports", Environment: "production"}, nil)
//	…
//	err = recorder.Run(ctx, jobaudit.Submission{
//		Action:    "send-report",
//		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada", Verified: true},
//		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "the board meets tomorrow"},
//	}, sendReport)
//
// # Which call for which need
//
// Recording:
//
//   - Once in each process: [Open] a [Recorder], and [Recorder.Close] it after the
//     jobs have ended and before the sink is closed.
//   - To run a function as a job: [Recorder.Run]. To make each call of a function a
//     job: [Recorder.Wrap]. If the function has a result that is the job's output:
//     [Call].
//   - A job that waits for a worker in the same process: [Recorder.Submit], then
//     [Trail.Run].
//   - A job that goes through a queue: [Recorder.Submit] and [Trail.Carrier] where
//     it is put in, [Recorder.Resume] and [Trail.Run] where it comes out. If the
//     queue will run a failed attempt again: [Trail.Retrying]. If an attempt was put
//     off: [Trail.Deferring].
//   - A job that is put into a queue within a transaction: [Recorder.Prepare], and
//     [Trail.Submit] when the transaction is committed.
//   - Code that cannot be a function: [Trail.Start], then [Trail.Succeed],
//     [Trail.Fail] or [Trail.Cancel]. [Trail.KeepAlive] records the heartbeats.
//   - From inside a job: [FromContext], then [Trail.Log], [Trail.Heartbeat],
//     [Trail.Snapshot], [Trail.SetOutput], [Trail.SetImpact].
//
// Deciding:
//
//   - Which jobs may run: Options.Authorize, or [Trail.Authorize] and [Trail.Deny]
//     if the decision is made elsewhere.
//   - What may be stored of inputs and outputs: [NewRedactor] and [NewRegistry], in
//     Options.Redactors.
//
// Afterwards:
//
//   - How a job is doing: [Replay] gives a [Job] from its records; [Jobs] lists them.
//   - What turned out later: [Trail.Correct].
//   - What became of a job whose process is gone: package watchdog, or
//     [Recorder.Conclude] for a [Verdict] of your own.
//   - To make sealed personal data unreadable: package erasure and [Recorder.Erase].
//   - What people did with the record, as reading or reviewing it: [Recorder.Act].
//   - The records as people read them: package story.
//
// Storing:
//
//   - In a signed log, in a directory: package filesink, which also verifies it. In a
//     PostgreSQL database that many processes share: package pgsink. In memory, for
//     unit tests: package memsink.
//   - In a store of your own: implement [AuditSink], one method, and test it with
//     package sinktest.
//
// Adapters for queues and schedulers are in the packages below worker.
//
// # Concepts
//
// An [Event] is a fact that does not change. A [Record] is its bytes and their hash:
// the bytes that were written are the bytes that are hashed, and no program encodes
// them again. A [Trail] is one writer's run of one job. Its events are a stream: they
// are numbered without gaps, and each holds the hash of the one before it. A job that
// crosses processes has a stream in each. A [Job] is what its events add up to; there is
// no second source of truth.
//
// Every event answers five questions: who (a [Principal], its tenant, and on whose behalf
// it acts), what (an action, a resource, the inputs), when, where (a [Source]) and why (a
// [Trigger] with a reason). A submission that cannot answer them is refused with a
// [*FieldError] that names the missing field.
//
// A job is [Pending], then [Running], then [Success], [Failed] or [Cancelled]; it never
// leaves these last three states. The first outcome wins. Later ones are kept, in
// Job.Unapplied.
//
// A context carries the Trail of the job that runs under it. A job that is submitted under
// such a context becomes that job's child: parent, root, correlation and causation are set
// from there. The child keeps its own principal, and the parent's comes first among those
// on whose behalf it acts.
//
// A principal is verified only if the recording program has authenticated it. What comes
// back from a queue is a claim.
//
// # What is stored of a job's content
//
// Nothing, until the job's action has a [Redactor]: an allow-list of what may be stored of
// its inputs and of its output. Everything else is dropped before anything is encoded, and
// the event says what was done. If a redactor fails or panics, the content is dropped and
// the event is stored without it. Values in a [Secret] are never stored.
//
// Free text (errors, log lines, reasons, names, summaries) is stored up to its limit if it
// passes two tests. It is searched for secrets that can be recognised by their form, such
// as tokens of known providers, private keys, and passwords in addresses. And it is
// compared with what the policy removed from the job's inputs. A text that fails is dropped
// as a whole, and the event says by which rule. A password that was not among the inputs
// and looks like any other word is not recognised: docs/redaction.md says what is found
// and what is not.
//
// Inputs and outputs are read before the call returns. They are not changed, and no
// reference to them is kept. Of a panic, the type of its value and the place are stored,
// and not the value.
//
// Redactors, and the methods of values that are read (marshalers, readers, errors), run on
// the goroutine of the call that they were given to. No lock is held meanwhile. There is no
// limit of time for them: one that blocks holds up its own call, and no other.
//
// # When the sink fails
//
// Before the work: [Recorder.Submit], [Trail.Authorize], [Trail.Start] and the calls that
// include them return an [*AuditError] within Options.Timeout, and the job must not run;
// [Recorder.Run] and [Trail.Run] do not call the function. Whether the event was stored may
// be unknown: the next call on the Trail finds out first, and Submission.ID lets a caller
// submit again without making a second job.
//
// During the work: log lines, heartbeats and snapshots never wait. They are kept in order in
// a bounded buffer and written in the background. When the buffer is full, the newest are
// dropped and counted, and an audit.lost event says so.
//
// After the work: the outcome is sent until the sink takes it or Options.OutcomeTimeout has
// passed. Then it goes to Options.Fallback, from which [Recorder.Drain] brings it back;
// without a Fallback it is sent in the background until [Recorder.Close]. Run returns the
// function's own error and no other, so that no queue runs a finished job again because of
// its record; errors of recording go to Options.OnError. If the function itself returns an
// AuditError, from a job inside it, Run returns that; its JobID says which job it is about.
//
// # Limits
//
// In encoded bytes: an event 48,000; inputs and output 16,000 each; a reason, a name or an
// error's message 1,024; a log line 4,096; an identifier (an ID, an action, a resource, a
// host) 256; lists 16 entries. Content that is too long is cut, and the record says so. An
// identifier that is too long is an error. A Carrier has at most 4,096 bytes.
//
// # What is promised
//
//   - No unaudited work: no job starts before its submission and its start are stored. Once
//     it runs, recording does not fail it, repeat it, or delay it beyond a stated deadline.
//   - Nothing acknowledged is lost: when a call that stores something returns nil, the sink
//     has made it durable.
//   - Nothing sensitive is stored: of inputs and outputs, only what a policy keeps.
//   - Nothing changes unseen: records are hashed and linked, package filesink keeps a signed
//     log of them, and package auditlog verifies it.
//   - Every event answers who, what, when, where and why.
//   - Every story has an end: package watchdog finds a start without an end, and records
//     what became of the job, once.
//   - One story: the order of events comes from streams and causation, never from clocks.
//
// # What is not promised
//
// A process that is killed loses the events of running jobs that were still in its buffer:
// log lines, heartbeats, snapshots. A job that it was running has a start and no end, until
// a watchdog concludes that it is lost.
//
// Records are as durable as the sink makes them. The hash links of a stream show that
// something inside it was changed or is missing. That its end is missing, or that all of it
// was written again, is seen only with a signed log and a head that was kept outside of it:
// see package auditlog and docs/threat-model.md.
//
// # Concurrency
//
// A Recorder and a Trail are safe for concurrent use; so are Registry, Redactor, Record and
// Carrier, which do not change. The functions in [Options] may be called from several
// goroutines. The package starts no goroutine and reads no clock before [Open], and has no
// global state.
//
// The stored formats are documented in docs/format.md.
package jobaudit
