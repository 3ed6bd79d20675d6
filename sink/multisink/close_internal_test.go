package multisink

import (
	"context"
	"errors"
	"fmt"
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

// slowly is a sink that stores one batch after the other, each for some seconds, up to so
// many; with the next it hangs until it is released.
func slowly(upTo int64, release <-chan struct{}) (*ending, *atomic.Int64) {
	var stored atomic.Int64
	return &ending{append: func() error {
		if stored.Load() == upTo {
			<-release
			return nil
		}
		time.Sleep(timeout - time.Second)
		stored.Add(1)
		return nil
	}}, &stored
}

// TestCloseWaitsForASlowSinkAsLongAsItStores what is kept for it, and says that one lacks
// records which stores nothing any more.
func TestCloseWaitsForASlowSinkAsLongAsItStores(t *testing.T) {
	const kept = 100
	for _, upTo := range []int64{0, 1, 50, kept - 1, kept} {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			defer close(release)
			slow, stored := slowly(upTo, release)
			other := &ending{}
			s, err := New(1, slow, other)
			require.NoError(t, err)
			for range kept {
				require.NoError(t, s.Append(t.Context(), make([]jobaudit.Record, 2)))
			}
			began := time.Now()
			err = s.Close()
			require.Equal(t, upTo, stored.Load())
			require.True(t, other.closed.Load())
			took := time.Duration(upTo) * (timeout - time.Second)
			if upTo == kept {
				require.NoError(t, err)
				require.True(t, slow.closed.Load())
			} else {
				took += closeTimeout
				require.ErrorContains(t, err, "sink 1 has not come back")
				require.ErrorContains(t, err, fmt.Sprintf("sink 1 lacks records: it has not acknowledged %d", 2*(kept-upTo)))
				require.NotContains(t, err.Error(), "sink 2")
			}
			require.Equal(t, took, time.Since(began), "a minute from the last batch")
		})
	}
}

// TestCloseSaysThatASinkLacksRecordsThoughItsCloseNeverReturns: it had failed before, or
// was given up.
func TestCloseSaysThatASinkLacksRecordsThoughItsCloseNeverReturns(t *testing.T) {
	for _, records := range []int{1, maxBehind} {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			defer close(release)
			wait := func() error { <-release; return nil }
			bad := &ending{append: func() error { return errClosing }, close: wait}
			s, err := New(1, bad, &ending{})
			require.NoError(t, err)
			for range 2 {
				require.NoError(t, s.Append(t.Context(), make([]jobaudit.Record, records)))
			}
			err = s.Close()
			require.ErrorContains(t, err, "sink 1 has not come back")
			if records == maxBehind {
				require.ErrorContains(t, err, "sink 1 is given up")
			} else {
				require.ErrorContains(t, err, "sink 1 lacks records")
				require.ErrorIs(t, err, errClosing)
			}
		})
	}
}

// TestCloseWaitsForACallWhileASinkStoresWhatIsBeforeIt: of a caller who sets no limit.
func TestCloseWaitsForACallWhileASinkStoresWhatIsBeforeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const calls = 50
		slow, stored := slowly(calls, nil)
		s, err := New(2, slow, &ending{})
		require.NoError(t, err)
		done := make(chan error, calls)
		for range calls {
			go func() { done <- s.Append(context.Background(), make([]jobaudit.Record, 1)) }()
		}
		synctest.Wait()
		require.NoError(t, s.Close())
		require.EqualValues(t, calls, stored.Load())
		for range calls {
			require.NoError(t, <-done)
		}
	})
}

// TestACallThatCloseHasLeftEndsWhenItsSinkComesBack, though its caller sets no limit.
func TestACallThatCloseHasLeftEndsWhenItsSinkComesBack(t *testing.T) {
	for _, fails := range []int{0, 1, 2, 3} { // the calls from this one on
		synctest.Test(t, func(t *testing.T) {
			const calls = 5
			release := make(chan struct{})
			n := 0
			hangs := &ending{append: func() error {
				<-release
				if n++; fails > 0 && n >= fails {
					return errClosing
				}
				return nil
			}}
			s, err := New(2, hangs, &ending{})
			require.NoError(t, err)
			done := make(chan error, calls)
			for range calls {
				go func() { done <- s.Append(context.Background(), make([]jobaudit.Record, 1)) }()
			}
			synctest.Wait()
			require.ErrorContains(t, s.Close(), "sink 1 lacks records: it has not acknowledged 5")
			close(release)
			stored := 0
			for range calls {
				if <-done == nil {
					stored++
				}
			}
			if fails == 0 {
				require.Equal(t, calls, stored)
			} else {
				require.Equal(t, fails-1, stored)
			}
		})
	}
}
