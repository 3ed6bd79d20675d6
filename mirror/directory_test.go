package mirror_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/mirror"
)

func openDirectory(t *testing.T, dir string) *mirror.Directory {
	t.Helper()
	d, err := mirror.OpenDirectory(dir, true)
	require.NoError(t, err)
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func get(t *testing.T, s mirror.Store, name string) (all []string) {
	t.Helper()
	for data, err := range s.Get(t.Context(), name, 1<<20) {
		require.NoError(t, err)
		all = append(all, string(data))
	}
	return all
}

func list(t *testing.T, s mirror.Store, prefix, from string) (all []string) {
	t.Helper()
	for name, err := range s.List(t.Context(), prefix, from) {
		require.NoError(t, err)
		all = append(all, name)
	}
	return all
}

func TestADirectoryStoresAnObjectOnceAndWhole(t *testing.T) {
	d := openDirectory(t, t.TempDir())
	require.Empty(t, get(t, d, "a/b/c"))
	require.Empty(t, list(t, d, "a/", ""))
	require.NoError(t, d.Put(t.Context(), "a/b/c", []byte("one")))
	require.ErrorIs(t, d.Put(t.Context(), "a/b/c", []byte("two")), mirror.ErrExists)
	require.Equal(t, []string{"one"}, get(t, d, "a/b/c"))
	require.NoError(t, d.Put(t.Context(), "a/b/d", nil))
	require.NoError(t, d.Put(t.Context(), "a/b/d.1", nil))
	require.NoError(t, d.Put(t.Context(), "a/c", nil))
	require.Equal(t, []string{"a/b/c", "a/b/d", "a/b/d.1"}, list(t, d, "a/b/", ""))
	require.Equal(t, []string{"a/b/d", "a/b/d.1", "a/c"}, list(t, d, "a/", "a/b/d"))
	require.Equal(t, []string{"a/b/d.1"}, list(t, d, "a/b/d.", ""))
	require.NotEmpty(t, func() any { at, err := d.Stored(t.Context(), "a/c"); require.NoError(t, err); return at }())
}

func TestOfManyWhoPutOneObjectOneDoes(t *testing.T) {
	dir := t.TempDir()
	d := openDirectory(t, dir)
	var stored sync.Map
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if d.Put(t.Context(), "x/y", fmt.Append(nil, i)) == nil {
				stored.Store(fmt.Sprint(i), true)
			}
		})
	}
	wg.Wait()
	n := 0
	stored.Range(func(k, _ any) bool {
		n++
		require.Equal(t, []string{k.(string)}, get(t, d, "x/y"))
		return true
	})
	require.Equal(t, 1, n)
	entries, err := os.ReadDir(filepath.Join(dir, "x"))
	require.NoError(t, err)
	require.Len(t, entries, 1) // nothing temporary is left
}

func TestADirectoryThatIsNotThereIsNotMade(t *testing.T) {
	_, err := mirror.OpenDirectory(filepath.Join(t.TempDir(), "not mounted"), false)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestWhatANameLeadsOutOfTheDirectoryToIsNotTouched(t *testing.T) {
	dir := t.TempDir()
	d := openDirectory(t, filepath.Join(dir, "store"))
	require.Error(t, d.Put(t.Context(), "../out", []byte("x")))
	require.NoError(t, os.Symlink(dir, filepath.Join(dir, "store", "link")))
	require.Error(t, d.Put(t.Context(), "link/out", []byte("x")))
	require.NoFileExists(t, filepath.Join(dir, "out"))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "store", "dir"), 0o700))
	require.Equal(t, []string{""}, get(t, d, "dir"), "the name is taken, and by nothing")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "secret"), []byte("secret"), 0o600))
	require.NoError(t, os.Symlink(filepath.Join(dir, "secret"), filepath.Join(dir, "store", "out")))
	require.Equal(t, []string{""}, get(t, d, "out"))
}

func TestAMirrorInADirectoryHoldsTheLog(t *testing.T) {
	k := newKey(t, origin)
	l := newLog(t, k)
	dir := t.TempDir()
	d := openDirectory(t, dir)
	for range 5 {
		l.append(3, "event")
		sync1(t, l, d, k)
	}
	// What a crash leaves is in nobody's way.
	require.NoError(t, os.WriteFile(filepath.Join(dir, "001", "chunks", ".new-X"), []byte("half"), 0o600))
	require.Equal(t, l.lines, mirrored(t, d, 0, k))
	var all strings.Builder
	names, err := filepath.Glob(filepath.Join(dir, "001", "chunks", "0*"))
	require.NoError(t, err)
	for _, name := range names {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		all.Write(b)
	}
	require.Equal(t, strings.Join(l.lines, "\n")+"\n", all.String()) // cat gives the log
}
