package mirror_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/mirror"
)

func TestAMirrorHoldsTheLogToTheByte(t *testing.T) {
	k := newKey(t, origin)
	for _, chunk := range []int{1, 100, 1000, 0} {
		l, store := newLog(t, k), newStore()
		var r reports
		o := options(&r, k)
		o.ChunkSize = chunk
		m := newMirror(t, l, store, o)
		require.NoError(t, m.Sync(t.Context())) // of nothing
		for i := range 40 {
			l.append(i%7+1, "event")
			if i%3 == 0 {
				require.NoError(t, m.Sync(t.Context()))
				require.Equal(t, l.tree.Size(), m.Status().Head.Size)
				require.Equal(t, l.tree.Root(), m.Status().Head.Root)
			}
		}
		require.NoError(t, m.Sync(t.Context()))
		require.Zero(t, m.Status().Lag())
		require.Equal(t, l.lines, mirrored(t, store, 0, k))
		require.Equal(t, l.lines, mirrored(t, store, 0)) // without a key
		require.Empty(t, r.all)
	}
}

func TestAReaderYieldsTheLinesFromEveryIndex(t *testing.T) {
	k := newKey(t, origin)
	l, store := newLog(t, k), newStore()
	var reported reports
	o := options(&reported, k)
	o.ChunkSize = 200
	m := newMirror(t, l, store, o)
	for i := range 12 {
		l.append(i%3+1, "event")
		require.NoError(t, m.Sync(t.Context()))
	}
	r, err := mirror.OpenReader(t.Context(), store, &mirror.ReaderOptions{Keys: o.Keys})
	require.NoError(t, err)
	for from := range l.tree.Size() + 1 {
		var want, got []string
		for line, err := range l.Lines(t.Context(), from) {
			require.NoError(t, err)
			want = append(want, string(line))
		}
		for line, err := range r.Lines(t.Context(), from) {
			require.NoError(t, err)
			got = append(got, string(line))
		}
		require.Equal(t, want, got, "from %d", from)
	}
	// A mirror is a source: it can be mirrored.
	second := newStore()
	require.Equal(t, l.tree.Size(), sync1(t, r, second, k).Head.Size)
	require.Equal(t, l.lines, mirrored(t, second, 0, k))
}

// TestAMirrorThatIsKilledAtEveryStepHoldsWhatItReported makes each call on the
// store fail, before or behind its effect, and goes on with a new Mirror.
func TestAMirrorThatIsKilledAtEveryStepHoldsWhatItReported(t *testing.T) {
	k := newKey(t, origin)
	for step := 1; ; step++ {
		reached := false
		for _, behind := range []bool{false, true} {
			l, store := newLog(t, k), newStore()
			store.fail = func(call int) (bool, bool) {
				reached = reached || call == step
				return call == step && !behind, call == step && behind
			}
			var reported int64
			var r reports
			for i := range 6 {
				l.append(i+1, "event")
				o := options(&r, k)
				o.ChunkSize = 100 * (i%3 + 1) // a crash may have cut chunks elsewhere
				m := newMirror(t, l, store, o)
				if err := m.Sync(t.Context()); err != nil {
					require.ErrorIs(t, err, errStore)
				}
				reported = max(reported, m.Status().Head.Size)
			}
			store.fail = nil
			require.NoError(t, newMirror(t, l, store, options(&r, k)).Sync(t.Context()))
			require.Empty(t, r.squatted())
			lines := mirrored(t, store, 0, k)
			require.Equal(t, l.lines, lines, "step %d, behind %v", step, behind)
			require.LessOrEqual(t, reported, l.tree.Size())
		}
		if !reached {
			require.Greater(t, step, 30)
			return
		}
	}
}

func TestEveryReportedHeadVerifiesWhateverFails(t *testing.T) {
	k := newKey(t, origin)
	rnd := rand.New(rand.NewPCG(1, 2))
	for range size.Times(25, 5) {
		l, store := newLog(t, k), newStore()
		store.fail = func(int) (bool, bool) { return rnd.IntN(8) == 0, rnd.IntN(8) == 0 }
		var r reports
		m := newMirror(t, l, store, options(&r, k))
		for range 12 {
			l.append(rnd.IntN(4)+1, "event")
			if rnd.IntN(3) == 0 {
				m = newMirror(t, l, store, options(&r, k))
			}
			if err := m.Sync(t.Context()); err != nil {
				require.ErrorIs(t, err, errStore)
			}
			head := m.Status().Head
			if head.Size == 0 {
				continue
			}
			fail := store.fail
			store.fail = nil
			held := mirrored(t, store, 0, k)
			require.Equal(t, l.cut(head.Size).lines, held[:len(l.cut(head.Size).lines)])
			store.fail = fail
		}
	}
}

