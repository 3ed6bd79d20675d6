// Package asynqaudit gives every task of asynq (github.com/hibiken/asynq) a
// job's audit record: who asked for it and why, each attempt, and what finally
// became of it, by asynq's own verdict. Put these in the places of asynq's:
//
//	audit := asynqaudit.New(recorder, &asynqaudit.Options{Logs: []jobaudit.AuditReader{sink}})
//
//	client := audit.NewClient(redis)
//	info, err := client.Enqueue(ctx, asynqaudit.NewTask(jobaudit.Submission{
//		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada", Verified: true},
//		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "a new customer"},
//	}, "email:welcome", payload, asynq.MaxRetry(3), asynq.Retention(time.Hour)))
//
//	server := audit.NewServer(redis, config)
//	err := server.Run(mux)
//
//	inspector := audit.NewInspector(redis)
//	report, err := inspector.Reconcile(ctx, nil) // every few minutes, in one place
//
// A handler finds its job's Trail by [jobaudit.FromContext]; jobs enqueued
// under its context are the job's children. For asynq.Scheduler and
// asynq.PeriodicTaskManager see [Audit.SchedulerOpts].
//
// What operators do to tasks and queues goes through an [Inspector], which records
// who did it and why: each act is a job of its own.
//
// # Several processes
//
// Processes that share one log, as in one database, need nothing more. If each
// has a log of its own, the one that reconciles reads all of them: those of the
// processes that enqueue, and those of the processes that work.
//
//	// in the web process
//	audit := asynqaudit.New(recorder, nil)
//	client := audit.NewClient(redis)
//
//	// in a worker
//	audit := asynqaudit.New(recorder, &asynqaudit.Options{Logs: []jobaudit.AuditReader{own}})
//	server := audit.NewServer(redis, config)
//
//	// in the process that reconciles
//	audit := asynqaudit.New(recorder, &asynqaudit.Options{Logs: []jobaudit.AuditReader{own, web, worker1, worker2}})
//	report, err := audit.NewInspector(redis).Reconcile(ctx, nil)
//
// If it sees a part only, it records nothing of the jobs concerned and returns
// [queue.ErrPartialLog] for each. Servers with the adapter say in Redis, under the
// key jobaudit:recorders, which recorders they use, so that a task that has left
// its queue is not taken for deleted where a log is missing that may hold its end.
//
// # Whose verdict
//
// completed is success. Archived is failed. Deleted and revoked are cancelled.
// A shutdown that gives a task back, and an error that Config.IsFailure does
// not count, defer the attempt; they do not fail it. What the handler returns
// is not the outcome: asynq may have retried or archived the task before.
// [Server] takes the outcome from asynq's own write to Redis, which passes
// through its connection, and [Inspector.Reconcile] from Redis itself, for the
// ends that pass no worker: tasks deleted by others, leases that expired with
// their worker's process.
//
// A task that asynq archives though its handler was never called, because its
// deadline had passed, counts as attempted, as it does for asynq, and a log line
// says that the handler was not called. One that a person archives before it
// ran is cancelled.
//
// # Limits
//
// Without Retention asynq keeps nothing of a success. If the worker's process
// dies in the moment between asynq's write and the record of it, one cannot
// tell what happened; the job ends as ABANDONED. With a Retention that is longer
// than the time between two calls of Reconcile it ends as success.
//
// The record of a start waits for the sink. If it cannot be stored the task is
// not run: it is given back without counting as an attempt, or, if it has no
// attempts left and asynq would archive it, waits until its time is up.
//
// Tasks that asynq makes one of (asynq.Group) end as cancelled when asynq deletes
// them, and name the job that they became. That one is by [Options.Service], on
// behalf of all who asked for one of them, and names them in its log lines. If
// the aggregator's task is not from [NewPeriodicTask] it can carry no job: it
// gets one when it runs, and they name no more than its type.
//
// An archived task that others than [Inspector.RunTask] run again keeps its
// job, which has ended: the new attempts are on record as late.
//
// Tasks with an ID of their own (asynq.TaskID) and no submission are one job
// for as long as the ID is used.
package asynqaudit
