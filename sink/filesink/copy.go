package filesink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/disk"
	"golang.org/x/mod/sumdb/note"
)

// copyFileName is the mark of a copy.
const copyFileName = "copy"

// ErrCopy means that a directory is a copy that [Copy] made. The original may
// still be written to, and two writers with one key fork a log: so a copy goes
// on as a successor only, see [Options.Predecessor].
var ErrCopy = errors.New("the directory is a copy of a log")

// A CopyError says why what lies in a directory is not the beginning of a copy.
type CopyError struct {
	Name   string // the file in the directory
	Reason string
}

func (e *CopyError) Error() string { return fmt.Sprintf("copy: %s: %s", e.Name, e.Reason) }

// Copy copies the log in the directory source to dir, also while it is written:
// everything up to the newest durable head, which it returns. Files are copied in
// an order in which an interrupted copy is a shorter log and nothing is missing from
// it; Copy goes on with one. What lies in dir and is not the beginning of a copy of
// this log is a [*CopyError]: a log that is no copy, the log itself, a copy that has
// more than the log has now; then nothing is changed. At the
// end the whole copy is proven, also one that Copy went on with: each entry is under a signature of the keys and agrees
// with that head; otherwise the error is a [*VerifyError].
//
// The copy is marked as one: opening it for writing gives [ErrCopy] and asks for
// a successor. Caches are not copied, they are made when they are needed.
// keys are the log's verifier keys, oldest first, as for [Verify].
func Copy(ctx context.Context, source, dir string, keys []note.Verifier) (auditlog.Checkpoint, error) {
	c, err := copyLog(ctx, source, dir, keys)
	if err != nil {
		return c, fmt.Errorf("filesink: copy %s to %s: %w", source, dir, err)
	}
	return c, nil
}

func copyLog(ctx context.Context, source, dir string, keys []note.Verifier) (auditlog.Checkpoint, error) {
	none := auditlog.Checkpoint{}
	if len(keys) == 0 {
		return none, errors.New("no verifier key is given: a copy that nobody proves may be a copy of anything")
	}
	r, err := OpenReader(source, keys...)
	if err != nil {
		return none, err
	}
	defer r.Close()
	if same, err := sameDirectory(source, dir); err != nil {
		return none, err
	} else if same {
		return none, &CopyError{entriesDir, "this is the log itself"}
	}
	to, err := disk.OS{}.OpenDir(dir, true)
	if err != nil {
		return none, err
	}
	defer to.Close()
	k := &copying{ctx: ctx, from: r.dir, to: to, buf: make([]byte, blockSize), old: make([]byte, blockSize)}
	if err := checkMark(to); err != nil {
		return none, err
	}
	// What was copied was durable, whatever the writer could still say of it.
	has := checkpointOf(to, keys)
	r.KnownDurable(has.Size)
	head, parts, err := r.durable(ctx, keys...)
	if err != nil {
		return none, err
	}
	if has.Size > head.Head().Size {
		return none, shorter(checkpointFile, has.Size, head.Head().Size)
	}
	if err := k.all(parts, head); err != nil {
		return none, err
	}
	_, err = Verify(ctx, dir, &VerifyOptions{Keys: keys, Heads: []auditlog.Head{head.Head()}})
	return head, err
}

func sameDirectory(a, b string) (bool, error) {
	one, err := os.Stat(a)
	if err != nil {
		return false, err
	}
	other, err := os.Stat(b)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(one, other), err
}

// checkMark refuses to write into a directory that holds a log and no copy of one: it
// may be the log that the caller meant to copy.
func checkMark(to disk.Dir) error {
	_, err := to.Stat(copyFileName)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	firsts, err := listSegments(to)
	if err != nil {
		return err
	}
	if _, err := to.Stat(checkpointFile); err == nil || len(firsts) > 0 {
		return &CopyError{copyFileName, "it is missing: this is a log, and no copy of one"}
	}
	return nil
}

// checkpointOf returns the head up to which a copy was made, if one of the keys signed it.
func checkpointOf(dir disk.Dir, keys []note.Verifier) auditlog.Head {
	if signed, err := readAll(dir, checkpointFile, maxCheckpoint); err == nil {
		for _, key := range keys {
			if c, err := auditlog.OpenCheckpoint(signed, key); err == nil {
				return c.Head()
			}
		}
	}
	return auditlog.Head{}
}

func shorter(name string, has, size int64) error {
	return &CopyError{name, fmt.Sprintf("the copy has %d events, and the log %d: it is no copy of it, or the log has lost its end; nothing was changed", has, size)}
}

// copying is one call of Copy.
type copying struct {
	ctx      context.Context
	from, to disk.Dir
	buf, old []byte
}

