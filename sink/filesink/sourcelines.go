package filesink

import (
	"context"
	"fmt"
	"iter"
	"sync"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/disk"
)

// A lineCursor remembers where the last batch began that was read, so that who
// reads on does not begin at the segment's first line. It is safe for concurrent
// use.
type lineCursor struct {
	mu    sync.Mutex
	valid bool
	first int64 // the segment's first index
	info  disk.Info
	off   int64 // where a batch begins
	index int64 // of its first event
}

func (c *lineCursor) get(first, from int64, info disk.Info) (off, index int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.valid || c.first != first || c.index > from || !c.info.Same(info) || c.off > info.Size {
		return 0, first
	}
	return c.off, c.index
}

func (c *lineCursor) set(first int64, info disk.Info, off, index int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.valid, c.first, c.info, c.off, c.index = true, first, info, off, index
}

// Size returns how many events of the log are durable: those that Append has
// acknowledged.
func (s *Sink) Size(context.Context) (int64, error) {
	return s.current().head.Head().Size, nil
}

// Lines iterates over the lines of the log as its files hold them, from the
// event with this index on: events and, behind each batch, its commit line. It
// ends with the commit line that is the newest durable one when the iteration
// begins. A line has no line feed and is only good until the next one. Reading
// on where an earlier iteration ended costs no more than what is new.
func (s *Sink) Lines(ctx context.Context, from int64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		yieldLines(ctx, s.dir, s.current().parts(), from, &s.cursor, yield)
	}
}

// Size returns how many events of the log are known to be durable: see
// [Reader.Checkpoint]. Without verifier keys given to [OpenReader], the
// directory's signed checkpoint says nothing, and the newest batch counts only
// when something follows it.
func (r *Reader) Size(ctx context.Context) (int64, error) {
	_, size, err := r.durableParts(ctx)
	if err != nil {
		return 0, fmt.Errorf("filesink: %w", err)
	}
	return size, nil
}

// KnownDurable says that the head of a size is known to be durable, from elsewhere:
// from a mirror that the writer itself has fed, say. A writer that was killed may not
// have said so in its directory.
func (r *Reader) KnownDurable(size int64) {
	for old := r.outside.Load(); size > old && !r.outside.CompareAndSwap(old, size); {
		old = r.outside.Load()
	}
}

// Lines is [Sink.Lines], up to the newest commit line that is known to be
// durable, as [Reader.Size] has it.
func (r *Reader) Lines(ctx context.Context, from int64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		parts, _, err := r.durableParts(ctx)
		if err != nil {
			yield(nil, fmt.Errorf("filesink: %w", err))
			return
		}
		yieldLines(ctx, r.dir, parts, from, &r.cursor, yield)
	}
}

// durableParts lists the segments as far as they are known to be durable, and
// says up to which size that is. No signature of an entry is checked.
func (r *Reader) durableParts(ctx context.Context) ([]part, int64, error) {
	known := r.outside.Load() // before the entries, which are ahead of it
	for _, key := range r.keys {
		known = max(known, r.known(key))
	}
	parts, err := r.parts(ctx)
	if err != nil || len(parts) == 0 {
		return nil, 0, err
	}
	last := len(parts) - 1
	size, err := r.endOf(parts[last])
	if err != nil || parts[last].more || size <= known {
		return parts, size, err
	}
	// The newest commit may not be durable yet: the one before it is.
	p, ok, err := r.before(ctx, parts[last], size)
	switch {
	case err != nil:
		return nil, 0, err
	case ok:
		parts[last] = p
	case last == 0:
		return nil, 0, nil
	default:
		parts = parts[:last]
	}
	size, err = r.endOf(parts[len(parts)-1])
	return parts, size, err
}

// endOf returns the size that a part's last commit line claims.
func (r *Reader) endOf(p part) (int64, error) {
	f, err := r.dir.Open(segmentPath(p.first))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	text, err := lastCommit(f, p.size)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", segmentPath(p.first), err)
	}
	head, err := auditlog.CommitHead(text)
	return head.Size, err
}

// yieldLines yields the lines of parts from an index on.
func yieldLines(ctx context.Context, dir disk.Dir, parts []part, from int64, c *lineCursor, yield func([]byte, error) bool) {
	for i, p := range parts {
		if i+1 < len(parts) && parts[i+1].first <= from {
			continue
		}
		more, err := yieldPart(ctx, dir, p, from, c, yield)
		if err != nil {
			yield(nil, fmt.Errorf("filesink: read %s: %w", segmentPath(p.first), err))
			return
		}
		if !more {
			return
		}
	}
}

// yieldPart yields the lines of a part. It returns false when the iteration is
// to end.
func yieldPart(ctx context.Context, dir disk.Dir, p part, from int64, c *lineCursor, yield func([]byte, error) bool) (bool, error) {
	f, err := dir.Open(segmentPath(p.first))
	if err != nil {
		return false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	off, index := c.get(p.first, from, info)
	batch, first := off, index // where the batch at hand begins
	for l, err := range forward(f, off, p.size) {
		if err != nil {
			return false, err
		}
		if !auditlog.IsCommit(l.bytes) {
			index++
			if index%1024 == 0 && ctx.Err() != nil {
				return false, ctx.Err()
			}
			if index > from && !yield(l.bytes, nil) {
				return false, nil
			}
			continue
		}
		if index > from {
			c.set(p.first, info, batch, first)
			if !yield(l.bytes, nil) {
				return false, nil
			}
		}
		batch, first = l.end(), index
	}
	return true, nil
}
