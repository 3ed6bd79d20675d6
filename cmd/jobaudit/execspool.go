//go:build unix && !solaris && !aix

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
)

// spoolSuffix is how the files in a spool end: events, one a line, as they are stored.
const spoolSuffix = ".jsonl"

// outcomeSpool takes the outcomes that the log does not take in time: a file in a directory of
// such files, which is this program's alone until it ends. The next exec, or repair,
// brings them into the log.
type outcomeSpool struct {
	dir string

	mu      sync.Mutex
	file    *os.File // nil until there is something to hold
	records []jobaudit.Record
}

// Append adds records to the file, and makes them durable.
func (s *outcomeSpool) Append(_ context.Context, records []jobaudit.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.open(); err != nil {
		return err
	}
	var text []byte
	for _, r := range records {
		text = append(r.AppendTo(text), '\n')
	}
	if _, err := s.file.Write(text); err != nil {
		return err
	}
	s.records = append(s.records, records...)
	return s.file.Sync()
}

// open makes the file. What it holds is this program's while it is locked.
func (s *outcomeSpool) open() error {
	if s.file != nil {
		return nil
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(s.dir, uuid.NewString()+spoolSuffix), os.O_RDWR|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return errors.Join(os.NewSyscallError("flock", err), f.Close())
	}
	s.file = f
	return syncDir(s.dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
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

// Forget drops what the log has after all. The file goes with the last of it; what it
// has beside that is stored already, which does no harm.
func (s *outcomeSpool) Forget(_ context.Context, ids []uuid.UUID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = slices.DeleteFunc(s.records, func(r jobaudit.Record) bool { return slices.Contains(ids, r.ID()) })
	if len(s.records) > 0 || s.file == nil {
		return nil
	}
	err := errors.Join(os.Remove(s.file.Name()), s.file.Close())
	s.file = nil
	return err
}

// held is how many events the log does not have.
func (s *outcomeSpool) held() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.records)
}

// drainSpool brings into a log what programs that have ended left in a spool, and says
// how many events that were. A file of one that runs is left to it.
func drainSpool(ctx context.Context, dir string, log jobaudit.AuditSink) (n int, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return 0, nil
		}
		return 0, err
	}
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), spoolSuffix) || !entry.Type().IsRegular() {
			continue
		}
		drained, failed := drainFile(ctx, filepath.Join(dir, entry.Name()), log)
		n, err = n+drained, errors.Join(err, failed)
	}
	return n, err
}

func drainFile(ctx context.Context, name string, log jobaudit.AuditSink) (n int, err error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return 0, nil // its program runs
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return 0, err
	}
	text = text[:bytes.LastIndexByte(text, '\n')+1] // a line without an end was never acknowledged
	var records []jobaudit.Record
	for line := range bytes.Lines(text) {
		r, err := jobaudit.ParseRecord(bytes.TrimSuffix(line, []byte{'\n'}))
		if err != nil {
			return 0, fmt.Errorf("%s holds what is no event, and is left as it is: %w", name, err)
		}
		records = append(records, r)
	}
	if len(records) > 0 {
		if err := log.Append(ctx, records); err != nil {
			return 0, fmt.Errorf("what was left in %s: %w", name, err)
		}
	}
	return len(records), os.Remove(name)
}
