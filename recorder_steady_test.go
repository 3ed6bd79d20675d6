package jobaudit_test

import (
	"context"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/size"
)

// A Recorder keeps nothing of jobs that have ended.
func TestARecorderKeepsNothingOfJobsThatHaveEnded(t *testing.T) {
	steady(t, size.Times(1_000, 500), size.Times(10_000, 2_500))
}

func TestSoakAMillionJobsThroughOneRecorder(t *testing.T) {
	size.Soak(t)
	steady(t, 100_000, 1_000_000)
}

// steady runs jobs, and compares what is in use after the first and after all.
func steady(t *testing.T, first, all int) {
	rec := open(t, appendFunc(func(context.Context, []jobaudit.Record) error { return nil }), nil)
	heap, goroutines := use(t, rec, first)
	later, laterGoroutines := use(t, rec, all-first)
	t.Logf("%d jobs: heap %d bytes, %d goroutines; %d jobs: heap %d bytes, %d goroutines",
		first, heap, goroutines, all, later, laterGoroutines)
	require.LessOrEqual(t, float64(later), 1.05*float64(heap)+1<<17)
	require.LessOrEqual(t, laterGoroutines, goroutines+2)
	require.Zero(t, rec.Stats().Executions)
	require.NoError(t, rec.Close(t.Context()))
}

func use(t *testing.T, rec *jobaudit.Recorder, jobs int) (heap uint64, goroutines int) {
	next := make(chan struct{})
	var workers sync.WaitGroup
	for range 16 {
		workers.Go(func() {
			for range next {
				if _, err := run(t.Context(), rec, func(ctx context.Context) error {
					trail(ctx).Log(ctx, "line")
					return nil
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range jobs {
		next <- struct{}{}
	}
	close(next)
	workers.Wait()
	for range 3 {
		runtime.GC()
	}
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc, runtime.NumGoroutine()
}
