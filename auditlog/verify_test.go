package auditlog_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
)

// threeSegments has batches of 3, 1, 4 | 5, 2 | 6, 1 leaves: commits at 3, 4,
// 8, 13, 15, 21, 22.
func threeSegments(t testing.TB, key testKey) *testLog {
	l := newLog(t, key)
	for i, sizes := range [][]int{{3, 1, 4}, {5, 2}, {6, 1}} {
		if i > 0 {
			l.segment()
		}
		for _, n := range sizes {
			l.batch(n)
		}
	}
	return l
}

func TestAnUntouchedLogIsNeverAccused(t *testing.T) {
	key := newKey(t, origin)
	for _, batches := range [][]int{{}, {1}, {1, 1, 1}, {7}, {64, 1, 63, 128, 3}, {1000, 999, 1}} {
		for _, cut := range []int{1, 2, 100} {
			t.Run(fmt.Sprint(batches, cut), func(t *testing.T) {
				l := newLog(t, key)
				for i, n := range batches {
					if i > 0 && i%cut == 0 {
						l.segment()
					}
					l.batch(n)
				}
				for _, opts := range []*auditlog.Options{
					nil,
					l.keys(),
					{Keys: l.keys().Keys, Hints: l.hashes()},
					{Hints: l.hashes()},
				} {
					var got []string
					report, err := auditlog.Verify(t.Context(), l.source(), opts, func(leaf auditlog.Leaf) error {
						require.EqualValues(t, len(got), leaf.Index)
						require.Equal(t, auditlog.HashLeaf(leaf.Bytes), leaf.Hash)
						got = append(got, string(leaf.Bytes))
						return nil
					})
					require.NoError(t, err)
					require.Equal(t, l.leaves, got)
					require.Zero(t, report.Tail)
					require.EqualValues(t, len(batches), report.Commits)
					if len(batches) > 0 {
						require.Equal(t, l.head().Head(), report.Head)
					}
				}
			})
		}
	}
}

func TestTheLevelIsWhatWasProvenAndNeverMore(t *testing.T) {
	key := newKey(t, origin)
	l := threeSegments(t, key)
	old := l.heads[2].Head()
	empty, err := new(auditlog.Tree).Sign(key.Signer)
	require.NoError(t, err)

	report, found := l.verify(nil)
	require.Empty(t, found)
	require.Equal(t, auditlog.Consistent, report.Level)

	report, found = l.verify(&auditlog.Options{Heads: []auditlog.Head{old}})
	require.Empty(t, found)
	require.Equal(t, auditlog.Consistent, report.Level, "no key given")
	require.EqualValues(t, 8, report.Anchored)

	report, found = l.verify(l.keys())
	require.Empty(t, found)
	require.Equal(t, auditlog.Signed, report.Level)

	opts := l.keys()
	opts.Heads = []auditlog.Head{empty.Head()}
	report, found = l.verify(opts)
	require.Empty(t, found)
	require.Equal(t, auditlog.Signed, report.Level, "a head without leaves proves nothing")

	opts.Heads = []auditlog.Head{l.head().Head(), old, empty.Head()}
	report, found = l.verify(opts)
	require.Empty(t, found)
	require.Equal(t, auditlog.Anchored, report.Level)
	require.EqualValues(t, 22, report.Anchored)

	report, found = newLog(t, key).verify(l.keys())
	require.Empty(t, found)
	require.Equal(t, auditlog.Unverified, report.Level, "nothing was compared")
}

func TestAHeadBetweenCommitsIsCompared(t *testing.T) {
	l := threeSegments(t, newKey(t, origin))
	var tree auditlog.Tree
	for i := range 10 {
		tree.Append(nil, auditlog.HashLeaf([]byte(l.leaves[i])))
	}
	opts := l.keys()
	opts.Heads = []auditlog.Head{{Size: 10, Root: tree.Root()}}
	report, found := l.verify(opts)
	require.Empty(t, found)
	require.EqualValues(t, 10, report.Anchored)
	require.Equal(t, auditlog.Anchored, report.Level)

	opts.Heads[0].Root[5] ^= 1
	_, found = l.verify(opts)
	require.Len(t, found, 1)
	require.Equal(t, auditlog.KindFork, found[0].Kind)
}

