package multisink_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/sink/multisink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
)

func idsOf(records []jobaudit.Record) (ids []uuid.UUID) {
	for _, r := range records {
		ids = append(ids, r.ID())
	}
	return ids
}

func requireAll(t *testing.T, records, among []jobaudit.Record, which string) {
	t.Helper()
	has := map[uuid.UUID]bool{}
	for _, r := range among {
		has[r.ID()] = true
	}
	for _, r := range records {
		require.True(t, has[r.ID()], "%s lacks %s of %d records", which, r.ID(), len(records))
	}
}

// After each kill, whichever sinks were down or behind then: what was acknowledged is
// read, and every sink gets it that could be compared.
func TestWhatWasAcknowledgedIsReadAfterEveryKill(t *testing.T) {
	times := size.Times(100, 15)
	if size.Race {
		times = min(times, 30)
	}
	for seed := range times {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { killed(t, rand.New(rand.NewPCG(uint64(seed), 2))) })
		})
	}
}

func killed(t *testing.T, random *rand.Rand) {
	n := 2 + random.IntN(3)
	need := 2 + random.IntN(n-1)
	stores := make([]*memsink.Sink, n)
	for i := range stores {
		stores[i] = memsink.New(nil)
	}
	var acknowledged []jobaudit.Record
	flaky := random.Perm(n)[:n-need]
	away := random.IntN(2) == 0 // the flaky ones are down when the others are compared
	for range 1 + random.IntN(4) {
		var members []*faulty
		var sinks []jobaudit.AuditSink
		for _, store := range stores {
			members = append(members, &faulty{Sink: store})
			sinks = append(sinks, reopened{members[len(members)-1]})
		}
		for _, i := range flaky {
			if away {
				members[i].set(down)
			}
		}
		s, err := multisink.New(need, sinks...)
		require.NoError(t, err)
		requireAll(t, acknowledged, all(t, s), "what is read")
		if away {
			for range random.IntN(5) {
				records := sinktest.Records(1 + random.IntN(40))
				require.NoError(t, s.Append(t.Context(), records))
				acknowledged = append(acknowledged, records...)
			}
			for _, i := range flaky {
				members[i].set(nil)
			}
			records := sinktest.Records(1)
			require.NoError(t, s.Append(t.Context(), records))
			acknowledged = append(acknowledged, records...)
			time.Sleep(time.Minute)
		}
		synctest.Wait()
		requireAll(t, acknowledged, all(t, s), "what is read")
		for i, store := range stores {
			if !away || !slices.Contains(flaky, i) {
				requireAll(t, acknowledged, all(t, store), fmt.Sprintf("sink %d of %d, of which %d are needed,", i+1, n, need))
			}
		}
		for _, i := range flaky {
			members[i].set([]func(context.Context, []jobaudit.Record) error{nil, down, hangs}[random.IntN(3)])
		}
		for range random.IntN(20) {
			records := sinktest.Records(1 + random.IntN(40))
			require.NoError(t, s.Append(t.Context(), records))
			acknowledged = append(acknowledged, records...)
		}
		if away {
			synctest.Wait() // so few sinks are left then that each has all
		}
		for _, m := range members { // killed
			m.set(func(context.Context, []jobaudit.Record) error { return errDown })
		}
		time.Sleep(time.Minute)
		_ = s.Close()
	}
}

// reopened is a sink whose medium outlives it.
type reopened struct{ *faulty }

func (reopened) Close() error { return nil }

// Records fails while the sink is down.
func (r reopened) Records(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	r.mu.Lock()
	fault := r.fault
	r.mu.Unlock()
	if fault == nil {
		return r.faulty.Records(ctx, q)
	}
	return func(yield func(jobaudit.Record, error) bool) { yield(jobaudit.Record{}, fault(ctx, nil)) }
}

