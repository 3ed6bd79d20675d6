package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/pgsink"
	"github.com/jobaudit/jobaudit/watchdog"
	"github.com/jobaudit/jobaudit/worker/queue"
	"github.com/jobaudit/jobaudit/worker/riveraudit"
)

// Short times, so that nobody has to wait; the defaults are 30 s and an hour.
const (
	heartbeat = 200 * time.Millisecond
	interval  = time.Second
	rescue    = 2 * time.Second
)

// pack is a job.
type pack struct {
	What string `json:"what"`
}

func (pack) Kind() string { return "pack-parcel" }

// packer packs parcels. With the vase it hangs, whatever its context says.
type packer struct {
	river.WorkerDefaults[pack]
}

func (*packer) Work(ctx context.Context, job *river.Job[pack]) error {
	fmt.Println("packing the " + job.Args.What)
	if job.Args.What == "vase" {
		select {}
	}
	trail, _ := jobaudit.FromContext(ctx)
	trail.SetImpact("1 parcel packed")
	return nil
}

// program is what each of the processes has.
type program struct {
	pool     *pgxpool.Pool
	sink     *pgsink.Sink
	recorder *jobaudit.Recorder
	audit    *riveraudit.Audit
}

// open opens a connection pool for the business, and another for the log: one
// pool for both deadlocks when jobs hold every connection and wait for a record.
func open(ctx context.Context, url, system string) (*program, error) {
	p := &program{}
	var err error
	if p.pool, err = pgxpool.New(ctx, url); err != nil {
		return nil, err
	}
	if p.sink, err = pgsink.Open(ctx, url, nil); err != nil {
		return nil, err
	}
	p.recorder, err = jobaudit.Open(ctx, p.sink, jobaudit.Source{System: system, Environment: "example"},
		&jobaudit.Options{Heartbeat: heartbeat})
	if err != nil {
		return nil, err
	}
	p.audit = riveraudit.New(p.recorder, &riveraudit.Options{Logs: []jobaudit.AuditReader{p.sink}, Submission: whoAsks})
	return p, nil
}

func (p *program) close(ctx context.Context) error {
	err := errors.Join(p.recorder.Close(ctx), p.sink.Close())
	p.pool.Close()
	return err
}

func (p *program) config() *river.Config {
	return &river.Config{
		Middleware: []rivertype.Middleware{p.audit}, ErrorHandler: p.audit.ErrorHandler(nil),
		Logger: slog.New(slog.DiscardHandler),
	}
}

type customerKey struct{}

// whoAsks says on whose behalf a job is inserted: here, whom the context names.
func whoAsks(ctx context.Context, _ *rivertype.JobInsertParams) jobaudit.Submission {
	customer, _ := ctx.Value(customerKey{}).(string)
	return jobaudit.Submission{
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: customer, Verified: true},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "the customer has ordered it"},
	}
}

// web takes three orders. The last one is not paid.
func web(ctx context.Context, url string) error {
	p, err := open(ctx, url, "web")
	if err != nil {
		return err
	}
	client, err := river.NewClient(riverpgxv5.New(p.pool), p.config())
	if err != nil {
		return err
	}
	for _, order := range []struct {
		customer, what string
		paid           bool
	}{{"grace", "vase", true}, {"ada", "book", true}, {"mallory", "ring", false}} {
		err := p.order(context.WithValue(ctx, customerKey{}, order.customer), client, order.what, order.paid)
		switch {
		case errors.Is(err, errNotPaid):
			fmt.Printf("the %s for %s: %v, and no trace is left\n", order.what, order.customer, err)
		case err != nil:
			return err
		default:
			fmt.Printf("the %s for %s: ordered\n", order.what, order.customer)
		}
	}
	return p.close(ctx)
}

var errNotPaid = errors.New("not paid")

// order stores an order, its job and the record of who asked for it, or nothing.
func (p *program) order(ctx context.Context, client *river.Client[pgx.Tx], what string, paid bool) error {
	return pgx.BeginFunc(ctx, p.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO orders VALUES ($1)`, what); err != nil {
			return err
		}
		recorded := riveraudit.InTx(ctx, pgsink.Tx(tx)) // the line to add
		if _, err := client.InsertTx(recorded, tx, pack{what}, &river.InsertOpts{MaxAttempts: 1}); err != nil {
			return err
		}
		if !paid {
			return errNotPaid
		}
		return nil
	})
}

// worker packs parcels until it is interrupted.
func worker(ctx context.Context, url string) error {
	interrupted, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	p, err := open(ctx, url, "worker")
	if err != nil {
		return err
	}
	config := p.config()
	config.Workers = river.NewWorkers()
	river.AddWorker(config.Workers, &packer{})
	config.Queues = map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 1}}
	config.JobTimeout, config.RescueStuckJobsAfter = rescue/2, rescue
	client, err := river.NewClient(riverpgxv5.New(p.pool), config)
	if err != nil {
		return err
	}
	follower := p.audit.Follow(ctx, client, nil)
	if err := client.Start(ctx); err != nil {
		return err
	}
	<-interrupted.Done()
	if err := errors.Join(client.Stop(ctx), follower.Stop(ctx)); err != nil {
		return err
	}
	return p.close(ctx)
}

// keeper looks after jobs whose process cannot tell how they ended.
func keeper(ctx context.Context, url string) error {
	p, err := open(ctx, url, "keeper")
	if err != nil {
		return err
	}
	client, err := river.NewClient(riverpgxv5.New(p.pool), p.config())
	if err != nil {
		return err
	}
	lost, err := p.watch(ctx)
	if err != nil {
		return err
	}
	// River looks for stuck jobs when a worker starts, and then every 30 s.
	time.Sleep(rescue)
	fmt.Printf("job %s\nthe worker of the vase is silent: attempt lost\n", lost)
	if err := p.reconcile(ctx, client); err != nil {
		return err
	}
	return p.close(ctx)
}

// watch returns the job whose attempt the watchdog finds lost.
func (p *program) watch(ctx context.Context) (uuid.UUID, error) {
	found := make(chan uuid.UUID, 1)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	w := watchdog.New(p.recorder, []jobaudit.AuditReader{p.sink}, &watchdog.Options{
		Interval: interval, Grace: -1,
		OnFinding: func(_ context.Context, f watchdog.Finding) {
			if f.Kind == watchdog.Lost {
				found <- f.JobID // the worker has one job at a time
				stop()
			}
		},
	})
	if err := w.Run(ctx); !errors.Is(err, context.Canceled) {
		return uuid.Nil, err
	}
	return <-found, nil
}

// reconcile compares River's table with the log until that has something to add.
// A program does so every hour.
func (p *program) reconcile(ctx context.Context, client *river.Client[pgx.Tx]) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for range tick.C {
		report, err := p.audit.Reconcile(ctx, client, &queue.ReconcileOptions{Settle: -1})
		if err != nil {
			return err
		}
		if report.Ended > 0 {
			fmt.Printf("River has given a job up, which it tells nobody: %d end added to the log\n", report.Ended)
			return nil
		}
	}
	return nil
}