// A tampering changes the lines of threeSegments. The kind and index are what
// is found with hints; without, the batch has to be right.
type tampering struct {
	name       string
	change     func(l *testLog)
	kind       auditlog.Kind
	index      int64
	first, end int64
	// blind is the kind without hints; segment is where.
	blind   auditlog.Kind
	segment int
}

func tamperings() []tampering {
	edit := func(segment, line int, from, to string) func(*testLog) {
		return func(l *testLog) {
			s := l.segments[segment][line]
			require.Contains(l.t, s, from)
			l.segments[segment][line] = strings.Replace(s, from, to, 1)
		}
	}
	remove := func(segment, from, to int) func(*testLog) {
		return func(l *testLog) { l.segments[segment] = slices.Delete(l.segments[segment], from, to) }
	}
	return []tampering{
		{name: "edit a leaf", change: edit(0, 6, `"n":4`, `"n":9`),
			kind: auditlog.KindChanged, index: 4, first: 4, end: 8, blind: auditlog.KindRoot},
		{name: "edit the last leaf", change: edit(2, 7, `"n":21`, `"n":12`),
			kind: auditlog.KindChanged, index: 21, first: 21, end: 22, blind: auditlog.KindRoot, segment: 2},
		{name: "delete a leaf", change: remove(1, 2, 3),
			kind: auditlog.KindMissing, index: 10, first: 8, end: 13, blind: auditlog.KindSize, segment: 1},
		{name: "delete the leaves of a batch", change: remove(1, 0, 5),
			kind: auditlog.KindMissing, index: 8, first: 8, end: 13, blind: auditlog.KindSize, segment: 1},
		{name: "delete a batch", change: remove(0, 4, 6),
			kind: auditlog.KindMissing, index: 3, first: 3, end: 8, blind: auditlog.KindSize},
		{name: "insert a leaf", change: func(l *testLog) { l.segments[1] = slices.Insert(l.segments[1], 3, "new") },
			kind: auditlog.KindInserted, index: 11, first: 8, end: 13, blind: auditlog.KindSize, segment: 1},
		{name: "swap two leaves", change: func(l *testLog) { s := l.segments[1]; s[1], s[3] = s[3], s[1] },
			kind: auditlog.KindReordered, index: 9, first: 8, end: 13, blind: auditlog.KindRoot, segment: 1},
		{name: "move a leaf over a commit", change: func(l *testLog) { s := l.segments[0]; s[2], s[3] = s[3], s[2] },
			kind: auditlog.KindMissing, index: 2, first: 0, end: 3, blind: auditlog.KindSize},
		{name: "swap two batches", change: func(l *testLog) {
			s := l.segments[1]
			l.segments[1] = slices.Concat(s[6:9], s[0:6])
		}, kind: auditlog.KindMissing, index: 8, first: 8, end: 15, blind: auditlog.KindSize, segment: 1},
		{name: "repeat a commit", change: func(l *testLog) { l.segments[0] = slices.Insert(l.segments[0], 4, l.segments[0][3]) },
			kind: auditlog.KindOrder, index: -1, first: 3, end: 3, blind: auditlog.KindOrder},
		{name: "repeat a batch", change: func(l *testLog) {
			l.segments[0] = slices.Insert(l.segments[0], 6, l.segments[0][4:6]...)
		}, kind: auditlog.KindOrder, index: -1, first: 4, end: 4, blind: auditlog.KindOrder},
		{name: "blank a leaf", change: func(l *testLog) { l.segments[1][2] = "" },
			kind: auditlog.KindLeaf, index: 10, first: 8, end: 11, blind: auditlog.KindLeaf, segment: 1},
		{name: "blow a leaf up", change: func(l *testLog) { l.segments[1][2] = strings.Repeat("x", auditlog.MaxLeaf+1) },
			kind: auditlog.KindLeaf, index: 10, first: 8, end: 11, blind: auditlog.KindLeaf, segment: 1},
		{name: "blow a leaf up beyond any buffer", change: func(l *testLog) { l.segments[1][2] = strings.Repeat("x", 1<<20) },
			kind: auditlog.KindLeaf, index: 10, first: 8, end: 11, blind: auditlog.KindLeaf, segment: 1},
		{name: "insert an empty line", change: func(l *testLog) { l.segments[1] = slices.Insert(l.segments[1], 2, "") },
			kind: auditlog.KindLeaf, index: 10, first: 8, end: 11, blind: auditlog.KindLeaf, segment: 1},
		{name: "edit the size in a commit", change: edit(0, 5, `\n4\n`, `\n5\n`),
			kind: auditlog.KindSignature, index: -1, first: 3, end: 4, blind: auditlog.KindSignature},
		{name: "edit the form of a commit", change: edit(0, 3, `"}`, `" }`),
			kind: auditlog.KindCommit, index: -1, first: 0, end: 3, blind: auditlog.KindCommit},
		{name: "edit the origin of a commit", change: edit(0, 3, `"example.com/jobs`, `"example.com/jabs`),
			kind: auditlog.KindOrigin, index: -1, first: 0, end: 3, blind: auditlog.KindOrigin},
		{name: "edit the key's name in a commit", change: edit(0, 3, `— example.com/jobs`, `— example.com/jabs`),
			kind: auditlog.KindKey, index: -1, first: 0, end: 3, blind: auditlog.KindKey},
		{name: "delete the commit at the end of a segment", change: remove(0, 10, 11),
			kind: auditlog.KindCommit, index: -1, first: 4, end: 8, blind: auditlog.KindCommit},
		{name: "transplant a commit of another log", change: func(l *testLog) {
			other := threeSegments(l.t, newKey(l.t, origin))
			l.segments[1][5] = other.segments[1][5]
		}, kind: auditlog.KindKey, index: -1, first: 8, end: 13, blind: auditlog.KindKey, segment: 1},
		{name: "transplant a commit of another origin", change: func(l *testLog) {
			other := threeSegments(l.t, newKey(l.t, "example.com/other"))
			l.segments[1][5] = other.segments[1][5]
		}, kind: auditlog.KindOrigin, index: -1, first: 8, end: 13, blind: auditlog.KindOrigin, segment: 1},
		{name: "transplant a batch's leaves", change: func(l *testLog) {
			l.segments[1][6] = l.segments[0][0]
			l.segments[1][7] = l.segments[0][1]
		}, kind: auditlog.KindChanged, index: 13, first: 13, end: 15, blind: auditlog.KindRoot, segment: 1},
		{name: "cut a segment short", change: remove(1, 6, 9),
			kind: auditlog.KindGap, index: 13, first: 13, end: 15, blind: auditlog.KindGap, segment: 2},
		{name: "delete a segment", change: func(l *testLog) {
			l.segments, l.firsts = slices.Delete(l.segments, 1, 2), slices.Delete(l.firsts, 1, 2)
		}, kind: auditlog.KindGap, index: 8, first: 8, end: 15, blind: auditlog.KindGap, segment: 2},
		{name: "delete the first segment", change: func(l *testLog) { l.segments, l.firsts = l.segments[1:], l.firsts[1:] },
			kind: auditlog.KindGap, index: 0, first: 0, end: 8, blind: auditlog.KindGap, segment: 1},
	}
}

