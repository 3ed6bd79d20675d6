package jobaudit

import (
	"context"
	"strings"
)

// Erase deletes the keys of a subject, a person say, and records that, as an
// audit.erased event: what was sealed with those keys (package redact) cannot
// be read any more, by anybody, while every hash still verifies. keys is what
// holds them, as redact.KeyStore does; its Erase returns the IDs of the keys
// that it has deleted, which the event holds. The subject is not stored.
//
// The reason is a free text; one that names the subject is dropped. If Erase
// returns an error, part of this may have been done: call it again. A call
// that finds no key is recorded as well. Backups of the keys are yours to
// delete.
func (r *Recorder) Erase(ctx context.Context, keys interface {
	Erase(subject string) (ids []string, err error)
}, subject, reason string) error {
	if r.closed.Load() {
		return &AuditError{Op: "erase", Err: ErrClosed}
	}
	if err := ctx.Err(); err != nil {
		return &AuditError{Op: "erase", Err: err}
	}
	ids, err := keys.Erase(subject)
	if err != nil && len(ids) == 0 {
		return &AuditError{Op: "erase", Err: err}
	}
	data := &erasedData{keys: ids}
	switch {
	case reason == "":
	case strings.Contains(strings.ToLower(reason), strings.ToLower(subject)):
		data.reason = text{dropped: "subject"}
	default:
		data.reason = r.door.text(reason)
	}
	stored := r.store(context.WithoutCancel(ctx), []entry{r.entry(AuditErased, payload{erased: data})}, r.opts.OutcomeTimeout)
	if stored != nil {
		return &AuditError{Op: "erase", Err: stored}
	}
	if err != nil {
		return &AuditError{Op: "erase", Err: err}
	}
	return nil
}
