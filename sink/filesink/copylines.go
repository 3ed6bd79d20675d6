package filesink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/disk"
)

// Lines iterates over the lines of a log as its files hold them, from the event
// with this index on: events and, behind each batch, its commit line. It ends
// with the newest commit line.
type Lines func(ctx context.Context, from int64) iter.Seq2[[]byte, error]

// CopyLines is [Copy] of a log that lies elsewhere, in a database for instance:
// it writes the log's files from its lines. All that is said there of
// interrupted copies, of the proof and of the mark holds.
//
// Called again it reads the lines behind those that the copy has. What lies in
// the directory and is not the beginning of these lines is a [*CopyError]; then
// nothing is changed.
func CopyLines(ctx context.Context, lines Lines, dir string, keys []note.Verifier) (auditlog.Checkpoint, error) {
	c, err := copyLines(ctx, lines, dir, keys, defaultSegmentSize)
	if err != nil {
		return c, fmt.Errorf("filesink: copy to %s: %w", dir, err)
	}
	return c, nil
}

func copyLines(ctx context.Context, lines Lines, dir string, keys []note.Verifier, segmentSize int64) (auditlog.Checkpoint, error) {
	none := auditlog.Checkpoint{}
	if len(keys) == 0 {
		return none, errors.New("no verifier key is given: a copy that nobody proves may be a copy of anything")
	}
	to, err := disk.OS{}.OpenDir(dir, true)
	if err != nil {
		return none, err
	}
	defer to.Close()
	w := &lineCopy{to: to, keys: keys, segmentSize: segmentSize}
	err = w.run(ctx, lines)
	if w.file != nil {
		err = errors.Join(err, w.file.Close())
	}
	if err != nil {
		return none, err
	}
	_, err = Verify(ctx, dir, &VerifyOptions{Keys: keys, Heads: []auditlog.Head{w.head.Head()}})
	return w.head, err
}

// lineCopy is one call of CopyLines: where the copy ends.
type lineCopy struct {
	to          disk.Dir
	keys        []note.Verifier
	segmentSize int64

	file  disk.File // the last segment
	first int64     // its first index
	size  int64     // of the file, up to its last commit line
	index int64     // of the next event
	last  []byte    // the last commit line
	begun []int64   // segments without a commit line

	head auditlog.Checkpoint
}

func (w *lineCopy) run(ctx context.Context, lines Lines) error {
	if err := w.resume(); err != nil {
		return err
	}
	if err := w.reached(ctx, lines); err != nil {
		return err
	}
	next, stop := iter.Pull2(lines(ctx, max(w.index-1, 0)))
	defer stop()
	if err := w.begin(next); err != nil {
		return err
	}
	var batch []byte
	var events int64
	for {
		line, err, ok := next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		batch = append(append(batch, line...), '\n')
		if !auditlog.IsCommit(line) {
			events++
			continue
		}
		w.last = bytes.Clone(line)
		if err := w.write(batch, events); err != nil {
			return err
		}
		batch, events = batch[:0], 0
	}
	return w.finish()
}

// reached refuses lines that end before the size that the copy's checkpoint has: a copy
// that lost its end, of a log that lost its own, is not written to.
func (w *lineCopy) reached(ctx context.Context, lines Lines) error {
	has := checkpointOf(w.to, w.keys).Size
	if has <= w.index {
		return nil // begin compares what is there
	}
	for _, err := range lines(ctx, has-1) {
		return err // of where the lines come from, if any
	}
	return &CopyError{checkpointFile, fmt.Sprintf("the copy had %d events, which the log does not reach: it is no copy of it, or the log has lost its end; nothing was changed", has)}
}

// resume finds where an earlier copy ended.
func (w *lineCopy) resume() error {
	firsts, err := listSegments(w.to)
	if err != nil {
		return err
	}
	if err := checkMark(w.to); err != nil || len(firsts) == 0 {
		return err
	}
	if err := checkBeginning(firsts); err != nil {
		return err
	}
	for i := len(firsts) - 1; i >= 0; i-- {
		if err := w.open(firsts[i]); err != nil {
			return err
		}
		if w.last != nil {
			return nil
		}
		// Made by a call that was interrupted before its first commit.
		if err := w.file.Close(); err != nil {
			return err
		}
		w.file, w.begun = nil, append(w.begun, firsts[i])
	}
	w.index = 0
	return nil
}

