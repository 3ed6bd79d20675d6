// Package errlog is what the watchdog, the adapters, jobhttp and webui do with errors if
// nobody has said where they go: slog.Default(), which is read by many, gets their kinds,
// and which job or record they are about, and not their texts, as those of a queue's
// client or of a job's function may quote inputs.
package errlog

import (
	"context"
	"log/slog"
	"slices"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/errtree"
)

// own are errors whose texts quote nothing.
var own = []error{
	jobaudit.ErrClosed, jobaudit.ErrDenied, jobaudit.ErrTransition, jobaudit.ErrNoPolicy, jobaudit.ErrConflict, jobaudit.ErrNotFound,
}

// Default returns an OnError that logs to slog.Default() under a name. known are the
// caller's own errors, whose texts quote nothing.
func Default(name string, known ...error) func(context.Context, error) {
	known = append(slices.Clone(own), known...)
	return func(ctx context.Context, err error) {
		slog.Default().LogAttrs(ctx, slog.LevelError, name, slog.String("error", Kinds(err, known...)))
	}
}

// Kinds says what an error and those that it wraps are. known are errors whose texts quote
// nothing.
func Kinds(err error, known ...error) string {
	return errtree.Kinds(err, func(err error) string { return say(err, known) })
}

func say(err error, known []error) string {
	switch e := err.(type) {
	case *jobaudit.AuditError:
		if e.JobID == uuid.Nil {
			return "jobaudit: " + e.Op
		}
		return "jobaudit: " + e.Op + " job " + e.JobID.String()
	case *jobaudit.UnreadableError:
		return "unreadable record at " + e.Place
	case *jobaudit.RecordError:
		if e.ID != uuid.Nil {
			return "record " + e.ID.String() + " refused"
		}
	case *jobaudit.FieldError: // which quotes no content
		return e.Error()
	}
	for _, k := range known {
		if same(err, k) {
			return k.Error()
		}
	}
	return ""
}

// same is whether an error of unknown origin is one of ours. One that cannot be compared
// is not.
func same(err, k error) (is bool) {
	defer func() { _ = recover() }()
	return err == k
}
