package queue

import (
	"errors"

	"github.com/jobaudit/jobaudit"
)

// WithRef calls record with the queue's own name of a job or, if that holds a
// credential and so is not stored, with another one, that does not hold it.
func WithRef(ref, other jobaudit.Ref, record func(jobaudit.Ref) error) error {
	err := record(ref)
	if field, ok := errors.AsType[*jobaudit.FieldError](err); ok && (field.Field == "job.queue.id" || field.Field == "job.queue.system") {
		return record(other)
	}
	return err
}
