package pgsink

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jobaudit/jobaudit"
)

const (
	// jobsPage is how many jobs one statement of Jobs reads.
	jobsPage = 64
	// jobsRecords bounds what one statement of Jobs keeps in memory; jobs with
	// more are read one by one.
	jobsRecords = 8192
)

// Jobs iterates over jobs, as [jobaudit.Jobs] says, which calls it. It reads the
// events of many jobs in one statement.
func (s *Sink) Jobs(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Job, error] {
	return jobaudit.Jobs(ctx, &ahead{sink: s, want: q.Limit}, q)
}

// ahead is a reader for one iteration over jobs: with the submissions of some
// jobs it reads all their events.
type ahead struct {
	sink   *Sink
	want   int // how many jobs are asked for; 0: all, or as many as their consumer takes
	trails map[uuid.UUID][]read
}

// read is what an iteration yields.
type read struct {
	jobaudit.Record
	err error
}

// Records is as [jobaudit.AuditReader] says.
func (a *ahead) Records(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	if q.JobID == uuid.Nil || q.Types != nil {
		return a.submissions(ctx, q)
	}
	trail, ok := a.trails[q.JobID]
	if !ok {
		return a.sink.Records(ctx, q)
	}
	return yieldAll(trail)
}

func yieldAll(list []read) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		for _, r := range list {
			if !yield(r.Record, r.err) {
				return
			}
		}
	}
}

// submissions yields what it has read when all events of a page of it are known.
func (a *ahead) submissions(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		var page []read
		size := 1 // a consumer who may take one job does not wait for many
		if a.want > 0 {
			size = min(a.want, jobsPage)
		}
		deliver := func() bool {
			if err := a.load(ctx, page); err != nil {
				return yield(jobaudit.Record{}, err) && false
			}
			for r, err := range yieldAll(page) {
				if !yield(r, err) {
					return false
				}
			}
			page, size = page[:0], min(4*size, jobsPage)
			return true
		}
		for r, err := range a.sink.records(ctx, q, cmp.Or(a.want, jobsPage)) {
			page = append(page, read{r, err})
			if len(page) >= size && !deliver() {
				return
			}
		}
		if len(page) > 0 {
			deliver()
		}
	}
}

// load reads all events of the jobs, as Records would.
func (a *ahead) load(ctx context.Context, page []read) error {
	a.trails = make(map[uuid.UUID][]read)
	var ids []pgtype.UUID
	for _, r := range page {
		if job := r.JobID(); r.err == nil && job != uuid.Nil {
			ids = append(ids, id(job))
		}
	}
	if len(ids) < 2 {
		return nil
	}
	found, err := a.sink.pool.Query(ctx, `
		SELECT idx, n, job, lines FROM (
			(SELECT idx, NULL::bigint AS n, job, ARRAY[line] AS lines FROM jobaudit.events WHERE job = ANY ($1) ORDER BY idx LIMIT $2)
			UNION ALL SELECT NULL, n, NULL, lines FROM jobaudit.inbox WHERE keys && $1) r
		ORDER BY idx IS NULL, idx, n`, ids, jobsRecords+1)
	if err != nil {
		return fmt.Errorf("pgsink: read jobs: %w", err)
	}
	trails := make(map[uuid.UUID][]read)
	for _, job := range ids {
		trails[job.Bytes] = nil
	}
	records := 0
	var idx, n *int64
	var job pgtype.UUID
	var lines [][]byte
	_, err = pgx.ForEachRow(found, []any{&idx, &n, &job, &lines}, func() error {
		if records += len(lines); records > jobsRecords {
			return errStop // they are read one by one
		}
		for i, line := range lines {
			r, err := jobaudit.ParseRecord(line)
			switch {
			case err == nil:
				job.Bytes = r.JobID()
			case idx != nil:
				err = &jobaudit.UnreadableError{Place: fmt.Sprintf("event %d", *idx), Err: err}
			default:
				err = &jobaudit.UnreadableError{Place: fmt.Sprintf("event %d of row %d of the inbox", i, *n), Err: err}
			}
			if trail, asked := trails[job.Bytes]; asked {
				trails[job.Bytes] = append(trail, read{r, err})
			}
		}
		return nil
	})
	switch {
	case errors.Is(err, errStop):
		return nil
	case err != nil:
		return fmt.Errorf("pgsink: read jobs: %w", err)
	}
	a.trails = trails
	return nil
}
