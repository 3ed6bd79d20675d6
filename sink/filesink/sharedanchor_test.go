package filesink_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/disk"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
)

// steps is a disk that calls between, once, before the call of this number that changes
// something in a directory.
type steps struct {
	disk.OS
	at      int
	between func()
}

type stepDir struct {
	disk.Dir
	s *steps
}

type stepFile struct {
	disk.File
	s *steps
}

func (s *steps) OpenDir(path string, create bool) (disk.Dir, error) {
	d, err := s.OS.OpenDir(path, create)
	return stepDir{d, s}, err
}

func (s *steps) step() {
	if s.at--; s.at == 0 {
		s.between()
	}
}

func (d stepDir) Create(name string, secret bool) (disk.File, error) {
	d.s.step()
	f, err := d.Dir.Create(name, secret)
	return stepFile{f, d.s}, err
}

func (d stepDir) Rename(from, to string) error { d.s.step(); return d.Dir.Rename(from, to) }
func (d stepDir) Remove(name string) error     { d.s.step(); return d.Dir.Remove(name) }
func (d stepDir) Sync(name string) error       { d.s.step(); return d.Dir.Sync(name) }

func (f stepFile) WriteAt(b []byte, off int64) (int, error) {
	f.s.step()
	return f.File.WriteAt(b, off)
}
func (f stepFile) Sync() error { f.s.step(); return f.File.Sync() }

// twoHeads are an older and a newer head of a log.
func twoHeads(t *testing.T) (older, newer auditlog.Checkpoint) {
	t.Helper()
	p := newPlace(t)
	p.write(t, nil, 3, sinktest.Records(3)...)
	older = p.newestCommit(t)
	p.write(t, nil, 3, sinktest.Records(3)...)
	return older, p.newestCommit(t)
}

// TestAnAnchorHoldsTheHeadOfOneWhoPutItWhateverAnotherDoesMeanwhile: a process stands still
// before each step of a Put while another one puts, and takes nothing of what that one is writing.
func TestAnAnchorHoldsTheHeadOfOneWhoPutItWhateverAnotherDoesMeanwhile(t *testing.T) {
	older, newer := twoHeads(t)
	for one := 1; ; one++ {
		met := false
		for two := 1; two < 12; two++ {
			path := filepath.Join(t.TempDir(), "anchor")
			// The other one stands still, too, and the first goes on: both are in the midst.
			var wg sync.WaitGroup
			halt, resume := make(chan struct{}), make(chan struct{})
			var other error
			second := &steps{at: two, between: func() { close(halt); <-resume }}
			first := &steps{at: one, between: func() {
				met = true
				ended := make(chan struct{})
				wg.Go(func() {
					other = filesink.FileAnchorOn(second, path).Put(context.WithoutCancel(t.Context()), newer)
					close(ended)
				})
				select {
				case <-halt:
				case <-ended:
				}
			}}
			a := filesink.FileAnchorOn(first, path)
			err := a.Put(t.Context(), older)
			if newerThere := errors.As(err, new(*auditlog.HeadError)); !met || !newerThere {
				require.NoError(t, err, "halted before step %d, the other before step %d", one, two)
			}
			got, err := a.Latest(t.Context())
			require.NoError(t, err)
			if met && string(got) != string(newer.Signed()) {
				require.Equal(t, string(older.Signed()), string(got), "what was put is there, in whole")
			}
			close(resume)
			wg.Wait()
			require.NoError(t, other)
			got, err = a.Latest(t.Context())
			require.NoError(t, err)
			if met && second.at <= 0 {
				require.Contains(t, []string{string(older.Signed()), string(newer.Signed())}, string(got))
			}
			entries, err := os.ReadDir(filepath.Dir(path))
			require.NoError(t, err)
			require.Len(t, entries, 1, "nothing temporary is left")
		}
		if !met {
			require.Greater(t, one, 4)
			return
		}
	}
}

// TestAPutThatComesBackLateDoesNotMoveAnAnchorBack: it stands still before each step
// of its writing while another one puts a newer head.
func TestAPutThatComesBackLateDoesNotMoveAnAnchorBack(t *testing.T) {
	older, newer := twoHeads(t)
	path := filepath.Join(t.TempDir(), "anchor")
	require.NoError(t, filesink.FileAnchor(path).Put(t.Context(), newer))
	err := filesink.FileAnchor(path).Put(t.Context(), older)
	refused, ok := errors.AsType[*auditlog.HeadError](err)
	require.True(t, ok, "%v", err)
	require.True(t, refused.Ahead())
	require.NoError(t, filesink.FileAnchor(path).Put(t.Context(), newer), "again")
	for late := 1; late <= 3; late++ { // create, write, sync
		path := filepath.Join(t.TempDir(), "anchor")
		disk := &steps{at: late, between: func() { require.NoError(t, filesink.FileAnchor(path).Put(t.Context(), newer)) }}
		require.Error(t, filesink.FileAnchorOn(disk, path).Put(t.Context(), older), late)
		got, err := filesink.FileAnchor(path).Latest(t.Context())
		require.NoError(t, err)
		require.Equal(t, newer.Signed(), got)
		entries, err := os.ReadDir(filepath.Dir(path))
		require.NoError(t, err)
		require.Len(t, entries, 1, "nothing temporary is left")
	}
}

// TestWhatAKilledProcessLeftBesideAnAnchorIsSweptAway, and nothing else is.
func TestWhatAKilledProcessLeftBesideAnAnchorIsSweptAway(t *testing.T) {
	older, newer := twoHeads(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "log.anchor")
	a := filesink.FileAnchor(path)
	require.NoError(t, a.Put(t.Context(), older))
	left := []string{"log.anchor.tmp", "log.anchor." + strings.Repeat("A", 26) + ".tmp"}
	others := []string{"log.anchor.old.tmp", "log.anchor.tmp.old", "log.key." + strings.Repeat("A", 26) + ".tmp", "log.anchor.x." + strings.Repeat("A", 24) + ".tmp", "other.anchor.tmp", "log.anchor." + strings.Repeat("A", 26)}
	for _, name := range append(left, others...) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("half"), 0o600))
	}
	require.NoError(t, filesink.FileAnchor(path).Put(t.Context(), newer))
	for _, name := range left {
		require.NoFileExists(t, filepath.Join(dir, name))
	}
	for _, name := range others {
		require.FileExists(t, filepath.Join(dir, name))
	}
	got, err := a.Latest(t.Context())
	require.NoError(t, err)
	require.Equal(t, newer.Signed(), got)
	_, err = os.Stat(path)
	require.NotErrorIs(t, err, fs.ErrNotExist)
}
