package riveraudit

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/worker/queue"
)

// maxTogether is how many submissions of one bulk insert wait for the sink at
// the same time. It stores them in few batches then.
const maxTogether = 128

// InsertMany is called by River around every insert. Each job gets a Carrier in
// its metadata, and its submission is on record before River commits the
// insert, so that no worker can run a job that is not; within [Audit.Transact] that
// happens after the commit, and under [InTx] with it. A job that River knows
// already is recorded as a duplicate of that one. The error is an
// [*jobaudit.AuditError] if a job cannot be recorded: River takes back the insert
// then, or, in a transaction of the caller's, the caller must.
func (a *Audit) InsertMany(ctx context.Context, params []*rivertype.JobInsertParams, doInner func(context.Context) ([]*rivertype.JobInsertResult, error)) ([]*rivertype.JobInsertResult, error) {
	if tx, ok := ctx.Value(sinkKey{}).(jobaudit.AuditSink); ok {
		if err := a.submitTx(ctx, tx, params); err != nil {
			return nil, err
		}
		return doInner(ctx)
	}
	trails, err := a.prepare(ctx, params)
	if err != nil {
		return nil, err
	}
	if tx, ok := ctx.Value(transactionKey{}).(*transaction); ok {
		results, err := doInner(ctx)
		if err == nil {
			tx.add(trails, a.duplicates(ctx, trails, results))
		}
		return results, err
	}
	submitted := a.submit(ctx, trails) // while River inserts: neither waits for the other
	results, err := doInner(ctx)
	jobs, auditErr := submitted()
	switch {
	case err != nil && definite(err):
		a.withdraw(ctx, jobs, "River did not take it")
		return nil, err
	case err != nil:
		return nil, err
	case auditErr != nil:
		a.withdraw(ctx, jobs, "not inserted: not all jobs of the call could be recorded")
		return nil, auditErr
	}
	a.report(ctx, deduplicate(context.WithoutCancel(ctx), trails, a.duplicates(ctx, trails, results)))
	return results, nil
}

// prepare opens the Trails of jobs that are being inserted, and puts their
// Carriers into River's metadata.
func (a *Audit) prepare(ctx context.Context, params []*rivertype.JobInsertParams) ([]*jobaudit.Trail, error) {
	trails := make([]*jobaudit.Trail, len(params))
	for i, p := range params {
		s, err := a.submissionOf(ctx, p)
		if err != nil {
			return nil, err
		}
		if trails[i], err = a.rec.Prepare(ctx, s); err != nil {
			return nil, err
		}
		if p.Metadata, err = withCarrier(p.Metadata, trails[i].Carrier()); err != nil {
			return nil, err
		}
	}
	return trails, nil
}

// submitTx records the submissions of one insert in its transaction, and puts
// their Carriers into River's metadata.
func (a *Audit) submitTx(ctx context.Context, tx jobaudit.AuditSink, params []*rivertype.JobInsertParams) error {
	submissions := make([]jobaudit.Submission, len(params))
	for i, p := range params {
		var err error
		if submissions[i], err = a.submissionOf(ctx, p); err != nil {
			return err
		}
	}
	carriers, err := a.rec.SubmitTx(ctx, tx, submissions...)
	if err != nil {
		return err
	}
	for i, p := range params {
		if p.Metadata, err = withCarrier(p.Metadata, carriers[i]); err != nil {
			return err
		}
	}
	return nil
}

// submissionOf is the whole submission of a job that is being inserted.
func (a *Audit) submissionOf(ctx context.Context, p *rivertype.JobInsertParams) (jobaudit.Submission, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return jobaudit.Submission{}, err
	}
	s := a.submission(ctx, p)
	s.ID, s.Inputs = id, inputsOf(p.EncodedArgs)
	// River has no number for it yet; the starts name that.
	s.Queue = jobaudit.Ref{System: a.opts.System, ID: id.String()}
	return s, nil
}

// submissions are what became of the submissions of one insert.
type submissions struct {
	stored []*jobaudit.Trail
	unsure []*jobaudit.Trail // it is not known whether they are on record
}

