// Package jobaudit gives every background job a definitive, immutable,
// verifiable audit record: who ran what, when, where and why.
//
// It wraps the workers that a program has already. A job's life is recorded as
// events, in a store that implements [AuditSink]: asked for, allowed, started,
// alive, ended. What must be on record before work begins is stored before work
// begins; from then on the record never gets in the work's way.
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
//   - Begin and end: [Open] a [Recorder] once per process, and [Recorder.Close]
//     it when the jobs have ended.
//   - A function, once: [Recorder.Run]. At every call: [Recorder.Wrap]. With a result
//     that is the job's output: [Call].
//   - A job that waits for a worker in this process: [Recorder.Submit], then
//     [Trail.Run].
//   - A job that goes through a queue: [Recorder.Submit] and [Trail.Carrier]
//     where it is put in, [Recorder.Resume] and [Trail.Run] where it comes out.
//     An attempt that the queue will repeat is [Trail.Retrying].
//   - Code that cannot be a function: [Trail.Start], then one of
//     [Trail.Succeed], [Trail.Fail] and [Trail.Cancel]. Heartbeats and panics
//     are yours then.
//   - From inside a job: [FromContext], then [Trail.Log], [Trail.Heartbeat],
//     [Trail.Snapshot], [Trail.SetOutput], [Trail.SetImpact].
//   - Who may: Options.Authorize, or [Trail.Authorize] and [Trail.Deny] where
//     somebody else decides.
//   - What may be stored: [NewRedactor] and [NewRegistry], in Options.Redactors.
//   - What turned out later: [Trail.Correct].
//   - What became of a job whose process is gone: package watchdog, or
//     [Recorder.Conclude] for a [Verdict] of your own.
//   - What a scheduler's tick became: packages cronaudit and gocronaudit, or
//     [Trail.Skip].
//   - How a job is doing: [Replay] over [AuditReader.Records] gives a [Job].
//   - Where it is stored: package filesink, a signed log in a directory, or
//     memsink, for unit tests.
//   - A store of your own: implement [AuditSink], one method, and hold it to
//     the contract with package sinktest.
//
// # Concepts
//
// An [Event] is a fact that never changes. A [Record] is its bytes and their
// hash; the bytes that are written are the bytes that are hashed, everywhere and
// for ever. A [Trail] is one writer's run of one job, and its events are a
// stream: numbered without gaps, each naming the hash of the one before it. A
// job that crosses processes has a stream for each. A [Job] is what its events
// add up to; there is no second source of truth.
//
// Every event answers five questions: who (a [Principal], its tenant, and on
// whose behalf it acts), what (an action, a resource, the inputs), when, where
// (a [Source]) and why (a [Trigger] with a reason). A submission that cannot
// answer them is refused with a [*FieldError] that names what is missing.
//
// A job is [Pending], then [Running], then [Success], [Failed] or [Cancelled],
// where it stays. The first outcome wins; what comes after it is kept, and told
// by Job.Unapplied.
//
// A context carries the Trail of the job that runs under it. A job that is
// submitted under such a context is that job's child: parent, root, correlation
// and causation follow by themselves. The child keeps its own principal, and the
// parent's stands first among those on whose behalf it acts.
//
// A principal is verified only if the recording program has authenticated it
// itself. What comes back from a queue is a claim.
//
// # What is stored of a job's content
//
// Nothing, until the job's action has a [Redactor]: an allow-list of what may be
// stored of its inputs and of its output. Everything else is dropped before
// anything is encoded, and the event says what was done. If a redactor fails or
// panics, the content goes and the event stays. Values in a [Secret] are masked
// wherever they turn up.
//
// Inputs and outputs are read before the call returns, are never changed, and
// are never kept. Of a panic, its type and where it arose are stored, and not
// its value.
//
// # When the sink fails
//
// Before the work: [Recorder.Submit], [Trail.Authorize], [Trail.Start] and what
// calls them return an [*AuditError] within Options.Timeout, and the job must
// not run; [Recorder.Run] and [Trail.Run] do not call the function then. Whether
// the event was stored may be unknown: the Trail settles it at its next call,
// and Submission.ID lets a caller submit again without making a second job.
//
// During the work: log lines, heartbeats and snapshots never wait. They are kept
// in order in a bounded buffer and written in the background. If it overflows,
// the newest are dropped and counted, and an audit.lost event tells of them.
//
// After the work: the outcome is sent, again and again, until the sink takes it
// or Options.OutcomeTimeout has passed; then it goes to Options.Fallback, for
// [Recorder.Drain] to bring home, or, without one, is sent on in the background
// until [Recorder.Close]. Run returns the function's
// own error and no other: what went wrong with the record is told to
// Options.OnError, so that no queue runs a finished job again. If the function
// itself returns an AuditError, that of a job inside it, Run passes it on; its
// JobID tells them apart.
//
// # Limits
//
// In encoded bytes: an event 48,000; inputs and output 16,000 each; a reason, a
// name or an error's message 1,024; a log line 4,096; an identifier (an ID, an
// action, a resource, a host) 256; lists 16 entries. Content that is too long is
// cut and says so. An identifier that is too long is an error. A Carrier is at
// most 4,096 bytes.
//
// # What is promised
//
//   - No unaudited work: no job starts before its submission and its start are
//     stored, and once it runs the audit path does not fail it, repeat it, or
//     hold it up beyond a stated deadline.
//   - Nothing acknowledged is lost: a nil error of a call that stores something
//     means that the sink has made it durable.
//   - Nothing sensitive is stored: of inputs and outputs, what a policy keeps.
//   - Nothing changes unseen: records are hashed and linked, package filesink
//     keeps a signed log of them, and package auditlog proves it.
//   - Every event answers who, what, when, where and why.
//   - Every story has an end: a start without one is found by package watchdog,
//     and recorded as such, once.
//   - One story: its order comes from streams and causation, never from clocks.
//
// # What is not
//
// Free text, which is errors, log lines, reasons, names and summaries, is stored
// as it is, up to its limit: it is not yet searched for secrets. Keep them out of
// it.
//
// A process that is killed loses what its buffer held of running jobs: log
// lines, heartbeats, snapshots. A job that it was running has a start and no end,
// until a watchdog says that it is lost.
//
// Records are as durable as the sink. The hash links of a stream show that
// something inside it was changed or is missing; that its end is missing, or
// that it was written anew, shows only in a signed log and from outside it: see
// package auditlog.
//
// # Concurrency
//
// A Recorder and a Trail are safe for concurrent use; so are Registry, Redactor,
// Record and Carrier, which do not change. The functions in [Options] may be
// called from several goroutines. The package starts no goroutine and reads no
// clock before [Open], and has no global state.
package jobaudit
