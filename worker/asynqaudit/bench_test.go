//go:build unix

package asynqaudit_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/worker/asynqaudit"
)

// counting counts the outcomes that a sink has stored.
type counting struct {
	jobaudit.AuditSink
	outcomes chan int
}

func (c *counting) Append(ctx context.Context, records []jobaudit.Record) error {
	err := c.AuditSink.Append(ctx, records)
	n := 0
	for _, r := range records {
		if r.Type() == jobaudit.JobSucceeded {
			n++
		}
	}
	if err == nil && n > 0 {
		c.outcomes <- n
	}
	return err
}

// lane is a queue with a server, and what is done when a task has ended.
type lane struct {
	enqueue func() error
	ended   chan int
}

// round puts tasks through the lane and says how long that took, from the
// first enqueue to the last end.
func (l lane) round(b *testing.B, producers, tasks int) spent {
	begin := spentSoFar()
	var left atomic.Int64
	left.Store(int64(tasks))
	var wg sync.WaitGroup
	for range producers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := l.enqueue(); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for n := 0; n < tasks; {
		n += <-l.ended
	}
	end := spentSoFar()
	wg.Wait()
	return spent{end.time - begin.time, end.cpu - begin.cpu}
}

// spent is time on the clock, and this process's time on processors, which
// other programs on the same machine disturb less.
type spent struct{ time, cpu time.Duration }

var began = time.Now()

func spentSoFar() spent {
	var use syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &use)
	return spent{time.Since(began), time.Duration(use.Utime.Nano() + use.Stime.Nano())}
}

func (s *spent) add(more spent) {
	s.time += more.time
	s.cpu += more.cpu
}

func (s *spent) report(b *testing.B, who string, tasks int) {
	b.ReportMetric(float64(tasks)/s.time.Seconds(), who+"/s")
	b.ReportMetric(float64(s.cpu.Microseconds())/float64(tasks), who+"-cpu-µs/task")
}

func benchConfig(queue string) asynq.Config {
	cfg := quick()
	cfg.Concurrency, cfg.Queues = 256, map[string]int{queue: 1}
	return cfg
}

func plainLane(b *testing.B, r *redisServer, payload []byte) lane {
	l := lane{ended: make(chan int, 1024)}
	client := asynq.NewClient(r.opt())
	b.Cleanup(func() { _ = client.Close() })
	l.enqueue = func() error {
		_, err := client.Enqueue(asynq.NewTask(taskType, payload, asynq.Queue("plain")))
		return err
	}
	server := asynq.NewServer(r.opt(), benchConfig("plain"))
	require.NoError(b, server.Start(muxOf(func(context.Context, *asynq.Task) error { l.ended <- 1; return nil })))
	b.Cleanup(server.Shutdown)
	return l
}

func auditedLane(b *testing.B, r *redisServer, payload []byte) lane {
	dir := b.TempDir()
	key, err := filesink.LoadOrCreateKey(filepath.Join(dir, "log"), filepath.Join(dir, "key"), "example.com/bench")
	require.NoError(b, err)
	log, err := filesink.Open(context.Background(), filepath.Join(dir, "log"), key, nil)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, log.Close()) })
	sink := &counting{log, make(chan int, 1024)}
	rec, err := jobaudit.Open(context.Background(), sink, source, nil)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, rec.Close(context.Background())) })
	adapter := asynqaudit.New(rec, nil)
	client := adapter.NewClient(r.opt())
	b.Cleanup(func() { _ = client.Close() })
	server := adapter.NewServer(r.opt(), benchConfig("audited"))
	require.NoError(b, server.Start(muxOf(returns(nil)(nil))))
	b.Cleanup(server.Shutdown)
	return lane{ended: sink.outcomes, enqueue: func() error {
		_, err := client.Enqueue(context.Background(), asynqaudit.NewTask(jobaudit.Submission{
			Principal: ann, Trigger: jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "benchmark"},
		}, taskType, payload, asynq.Queue("audited")))
		return err
	}}
}

// BenchmarkThroughput puts no-op tasks through asynq with 256 workers, with the
// adapter on the file sink and without it, in turns. Of the audited ones the
// clock stops when the last outcome is durable.
func BenchmarkThroughput(b *testing.B) {
	for _, producers := range []int{256, 1} {
		b.Run(fmt.Sprintf("producers=%d", producers), func(b *testing.B) {
			r := startRedis(b)
			payload := []byte(`{"index":7}`)
			plain, audited := plainLane(b, r, payload), auditedLane(b, r, payload)
			tasks := 4000
			if producers == 1 {
				tasks = 500
			}
			plain.round(b, producers, tasks/4)
			audited.round(b, producers, tasks/4)
			var without, with spent
			for b.Loop() {
				without.add(plain.round(b, producers, tasks))
				with.add(audited.round(b, producers, tasks))
			}
			n := b.N * tasks
			without.report(b, "plain", n)
			with.report(b, "audited", n)
			b.ReportMetric(without.time.Seconds()/with.time.Seconds(), "ratio")
			b.ReportMetric(without.cpu.Seconds()/with.cpu.Seconds(), "cpu-ratio")
			b.ReportMetric(0, "ns/op")
		})
	}
}