func TestEveryTamperingIsFoundAndLocatedAndNothingElseIsAccused(t *testing.T) {
	key := newKey(t, origin)
	for _, tc := range tamperings() {
		t.Run(tc.name, func(t *testing.T) {
			l := threeSegments(t, key)
			name := fmt.Sprintf("%020d.jsonl", l.firsts[tc.segment])
			tc.change(l)

			report, found := l.verify(&auditlog.Options{Keys: l.keys().Keys, Hints: l.hashes()})
			t.Logf("with hints: %v", found)
			require.Equal(t, auditlog.Unverified, report.Level)
			require.Equal(t, tc.kind, found[0].Kind)
			require.Equal(t, tc.index, found[0].Index)
			require.Equal(t, []int64{tc.first, tc.end}, []int64{found[0].First, found[0].End})
			require.Equal(t, name, found[0].Segment)
			require.EqualValues(t, 22, report.Head.Size, "later batches are verified")

			report, found = l.verify(l.keys())
			t.Logf("with a key: %v", found)
			require.Equal(t, auditlog.Unverified, report.Level)
			require.Equal(t, tc.blind, found[0].Kind)
			require.Equal(t, []int64{tc.first, tc.end}, []int64{found[0].First, found[0].End})
			require.Equal(t, name, found[0].Segment)
			if tc.kind == tc.blind && tc.kind != auditlog.KindGap {
				require.Len(t, found, 1)
			}
			switch tc.kind {
			case auditlog.KindOrder, auditlog.KindCommit, auditlog.KindOrigin, auditlog.KindKey, auditlog.KindSignature:
				require.EqualValues(t, 22, report.Head.Size, "all leaves are there and proven")
			case auditlog.KindLeaf:
				lines := l.segments[tc.segment]
				require.EqualValues(t, len(lines[0])+len(lines[1])+2, found[0].Offset)
			}

			// Against a key's holder, or without a key, the leaves count.
			report, found = l.verify(nil)
			t.Logf("without a key: %v", found)
			unsigned := tc.kind == auditlog.KindSignature || tc.kind == auditlog.KindKey || tc.kind == auditlog.KindOrigin
			if !unsigned {
				require.NotEmpty(t, found)
				require.Equal(t, auditlog.Unverified, report.Level)
			}
		})
	}
}

