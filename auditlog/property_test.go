package auditlog_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/tools/size"
)

// bigLog spans many buffers: lines of 1 to 3,000 bytes in batches of 1 to 900.
func bigLog(t testing.TB, random *rand.Rand) *testLog {
	l := newLog(t, newKey(t, origin))
	filler := strings.Repeat("0123456789", 300)
	for i := range 12 {
		if i%5 == 4 {
			l.segment()
		}
		lines := make([]string, 1+random.IntN(900)>>random.IntN(8))
		for k := range lines {
			lines[k] = filler[:1+random.IntN(len(filler)-1)]
		}
		l.commit(lines...)
	}
	return l
}

func TestExactlyTheChangedLeavesAreNamed(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range size.Times(12, 4) {
		l := bigLog(t, random)
		opts := l.keys()
		opts.Heads = []auditlog.Head{l.heads[4].Head(), l.head().Head()}
		opts.Hints = l.hashes()
		report, found := l.verify(opts)
		require.Empty(t, found)
		require.Equal(t, auditlog.Anchored, report.Level)

		var want, got []int64
		index := int64(0)
		for _, lines := range l.segments {
			for i, line := range lines {
				if auditlog.IsCommit([]byte(line)) {
					continue
				}
				if random.IntN(len(l.leaves)) < 3 {
					want = append(want, index)
					lines[i] = "x" + line
				}
				index++
			}
		}
		if len(want) == 0 {
			continue
		}
		report, found = l.verify(opts)
		for _, f := range found {
			require.Equal(t, auditlog.KindChanged, f.Kind)
			got = append(got, f.Index)
		}
		require.Equal(t, want, got)
		require.Equal(t, auditlog.Unverified, report.Level)
		require.Equal(t, l.tree.Size(), report.Anchored, "the damage is repaired from hints, so heads still compare")

		// Without hints the first damaged batch is named, and only that.
		opts.Hints = nil
		_, found = l.verify(opts)
		require.Len(t, found, 1)
		require.Equal(t, auditlog.KindRoot, found[0].Kind)
		require.LessOrEqual(t, found[0].First, want[0])
		require.Greater(t, found[0].End, want[0])
	}
}

func TestLinesThatAreMovedAboutAreAlwaysNoticed(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range size.Times(60, 20) {
		l := threeSegments(t, newKey(t, origin))
		s := random.IntN(len(l.segments))
		lines := slices.Clone(l.segments[s])
		random.Shuffle(len(lines), func(i, k int) { lines[i], lines[k] = lines[k], lines[i] })
		if slices.Equal(lines, l.segments[s]) {
			continue
		}
		l.segments[s] = lines
		for _, opts := range []*auditlog.Options{l.keys(), {Keys: l.keys().Keys, Hints: l.hashes()}} {
			opts.Heads = []auditlog.Head{l.head().Head()}
			report, found := l.verify(opts)
			require.NotEmpty(t, found)
			require.Equal(t, auditlog.Unverified, report.Level)
		}
	}
}

func TestEachSeesTheLeavesOfABigLogInOrder(t *testing.T) {
	l := bigLog(t, rand.New(rand.NewPCG(5, 6)))
	var next int64
	offset := int64(-1)
	segment := ""
	_, err := auditlog.Verify(t.Context(), l.source(), l.keys(), func(leaf auditlog.Leaf) error {
		require.Equal(t, next, leaf.Index)
		require.Equal(t, l.leaves[next], string(leaf.Bytes))
		if leaf.Segment != segment {
			segment, offset = leaf.Segment, -1
		}
		require.Greater(t, leaf.Offset, offset)
		offset = leaf.Offset
		next++
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, l.tree.Size(), next)
}

// An endlessLog is written while it is read, so that it never is in memory.
type endlessLog struct {
	t       testing.TB
	key     testKey
	tree    auditlog.Tree
	batches int
	buf     []byte
	rest    []byte
}

func (l *endlessLog) Read(p []byte) (int, error) {
	if len(l.rest) == 0 {
		if l.batches == 0 {
			return 0, io.EOF
		}
		l.batches--
		l.buf = l.buf[:0]
		leaf := bytes.Repeat([]byte("x"), 1000)
		hash := auditlog.HashLeaf(leaf)
		for range 500 {
			l.buf = append(append(l.buf, leaf...), '\n')
			l.tree.Append(nil, hash)
		}
		c, err := l.tree.Sign(l.key.Signer)
		require.NoError(l.t, err)
		l.buf = append(auditlog.AppendCommit(l.buf, c), '\n')
		l.rest = l.buf
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}

func TestMemoryStaysFlatAsTheLogGrows(t *testing.T) {
	if testing.Short() {
		t.Skip("it reads 100 MB")
	}
	key := newKey(t, origin)
	live := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, most := live(), uint64(0)
	log := &endlessLog{t: t, key: key, batches: 200}
	segments := []auditlog.Segment{{Open: func() (io.ReadCloser, error) { return io.NopCloser(log), nil }}}
	opts := &auditlog.Options{Keys: []note.Verifier{key.Verifier}}
	report, err := auditlog.Verify(t.Context(), segments, opts, func(leaf auditlog.Leaf) error {
		if leaf.Index%10_000 == 0 {
			most = max(most, live())
		}
		return nil
	})
	require.NoError(t, err)
	require.EqualValues(t, 100_000, report.Head.Size)
	require.Less(t, most-min(most, before), uint64(12<<20), "of a log of 100 MB")
}
