package multisink_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/sink/multisink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
)

func TestConformance(t *testing.T) {
	for name, need := range map[string]int{"all": 3, "two of three": 2, "one of three": 1} {
		t.Run(name, func(t *testing.T) {
			sinktest.Run(t, func(context.Context) (sinktest.Medium, error) {
				var first *memsink.Sink
				return sinktest.Medium{
					Open: func(context.Context) (jobaudit.AuditSink, error) {
						first = memsink.New(nil)
						return multisink.New(need, first, memsink.New(nil), memsink.New(nil))
					},
					Bytes: func(ctx context.Context) iter.Seq2[[]byte, error] {
						return func(yield func([]byte, error) bool) {
							for r, err := range first.Records(ctx, jobaudit.Query{}) {
								if !yield(r.Bytes(), err) {
									return
								}
							}
						}
					},
				}, nil
			}, sinktest.Traits{Volatile: true, Unproven: true, NoFaults: true, Irreplaceable: true, NoTail: true})
		})
	}
}

// faulty is a sink that fails while it has a fault.
type faulty struct {
	*memsink.Sink
	mu    sync.Mutex
	fault func(context.Context, []jobaudit.Record) error
}

func (f *faulty) set(fault func(context.Context, []jobaudit.Record) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

func (f *faulty) Append(ctx context.Context, records []jobaudit.Record) error {
	f.mu.Lock()
	fault := f.fault
	f.mu.Unlock()
	if fault != nil {
		if err := fault(ctx, records); err != nil {
			return err
		}
	}
	return f.Sink.Append(ctx, records)
}

var errDown = errors.New("down")

func down(context.Context, []jobaudit.Record) error { return errDown }

func hangs(ctx context.Context, _ []jobaudit.Record) error { <-ctx.Done(); return ctx.Err() }

func refuses(_ context.Context, records []jobaudit.Record) error {
	return &jobaudit.RecordError{ID: records[0].ID(), Err: errDown}
}

func panics(context.Context, []jobaudit.Record) error { panic("no") }

func mutates(_ context.Context, records []jobaudit.Record) error { clear(records); return errDown }

func TestWhatASinkDoesIsJudgedByHowManyAreNeeded(t *testing.T) {
	type fault = func(context.Context, []jobaudit.Record) error
	for name, test := range map[string]struct {
		need     int
		faults   []fault
		ok       bool
		definite bool
	}{
		"all of three":                           {3, []fault{nil, nil, nil}, true, false},
		"all of three, one is down":              {3, []fault{nil, down, nil}, false, false},
		"all of three, one refuses":              {3, []fault{nil, nil, refuses}, false, true},
		"all of three, one hangs":                {3, []fault{hangs, nil, nil}, false, false},
		"two of three, one is down":              {2, []fault{down, nil, nil}, true, false},
		"two of three, one hangs":                {2, []fault{nil, hangs, nil}, true, false},
		"two of three, one panics":               {2, []fault{nil, panics, nil}, true, false},
		"two of three, one changes the slice":    {2, []fault{mutates, nil, nil}, true, false},
		"two of three, one refuses":              {2, []fault{nil, refuses, nil}, true, false},
		"two of three, one refuses, one is down": {2, []fault{nil, refuses, down}, false, false},
		"two of three, two refuse":               {2, []fault{nil, refuses, refuses}, false, true},
		"one of three, two are down":             {1, []fault{down, nil, down}, true, false},
		"one of three, all are down":             {1, []fault{down, down, down}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var sinks []jobaudit.AuditSink
				for _, f := range test.faults {
					s := &faulty{Sink: memsink.New(nil)}
					s.set(f)
					sinks = append(sinks, s)
				}
				s, err := multisink.New(test.need, sinks...)
				require.NoError(t, err)
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				err = s.Append(ctx, sinktest.Records(3))
				require.Equal(t, test.ok, err == nil, err)
				_, definite := errors.AsType[*jobaudit.RecordError](err)
				require.Equal(t, test.definite, definite)
				time.Sleep(time.Minute)
				_ = s.Close()
			})
		})
	}
}

