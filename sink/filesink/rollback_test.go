package filesink_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// refused opens a log that must be refused, and changes nothing by that.
func (p place) refused(t *testing.T, opts *filesink.Options) *filesink.RefusedError {
	t.Helper()
	before := contents(t, p.dir)
	_, err := filesink.Open(t.Context(), p.dir, p.key, opts)
	var refusal *filesink.RefusedError
	require.ErrorAs(t, err, &refusal)
	after := contents(t, p.dir)
	delete(before, "lock")
	delete(after, "lock")
	require.Equal(t, before, after, "a refused directory is not changed")
	return refusal
}

// contents reads all that is not a cache.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	if _, err := os.Stat(dir); err != nil {
		return all
	}
	for _, name := range names(t, dir) {
		relative, err := filepath.Rel(dir, name)
		require.NoError(t, err)
		if info, err := os.Stat(name); err == nil && !info.IsDir() && relative != "tree" {
			b, err := os.ReadFile(name)
			require.NoError(t, err)
			all[relative] = string(b)
		}
	}
	return all
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	require.NoError(t, os.RemoveAll(to))
	require.NoError(t, os.CopyFS(to, os.DirFS(from)))
}

func TestARolledBackLogIsRefusedWithBothHeads(t *testing.T) {
	small := &filesink.Options{SegmentSize: 8 << 10}
	for name, harm := range map[string]func(t *testing.T, p place, older string){
		"an older copy of the directory is put back": func(t *testing.T, p place, older string) {
			copyDir(t, older, p.dir)
		},
		"the directory is deleted": func(t *testing.T, p place, _ string) {
			require.NoError(t, os.RemoveAll(p.dir))
		},
		"the directory is emptied": func(t *testing.T, p place, _ string) {
			require.NoError(t, os.RemoveAll(p.dir))
			require.NoError(t, os.Mkdir(p.dir, 0o750))
		},
		"the last segment is deleted": func(t *testing.T, p place, _ string) {
			require.NoError(t, os.Remove(newestSegment(t, p.dir)))
		},
		"the last segment and the caches are deleted": func(t *testing.T, p place, _ string) {
			require.NoError(t, os.Remove(newestSegment(t, p.dir)))
			require.NoError(t, os.RemoveAll(filepath.Join(p.dir, "index")))
			require.NoError(t, os.Remove(filepath.Join(p.dir, "tree")))
			require.NoError(t, os.Remove(filepath.Join(p.dir, "checkpoint")))
		},
		"the last segment is emptied": func(t *testing.T, p place, _ string) {
			require.NoError(t, os.Truncate(newestSegment(t, p.dir), 0))
		},
		"the entries alone are rolled back": func(t *testing.T, p place, older string) {
			copyDir(t, filepath.Join(older, "entries"), filepath.Join(p.dir, "entries"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			records := sinktest.Records(60)
			p.write(t, small, 3, records[:30]...)
			older := filepath.Join(p.base, "older")
			copyDir(t, p.dir, older)
			p.write(t, small, 3, records[30:]...)
			head := p.verify(t).Head

			harm(t, p, older)
			refusal := p.refused(t, small)
			require.Equal(t, head, refusal.Outside)
			require.Less(t, refusal.Log.Size, head.Size)
			require.NotEmpty(t, refusal.Anchor)
			if headErr, ok := refusal.Err.(*auditlog.HeadError); ok {
				require.True(t, headErr.Ahead())
			}
		})
	}
}

func TestAnotherLogsDirectoryIsRefusedWithBothHeads(t *testing.T) {
	p, other := newPlace(t), newPlace(t)
	p.write(t, nil, 3, sinktest.Records(9)...)
	other.write(t, nil, 3, sinktest.Records(12)...)
	ours, theirs := p.verify(t).Head, other.verify(t).Head

	copyDir(t, other.dir, p.dir) // of the same name, but another key
	refusal := p.refused(t, nil)
	require.ErrorIs(t, refusal, auditlog.ErrUnknownKey)
	require.Equal(t, ours, refusal.Outside)
	require.Equal(t, theirs, refusal.Log)
	require.NoError(t, os.RemoveAll(filepath.Join(p.dir, "index")))
	require.ErrorIs(t, p.refused(t, nil), auditlog.ErrUnknownKey, "without its caches too")
}

func TestAForkIsRefusedWhateverItsSize(t *testing.T) {
	p := newPlace(t)
	p.write(t, nil, 3, sinktest.Records(9)...)
	older := filepath.Join(p.base, "older")
	copyDir(t, p.dir, older)
	p.write(t, nil, 3, sinktest.Records(9)...)
	anchor, err := os.ReadFile(p.anchorPath())
	require.NoError(t, err)

	// The fork is written with the right key, on the older copy.
	copyDir(t, older, p.dir)
	require.NoError(t, os.Remove(p.anchorPath()))
	p.write(t, &filesink.Options{AllowMissingAnchor: true}, 3, sinktest.Records(30)...)
	require.NoError(t, os.WriteFile(p.anchorPath(), anchor, 0o600))

	refusal := p.refused(t, nil)
	var headErr *auditlog.HeadError
	require.ErrorAs(t, refusal, &headErr)
	require.False(t, headErr.Ahead(), "the log is the longer one")
	require.EqualValues(t, 18, headErr.Outside.Size)
	require.NotEqual(t, headErr.Outside.Root, headErr.Log.Root)
}

func TestAMissingAnchorIsRefusedUnlessAnOptionSaysOtherwiseWhichIsRecorded(t *testing.T) {
	p := newPlace(t)
	p.write(t, nil, 3, sinktest.Records(9)...)
	require.NoError(t, os.Remove(p.anchorPath()))
	require.ErrorIs(t, p.refused(t, nil), filesink.ErrMissingAnchor)

	s := p.open(t, &filesink.Options{AllowMissingAnchor: true})
	require.Equal(t, []string{"allow-missing-anchor"}, s.Recovery().Overrides)
	require.NoError(t, s.Close())
	s = p.open(t, &filesink.Options{AllowMissingAnchor: true})
	require.Empty(t, s.Recovery().Overrides, "the anchor is there again")
}

func TestAnAnchorThatIsNotOursIsRefused(t *testing.T) {
	p, other := newPlace(t), newPlace(t)
	p.write(t, nil, 3, sinktest.Records(9)...)
	other.write(t, nil, 3, sinktest.Records(9)...)
	foreign, err := os.ReadFile(other.anchorPath())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(p.anchorPath(), foreign, 0o600))
	require.ErrorIs(t, p.refused(t, nil), auditlog.ErrUnknownKey)
	require.NoError(t, os.WriteFile(p.anchorPath(), []byte("nonsense"), 0o600))
	require.ErrorIs(t, p.refused(t, nil), auditlog.ErrFormat)
}

