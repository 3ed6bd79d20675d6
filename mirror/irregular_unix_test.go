//go:build unix

package mirror_test

import (
	"context"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit/mirror"
)

// forbidden is a Store of whose objects some may not be read, as others put them there.
type forbidden struct {
	mirror.Store
	names map[string]bool
}

func (f forbidden) Get(ctx context.Context, name string, most int64) iter.Seq2[[]byte, error] {
	if f.names[name] {
		return func(yield func([]byte, error) bool) {
			yield(nil, fmt.Errorf("get %s: %w", name, fs.ErrPermission))
		}
	}
	return f.Store.Get(ctx, name, most)
}

// Whatever takes the name of an object that the mirror is to put, it uses the next one.
func TestWhatIsNoFileHoldsUpNoMirrorAndNoReader(t *testing.T) {
	k := newKey(t, origin)
	for kind, put := range map[string]func(store forbidden, dir, name string) error{
		"a directory": func(_ forbidden, dir, name string) error { return os.Mkdir(filepath.Join(dir, name), 0o700) },
		"a directory with something in it": func(_ forbidden, dir, name string) error {
			return os.MkdirAll(filepath.Join(dir, name, "x", "y"), 0o700)
		},
		"a directory that may not be read": func(_ forbidden, dir, name string) error { return os.Mkdir(filepath.Join(dir, name), 0) },
		"a pipe":                           func(_ forbidden, dir, name string) error { return syscall.Mkfifo(filepath.Join(dir, name), 0o600) },
		"a link to nowhere":                func(_ forbidden, dir, name string) error { return os.Symlink("nowhere", filepath.Join(dir, name)) },
		"a link to itself": func(_ forbidden, dir, name string) error {
			return os.Symlink(filepath.Base(name), filepath.Join(dir, name))
		},
		"a link out of the root": func(_ forbidden, dir, name string) error { return os.Symlink("/etc/passwd", filepath.Join(dir, name)) },
		"a file that may not be read": func(store forbidden, dir, name string) error {
			store.names[name] = true // root may read all
			return os.WriteFile(filepath.Join(dir, name), []byte("x"), 0)
		},
	} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			l, store := newLog(t, k), forbidden{openDirectory(t, dir), map[string]bool{}}
			l.append(3, "event")
			sync1(t, l, store, k)
			size := l.tree.Size()
			names := []string{
				fmt.Sprintf("001/chunks/%020d", size), fmt.Sprintf("001/chunks/%020d.1", size),
				fmt.Sprintf("001/heads/%016d.%d", int64(1<<53)-size-3, size+3),
				fmt.Sprintf("001/heads/%016d.%d", int64(1<<53)-size-9, size+9),
			}
			for _, name := range names {
				require.NoError(t, put(store, dir, name))
			}
			var r reports
			for range 3 {
				l.append(3, "event")
				m := newMirror(t, l, store, options(&r, k))
				require.NoError(t, m.Sync(t.Context()))
				require.Equal(t, l.head(), m.Status().Head)
			}
			require.Subset(t, r.squatted(), names[:3])
			for _, keys := range [][]note.Verifier{{k.verifier}, nil} {
				reader, err := mirror.OpenReader(t.Context(), store, &mirror.ReaderOptions{Keys: keys})
				require.NoError(t, err)
				var lines []string
				for line, err := range reader.Lines(t.Context(), 0) {
					require.NoError(t, err)
					lines = append(lines, string(line))
				}
				require.Equal(t, l.lines, lines)
			}
		})
	}
}