// open opens a segment and finds its last commit line.
func (w *lineCopy) open(first int64) error {
	var err error
	if w.file, err = w.to.Edit(segmentPath(first)); err != nil {
		return err
	}
	info, err := w.file.Stat()
	if err != nil {
		return err
	}
	w.first, w.index, w.size, w.last = first, first, 0, nil
	index := first
	for line, err := range forward(w.file, 0, info.Size) {
		switch {
		case err != nil:
			return &CopyError{segmentPath(first), err.Error()}
		case auditlog.IsCommit(line.bytes):
			w.last, w.size, w.index = bytes.Clone(line.bytes), line.end(), index
		default:
			index++
		}
	}
	return nil
}

// begin checks that the lines go on where the copy ends, marks the directory
// and cuts off what an interrupted call has left behind the last commit line.
func (w *lineCopy) begin(next func() ([]byte, error, bool)) error {
	if w.index > 0 {
		var line []byte
		for range 2 { // the last event, and the commit line that covers it
			var err error
			var ok bool
			if line, err, ok = next(); err != nil {
				return err // of where the lines come from: it says nothing about the copy
			}
			if !ok {
				return &CopyError{segmentPath(w.first), fmt.Sprintf("it has %d events, which the log does not reach: it is no copy of it, or the log has lost its end", w.index)}
			}
		}
		if !bytes.Equal(line, w.last) {
			return &CopyError{segmentPath(w.first), "it holds something else than the log: it is no copy of it"}
		}
	}
	for _, name := range []string{entriesDir, tornDir} {
		if err := w.to.Mkdir(name); err != nil {
			return err
		}
	}
	// The mark comes first: no moment's copy can be taken for the log.
	var names []string
	for _, key := range w.keys {
		names = append(names, key.Name()+";")
	}
	mark := fmt.Sprintf("a copy of %s see jobaudit copy\n", strings.Join(names, " "))
	if err := replaceFile(w.to, copyFileName, []byte(mark), true); err != nil {
		return err
	}
	for _, first := range w.begun {
		if err := w.to.Remove(segmentPath(first)); err != nil {
			return err
		}
	}
	if w.file == nil {
		return nil
	}
	return w.file.Truncate(w.size)
}

// write writes a batch that ends with its commit line.
func (w *lineCopy) write(batch []byte, events int64) error {
	if w.file != nil && w.size > 0 && w.size+int64(len(batch)) > w.segmentSize {
		if err := errors.Join(w.file.Sync(), w.file.Close()); err != nil {
			return err
		}
		w.file = nil
	}
	if w.file == nil {
		var err error
		if w.file, err = w.to.Create(segmentPath(w.index), false); err != nil {
			return err
		}
		if err := w.to.Sync(entriesDir); err != nil {
			return err
		}
		w.first, w.size = w.index, 0
	}
	if _, err := w.file.WriteAt(batch, w.size); err != nil {
		return err
	}
	w.size += int64(len(batch))
	w.index += events
	return nil
}

// finish makes the copy durable and says up to where it goes.
func (w *lineCopy) finish() error {
	if w.last == nil {
		return ErrNothingVerified
	}
	if err := errors.Join(w.file.Sync(), w.to.Sync(entriesDir)); err != nil {
		return err
	}
	var err error
	for _, key := range w.keys {
		if w.head, err = auditlog.OpenCommit(w.last, key); err == nil {
			if has := checkpointOf(w.to, w.keys); has.Size > w.head.Head().Size {
				return &CopyError{checkpointFile, fmt.Sprintf("the copy had %d events, and the log has %d now: it has lost its end while it was copied; the copy has those, and its checkpoint is as it was", has.Size, w.head.Head().Size)}
			}
			// The checkpoint says that the events are there, so it comes last.
			return replaceFile(w.to, checkpointFile, w.head.Signed(), true)
		}
	}
	return fmt.Errorf("the newest commit line: %w", err)
}
