package mirror_test

import (
	"context"
	"iter"
	"maps"
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

// TestAChunkThatAKilledMirrorStoresLateAccusesNobody: its request was on its way when
// it was killed, and is carried out while the next mirror is at work.
func TestAChunkThatAKilledMirrorStoresLateAccusesNobody(t *testing.T) {
	dir, first := t.TempDir(), newStore()
	key, err := filesink.LoadOrCreateKey(dir+"/log", dir+"/key", origin)
	require.NoError(t, err)
	s, err := filesink.Open(t.Context(), dir+"/log", key, nil)
	require.NoError(t, err)
	o := &mirror.Options{Keys: []note.Verifier{key.Verifier()}}
	require.NoError(t, s.Append(t.Context(), sinktest.Records(1)))
	require.NoError(t, newMirror(t, s, first, o).Sync(t.Context()))
	store := newStore()
	maps.Copy(store.objects, first.objects)
	for range 3 {
		require.NoError(t, s.Append(t.Context(), sinktest.Records(1)))
	}
	require.NoError(t, newMirror(t, s, first, o).Sync(t.Context()))
	left := filepath.Join(dir, "left")
	require.NoError(t, os.CopyFS(left, os.DirFS(dir+"/log")))
	require.NoError(t, s.Close())
	_ = os.Remove(filepath.Join(left, "checkpoint"))

	const late = "001/chunks/00000000000000000001"
	require.Contains(t, first.objects, late)
	store.fail = func(int) (bool, bool) {
		if store.reads > 0 { // the log is being read
			store.objects[late] = first.objects[late]
		}
		return false, false
	}
	r, err := filesink.OpenReader(left, key.Verifier())
	require.NoError(t, err)
	defer r.Close()
	m := newMirror(t, watchedSource{r, store}, store, o)
	require.NoError(t, m.Sync(t.Context()))
	require.EqualValues(t, 4, m.Status().Head.Size)
}

// watchedSource counts how often the log was read, for a store that waits for that.
type watchedSource struct {
	*filesink.Reader
	store *memStore
}

func (s watchedSource) Lines(ctx context.Context, from int64) iter.Seq2[[]byte, error] {
	s.store.reads++
	return s.Reader.Lines(ctx, from)
}
