// Package riveraudit records the lives of River's jobs: who asked for each, when
// and why it ran, and how it ended by River's own verdict.
//
// These are the lines to add:
//
//	audit := riveraudit.New(recorder, whoAsks, &riveraudit.Options{Log: sink})
//	config.Middleware = append([]rivertype.Middleware{audit}, config.Middleware...) // first
//	config.ErrorHandler = verdict.Handler(audit, config.ErrorHandler)
//	client, err := river.NewClient(driver, config)
//	…
//	follower := verdict.Follow(ctx, audit, client, nil)
//	err = client.Start(ctx)
//	…
//	err = client.Stop(ctx)
//	err = follower.Stop(ctx) // then close the recorder, then the sink
//
// whoAsks is an [Asking]: it says on whose behalf a job is inserted. Workers stay
// as they are. Under a worker's context [jobaudit.FromContext] gives the job's
// Trail, and what is inserted there is the job's child.
//
// Once a day, and after a crash, verdict.Reconcile compares River's table with
// the log and records what neither worker nor handler saw: jobs cancelled
// before they ran, discarded by the rescuer, finished while a process was
// dying, inserted without the adapter. Call it before River's cleaner removes
// ended jobs, by default after 24 hours. Transactional inserts belong in
// [Audit.Transact].
//
// # What is recorded when
//
// A submission is on record before River commits the insert, a start before the
// worker is called; if either cannot be recorded, the insert fails and the
// attempt is snoozed. What a worker returns is its attempt's end, not the job's:
// a River job whose worker returned nil can be cancelled, run again after a
// crash, or be rescued meanwhile. So the outcome is recorded when River has
// committed it, from the row that it committed:
//
//	completed   success
//	discarded   failed
//	cancelled   cancelled
//
// and as long as River may run the job again it is running. An attempt that
// fails is attempt.failed, one that is snoozed or stopped by a shutdown
// attempt.deferred, one whose process died attempt.superseded by the next. Every
// start has an execution ID of its own; River's attempt number is no key. A job
// that people have River run again after its end is a new job, a retry of the
// ended one.
//
// # Limits
//
// River has no event for a job that is cancelled before it runs, and gives the
// rescuer's victims none either: their ends are on record when the table is
// reconciled, or at once if they are cancelled through verdict.Admin. River's
// fast bulk insert (InsertManyFast) does not tell which jobs were duplicates;
// reconciling with Strays ends them. River has no deadline by which a job must
// have begun, so no job expires. A job that is retried within a second of its
// creation, after a cancel before its first run, cannot be told from a new one
// by its row.
//
// Two Rivers whose jobs are in one log need two names in [Options]. The
// package links rivertype and nothing else of River; what needs River's client
// is package verdict.
package riveraudit