// Whatever is appended at once: all sinks have it in one order, and while one of
// them is enough, one can always be read.
func TestAllSinksHaveOneOrderAndOneHasAll(t *testing.T) {
	a, b, c := memsink.New(nil), memsink.New(nil), memsink.New(nil)
	s, err := multisink.New(1, a, b, c)
	require.NoError(t, err)
	var writers sync.WaitGroup
	for range 16 {
		writers.Go(func() {
			for _, r := range sinktest.Records(100) {
				if err := s.Append(t.Context(), []jobaudit.Record{r}); err != nil {
					t.Error(err)
				}
				found := false
				for got, err := range s.Records(t.Context(), jobaudit.Query{JobID: r.Event().Job.ID}) {
					if err != nil {
						t.Error(err)
					}
					found = found || got.ID() == r.ID()
				}
				if !found {
					t.Errorf("%s was acknowledged and is not read", r.ID())
				}
			}
		})
	}
	writers.Wait()
	require.NoError(t, s.Close())
	var orders [3][]uuid.UUID
	for i, sink := range []*memsink.Sink{a, b, c} {
		for r, err := range sink.Records(context.Background(), jobaudit.Query{}) {
			require.NoError(t, err)
			orders[i] = append(orders[i], r.ID())
		}
	}
	require.Len(t, orders[0], 1600)
	require.Equal(t, orders[0], orders[1])
	require.Equal(t, orders[0], orders[2])
}

// A sink that was down gets what it missed, once and in order, and is read again
// when it has it.
func TestASinkThatWasDownGetsWhatItMissed(t *testing.T) {
	for name, fault := range map[string]func(context.Context, []jobaudit.Record) error{"down": down, "hangs": hangs} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				first, second, third := &faulty{Sink: memsink.New(nil)}, &faulty{Sink: memsink.New(nil)}, memsink.New(nil)
				s, err := multisink.New(2, first, second, third)
				require.NoError(t, err)
				records := sinktest.Records(30)
				require.NoError(t, s.Append(t.Context(), records[:10]))
				first.set(fault)
				for _, r := range records[10:20] {
					require.NoError(t, s.Append(t.Context(), []jobaudit.Record{r}))
				}
				require.Equal(t, records[:20], all(t, s), "read from another")
				first.set(nil)
				time.Sleep(time.Minute)
				second.set(down)
				require.NoError(t, s.Append(t.Context(), records[20:]), "the first counts again")
				require.Equal(t, records, all(t, first))
				second.set(nil)
				require.NoError(t, s.Close())
				require.Equal(t, records, all(t, second), "Close sends what is kept")
			})
		})
	}
}

// A sink that refuses what the others took, or falls too far behind, gets no more,
// and the log is complaints.
func TestASinkThatCannotHaveAllIsGivenUp(t *testing.T) {
	for name, test := range map[string]struct {
		fault func(context.Context, []jobaudit.Record) error
		count int
	}{"refuses": {refuses, 1}, "too far behind": {down, 12_000}} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && test.count > 1 {
				t.Skip("a sink is too far behind after 10,000 records")
			}
			synctest.Test(t, func(t *testing.T) {
				bad := &faulty{Sink: memsink.New(nil)}
				bad.set(test.fault)
				s, err := multisink.New(1, memsink.New(nil), bad)
				require.NoError(t, err)
				var complaints []error
				var mu sync.Mutex
				s.Degraded(func(err error) {
					mu.Lock()
					defer mu.Unlock()
					complaints = append(complaints, err)
				})
				records := sinktest.Records(test.count)
				for i := 0; i < len(records); i += 100 {
					require.NoError(t, s.Append(t.Context(), records[i:min(i+100, len(records))]))
				}
				synctest.Wait()
				bad.set(nil)
				more := sinktest.Records(5)
				require.NoError(t, s.Append(t.Context(), more))
				synctest.Wait()
				require.Zero(t, bad.Len())
				mu.Lock()
				require.Len(t, complaints, 1)
				mu.Unlock()
				require.ErrorContains(t, s.Close(), "sink 2 is given up")
			})
		})
	}
}