func TestQuickNeverTrustsACommitLineThatNoGoodSignatureCovers(t *testing.T) {
	key, thief := newKey(t, origin), newKey(t, origin)
	l := threeSegments(t, key)
	opts := l.keys()
	opts.Quick = true

	// A batch written again with another key, its commit line agreeing.
	forged := newLog(t, thief)
	forged.commit("a", "b", "c")
	honest := l.segments[0]
	l.segments[0] = append(slices.Clone(forged.segments[0]), honest[4:]...)
	report, err := auditlog.Verify(t.Context(), l.source(), opts, nil)
	found := findings(t, err)
	require.Equal(t, auditlog.KindKey, found[0].Kind)
	require.Equal(t, auditlog.KindRoot, found[1].Kind)
	require.Equal(t, []int64{0, 4}, []int64{found[1].First, found[1].End})
	require.Equal(t, auditlog.Unverified, report.Level)

	// The whole log written again, then its last batch.
	report, err = auditlog.Verify(t.Context(), threeSegments(t, thief).source(), opts, nil)
	require.Len(t, findings(t, err), 7)
	require.Zero(t, report.Head)
	l = threeSegments(t, thief)
	l.key = key
	l.batch(1)
	report, err = auditlog.Verify(t.Context(), l.source(), opts, nil)
	require.Equal(t, auditlog.KindKey, findings(t, err)[0].Kind)
	require.Equal(t, auditlog.Unverified, report.Level)

	l = threeSegments(t, key)
	l.key = thief
	l.batch(1)
	report, err = auditlog.Verify(t.Context(), l.source(), opts, nil)
	require.Len(t, findings(t, err), 1)
	require.EqualValues(t, 22, report.Head.Size)
	require.EqualValues(t, 1, report.Tail.Commits)
}

