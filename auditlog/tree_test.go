package auditlog_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"
)

func TestTheTreeIsTheOneOfXMod(t *testing.T) {
	var tree auditlog.Tree
	var stored []byte
	var theirs []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) (list []tlog.Hash, err error) {
		for _, i := range indexes {
			list = append(list, theirs[i])
		}
		return list, nil
	})
	for i := range 300 {
		leaf := bytes.Repeat([]byte{'x'}, i*20+1)
		require.Equal(t, tlog.RecordHash(leaf), auditlog.HashLeaf(leaf))
		before := len(stored)
		stored = tree.Append(stored, auditlog.HashLeaf(leaf))
		require.EqualValues(t, 32*tlog.StoredHashCount(int64(i)), before)
		hashes, err := tlog.StoredHashes(int64(i), leaf, reader)
		require.NoError(t, err)
		theirs = append(theirs, hashes...)
		want, err := tlog.TreeHash(int64(i+1), reader)
		require.NoError(t, err)
		require.Equal(t, want, tree.Root())
	}
	require.Len(t, stored, 32*len(theirs))
}

func TestATreeResumesFromItsRightEdgeAlone(t *testing.T) {
	key := newKey(t, origin)
	l := newLog(t, key)
	for i := range 70 {
		l.batch(1)
		reads := 0
		reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
			reads++
			require.LessOrEqual(t, len(indexes), 7)
			require.IsIncreasing(t, indexes)
			return l.hashes().ReadHashes(indexes)
		})
		tree, err := auditlog.ResumeTree(l.head(), reader)
		require.NoError(t, err)
		require.Equal(t, 1, reads)
		require.EqualValues(t, i+1, tree.Size())
		require.Equal(t, l.tree.Root(), tree.Root())
		// Both go on in the same way.
		a, b := tree, l.tree
		for range 5 {
			require.Equal(t, b.Append(nil, tlog.Hash{1}), a.Append(nil, tlog.Hash{1}))
		}
		require.Equal(t, b.Root(), a.Root())
	}
}

func TestATreeDoesNotResumeFromACacheThatIsWrong(t *testing.T) {
	l := newLog(t, newKey(t, origin))
	l.batch(7)
	l.stored[32*10] ^= 1 // leaf 6
	_, err := auditlog.ResumeTree(l.head(), l.hashes())
	got, ok := errors.AsType[*auditlog.HeadError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, l.head().Head(), got.Outside)
	require.False(t, got.Ahead())

	l.stored = l.stored[:320]
	_, err = auditlog.ResumeTree(l.head(), l.hashes())
	require.Error(t, err)
}

func TestACopyOfATreeIsASnapshot(t *testing.T) {
	var tree auditlog.Tree
	for range 5 {
		tree.Append(nil, tlog.Hash{1})
	}
	snapshot, root := tree, tree.Root()
	tree.Append(nil, tlog.Hash{2})
	require.Equal(t, root, snapshot.Root())
	require.NotEqual(t, root, tree.Root())
}

func TestAppendDoesNotAllocate(t *testing.T) {
	var tree auditlog.Tree
	buf, leaf := make([]byte, 0, 64*32), bytes.Repeat([]byte("x"), 1000)
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		buf = tree.Append(buf[:0], auditlog.HashLeaf(leaf))
		tree.Root()
	}))
}

func TestALeafThatWouldBreakTheLogIsRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		line   string
		reason string
	}{
		"empty":       {"", "empty"},
		"line feed":   {"a\nb", "line feed"},
		"commit":      {`{"checkpoint":1}`, "commit line"},
		"too long":    {string(make([]byte, auditlog.MaxLeaf+1)), "too long"},
		"longest":     {string(make([]byte, auditlog.MaxLeaf)), ""},
		"near commit": {`{"checkpoints":1}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := auditlog.CheckLeaf([]byte(tc.line))
			if tc.reason == "" {
				require.NoError(t, err)
				return
			}
			got, ok := errors.AsType[*auditlog.LeafError](err)
			require.True(t, ok)
			require.Equal(t, tc.reason, got.Reason)
			require.Equal(t, len(tc.line), got.Size)
		})
	}
}

// The leaves and roots that implementations of RFC 6962 have long shared.
func TestRootsOfTheCertificateTransparencyReference(t *testing.T) {
	var tree auditlog.Tree
	require.Equal(t, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", hexRoot(&tree))
	for _, tc := range []struct{ leaf, root string }{
		{"", "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"},
		{"\x00", "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"},
		{"\x10", "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"},
		{"\x20\x21", "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"},
		{"\x30\x31", "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"},
		{"\x40\x41\x42\x43", "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef"},
		{"\x50\x51\x52\x53\x54\x55\x56\x57", "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"},
		{"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f", "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"},
	} {
		tree.Append(nil, auditlog.HashLeaf([]byte(tc.leaf)))
		require.Equal(t, tc.root, hexRoot(&tree))
	}
}

func hexRoot(tree *auditlog.Tree) string {
	root := tree.Root()
	return hex.EncodeToString(root[:])
}