// The order within each stream is the others', and a sink that is new gets all.
func TestASinkGetsWhatItLacksInOrder(t *testing.T) {
	every := 1
	if size.Race {
		every = 5
	}
	for have := 0; have < 11; have += every {
		synctest.Test(t, func(t *testing.T) {
			a, b, c := memsink.New(nil), memsink.New(nil), memsink.New(nil)
			records := sinktest.Records(1000)
			require.NoError(t, a.Append(t.Context(), records[:100*have]))
			require.NoError(t, b.Append(t.Context(), records))
			require.NoError(t, c.Append(t.Context(), records))
			s, err := multisink.New(2, a, b, c)
			require.NoError(t, err)
			more := sinktest.Records(5)
			require.NoError(t, s.Append(t.Context(), more))
			require.Equal(t, append(slices.Clone(records), more...), all(t, s))
			synctest.Wait()
			require.Equal(t, append(slices.Clone(records), more...), all(t, a))
			require.NoError(t, s.Close())
		})
	}
}

// What cannot be sent is told, and the sink is read last, but goes on.
func TestASinkThatLacksMoreThanCanBeSentIsReadLast(t *testing.T) {
	if testing.Short() || size.Race {
		t.Skip("a sink is too far behind after 20,000 records")
	}
	records := append(rewritten(t, 100, `"time":"2026-`, `"time":"2025-`), sinktest.Records(20_900)...)
	for _, have := range []int{0, 100} {
		synctest.Test(t, func(t *testing.T) {
			a, b, c := memsink.New(nil), memsink.New(nil), memsink.New(nil)
			require.NoError(t, a.Append(t.Context(), records[:have]))
			require.NoError(t, b.Append(t.Context(), records))
			require.NoError(t, c.Append(t.Context(), records))
			s, err := multisink.New(2, a, b, c)
			require.NoError(t, err)
			told := make(chan error, 3)
			s.Degraded(func(err error) { told <- err })
			require.ErrorContains(t, <-told, "sink 1 is read last: it lacks records")
			require.NoError(t, s.Append(t.Context(), sinktest.Records(5)))
			require.Len(t, all(t, s), 21_005)
			synctest.Wait()
			require.Equal(t, have+5, a.Len(), "it gets what comes, so that it can be needed")
			require.NoError(t, s.Close())
			require.Empty(t, told)
		})
	}
}

// What would come too late for its stream is not sent: each stream has one order.
func TestASinkWithAGapInAStreamIsReadLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := memsink.New(nil), memsink.New(nil), memsink.New(nil)
		records := sinktest.Records(3)
		require.Equal(t, records[0].Event().Stream.ID, records[2].Event().Stream.ID)
		require.NoError(t, a.Append(t.Context(), []jobaudit.Record{records[0], records[2]}))
		require.NoError(t, b.Append(t.Context(), records))
		require.NoError(t, c.Append(t.Context(), records))
		s, err := multisink.New(2, a, b, c)
		require.NoError(t, err)
		told := make(chan error, 3)
		s.Degraded(func(err error) { told <- err })
		require.ErrorContains(t, <-told, "sink 1 is read last: it lacks records")
		require.Equal(t, records, all(t, s))
		require.NoError(t, s.Close())
		require.Equal(t, 2, a.Len())
	})
}

// rewritten returns records in which something stands instead of something else.
func rewritten(t *testing.T, n int, what, by string) (records []jobaudit.Record) {
	t.Helper()
	for _, r := range sinktest.Records(n) {
		require.Contains(t, string(r.Bytes()), what)
		r, err := jobaudit.ParseRecord([]byte(strings.Replace(string(r.Bytes()), what, by, 1)))
		require.NoError(t, err)
		records = append(records, r)
	}
	return records
}

