package mirror_test

import (
	"maps"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/mirror"
)

var operator = mirror.Acceptance{By: "ada", Reason: "the node was restored from yesterday's snapshot"}

func TestAMirrorTakesABranchAtTenWhileItHoldsTwentyAndShowsBoth(t *testing.T) {
	k, k2 := newKey(t, origin), newKey(t, origin+"/s2")
	l, store := newLog(t, k), newStore()
	for range 4 {
		l.append(5, "event")
	}
	sync1(t, l, store, k)
	for name, batches := range map[string]int{"shorter": 1, "longer": 5} {
		t.Run(name, func(t *testing.T) {
			branch := l.cut(10).under(k2)
			for range batches {
				branch.append(3, "after the restore")
			}
			copied := newStore()
			maps.Copy(copied.objects, store.objects)
			var r reports
			m := newMirror(t, branch, copied, options(&r, k, k2))
			require.Error(t, m.Sync(t.Context()))
			b, err := m.Accept(t.Context(), operator)
			require.NoError(t, err)
			require.EqualValues(t, 10, b.Size)
			require.Equal(t, 1, b.Base)
			require.Equal(t, 2, b.Number)
			require.Equal(t, operator.By, b.By)
			requireSigned(t, k, l.head(), []byte(b.Mirrored))
			requireSigned(t, k2, branch.head(), []byte(b.Log))
			require.NoError(t, m.Sync(t.Context()))
			require.Equal(t, branch.head(), m.Status().Head)

			branch.append(2, "and on")
			require.Equal(t, 2, sync1(t, branch, copied, k, k2).Branch)
			require.Equal(t, branch.lines, mirrored(t, copied, 0, k, k2))
			require.Equal(t, branch.lines, mirrored(t, copied, 2, k, k2))
			require.Equal(t, l.lines, mirrored(t, copied, 1, k, k2))
			require.Empty(t, r.squatted())
			reader, err := mirror.OpenReader(t.Context(), copied, nil)
			require.NoError(t, err)
			require.Len(t, reader.Branches(), 2)
			require.Equal(t, operator.Reason, reader.Branch().Reason)
		})
	}
}

func TestABranchCanLeaveABranch(t *testing.T) {
	k, k2, k3 := newKey(t, origin), newKey(t, origin+"/s2"), newKey(t, origin+"/s3")
	l, store := newLog(t, k), newStore()
	for range 4 {
		l.append(5, "event")
	}
	sync1(t, l, store, k)
	var r reports
	second := l.cut(15).under(k2)
	second.append(2, "second")
	second.append(2, "second")
	m := newMirror(t, second, store, options(&r, k, k2))
	_, err := m.Accept(t.Context(), operator)
	require.NoError(t, err)
	require.NoError(t, m.Sync(t.Context()))
	for name, cut := range map[string]int64{"in the branch": 17, "below the branch": 5} {
		third := second.cut(cut).under(k3)
		third.append(1, "third "+name)
		copied := newStore()
		maps.Copy(copied.objects, store.objects)
		m := newMirror(t, third, copied, options(&r, k, k2, k3))
		b, err := m.Accept(t.Context(), operator)
		require.NoError(t, err)
		require.Equal(t, cut, b.Size)
		require.NoError(t, m.Sync(t.Context()))
		require.Equal(t, third.lines, mirrored(t, copied, 3, k, k2, k3))
		require.Equal(t, second.lines, mirrored(t, copied, 2, k, k2, k3))
		require.Equal(t, l.lines, mirrored(t, copied, 1, k, k2, k3))
	}
}

func TestAWipedNodesNewLogIsABranchFromTheStart(t *testing.T) {
	k, k2 := newKey(t, origin), newKey(t, origin+"/s2")
	l, store := newLog(t, k), newStore()
	l.append(5, "event")
	sync1(t, l, store, k)
	fresh := newLog(t, k2)
	fresh.append(7, "fresh")
	var r reports
	m := newMirror(t, fresh, store, options(&r, k, k2))
	require.ErrorIs(t, m.Sync(t.Context()), mirror.ErrForked)
	b, err := m.Accept(t.Context(), operator)
	require.NoError(t, err)
	require.Zero(t, b.Size)
	require.NoError(t, m.Sync(t.Context()))
	require.Equal(t, fresh.lines, mirrored(t, store, 2, k, k2))
	require.Equal(t, l.lines, mirrored(t, store, 1, k, k2))
}

func TestOnlyASuccessorIsAcceptedAndOnlyWhereItIsNeeded(t *testing.T) {
	k, k2 := newKey(t, origin), newKey(t, origin+"/s2")
	l, store := newLog(t, k), newStore()
	l.append(5, "event")
	l.append(5, "event")
	sync1(t, l, store, k)
	var r reports

	fork := l.cut(5)
	fork.append(9, "other")
	m := newMirror(t, fork, store, options(&r, k, k2))
	_, err := m.Accept(t.Context(), operator)
	require.ErrorContains(t, err, "with a new key named "+origin+"/s2")

	next := l.cut(10).under(k2)
	next.append(1, "next")
	_, err = newMirror(t, next, store, options(&r, k, k2)).Accept(t.Context(), operator)
	require.ErrorIs(t, err, mirror.ErrNothingToAccept)

	fork.under(k2).append(1, "after")
	_, err = newMirror(t, fork, store, options(&r, k, k2)).Accept(t.Context(), mirror.Acceptance{})
	require.ErrorContains(t, err, "say who accepts, and why")
	// The restored log went on with its old key for a while: the branch holds that too.
	m = newMirror(t, fork, store, options(&r, k, k2))
	_, err = m.Accept(t.Context(), operator)
	require.NoError(t, err)
	require.NoError(t, m.Sync(t.Context()))
	require.Equal(t, fork.lines, mirrored(t, store, 0, k, k2))
}

func TestAnAcceptanceThatFailsAtEveryStepCanBeGivenAgain(t *testing.T) {
	k, k2 := newKey(t, origin), newKey(t, origin+"/s2")
	l := newLog(t, k)
	l.append(5, "event")
	l.append(5, "event")
	branch := l.cut(5).under(k2)
	branch.append(1, "branch")
	for step, reached := 1, true; reached; step++ {
		reached = false
		for _, behind := range []bool{false, true} {
			store := newStore()
			sync1(t, l, store, k)
			store.calls = 0
			store.fail = func(call int) (bool, bool) {
				reached = reached || call == step
				return call == step && !behind, call == step && behind
			}
			var r reports
			m := newMirror(t, branch, store, options(&r, k, k2))
			_, err := m.Accept(t.Context(), operator)
			if err != nil {
				require.ErrorIs(t, err, errStore)
				store.fail = nil
				m = newMirror(t, branch, store, options(&r, k, k2))
				if err := m.Sync(t.Context()); err != nil { // it was not stored
					_, err = m.Accept(t.Context(), operator)
					require.NoError(t, err)
				}
			}
			store.fail = nil
			require.NoError(t, m.Sync(t.Context()))
			require.Equal(t, branch.lines, mirrored(t, store, 2, k, k2), "step %d, behind %v", step, behind)
			require.Equal(t, l.lines, mirrored(t, store, 1, k, k2))
		}
	}
}
