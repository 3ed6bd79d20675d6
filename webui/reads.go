package webui

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/reads"
)

// note returns once the look is on record, or counted with one that is: of the same
// scope, and of the same words if the scope moves with the time.
func (u *UI) note(ctx context.Context, v Viewer, scope jobaudit.Query, words ...string) error {
	if u.opts.Record == nil {
		return nil
	}
	asked := scope
	if len(words) > 0 {
		asked.Since, asked.Until = time.Time{}, time.Time{}
	}
	key, err := json.Marshal([]any{v.Kind, v.ID, v.OrgID, asked, words})
	if err != nil {
		return err
	}
	act := jobaudit.Act{Type: jobaudit.AuditRead, Principal: v.Principal, OrgID: v.OrgID, Reason: "looked at in the pages of webui"}
	return u.reads.Note(ctx, string(key), reads.Span{Since: scope.Since, Until: scope.Until}, func(count int, since time.Time, read reads.Span) error {
		data := map[string]any{"count": count}
		if !since.IsZero() {
			data["since"] = since.UTC().Format(time.RFC3339)
		}
		act := act
		act.Scope, act.Data = scope, data
		act.Scope.Since, act.Scope.Until = read.Since, read.Until
		return reads.SentOn[*jobaudit.AuditError](u.opts.Record(context.Background(), act))
	})
}

// lookAt is the scope of a look at one job. Who may know of all organizations looks at what
// all of them have recorded of it, and not at their own.
func lookAt(v *Viewer, job uuid.UUID) jobaudit.Query {
	q := jobaudit.Query{JobID: job}
	if !v.AllOrgs {
		q.OrgID = v.OrgID
	}
	return q
}
