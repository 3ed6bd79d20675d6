package filesink_test

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/simdisk"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
)

// interrupted is a log of one segment, of some 50 KiB, whose writer was killed.
// With torn, the last batch is so.
func interrupted(t *testing.T, torn bool) *story {
	s := &story{disk: simdisk.NewMemory(), todo: sinktest.Records(80), segmentSize: 1 << 20}
	sink, err := s.open(t)
	require.NoError(t, err)
	for range 20 {
		require.NoError(t, sink.Append(t.Context(), s.todo[:3]))
		s.todo, s.acked = s.todo[3:], append(s.acked, s.todo[:3]...)
	}
	s.heads = []auditlog.Head{sink.Checkpoint().Head()}
	if torn {
		s.disk.Cut(1)
		require.Error(t, sink.Append(t.Context(), s.todo[:3]))
	}
	s.disk.Freeze()
	_ = sink.Close() // it reaches nothing
	s.disk.Thaw()
	if torn {
		s.disk = s.disk.Crash(simdisk.Fates(1)["writes are torn"])
	}
	return s
}

// The room that is needed does not depend on how long the segment is: what an
// open writes beside it is small.
func TestAnUncleanEndIsMadeGoodOnAFullDisk(t *testing.T) {
	t.Parallel()
	for n := range 4 {
		s := interrupted(t, n%2 == 0)
		if s.disk.Fill(16 << 10); n >= 2 {
			s.disk.Quota(16 << 10)
		}
		sink, err := s.open(t)
		require.NoError(t, err, "16 KiB are free")
		requireRecords(t, s.acked, read(t, sink, jobaudit.Query{})[:len(s.acked)])
		require.NoError(t, sink.Close())
		s.disk.Fill(-1)
		s.after(simdisk.Fates(0)["all is lost"]).survives(t)
	}
}

func TestPowerLossWhileAFullDiskIsMadeGoodLosesNothing(t *testing.T) {
	t.Parallel()
	for _, torn := range []bool{false, true} {
		for n := 1; ; n += every(4) {
			s := interrupted(t, torn)
			s.disk.Fill(16 << 10)
			s.disk.Cut(n)
			sink, err := s.open(t)
			if err != nil {
				require.ErrorIs(t, err, simdisk.ErrPower)
			}
			for name, fate := range simdisk.Fates(uint64(n)) {
				after := s.after(fate)
				after.requireUnaccused(t, fmt.Sprint("call ", n, ", ", name))
				if !t.Run(fmt.Sprintf("torn %t, call %d, %s", torn, n, name), after.check) {
					return
				}
			}
			if err == nil {
				_ = sink.Close()
				break
			}
		}
	}
}

// requireUnaccused verifies what is on the disk before anybody opens it.
func (s *story) requireUnaccused(t *testing.T, name string) {
	t.Helper()
	key, err := s.key()
	require.NoError(t, err)
	w := &world{verifier: key.Verifier()}
	_, wrong := w.told(t, s.disk, s.heads...)
	require.False(t, wrong, name)
}

func TestADiskThatIsFullAtAnyPointIsAClearErrorAndNoMore(t *testing.T) {
	t.Parallel()
	for room := int64(0); room < 80<<10; room += 700 * int64(every(8)) {
		s := &story{disk: simdisk.NewMemory(), todo: storyRecords()}
		_, err := s.key()
		require.NoError(t, err)
		s.disk.Fill(room)
		for range 2 {
			if err := s.write(t, 5); err != nil {
				_, refused := errors.AsType[*filesink.RefusedError](err)
				require.False(t, refused, "%v", err)
				require.ErrorIs(t, err, syscall.ENOSPC, "%d bytes are free", room)
			}
			s.disk.Kill()
		}
		s.disk.Fill(-1)
		if !t.Run(fmt.Sprintf("%d bytes", room), s.check) {
			return
		}
	}
}
