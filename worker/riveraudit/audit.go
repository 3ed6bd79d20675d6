package riveraudit

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"github.com/riverqueue/river/rivertype"

	"github.com/jobaudit/jobaudit"
)

// Asking says who asks for a job that is being inserted, and why: Principal and
// Trigger, and whatever else of a submission the caller's context tells. Action
// is the job's kind, unless it is set. ID, Inputs and Queue are filled in.
type Asking func(ctx context.Context, job *rivertype.JobInsertParams) jobaudit.Submission

// Options are the optional parts of an Audit. The zero value gives the
// defaults.
type Options struct {
	// Log reads every log in which River's jobs are recorded: usually the
	// recorder's own sink. It is asked for what was recorded before: when a job
	// runs again, and to reconcile. A reader that sees only some of the logs
	// leads to things being recorded twice. Without one, a job that runs again
	// after a crash does not name the execution that was lost, and nothing can
	// be reconciled.
	Log jobaudit.AuditReader
	// System names this River among the queues that a log tells of. Two
	// databases whose jobs are in one log need two names. Default: "river".
	System string
	// Principal stands where nobody is known to have asked: for River's periodic
	// jobs, and for jobs that are found in its table without a record. Default:
	// the service that System names.
	Principal jobaudit.Principal
	// Snooze is how long a job is put off that may not run yet: because its
	// authorization says so, or because its start cannot be recorded. It takes
	// no attempt from the job. Default: 30 s.
	Snooze time.Duration
	// Timeout is how long the end of an attempt may wait for its record, before
	// River is told of it. Default: 5 s.
	Timeout time.Duration
	// OnError is told of what no call returns. It must not wait. Default: it is
	// logged by slog.Default.
	OnError func(context.Context, error)
}

// Audit records the lives of River's jobs. It is River middleware, for inserts
// and for work: put it first in river.Config's Middleware. It is safe for
// concurrent use. [New] makes one; a client has one of its own.
type Audit struct {
	rec     *jobaudit.Recorder
	asking  Asking
	opts    Options
	running attempts
	keys    keys
}

// New returns an Audit that records with rec. A nil asking is right for a
// program that inserts no jobs but those of River's schedule and those that its
// jobs insert. opts may be nil.
func New(rec *jobaudit.Recorder, asking Asking, opts *Options) *Audit {
	a := &Audit{rec: rec, asking: asking}
	if opts != nil {
		a.opts = *opts
	}
	o := &a.opts
	o.System = cmp.Or(o.System, "river")
	if o.Principal == (jobaudit.Principal{}) {
		o.Principal = jobaudit.Principal{Kind: jobaudit.Service, ID: o.System}
	}
	o.Snooze = cmp.Or(o.Snooze, 30*time.Second)
	o.Timeout = cmp.Or(o.Timeout, 5*time.Second)
	if o.OnError == nil {
		o.OnError = func(ctx context.Context, err error) {
			slog.Default().WarnContext(ctx, "riveraudit", slog.Any("error", err))
		}
	}
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