// submit begins to record the submissions of one insert. The function that it
// returns waits.
func (a *Audit) submit(ctx context.Context, trails []*jobaudit.Trail) func() (submissions, error) {
	done := make(chan error, 1)
	errs := make([]error, len(trails))
	go func() {
		done <- together(trails, func(i int, t *jobaudit.Trail) error {
			errs[i] = t.Submit(ctx)
			return errs[i]
		})
	}()
	return func() (jobs submissions, err error) {
		err = <-done
		for i, t := range trails {
			switch {
			case errs[i] == nil:
				jobs.stored = append(jobs.stored, t)
			case queue.Unsure(errs[i]):
				jobs.unsure = append(jobs.unsure, t)
			}
		}
		return jobs, err
	}
}

// submission tells who wants a job.
func (a *Audit) submission(ctx context.Context, p *rivertype.JobInsertParams) jobaudit.Submission {
	var s jobaudit.Submission
	_, child := jobaudit.FromContext(ctx)
	if ref, ok := scheduled(ctx, p); ok && !child {
		s.Principal = a.opts.Service
		s.Trigger = jobaudit.Trigger{Kind: jobaudit.Scheduled, Reason: "River's periodic jobs", Ref: ref}
	} else if a.opts.Submission != nil {
		s = a.opts.Submission(ctx, p)
	}
	if child && s.Principal == (jobaudit.Principal{}) {
		s.Principal = a.opts.Service
	}
	if child && s.Trigger == (jobaudit.Trigger{}) {
		s.Trigger = jobaudit.Trigger{Kind: jobaudit.OnEvent, Reason: "inserted by a job"}
	}
	if s.Action == "" {
		s.Action = p.Kind
	}
	return s
}

// scheduled reports whether River itself inserts a job of its schedule, and that one's ID
// there. Anybody who inserts a job can mark it as periodic. But only River makes a context
// that holds its client: for what the client itself does, and for its workers, whose
// contexts hold a Trail, too.
func scheduled(ctx context.Context, p *rivertype.JobInsertParams) (id string, ok bool) {
	var marks struct {
		Periodic bool   `json:"periodic"`
		ID       string `json:"river:periodic_job_id"`
	}
	if json.Unmarshal(p.Metadata, &marks) != nil || !marks.Periodic {
		return "", false
	}
	_, pgxErr := river.ClientFromContextSafely[pgx.Tx](ctx)
	_, sqlErr := river.ClientFromContextSafely[*sql.Tx](ctx)
	return marks.ID, pgxErr == nil || sqlErr == nil
}

// duplicates returns the IDs of the jobs that River knows already, by the
// place of the new one. River's fast bulk insert tells nothing of them.
func (a *Audit) duplicates(ctx context.Context, trails []*jobaudit.Trail, results []*rivertype.JobInsertResult) []uuid.UUID {
	existing := make([]uuid.UUID, len(trails))
	for i, r := range results {
		if i >= len(trails) || r == nil || r.Job == nil || !r.UniqueSkippedAsDuplicate {
			continue
		}
		id, err := a.submittedID(ctx, r.Job)
		if err != nil {
			a.report(ctx, fmt.Errorf("the duplicate of job %s: %w", trails[i].JobID(), err))
			continue
		}
		existing[i] = id
	}
	return existing
}

func deduplicate(ctx context.Context, trails []*jobaudit.Trail, existing []uuid.UUID) error {
	return together(trails, func(i int, t *jobaudit.Trail) error {
		if existing[i] == uuid.Nil {
			return nil
		}
		return t.Deduplicate(ctx, existing[i])
	})
}

// withdraw records that jobs which are on record, or may be, will not be run. It does not
// wait for the sink where that has just been too slow.
func (a *Audit) withdraw(ctx context.Context, jobs submissions, reason string) {
	for _, t := range jobs.unsure {
		a.withdrawals.Cancel(t, reason, a.report)
	}
	a.report(ctx, together(jobs.stored, func(_ int, t *jobaudit.Trail) error { return t.Cancel(ctx, reason) }))
}

// definite reports whether an insert has certainly not happened: the database
// said so. Otherwise it is not known yet, and reconciling finds out.
func definite(err error) bool {
	var refused interface {
		error
		SQLState() string
	}
	return errors.As(err, &refused)
}

// together calls fn for every Trail, many at a time, and joins the errors.
func together(trails []*jobaudit.Trail, fn func(int, *jobaudit.Trail) error) error {
	if len(trails) == 1 {
		return fn(0, trails[0])
	}
	errs := make([]error, len(trails))
	room := make(chan struct{}, maxTogether)
	var wg sync.WaitGroup
	for i, t := range trails {
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			errs[i] = fn(i, t)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
