package faultsink_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/faultsink"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
)

func TestARuleSaysWhichAppendsGoWrongAndHow(t *testing.T) {
	other := errors.New("the disk is on fire")
	for name, tt := range map[string]struct {
		rules []faultsink.Rule
		want  [5]bool // which of five Appends of two records succeed
		err   error
		len   int
	}{
		"none":              {nil, [5]bool{true, true, true, true, true}, nil, 10},
		"the n-th":          {[]faultsink.Rule{{First: 2, Last: 2, Fault: faultsink.Fail}}, [5]bool{true, false, true, true, true}, faultsink.ErrInjected, 8},
		"from n on":         {[]faultsink.Rule{{First: 3, Fault: faultsink.Fail}}, [5]bool{true, true}, faultsink.ErrInjected, 4},
		"then it recovers":  {[]faultsink.Rule{{Last: 3, Fault: faultsink.Fail}}, [5]bool{3: true, 4: true}, faultsink.ErrInjected, 4},
		"always":            {[]faultsink.Rule{{Fault: faultsink.Fail}}, [5]bool{}, faultsink.ErrInjected, 0},
		"its own error":     {[]faultsink.Rule{{Fault: faultsink.Fail, Err: other}}, [5]bool{}, other, 0},
		"ambiguous":         {[]faultsink.Rule{{First: 2, Last: 3, Fault: faultsink.Ambiguous}}, [5]bool{0: true, 3: true, 4: true}, faultsink.ErrInjected, 10},
		"partial":           {[]faultsink.Rule{{First: 5, Fault: faultsink.Partial, Keep: 1}}, [5]bool{true, true, true, true}, faultsink.ErrInjected, 9},
		"partial, nothing":  {[]faultsink.Rule{{First: 5, Fault: faultsink.Partial}}, [5]bool{true, true, true, true}, faultsink.ErrInjected, 8},
		"partial, all":      {[]faultsink.Rule{{First: 5, Fault: faultsink.Partial, Keep: 3}}, [5]bool{true, true, true, true}, faultsink.ErrInjected, 10},
		"the first counts":  {[]faultsink.Rule{{First: 2, Last: 2, Fault: faultsink.Ambiguous}, {Fault: faultsink.Fail}}, [5]bool{}, faultsink.ErrInjected, 2},
		"an empty rule":     {[]faultsink.Rule{{}}, [5]bool{true, true, true, true, true}, nil, 10},
		"two spells of it":  {[]faultsink.Rule{{Last: 1, Fault: faultsink.Fail}, {First: 4, Last: 4, Fault: faultsink.Fail}}, [5]bool{1: true, 2: true, 4: true}, faultsink.ErrInjected, 6},
		"behind the others": {[]faultsink.Rule{{First: 6, Fault: faultsink.Fail}}, [5]bool{true, true, true, true, true}, nil, 10},
	} {
		t.Run(name, func(t *testing.T) {
			mem := memsink.New(nil)
			sink := faultsink.New(mem, tt.rules...)
			records := sinktest.Records(10)
			for i, succeeds := range tt.want {
				err := sink.Append(t.Context(), records[2*i:2*i+2])
				if succeeds {
					require.NoError(t, err, "Append %d", i+1)
				} else {
					require.ErrorIs(t, err, tt.err, "Append %d", i+1)
				}
			}
			require.Equal(t, tt.len, mem.Len())
			require.Equal(t, 5, sink.Appends())
		})
	}
}

func TestSetChangesTheRulesAndKeepsCounting(t *testing.T) {
	sink := faultsink.New(memsink.New(nil), faultsink.Rule{Fault: faultsink.Fail})
	records := sinktest.Records(1)
	require.Error(t, sink.Append(t.Context(), records))
	sink.Set()
	require.NoError(t, sink.Append(t.Context(), records))
	sink.Set(faultsink.Rule{First: 4, Fault: faultsink.Fail})
	require.NoError(t, sink.Append(t.Context(), records))
	require.Error(t, sink.Append(t.Context(), records))
}

func TestAHungSinkHeedsItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := memsink.New(nil)
		sink := faultsink.New(mem, faultsink.Rule{Fault: faultsink.Hang})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		begun := time.Now()
		require.ErrorIs(t, sink.Append(ctx, sinktest.Records(1)), context.DeadlineExceeded)
		require.Equal(t, time.Hour, time.Since(begun))
		require.Zero(t, mem.Len())
	})
}

func TestAStuckSinkStoresWhenItIsReleasedAlthoughItsCallersLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := memsink.New(nil)
		sink := faultsink.New(mem, faultsink.Rule{Last: 2, Fault: faultsink.Stick})
		ctx, cancel := context.WithCancel(t.Context())
		records := sinktest.Records(2)
		errs := make(chan error, 2)
		for _, r := range records {
			go func() { errs <- sink.Append(ctx, []jobaudit.Record{r}) }()
		}
		require.NoError(t, sink.Wait(t.Context(), 2))
		cancel()
		synctest.Wait()
		require.Empty(t, errs, "the context does not free them")
		require.Zero(t, mem.Len())
		sink.Release()
		require.NoError(t, <-errs)
		require.NoError(t, <-errs)
		require.Equal(t, 2, mem.Len())
		sink.Release() // nobody waits
		require.NoError(t, sink.Append(t.Context(), sinktest.Records(1)))
	})
}

func TestWaitReturnsWhenTheNthAppendHasBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := faultsink.New(memsink.New(nil), faultsink.Rule{Fault: faultsink.Fail})
		var waiting sync.WaitGroup
		for n := range 4 {
			waiting.Go(func() {
				if err := sink.Wait(t.Context(), n); err != nil || sink.Appends() < n {
					t.Errorf("after %d Appends: %v", sink.Appends(), err)
				}
			})
		}
		for range 3 {
			synctest.Wait()
			_ = sink.Append(t.Context(), nil)
		}
		waiting.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.ErrorIs(t, sink.Wait(ctx, 4), context.DeadlineExceeded)
	})
}

func TestReadingAndClosingReachTheSinkBehind(t *testing.T) {
	mem := memsink.New(nil)
	sink := faultsink.New(mem)
	records := sinktest.Records(3)
	require.NoError(t, sink.Append(t.Context(), records))
	var got []jobaudit.Record
	for r, err := range sink.Records(t.Context(), jobaudit.Query{}) {
		require.NoError(t, err)
		got = append(got, r)
	}
	require.Equal(t, records, got)
	require.NoError(t, sink.Close())
	require.ErrorIs(t, mem.Append(t.Context(), records), memsink.ErrClosed)

	writeOnly := faultsink.New(struct{ jobaudit.AuditSink }{mem})
	for _, err := range writeOnly.Records(t.Context(), jobaudit.Query{}) {
		require.ErrorIs(t, err, errors.ErrUnsupported)
	}
	require.NoError(t, writeOnly.Close())
}

func TestAHealthyFaultSinkKeepsTheContract(t *testing.T) {
	sinktest.Run(t, func(context.Context) (sinktest.Medium, error) {
		return sinktest.Medium{Open: func(context.Context) (jobaudit.AuditSink, error) {
			return faultsink.New(memsink.New(nil)), nil
		}}, nil
	}, sinktest.Traits{NoTail: true, Irreplaceable: true, Volatile: true, Unproven: true, NoFaults: true, Opaque: true})
}
