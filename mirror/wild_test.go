package mirror_test

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"

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
