package pgsink

import (
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/jobcheck"
)

// records adds what the events say of each other. Where a damaged log makes them
// disagree, that is a note: it helps to see which jobs are concerned.
func (v *verification) records(said *jobcheck.Result, damage []auditlog.Finding) {
	r := &v.report
	r.Jobs, r.Streams = said.Jobs, said.Streams
	r.Ghosts, r.Unapplied, r.Dangling, r.Foreign = said.Ghosts.Total(), said.Unapplied.Total(), said.Dangling.Total(), said.Foreign.Total()
	wrong, more := said.Findings()
	v.more += more
	for _, j := range wrong {
		f := findingOf(j)
		if slices.ContainsFunc(damage, func(d auditlog.Finding) bool {
			return d.Kind != auditlog.KindTruncated && d.First <= j.Index && j.Since < d.End
		}) {
			f.Explained = "follows from the damage"
			r.Notes = append(r.Notes, f)
			continue
		}
		v.find(f)
	}
	for _, notes := range [][]jobcheck.Finding{said.Foreign.First(), said.Unapplied.First(), said.Dangling.First(), said.Ghosts.First()} {
		for _, n := range notes {
			r.Notes = append(r.Notes, findingOf(n))
		}
	}
}

func findingOf(j jobcheck.Finding) Finding {
	return Finding{EventID: j.Event, JobID: j.Job, Finding: auditlog.Finding{
		Kind: j.Kind, Index: j.Index, First: j.Index, End: j.Index + 1, Commit: -1, Offset: -1,
		Expected: j.Expected, Found: j.Found,
	}}
}

// name says of which event and job the findings are, as the columns have it, and
// gives those of the job checks their batch.
func (v *verification) name() error {
	wanted := make(map[int64][]*Finding)
	for _, list := range [][]Finding{v.findings, v.report.Notes} {
		for i := range list {
			if f := &list[i]; f.Index >= 0 {
				wanted[f.Index] = append(wanted[f.Index], f)
			}
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	indexes := make([]int64, 0, len(wanted))
	for idx := range wanted {
		indexes = append(indexes, idx)
	}
	rows, err := v.db.Query(v.ctx, `
		SELECT idx, id, job, prev, size FROM jobaudit.events
		LEFT JOIN LATERAL (SELECT prev, size FROM jobaudit.commits WHERE size > idx ORDER BY size LIMIT 1) c ON true
		WHERE idx = ANY ($1)`, indexes)
	if err != nil {
		return err
	}
	var idx int64
	var eventID, job pgtype.UUID
	var prev, size *int64
	_, err = pgx.ForEachRow(rows, []any{&idx, &eventID, &job, &prev, &size}, func() error {
		for _, f := range wanted[idx] {
			if f.EventID == uuid.Nil {
				f.EventID = eventID.Bytes
			}
			if f.JobID == uuid.Nil {
				f.JobID = job.Bytes
			}
			if f.End == f.First+1 && prev != nil && *prev <= idx {
				f.First, f.End = *prev, *size
			}
		}
		return nil
	})
	return err
}
