package multisink

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
)

// ending is a sink whose calls end as it is told.
type ending struct {
	append, close func() error
	closed        atomic.Bool
}

func (e *ending) Append(context.Context, []jobaudit.Record) error {
	if e.append == nil {
		return nil
	}
	return e.append()
}

func (e *ending) Close() error {
	e.closed.Store(true)
	if e.close == nil {
		return nil
	}
	return e.close()
}

var errClosing = errors.New("the disk is gone, says the test")

// TestASinkThatPanicsOrNeverReturnsKeepsNoOtherFromBeingClosed: whichever it is, and whether
// it is the call of Close or an Append that was under way.
func TestASinkThatPanicsOrNeverReturnsKeepsNoOtherFromBeingClosed(t *testing.T) {
	for name, wait := range map[string]time.Duration{"fails": 0, "panics": 0, "panics with nil": 0, "ends the goroutine": 0, "hangs": closeTimeout, "is slow": closeTimeout / 2} {
		for _, calls := range []string{"Close", "Append"} {
			for bad := range 3 {
				t.Run(name+" in "+calls, func(t *testing.T) {
					if name == "ends the goroutine" && calls == "Append" {
						t.Skip("nobody's Append does")
					}
					synctest.Test(t, func(t *testing.T) { closeBeside(t, name, calls, bad, wait) })
				})
			}
		}
	}
}

func closeBeside(t *testing.T, how, calls string, bad int, wait time.Duration) {
	release := make(chan struct{})
	call := func() error {
		switch how {
		case "fails":
			return errClosing
		case "panics":
			panic("says the test")
		case "panics with nil":
			panic(nil) //nolint:govet // it is a panic all the same
		case "ends the goroutine":
			runtime.Goexit()
		case "hangs":
			<-release
		case "is slow":
			time.Sleep(wait)
		}
		return nil
	}
	sinks := []*ending{{}, {}, {}}
	if calls == "Close" {
		sinks[bad].close = call
	} else {
		sinks[bad].append = call
	}
	s, err := New(2, sinks[0], sinks[1], sinks[2])
	require.NoError(t, err)
	require.NoError(t, s.Append(t.Context(), make([]jobaudit.Record, 1)), "two are enough")
	began := time.Now()
	err = s.Close()
	require.LessOrEqual(t, time.Since(began), wait+timeout)
	for i, sink := range sinks {
		if calls == "Append" && how == "hangs" && i == bad {
			continue // its Append is under way for ever
		}
		require.True(t, sink.closed.Load(), "sink %d", i+1)
	}
	switch {
	case how == "is slow":
		require.NoError(t, err, "it is waited for")
	case how == "fails" && calls == "Close":
		require.ErrorIs(t, err, errClosing)
	default:
		require.ErrorContains(t, err, s.members[bad].name)
	}
	require.ErrorIs(t, s.Close(), errClosed)
	close(release)
}

// TestACallThatNeverReturnsKeepsNoSinkFromBeingClosed: that of a caller who sets no limit.
func TestACallThatNeverReturnsKeepsNoSinkFromBeingClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		hangs, other := &ending{append: func() error { <-release; return nil }}, &ending{}
		s, err := New(2, hangs, other)
		require.NoError(t, err)
		done := make(chan error, 1)
		go func() { done <- s.Append(context.Background(), make([]jobaudit.Record, 1)) }()
		synctest.Wait()
		require.ErrorContains(t, s.Close(), "has not come back")
		require.True(t, other.closed.Load())
		close(release)
		<-done
	})
}