func TestALogThatShrankIsRefusedWithBothHeads(t *testing.T) {
	k := newKey(t, origin)
	l, store := newLog(t, k), newStore()
	for range 10 {
		l.append(2, "event")
	}
	sync1(t, l, store, k)
	for _, size := range []int64{0, 2, 18} {
		var r reports
		m := newMirror(t, l.cut(size), store, options(&r, k))
		refused, ok := errors.AsType[*mirror.RefusedError](m.Sync(t.Context()))
		require.True(t, ok)
		require.ErrorIs(t, refused, mirror.ErrShrunken)
		require.EqualValues(t, 20, refused.Mirrored.Size)
		require.Equal(t, size, refused.Log.Size)
		requireSigned(t, k, refused.Mirrored, refused.MirroredSigned)
		if size > 0 {
			requireSigned(t, k, refused.Log, refused.LogSigned)
		}
		require.Contains(t, refused.Error(), origin+"/s2")
		require.ErrorIs(t, m.Status().Err, mirror.ErrShrunken)
	}
	require.Equal(t, l.lines, mirrored(t, store, 0, k))
}

func requireSigned(t *testing.T, k key, h auditlog.Head, signed []byte) {
	t.Helper()
	c, err := auditlog.OpenCheckpoint(signed, k.verifier)
	require.NoError(t, err)
	require.Equal(t, h, c.Head())
}

func TestALogThatForkedIsRefusedWithBothHeads(t *testing.T) {
	k := newKey(t, origin)
	l, store := newLog(t, k), newStore()
	for range 10 {
		l.append(2, "event")
	}
	sync1(t, l, store, k)
	fork := func(size int64, batches, each int) *memLog {
		f := l.cut(size)
		for range batches {
			f.append(each, "other")
		}
		return f
	}
	for name, f := range map[string]*memLog{
		"rewritten, the same size": fork(0, 10, 2),
		"the last batch":           fork(18, 1, 2),
		"longer":                   fork(10, 20, 2),
		"longer, other batches":    fork(10, 5, 7),
		"same size in one batch":   fork(0, 1, 20),
	} {
		t.Run(name, func(t *testing.T) {
			var r reports
			refused, ok := errors.AsType[*mirror.RefusedError](newMirror(t, f, store, options(&r, k)).Sync(t.Context()))
			require.True(t, ok)
			require.ErrorIs(t, refused, mirror.ErrForked)
			requireSigned(t, k, refused.Mirrored, refused.MirroredSigned)
			requireSigned(t, k, refused.Log, refused.LogSigned)
			require.NotEqual(t, refused.Mirrored.Root, refused.Log.Root)
		})
	}
	require.Equal(t, l.lines, mirrored(t, store, 0, k))
}

func TestAMirrorThatRunsNoticesThatItsLogWasExchanged(t *testing.T) {
	k := newKey(t, origin)
	l, store := newLog(t, k), newStore()
	l.append(3, "event")
	var r reports
	m := newMirror(t, l, store, options(&r, k))
	require.NoError(t, m.Sync(t.Context()))
	other := newLog(t, k)
	other.append(3, "other")
	l.lines, l.tree = other.lines, other.tree
	require.ErrorIs(t, m.Sync(t.Context()), mirror.ErrForked)
}

func TestADamagedLogIsMirroredUpToTheDamageAndNamed(t *testing.T) {
	k := newKey(t, origin)
	l, store := newLog(t, k), newStore()
	for range 10 {
		l.append(2, "event")
	}
	sync1(t, l.cut(6), store, k)
	l.lines[15] = "changed" // event 10
	var r reports
	m := newMirror(t, l, store, options(&r, k))
	require.ErrorIs(t, errors.Join(m.Sync(t.Context()), m.Sync(t.Context())), mirror.ErrDamaged)
	require.EqualValues(t, 10, m.Status().Head.Size)
	require.EqualValues(t, 10, m.Status().Lag())
	require.Contains(t, m.Sync(t.Context()).Error(), "events from 10 on")
}

