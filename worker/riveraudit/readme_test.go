package riveraudit_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/worker/riveraudit"
)

// serve holds the lines that the README and docs/adapters.md show, with a program's own between
// them.
func serve(
	ctx context.Context, recorder *jobaudit.Recorder, sink *memsink.Sink, pool *pgxpool.Pool, config *river.Config,
	program func(*river.Client[pgx.Tx]) error,
) error {
	driver := riverpgxv5.New(pool)

	audit := riveraudit.New(recorder, &riveraudit.Options{Logs: []jobaudit.AuditReader{sink}, Submission: whoAsks})
	config.Middleware = append([]rivertype.Middleware{audit}, config.Middleware...) // first
	config.ErrorHandler = audit.ErrorHandler(config.ErrorHandler)
	client, err := river.NewClient(driver, config)
	if err != nil {
		return err
	}
	follower := audit.Follow(ctx, client, nil)
	if err := client.Start(ctx); err != nil {
		return err
	}

	if err := program(client); err != nil {
		return err
	}
	report, err := audit.Reconcile(ctx, client, nil) // every hour
	if err != nil {
		return err
	}
	if report.Added() > 0 {
		return errors.New("something was missing")
	}

	err = client.Stop(ctx)
	err = errors.Join(err, follower.Stop(ctx)) // then close the recorder, then the sink
	return err
}

func whoAsks(ctx context.Context, job *rivertype.JobInsertParams) jobaudit.Submission {
	return jobaudit.Submission{
		Principal: jobaudit.Principal{Kind: jobaudit.Service, ID: "shop"},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.OnEvent, Reason: "an order was placed"},
	}
}

func TestTheLinesInTheReadmePutAJobOnRecord(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	pool, err := pgxpool.New(ctx, database(t, server(t)))
	require.NoError(t, err)
	defer pool.Close()
	sink := memsink.New(nil)
	recorder, err := jobaudit.Open(ctx, sink, jobaudit.Source{System: "shop", Environment: "test"}, nil)
	require.NoError(t, err)
	workers := river.NewWorkers()
	river.AddWorker(workers, river.WorkFunc(func(context.Context, *river.Job[task]) error { return nil }))
	config := &river.Config{
		Workers: workers, Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 1}},
		Logger: slog.New(slog.DiscardHandler),
	}
	require.NoError(t, serve(ctx, recorder, sink, pool, config, func(client *river.Client[pgx.Tx]) error {
		completed, unsubscribe := client.Subscribe(river.EventKindJobCompleted)
		defer unsubscribe()
		_, err := client.Insert(ctx, task{}, nil)
		if err != nil {
			return err
		}
		select {
		case <-completed:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}))
	require.NoError(t, recorder.Close(ctx))
	require.Len(t, sink.Jobs(), 1)
	sink.ExpectStates(t, sink.Jobs()[0], jobaudit.Pending, jobaudit.Running, jobaudit.Success)
}