func TestBrokenCachesAreMadeAnewAndAccuseNobody(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, dir string){
		"deleted": func(t *testing.T, dir string) {
			require.NoError(t, os.RemoveAll(filepath.Join(dir, "index")))
			require.NoError(t, os.Remove(filepath.Join(dir, "tree")))
			require.NoError(t, os.Remove(filepath.Join(dir, "checkpoint")))
		},
		"overwritten": func(t *testing.T, dir string) {
			for _, name := range names(t, dir) {
				info, err := os.Stat(name)
				require.NoError(t, err)
				if !info.IsDir() && filepath.Dir(name) != filepath.Join(dir, "entries") {
					require.NoError(t, os.WriteFile(name, make([]byte, info.Size()), 0o600))
				}
			}
		},
		"of an older log": func(t *testing.T, dir string) {
			older := filepath.Join(filepath.Dir(dir), "older")
			copyDir(t, filepath.Join(older, "index"), filepath.Join(dir, "index"))
			b, err := os.ReadFile(filepath.Join(older, "tree"))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(dir, "tree"), b, 0o600))
		},
		"wrong inside": func(t *testing.T, dir string) {
			for _, name := range []string{"tree", "index/00000000000000000000.idx"} {
				f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR, 0)
				require.NoError(t, err)
				_, err = f.WriteAt(make([]byte, 64), 4096+64)
				require.NoError(t, err)
				require.NoError(t, f.Close())
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			opts := &filesink.Options{SegmentSize: 64 << 10, OnError: func(error) {}}
			records := sinktest.Records(400)
			p.write(t, opts, 7, records[:200]...)
			copyDir(t, p.dir, filepath.Join(p.base, "older"))
			p.write(t, opts, 7, records[200:]...)
			harm(t, p.dir)

			s := p.open(t, opts)
			requireRecords(t, records, read(t, s, jobaudit.Query{}))
			store(t, s, 50, records...) // all of them are known
			require.EqualValues(t, len(records), s.Checkpoint().Head().Size)
			for _, r := range records[:300:300] {
				_, err := s.Prove(t.Context(), r.ID())
				require.NoError(t, err)
				break
			}
			requireRecords(t, records[:5], read(t, s, jobaudit.Query{JobID: records[0].JobID()}))
			require.NoError(t, s.Close())
			p.verify(t, s.Checkpoint().Head())
		})
	}
}

