package pgsink

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jobaudit/jobaudit"
)

// columnNames are the columns of events in the order of copyEvents.
var columnNames = []string{
	"idx", "id", "writer", "line",
	"job", "corr", "root", "principal", "org", "action", "type", "state", "resource", "error", "time",
}

// columnsOf returns what an event is selected by, from job on. A verifier
// of the log computes them again.
func columnsOf(e *jobaudit.Event) []any {
	root := e.Job.RootID
	if root == e.Job.ID {
		root = uuid.Nil
	}
	return []any{
		id(e.Job.ID), id(e.CorrelationID), id(root),
		text(e.Who.Principal.ID), text(e.Who.OrgID), text(e.What.Action), string(e.Type), text(string(e.Job.State)),
		text(e.What.Resource), text(errorCode(e)), e.Time,
	}
}

// actingFor returns the principals on whose behalf the event's own acted.
func actingFor(e *jobaudit.Event) []string {
	var ids []string
	for _, p := range e.Who.OnBehalfOf {
		if p.ID != "" && p.ID != e.Who.Principal.ID {
			ids = append(ids, column(p.ID))
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// errorCode returns the code that [jobaudit.Query.ErrorCode] finds the event by.
func errorCode(e *jobaudit.Event) string {
	switch {
	case e.Type == jobaudit.JobDenied:
		return string(jobaudit.CodeForbidden)
	case e.Type == jobaudit.JobDeduplicated:
		return string(jobaudit.CodeDuplicate)
	case e.Data.Error != nil:
		return string(e.Data.Error.Code)
	}
	return ""
}

func id(u uuid.UUID) pgtype.UUID { return pgtype.UUID{Bytes: u, Valid: u != uuid.Nil} }

// text is a column's text, NULL where there is none.
func text(s string) pgtype.Text { return pgtype.Text{String: column(s), Valid: s != ""} }

// column is a text as a column can hold it: PostgreSQL's text takes no NUL,
// which an event may hold, and nothing that is not UTF-8, which a Query may. Two texts
// may become one: Query.Match decides.
func column(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\ufffd"), "\x00", "\ufffd")
}

// selection builds the WHERE clause of a Query over the columns of events. It
// lets through all that Query.Match does, and perhaps more.
type selection struct {
	conditions []string
	branches   []branch
	args       []any
}

// branch is one of several selections that have no event in common and together are what
// is asked for. An index leads through each in the order of idx: through all at once none
// does. {bounds} stands for the conditions on idx, which PostgreSQL does not take over from
// one side of a join to the other.
type branch struct{ from, condition string }

// branch adds a branch, as add adds a condition.
func (s *selection) branch(from, condition string, arg any) {
	s.branches = append(s.branches, branch{from, strings.ReplaceAll(condition, "$?", s.arg(arg))})
}

// maxBranches is how many types have branches of their own.
const maxBranches = 16

// add adds a condition, in which $? stands for the argument.
func (s *selection) add(condition string, arg any) {
	s.conditions = append(s.conditions, strings.ReplaceAll(condition, "$?", s.arg(arg)))
}

// arg adds an argument and returns its placeholder.
func (s *selection) arg(arg any) string {
	s.args = append(s.args, arg)
	return fmt.Sprintf("$%d", len(s.args))
}

// where returns a WHERE clause.
func (s *selection) where(conditions []string) string {
	if len(conditions) == 0 {
		return ""
	}
	return "WHERE " + strings.Join(conditions, " AND ")
}

func newSelection(q *jobaudit.Query) *selection {
	s := &selection{}
	if q.JobID != uuid.Nil {
		s.add("job = $?", id(q.JobID))
	}
	if q.CorrelationID != uuid.Nil {
		s.add("corr = $?", id(q.CorrelationID))
	}
	for _, c := range []struct{ name, value string }{
		{"principal", q.PrincipalID}, {"org", q.OrgID}, {"action", q.Action}, {"state", string(q.State)},
		{"resource", q.Resource}, {"error", string(q.ErrorCode)},
	} {
		if c.value != "" {
			s.add(c.name+" = $?", column(c.value))
		}
	}
	few := q.JobID != uuid.Nil || q.CorrelationID != uuid.Nil // then the others need no index
	if q.RootID != uuid.Nil {
		if few {
			s.add("(root = $? OR job = $?)", id(q.RootID))
		} else {
			s.branch("jobaudit.events", "root = $?", id(q.RootID))
			s.branch("jobaudit.events", "job = $? AND root IS DISTINCT FROM $?", id(q.RootID))
		}
	}
	if q.ActingFor != "" {
		if principal := column(q.ActingFor); few || len(s.branches) > 0 {
			s.add("(principal = $? OR coalesce((SELECT true FROM jobaudit.acting a WHERE a.principal = $? AND a.idx = events.idx), false))", principal)
		} else {
			s.branch("jobaudit.events", "principal = $?", principal)
			s.branch("jobaudit.events JOIN (SELECT idx, principal AS other FROM jobaudit.acting {bounds}) a USING (idx)", "other = $? AND principal IS DISTINCT FROM $?", principal)
		}
	}
	if len(q.Types) > 0 {
		types := make([]string, len(q.Types))
		for i, t := range q.Types {
			types[i] = column(string(t))
		}
		slices.Sort(types)
		if types = slices.Compact(types); few || len(s.branches) > 0 || len(types) > maxBranches {
			s.add("type = ANY ($?::text[])", types)
		} else {
			for _, t := range types {
				s.branch("jobaudit.events", "type = $?", t)
			}
		}
	}
	s.times(q)
	return s
}

// times adds the conditions on times.
func (s *selection) times(q *jobaudit.Query) {
	if !q.Since.IsZero() {
		s.add("time >= $?", q.Since.Truncate(time.Microsecond))
	}
	if !q.Until.IsZero() {
		s.add("time < $?", q.Until.Truncate(time.Microsecond))
	}
}
