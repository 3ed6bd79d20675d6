package filesink_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/simdisk"
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

func TestAFileSystemWithoutLocksIsAClearError(t *testing.T) {
	for _, cause := range []error{syscall.ENOLCK, syscall.ENOSYS, syscall.EOPNOTSUPP} {
		p := newPlace(t)
		p.write(t, nil, 3, sinktest.Records(9)...)
		before := load(t, p.dir)
		faults := simdisk.NewFaults(simdisk.OS)
		faults.Before(func(op simdisk.Op) error {
			if op.Name == "lock" && op.Kind == "open" {
				return os.NewSyscallError("flock", cause)
			}
			return nil
		})
		_, err := filesink.Open(t.Context(), p.dir, p.key, filesink.On(faults, nil))
		require.ErrorIs(t, err, cause)
		require.ErrorContains(t, err, "local")
		require.Equal(t, before, load(t, p.dir))
	}
}

// Two machines that are clones of one go on with the log: neither can know of the
// other, and who holds a head of one finds the other to be a fork.
func TestTwoClonesThatBothGoOnAreFoundToBeAFork(t *testing.T) {
	p := newPlace(t)
	p.write(t, nil, 3, sinktest.Records(9)...)
	clone := place{base: t.TempDir(), key: p.key}
	copyDir(t, p.base, clone.base)
	clone.dir = filepath.Join(clone.base, "log")
	var err error
	clone.key, err = filesink.LoadOrCreateKey(clone.dir, clone.keyPath(), origin)
	require.NoError(t, err)
	heads := map[string]auditlog.Head{}
	for _, one := range []place{p, clone} {
		s := one.open(t, nil)
		store(t, s, 3, sinktest.Records(6)...)
		heads[one.dir] = s.Checkpoint().Head()
		require.NoError(t, s.Close())
		_, found := one.findingsOf(t, heads[one.dir])
		require.Empty(t, found, "by itself it is in order")
	}
	for _, c := range []struct{ log, other place }{{p, clone}, {clone, p}} {
		_, found := c.log.findingsOf(t, heads[c.other.dir])
		require.Equal(t, []auditlog.Kind{auditlog.KindFork}, kinds(found))
		_, err := filesink.Open(t.Context(), c.log.dir, c.log.key, &filesink.Options{AnchorPath: c.other.anchorPath()})
		var refusal *filesink.RefusedError
		require.ErrorAs(t, err, &refusal, "an anchor that both share tells")
	}
}

// A process that was just forked has the lock's file open too, until it runs its
// own program: the lock is given back all the same.
func TestALockIsGivenBackAtOnceWhileProcessesAreStarted(t *testing.T) {
	p := newPlace(t)
	stop := make(chan struct{})
	var started sync.WaitGroup
	for range 2 {
		started.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_ = exec.Command(os.Args[0], "-test.run=^$").Run()
				}
			}
		})
	}
	for range 100 {
		s, err := filesink.Open(t.Context(), p.dir, p.key, nil)
		require.NoError(t, err)
		require.NoError(t, s.Close())
	}
	close(stop)
	started.Wait()
}