func TestTwoDamagedBatchesAreBothNamedWithHints(t *testing.T) {
	l := threeSegments(t, newKey(t, origin))
	l.segments[0][0] += " "
	l.segments[2][2] += " "
	l.segments[2][4] += " "
	_, found := l.verify(&auditlog.Options{Keys: l.keys().Keys, Hints: l.hashes()})
	var indexes []int64
	for _, f := range found {
		require.Equal(t, auditlog.KindChanged, f.Kind)
		indexes = append(indexes, f.Index)
	}
	require.Equal(t, []int64{0, 17, 19}, indexes)

	_, found = l.verify(l.keys())
	require.Len(t, found, 1, "what follows a damaged batch is not accused")
	require.EqualValues(t, 3, found[0].End)
}

func TestAfterADamagedBatchLeavesAreStillCounted(t *testing.T) {
	l := threeSegments(t, newKey(t, origin))
	l.segments[0][0] += " "
	l.segments[2] = slices.Delete(l.segments[2], 2, 3)
	_, found := l.verify(l.keys())
	require.Len(t, found, 2)
	require.Equal(t, auditlog.KindRoot, found[0].Kind)
	require.Equal(t, auditlog.KindSize, found[1].Kind)
	require.Equal(t, []int64{15, 21}, []int64{found[1].First, found[1].End})
}

func TestDamagedHintsNeverAccuseALogAndStillHelpWhereTheyAreSound(t *testing.T) {
	l := threeSegments(t, newKey(t, origin))
	broken := slices.Clone(l.stored)
	for i := range broken[:300] {
		broken[i] ^= 0xff
	}
	l.stored = broken
	opts := &auditlog.Options{Keys: l.keys().Keys, Hints: l.hashes()}
	_, found := l.verify(opts)
	require.Empty(t, found)

	l.segments[1][2] += " "
	_, found = l.verify(opts)
	require.Len(t, found, 1)
	require.Equal(t, auditlog.KindChanged, found[0].Kind)
	require.EqualValues(t, 10, found[0].Index)

	l.stored = l.stored[:64]
	opts.Hints = l.hashes()
	_, found = l.verify(opts)
	require.Len(t, found, 1)
	require.Equal(t, auditlog.KindRoot, found[0].Kind)
}

func TestWithoutAKeyADamagedCommitIsNotTakenForDamagedLeaves(t *testing.T) {
	l := threeSegments(t, newKey(t, origin))
	l.segments[0][3] = strings.Replace(l.segments[0][3], `\n3\n`, `\n2\n`, 1)
	l.segments[1][5] = strings.Replace(l.segments[1][5], `\n13\n`, `\n93\n`, 1)
	_, found := l.verify(nil)
	require.Len(t, found, 2)
	for i, commit := range []int64{0, 3} {
		require.Equal(t, auditlog.KindCommit, found[i].Kind)
		require.Equal(t, commit, found[i].Commit)
	}
}

func TestATailIsReportedAndIsNoFinding(t *testing.T) {
	key := newKey(t, origin)
	for name, tail := range map[string]string{
		"a leaf":                 "some leaf\n",
		"half a leaf":            "some le",
		"empty lines":            "\n\n\n",
		"an endless line":        strings.Repeat("x", 1<<20),
		"half a commit":          `{"checkpoint":"example.com/jo`,
		"a commit without a key": "leaf\n" + `{"checkpoint":"example.com/jobs\n1\n"}` + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			l := threeSegments(t, key)
			segments := l.source()
			text := strings.Join(l.segments[2], "\n") + "\n"
			segments[2] = segment("last", l.firsts[2], text+tail)
			leaves := 0
			report, err := auditlog.Verify(t.Context(), segments, l.keys(), func(auditlog.Leaf) error { leaves++; return nil })
			require.NoError(t, err)
			require.Equal(t, auditlog.Signed, report.Level)
			require.Equal(t, "last", report.Tail.Segment)
			require.EqualValues(t, len(text), report.Tail.Offset)
			require.EqualValues(t, len(tail), report.Tail.Bytes)
			require.Equal(t, 22, leaves, "what was never acknowledged is not handed over")
		})
	}
}

