package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivertype"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/pgserver"
	"github.com/jobaudit/jobaudit/worker/riveraudit"
)

// args are a job's.
type args struct {
	N int `json:"n"`
}

// Kind is river.JobArgs'.
func (args) Kind() string { return "job" }

type worker struct {
	river.WorkerDefaults[args]
	work  *work
	ended func()
}

// Work is river.Worker's.
func (k *worker) Work(context.Context, *river.Job[args]) error {
	k.work.do()
	k.ended()
	return nil
}

// openRiver starts a PostgreSQL of its own that waits for no disk, so that River alone
// is as fast as it can be, with a database for each side.
func openRiver(ctx context.Context, dir string, w *work) (plain, audited *side, done func(), err error) {
	var server *pgserver.Server
	err = startServer(func() (err error) {
		server, err = pgserver.Start(ctx)
		return err
	})
	if err != nil {
		return nil, nil, nil, err
	}
	done = func() { _ = server.Stop() } // with all that it has
	if plain, err = plainRiver(ctx, server, w); err == nil {
		audited, err = auditedRiver(ctx, server, dir, w)
	}
	if err != nil {
		done()
		return nil, nil, nil, err
	}
	return plain, audited, done, nil
}

// database makes a database with River's tables.
func database(ctx context.Context, server *pgserver.Server, name string) (*pgxpool.Pool, error) {
	conn, err := pgx.Connect(ctx, server.URL("postgres"))
	if err != nil {
		return nil, err
	}
	_, err = conn.Exec(ctx, "CREATE DATABASE "+name)
	if err := errors.Join(err, conn.Close(ctx)); err != nil {
		return nil, err
	}
	config, err := pgxpool.ParseConfig(server.URL(name))
	if err != nil {
		return nil, err
	}
	config.MaxConns = 32
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err == nil {
		_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	}
	return pool, err
}

// riverConfig has as many workers as callers, and fetches as often as River allows.
func riverConfig(w *work, ended func()) *river.Config {
	all := river.NewWorkers()
	river.AddWorker(all, &worker{work: w, ended: ended})
	return &river.Config{
		Workers: all, Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: workers}},
		FetchCooldown: 2 * time.Millisecond, Logger: slog.New(slog.DiscardHandler), TestOnly: true,
	}
}

func plainRiver(ctx context.Context, server *pgserver.Server, w *work) (*side, error) {
	pool, err := database(ctx, server, "plain")
	if err != nil {
		return nil, err
	}
	l := &side{ended: make(chan int, 4096)}
	client, err := river.NewClient(riverpgxv5.New(pool), riverConfig(w, func() { l.ended <- 1 }))
	if err != nil {
		return nil, err
	}
	l.enqueue = func() error {
		_, err := client.Insert(ctx, args{7}, nil)
		return err
	}
	l.stop = func() {
		_ = client.Stop(ctx) // what was measured is measured
		pool.Close()
	}
	return l, client.Start(ctx)
}

func auditedRiver(ctx context.Context, server *pgserver.Server, dir string, w *work) (*side, error) {
	pool, err := database(ctx, server, "audited")
	if err != nil {
		return nil, err
	}
	l := &side{ended: make(chan int, 4096)}
	rec, log, err := openLog(ctx, dir, l)
	if err != nil {
		return nil, err
	}
	audit := riveraudit.New(rec, &riveraudit.Options{
		Logs:       []jobaudit.AuditReader{log},
		Submission: func(context.Context, *rivertype.JobInsertParams) jobaudit.Submission { return ann() },
	})
	config := riverConfig(w, func() {})
	config.Middleware = []rivertype.Middleware{audit}
	config.ErrorHandler = audit.ErrorHandler(nil)
	client, err := river.NewClient(riverpgxv5.New(pool), config)
	if err != nil {
		return nil, err
	}
	l.enqueue = func() error {
		_, err := client.Insert(ctx, args{7}, nil)
		return err
	}
	follower := audit.Follow(ctx, client, nil)
	l.stop = func() {
		_ = errors.Join(client.Stop(ctx), follower.Stop(ctx), rec.Close(ctx), log.Close()) // what was measured is measured
		pool.Close()
	}
	return l, client.Start(ctx)
}
