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
	// compared and no signature, and all is read from the beginning.
	Keys []note.Verifier
	// Branch is the number of the branch that is read. Default: the newest; with
	// Keys, the newest that a successor made, see [Mirror.Accept].
	Branch int
	// OnError is called with each [*SquattedError]. Default: nothing is.
	OnError func(error)
}

// A Reader reads a mirror. It proves what it reads: each line that it yields is
// under a commit line to which the lines lead, and which a key has signed if keys
// are given. It is a [Source], so that a log can be restored from it with
// filesink's CopyLines, and a mirror be mirrored; and a [jobaudit.AuditReader]. It
// is safe for concurrent use.
type Reader struct {
	target target
	all    []Branch
	n      int
	last   lastRead
}

// OpenReader opens the mirror in a store. The error is [ErrNoMirror] if there is
// none.
func OpenReader(ctx context.Context, store Store, o *ReaderOptions) (*Reader, error) {
	var opts ReaderOptions
	if o != nil {
		opts = *o
	}
	if opts.OnError == nil {
		opts.OnError = func(error) {}
	}
	r := &Reader{target: target{store: store, keys: opts.Keys, report: opts.OnError}}
	var err error
	if r.all, err = r.target.branches(ctx); err != nil {
		return nil, fmt.Errorf("mirror: %w", err)
	}
	if len(r.all) == 0 {
		return nil, ErrNoMirror
	}
	if opts.Branch == 0 {
		made, err := r.target.made(ctx, r.all)
		if err != nil {
			return nil, fmt.Errorf("mirror: %w", err)
		}
		r.n = indexOf(r.all, made[len(made)-1].Number)
	} else {
		if r.n = slices.IndexFunc(r.all, func(b Branch) bool { return b.Number == opts.Branch }); r.n < 0 {
			return nil, fmt.Errorf("mirror: there is no branch %d", opts.Branch)
		}
	}
	return r, nil
}

// Branches returns all branches, in the order of their numbers.
func (r *Reader) Branches() []Branch { return slices.Clone(r.all) }

// Branch returns the branch that is read.
func (r *Reader) Branch() Branch { return r.all[r.n] }

// Head returns the newest head of the branch that is stored and verifies, which
// is what a mirror reports as mirrored; [auditlog.ErrNoHead] if there is none. It
// needs keys.
func (r *Reader) Head(ctx context.Context) (auditlog.Checkpoint, error) {
	f, err := r.target.newest(ctx, r.Branch().Number, maxSize)
	if err == nil && f == nil {
		err = auditlog.ErrNoHead
	}
	if err != nil {
		return auditlog.Checkpoint{}, fmt.Errorf("mirror: %w", err)
	}
	return f.head, nil
}

// Size returns the size of [Reader.Head], 0 if there is none. Without keys it is
// what the store claims.
func (r *Reader) Size(ctx context.Context) (int64, error) {
	if len(r.target.keys) > 0 {
		c, err := r.Head(ctx)
		if errors.Is(err, auditlog.ErrNoHead) {
			return 0, nil
		}
		return c.Head().Size, err
	}
	size, err := r.target.claimed(ctx, r.Branch().Number)
	if err != nil {
		return 0, fmt.Errorf("mirror: %w", err)
	}
	return size, nil
}

// Lines iterates over the log's lines without line feeds, from the event with this
// index on: events and, behind each batch, its commit line. They are the lines of
// the log as its own files had them, to the byte. A chunk is proven before its
// first line is yielded.
func (r *Reader) Lines(ctx context.Context, from int64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		at, err := r.target.begin(ctx, r.all, r.n, from)
		if err == nil {
			_, err = r.target.walk(ctx, r.all, r.n, at, -1, func(line []byte, size int64) bool {
				if err := ctx.Err(); err != nil {
					yield(nil, err)
					return false
				}
				if size <= from {
					return true
				}
				return yield(line, nil)
			})
		}
		if err != nil {
			yield(nil, fmt.Errorf("mirror: %w", err))
		}
	}
}

// A Stored is a [Store] that says when an object was stored, by its own clock.
type Stored interface {
	// Stored returns when the newest version of an object was stored.
	Stored(ctx context.Context, name string) (time.Time, error)
}

// Contact returns when the mirror last stored something about this log, by the
// store's clock if it is a [Stored], else as the mirror's clock said; the zero
// time if that is not known. It proves nothing: nobody signs it, and who may put
// objects into the store can say so for a mirror that has ended. What the log's
// events say is signed.
func (r *Reader) Contact(ctx context.Context) (time.Time, error) {
	contact, said, err := r.target.newestContact(ctx)
	if err != nil {
		return contact, fmt.Errorf("mirror: %w", err)
	}
	dated, ok := r.target.store.(Stored)
	if !ok {
		return contact, nil
	}
	newest := time.Time{}
	head, err := r.target.newest(ctx, r.Branch().Number, maxSize)
	if err != nil {
		return newest, fmt.Errorf("mirror: %w", err)
	}
	names := []string{said}
	if head != nil {
		names = append(names, headName(r.Branch().Number, head.size()))
	}
	for _, name := range names {
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