func TestTruncationIsFoundByANewerHead(t *testing.T) {
	key := newKey(t, origin)
	for name, cut := range map[string]struct {
		change func(l *testLog)
		left   int64
	}{
		"the last commit line":   {func(l *testLog) { l.segments[2] = l.segments[2][:8] }, 21},
		"the last batch":         {func(l *testLog) { l.segments[2] = l.segments[2][:7] }, 21},
		"the last segment":       {func(l *testLog) { l.segments = l.segments[:2] }, 15},
		"everything":             {func(l *testLog) { l.segments = [][]string{nil} }, 0},
		"everything and its dir": {func(l *testLog) { l.segments = nil }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			l := threeSegments(t, key)
			cut.change(l)
			_, found := l.verify(l.keys())
			require.Empty(t, found, "a log alone cannot tell")

			opts := l.keys()
			opts.Heads = []auditlog.Head{l.heads[0].Head(), l.head().Head()}
			report, found := l.verify(opts)
			require.NotEmpty(t, found)
			last := found[len(found)-1]
			require.Equal(t, auditlog.KindTruncated, last.Kind)
			require.Equal(t, cut.left, last.Index)
			require.EqualValues(t, 22, last.End)
			require.Equal(t, auditlog.Unverified, report.Level)
		})
	}
}

func TestAForkIsFoundByAHeadOfTheOtherBranch(t *testing.T) {
	key := newKey(t, origin)
	kept, shown := newLog(t, key), newLog(t, key)
	kept.batch(3)
	shown.batch(3)
	kept.batch(2)
	shown.commit("another", "story")
	shown.batch(4)
	opts := shown.keys()
	opts.Heads = []auditlog.Head{kept.heads[0].Head(), kept.heads[1].Head()}
	report, found := shown.verify(opts)
	require.Len(t, found, 1)
	require.Equal(t, auditlog.KindFork, found[0].Kind)
	require.EqualValues(t, 5, found[0].End)
	require.Equal(t, kept.head().Head().Root.String(), found[0].Expected)
	require.EqualValues(t, 3, report.Anchored)
}

func TestAHeadOfAnotherLogIsAFinding(t *testing.T) {
	l := threeSegments(t, newKey(t, origin))
	opts := l.keys()
	opts.Heads = []auditlog.Head{{Origin: "example.com/other", Size: 3, Root: l.heads[0].Head().Root}}
	_, found := l.verify(opts)
	require.Len(t, found, 1)
	require.Equal(t, auditlog.KindOrigin, found[0].Kind)

	opts.Heads = []auditlog.Head{{Size: -1}}
	_, found = l.verify(opts)
	require.Len(t, found, 1)
}

func TestASuccessorMayContinueTheTreeButNotTheOtherWayRound(t *testing.T) {
	first, second := newKey(t, origin), newKey(t, auditlog.SuccessorOrigin(origin))
	l := newLog(t, first)
	l.batch(5)
	l.key = second
	l.batch(3)
	opts := &auditlog.Options{Keys: []note.Verifier{first.Verifier, second.Verifier}}
	report, found := l.verify(opts)
	require.Empty(t, found)
	require.Equal(t, auditlog.SuccessorOrigin(origin), report.Head.Origin)

	l.key = first
	l.batch(1)
	l.key = second
	l.batch(1)
	_, found = l.verify(opts)
	require.Len(t, found, 1)
	require.Equal(t, auditlog.KindOrigin, found[0].Kind)
	_, found = l.verify(nil)
	require.Len(t, found, 1)
	require.Equal(t, auditlog.KindOrigin, found[0].Kind)
}

