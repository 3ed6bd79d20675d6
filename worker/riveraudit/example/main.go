// The example runs a shop's mail through River, on a private PostgreSQL server
// that it starts itself, with every job on record in a signed log:
//
//	go run ./example
//
// It needs an installed PostgreSQL (Debian's package postgresql), and nothing
// that is running.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivertype"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/pgserver"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/worker/queue"
	"github.com/jobaudit/jobaudit/worker/riveraudit"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// run starts the server, does the work, and prints what is on record of it.
func run(ctx context.Context, out io.Writer) (err error) {
	server, err := pgserver.Start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	pool, err := pgxpool.New(ctx, server.URL("postgres"))
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := migrate(ctx, pool); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "river-example-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	sink, err := openLog(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sink.Close()) }()
	return mail(ctx, out, pool, sink)
}

func migrate(ctx context.Context, pool *pgxpool.Pool) error {
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	return err
}

// openLog opens a signed log. A program keeps its key elsewhere.
func openLog(ctx context.Context, dir string) (*filesink.Sink, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	logDir := filepath.Join(dir, "log")
	key, err := filesink.LoadOrCreateKey(logDir, filepath.Join(dir, "key"), "localhost/river-example")
	if err != nil {
		return nil, err
	}
	return filesink.Open(ctx, logDir, key, nil)
}

// mail inserts three letters as one customer's request, lets River deliver
// them, and prints their stories.
func mail(ctx context.Context, out io.Writer, pool *pgxpool.Pool, sink *filesink.Sink) error {
	policies, err := jobaudit.NewRegistry(nil, letterPolicy)
	if err != nil {
		return err
	}
	recorder, err := jobaudit.Open(ctx, sink, jobaudit.Source{System: "shop", Environment: "example"},
		&jobaudit.Options{Redactors: policies})
	if err != nil {
		return err
	}

	// The lines to add:
	audit := riveraudit.New(recorder, &riveraudit.Options{Logs: []jobaudit.AuditReader{sink}, Submission: whoAsks})
	workers := river.NewWorkers()
	river.AddWorker(workers, &postOffice{})
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		Workers:      workers,
		Queues:       map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 4}},
		Middleware:   []rivertype.Middleware{audit},
		ErrorHandler: audit.ErrorHandler(nil),
		Logger:       slog.New(slog.DiscardHandler),
		RetryPolicy:  atOnce{},
	})
	if err != nil {
		return err
	}
	follower := audit.Follow(ctx, client, nil)
	if err := client.Start(ctx); err != nil {
		return err
	}

	ended, unsubscribe := client.Subscribe(river.EventKindJobCompleted, river.EventKindJobCancelled, river.EventKindJobFailed)
	defer unsubscribe()
	ids, err := post(ctx, audit, client, pool)
	if err != nil {
		return err
	}
	for left := len(ids); left > 0; {
		if e := <-ended; e.Job.FinalizedAt != nil {
			left--
		}
	}
	if err := errors.Join(client.Stop(ctx), follower.Stop(ctx)); err != nil {
		return err
	}
	report, err := audit.Reconcile(ctx, client, &queue.ReconcileOptions{Settle: -1})
	if err != nil {
		return err
	}
	if err := tell(ctx, out, audit, client, sink, ids); err != nil {
		return err
	}
	fmt.Fprintf(out, "reconciled with River's table: %d jobs, %d to add\n", report.Jobs, report.Added())
	return recorder.Close(ctx)
}

// post inserts the letters in one transaction: all of them or none, in the
// table and on record.
func post(ctx context.Context, audit *riveraudit.Audit, client *river.Client[pgx.Tx], pool *pgxpool.Pool) (ids []int64, err error) {
	ctx = context.WithValue(ctx, customerKey{}, "ada")
	err = audit.Transact(ctx, func(ctx context.Context) error {
		return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			for _, to := range []string{"Lisbon", "Nowhere", "Oslo"} {
				result, err := client.InsertTx(ctx, tx, letter{To: to, Text: "a secret"}, &river.InsertOpts{MaxAttempts: 2})
				if err != nil {
					return err
				}
				ids = append(ids, result.Job.ID)
			}
			return nil
		})
	})
	return ids, err
}

type customerKey struct{}

// whoAsks says on whose behalf a job is inserted: here, whom the context names.
func whoAsks(ctx context.Context, _ *rivertype.JobInsertParams) jobaudit.Submission {
	customer, _ := ctx.Value(customerKey{}).(string)
	return jobaudit.Submission{
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: customer, Verified: true},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "the customer pressed send"},
	}
}

// letter is a job. Of its inputs the destination may be stored.
type letter struct {
	To   string `json:"to"`
	Text string `json:"text"`
}

func (letter) Kind() string { return "deliver-letter" }

var letterPolicy = jobaudit.NewRedactor("deliver-letter", "1", jobaudit.InputPaths[letter](jobaudit.Keep("to")))

type postOffice struct {
	river.WorkerDefaults[letter]
}

func (*postOffice) Work(ctx context.Context, job *river.Job[letter]) error {
	trail, _ := jobaudit.FromContext(ctx)
	switch {
	case job.Args.To == "Nowhere":
		return errors.New("no such place")
	case job.Args.To == "Oslo" && job.Attempt == 1:
		return errors.New("snow")
	}
	trail.SetImpact("1 letter delivered")
	return nil
}

type atOnce struct{}

func (atOnce) NextRetry(*rivertype.JobRow) time.Time { return time.Now() }

// tell prints what is on record of each letter.
func tell(ctx context.Context, out io.Writer, audit *riveraudit.Audit, client *river.Client[pgx.Tx], sink *filesink.Sink, ids []int64) error {
	for _, id := range ids {
		row, err := client.JobGet(ctx, id)
		if err != nil {
			return err
		}
		jobID, err := audit.JobID(ctx, row)
		if err != nil {
			return err
		}
		job, err := jobaudit.Replay(sink.Records(ctx, jobaudit.Query{JobID: jobID}))
		if err != nil {
			return err
		}
		failure := ""
		if job.Error != nil {
			failure = ", error: " + job.Error.Message
		}
		fmt.Fprintf(out, "letter %s for %s: %s, attempts: %d%s (River: %s)\n",
			job.Metadata.Inputs, job.Metadata.UserID, job.State, len(job.Executions), failure, row.State)
	}
	return nil
}
