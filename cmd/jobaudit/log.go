package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
)

// directory reads a log's entries as they are. Unlike a [filesink.Reader] it
// uses no index, which could leave events out, and it goes on behind lines that
// cannot be read, so that what is left of a damaged log can be seen. It
// verifies nothing.
type directory struct{ path string }

var segmentName = regexp.MustCompile(`^[0-9]{20}\.jsonl$`)

// segments lists the files of entries, in order.
func (d directory) segments() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(d.path, "entries"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is not a log: it has no directory entries", d.path)
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() && segmentName.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// batch is some lines and the commit line behind them.
type batch struct {
	lines  [][]byte // good until the next batch
	commit []byte
	first  int64 // index of the first line
}

// position is how far a log has been read.
type position struct {
	segment string
	offset  int64
	index   int64
}

// batches iterates over the committed batches from a position on, which it
// moves. What follows the last commit line is left out, and what was written
// again in the next segment.
func (d directory) batches(ctx context.Context, at *position) iter.Seq2[batch, error] {
	return func(yield func(batch, error) bool) {
		names, err := d.segments()
		if err != nil {
			yield(batch{}, err)
			return
		}
		for i, name := range names {
			if name < at.segment {
				continue
			}
			first, err := strconv.ParseInt(name[:20], 10, 64)
			if err != nil {
				yield(batch{}, fmt.Errorf("segment %s: %w", name, err))
				return
			}
			if name != at.segment {
				*at = position{segment: name, index: first}
			}
			next := int64(-1)
			if i+1 < len(names) {
				next, _ = strconv.ParseInt(names[i+1][:20], 10, 64)
			}
			if !d.read(ctx, at, next, yield) {
				return
			}
		}
	}
}

// read reads one segment. It returns false when the iteration is to end.
func (d directory) read(ctx context.Context, at *position, next int64, yield func(batch, error) bool) bool {
	f, err := os.Open(filepath.Join(d.path, "entries", at.segment))
	if err != nil {
		yield(batch{}, err)
		return false
	}
	defer f.Close()
	if _, err := f.Seek(at.offset, io.SeekStart); err != nil {
		yield(batch{}, err)
		return false
	}
	r := bufio.NewReaderSize(f, 256<<10)
	b := batch{first: at.index}
	offset := at.offset
	for at.index != next {
		if err := ctx.Err(); err != nil {
			yield(batch{}, err)
			return false
		}
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return true // what is there is not committed
		}
		if err != nil {
			yield(batch{}, err)
			return false
		}
		offset += int64(len(line))
		line = line[:len(line)-1]
		if !auditlog.IsCommit(line) {
			b.lines = append(b.lines, line)
			continue
		}
		at.offset, at.index = offset, b.first+int64(len(b.lines))
		if head, err := auditlog.CommitHead(line); err == nil {
			at.index = head.Size
		}
		b.commit = line
		if !yield(b, nil) {
			return false
		}
		b = batch{lines: b.lines[:0], first: at.index}
	}
	return true
}

// records iterates over the records that match. contains, if not empty, is a
// text that they have: others need not be parsed. Lines that are no records
// are counted.
func (d directory) records(ctx context.Context, q jobaudit.Query, contains string, unread *int) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		var at position
		for b, err := range d.batches(ctx, &at) {
			if err != nil {
				yield(jobaudit.Record{}, err)
				return
			}
			for _, line := range b.lines {
				if !bytes.Contains(line, []byte(contains)) {
					continue
				}
				r, err := jobaudit.ParseRecord(line)
				if err != nil {
					*unread++
					continue
				}
				if q.Match(r) && !yield(r, nil) {
					return
				}
			}
		}
	}
}

// unreadable tells of lines that were left out.
func (a *app) unreadable(n int) {
	if n > 0 {
		fmt.Fprintf(a.err, "jobaudit: %s left out that cannot be read: see jobaudit verify\n", count(n, "line"))
	}
}

// newest returns the newest commit line's signed note, which nobody has
// verified.
func (d directory) newest(ctx context.Context) ([]byte, error) {
	names, err := d.segments()
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Backward(names) {
		var commit []byte
		d.read(ctx, &position{segment: name}, -1, func(b batch, e error) bool {
			commit, err = append(commit[:0], b.commit...), e
			return e == nil
		})
		if err != nil {
			return nil, err
		}
		if len(commit) > 0 {
			return signedNote(commit)
		}
	}
	return nil, fmt.Errorf("the log in %s has no commit", d.path)
}

// signedNote takes the signed note out of a commit line.
func signedNote(commit []byte) ([]byte, error) {
	var line struct {
		Checkpoint string `json:"checkpoint"`
	}
	if err := json.Unmarshal(commit, &line); err != nil {
		return nil, fmt.Errorf("commit line: %w", err)
	}
	return []byte(line.Checkpoint), nil
}
