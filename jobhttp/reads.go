package jobhttp

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/reads"
)

// noteRead returns when the read is on record, or will be.
func (a *API) noteRead(ctx context.Context, c Caller, scope jobaudit.Query) error {
	key, err := json.Marshal([]any{c.Kind, c.ID, c.OrgID, scope})
	if err != nil {
		return err
	}
	act := jobaudit.Act{Type: jobaudit.AuditRead, Principal: c.Principal, OrgID: c.OrgID, Reason: "read over HTTP"}
	err = a.reads.Note(ctx, string(key), reads.Span{Since: scope.Since, Until: scope.Until}, func(count int, since time.Time, read reads.Span) error {
		data := map[string]any{"count": count}
		if !since.IsZero() {
			data["since"] = since.UTC().Format(time.RFC3339)
		}
		act := act
		act.Scope, act.Data = scope, data
		act.Scope.Since, act.Scope.Until = read.Since, read.Until
		return reads.SentOn[*jobaudit.AuditError](a.rec.Act(context.Background(), act))
	})
	if err == nil || err == ctx.Err() {
		return err
	}
	return unrecorded(err)
}

// unrecorded is the answer to a read that cannot be recorded.
func unrecorded(err error) error {
	if field, ok := errors.AsType[*jobaudit.FieldError](err); ok {
		name, isFilter := strings.CutPrefix(field.Field, "data.act.scope.")
		if name == "principalId" {
			name = "userId"
		}
		if isFilter {
			return invalid(name)
		}
		return problem{code: internal, message: "something went wrong", cause: err}
	}
	return problem{code: unavailable, message: "the read cannot be recorded now", cause: err}
}
