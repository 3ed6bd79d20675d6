// Package gocronaudit puts the jobs of gocron (github.com/go-co-op/gocron/v2) on
// record: every tick that runs, how it ended, and every tick that does not run,
// with the reason.
//
// These are the lines to add:
//
//	audit := gocronaudit.New(recorder, nil)
//	scheduler, err := gocron.NewScheduler(audit.SchedulerOption())
//	…
//	task, option := audit.Job(submission, cleanUp)
//	_, err = scheduler.NewJob(gocron.DurationJob(time.Hour), task, option)
//	…
//	err = scheduler.Shutdown() // then close the recorder
//
// submission says at each tick who asks for the job, and why. cleanUp is a
// func(context.Context) error. Its context is gocron's, which ends when the job
// is removed or the scheduler stops, and carries the job's Trail: what is
// submitted under it is the job's child.
//
// # What is recorded when
//
// A tick that runs is submitted and started before cleanUp is called; if that
// cannot be recorded, cleanUp is not called and gocron gets the
// [*jobaudit.AuditError]. Its outcome is what cleanUp does: it returns, with an
// error or without one; it panics, which is durable before gocron sees the panic
// or the process dies of it; it ends by runtime.Goexit. If its context was
// cancelled and it returns an error, the job is cancelled.
//
// A tick that does not run ends as cancelled, with code SKIPPED and one of these
// reasons:
//
//   - WithSingletonMode and LimitModeReschedule: the run in its way, by its ID.
//   - WithLimitConcurrentJobs and LimitModeReschedule: the limit.
//   - a distributed locker: the locker's error. It may mean that another
//     instance has the lock, or that the locker could not be asked.
//   - a distributed elector: this instance does not lead. Each tick of each
//     instance that does not lead is on record, as nothing else would show a
//     job that has no leader at all.
//   - BeforeJobRunsSkipIfBeforeFuncErrors: the listener's error.
//
// gocron takes one Monitor, one SchedulerMonitor and one AfterLockError listener.
// The first two go to [Options]; a listener of your own behind the option of
// [Audit.Job] is called instead of ours, and the locker's error is not on record.
//
// # What operators do
//
// An [Admin] runs and removes jobs, and stops and starts the scheduler, on record
// with who did it and why. Shutdown is the program's own end, and no act.
//
// # Several processes
//
// A scheduler is one process's: each tick of each process is a job, in that
// process's own log, and nothing here reads a log. With a distributed locker or
// elector the tick of the process that runs it succeeds or fails, and those of
// the others are cancelled, SKIPPED.
//
// # Limits
//
// gocron does not report a tick that waits (LimitModeWait). Such a tick is on
// record when it runs; if the scheduler stops or the job is removed before, it
// never is. Nor is a tick of a singleton job that is running already, under
// WithLimitConcurrentJobs with room for another, nor one after WithStopAt.
//
// A run that [gocron.Job] RunNow asks for cannot be told from a tick. [Admin.RunNow]
// puts on record who asked and why; where the run itself is to be theirs, run the
// function as a job of theirs: [jobaudit.Recorder.Run].
//
// A tick that does not run is submitted under context.Background, whatever
// WithContext says: gocron gives its listeners no context.
//
// gocron waits while a tick that does not run is recorded: with a log that hangs,
// for the Recorder's Timeout, and for its OutcomeTimeout if the log hangs between
// the two events. The job's next ticks come later by that.
//
// A job that is still running when Shutdown gives up (WithStopTimeout) has no
// end on record once the recorder is closed; package watchdog finds it.
package gocronaudit
