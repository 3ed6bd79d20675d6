package mirror

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit/auditlog"
)

// ReaderOptions adjust a [Reader]. The zero value, like nil, gives the defaults.
type ReaderOptions struct {
	// Keys are the log's verifier keys, oldest first. Without any the hashes are
	// compared and no signature, all is read from the beginning, and a chunk of
	// more than 16 MiB is an error: nothing proves that it is worth its memory.
	Keys []note.Verifier
	// Branch is the number of the branch that is read. Default: the newest; with
	// Keys, the newest that a successor made, see [Mirror.Accept]. [Reader.Records]
	// and [Reader.Contact] then look for it each time.
	Branch int
	// OnError is called with each [*SquattedError], each time that one is met.
	// Default: nothing is.
	OnError func(error)
}

// A Reader reads a mirror. It proves what it reads: each line that it yields is
// under a commit line to which the lines lead, and which a key has signed if keys
// are given. It is a [Source], so that a log can be restored from it with
// filesink's CopyLines, and a mirror be mirrored; and a [jobaudit.AuditReader]. It
// is safe for concurrent use.
type Reader struct {
	target target
	branch int // that was asked for, 0 for the newest
	all    []Branch
	n      int
	last   *lastRead
	unread error // of what may name another branch as the newest
}

// OpenReader opens the mirror in a store. The error is [ErrNoMirror] if there is
// none. What may not be read is passed by, and [Reader.Lines] ends with an error if it may
// hold what was not read.
func OpenReader(ctx context.Context, store Store, o *ReaderOptions) (*Reader, error) {
	var opts ReaderOptions
	if o != nil {
		opts = *o
	}
	if opts.OnError == nil {
		opts.OnError = func(error) {}
	}
	r := &Reader{target: target{store: store, keys: opts.Keys, report: opts.OnError}, branch: opts.Branch, last: &lastRead{}}
	return r.look(ctx)
}

// look returns a reader of the branch that is the one to read now.
func (r *Reader) look(ctx context.Context) (*Reader, error) {
	t := r.target.noting()
	all, err := t.branches(ctx)
	if err != nil {
		return nil, fmt.Errorf("mirror: %w", err)
	}
	now := &Reader{target: r.target, branch: r.branch, all: all, last: r.last}
	if r.branch != 0 {
		now.n = slices.IndexFunc(all, func(b Branch) bool { return b.Number == r.branch })
		if err := t.unreadBranch(0); now.n < 0 && err != nil {
			return nil, fmt.Errorf("mirror: branch %d: %w", r.branch, err)
		}
		if now.n < 0 && len(all) > 0 {
			return nil, fmt.Errorf("mirror: there is no branch %d", r.branch)
		}
	}
	if len(all) == 0 {
		if err := t.unreadBranch(0); err != nil {
			return nil, fmt.Errorf("mirror: %w", err)
		}
		return nil, ErrNoMirror
	}
	if r.branch == 0 {
		made, err := t.made(ctx, all)
		if err != nil {
			return nil, fmt.Errorf("mirror: %w", err)
		}
		now.n = indexOf(all, made[len(made)-1].Number)
		now.unread = t.unreadBranch(now.Branch().Number)
	}
	return now, nil
}

// Branches returns all branches that there were when the reader was opened, in the
// order of their numbers.
func (r *Reader) Branches() []Branch { return slices.Clone(r.all) }

// Branch returns the branch that is read, or was the newest when the reader was
// opened.
func (r *Reader) Branch() Branch { return r.all[r.n] }

// Head returns the newest head of the branch that is stored and verifies, which
// is what a mirror reports as mirrored; [auditlog.ErrNoHead] if there is none. If a
// larger one may not be read, the error wraps [fs.ErrPermission]. It needs keys.
func (r *Reader) Head(ctx context.Context) (auditlog.Checkpoint, error) {
	t := r.target.noting()
	f, err := t.newest(ctx, r.Branch().Number, maxSize)
	if err == nil {
		err = t.unreadHead(r.Branch().Number, f.sizeOrNone())
	}
	if err == nil && f == nil {
		err = auditlog.ErrNoHead
	}
	if err != nil {
		return auditlog.Checkpoint{}, fmt.Errorf("mirror: %w", err)
	}
	return f.head, nil
}

// Size returns the size of the newest head that is stored and verifies, 0 if there is
// none; whether a larger one may not be read says [Reader.Lines], at its end. Without
// keys it is that of the newest object that has the form of a head, which anybody who
// may put objects can have made.
func (r *Reader) Size(ctx context.Context) (int64, error) {
	size, err := r.target.covered(ctx, r.Branch())
	if err != nil {
		return 0, fmt.Errorf("mirror: %w", err)
	}
	return size, nil
}

