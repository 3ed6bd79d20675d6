package mirror_test

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/mirror"
)

// A wildStore may do something else than store.
type wildStore struct {
	mirror.Store
	do atomic.Pointer[func()]
}

func (w *wildStore) Put(ctx context.Context, name string, data []byte) error {
	if do := w.do.Swap(nil); do != nil {
		(*do)()
	}
	return w.Store.Put(ctx, name, data)
}

func TestAStoreThatPanicsOrEndsItsGoroutineIsAnErrorOfThatPass(t *testing.T) {
	for name, do := range map[string]func(){"panics": func() { panic("no bucket") }, "ends its goroutine": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKey(t, origin)
				l := newLog(t, k)
				l.append(3, "event")
				w := &wildStore{Store: newStore()}
				w.do.Store(&do)
				var r reports
				m, err := mirror.Start(t.Context(), l, w, options(&r, k))
				require.NoError(t, err)
				synctest.Wait()
				require.Len(t, r.all, 1)
				l.append(2, "event")
				require.NoError(t, m.Close(t.Context()))
				require.EqualValues(t, 5, m.Status().Head.Size)
			})
		})
	}
}

func TestADirectoryRemovesWhatAKilledProcessLeftAndNothingElse(t *testing.T) {
	base := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(base, "anchors"), 0o700))
	old, young, other := filepath.Join(base, "anchors", ".new-OLD"), filepath.Join(base, "anchors", ".new-YOUNG"), filepath.Join(base, "anchors", "1")
	for _, name := range []string{old, young, other} {
		require.NoError(t, os.WriteFile(name, nil, 0o600))
		if name != young {
			require.NoError(t, os.Chtimes(name, time.Time{}, time.Now().Add(-48*time.Hour)))
		}
	}
	d, err := mirror.OpenDirectory(base, false)
	require.NoError(t, err)
	defer d.Close()
	require.NoError(t, d.Put(t.Context(), "anchors/2", []byte("head")))
	require.NoFileExists(t, old)
	require.FileExists(t, young)
	require.FileExists(t, other)
}