// A local log beside databases that others write to as well gets nothing of theirs, is
// not accused, and gives way to the databases.
func TestWhatOthersWriteToSharedSinksIsNotSentToALocalOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		local, a, b := memsink.New(nil), memsink.New(nil), memsink.New(nil)
		own, foreign := sinktest.Records(20), rewritten(t, 700, `"instance":"i"`, `"instance":"j"`)
		require.NoError(t, local.Append(t.Context(), own[:15])) // killed behind the others
		for _, shared := range []*memsink.Sink{a, b} {
			require.NoError(t, shared.Append(t.Context(), own))
			require.NoError(t, shared.Append(t.Context(), foreign))
		}
		s, err := multisink.New(2, local, a, b)
		require.NoError(t, err)
		s.Degraded(func(err error) { t.Error(err) })
		require.Len(t, all(t, s), 720)
		synctest.Wait()
		require.Equal(t, own, all(t, local))
		require.NoError(t, s.Close())
	})
}

// A sink whose newest records reach back less far than another's lacks nothing.
func TestASinkThatOthersWriteToReachesBackLessFar(t *testing.T) {
	if testing.Short() || size.Race {
		t.Skip("20,000 records are compared")
	}
	synctest.Test(t, func(t *testing.T) {
		local, a, b := memsink.New(nil), memsink.New(nil), memsink.New(nil)
		own := append(rewritten(t, 600, `"time":"2026-`, `"time":"2025-`), sinktest.Records(9)...)
		foreign := rewritten(t, 20_500, `"instance":"i"`, `"instance":"j"`)
		require.NoError(t, local.Append(t.Context(), own))
		for _, shared := range []*memsink.Sink{a, b} {
			require.NoError(t, shared.Append(t.Context(), own[:600]))
			require.NoError(t, shared.Append(t.Context(), foreign))
			require.NoError(t, shared.Append(t.Context(), own[600:]))
		}
		s, err := multisink.New(2, local, a, b)
		require.NoError(t, err)
		s.Degraded(func(err error) { t.Error(err) })
		require.Len(t, all(t, s), len(own)+len(foreign))
		require.NoError(t, s.Close())
		require.Equal(t, own, all(t, local))
	})
}

// A sink that was down at New, and is the only one left, is read after a while, and the
// log says what it may lack, once.
func TestASinkThatCouldNotBeComparedIsReadIfNoOtherCanBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back, good := &faulty{Sink: memsink.New(nil)}, &faulty{Sink: memsink.New(nil)}
		back.set(down)
		require.NoError(t, good.Sink.Append(t.Context(), sinktest.Records(10)))
		s, err := multisink.New(1, reopened{back}, reopened{good})
		require.NoError(t, err)
		told := make(chan error, 3)
		s.Degraded(func(err error) { told <- err })
		require.Len(t, all(t, s), 10)
		require.Empty(t, told)
		back.set(nil)
		good.set(down)
		records := sinktest.Records(3)
		require.NoError(t, s.Append(t.Context(), records))
		for range 3 {
			began := time.Now()
			require.Equal(t, records, all(t, s))
			require.Less(t, time.Since(began), 5*time.Second, "as long as a Recorder waits")
		}
		synctest.Wait()
		require.ErrorContains(t, <-told, "sink 1 is read last: it could not be read")
		require.Empty(t, told)
		good.set(nil)
		require.NoError(t, s.Close())
	})
}

// A sink that is needed and whose reads hang takes records without delay.
func TestAppendsDoNotWaitForReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hanging, good := &faulty{Sink: memsink.New(nil)}, memsink.New(nil)
		require.NoError(t, good.Append(t.Context(), sinktest.Records(10)))
		s, err := multisink.New(2, unreadable{hanging}, good)
		require.NoError(t, err)
		for range 3 {
			began := time.Now()
			require.NoError(t, s.Append(t.Context(), sinktest.Records(3)))
			require.Zero(t, time.Since(began))
		}
		require.NoError(t, s.Close())
		require.Equal(t, 9, hanging.Len())
	})
}

// Where such a sink is needed, a Recorder opens over it, every time, and its log is read.
func TestARecorderOpensOverASinkThatCannotBeCompared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hanging, good := &faulty{Sink: memsink.New(nil)}, memsink.New(nil)
		require.NoError(t, good.Append(t.Context(), sinktest.Records(10)))
		for range 3 {
			require.NotEmpty(t, opened(t, unreadable{hanging}, reopened{&faulty{Sink: good}}))
		}
		require.Equal(t, good.Len(), hanging.Len()+10, "it has all that came")
	})
}

