package filesink_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/simdisk"
	"github.com/jobaudit/jobaudit/sink/sinktest"
)

func TestNothingInTheCachesPlaceIsAReasonToRefuseALog(t *testing.T) {
	const idx = "index/00000000000000000000.idx"
	folder := func(names ...string) func(dir string) error {
		return func(dir string) error {
			for _, name := range names {
				if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
					return err
				}
				if err := os.MkdirAll(filepath.Join(dir, name, "x"), 0o700); err != nil {
					return err
				}
			}
			return nil
		}
	}
	link := func(name, to string) func(dir string) error {
		return func(dir string) error {
			if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
				return err
			}
			return os.Symlink(to, filepath.Join(dir, name))
		}
	}
	for name, do := range map[string]func(dir string) error{
		"tree is a directory":     folder("tree"),
		"tree leads nowhere":      link("tree", "/nowhere/x"),
		"tree leads to entries":   link("tree", "entries"),
		"tree leads to a segment": link("tree", "entries/00000000000000000000.jsonl"),
		"index leads to entries":  link("index", "entries"),
		"index leads nowhere":     link("index", "/nowhere/x"),
		"an index is a directory": folder(idx),
		"names that end in .tmp":  folder("index/x.tmp", "entries/x.tmp", idx+".tmp", "entries/00000000000000000000.jsonl.tmp"),
		"index is a file": func(dir string) error {
			if err := os.RemoveAll(filepath.Join(dir, "index")); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, "index"), nil, 0o600)
		},
	} {
		for _, killed := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				p := newPlace(t)
				var told []error
				opts := &filesink.Options{SegmentSize: 8 << 10, OnError: func(err error) { told = append(told, err) }}
				s := p.open(t, opts)
				records := sinktest.Records(12)
				store(t, s, 3, records[:9]...)
				running := load(t, p.dir)
				require.NoError(t, s.Close())
				if killed {
					running.store(t, p.dir)
				}
				require.NoError(t, do(p.dir))
				told = nil
				s = p.open(t, opts)
				if !strings.HasSuffix(name, ".tmp") {
					require.NotEmpty(t, told)
				}
				store(t, s, 3, records...)
				requireRecords(t, records, read(t, s, jobaudit.Query{}))
				require.NoError(t, s.Close())
				p.verify(t, s.Checkpoint().Head())
				told = nil
				require.NoError(t, p.open(t, opts).Close())
				if !strings.HasSuffix(name, ".tmp") {
					require.Empty(t, told, "what was in the way is gone")
				}
			})
		}
	}
}

func TestCachesThatCannotBeReadOrWrittenDoNotKeepALogFromOpening(t *testing.T) {
	p := newPlace(t)
	faults := simdisk.NewFaults(simdisk.OS)
	opts := filesink.On(faults, &filesink.Options{SegmentSize: 8 << 10, OnError: func(error) {}})
	records := sinktest.Records(30)
	p.write(t, opts, 3, records[:20]...)
	require.NoError(t, os.RemoveAll(filepath.Join(p.dir, "index")))
	faults.Before(func(op simdisk.Op) error {
		if op.Name == "tree" || strings.HasPrefix(op.Name, "index") {
			return simdisk.ErrInjected
		}
		return nil
	})
	s := p.open(t, opts)
	store(t, s, 3, records...)
	requireRecords(t, records, read(t, s, jobaudit.Query{}))
	require.NoError(t, s.Close())
	faults.Before(nil)
	p.verify(t, s.Checkpoint().Head())
	require.NoError(t, p.open(t, opts).Close())
}

// What lies in a cache's place may be somebody's: it is put aside, whole, and not before
// the log was found to be good.
func TestWhatLiesInACachesPlaceIsNeverRemoved(t *testing.T) {
	put := func(t *testing.T, dir string) {
		t.Helper()
		for _, name := range []string{"tree", "index"} {
			require.NoError(t, os.RemoveAll(filepath.Join(dir, name)))
		}
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "tree", "photos"), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "tree", "photos", "one"), []byte("mine"), 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "index"), []byte("also mine"), 0o600))
	}
	requireThere := func(t *testing.T, dir, suffix string) {
		t.Helper()
		require.Equal(t, "mine", string(contentOf(t, filepath.Join(dir, "tree"+suffix, "photos", "one"))))
		require.Equal(t, "also mine", string(contentOf(t, filepath.Join(dir, "index"+suffix))))
	}
	var told []error
	opts := &filesink.Options{OnError: func(err error) { told = append(told, err) }}
	t.Run("of a log", func(t *testing.T) {
		p := newPlace(t)
		p.write(t, opts, 3, sinktest.Records(9)...)
		put(t, p.dir)
		told = nil
		require.NoError(t, p.open(t, opts).Close())
		requireThere(t, p.dir, ".found.1")
		require.Len(t, told, 2)
		put(t, p.dir)
		require.NoError(t, p.open(t, opts).Close())
		requireThere(t, p.dir, ".found.1")
		requireThere(t, p.dir, ".found.2")
		p.verify(t)
	})
	t.Run("of a log that is refused", func(t *testing.T) {
		p := newPlace(t)
		p.write(t, opts, 3, sinktest.Records(9)...)
		put(t, p.dir)
		other := newPlace(t)
		other.dir = p.dir
		_, err := filesink.Open(t.Context(), p.dir, other.key, &filesink.Options{AnchorPath: other.anchorPath(), OnError: func(error) {}})
		require.Error(t, err)
		requireThere(t, p.dir, "")
	})
	t.Run("where there is no log yet", func(t *testing.T) {
		p := newPlace(t)
		require.NoError(t, os.MkdirAll(p.dir, 0o700))
		put(t, p.dir)
		s := p.open(t, opts)
		records := sinktest.Records(9)
		store(t, s, 3, records...)
		requireRecords(t, records, read(t, s, jobaudit.Query{}))
		requireThere(t, p.dir, "")
		require.NoError(t, s.Close())
		p.verify(t, s.Checkpoint().Head())
	})
}

func TestATreeThatCannotBeWrittenDoesNotKeepALogFromOpening(t *testing.T) {
	p := newPlace(t)
	faults := simdisk.NewFaults(simdisk.OS)
	var told []error
	opts := filesink.On(faults, &filesink.Options{OnError: func(err error) { told = append(told, err) }})
	records := sinktest.Records(3000)
	s := p.open(t, opts)
	store(t, s, 1000, records...)
	running := load(t, p.dir)
	require.NoError(t, s.Close())
	for name, prepare := range map[string]func(){
		"the tree is gone":      func() { require.NoError(t, os.Remove(filepath.Join(p.dir, "tree"))) },
		"the writer was killed": func() { running.store(t, p.dir) },
	} {
		prepare()
		told = nil
		faults.Before(func(op simdisk.Op) error {
			if op.Name == "tree" && op.Kind == "write" {
				return simdisk.ErrInjected
			}
			return nil
		})
		s := p.open(t, opts)
		require.NotEmpty(t, told, name)
		requireRecords(t, records, read(t, s, jobaudit.Query{}))
		faults.Before(nil)
		require.NoError(t, s.Close())
		p.verify(t, s.Checkpoint().Head())
		told = nil
		require.NoError(t, p.open(t, opts).Close())
		require.Empty(t, told, name)
	}
}
