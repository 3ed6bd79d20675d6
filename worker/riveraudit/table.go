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
// and when it happened by River's own times. Call it every hour or so, by the same
// Audit: what changed a moment ago is left to the next call, which has to come before
// River removes ended jobs, by default after 24 hours. Where a process calls it once,
// as after a crash, [queue.ReconcileOptions.Wait] makes the call wait. It may be called
// again, and finds nothing to add if nothing happened. Processes that reconcile at the
// same moment may record an end twice, of which the first counts.
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
// [queue.ErrPartialLog] for each. A job that cannot be reconciled, as its Carrier is
// refused or its records contradict each other, does not keep it from the others; the
// error joins what went wrong. If a log, River's table or the sink fails, nothing is
// concluded of jobs that are not in the table.
func (a *Audit) Reconcile(ctx context.Context, client Lister, opts *queue.ReconcileOptions) (queue.Report, error) {
	o := opts.WithDefaults()
	return o.Run(ctx, func() (queue.Report, error) {
		p := pass{
			audit: a, table: map[uuid.UUID]bool{}, failures: queue.Failures{Recorder: a.rec},
			comparison: comparison{opts: o, watch: a.settling.Watch(o.Settle)},
		}
		err := p.run(ctx, client)
		return p.report, errors.Join(p.failures.Err(), err, p.report.Err())
	})
}

// pass is one comparison.
type pass struct {
	comparison
	audit    *Audit
	table    map[uuid.UUID]bool // the recorded IDs of the rows
	failures queue.Failures
}

// run compares. The error is one that is not in the failures.
func (p *pass) run(ctx context.Context, client Lister) error {
	a := p.audit
	if a.logs.None() {
		return queue.ErrNoLogs
	}
	unended, err := a.logs.Unended(ctx, a.opts.System, p.opts.Since) // before the table: a job that is inserted now is not missed
	if err != nil {
		return err
	}
	if err := p.rows(ctx, client); err != nil {
		return err
	}
	if p.failures.Ambiguous {
		return nil // may the table's job be among the missing ones?
	}
	// If the table shows what stands in none of the logs, the log is missing of
	// somebody who may have run what has left the table, too.
	complete := unended.Worked && len(p.report.Partial) == 0
	gone := queue.Gone{Recorder: a.rec, Options: p.opts, Watch: p.watch, Complete: func(time.Time) bool { return complete }}
	for id := range unended.Jobs {
		if p.table[id] {
			continue
		}
		if p.failed(ctx, id, gone.End(ctx, a.logs, id, &p.report)) {
			return nil
		}
	}
	p.watch.Done()
	return nil
}

// failed notes an error of one job, and reports whether the comparison is to end.
func (p *pass) failed(ctx context.Context, id uuid.UUID, err error) bool {
	if err == nil {
		return false
	}
	p.report.Failed = append(p.report.Failed, id)
	return p.failures.Add(ctx, err)
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
			id, err := p.row(ctx, job)
			if err != nil {
				err = fmt.Errorf("job %d of River's table: %w", job.ID, err)
			}
			p.failed(ctx, id, err) // and on: see failures.Ambiguous
		}
		if len(list.Jobs) < page {
			return ctx.Err()
		}
		params = params.After(list.LastCursor)
	}
}

// row compares one row, and returns the ID of its job.
func (p *pass) row(ctx context.Context, job *rivertype.JobRow) (uuid.UUID, error) {
	p.report.Jobs++
	id := p.audit.claimedID(job)
	p.table[id] = true // also if its Carrier is refused: nothing says that the row is not this job's
	now, err := p.audit.JobID(ctx, job)
	if err != nil {
		for n, retry := 0, id; n < maxRetries; n++ { // which of them it is is not known
			retry = retryID(retry)
			p.table[retry] = true
		}
		return id, err
	}
	p.table[now] = true
	return now, p.report.Skip(now, p.audit.compare(ctx, job, &p.comparison))
}

// maxRetries is how often a job is thought to have been asked for again after it had
// ended.
const maxRetries = 100