// unreadable is a sink whose reads hang.
type unreadable struct{ *faulty }

func (unreadable) Close() error { return nil }

func (unreadable) Records(ctx context.Context, _ jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		<-ctx.Done()
		yield(jobaudit.Record{}, ctx.Err())
	}
}

// A sink that may lack what was acknowledged is read last, and is not accused.
func TestASinkThatMayLackSomethingIsReadLast(t *testing.T) {
	for name, sinks := range map[string]func(less, more jobaudit.AuditSink) (int, []jobaudit.AuditSink){
		"one is enough": func(less, more jobaudit.AuditSink) (int, []jobaudit.AuditSink) {
			return 1, []jobaudit.AuditSink{less, more}
		},
		"its records are gone": func(less, more jobaudit.AuditSink) (int, []jobaudit.AuditSink) {
			return 2, []jobaudit.AuditSink{less, more}
		},
		"another cannot be read": func(less, more jobaudit.AuditSink) (int, []jobaudit.AuditSink) {
			return 2, []jobaudit.AuditSink{less, more, writeOnly{memsink.New(nil)}}
		},
		"it cannot be compared": func(less, more jobaudit.AuditSink) (int, []jobaudit.AuditSink) {
			return 1, []jobaudit.AuditSink{&shy{Sink: less.(*memsink.Sink)}, more}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				less, more := memsink.New(nil), memsink.New(nil)
				records := sinktest.Records(20)
				require.NoError(t, more.Append(t.Context(), records))
				need, list := sinks(less, more)
				s, err := multisink.New(need, list...)
				require.NoError(t, err)
				s.Degraded(func(err error) { t.Error(err) })
				require.Equal(t, records, all(t, s))
				require.NoError(t, s.Append(t.Context(), sinktest.Records(1)))
				require.Len(t, all(t, s), 21)
				synctest.Wait()
				require.Equal(t, 1, less.Len())
				require.NoError(t, s.Close())
			})
		})
	}
}

// shy is a sink whose first reads do not come to an end as reads do.
type shy struct {
	*memsink.Sink
	reads atomic.Int64
}

func (s *shy) Records(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		switch s.reads.Add(1) {
		case 1:
			runtime.Goexit()
		case 2:
			panic("no")
		}
		s.Sink.Records(ctx, q)(yield)
	}
}

// A sink whose Append ends its goroutine, or whose error's methods do what they must not,
// has failed like any other, and is called again.
func TestASinkThatMisbehavesIsCalledAgain(t *testing.T) {
	for name, fault := range map[string]func(context.Context, []jobaudit.Record) error{
		"ends its goroutine":              func(context.Context, []jobaudit.Record) error { runtime.Goexit(); return nil },
		"panics":                          panics,
		"its error panics":                func(context.Context, []jobaudit.Record) error { return (*wild)(nil) },
		"its error ends the goroutine":    func(context.Context, []jobaudit.Record) error { return &wild{runtime.Goexit} },
		"its error wraps itself for ever": func(context.Context, []jobaudit.Record) error { e := &loop{}; return e },
		"its joined error panics":         func(context.Context, []jobaudit.Record) error { return errors.Join(errDown, (*wild)(nil)) },
	} {
		for _, closing := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " closing ", closing), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					bad := &faulty{Sink: memsink.New(nil)}
					bad.set(fault)
					s, err := multisink.New(2, memsink.New(nil), bad)
					require.NoError(t, err)
					records := sinktest.Records(3)
					if closing {
						ended := make(chan error, 1)
						go func() { ended <- s.Append(context.Background(), records) }()
						synctest.Wait()
						_ = s.Close()
						require.Error(t, <-ended)
						return
					}
					require.Error(t, s.Append(t.Context(), records))
					time.Sleep(time.Minute)
					bad.set(nil)
					require.NoError(t, s.Append(t.Context(), records), "the sink has recovered")
					require.NoError(t, s.Close())
				})
			})
		}
	}
}

