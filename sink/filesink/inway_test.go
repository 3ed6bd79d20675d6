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
				s = p.open(t, opts)
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
