package filesink_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/simdisk"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
)

// persist is write, by somebody who tries again for as long as it takes.
func (s *story) persist(t *testing.T, n int) {
	const tries = 60
	var sink *filesink.Sink
	var err error
	for try := 0; ; try++ {
		require.Less(t, try, tries, "the disk works again, the log does not: %v", err)
		if sink, err = s.open(t); err == nil {
			break
		}
		_, refused := errors.AsType[*filesink.RefusedError](err)
		require.False(t, refused, "%v", err)
	}
	for range n {
		batch := s.todo[:3]
		for try := 0; ; try++ {
			require.Less(t, try, tries, "the disk works again, the log does not: %v", err)
			if err = sink.Append(t.Context(), batch); err == nil {
				break
			}
			require.NotErrorIs(t, err, filesink.ErrReplaced)
			requireRecords(t, s.acked, read(t, sink, jobaudit.Query{}))
		}
		s.todo, s.acked = s.todo[3:], append(s.acked, batch...)
		s.heads = append(s.heads, sink.Checkpoint().Head())
		requireRecords(t, s.acked, read(t, sink, jobaudit.Query{}))
	}
	_ = sink.Close() // it may tell of the failing disk
}

func TestAFailingDiskLosesNothingAndIsRecoveredFromWithoutARestart(t *testing.T) {
	t.Parallel()
	whole := newStory(false)
	require.NoError(t, whole.run(t))
	calls := whole.disk.Calls()
	for count, step := range map[int]int{1: 1, 2: 9, 3: 9, 20: 9} {
		step *= every(6)
		for n := 1; n <= calls; n += step {
			s := newStory(false)
			s.disk.Fail(n, count)
			if !t.Run(fmt.Sprintf("%d calls fail from call %d on", count, n), func(t *testing.T) {
				for _, batches := range []int{4, 1, 3} {
					s.persist(t, batches)
				}
				s.disk.Fail(0, 0)
				s.after(simdisk.Fates(0)["all is lost"]).survives(t)
				s.disk.Kill()
				s.survives(t)
			}) {
				return
			}
		}
	}
}

func TestAFullDiskIsAClearErrorAndNoMore(t *testing.T) {
	p := newPlace(t)
	require.NoError(t, os.MkdirAll(p.dir, 0o750))
	mount, unmount := mountSmall(p.dir)
	if err := mount(); err != nil {
		t.Skipf("a small file system cannot be mounted here (%v); TestAFailingDisk… covers writes that stop half way", err)
	}
	defer unmount()
	filler := filepath.Join(p.dir, "filler")
	s := p.open(t, &filesink.Options{SegmentSize: 64 << 10, OnError: func(error) {}})
	records := sinktest.Records(600)
	store(t, s, 10, records[:100]...)
	fill(t, filler)
	n := 100
	var err error
	for ; n < len(records) && err == nil; n += 10 {
		err = s.Append(t.Context(), records[n:n+10])
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	n -= 10
	require.ErrorIs(t, s.Append(t.Context(), records[n:n+10]), syscall.ENOSPC, "it stays full")
	requireRecords(t, records[:n], read(t, s, jobaudit.Query{}))

	require.NoError(t, os.Remove(filler))
	store(t, s, 10, records[n:]...)
	requireRecords(t, records, read(t, s, jobaudit.Query{}))
	require.NoError(t, s.Close())
	p.verify(t)
	requireRecords(t, records, read(t, p.open(t, nil), jobaudit.Query{}))
}

// fill writes a file until nothing more fits.
func fill(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	require.NoError(t, err)
	for err == nil {
		_, err = f.Write(make([]byte, 4<<10))
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NoError(t, f.Close())
}

func TestAReadOnlyDirectoryIsAClearError(t *testing.T) {
	p := newPlace(t)
	faults := simdisk.NewFaults(simdisk.OS)
	p.write(t, nil, 5, sinktest.Records(5)...)
	faults.Before(func(op simdisk.Op) error {
		if op.Changes() {
			return &os.PathError{Op: op.Kind, Path: op.Name, Err: syscall.EROFS}
		}
		return nil
	})
	_, err := filesink.Open(t.Context(), p.dir, p.key, filesink.On(faults, nil))
	require.ErrorIs(t, err, syscall.EROFS)
	faults.Before(nil)
	s := p.open(t, nil)
	require.NoError(t, s.Append(t.Context(), sinktest.Records(1)))
}