func TestARestoredLogGoesOnAsASuccessorAndVerifiesAcrossTheSeam(t *testing.T) {
	p := newPlace(t)
	records := sinktest.Records(60)
	p.write(t, nil, 3, records[:12]...)
	backup := filepath.Join(p.base, "backup")
	copyDir(t, p.dir, backup)
	restored := p.verify(t).Head
	p.write(t, nil, 3, records[12:21]...)
	lost := p.verify(t).Head
	copyDir(t, backup, p.dir)
	p.refused(t, nil)

	_, err := filesink.LoadOrCreateKey(p.dir, filepath.Join(p.base, "key2"), "example.com/other/s2")
	var keyErr *filesink.KeyError
	require.ErrorAs(t, err, &keyErr, "only a later name of its line continues it")
	next := p
	next.key, err = filesink.LoadOrCreateKey(p.dir, filepath.Join(p.base, "key2"), origin+"/s2")
	require.NoError(t, err)
	_, err = filesink.Open(t.Context(), p.dir, next.key, nil)
	require.ErrorIs(t, err, auditlog.ErrOrigin, "not without its predecessor")

	for range 2 { // also when the first open stored nothing
		s := next.open(t, &filesink.Options{Predecessor: p.key})
		recovery := s.Recovery()
		require.Equal(t, origin, recovery.Predecessor)
		require.Equal(t, &tlog.Tree{N: restored.Size, Hash: restored.Root}, recovery.Head)
		require.Equal(t, &tlog.Tree{N: lost.Size, Hash: lost.Root}, recovery.Anchor)
		require.NoError(t, s.Close())
	}
	s := next.open(t, &filesink.Options{Predecessor: p.key})
	store(t, s, 3, records[12:30]...)
	require.NoError(t, s.Close())
	s = next.open(t, nil) // it is a log of its own now
	require.Empty(t, s.Recovery().Predecessor)
	store(t, s, 3, records...)
	requireRecords(t, records, read(t, s, jobaudit.Query{}))
	require.NoError(t, s.Close())

	report := verify(t, p.dir, []note.Verifier{p.key.Verifier(), next.key.Verifier()}, s.Checkpoint().Head(), restored)
	require.Equal(t, auditlog.Anchored, report.Level)
	require.EqualValues(t, len(records), report.Head.Size)

	_, err = filesink.Open(t.Context(), p.dir, p.key, nil)
	require.ErrorIs(t, err, auditlog.ErrOrigin, "the old key has had its time")
}

func TestTheKeyLiesOutsideAndIsMadeOnce(t *testing.T) {
	p := newPlace(t)
	again, err := filesink.LoadOrCreateKey(p.dir, p.keyPath(), origin)
	require.NoError(t, err)
	require.Equal(t, p.key.String(), again.String())
	info, err := os.Stat(p.keyPath())
	require.NoError(t, err)
	require.Zero(t, info.Mode().Perm()&0o077, "the key is the owner's alone")

	var keyErr *filesink.KeyError
	_, err = filesink.LoadOrCreateKey(p.dir, p.keyPath(), "example.com/other")
	require.ErrorAs(t, err, &keyErr)
	_, err = filesink.LoadOrCreateKey(p.dir, filepath.Join(p.dir, "key"), origin)
	require.ErrorAs(t, err, &keyErr, "inside the directory")
	require.NoError(t, os.Symlink(p.dir, filepath.Join(p.base, "link")))
	require.NoError(t, os.MkdirAll(p.dir, 0o750))
	_, err = filesink.LoadOrCreateKey(p.dir, filepath.Join(p.base, "link", "key"), origin)
	require.ErrorAs(t, err, &keyErr, "inside the directory, by a link")
	_, err = filesink.LoadOrCreateKey(p.dir, filepath.Join(p.base, "k"), "https://example.com")
	var originErr *auditlog.OriginError
	require.ErrorAs(t, err, &originErr)
	_, err = filesink.Open(t.Context(), p.dir, p.key, &filesink.Options{AnchorPath: filepath.Join(p.dir, "anchor")})
	require.ErrorAs(t, err, &keyErr, "an anchor inside the directory")

	p.write(t, nil, 3, sinktest.Records(3)...)
	require.NoError(t, os.Remove(p.keyPath()))
	_, err = filesink.LoadOrCreateKey(p.dir, p.keyPath(), origin)
	require.ErrorAs(t, err, &keyErr, "the log has entries")
	require.NoFileExists(t, p.keyPath())
	require.NoError(t, os.WriteFile(p.keyPath(), []byte("PRIVATE+KEY+secret"), 0o600))
	_, err = filesink.LoadOrCreateKey(p.dir, p.keyPath(), origin)
	require.ErrorAs(t, err, &keyErr)
	require.NotContains(t, err.Error(), "secret")
}
