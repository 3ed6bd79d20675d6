package filesink_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/simdisk"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
)

// A story is what writers did to a log in memory, and what they were told.
type story struct {
	disk  *simdisk.Memory
	opts  filesink.Options
	todo  []jobaudit.Record
	acked []jobaudit.Record
	heads []auditlog.Head // seen by readers after an acknowledgement

	segmentSize int64
}

func (s *story) key() (*filesink.Key, error) {
	return filesink.LoadOrCreateKeyOn(s.disk, "log", "keys/key", origin)
}

func (s *story) open(t testing.TB) (*filesink.Sink, error) {
	key, err := s.key()
	if err != nil {
		return nil, err
	}
	s.opts.SegmentSize = cmp.Or(s.segmentSize, 5<<10)
	s.opts.OnError = func(error) {}
	return filesink.Open(t.Context(), "log", key, filesink.On(s.disk, &s.opts))
}

// write opens the log, stores up to n batches and closes it, until something
// fails.
func (s *story) write(t testing.TB, n int) error {
	sink, err := s.open(t)
	if err != nil {
		return err
	}
	for ; n > 0; n-- {
		batch := s.todo[:3]
		if err := sink.Append(t.Context(), batch); err != nil {
			_ = sink.Close()
			return err
		}
		s.todo, s.acked = s.todo[3:], append(s.acked, batch...)
		s.heads = append(s.heads, sink.Checkpoint().Head())
	}
	return sink.Close()
}

// run is a whole life: a first open, several segments, a clean second open.
func (s *story) run(t testing.TB) error {
	for _, n := range []int{4, 1, 3} {
		if err := s.write(t, n); err != nil {
			return err
		}
	}
	return nil
}

// survives opens the log after a crash: what was acknowledged is there once,
// in order, and no head that was seen is contradicted.
func (s *story) survives(t testing.TB) {
	sink, err := s.open(t)
	require.NoError(t, err)
	got := read(t, sink, jobaudit.Query{})
	require.GreaterOrEqual(t, len(got), len(s.acked))
	requireRecords(t, s.acked, got[:len(s.acked)])
	require.LessOrEqual(t, len(got), len(s.acked)+3, "one batch at most was in flight")
	s.requireHeads(t, got)
	require.EqualValues(t, len(got), sink.Checkpoint().Head().Size)

	// The batch in flight is sent again, then life goes on.
	for range 2 {
		require.NoError(t, sink.Append(t.Context(), s.todo[:3]))
		s.acked, s.todo = append(s.acked, s.todo[:3]...), s.todo[3:]
	}
	all := read(t, sink, jobaudit.Query{})
	requireRecords(t, s.acked, all)
	s.heads = append(s.heads, sink.Checkpoint().Head())
	s.requireHeads(t, all)
	_, err = sink.Prove(t.Context(), all[0].ID())
	require.NoError(t, err)
	require.NoError(t, sink.Close())

	sink, err = s.open(t)
	require.NoError(t, err)
	requireRecords(t, s.acked, read(t, sink, jobaudit.Query{}))
	require.True(t, sink.Recovery().TornBytes == 0)
	require.NoError(t, sink.Close())
}

// requireHeads computes the roots at the sizes that readers saw.
func (s *story) requireHeads(t testing.TB, records []jobaudit.Record) {
	t.Helper()
	var tree auditlog.Tree
	roots := []auditlog.Head{}
	for _, r := range records {
		tree.Append(nil, r.Hash())
		roots = append(roots, auditlog.Head{Origin: origin, Size: tree.Size(), Root: tree.Root()})
	}
	for _, h := range s.heads {
		require.Equal(t, roots[h.Size-1], h)
	}
}

// storyRecords are what every story stores, each on a disk of its own.
var storyRecords = sync.OnceValue(func() []jobaudit.Record { return sinktest.Records(60) })

func newStory(everyCommit bool) *story {
	return &story{disk: simdisk.NewMemory(), todo: storyRecords(), opts: filesink.Options{AnchorEveryCommit: everyCommit}}
}

func (s *story) after(fate simdisk.Fate) *story {
	next := *s
	next.disk = s.disk.Crash(fate)
	next.acked, next.heads = slices.Clone(s.acked), slices.Clone(s.heads)
	return &next
}