type wild struct{ do func() }

func (w *wild) Error() string { w.do(); return "" }
func (w *wild) Unwrap() error { w.do(); return nil }

type loop struct{}

func (l *loop) Error() string { return "for ever" }
func (l *loop) Unwrap() error { return l }

// A sink that refuses a batch before the others have taken it is not read as if it had
// it, and gets nothing that builds on it, whatever it takes meanwhile.
func TestASinkThatRefusedWhatIsThenAcknowledgedIsNotRead(t *testing.T) {
	for later := range 4 {
		synctest.Test(t, func(t *testing.T) {
			slow := &faulty{Sink: memsink.New(nil)}
			slow.set(func(context.Context, []jobaudit.Record) error { time.Sleep(time.Second); return nil })
			strict := &faulty{Sink: memsink.New(nil)}
			records := sinktest.Records(10)
			strict.set(func(_ context.Context, list []jobaudit.Record) error {
				if list[0].ID() == records[0].ID() {
					return &jobaudit.RecordError{ID: list[0].ID(), Err: errDown}
				}
				return nil
			})
			s, err := multisink.New(1, writeOnly{slow}, strict)
			require.NoError(t, err)
			reasons := make(chan error, 3)
			s.Degraded(func(err error) { reasons <- err })
			var first sync.WaitGroup
			first.Go(func() {
				if err := s.Append(t.Context(), records[:1]); err != nil {
					t.Error(err)
				}
				if err := s.Append(t.Context(), records[9:]); err != nil { // it builds on the first
					t.Error(err)
				}
			})
			synctest.Wait()
			for i := range later {
				require.NoError(t, s.Append(t.Context(), records[1+i:2+i]))
			}
			first.Wait()
			var failed error
			for _, err := range s.Records(t.Context(), jobaudit.Query{}) {
				failed = err
			}
			require.ErrorIs(t, failed, multisink.ErrIncomplete)
			require.ErrorContains(t, <-reasons, errDown.Error())
			time.Sleep(time.Minute)
			require.NotContains(t, idsOf(all(t, strict)), records[9].ID())
			_ = s.Close()
		})
	}
}

// Two who reach one verdict at once do not cost a healthy sink its place.
func TestARaceOfTwoVerdictsGivesUpNoSink(t *testing.T) {
	for _, need := range []int{1, 2} {
		for first := range 2 {
			synctest.Test(t, func(t *testing.T) {
				var sinks []jobaudit.AuditSink
				for i := range 2 {
					sink := &faulty{Sink: memsink.New(nil)}
					sink.set(func(_ context.Context, records []jobaudit.Record) error {
						if i == first && records[0].ID().Version() == 8 {
							return jobaudit.ErrConflict
						}
						return nil
					})
					sinks = append(sinks, sink)
				}
				s, err := multisink.New(need, sinks...)
				require.NoError(t, err)
				s.Degraded(func(err error) { t.Error(err) })
				err = s.Append(t.Context(), []jobaudit.Record{verdict(t)})
				require.Equal(t, need == 2, errors.Is(err, jobaudit.ErrConflict), "%v", err)
				require.NoError(t, s.Append(t.Context(), sinktest.Records(3)))
				synctest.Wait()
				require.NoError(t, s.Close())
				for _, sink := range sinks {
					require.GreaterOrEqual(t, sink.(*faulty).Len(), 3)
				}
			})
		}
	}
}

// verdict is a record with an ID made of what it is about.
func verdict(t *testing.T) jobaudit.Record {
	t.Helper()
	r := sinktest.Records(1)[0]
	id := r.ID()
	id[6] = id[6]&0x0f | 0x80 // version 8
	r, err := jobaudit.ParseRecord([]byte(strings.Replace(string(r.Bytes()), r.ID().String(), id.String(), 1)))
	require.NoError(t, err)
	return r
}