// A copied file is as long as size in the end, and has the first bytes already.
type copied struct {
	name      string
	has, size int64
}

func (k *copying) all(parts []part, head auditlog.Checkpoint) error {
	// First all is compared: what is no copy of the log is left as it was.
	files, err := k.compare(parts, head)
	if err != nil {
		return err
	}
	for _, name := range []string{entriesDir, tornDir} {
		if err := k.to.Mkdir(name); err != nil {
			return err
		}
	}
	// The mark comes first: no moment's copy can be taken for the log.
	mark := fmt.Sprintf("a copy of %s; see jobaudit copy\n", head.Head().Origin)
	if err := replaceFile(k.to, copyFileName, []byte(mark), true); err != nil {
		return err
	}
	for _, f := range files {
		if err := k.extend(f); err != nil {
			return err
		}
	}
	for _, name := range []string{entriesDir, tornDir} {
		if err := k.to.Sync(name); err != nil {
			return err
		}
	}
	// The checkpoint says that the events are there, so it comes last.
	return replaceFile(k.to, checkpointFile, head.Signed(), true)
}

// compare lists the files to copy, and compares what the copy has of them.
func (k *copying) compare(parts []part, head auditlog.Checkpoint) (files []copied, err error) {
	firsts, err := listSegments(k.to)
	if err != nil {
		return nil, err
	}
	for _, first := range firsts {
		if !slices.ContainsFunc(parts, func(p part) bool { return p.first == first }) {
			return nil, shorter(segmentPath(first), first, head.Head().Size)
		}
	}
	for _, p := range parts {
		files = append(files, copied{name: segmentPath(p.first), size: p.size})
	}
	torn, err := k.torn()
	if err != nil {
		return nil, err
	}
	files = append(files, torn...)
	for i := range files {
		if err := k.compareOne(&files[i]); err != nil {
			return nil, err
		}
	}
	return files, nil
}

func (k *copying) compareOne(c *copied) error {
	to, err := k.to.Open(c.name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer to.Close()
	info, err := to.Stat()
	if err != nil {
		return err
	}
	if c.has = info.Size; c.has > c.size {
		return &CopyError{c.name, fmt.Sprintf("it has %d bytes, the log has %d: it is no copy of it", c.has, c.size)}
	}
	from, err := k.from.Open(c.name)
	if err != nil {
		return err
	}
	defer from.Close()
	for at := int64(0); at < c.has; at += int64(len(k.buf)) {
		if err := k.ctx.Err(); err != nil {
			return err
		}
		n := min(int64(len(k.buf)), c.has-at)
		if err := errors.Join(readFull(from, k.buf[:n], at), readFull(to, k.old[:n], at)); err != nil {
			return err
		}
		if !bytes.Equal(k.buf[:n], k.old[:n]) {
			return &CopyError{c.name, "it holds something else than the log: it is no copy of it"}
		}
	}
	return nil
}

// extend copies what is missing of a file.
func (k *copying) extend(c copied) error {
	from, err := k.from.Open(c.name)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := k.to.Create(c.name, false)
	if errors.Is(err, fs.ErrExist) {
		to, err = k.to.Edit(c.name)
	}
	if err != nil {
		return err
	}
	for at := c.has; err == nil && at < c.size; at += int64(len(k.buf)) {
		b := k.buf[:min(int64(len(k.buf)), c.size-at)]
		if err = k.ctx.Err(); err == nil {
			err = readFull(from, b, at)
		}
		if err == nil {
			_, err = to.WriteAt(b, at)
		}
	}
	if err == nil {
		err = to.Sync()
	}
	return errors.Join(err, to.Close())
}

// torn lists what was set aside: it is no part of the log, but evidence.
func (k *copying) torn() (files []copied, err error) {
	names, err := k.from.List(tornDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, name := range names {
		name = tornDir + "/" + name
		info, err := k.from.Stat(name)
		if err != nil {
			return nil, err
		}
		files = append(files, copied{name: name, size: info.Size})
	}
	return files, nil
}

// checkCopy refuses to write to a copy with the key of the original.
func (o *opening) checkCopy() error {
	f, err := o.dir.Open(copyFileName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	mark, err := io.ReadAll(io.LimitReader(io.NewSectionReader(f, 0, 1<<10), 1<<10))
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if o.continues() || !bytes.Contains(mark, []byte(" "+o.key.Name()+";")) {
		return nil
	}
	return o.refuse(o.head.Head(), fmt.Errorf("%w, and the original may still be written to: %s. If the original is gone and nobody holds a newer head of it, removing the file %s makes the copy the log",
		ErrCopy, successorOf(o.key.Name(), o.head.Head().Origin), copyFileName))
}
