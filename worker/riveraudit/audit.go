package riveraudit

import (
	"cmp"
	"context"
	"time"

	"github.com/riverqueue/river/rivertype"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/errlog"
	"github.com/jobaudit/jobaudit/worker/queue"
)

// Options are the optional parts of an [Audit]. The zero value, like nil, gives
// the defaults.
type Options struct {
	// Logs are all the logs that the jobs of this River are recorded in: the
	// recorder's own sink, and that of every other process that inserts jobs or
	// works on them, if those have logs of their own. They are asked for what
	// was recorded before: when a job runs again, and to reconcile. Without
	// them, a job that runs again after a crash does not name the execution that
	// was lost, and nothing can be reconciled.
	Logs []jobaudit.AuditReader
	// Submission says who asks for a job that is being inserted, and why:
	// Principal and Trigger, and whatever else of a submission the caller's
	// context tells. Action is the job's kind, unless it is set. ID, Inputs and
	// Queue are filled in. It is not called for what River inserts by its schedule, of
	// which Service is who and the schedule why: River's own context tells, with a driver
	// whose transactions are pgx's or database/sql's, and no mark that who inserts can
	// set. Default: no principal is given, which is right for a program that inserts no jobs but
	// those of River's schedule and those that its jobs insert; other inserts are refused.
	Submission func(context.Context, *rivertype.JobInsertParams) jobaudit.Submission
	// System names this River among the queues in a log. Two
	// databases whose jobs are in one log need two names. Default: "river".
	System string
	// Service stands where it is not known who asked: for River's periodic
	// jobs, for jobs that jobs insert, and for those that are found in its table
	// without a record. Default: the service that System names.
	Service jobaudit.Principal
	// Snooze is how long a job is put off that may not run yet: because its
	// authorization says so, or because its start cannot be recorded. It takes
	// no attempt from the job. Default: 30 s.
	Snooze time.Duration
	// Timeout is how long the end of an attempt may wait for its record, before
	// River gets it. Default: 5 s.
	Timeout time.Duration
	// OnError is called with every error of the audit path that no call returns. It
	// may be called from several goroutines and must not wait. Default: they are
	// told to slog.Default() by their kinds alone, as their texts may quote inputs.
	OnError func(context.Context, error)
}

// Audit records River's jobs. It is River middleware, for inserts and for work:
// put it first in river.Config's Middleware. It is safe for concurrent use.
// [New] makes one; a client has one of its own.
type Audit struct {
	rec     *jobaudit.Recorder
	opts    Options
	logs    *queue.Logs
	running attempts
	keys    keys

	settling    queue.Settling
	withdrawals queue.Withdrawals
}

// New returns an Audit that records with rec, which stays the caller's: stop the
// client first, then the [Follower], then close rec. opts may be nil.
func New(rec *jobaudit.Recorder, opts *Options) *Audit {
	a := &Audit{rec: rec}
	if opts != nil {
		a.opts = *opts
	}
	o := &a.opts
	o.System = cmp.Or(o.System, "river")
	if o.Service == (jobaudit.Principal{}) {
		o.Service = jobaudit.Principal{Kind: jobaudit.Service, ID: o.System}
	}
	o.Snooze = cmp.Or(o.Snooze, 30*time.Second)
	o.Timeout = cmp.Or(o.Timeout, 5*time.Second)
	if o.OnError == nil {
		o.OnError = errlog.Default("riveraudit", queue.ErrPartialLog, queue.ErrNoLogs, queue.ErrNotWithdrawn)
	}
	a.logs = queue.NewLogs(o.Logs, o.OnError)
	a.running.byID = map[int64]*attempt{}
	a.keys.held = map[int64]*key{}
	return a
}

// IsMiddleware marks an Audit as River middleware.
func (a *Audit) IsMiddleware() bool { return true }

// IsPlugin marks an Audit as a River plugin, for those who list it as one.
func (a *Audit) IsPlugin() bool { return true }

func (a *Audit) report(ctx context.Context, err error) {
	if err != nil {
		a.opts.OnError(ctx, err)
	}
}
