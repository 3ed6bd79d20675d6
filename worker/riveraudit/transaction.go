package riveraudit

import (
	"context"
	"sync"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/worker/queue"
)

type transactionKey struct{}

// transaction collects the jobs that are inserted in one, until it is known
// whether it was committed.
type transaction struct {
	mu       sync.Mutex // guards what follows
	trails   []*jobaudit.Trail
	existing []uuid.UUID
}

func (tx *transaction) add(trails []*jobaudit.Trail, existing []uuid.UUID) {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	tx.trails = append(tx.trails, trails...)
	tx.existing = append(tx.existing, existing...)
}

// Transact calls run, which inserts jobs in a transaction of its own, under
// the context that it gets, and commits it:
//
//	err := audit.Transact(ctx, func(ctx context.Context) error {
//		return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
//			…
//			_, err := client.InsertTx(ctx, tx, args, nil)
//			return err
//		})
//	})
//
// Their submissions are recorded when run has returned nil. If it returns an
// error, which Transact returns as it is, there never were such jobs, and no
// record says so. Only transactional inserts belong in run.
//
// The price is a moment between the commit and the record: a worker may be
// faster, and its start then stands before the submission; a process that dies
// in it leaves the submission to be recorded when River's table is reconciled.
// An error of recording is a [*queue.UnrecordedError]: do not run the transaction
// again. Where the log is in the same database, [InTx] has no such moment.
func (a *Audit) Transact(ctx context.Context, run func(context.Context) error) error {
	tx := &transaction{}
	if err := run(context.WithValue(ctx, transactionKey{}, tx)); err != nil {
		return err
	}
	tx.mu.Lock()
	defer tx.mu.Unlock()
	ctx = context.WithoutCancel(ctx) // it is committed: the record is owed
	err := together(tx.trails, func(i int, t *jobaudit.Trail) error {
		if err := t.Submit(ctx); err != nil {
			return err
		}
		if tx.existing[i] != uuid.Nil {
			return t.Deduplicate(ctx, tx.existing[i])
		}
		return nil
	})
	if err != nil {
		return &queue.UnrecordedError{Err: err}
	}
	return nil
}

type sinkKey struct{}

// InTx returns a context under which inserts are recorded in the transaction
// that they are made in, where the log and River's table are in one database.
// Package pgsink makes such a sink of the transaction:
//
//	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
//		…
//		_, err := client.InsertManyTx(riveraudit.InTx(ctx, pgsink.Tx(tx)), tx, params)
//		return err
//	})
//
// The business change, River's rows and the submissions are committed together
// or not at all, and the submissions of one insert are one Append, however many
// they are: see [jobaudit.Recorder.SubmitTx]. After an error the caller rolls
// back. That a job was skipped as a duplicate cannot be recorded before the
// commit: [Audit.Reconcile] ends the submission of such a job.
func InTx(ctx context.Context, tx jobaudit.AuditSink) context.Context {
	return context.WithValue(ctx, sinkKey{}, tx)
}