// A MissingError says that a mirror lacks events that its newest head covers: their
// chunks were removed, or do not verify. Without keys the head is not proven: anybody who may put objects into
// the store can have made one of more events than there ever were.
type MissingError struct {
	Branch int // whose chunks are missing
	// First is the index of the first event that is missing, End the size that
	// the branch's newest head has, or at which the branch that is read leaves it.
	First, End int64
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("events %d to %d are missing in the mirror: its newest head covers branch %d up to size %d, and no chunk that verifies leads from %d to it",
		e.First, e.End-1, e.Branch, e.End, e.First)
}

// Lines iterates over the log's lines without line feeds, from the event with this
// index on: events and, behind each batch, its commit line. They are the lines of
// the log as its own files had them, to the byte. A chunk is proven before its
// first line is yielded. If the mirror lacks lines that its newest head covers, the
// error behind the last line before them wraps a [*MissingError]. If there may be more
// lines in what may not be read, it wraps [fs.ErrPermission] and is the store's: that
// is so with a head that is larger than what was read, an object where the next chunk
// belongs, and the record of a later branch. What may not be read and holds nothing
// more is passed by.
func (r *Reader) Lines(ctx context.Context, from int64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		t := r.target.noting()
		// Before anything is read: a mirror that goes on meanwhile lacks nothing.
		size, err := t.covered(ctx, r.Branch())
		if err == nil {
			err = r.lines(ctx, t, from, size, yield)
		}
		if err != nil {
			yield(nil, fmt.Errorf("mirror: %w", err))
		}
	}
}

func (r *Reader) lines(ctx context.Context, t *target, from, size int64, yield func([]byte, error) bool) error {
	at, err := t.begin(ctx, r.all, r.n, from)
	if err != nil {
		return err
	}
	more, err := t.walk(ctx, r.all, r.n, at, -1, func(line []byte, size int64) bool {
		if err := ctx.Err(); err != nil {
			yield(nil, err)
			return false
		}
		if size <= from {
			return true
		}
		return yield(line, nil)
	})
	if !more || err != nil {
		return err
	}
	if err := t.unreadChunk(); err != nil {
		return err
	}
	if at.size() < size {
		return &MissingError{r.Branch().Number, at.size(), size}
	}
	if err := t.unreadHead(r.Branch().Number, at.size()); err != nil {
		return err
	}
	return r.unread
}

// A Stored is a [Store] that says when an object was stored, by its own clock.
type Stored interface {
	// Stored returns when the newest version of an object was stored.
	Stored(ctx context.Context, name string) (time.Time, error)
}

// Contact returns when the mirror last stored something about this log, by the
// store's clock if it is a [Stored], of which the newest head must be one that may be
// read; else when it last had nothing to store and
// said that it runs, by its own clock; the zero time if that is not known. It
// proves nothing: nobody signs it, and who may put
// objects into the store can say so for a mirror that has ended. What the log's
// events say is signed.
func (r *Reader) Contact(ctx context.Context) (time.Time, error) {
	r, err := r.look(ctx)
	if err != nil {
		return time.Time{}, err
	}
	contact, said, err := r.target.newestContact(ctx)
	if err != nil {
		return contact, fmt.Errorf("mirror: %w", err)
	}
	dated, ok := r.target.store.(Stored)
	if !ok {
		return contact, nil
	}
	newest := time.Time{}
	head, err := r.newestHead(ctx)
	if err != nil {
		return newest, fmt.Errorf("mirror: %w", err)
	}
	for _, name := range []string{said, head} {
		if name == "" {
			continue
		}
		t, err := dated.Stored(ctx, name)
		if err != nil {
			return newest, err
		}
		if t.After(newest) {
			newest = t
		}
	}
	return newest, nil
}

// newestHead returns the name of the newest head, empty if there is none. Without
// keys it is what the store claims.
func (r *Reader) newestHead(ctx context.Context) (string, error) {
	number := r.Branch().Number
	t := r.target.noting()
	if len(t.keys) == 0 {
		size, name, err := t.claimed(ctx, r.Branch())
		return name, errors.Join(err, t.unreadHead(number, size))
	}
	f, err := t.newest(ctx, number, maxSize)
	if err == nil {
		err = t.unreadHead(number, f.sizeOrNone())
	}
	if f == nil || err != nil {
		return "", err
	}
	return headName(number, f.size()), nil
}
