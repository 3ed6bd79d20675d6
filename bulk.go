package jobaudit

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit/internal/delivery"
)

// SubmitAll is [Recorder.Submit] for several jobs that are asked for at once: it
// stores them with one Append, and returns their Trails in the order of the
// submissions. All are checked before one is sent: if one of them cannot be
// submitted, nothing is stored, there are no Trails, and the error names its
// index. If there are Trails and an error, the outcome of those jobs is unknown,
// or some were refused: each Trail's next call settles its own.
func (r *Recorder) SubmitAll(ctx context.Context, submissions []Submission) ([]*Trail, error) {
	if err := r.opened("submit"); err != nil {
		return nil, err
	}
	if len(submissions) == 0 {
		return nil, nil
	}
	trails, streams := make([]*Trail, len(submissions)), make([]*stream, len(submissions))
	entries := make([]entry, len(submissions))
	seen := make(map[uuid.UUID]bool, len(submissions))
	for i, s := range submissions {
		t, d, err := r.submission(ctx, s)
		switch {
		case err != nil:
			return nil, ofSubmission(i, err)
		case seen[t.env.jobID]:
			return nil, ofSubmission(i, t.fail("submit", &FieldError{Field: "job.id", Problem: "is that of another submission of the call"}))
		}
		seen[t.env.jobID] = true
		trails[i], streams[i], entries[i] = t, t.stream, t.encode(&d, delivery.Admission)
		entries[i].Ack = t.newAck()
	}
	ctx, cancel := context.WithTimeout(ctx, r.opts.Timeout)
	defer cancel()
	err := ctx.Err()
	if err == nil {
		err = r.queue.SendTogether(streams, entries)
	}
	if err != nil {
		return nil, trails[0].fail("submit", err)
	}
	var failed error
	for i, t := range trails {
		if err := r.queue.Wait(ctx, t.stream, entries[i].Ack, r.opts.Timeout); err != nil && failed == nil {
			failed = ofSubmission(i, t.fail("submit", err))
		}
	}
	return trails, failed
}

// ofSubmission adds to an error which of several submissions it is of.
func ofSubmission(i int, err error) error {
	audit, ok := errors.AsType[*AuditError](err)
	if !ok {
		return err
	}
	return &AuditError{Op: audit.Op, JobID: audit.JobID, Err: fmt.Errorf("submission %d: %w", i, audit.Err)}
}

// SubmitTx records submissions through a sink that stores them in a transaction
// of the caller's, and returns a Carrier for each, in their order: the record
// lives or dies with the business change that asked for the job, and with the
// queue's own row where that is in the same database. One call is one Append.
//
// nil does not mean that anything is durable: that is for the commit to say. If
// the transaction is rolled back, there is no trace of the submissions, and the
// Carriers are to be thrown away. Nothing is tried again and nothing goes to
// the Fallback: after an error, which is an [*AuditError], the caller rolls
// back. Who tries the whole again gives the Submissions the same ID, so that
// an unknown commit makes no second job.
//
// What follows, from the authorization on, goes through a Trail that Resume
// opens, with the Recorder's own sink: an outcome has to outlive any
// transaction of the job.
func (r *Recorder) SubmitTx(ctx context.Context, tx AuditSink, submissions ...Submission) ([]Carrier, error) {
	if err := r.opened("submit"); err != nil {
		return nil, err
	}
	records := make([]Record, 0, len(submissions))
	carriers := make([]Carrier, 0, len(submissions))
	for _, s := range submissions {
		t, d, err := r.submission(ctx, s)
		if err != nil {
			return nil, err
		}
		record, _, err := t.env.encode(&d).Place(delivery.Position{Stream: t.stream.ID, Seq: 1}, nil)
		if err != nil {
			return nil, t.fail("submit", err)
		}
		records = append(records, record)
		carriers = append(carriers, t.carrierAt(&streamHead{Stream: t.stream.ID, Seq: 1, Hash: record.hash, Event: record.id}))
	}
	if len(records) == 0 {
		return carriers, nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.opts.Timeout)
	defer cancel()
	if tx == nil {
		return nil, &AuditError{Op: "submit", JobID: records[0].jobID, Err: &FieldError{Field: "tx", Problem: "is nil"}}
	}
	if err := tx.Append(ctx, records); err != nil {
		return nil, &AuditError{Op: "submit", JobID: records[0].jobID, Err: err}
	}
	return carriers, nil
}
