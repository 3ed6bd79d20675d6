package multisink

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
)

// hanging takes nothing until it is let, and counts its calls.
type hanging struct {
	calls atomic.Int64
	takes atomic.Bool
}

func (h *hanging) Append(ctx context.Context, _ []jobaudit.Record) error {
	h.calls.Add(1)
	if h.takes.Load() {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

// What is kept for a sink that hangs is what callers still wait for: nobody is
// answered later for what was given up, nor does Close wait for it.
func TestWhatCallersHaveGivenUpIsNotKeptForASinkThatHangs(t *testing.T) {
	for _, recovers := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			bad, good := &hanging{}, &hanging{}
			good.takes.Store(true)
			s, err := New(2, good, bad)
			require.NoError(t, err)
			for range 500 {
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				require.ErrorIs(t, s.Append(ctx, make([]jobaudit.Record, 1)), context.DeadlineExceeded)
				cancel()
				m := s.members[1]
				m.mu.Lock()
				held := len(m.queue)
				m.mu.Unlock()
				require.LessOrEqual(t, held, 2, "the one under way, and the newest")
			}
			if recovers {
				bad.takes.Store(true)
				time.Sleep(2*timeout + pause)
				before := bad.calls.Load()
				ctx, cancel := context.WithTimeout(t.Context(), timeout)
				defer cancel()
				require.NoError(t, s.Append(ctx, make([]jobaudit.Record, 1)))
				require.Equal(t, before+1, bad.calls.Load())
			}
			began := time.Now()
			require.NoError(t, s.Close())
			require.LessOrEqual(t, time.Since(began), timeout, "no more than the call under way")
		})
	}
}

// Close tries once more what it keeps, and does not wait for a sink that hangs for
// each batch of it.
func TestCloseDoesNotWaitForEachBatchOfASinkThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad, good := &hanging{}, &hanging{}
		good.takes.Store(true)
		s, err := New(1, good, bad)
		require.NoError(t, err)
		for range 100 {
			require.NoError(t, s.Append(t.Context(), make([]jobaudit.Record, 1)))
		}
		began := time.Now()
		require.ErrorContains(t, s.Close(), "lacks records")
		require.LessOrEqual(t, time.Since(began), 2*timeout)
	})
}
