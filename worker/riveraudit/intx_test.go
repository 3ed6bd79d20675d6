package riveraudit_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/worker/queue"
	"github.com/jobaudit/jobaudit/worker/riveraudit"
)

// pending is a sink that keeps what it is given until it is committed, as one
// in the caller's transaction does.
type pending struct {
	appends int
	records []jobaudit.Record
}

func (p *pending) Append(_ context.Context, records []jobaudit.Record) error {
	p.appends++
	p.records = append(p.records, records...)
	return nil
}

func (p *pending) Close() error { return nil }

func TestABulkInsertInATransactionIsOneAppendOfAllSubmissions(t *testing.T) {
	t.Parallel()
	const jobs = 1001 // more than a comparison asks for at a time
	run := jobs
	if size.Race {
		run = 250
	}
	w := newWorld(t, database(t, server(t)), false)
	insert := func(ctx context.Context, finish func(pgx.Tx) error) *pending {
		tx, err := w.pool.Begin(ctx)
		require.NoError(t, err)
		log := &pending{}
		params := make([]river.InsertManyParams, jobs)
		for i := range params {
			params[i] = river.InsertManyParams{Args: task{}}
			if i >= run {
				params[i].InsertOpts = &river.InsertOpts{ScheduledAt: time.Now().Add(time.Hour)}
			}
		}
		results, err := w.inserter().InsertManyTx(riveraudit.InTx(ctx, log), tx, params)
		require.NoError(t, err)
		require.Len(t, results, jobs)
		require.Equal(t, 1, log.appends)
		require.Len(t, log.records, jobs)
		require.NoError(t, finish(tx))
		return log
	}
	insert(t.Context(), func(tx pgx.Tx) error { return tx.Rollback(t.Context()) })
	require.Empty(t, w.sink.Jobs(), "nothing is recorded beside the transaction")

	log := insert(t.Context(), func(tx pgx.Tx) error { return tx.Commit(t.Context()) })
	require.NoError(t, w.sink.Append(t.Context(), log.records), "committed")
	w.start()
	w.until("all are completed", func() bool {
		var n int
		err := w.pool.QueryRow(t.Context(), "SELECT count(*) FROM river_job WHERE state = 'completed'").Scan(&n)
		return err == nil && n == run
	})
	w.stop(false)
	states := map[jobaudit.JobState]int{}
	for _, r := range log.records {
		job, _ := w.replay(r.JobID())
		states[job.State]++
		require.Equal(t, "ada", job.Metadata.UserID)
	}
	require.Equal(t, run, states[jobaudit.Success])
	require.Equal(t, jobs-run, states[jobaudit.Pending])
	require.Equal(t, queue.Report{Jobs: jobs}, w.reconcile(), "nothing is added, and all are looked at")
}

// A duplicate's submission stands in the transaction, and reconciling ends it.
func TestADuplicateInATransactionIsEndedByReconciling(t *testing.T) {
	t.Parallel()
	w := newWorld(t, database(t, server(t)), false)
	once := &river.InsertOpts{UniqueOpts: river.UniqueOpts{ByArgs: true}}
	first := w.insert(task{Name: "once"}, once)
	log := &pending{}
	require.NoError(t, pgx.BeginFunc(t.Context(), w.pool, func(tx pgx.Tx) error {
		result, err := w.inserter().InsertTx(riveraudit.InTx(t.Context(), log), tx, task{Name: "once"}, once)
		require.NoError(t, err)
		require.True(t, result.UniqueSkippedAsDuplicate)
		require.Equal(t, first, result.Job.ID)
		return nil
	}))
	require.NoError(t, w.sink.Append(t.Context(), log.records))
	w.start()
	w.await(first, rivertype.JobStateCompleted)
	w.stop(false)
	require.Equal(t, 1, w.reconcile().Added())
	job, _ := w.replay(log.records[0].JobID())
	require.Equal(t, jobaudit.Cancelled, job.State)
}
