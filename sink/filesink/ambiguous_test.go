package filesink_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/simdisk"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
)

func TestASignedHeadThatSomebodySawIsNeverContradicted(t *testing.T) {
	p := newPlace(t)
	faults := simdisk.NewFaults(simdisk.OS)
	s := p.open(t, filesink.On(faults, &filesink.Options{OnError: func(error) {}}))
	records := sinktest.Records(12)
	store(t, s, 3, records[:3]...)
	first := newestSegment(t, p.dir)
	before, err := os.Stat(first)
	require.NoError(t, err)

	// The batch is written, its fsync fails, and no new file can be made.
	faults.Before(func(op simdisk.Op) error {
		if strings.HasPrefix(op.Name, "entries") && (op.Kind == "sync" || op.Kind == "create") {
			return simdisk.ErrInjected
		}
		return nil
	})
	require.ErrorIs(t, s.Append(t.Context(), records[3:6]), simdisk.ErrInjected)
	seen := p.newestCommit(t)
	require.EqualValues(t, 6, seen.Head().Size, "another process saw it")
	kept, err := openReader(t, p.dir).Checkpoint(t.Context(), p.key.Verifier())
	require.NoError(t, err)
	require.EqualValues(t, 3, kept.Head().Size, "a Reader does not hand out what may not be durable")
	require.EqualValues(t, 3, s.Checkpoint().Head().Size, "the writer's own readers did not")
	require.ErrorIs(t, s.Append(t.Context(), records[6:9]), simdisk.ErrInjected)

	faults.Before(nil)
	store(t, s, 3, records[9:]...) // of somebody else; what was under way comes first
	requireRecords(t, append(records[:6:6], records[9:]...), read(t, s, jobaudit.Query{}))
	store(t, s, 3, records...)
	requireRecords(t, append(append(records[:6:6], records[9:]...), records[6:9]...), read(t, s, jobaudit.Query{}))
	after, err := os.Stat(first)
	require.NoError(t, err)
	require.Equal(t, before.Size(), after.Size(), "the old segment is cut")
	require.Len(t, segments(t, p.dir), 2)
	require.NoError(t, s.Close())
	p.verify(t, seen.Head(), s.Checkpoint().Head())
}

func TestWhatAnInterruptedWriteLeftIsIgnoredAndCutAtTheNextOpen(t *testing.T) {
	p := newPlace(t)
	faults := simdisk.NewFaults(simdisk.OS)
	s := p.open(t, filesink.On(faults, &filesink.Options{OnError: func(error) {}}))
	records := sinktest.Records(12)
	store(t, s, 3, records[:6]...)
	failed := false
	faults.Before(func(op simdisk.Op) error {
		if op.Kind == "sync" && strings.HasPrefix(op.Name, "entries") && !failed {
			failed = true
			return simdisk.ErrInjected
		}
		if op.Kind == "truncate" || strings.HasPrefix(op.Name, "index") {
			return simdisk.ErrInjected
		}
		return nil
	})
	store(t, s, 3, records[6:]...) // in a new segment
	requireRecords(t, records, read(t, s, jobaudit.Query{}))
	requireRecords(t, records, read(t, openReader(t, p.dir), jobaudit.Query{}))
	old := segments(t, p.dir)[0]
	long, err := os.Stat(old)
	require.NoError(t, err)
	require.Error(t, s.Close(), "it could not be cut")
	p.verify(t, s.Checkpoint().Head())

	s = p.open(t, nil)
	requireRecords(t, records, read(t, s, jobaudit.Query{}))
	require.NoError(t, s.Close())
	short, err := os.Stat(old)
	require.NoError(t, err)
	require.Less(t, short.Size(), long.Size())
	p.verify(t, s.Checkpoint().Head())
}

func TestAFileThatLooksTheSameIsNotTheSame(t *testing.T) {
	p := newPlace(t)
	s := p.open(t, nil)
	records := sinktest.Records(9)
	store(t, s, 3, records[:6]...)
	name := newestSegment(t, p.dir)
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	require.NoError(t, os.Rename(name, filepath.Join(p.base, "moved")))
	require.NoError(t, os.WriteFile(name, b, 0o600))
	require.ErrorIs(t, s.Append(t.Context(), records[6:]), filesink.ErrReplaced)
	require.ErrorIs(t, s.Close(), filesink.ErrReplaced)

	s = p.open(t, nil) // all that was acknowledged is in the copy
	requireRecords(t, records[:6], read(t, s, jobaudit.Query{}))
}

func TestAWrongCacheIsNotTakenForAFork(t *testing.T) {
	p := newPlace(t)
	s := p.open(t, nil)
	records := sinktest.Records(70)
	store(t, s, 5, records[:35]...)
	old := s.Checkpoint()
	store(t, s, 5, records[35:]...)
	require.NoError(t, s.Close())

	// The anchor is behind, and the hashes that lead there are wrong; those at
	// the right edge of the tree are not.
	require.NoError(t, os.WriteFile(p.anchorPath(), old.Signed(), 0o600))
	f, err := os.OpenFile(filepath.Join(p.dir, "tree"), os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt(make([]byte, 110*32), 0) // 127 is that of the first 64 leaves
	require.NoError(t, err)
	require.NoError(t, f.Close())
	s = p.open(t, nil)
	_, err = s.Prove(t.Context(), records[3].ID())
	require.NoError(t, err)
	require.NoError(t, s.Close())
}
