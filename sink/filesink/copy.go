package filesink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

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
// everything up to the newest durable head, which it returns. Files are copied in an order in which an interrupted copy is
// a shorter log and nothing is missing from it; Copy goes on with one. At the
// end the copy is proven: each entry is under a signature of the keys and agrees
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
	head, parts, err := r.durable(ctx, keys...)
	if err != nil {
		return none, err
	}
	to, err := disk.OS{}.OpenDir(dir, true)
	if err != nil {
		return none, err
	}
	defer to.Close()
	k := &copying{ctx: ctx, from: r.dir, to: to, buf: make([]byte, blockSize), old: make([]byte, blockSize)}
	if err := k.all(parts, head); err != nil {
		return none, err
	}
	_, err = Verify(ctx, dir, &VerifyOptions{Keys: keys, Heads: []auditlog.Head{head.Head()}})
	return head, err
}

// copying is one call of Copy.
type copying struct {
	ctx      context.Context
	from, to disk.Dir
	buf, old []byte
}

func (k *copying) all(parts []part, head auditlog.Checkpoint) error {
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
	for _, p := range parts {
		if err := k.segment(segmentPath(p.first), p.size); err != nil {
			return err
		}
	}
	if err := k.to.Sync(entriesDir); err != nil {
		return err
	}
	if err := k.torn(); err != nil {
		return err
	}
	// The checkpoint says that the events are there, so it comes last.
	return replaceFile(k.to, checkpointFile, head.Signed(), true)
}

// segment copies the first size bytes of a file, or what is missing of them.
func (k *copying) segment(name string, size int64) error {
	from, err := k.from.Open(name)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := k.to.Create(name, false)
	if errors.Is(err, fs.ErrExist) {
		to, err = k.to.Edit(name)
	}
	if err != nil {
		return err
	}
	err = k.rest(name, from, to, size)
	return errors.Join(err, to.Close())
}

func (k *copying) rest(name string, from, to disk.File, size int64) error {
	info, err := to.Stat()
	if err != nil {
		return err
	}
	if info.Size > size {
		return &CopyError{name, fmt.Sprintf("it has %d bytes, the log has %d: it is no copy of it", info.Size, size)}
	}
	for at := int64(0); at < size; {
		if err := k.ctx.Err(); err != nil {
			return err
		}
		b := k.buf[:min(int64(len(k.buf)), size-at)]
		if err := readFull(from, b, at); err != nil {
			return err
		}
		have := k.old[:max(0, min(int64(len(b)), info.Size-at))]
		if err := readFull(to, have, at); err != nil {
			return err
		}
		if !bytes.Equal(have, b[:len(have)]) {
			return &CopyError{name, "it holds something else than the log: it is no copy of it"}
		}
		if len(have) < len(b) {
			if _, err := to.WriteAt(b[len(have):], at+int64(len(have))); err != nil {
				return err
			}
		}
		at += int64(len(b))
	}
	return to.Sync()
}

// torn copies what was set aside: it is no part of the log, but evidence.
func (k *copying) torn() error {
	names, err := k.from.List(tornDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		name = tornDir + "/" + name
		info, err := k.from.Stat(name)
		if err != nil {
			return err
		}
		if err := k.segment(name, info.Size); err != nil {
			return err
		}
	}
	return k.to.Sync(tornDir)
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
