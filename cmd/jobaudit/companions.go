package main

import (
	"context"
	"iter"
	"strings"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/evidence"
)

// folded are the records that jobs are made of. Of several logs a companion adds its
// corrections and acts only: its key is there to say something about a job, and not to say how
// the job ended.
func (s sources) folded(ctx context.Context, q jobaudit.Query, contains string, unread *int) iter.Seq2[jobaudit.Record, error] {
	if len(s) == 1 {
		return s.records(ctx, q, contains, unread)
	}
	var logs sources
	for _, l := range s {
		logs = append(logs, onlyAbout{l})
	}
	return logs.records(ctx, q, contains, unread)
}

// onlyAbout is a log, of which a companion says nothing of jobs but corrections.
type onlyAbout struct{ log }

func (o onlyAbout) records(ctx context.Context, q jobaudit.Query, contains string, unread *int) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		companion, err := isCompanion(ctx, o.log)
		if err != nil {
			yield(jobaudit.Record{}, err)
			return
		}
		for r, err := range o.log.records(ctx, q, contains, unread) {
			if err == nil && companion && r.JobID() != uuid.Nil && r.Type() != jobaudit.JobCorrected {
				continue
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

// isCompanion reports whether a log is named as companions are, which only another key could
// change, or its first event names the log that it is about.
func isCompanion(ctx context.Context, l log) (bool, error) {
	if signed, err := l.newest(ctx, false); err == nil {
		if origin, _, err := headOf(signed); err == nil {
			if line, _ := auditlog.SplitOrigin(origin); strings.HasSuffix(line, "/acts") {
				return true, nil
			}
		}
	}
	unread := 0
	for r, err := range l.records(ctx, jobaudit.Query{Limit: 1}, "", &unread) {
		return err == nil && r.Event().Data.CompanionOf.Origin != "", err
	}
	return false, nil
}

// elsewhere names, for the events of a job that stand in another log than the first, that log.
func (s sources) elsewhere(ctx context.Context, job uuid.UUID) (map[uuid.UUID]string, error) {
	in := map[uuid.UUID]string{}
	for i := len(s) - 1; i >= 0 && len(s) > 1; i-- {
		unread, name := 0, s[i].String()
		if signed, err := s[i].newest(ctx, false); err == nil {
			if origin, _, err := headOf(signed); err == nil {
				name = origin // wherever it lies
			}
		}
		for r, err := range s[i].records(ctx, jobaudit.Query{JobID: job}, job.String(), &unread) {
			if err != nil {
				return nil, err
			}
			in[r.ID()] = name
			if i == 0 {
				delete(in, r.ID())
			}
		}
	}
	return in, nil
}

// elsewhereIn does that for the events of a file of evidence.
func elsewhereIn(b *evidence.Bundle) map[uuid.UUID]string {
	in := map[uuid.UUID]string{}
	for i := len(b.Logs) - 1; i >= 0; i-- {
		for _, r := range b.Logs[i].Records {
			in[r.ID()] = b.Logs[i].Checkpoint.Head().Origin
			if i == 0 {
				delete(in, r.ID())
			}
		}
	}
	return in
}
