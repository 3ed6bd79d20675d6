//go:build unix && !solaris && !aix

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
)

// drainSpool brings into a log what programs that have ended left for it, and says
// how many events that were. A file of one that runs is left to it.
func drainSpool(ctx context.Context, spool string, key note.Verifier, log jobaudit.AuditSink) (n int, err error) {
	root, err := openSpool(spool, spoolOf(spool, key))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return 0, nil
		}
		return 0, err
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return 0, err
	}
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), spoolSuffix) {
			continue
		}
		drained, failed := drainFile(ctx, root, entry.Name(), log)
		n, err = n+drained, errors.Join(err, failed)
	}
	return n, err
}

// leftBefore says which files in a spool are of logs whose successor this one is: exec, which
// has the successor's key alone, cannot know whether they are its own predecessor's, as
// origins are not unique, and must not bring another log's events into this one. What was
// kept for the drained keys is left out: what is still there is of a program that runs, or
// was told.
func leftBefore(spool string, key note.Verifier, drained ...note.Verifier) error {
	dirs, err := os.ReadDir(spool)
	if err != nil {
		return nil // which who drains it says
	}
	line, number := auditlog.SplitOrigin(key.Name())
	var left error
	for _, dir := range dirs {
		name, _, ok := cutLast(dir.Name(), "+")
		origin, err := url.PathUnescape(name)
		if !ok || err != nil {
			continue
		}
		if first, n := auditlog.SplitOrigin(origin); first != line || n >= number {
			continue
		}
		if slices.ContainsFunc(drained, func(k note.Verifier) bool { return filepath.Base(spoolOf(spool, k)) == dir.Name() }) {
			continue
		}
		files, err := os.ReadDir(filepath.Join(spool, dir.Name()))
		if err != nil {
			left = errors.Join(left, err)
			continue
		}
		files = slices.DeleteFunc(files, func(f os.DirEntry) bool { return !strings.HasSuffix(f.Name(), spoolSuffix) })
		if len(files) > 0 {
			left = errors.Join(left, fmt.Errorf("%s in %s may hold outcomes of this log from before it had a successor's key: jobaudit repair --old VKEY brings them into it, where VKEY is the verifier key of %s",
				count(len(files), "file"), filepath.Join(spool, dir.Name()), origin))
		}
	}
	return left
}

// cutLast is strings.Cut at the last separator.
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// spoolLine is a line of a file in a spool.
type spoolLine struct {
	text   []byte
	record jobaudit.Record
	err    error // why it is not in the log
}

// drainFile brings a file's events into the log. What is none, and what the log refuses,
// stays in the file.
func drainFile(ctx context.Context, root *os.Root, name string, log jobaudit.AuditSink) (n int, err error) {
	f, lines, err := readSpool(root, name)
	if f == nil || err != nil {
		return 0, err
	}
	defer f.Close()
	if err := appendLines(ctx, log, lines); err != nil {
		return 0, fmt.Errorf("what was left in %s: %w", f.Name(), err)
	}
	var left []byte
	var first error
	for _, l := range lines {
		if l.err == nil {
			n++
			continue
		}
		left = append(left, l.text...)
		if first == nil {
			first = l.err
		}
	}
	if len(left) == 0 {
		return n, root.Remove(name)
	}
	err = fmt.Errorf("%s of %s cannot be brought into the log, and stay there: %w", count(len(lines)-n, "line"), f.Name(), first)
	if n > 0 {
		err = errors.Join(err, rewriteSpool(root, name, left))
	}
	return n, err
}

// readSpool opens and locks a file, and reads its lines. It returns none if that is
// another program's, which runs.
func readSpool(root *os.Root, name string) (f *os.File, lines []*spoolLine, err error) {
	f, err = root.OpenFile(name, os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil // another program was faster
	}
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if lines == nil {
			_ = f.Close()
			f = nil
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return f, nil, fmt.Errorf("%s is no regular file, and is left as it is", f.Name())
	}
	if err := own(f.Name(), info, 0o022); err != nil {
		return f, nil, err
	}
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return f, nil, nil
	}
	now, err := root.Lstat(name)
	if err != nil || !os.SameFile(info, now) {
		return f, nil, nil // it was drained before it was locked
	}
	if now.Size() > spoolReadSize {
		return f, nil, fmt.Errorf("%s is larger than any that exec writes, and is left as it is", f.Name())
	}
	text, err := io.ReadAll(io.LimitReader(f, now.Size()))
	if err != nil {
		return f, nil, err
	}
	text = text[:bytes.LastIndexByte(text, '\n')+1] // a line without an end was never acknowledged
	lines = []*spoolLine{}
	for line := range bytes.Lines(text) {
		l := &spoolLine{text: line}
		l.record, l.err = jobaudit.ParseRecord(bytes.TrimSuffix(line, []byte{'\n'}))
		lines = append(lines, l)
	}
	return f, lines, nil
}

// appendLines brings the events among lines into the log: all at once, or one by one if
// it refuses one of them for good.
func appendLines(ctx context.Context, log jobaudit.AuditSink, lines []*spoolLine) error {
	var records []jobaudit.Record
	for _, l := range lines {
		if l.err == nil {
			records = append(records, l.record)
		}
	}
	if len(records) == 0 {
		return nil
	}
	err := log.Append(ctx, records)
	if err == nil || !refusedForGood(err) {
		return err
	}
	for _, l := range lines {
		if l.err != nil {
			continue
		}
		if l.err = log.Append(ctx, []jobaudit.Record{l.record}); l.err != nil && !refusedForGood(l.err) {
			return l.err
		}
	}
	return nil
}

// refusedForGood tells whether the log says that it will never take a record.
func refusedForGood(err error) bool {
	_, refused := errors.AsType[*jobaudit.RecordError](err)
	return refused || errors.Is(err, jobaudit.ErrConflict)
}

// rewriteSpool replaces a file by one with this text, or leaves it as it is.
func rewriteSpool(root *os.Root, name string, text []byte) error {
	f, err := root.OpenFile(name+newSuffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = root.Rename(name+newSuffix, name)
	}
	if err != nil {
		return errors.Join(err, root.Remove(name+newSuffix))
	}
	return syncDir(root.Name())
}
