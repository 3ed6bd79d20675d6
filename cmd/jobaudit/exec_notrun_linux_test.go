package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
)

// executed runs a program as exec does.
func executed(t *testing.T, dir string, wait, outcomeWait time.Duration, sink func(*sharedLog) jobaudit.AuditSink, program ...string) (said string, err error) {
	t.Helper()
	x := &execution{
		dir: dir, action: "task", reason: "a test", principal: "system:test", system: "test", environment: "test",
		wait: wait, lines: 1000, outcomeWait: outcomeWait, heartbeat: time.Hour, sink: sink, program: program,
	}
	s, err := x.submission()
	require.NoError(t, err)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	require.NoError(t, err)
	defer null.Close()
	stdout := os.Stdout
	os.Stdout = null
	defer func() { os.Stdout = stdout }()
	var out safeBuffer
	signals := &relay{signals: make(chan os.Signal, 1), done: make(chan struct{})}
	signals.ctx, signals.cancel = context.WithCancel(t.Context())
	defer signals.stop()
	err = (&app{out: &out, err: &out}).execute(signals, x, s)
	return out.String(), err
}

// safeBuffer takes what several goroutines say, as standard error does.
type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// states are how often the jobs of a log are in each state.
func states(t *testing.T, dir string) map[string]int {
	t.Helper()
	var out, stderr bytes.Buffer
	require.Zero(t, run(t.Context(), []string{"jobs", dir, "--json"}, &out, &stderr), stderr.String())
	found := map[string]int{}
	for line := range bytes.Lines(out.Bytes()) {
		var job struct{ State string }
		require.NoError(t, json.Unmarshal(line, &job))
		found[job.State]++
	}
	return found
}

// failingLog takes a number of batches, and from then on none: it does not store them, or
// stores them and says nothing of it.
type failingLog struct {
	*sharedLog
	takes  atomic.Int64 // batches; less than zero: it has refused one
	stores bool
}

func (l *failingLog) Append(ctx context.Context, records []jobaudit.Record) error {
	if l.takes.Add(-1) >= 0 {
		return l.sharedLog.Append(ctx, records)
	}
	if l.stores {
		if err := l.sharedLog.Append(ctx, records); err != nil {
			return err
		}
	}
	return errors.New("the disk is full")
}

// TestAJobThatExecDoesNotRunIsNotLeftPending: whatever of it is stored when the log takes no
// more, or says so.
func TestAJobThatExecDoesNotRunIsNotLeftPending(t *testing.T) {
	t.Parallel()
	for _, stores := range []bool{false, true} {
		base := t.TempDir()
		dir, ran := filepath.Join(base, "log"), filepath.Join(base, "ran")
		for takes := int64(0); ; takes++ {
			// A slow machine may need longer for what the log takes.
			for wait := 200 * time.Millisecond; ; wait *= 2 {
				var log *failingLog
				said, err := executed(t, dir, wait, time.Millisecond, func(l *sharedLog) jobaudit.AuditSink {
					log = &failingLog{sharedLog: l, stores: stores}
					log.takes.Store(takes)
					return log
				}, "touch", ran)
				_, drained := executed(t, dir, time.Minute, time.Minute, nil, "true")
				require.NoError(t, drained)
				found := states(t, dir)
				require.Zero(t, found["pending"], "behind %d batches: %v, %s", takes, found, said)
				if log == nil || log.takes.Load() >= 0 {
					continue
				}
				if err == nil {
					require.NotZero(t, found["cancelled"])
					break
				}
				require.Equal(t, exitStatus(exitNotAudited), err, said)
				require.Contains(t, said, "the program was not run")
				break
			}
			if _, err := os.Stat(ran); err == nil {
				break
			}
		}
	}
}
