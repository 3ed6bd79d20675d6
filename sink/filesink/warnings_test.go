package filesink_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/disk"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/simdisk"
	"github.com/stretchr/testify/require"
)

// mounts is a disk of several storages, by the first directory of a path. Names
// that begin with tmp are of temporary ones.
type mounts struct{ *simdisk.Memory }

func (mounts) Storage(path string) disk.Storage {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return disk.Storage{ID: first, Temporary: strings.HasPrefix(first, "tmp")}
}

func TestUnwisePlacesAreToldOnceAtEachStartAndInTheLog(t *testing.T) {
	old := slog.Default()
	defer slog.SetDefault(old)
	elsewhere := filesink.FileAnchor(filepath.Join(t.TempDir(), "anchor"))
	for _, c := range []struct {
		dir, key, path string
		anchor         auditlog.Anchor
		want           []string
	}{
		{"vol/log", "vol/key", "", nil, []string{"no-head-elsewhere"}},
		{"vol/log", "vol/key", "", elsewhere, nil},
		{"vol/log", "vol/key", "other/anchor", nil, nil},
		{"vol/log", "keys/key", "", nil, nil},
		{"vol/log", "keys/key", "vol/anchor", nil, []string{"no-head-elsewhere"}},
		{"vol/log", "tmp/key", "", nil, []string{"key-on-temporary-storage"}},
		{"vol/log", "tmp/key", "vol/anchor", nil, []string{"key-on-temporary-storage", "no-head-elsewhere"}},
		{"tmp/log", "tmp/key", "", nil, []string{"all-on-temporary-storage", "no-head-elsewhere"}},
		{"tmp/log", "tmp2/key", "", nil, []string{"all-on-temporary-storage"}},
		{"tmp/log", "vol/key", "", nil, nil},
	} {
		var told bytes.Buffer
		slog.SetDefault(slog.New(slog.NewTextHandler(&told, nil)))
		d := mounts{simdisk.NewMemory()}
		key, err := filesink.LoadOrCreateKeyOn(d, c.dir, c.key, origin)
		require.NoError(t, err)
		for range 2 {
			told.Reset()
			s, err := filesink.Open(t.Context(), c.dir, key, filesink.On(d, &filesink.Options{AnchorPath: c.path, Anchor: c.anchor, AllowMissingAnchor: true}))
			require.NoError(t, err, "%+v", c)
			require.Equal(t, c.want, s.Recovery().Warnings, "%+v", c)
			require.Equal(t, len(c.want), strings.Count(told.String(), "level=WARN"), told.String())
			recorder, err := jobaudit.Open(t.Context(), s, jobaudit.Source{System: "s", Environment: "test"}, nil)
			require.NoError(t, err)
			require.NoError(t, recorder.Close(t.Context()))
			opened := read(t, s, jobaudit.Query{Types: []jobaudit.EventType{jobaudit.AuditOpened}})
			var recovery struct{ Warnings []string }
			require.NoError(t, json.Unmarshal(opened[len(opened)-1].Event().Data.Recovery, &recovery))
			require.Equal(t, c.want, recovery.Warnings)
			require.NoError(t, s.Close())
			if c.anchor != nil {
				break // it is of this log now
			}
		}
	}
}

func TestTheStorageOfAPlaceThatIsNotThereYetIsThatOfTheDirectoryAbove(t *testing.T) {
	dir := t.TempDir()
	at := disk.OS{}.Storage(dir)
	require.Equal(t, at, disk.OS{}.Storage(filepath.Join(dir, "not", "there")))
}
