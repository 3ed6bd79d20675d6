package mirror_test

import (
	"context"
	"fmt"
	"iter"
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
	for name, do := range wild {
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

// A wildLog does something else than answer from its nth call of a method on.
type wildLog struct {
	mirror.Source
	do     func()
	method string
	calls  atomic.Int64
	after  int64
}

func (w *wildLog) called(method string) {
	if method == w.method && w.calls.Add(1) > w.after {
		w.do()
	}
}

func (w *wildLog) Size(ctx context.Context) (int64, error) {
	w.called("Size")
	return w.Source.Size(ctx)
}

func (w *wildLog) Lines(ctx context.Context, from int64) iter.Seq2[[]byte, error] {
	w.called("Lines")
	return w.Source.Lines(ctx, from)
}

var wild = map[string]func(){"panics": func() { panic("no disk") }, "ends its goroutine": runtime.Goexit}

func TestALogThatPanicsOrEndsItsGoroutineEachTimeIsAnErrorOfEachPass(t *testing.T) {
	for name, do := range wild {
		for _, method := range []string{"Size", "Lines"} {
			for after := range int64(3) {
				t.Run(fmt.Sprintf("%s in %s after %d calls", name, method, after), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						k := newKey(t, origin)
						l := newLog(t, k)
						l.append(3, "event")
						var r reports
						m, err := mirror.Start(t.Context(), &wildLog{Source: l, do: do, method: method, after: after}, newStore(), options(&r, k))
						require.NoError(t, err)
						for range 5 {
							l.append(1, "event")
							time.Sleep(5 * time.Minute) // of the bubble's clock
						}
						synctest.Wait()
						require.Error(t, m.Close(t.Context()))
						require.Error(t, m.Status().Err)
						require.Greater(t, len(r.all), 2)
					})
				})
			}
		}
	}
}

// The log of a successor is refused, an object that may be the branch for it cannot be
// read, and the log answers no more when it is read for its newest head.
func TestALogThatPanicsWhereItsBranchCannotBeReadIsAnErrorOfThatPass(t *testing.T) {
	for name, do := range wild {
		for _, method := range []string{"Size", "Lines"} {
			t.Run(name+" in "+method, func(t *testing.T) {
				k := newKey(t, origin)
				l := newLog(t, k)
				l.append(3, "event")
				s := newStore()
				var r reports
				o := options(&r, k)
				m, err := mirror.New(l, s, o)
				require.NoError(t, err)
				require.NoError(t, m.Sync(t.Context()))
				w := withhold(s, "branches/002")
				shorter := newLog(t, k)
				shorter.append(2, "event")
				for after := range int64(4) {
					m, err = mirror.New(&wildLog{Source: shorter, do: do, method: method, after: after}, w, o)
					require.NoError(t, err)
					require.Error(t, m.Sync(t.Context()))
					require.Error(t, m.Status().Err)
				}
			})
		}
	}
}

func TestWhatIsToldOfAMirrorDoesNotEndIt(t *testing.T) {
	for name, do := range wild {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKey(t, origin)
				l := newLog(t, k)
				l.append(3, "event")
				var r reports
				o := options(&r, k)
				var told atomic.Int64
				o.OnLag = func(mirror.Status) { told.Add(1); do() }
				o.OnError = func(error) { do() }
				m, err := mirror.Start(t.Context(), l, newStore(), o)
				require.NoError(t, err)
				synctest.Wait()
				l.append(2, "event")
				time.Sleep(5 * time.Minute)
				synctest.Wait()
				require.EqualValues(t, 5, m.Status().Head.Size)
				require.Greater(t, told.Load(), int64(1))
				require.Error(t, m.Close(t.Context()))
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