func TestABatchLargerThanTheWindowVerifies(t *testing.T) {
	l := newLog(t, newKey(t, origin))
	if testing.Short() {
		t.Skip("its batch has 72 MB")
	}
	lines := make([]string, 1500)
	for i := range lines {
		lines[i] = fmt.Sprint(i, strings.Repeat("x", 48_000))
	}
	l.commit(lines...)
	l.batch(2)
	count := 0
	report, err := auditlog.Verify(t.Context(), l.source(), l.keys(), func(leaf auditlog.Leaf) error {
		require.EqualValues(t, count, leaf.Index)
		count++
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, 1502, count)
	require.Equal(t, auditlog.Signed, report.Level)

	l.segments[0][1400] += " "
	_, found := l.verify(&auditlog.Options{Keys: l.keys().Keys, Hints: l.hashes()})
	require.Len(t, found, 1)
	require.Equal(t, auditlog.KindRoot, found[0].Kind)
	require.EqualValues(t, 1500, found[0].End)
}

func TestVerifyStopsWhenAskedAndSaysWhy(t *testing.T) {
	l := threeSegments(t, newKey(t, origin))
	boom := errors.New("boom")
	_, err := auditlog.Verify(t.Context(), l.source(), l.keys(), func(auditlog.Leaf) error { return boom })
	require.Equal(t, boom, err)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = auditlog.Verify(ctx, l.source(), l.keys(), nil)
	require.ErrorIs(t, err, context.Canceled)

	segments := l.source()
	segments[1].Open = func() (io.ReadCloser, error) { return nil, boom }
	_, err = auditlog.Verify(t.Context(), segments, l.keys(), nil)
	require.ErrorIs(t, err, boom)

	segments[1].Open = func() (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(strings.NewReader("half a li"), iotest.ErrReader(boom))), nil
	}
	_, err = auditlog.Verify(t.Context(), segments, l.keys(), nil)
	require.ErrorIs(t, err, boom)
}

// The goroutine that folds is one of the workers, on one core the only one.
func TestAnyNumberOfCoresFindsTheSame(t *testing.T) {
	l := longLog(t)
	l.segments[0][commitAt(20)-3] += "x"
	l.segments[1][5] = "" // no leaf
	cores := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(cores)
	var want auditlog.Report
	var wantFound []auditlog.Finding
	for i, n := range []int{1, 2, 3, 16} {
		runtime.GOMAXPROCS(n)
		opts := l.keys()
		opts.Hints = l.hashes()
		report, found := l.verify(opts)
		require.Len(t, found, 2)
		if i == 0 {
			want, wantFound = report, found
		}
		require.Equal(t, want, report)
		require.Equal(t, wantFound, found)
	}
}

func TestACancelledVerificationEndsWhereverItIs(t *testing.T) {
	l := longLog(t)
	for _, after := range []int64{0, 1, 700, 2000} {
		for _, quick := range []bool{false, true} {
			ctx, cancel := context.WithCancel(t.Context())
			opts := l.keys()
			opts.Quick = quick
			var seen atomic.Int64
			opts.Inspect = func(notes, _ []byte) []byte {
				if seen.Add(1) > after {
					cancel()
				}
				return notes
			}
			_, err := auditlog.Verify(ctx, l.source(), opts, nil)
			require.ErrorIs(t, err, context.Canceled)
			cancel()
		}
	}
}

func TestALineThatCannotBeALeafIsFoundWhereItBegins(t *testing.T) {
	l := newLog(t, newKey(t, origin))
	l.batch(3)
	l.batch(3)
	lines := l.segments[0]
	lines[5] = strings.Repeat("x", 300_000) // more than is read at a time
	lines[6] = ""
	at := int64(len(strings.Join(lines[:5], "\n")) + 1)
	_, found := l.verify(l.keys())
	require.Len(t, found, 2)
	for i, offset := range []int64{at, at + 300_001} {
		require.Equal(t, auditlog.KindLeaf, found[i].Kind)
		require.EqualValues(t, 4+i, found[i].Index)
		require.Equal(t, offset, found[i].Offset)
	}
}
