package riveraudit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/jobaudit/jobaudit/worker/queue"
)

// Reconcile compares River's whole table with the logs and records what is
// missing there: what passed no worker with the adapter, or was lost with the
// process that was to record it. What it records says that it is reconstructed,
// and when it happened by River's own times. Call it once a day, before River
// removes ended jobs, by default after 24 hours, and after a crash. It may be
// called again, and finds nothing to add if nothing happened. Processes that
// reconcile at the same moment may record an end twice, of which the first
// counts.
//
// Jobs that are on record, have no end, and are not in the table were rolled
// back or deleted: they are cancelled, or, if they were running, have failed,
// ABANDONED. That holds only if all logs were given. If no log holds a start, or
// the table shows anything that stands in none of them, nothing is concluded
// of these jobs either: they are in [queue.Report.Partial]. Where several workers
// have a log each, and all jobs of one of them have left the table, nothing tells
// that its log is missing: give every log.
//
// Nothing is recorded of a job that the logs hold a part of, and the error is
// [queue.ErrPartialLog] for each. A job that cannot be reconciled does not keep
// it from the others; the error joins what went wrong.
func (a *Audit) Reconcile(ctx context.Context, client Lister, opts *queue.ReconcileOptions) (queue.Report, error) {
	p := pass{audit: a, began: time.Now(), table: map[uuid.UUID]bool{}, comparison: comparison{opts: opts.WithDefaults()}}
	if a.logs.None() {
		return p.report, queue.ErrNoLogs
	}
	unended, err := a.logs.Unended(ctx, a.opts.System, p.opts.Since) // before the table: a job that is inserted now is not missed
	if err != nil {
		return p.report, err
	}
	if err := p.rows(ctx, client); err != nil {
		return p.report, errors.Join(append(p.errs, err)...)
	}
	if len(p.errs) > 0 {
		return p.report, errors.Join(append(p.errs, p.report.Err())...) // and is the table's job among the missing ones?
	}
	// If the table shows what stands in none of the logs, the log is missing of
	// somebody who may have run what has left the table, too.
	complete := unended.Worked && len(p.report.Partial) == 0
	gone := queue.Gone{Recorder: a.rec, Options: p.opts, Complete: func(time.Time) bool { return complete }}
	for id := range unended.Jobs {
		if !p.table[id] {
			p.fail(gone.End(ctx, a.logs, id, &p.report))
		}
	}
	return p.report, errors.Join(append(p.errs, p.report.Err())...)
}

// pass is one reconciliation.
type pass struct {
	comparison
	audit *Audit
	began time.Time
	table map[uuid.UUID]bool // the recorded IDs of the rows
	errs  []error
}

func (p *pass) fail(err error) {
	if err != nil {
		p.errs = append(p.errs, err)
	}
}

// rows looks at every row.
func (p *pass) rows(ctx context.Context, client Lister) error {
	params := river.NewJobListParams().First(page).OrderBy(river.JobListOrderByID, river.SortOrderAsc)
	for {
		list, err := client.JobList(ctx, params)
		if err != nil {
			return fmt.Errorf("listing River's jobs: %w", err)
		}
		for _, job := range list.Jobs {
			if err := p.row(ctx, job); err != nil {
				p.fail(fmt.Errorf("job %d of River's table: %w", job.ID, err))
			}
		}
		if len(list.Jobs) < page {
			return ctx.Err()
		}
		params = params.After(list.LastCursor)
	}
}

func (p *pass) row(ctx context.Context, job *rivertype.JobRow) error {
	p.report.Jobs++
	id, err := p.audit.submittedID(ctx, job)
	if err != nil {
		return err
	}
	now, err := p.audit.JobID(ctx, job)
	if err != nil {
		return err
	}
	p.table[id], p.table[now] = true, true
	if newest(job).After(p.began.Add(-p.opts.Settle)) {
		p.report.Unsettled++
		return nil
	}
	return p.report.Skip(now, p.audit.compare(ctx, job, &p.comparison))
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
