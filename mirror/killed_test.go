package mirror_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit/mirror"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
)

// TestALogWhoseWriterWasKilledBehindItsMirrorIsNotAccused: the writer knew that its
// newest head is durable, and has not yet said so in its directory.
func TestALogWhoseWriterWasKilledBehindItsMirrorIsNotAccused(t *testing.T) {
	dir, store := t.TempDir(), newStore()
	key, err := filesink.LoadOrCreateKey(dir+"/log", dir+"/key", origin)
	require.NoError(t, err)
	s, err := filesink.Open(t.Context(), dir+"/log", key, nil)
	require.NoError(t, err)
	o := &mirror.Options{Keys: []note.Verifier{key.Verifier()}}
	for range 3 {
		require.NoError(t, s.Append(t.Context(), sinktest.Records(1)))
		require.NoError(t, newMirror(t, s, store, o).Sync(t.Context()))
	}
	left := filepath.Join(dir, "left") // by a kill at this moment
	require.NoError(t, os.CopyFS(left, os.DirFS(dir+"/log")))
	require.NoError(t, s.Close())
	_ = os.Remove(filepath.Join(left, "checkpoint"))
	r, err := filesink.OpenReader(left, key.Verifier())
	require.NoError(t, err)
	defer r.Close()
	m := newMirror(t, r, store, o)
	require.NoError(t, m.Sync(t.Context()))
	require.EqualValues(t, 3, m.Status().Head.Size)
}