// What was acknowledged is read from a sink that was given up, as long as no other
// has it.
func TestWhatOnlyASinkThatWasGivenUpHasIsRead(t *testing.T) {
	if testing.Short() {
		t.Skip("a sink is given up after 10,000 records")
	}
	synctest.Test(t, func(t *testing.T) {
		slow, far := &faulty{Sink: memsink.New(nil)}, &faulty{Sink: memsink.New(nil)}
		slow.set(hangs)
		s, err := multisink.New(1, slow, far)
		require.NoError(t, err)
		records := sinktest.Records(5)
		require.NoError(t, s.Append(t.Context(), records), "the second has it")
		far.set(hangs)
		var appends sync.WaitGroup
		for range 2 { // they are undecided when there are too many of them
			more := sinktest.Records(6000)
			appends.Go(func() { _ = s.Append(t.Context(), more) })
			synctest.Wait()
		}
		require.Equal(t, records, all(t, s))
		slow.set(nil)
		far.set(nil)
		appends.Wait()
		time.Sleep(time.Minute)
		_ = s.Close()
	})
}

// writeOnly is a sink that cannot be read.
type writeOnly struct{ jobaudit.AuditSink }

func TestAReaderWaitsForWhatWasAcknowledgedAndSaysWhatToDo(t *testing.T) {
	read := func(t *testing.T, s *multisink.Sink) (records []jobaudit.Record, err error) {
		for r, err := range s.Records(t.Context(), jobaudit.Query{}) {
			if err != nil {
				return records, err
			}
			records = append(records, r)
		}
		return records, nil
	}
	for name, test := range map[string]struct {
		fault func(context.Context, []jobaudit.Record) error
		until time.Duration
		err   error
	}{
		"soon there":   {down, 2 * time.Second, nil},
		"too late":     {down, time.Minute, multisink.ErrBehind},
		"not any more": {refuses, time.Minute, multisink.ErrIncomplete},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				slow := &faulty{Sink: memsink.New(nil)}
				slow.set(test.fault)
				s, err := multisink.New(1, slow, writeOnly{memsink.New(nil)})
				require.NoError(t, err)
				records := sinktest.Records(5)
				require.NoError(t, s.Append(t.Context(), records))
				time.AfterFunc(test.until, func() { slow.set(nil) })
				got, err := read(t, s)
				require.ErrorIs(t, err, test.err)
				if test.err == nil {
					require.Equal(t, records, got)
				}
				time.Sleep(2 * time.Minute)
				_ = s.Close()
			})
		})
	}
}

func TestTheNumberOfSinksThatAreNeededIsChecked(t *testing.T) {
	for _, need := range []int{-1, 0, 3} {
		_, err := multisink.New(need, memsink.New(nil), memsink.New(nil))
		require.Error(t, err)
	}
	_, err := multisink.New(1, nil)
	require.Error(t, err)
}

func all(t *testing.T, reader jobaudit.AuditReader) []jobaudit.Record {
	t.Helper()
	var records []jobaudit.Record
	for r, err := range reader.Records(t.Context(), jobaudit.Query{}) {
		require.NoError(t, err)
		records = append(records, r)
	}
	return records
}

// A job is recorded in two places at once.
func Example() {
	local, far := memsink.New(nil), memsink.New(nil)
	sink, err := multisink.New(2, local, far)
	if err != nil {
		panic(err)
	}
	defer sink.Close()
	recorder, err := jobaudit.Open(context.Background(), sink, jobaudit.Source{System: "billing-worker", Environment: "test"}, nil)
	if err != nil {
		panic(err)
	}
	defer recorder.Close(context.Background())
	fmt.Println(local.Len(), far.Len())
	// Output: 1 1
}