func TestALineThatNoKeyHasSignedIsNotMirrored(t *testing.T) {
	k, other := newKey(t, origin), newKey(t, origin)
	l, store := newLog(t, k), newStore()
	l.append(2, "event")
	l.under(other).append(2, "event")
	var r reports
	m := newMirror(t, l, store, options(&r, k))
	require.ErrorIs(t, errors.Join(m.Sync(t.Context()), m.Sync(t.Context())), auditlog.ErrUnknownKey)
	require.EqualValues(t, 2, m.Status().Head.Size)

	// A successor's key that is not given is named.
	l = l.cut(2).under(newKey(t, origin+"/s2"))
	l.append(2, "event")
	err := newMirror(t, l, store, options(&r, k)).Sync(t.Context())
	require.ErrorIs(t, err, auditlog.ErrOrigin)
	require.ErrorContains(t, err, origin+"/s2")
}

func TestASuccessorThatGoesOnNeedsNobodysAcceptance(t *testing.T) {
	k, k2 := newKey(t, origin), newKey(t, origin+"/s2")
	l, store := newLog(t, k), newStore()
	l.append(4, "event")
	sync1(t, l, store, k)
	l.under(k2).append(4, "event")
	require.Equal(t, origin+"/s2", sync1(t, l, store, k, k2).Head.Origin)
	require.Equal(t, l.lines, mirrored(t, store, 0, k, k2))
}

func TestAnotherLogsMirrorIsNotWrittenTo(t *testing.T) {
	k, other := newKey(t, origin), newKey(t, "example.com/other")
	store := newStore()
	l := newLog(t, k)
	l.append(1, "event")
	sync1(t, l, store, k)
	var r reports
	err := newMirror(t, newLog(t, other), store, options(&r, other)).Sync(t.Context())
	require.ErrorContains(t, err, "the store holds the mirror of example.com/jobs")
}

func TestAMirrorNeedsAKey(t *testing.T) {
	_, err := mirror.New(newLog(t, newKey(t, origin)), newStore(), nil)
	require.ErrorContains(t, err, "no verifier key")
}

func TestWhatStandsInTheWayIsReportedAndPassedBy(t *testing.T) {
	k := newKey(t, origin)
	l, store := newLog(t, k), newStore()
	for range 5 {
		l.append(2, "event")
	}
	sync1(t, l.cut(4), store, k)
	squat := []string{
		"001/chunks/00000000000000000004",
		"001/chunks/00000000000000000004.1",
		fmt.Sprintf("001/heads/%016d.10", int64(1<<53-10)),
		"001/heads/0000000000000000.9007199254740992",
		"001/heads/zzz",
		"branches/002",
		"branches/x",
	}
	for _, name := range squat {
		store.objects[name] = [][]byte{[]byte("nothing of the mirror's\n")}
	}
	var r reports
	m := newMirror(t, l, store, options(&r, k))
	require.NoError(t, m.Sync(t.Context()))
	require.EqualValues(t, 10, m.Status().Head.Size)
	require.Subset(t, squat, r.squatted())
	require.Contains(t, r.squatted(), squat[0])
	require.Contains(t, r.squatted(), squat[2])
	require.Equal(t, l.lines, mirrored(t, store, 0, k))
	// It goes on behind them.
	l.append(2, "event")
	require.NoError(t, newMirror(t, l, store, options(&r, k)).Sync(t.Context()))
	require.Equal(t, l.lines, mirrored(t, store, 0, k))
}

func TestOfSeveralVersionsTheOneThatVerifiesCounts(t *testing.T) {
	k := newKey(t, origin)
	l, store := newLog(t, k), newStore()
	l.append(2, "event")
	l.append(2, "event")
	sync1(t, l, store, k)
	for name, versions := range store.objects {
		store.objects[name] = [][]byte{[]byte("squatted"), versions[0], []byte("on top")}
	}
	require.Equal(t, l.lines, mirrored(t, store, 0, k))
	l.append(2, "event")
	var r reports
	require.NoError(t, newMirror(t, l, store, options(&r, k)).Sync(t.Context()))
	require.NotEmpty(t, r.squatted())
	require.Equal(t, l.lines, mirrored(t, store, 0, k))
}