func TestAcknowledgedEventsSurvivePowerLossAtEveryCall(t *testing.T) {
	t.Parallel()
	for _, everyCommit := range []bool{false, true} {
		t.Run(fmt.Sprintf("anchor every commit %t", everyCommit), func(t *testing.T) {
			t.Parallel()
			whole := newStory(everyCommit)
			require.NoError(t, whole.run(t))
			calls := whole.disk.Calls()
			require.Greater(t, calls, 100)
			step := 1
			if everyCommit {
				step = 3
			}
			step *= every(5)
			for n := 1; n <= calls; n += step {
				s := newStory(everyCommit)
				s.disk.Cut(n)
				_ = s.run(t) // it ends early, except where only a cache is written
				for name, fate := range simdisk.Fates(uint64(n)) {
					if !t.Run(fmt.Sprintf("call %d, %s", n, name), s.after(fate).check) {
						return
					}
				}
			}
		})
	}
}

// check is survives for a subtest.
func (s *story) check(t *testing.T) { s.survives(t) }

func TestPowerLossDuringRecoveryLosesNothing(t *testing.T) {
	t.Parallel()
	whole := newStory(false)
	require.NoError(t, whole.run(t))
	calls := whole.disk.Calls()
	step := 23 * every(5)
	for n := 1; n <= calls; n += step {
		s := newStory(false)
		s.disk.Cut(n)
		_ = s.run(t) // it ends early
		for name, fate := range simdisk.Fates(uint64(n)) {
			for m := 1 + n%3; ; m += size.Times(4, 12) {
				second := s.after(fate)
				second.disk.Cut(m)
				sink, err := second.open(t)
				if err == nil {
					_ = sink.Close()
					break // it recovered before the power went
				}
				for _, again := range slices.Sorted(maps.Keys(simdisk.Fates(0))) {
					third := second.after(simdisk.Fates(uint64(n*1000 + m))[again])
					if !t.Run(fmt.Sprintf("call %d, %s, then call %d, %s", n, name, m, again), third.check) {
						return
					}
				}
			}
		}
	}
}

func TestWhatAKilledProcessLeftIsDurableOnceItWasRead(t *testing.T) {
	t.Parallel()
	whole := newStory(false)
	require.NoError(t, whole.run(t))
	step := every(7)
	for n := 1; n <= whole.disk.Calls(); n += step {
		again := n%2 == 0 // else nothing is written before the power goes
		s := newStory(false)
		s.disk.Cut(n)
		_ = s.run(t) // it ends early
		s.disk.Kill()
		sink, err := s.open(t)
		require.NoError(t, err)
		adopted := len(read(t, sink, jobaudit.Query{})) - len(s.acked)
		if again && adopted > 0 {
			require.NoError(t, sink.Append(t.Context(), s.todo[:3]), "sent again, and acknowledged")
		}
		s.acked, s.todo = append(s.acked, s.todo[:adopted]...), s.todo[adopted:]
		if !sink.Checkpoint().IsZero() {
			s.heads = append(s.heads, sink.Checkpoint().Head())
		}
		if !t.Run(fmt.Sprintf("call %d", n), s.after(simdisk.Fates(0)["all is lost"]).check) {
			return
		}
	}
}

// A call fails, and soon after the process or the machine ends.
func TestAcknowledgedEventsSurviveTheEndBehindAFailingCall(t *testing.T) {
	t.Parallel()
	whole := newStory(false)
	require.NoError(t, whole.run(t))
	fates := slices.Sorted(maps.Keys(simdisk.Fates(0)))
	step := 4 * every(6)
	for n := 1; n <= whole.disk.Calls(); n += step {
		for later := range 6 {
			s := newStory(false)
			s.disk.Fail(n, 1)
			s.disk.Cut(n + 1 + later)
			_ = s.run(t) // it ends early, where the call matters
			s.disk.Fail(0, 0)
			fate := fates[(n+later)%len(fates)]
			crashed := s.after(simdisk.Fates(uint64(n))[fate])
			if !t.Run(fmt.Sprintf("call %d, %d later, %s", n, later, fate), crashed.check) {
				return
			}
			s.disk.Kill()
			if !t.Run(fmt.Sprintf("call %d, %d later, killed", n, later), s.check) {
				return
			}
		}
	}
}
