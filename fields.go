package jobaudit

import (
	"fmt"
	"sync"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit/internal/fields"
)

// fieldsByPath finds the rows of the table by their paths.
var fieldsByPath = sync.OnceValue(func() map[string]*fields.Field {
	rows := map[string]*fields.Field{}
	fields.Event().All("", func(path string, f *fields.Field) { rows[path] = f })
	return rows
})

// given is a value of a caller and the field that it is for.
type given struct{ path, value string }

// checkStrings says which value may not be written, if one may not: the error
// is a [*FieldError].
func checkStrings(values ...given) error {
	for _, v := range values {
		if problem := fieldsByPath()[v.path].CheckString(v.value); problem != "" {
			return &FieldError{Field: v.path, Problem: problem}
		}
	}
	return nil
}

// checkID is checkStrings for a UUID.
func checkID(path string, id uuid.UUID) error {
	if problem := fieldsByPath()[path].CheckUUID(id); problem != "" {
		return &FieldError{Field: path, Problem: problem}
	}
	return nil
}

// checkAttempt is checkStrings for the number of an attempt.
func checkAttempt(path string, n, least int) error {
	if n < least || int64(n) > fields.MaxAttempt {
		return &FieldError{Field: path, Problem: fmt.Sprintf("is out of range: it must be from %d to %d", least, fields.MaxAttempt)}
	}
	return nil
}

// fieldError is the error of a table as callers get it.
func fieldError(err *fields.Error) error {
	if err == nil {
		return nil
	}
	return &FieldError{Field: err.Path, Problem: err.Problem}
}
