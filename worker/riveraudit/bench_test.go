package riveraudit_test

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/worker/riveraudit"
)

// noop is the benchmark's job.
type noop struct {
	N int `json:"n"`
}

func (noop) Kind() string { return "noop" }

type noopWorker struct {
	river.WorkerDefaults[noop]
	done *atomic.Int64
}

func (k *noopWorker) Work(context.Context, *river.Job[noop]) error {
	k.done.Add(1)
	return nil
}

// bench is a client at work, with or without the adapter.
type bench struct {
	pool   *pgxpool.Pool
	client *river.Client[pgx.Tx]
	follow *riveraudit.Follower
	done   atomic.Int64
	stop   func()
}

const benchWorkers = 256

func startBench(b *testing.B, audited bool) *bench {
	b.Helper()
	ctx := context.Background()
	config, err := pgxpool.ParseConfig(database(b, server(b)))
	require.NoError(b, err)
	config.MaxConns = 32
	x := &bench{}
	x.pool, err = pgxpool.NewWithConfig(ctx, config)
	require.NoError(b, err)
	workers := river.NewWorkers()
	river.AddWorker(workers, &noopWorker{done: &x.done})
	rc := &river.Config{
		Workers: workers, Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: benchWorkers}},
		FetchCooldown: 2 * time.Millisecond, Logger: slog.New(slog.DiscardHandler), TestOnly: true,
	}
	closeLog := func() {}
	var audit *riveraudit.Audit
	if audited {
		audit, closeLog = benchAudit(b)
		rc.Middleware = []rivertype.Middleware{audit}
		rc.ErrorHandler = audit.ErrorHandler(nil)
	}
	x.client, err = river.NewClient(riverpgxv5.New(x.pool), rc)
	require.NoError(b, err)
	if audited {
		x.follow = audit.Follow(ctx, x.client, nil)
	}
	require.NoError(b, x.client.Start(ctx))
	x.stop = func() {
		require.NoError(b, x.client.Stop(ctx))
		if x.follow != nil {
			require.NoError(b, x.follow.Stop(ctx))
		}
		closeLog()
		x.pool.Close()
	}
	return x
}

// benchAudit records in a signed log on disk.
func benchAudit(b *testing.B) (audit *riveraudit.Audit, closeLog func()) {
	b.Helper()
	ctx := context.Background()
	dir, err := filepath.EvalSymlinks(b.TempDir())
	require.NoError(b, err)
	key, err := filesink.LoadOrCreateKey(filepath.Join(dir, "log"), filepath.Join(dir, "key"), "localhost/bench")
	require.NoError(b, err)
	sink, err := filesink.Open(ctx, filepath.Join(dir, "log"), key, nil)
	require.NoError(b, err)
	rec, err := jobaudit.Open(ctx, sink, jobaudit.Source{System: "bench", Environment: "test"}, nil)
	require.NoError(b, err)
	asking := func(context.Context, *rivertype.JobInsertParams) jobaudit.Submission {
		return jobaudit.Submission{
			Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada"},
			Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "a benchmark"},
		}
	}
	return riveraudit.New(rec, &riveraudit.Options{Logs: []jobaudit.AuditReader{sink}, Submission: asking}), func() {
		require.NoError(b, rec.Close(ctx))
		require.NoError(b, sink.Close())
	}
}

// push inserts n jobs from some producers, and returns when they have run.
func (x *bench) push(b *testing.B, n, producers int) {
	before := x.done.Load()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range producers {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				if _, err := x.client.Insert(context.Background(), noop{N: int(i)}, nil); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for x.done.Load() < before+int64(n) {
		<-ticker.C
	}
}

// BenchmarkNoOpJobs compares the throughput of jobs that do nothing, through
// River with the adapter and a signed log on disk, and through River alone, in
// one run: both take turns, so that what else the machine does hits both.
func BenchmarkNoOpJobs(b *testing.B) {
	for _, producers := range []int{256, 1} {
		b.Run(fmt.Sprintf("producers=%d", producers), func(b *testing.B) {
			plain, audited := startBench(b, false), startBench(b, true)
			defer plain.stop()
			defer audited.stop()
			each := 2000
			if producers == 1 {
				each = 300
			}
			plain.push(b, each/4, producers)
			audited.push(b, each/4, producers)
			var without, with time.Duration
			jobs := 0
			for turn := 0; b.Loop(); turn++ {
				for i := range 2 {
					x, spent := plain, &without
					if (turn+i)%2 == 1 {
						x, spent = audited, &with
					}
					began := time.Now()
					x.push(b, each, producers)
					*spent += time.Since(began)
				}
				jobs += each
			}
			perSecond := func(d time.Duration) float64 { return float64(jobs) / cmp.Or(d.Seconds(), 1) }
			b.ReportMetric(perSecond(without), "jobs/s-without")
			b.ReportMetric(perSecond(with), "jobs/s-with")
			b.ReportMetric(perSecond(with)/perSecond(without), "ratio")
		})
	}
}
