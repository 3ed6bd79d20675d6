//go:build unix && !solaris && !aix

package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit"
)

const (
	// spoolSuffix is how the files in a spool end: events, one a line, as they are stored.
	spoolSuffix = ".jsonl"
	// newSuffix is how they end while they are made.
	newSuffix = ".new"

	// spoolFileSize is from which size on a file gets no more, and spoolReadSize what
	// is read of one: more than any file with the last batch that it got.
	spoolFileSize = 16 << 20
	spoolReadSize = 256 << 20
)

// spoolOf is where the outcomes of one log are in a spool, which several logs may share. It
// is named as in the log's verifier key: origins alone are not unique.
func spoolOf(spool string, key note.Verifier) string {
	origin := url.PathEscape(key.Name())
	return filepath.Join(spool, fmt.Sprintf("%s+%08x", origin[:min(len(origin), 200)], key.KeyHash()))
}

// outcomeSpool takes the outcomes that the log does not take in time: files in a directory of
// such files, which are this program's alone until it ends. The next exec, or repair,
// brings them into the log.
type outcomeSpool struct {
	spool, dir string // the spool, and the log's directory in it

	mu      sync.Mutex
	root    *os.Root     // the log's directory
	files   []*spoolFile // the last one gets what comes
	records []jobaudit.Record
}

// spoolFile is a file that is locked.
type spoolFile struct {
	*os.File
	name string // within the directory
	size int64  // what is durable of it
}

// Append adds records to the file, and makes them durable.
func (s *outcomeSpool) Append(_ context.Context, records []jobaudit.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.files); n == 0 || s.files[n-1].size >= spoolFileSize {
		if err := s.create(); err != nil {
			return err
		}
	}
	var text []byte
	for _, r := range records {
		text = append(r.AppendTo(text), '\n')
	}
	if err := s.files[len(s.files)-1].add(text); err != nil {
		return err
	}
	s.records = append(s.records, records...)
	return nil
}

// add appends text. Of one that fails nothing stays, as what comes later would be part of
// its last line.
func (f *spoolFile) add(text []byte) error {
	_, err := f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		f.size += int64(len(text))
		return nil
	}
	if back := f.Truncate(f.size); back != nil {
		f.size = spoolFileSize // no more comes into it
		return errors.Join(err, back)
	}
	return err
}

// create makes a file. What it holds is this program's while it is locked, so it has the name
// of one only when it is.
func (s *outcomeSpool) create() (err error) {
	if s.root == nil {
		for _, dir := range []string{s.spool, s.dir} {
			if err := makeDir(dir); err != nil {
				return err
			}
		}
		if s.root, err = openSpool(s.spool, s.dir); err != nil {
			return err
		}
	}
	id := uuid.NewString()
	f, err := s.root.OpenFile(id+newSuffix, os.O_RDWR|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	err = os.NewSyscallError("flock", syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB))
	if err == nil {
		err = s.root.Rename(id+newSuffix, id+spoolSuffix)
	}
	if err != nil {
		return errors.Join(err, f.Close(), s.root.Remove(id+newSuffix))
	}
	// Before it takes anything: what is acknowledged would be gone with its name.
	if err := syncDir(s.dir); err != nil {
		return errors.Join(err, f.Close(), s.root.Remove(id+spoolSuffix))
	}
	s.files = append(s.files, &spoolFile{File: f, name: id + spoolSuffix})
	return nil
}

// Records iterates over what is left, as a recorder asks for it.
func (s *outcomeSpool) Records(_ context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	s.mu.Lock()
	left := slices.Clone(s.records)
	s.mu.Unlock()
	return func(yield func(jobaudit.Record, error) bool) {
		for _, r := range left {
			if q.Match(r) && !yield(r, nil) {
				return
			}
		}
	}
}

// Forget drops what the log has after all. The files go with the last of it; what they
// have beside that is stored already, which does no harm.
func (s *outcomeSpool) Forget(_ context.Context, ids []uuid.UUID) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = slices.DeleteFunc(s.records, func(r jobaudit.Record) bool { return slices.Contains(ids, r.ID()) })
	if len(s.records) > 0 {
		return nil
	}
	for _, f := range s.files {
		err = errors.Join(err, s.root.Remove(f.name), f.Close())
	}
	s.files = nil
	return err
}

// held is how many events the log does not have.
func (s *outcomeSpool) held() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.records)
}

// close gives the files up, to who brings them into the log.
func (s *outcomeSpool) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.files {
		_ = f.Close()
	}
	if s.root != nil {
		_ = s.root.Close()
	}
}

// makeDir makes a directory, and those above it that are missing, so that they stay.
func makeDir(path string) error {
	err := os.Mkdir(path, 0o700)
	if errors.Is(err, os.ErrNotExist) && filepath.Dir(path) != path {
		if err := makeDir(filepath.Dir(path)); err != nil {
			return err
		}
		err = os.Mkdir(path, 0o700)
	}
	if err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	there := err != nil // and it may have been made just now, and not be durable yet
	if err := syncDir(filepath.Dir(path)); err != nil && !(there && errors.Is(err, os.ErrPermission)) {
		return err // the directory above may be another's, who made this one
	}
	return nil
}

// syncDir makes durable which files a directory has; a variable for its test.
var syncDir = func(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// openSpool opens a log's directory in a spool, and refuses one in which others can write: what lies
// there is signed as this program's.
func openSpool(spool, dir string) (*os.Root, error) {
	info, err := os.Lstat(spool) // which may be a link to another disk
	if err != nil {
		return nil, err
	}
	if err := own(spool, info, 0); err != nil {
		return nil, err
	}
	outer, err := os.OpenRoot(spool)
	if err != nil {
		return nil, err
	}
	defer outer.Close()
	if err := ownDir(outer); err != nil {
		return nil, err
	}
	root, err := outer.OpenRoot(filepath.Base(dir))
	if err != nil {
		return nil, err
	}
	if err := ownDir(root); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return root, nil
}

func ownDir(dir *os.Root) error {
	info, err := dir.Stat(".")
	if err != nil {
		return err
	}
	return own(dir.Name(), info, 0o022)
}

// own refuses what belongs to somebody else, or has one of these modes.
func own(name string, info os.FileInfo, others os.FileMode) error {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int64(s.Uid) != int64(os.Geteuid()) {
		return fmt.Errorf("the spool is not used, as %s does not belong to the user that this program runs as: what lies there would be signed; give --spool another directory", name)
	}
	if info.Mode().Perm()&others != 0 {
		return fmt.Errorf("the spool is not used, as others can write to %s (mode %04o): what lies there would be signed; look through it, and take that away with chmod go-w", name, info.Mode().Perm())
	}
	return nil
}
