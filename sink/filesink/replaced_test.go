package filesink_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
)

func TestFilesThatChangeUnderneathEndTheLogWithinOneCommit(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, p place){
		"the segment is unlinked": func(t *testing.T, p place) {
			require.NoError(t, os.Remove(newestSegment(t, p.dir)))
		},
		"the segment is replaced by an older copy": func(t *testing.T, p place) {
			name := newestSegment(t, p.dir)
			b, err := os.ReadFile(name)
			require.NoError(t, err)
			require.NoError(t, os.Remove(name))
			require.NoError(t, os.WriteFile(name, b[:len(b)/2], 0o600))
		},
		"the segment is cut": func(t *testing.T, p place) {
			require.NoError(t, os.Truncate(newestSegment(t, p.dir), 100))
		},
		"the segment is emptied": func(t *testing.T, p place) {
			require.NoError(t, os.Truncate(newestSegment(t, p.dir), 0))
		},
		"the entries are deleted": func(t *testing.T, p place) {
			require.NoError(t, os.RemoveAll(filepath.Join(p.dir, "entries")))
		},
		"the directory is deleted": func(t *testing.T, p place) {
			require.NoError(t, os.RemoveAll(p.dir))
		},
		"the directory is swapped": func(t *testing.T, p place) {
			require.NoError(t, os.Rename(p.dir, p.dir+".old"))
			require.NoError(t, os.CopyFS(p.dir, os.DirFS(p.dir+".old")))
			require.NoError(t, os.Remove(newestSegment(t, p.dir)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			s := p.open(t, &filesink.Options{OnError: func(error) {}})
			records := sinktest.Records(30)
			store(t, s, 3, records[:15]...)
			head := s.Checkpoint().Head()

			harm(t, p)
			require.ErrorIs(t, s.Append(t.Context(), records[15:18]), filesink.ErrReplaced)
			require.ErrorIs(t, s.Append(t.Context(), records[18:21]), filesink.ErrReplaced, "for good")
			require.ErrorIs(t, s.Append(t.Context(), records[:3]), filesink.ErrReplaced, "whatever was stored before")
			require.Equal(t, head, s.Checkpoint().Head())
			require.ErrorIs(t, s.Close(), filesink.ErrReplaced)

			refusal := p.refused(t, nil)
			require.Equal(t, head, refusal.Outside)
		})
	}
}

func TestASecondWriterGetsAClearError(t *testing.T) {
	p := newPlace(t)
	s := p.open(t, nil)
	_, err := filesink.Open(t.Context(), p.dir, p.key, nil)
	require.ErrorIs(t, err, filesink.ErrLocked)
	require.NoError(t, s.Append(t.Context(), sinktest.Records(1)), "the first goes on")
	require.NoError(t, s.Close())
	s = p.open(t, nil)
	require.Len(t, read(t, s, jobaudit.Query{}), 1)
}
