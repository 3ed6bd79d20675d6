// Package riveraudit records the jobs of River (github.com/riverqueue/river): who
// asked for each, when and why it ran, and how it ended by River's own verdict.
//
// These are the lines to add:
//
//	audit := riveraudit.New(recorder, &riveraudit.Options{
//		Logs: []jobaudit.AuditReader{sink}, Submission: whoAsks,
//	})
//	config.Middleware = append([]rivertype.Middleware{audit}, config.Middleware...) // first
//	config.ErrorHandler = audit.ErrorHandler(config.ErrorHandler)
//	client, err := river.NewClient(driver, config)
//	…
//	follower := audit.Follow(ctx, client, nil)
//	err = client.Start(ctx)
//	…
//	err = client.Stop(ctx)
//	err = follower.Stop(ctx) // then close the recorder, then the sink
//
// whoAsks says on whose behalf a job is inserted: see [Options.Submission].
// Workers stay as they are. Under a worker's context [jobaudit.FromContext] gives
// the job's Trail, and what is inserted there is the job's child.
//
// Every hour, and after a crash, [Audit.Reconcile] compares River's table with
// the logs and records what neither worker nor handler saw: jobs cancelled
// before they ran, discarded by the rescuer, finished while a process was
// dying, inserted without the adapter. Call it before River's cleaner removes
// ended jobs, by default after 24 hours. Transactional inserts belong under
// [InTx] where the log is in the same database (package pgsink), and else in
// [Audit.Transact]. What operators do to jobs and queues goes through an [Admin],
// which records who did it and why.
//
// # Several processes
//
// Processes that share one log, as in one database, need nothing more. If each
// has a log of its own, the one that reconciles reads all of them: those of the
// processes that insert, and those of the processes that work.
//
//	// in the web process, which only inserts
//	audit := riveraudit.New(recorder, &riveraudit.Options{Submission: whoAsks})
//
//	// in a worker
//	audit := riveraudit.New(recorder, &riveraudit.Options{Logs: []jobaudit.AuditReader{own}})
//
//	// in the process that reconciles
//	audit := riveraudit.New(recorder, &riveraudit.Options{Logs: []jobaudit.AuditReader{own, web, worker1, worker2}})
//	report, err := audit.Reconcile(ctx, client, nil)
//
// If it sees a part only, it records nothing of the jobs concerned and returns
// [queue.ErrPartialLog] for each. A worker that reads its own log alone works as
// well: an attempt that was lost in another process is then ended by the
// reconciler, and not by the next start.
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
// # River's own log
//
// River logs a panic's value, with whatever secret it holds, to the Logger of
// river.Config, outside of what is recorded here. To stop it, give it a Logger
// whose handler drops the attribute panic_val:
//
//	config.Logger = slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{
//		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
//			if a.Key == "panic_val" {
//				return slog.Attr{}
//			}
//			return a
//		},
//	}))
//
// River also keeps the text of each error, and of a panic its value, in the
// errors column of its table, for all who may read the table.
//
// # Limits
//
// River has no event for a job that is cancelled before it runs, and gives the
// rescuer's victims none either: their ends are on record when the table is
// reconciled, or at once if they are cancelled through an [Admin]. River's
// fast bulk insert (InsertManyFast) does not tell which jobs were duplicates;
// reconciling ends them. River has no deadline by which a job must have begun,
// so no job expires. A job that is retried within a second of its creation,
// after a cancel before its first run, cannot be told from a new one by its row.
//
// A worker that is killed between River's fetch and the record of the start has
// not worked; River counts the attempt all the same. If it was the last one, the
// job seems to have been run by somebody whose log is missing, and is in
// [queue.Report.Partial] until it is reconciled once with Unaudited. As long as
// it is, no end is recorded of jobs that have left the table.
//
// Two Rivers whose jobs are in one log need two names in [Options]. River is
// used through its public client, in the version that this module requires: its
// middleware, its error handler, its subscriptions and its job list.
package riveraudit
