package jobaudit_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// A sink around one that never waits does wait, and does not say otherwise though
// it has the other's methods. Its value cannot even be compared.
func TestASinkAroundAnImmediateOneIsNotTakenForImmediate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &hangingWhenAsked{Sink: memsink.New(nil)}
		rec := open(t, sinkByValue{sink, nil}, nil)
		sink.hangs.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		begun := time.Now()
		_, err := rec.Submit(ctx, submission())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 10*time.Millisecond, time.Since(begun), "the caller waits no longer than it wants to")
		sink.hangs.Store(false)
		require.NoError(t, rec.Close(t.Context()))
	})
}

type hangingWhenAsked struct {
	*memsink.Sink
	hangs atomic.Bool
}

func (s *hangingWhenAsked) Append(ctx context.Context, records []jobaudit.Record) error {
	if s.hangs.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	return s.Sink.Append(ctx, records)
}

type sinkByValue struct {
	*hangingWhenAsked
	_ []func()
}
