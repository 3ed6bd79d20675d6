package verdict

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/jobaudit/jobaudit/worker/riveraudit"
)

// ReconcileOptions are the optional parts of a reconciliation. The zero value,
// like nil, gives the defaults.
type ReconcileOptions struct {
	// Grace is how long a job is left alone after the last thing that happened
	// to it: whoever runs it is about to record that. Default: 1 min. Negative:
	// none, for when nobody runs jobs.
	Grace time.Duration
	// Strays also ends the jobs that are on record, have no end, and are not in
	// River's table: rolled back, or deleted. It reads the whole log.
	Strays bool
}

// Report says what a reconciliation found.
type Report struct {
	Rows   int // in River's table, without those that were left alone
	Added  int // of these, those of which something was recorded now
	Strays int // jobs on record, without an end and without a row
}

// Reconcile compares River's whole table with the log and records what is
// missing. It may be called again, and finds nothing to add if nothing
// happened. A job that cannot be reconciled does not keep it from the others;
// the error joins what went wrong. Processes that reconcile at the same moment
// may record an end twice, of which the first counts.
func Reconcile(ctx context.Context, audit *riveraudit.Audit, client Lister, opts *ReconcileOptions) (Report, error) {
	var o ReconcileOptions
	if opts != nil {
		o = *opts
	}
	began := time.Now()
	since := began.Add(-max(cmp.Or(o.Grace, time.Minute), 0))
	p := pass{audit: audit, since: since, table: map[uuid.UUID]struct{}{}, strays: o.Strays}
	params := river.NewJobListParams().First(page).OrderBy(river.JobListOrderByID, river.SortOrderAsc)
	for {
		list, err := client.JobList(ctx, params)
		if err != nil {
			return p.report, errors.Join(append(p.errs, fmt.Errorf("listing River's jobs: %w", err))...)
		}
		for _, job := range list.Jobs {
			p.row(ctx, job)
		}
		if len(list.Jobs) < page {
			break
		}
		params = params.After(list.LastCursor)
	}
	if o.Strays && len(p.errs) == 0 {
		n, err := audit.Strays(ctx, p.table, since)
		p.report.Strays = n
		p.fail(err)
	}
	return p.report, errors.Join(p.errs...)
}

// pass is one reconciliation.
type pass struct {
	audit  *riveraudit.Audit
	since  time.Time
	strays bool
	table  map[uuid.UUID]struct{} // the recorded IDs of the rows, for strays
	report Report
	errs   []error
}

func (p *pass) fail(err error) {
	if err != nil {
		p.errs = append(p.errs, err)
	}
}

func (p *pass) row(ctx context.Context, job *rivertype.JobRow) {
	if p.strays {
		p.seen(ctx, job)
	}
	if newest(job).After(p.since) {
		return
	}
	p.report.Rows++
	changed, err := p.audit.Reconcile(ctx, job, "")
	if changed {
		p.report.Added++
	}
	if err != nil {
		p.fail(fmt.Errorf("job %d of River's table: %w", job.ID, err))
	}
}

func (p *pass) seen(ctx context.Context, job *rivertype.JobRow) {
	for _, id := range []func(context.Context, *rivertype.JobRow) (uuid.UUID, error){p.audit.JobID, p.audit.StoryID} {
		known, err := id(ctx, job)
		p.fail(err)
		p.table[known] = struct{}{}
	}
}

// newest is when something last happened to a job, as far as its row tells.
func newest(job *rivertype.JobRow) time.Time {
	t := job.CreatedAt
	for _, other := range []*time.Time{job.AttemptedAt, job.FinalizedAt} {
		if other != nil && other.After(t) {
			t = *other
		}
	}
	return t
}
