package main

import (
	"context"
	"errors"
	"iter"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
)

// Sink keeps audit records in a Store: the key is the event's ID, the value
// its line.
type Sink struct{ *Store }

// Append implements jobaudit.AuditSink.
func (s Sink) Append(ctx context.Context, records []jobaudit.Record) error {
	return s.Update(ctx, func(tx *Tx) error {
		for _, r := range records {
			switch line, stored := tx.Get(r.ID().String()); {
			case r.Len() == 0:
				return &jobaudit.RecordError{Err: errors.New("empty")}
			case !stored:
				tx.Insert(r.ID().String(), string(r.Bytes()))
			case line != string(r.Bytes()):
				return &jobaudit.RecordError{ID: r.ID(), Err: jobaudit.ErrConflict}
			}
		}
		return nil
	})
}

// Records implements jobaudit.AuditReader.
func (s Sink) Records(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		after := ""
		if q.After != uuid.Nil {
			after = q.After.String()
		}
		for row, err := range s.Rows(ctx, after, q.NewestFirst) {
			r, bad := jobaudit.ParseRecord([]byte(row.Value))
			if err == nil && bad != nil { // the others can be read nevertheless
				err = &jobaudit.UnreadableError{Place: "key " + row.Key, Err: bad}
			}
			if err == nil && !q.Match(r) {
				continue
			}
			if err == nil {
				q.Limit--
			}
			if !yield(r, err) || err == nil && q.Limit == 0 {
				return
			}
		}
	}
}
