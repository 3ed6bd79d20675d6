//go:build unix

package filesink_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
)

func TestPipesAndDirectoriesInPlaceOfFilesHoldUpNobody(t *testing.T) {
	pipe := func(name string) error { return syscall.Mkfifo(name, 0o600) }
	folder := func(name string) error { return os.Mkdir(name, 0o700) }
	device := func(name string) error { return os.Symlink("/dev/zero", name) }
	for kind, make := range map[string]func(string) error{"a pipe": pipe, "a directory": folder, "a device": device} {
		for _, name := range []string{"entries/00000000000000000000.jsonl", "entries/new", "entries", "index/00000000000000000000.idx", "tree", "checkpoint", "lock", "../key", "../key.anchor", ""} {
			if kind == "a directory" && (name == "entries" || name == "") {
				continue
			}
			t.Run(kind+" as "+name, func(t *testing.T) {
				p := newPlace(t)
				p.write(t, nil, 3, sinktest.Records(9)...)
				if name == "entries/new" {
					name = "entries/00000000000000000009.jsonl"
				}
				file := filepath.Join(p.dir, name)
				require.NoError(t, os.RemoveAll(file))
				require.NoError(t, make(file))
				finished := finishes(t, func() {
					if s, err := filesink.Open(t.Context(), p.dir, p.key, &filesink.Options{OnError: func(error) {}}); err == nil {
						_ = s.Append(t.Context(), sinktest.Records(3))
						_ = s.Close()
					}
					_, _ = filesink.Verify(t.Context(), p.dir, &filesink.VerifyOptions{Keys: []note.Verifier{p.key.Verifier()}})
					_, _ = filesink.LoadOrCreateKey(p.dir, p.keyPath(), origin)
					if r, err := filesink.OpenReader(p.dir); err == nil {
						for _, err := range r.Records(t.Context(), jobaudit.Query{}) {
							if err != nil {
								break
							}
						}
						_, _ = r.Checkpoint(t.Context(), p.key.Verifier())
						_ = r.Close()
					}
				})
				require.True(t, finished, "it waits for somebody")
			})
		}
	}
}

// finishes runs something that may hang; five minutes are for slow machines.
func finishes(t *testing.T, do func()) bool {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	select {
	case <-done:
		return true
	case <-time.After(5 * time.Minute):
		return false
	}
}
