package auditlog_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
}

// goldenLog is the log in testdata; its key is there too and signs nothing
// else.
func goldenLog(t testing.TB) *testLog {
	t.Helper()
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		require.NoError(t, err)
		return strings.TrimSpace(string(b))
	}
	l := newLog(t, parseKey(t, read("key"), read("key.pub")))
	l.commit(`{"schemaVersion":"1.0.0","id":"a"}`)
	l.commit(`{"schemaVersion":"1.0.0","id":"b"}`, `{"schemaVersion":"1.0.0","id":"c \" \\ é \u0000"}`, "not JSON at all")
	l.commit("five", "six", "seven")
	return l
}

func TestTheBytesAreTheOnesPublished(t *testing.T) {
	l := goldenLog(t)
	golden(t, "log.jsonl", []byte(strings.Join(l.segments[0], "\n")+"\n"))
	golden(t, "tree", l.stored)
	golden(t, "checkpoint", l.head().Signed())
	proof, err := auditlog.Prove(l.head(), 2, []byte(l.leaves[2]), l.hashes())
	require.NoError(t, err)
	text, err := proof.MarshalText()
	require.NoError(t, err)
	golden(t, "leaf-2.tlog-proof", text)
}

func TestOthersCanVerifyWhatIsPublished(t *testing.T) {
	l := goldenLog(t)
	text, err := os.ReadFile("testdata/log.jsonl")
	require.NoError(t, err)
	var leaves [][]byte
	var root tlog.Hash
	for line := range bytes.Lines(text) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		if !bytes.HasPrefix(line, []byte(`{"checkpoint":`)) {
			leaves = append(leaves, line)
			continue
		}
		// A JSON parser and x/mod's note reader are all it takes.
		var commit struct{ Checkpoint string }
		require.NoError(t, json.Unmarshal(line, &commit))
		opened, err := note.Open([]byte(commit.Checkpoint), note.VerifierList(l.key.Verifier))
		require.NoError(t, err)
		lines := strings.Split(opened.Text, "\n")
		require.Equal(t, "example.com/golden", lines[0])
		root, err = tlog.ParseHash(lines[2])
		require.NoError(t, err)
	}
	// x/mod's tree, by its own stored hashes.
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) (list []tlog.Hash, err error) {
		for _, i := range indexes {
			list = append(list, stored[i])
		}
		return list, nil
	})
	for i, leaf := range leaves {
		hashes, err := tlog.StoredHashes(int64(i), leaf, reader)
		require.NoError(t, err)
		stored = append(stored, hashes...)
	}
	want, err := tlog.TreeHash(int64(len(leaves)), reader)
	require.NoError(t, err)
	require.Equal(t, want, root)

	tree, err := os.ReadFile("testdata/tree")
	require.NoError(t, err)
	for i, h := range stored {
		require.Equal(t, h[:], tree[32*i:32*i+32])
	}
	require.Len(t, tree, 32*len(stored))
}
