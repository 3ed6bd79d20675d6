package jobaudit

import (
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit/internal/errtree"
)

var (
	// ErrClosed is returned by every call on a Recorder, or on a Trail of a
	// Recorder, that has been closed.
	ErrClosed = errors.New("the recorder is closed")

	// errNotOpened is a use of what its zero value cannot do.
	errNotOpened = fmt.Errorf("%w: it was not made by Open, or by a call on what Open returned", ErrClosed)

	errNoFunction error = &AuditError{Op: "run", Err: &FieldError{Field: "function", Problem: "is required"}}

	// ErrDenied means that authorization refused the job. It did not run, or
	// was asked to stop.
	ErrDenied = errors.New("not authorized")

	// ErrTransition means that the job is not in a state in which this can
	// happen to it. Nothing was stored.
	ErrTransition = errors.New("not possible in the job's state")

	// ErrNoPolicy means that no Redactor is registered for the action and that
	// the Registry requires one. Nothing was stored.
	ErrNoPolicy = errors.New("no redaction policy for the action")

	// ErrConflict means that a sink holds other bytes under the record's ID. A
	// sink returns it wrapped in a [*RecordError] that names the record.
	ErrConflict = errors.New("other bytes are stored under this ID")

	// ErrNotFound means that nothing is recorded of the job.
	ErrNotFound = errors.New("no record of the job")
)

// AuditError is an error of the audit path, never of the job's own work. Err
// is the cause: one of this package's errors, a context's error, or what the
// sink returned.
type AuditError struct {
	Op    string    // the call, as in "submit"
	JobID uuid.UUID // the zero UUID if no job is concerned
	Err   error

	putOff bool
}

// AskAgain reports whether the error is an [ErrDenied] that only puts the job
// off: its queue may bring it back, and the question is asked again.
func (e *AuditError) AskAgain() bool { return e.putOff }

func (e *AuditError) Error() string {
	if e.JobID == uuid.Nil {
		return fmt.Sprintf("jobaudit: %s: %v", e.Op, e.Err)
	}
	return fmt.Sprintf("jobaudit: %s job %s: %v", e.Op, e.JobID, e.Err)
}

func (e *AuditError) Unwrap() error { return e.Err }

// FieldError names a field that is missing or malformed. It never quotes the
// field's content.
type FieldError struct {
	Field   string // the path in the JSON form, as in "metadata.requestId"
	Problem string
}

func (e *FieldError) Error() string {
	if e.Field == "" {
		return e.Problem
	}
	return e.Field + ": " + e.Problem
}

// RecordError says that a record can never be stored: it is malformed, too
// large for the medium, or in conflict ([ErrConflict]). A Recorder does not
// send the record again.
type RecordError struct {
	ID  uuid.UUID // the record's event ID; the zero UUID if it cannot be told
	Err error
}

func (e *RecordError) Error() string {
	if e.ID == uuid.Nil {
		return fmt.Sprintf("record refused: %v", e.Err)
	}
	return fmt.Sprintf("record %s refused: %v", e.ID, e.Err)
}

func (e *RecordError) Unwrap() error { return e.Err }

// UnreadableError says that a reader met a stored record which [ParseRecord]
// does not accept: it is damaged, or a program that should not write to the log
// wrote it. It concerns this one record. A reader yields it in the place of the
// record and goes on behind it, where any other error ends the iteration; who
// reads should count it, tell where it is, and go on as well.
type UnreadableError struct {
	Place string // where the record is stored, as the reader names places: a file and its line, an index
	Err   error  // what is wrong with the record: the [*RecordError] of ParseRecord
}

func (e *UnreadableError) Error() string {
	return fmt.Sprintf("unreadable record at %s: %v", e.Place, e.Err)
}

// Unwrap hides that Err is a [*RecordError]: that one is about a record which a
// sink refused, and a caller that asks for it must not take this for a refusal.
func (e *UnreadableError) Unwrap() error {
	if record, ok := errors.AsType[*RecordError](e.Err); ok {
		return record.Err
	}
	return e.Err
}

// definite reports whether an error says that a record will never be stored.
func definite(err error) bool {
	_, refused := errtree.Find[*RecordError](err)
	return refused || errtree.Is(err, ErrConflict)
}

// literal is the type of constant texts. A variable of type string is none and
// cannot be converted to one outside this package.
type literal string

// ConstantError returns an error whose text is a constant of the program. A
// record keeps the text even when the message of the cause has to be dropped,
// because that holds a secret or a value that a policy removed:
//
//	return jobaudit.ConstantError("the payment service refused the order", err)
//
// The error's message is the text, a colon and the cause's message. It wraps
// the cause, which may be nil. A record of a panic with such an error keeps the
// text, too.
func ConstantError(text literal, cause error) error {
	return &constantError{string(text), cause}
}

type constantError struct {
	text  string
	cause error
}

func (e *constantError) Error() string {
	if e.cause == nil {
		return e.text
	}
	return e.text + ": " + e.cause.Error()
}

func (e *constantError) Unwrap() error { return e.cause }

// JobErrorText returns the text: see [Trail.Fail].
func (e *constantError) JobErrorText() string { return e.text }
