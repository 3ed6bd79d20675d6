package errlog_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/errlog"
)

// list is an error that cannot be compared.
type list []string

func (l list) Error() string { return fmt.Sprint([]string(l)) }

type panics struct{ error }

func (panics) Error() string { panic("canary") }
func (panics) Unwrap() error { panic("canary") }

// TestOwnWordsAreSaidAndNoOthers of what an error wraps, in whatever it wraps it.
func TestOwnWordsAreSaidAndNoOthers(t *testing.T) {
	before := slog.Default()
	defer slog.SetDefault(before)
	mine, id := errors.New("of the adapter"), uuid.New()
	for want, err := range map[string]error{
		"submit job " + id.String():      &jobaudit.AuditError{Op: "submit", JobID: id, Err: errors.New("canary")},
		"jobaudit: open":                 &jobaudit.AuditError{Op: "open", Err: list{"canary"}},
		"metadata.requestId: is missing": fmt.Errorf("canary: %w", &jobaudit.FieldError{Field: "metadata.requestId", Problem: "is missing"}),
		"of the adapter":                 errors.Join(errors.New("canary"), mine),
		jobaudit.ErrDenied.Error():       fmt.Errorf("canary %w", jobaudit.ErrDenied),
		"unreadable record at line 7":    fmt.Errorf("canary: %w", &jobaudit.UnreadableError{Place: "line 7", Err: errors.New("canary")}),
		"record " + id.String():          fmt.Errorf("canary: %w", &jobaudit.RecordError{ID: id, Err: errors.New("canary")}),
		"jobaudit.RecordError":           &jobaudit.RecordError{Err: errors.New("canary")},
		"errlog_test.list":               list{"canary"},
		"errlog_test.panics":             panics{errors.New("canary")},
		"<nil>":                          nil,
	} {
		var said bytes.Buffer
		slog.SetDefault(slog.New(slog.NewTextHandler(&said, nil)))
		errlog.Default("name", mine)(t.Context(), err)
		require.NotContains(t, said.String(), "canary")
		require.Contains(t, said.String(), "msg=name")
		if err != nil {
			require.Contains(t, said.String(), want)
		}
	}
}
