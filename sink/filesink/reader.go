package filesink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/disk"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// A Reader reads a log's directory, also while another process writes to it:
// it takes no lock and writes nothing. What follows the newest commit line is
// in flight and not shown. It checks form and sizes of commit lines, not their
// signatures: that is what Verify is for. A Reader may see a commit just
// before it is durable, but hands out durable heads only. It is safe for
// concurrent use.
type Reader struct {
	dir     disk.Dir
	keys    []note.Verifier
	open    openJobs
	cursor  lineCursor
	outside atomic.Int64 // see KnownDurable

	mu      sync.Mutex
	extents map[int64]extent // of segments without an index, by first index
	filed   map[int64]filed  // of those with one, if there are keys
}

// A filed segment has an index that was verified. What it is used for is checked
// against the digest again, so that only files which look changed are verified again.
type filed struct {
	part
	index, segment disk.Info
}

// An extent is how far a segment was found to be good.
type extent struct {
	end, size int64
	info      disk.Info
	misfit    bool  // a commit line does not fit the lines before it
	last      int64 // a commit line of this size is not looked at any more; 0 for none
}

// OpenReader opens a log's directory for reading. The error is
// [io/fs.ErrNotExist] if there is none, and if it holds no log. A log whose
// oldest files are missing gives [ErrBeginning] when it is read.
//
// With the log's verifier keys, looking for a job or an event uses the log's
// indexes, which the log's key has signed. Without them the indexes cannot be
// verified, so all lines are read.
func OpenReader(dir string, keys ...note.Verifier) (*Reader, error) {
	return openReaderOn(disk.OS{}, dir, keys)
}

func openReaderOn(on disk.Disk, dir string, keys []note.Verifier) (*Reader, error) {
	d, err := on.OpenDir(dir, false)
	if err != nil {
		return nil, fmt.Errorf("filesink: %w", err)
	}
	if err := checkFormat(d); err != nil {
		return nil, errors.Join(fmt.Errorf("filesink: %s: %w", dir, err), d.Close())
	}
	if _, err := d.Stat(entriesDir); err != nil {
		return nil, errors.Join(fmt.Errorf("filesink: %s holds no log: %w", dir, err), d.Close())
	}
	return &Reader{dir: d, keys: keys, extents: make(map[int64]extent), filed: make(map[int64]filed)}, nil
}

// Close ends the reading; iterations that are under way fail.
func (r *Reader) Close() error { return r.dir.Close() }

// Records is [Sink.Records], for what the directory holds when an iteration begins.
func (r *Reader) Records(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		parts, err := r.parts(ctx)
		if err != nil {
			yield(jobaudit.Record{}, err)
			return
		}
		p := iteration{ctx: ctx, dir: r.dir, parts: parts, query: q, yield: yield}
		p.run()
	}
}

// pollInterval is how often Tail looks for more. Polling, unlike notifications,
// works on every file system.
const pollInterval = 200 * time.Millisecond

// Tail is [Sink.Tail]. It looks for more every 200 ms.
func (r *Reader) Tail(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		tick := time.NewTicker(pollInterval)
		defer tick.Stop()
		more := make(chan struct{})
		done := make(chan struct{})
		defer close(done)
		go func() {
			for {
				select {
				case <-tick.C:
				case <-done:
					return
				}
				select {
				case more <- struct{}{}:
				case <-done:
					return
				}
			}
		}()
		p := iteration{ctx: ctx, dir: r.dir, query: q, yield: yield}
		p.tail(func() ([]part, <-chan struct{}, error) {
			parts, err := r.parts(ctx)
			return parts, more, err
		}, nil)
	}
}

// Segments lists the log's files for [auditlog.Verify]. They are read up to
// the size that they have when Verify opens them.
func (r *Reader) Segments() ([]auditlog.Segment, error) {
	firsts, err := listSegments(r.dir)
	if err != nil {
		return nil, fmt.Errorf("filesink: %w", err)
	}
	segments := make([]auditlog.Segment, len(firsts))
	for i, first := range firsts {
		segments[i] = auditlog.Segment{Name: segmentPath(first), First: first, Open: func() (io.ReadCloser, error) {
			f, err := r.dir.Open(segmentPath(first))
			if err != nil {
				return nil, err
			}
			info, err := f.Stat()
			if err != nil {
				return nil, errors.Join(err, f.Close())
			}
			return struct {
				io.Reader
				io.Closer
			}{io.NewSectionReader(f, 0, info.Size), f}, nil
		}}
	}
	return segments, nil
}

// Hashes returns the log's stored hashes, as hints for [auditlog.Verify]. They
// may be missing or behind the log, and prove nothing.
func (r *Reader) Hashes() tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		f, err := r.dir.Open(treeFile)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return auditlog.StoredHashes(f).ReadHashes(indexes)
	})
}

// Checkpoint returns the newest durable head in the log, which the key has to
// have signed; [auditlog.ErrNoHead] if there is none. That the entries lead to
// it is for Verify to tell.
//
// An anchor that keeps a head shows it when the log loses it, so it has to be
// one that a crash cannot take back: the writer has said so in the directory's
// signed checkpoint, or has gone on writing behind its commit line.
func (r *Reader) Checkpoint(ctx context.Context, key note.Verifier) (auditlog.Checkpoint, error) {
	c, _, err := r.durable(ctx, key)
	if err != nil {
		return auditlog.Checkpoint{}, fmt.Errorf("filesink: %w", err)
	}
	return c, nil
}

// durable returns the newest durable head, which one of the keys has to have signed, and
// the parts that lead to it. Who signed a head behind it does not matter: that may be a
// successor's first one.
func (r *Reader) durable(ctx context.Context, keys ...note.Verifier) (auditlog.Checkpoint, []part, error) {
	none := auditlog.Checkpoint{}
	known := r.outside.Load() // before the entries, which are ahead of it
	for _, key := range slices.Concat(keys, r.keys) {
		known = max(known, r.known(key))
	}
	parts, err := r.parts(ctx)
	if err != nil {
		return none, nil, err
	}
	parts = slices.DeleteFunc(parts, func(p part) bool { return p.size == 0 }) // damaged from its start
	for i := len(parts) - 1; i >= 0; i-- {
		size, err := r.endOf(parts[i])
		if err != nil {
			return none, nil, err
		}
		last := i == len(parts)-1
		if !last || parts[i].more || size <= known {
			c, err := commitOf(r.dir, parts[i], keys)
			if err != nil {
				return none, nil, err
			}
			return c, parts[:i+1], nil
		}
		// The newest commit may not be durable yet: the one before it is.
		p, ok, err := r.before(ctx, parts[i], size)
		if err != nil {
			return none, nil, err
		}
		if ok {
			parts[i] = p
			c, err := commitOf(r.dir, p, keys)
			return c, parts[:i+1], err
		}
	}
	return none, nil, auditlog.ErrNoHead
}

// known returns the size up to which the writer said that the log is durable.
func (r *Reader) known(key note.Verifier) int64 {
	signed, err := readAll(r.dir, checkpointFile, maxCheckpoint)
	if err != nil {
		return 0
	}
	c, err := auditlog.OpenCheckpoint(signed, key)
	if err != nil {
		return 0
	}
	return c.Head().Size
}

// before returns a part as it was before the commit line of a size.
func (r *Reader) before(ctx context.Context, p part, size int64) (part, bool, error) {
	f, err := r.dir.Open(segmentPath(p.first))
	if err != nil {
		return p, false, err
	}
	defer f.Close()
	x := extent{end: p.first, last: size}
	if err := x.measure(ctx, f, p.size, -1); err != nil {
		return p, false, err
	}
	return part{first: p.first, size: x.size, end: x.end, more: true}, x.size > 0, nil
}

// Prove is [Sink.Prove], against the newest durable head that the key signed.
func (r *Reader) Prove(ctx context.Context, id uuid.UUID, key note.Verifier) (auditlog.Proof, error) {
	p := prover{ctx: ctx, dir: r.dir, key: key, filed: r.Hashes()}
	var err error
	if p.head, p.parts, err = r.durable(ctx, key); err != nil {
		return auditlog.Proof{}, fmt.Errorf("filesink: prove %s: %w", id, err)
	}
	proof, err := p.prove(id)
	if errors.Is(err, errNoRecord) && r.stored(ctx, id) {
		err = fmt.Errorf("filesink: prove %s: %w", id, ErrNotDurable)
	}
	return proof, err
}

// stored reports whether the log holds an event, durable or not.
func (r *Reader) stored(ctx context.Context, id uuid.UUID) bool {
	parts, err := r.parts(ctx)
	if err != nil {
		return false
	}
	for _, p := range slices.Backward(parts) {
		if _, found, err := p.find(ctx, r.dir, id); found && err == nil {
			return true
		}
	}
	return false
}

// parts lists the segments, each as far as it may be read: up to the next
// one's first index, the last up to its newest commit line.
func (r *Reader) parts(ctx context.Context) ([]part, error) {
	firsts, err := listSegments(r.dir)
	if err == nil {
		err = checkBeginning(firsts)
	}
	if err != nil {
		return nil, fmt.Errorf("filesink: %w", err)
	}
	var parts []part
	for i, first := range firsts {
		until := int64(-1)
		if i+1 < len(firsts) {
			until = firsts[i+1]
		}
		p, err := r.part(ctx, first, until)
		if errors.Is(err, fs.ErrNotExist) && until < 0 {
			break // a segment that was begun and given up
		}
		if err != nil {
			return nil, fmt.Errorf("filesink: %s: %w", segmentPath(first), err)
		}
		if p.size > 0 || p.short {
			parts = append(parts, p)
		}
	}
	return parts, nil
}

// filedPart returns a segment as its index has it, if there is one that counts.
func (r *Reader) filedPart(first, until int64) (part, bool) {
	if len(r.keys) == 0 {
		return part{}, false
	}
	now := filed{}
	var err error
	if now.index, err = r.dir.Stat(indexPath(first)); err != nil {
		return part{}, false
	}
	if now.segment, err = r.dir.Stat(segmentPath(first)); err != nil {
		return part{}, false
	}
	r.mu.Lock()
	known, ok := r.filed[first]
	r.mu.Unlock()
	if !ok || !known.index.Unchanged(now.index) || !known.segment.Unchanged(now.segment) {
		x, err := openIndex(r.dir, first, r.keys)
		if err != nil {
			return part{}, false
		}
		defer x.close()
		if !x.agrees(r.dir) {
			return part{}, false
		}
		sum := x.sum // and no more of it
		now.part = part{first: first, size: x.Size, end: x.End, index: &sum}
		known = now
		r.mu.Lock()
		r.filed[first] = known
		r.mu.Unlock()
	}
	p := known.part
	p.more = now.segment.Size > p.size
	return p, until >= 0 && p.end == until || until < 0 && !p.more
}

func (r *Reader) part(ctx context.Context, first, until int64) (part, error) {
	if p, ok := r.filedPart(first, until); ok {
		return p, nil
	}
	f, err := r.dir.Open(segmentPath(first))
	if err != nil {
		return part{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return part{}, err
	}
	r.mu.Lock()
	known := r.extents[first]
	r.mu.Unlock()
	if known.size > info.Size || !known.info.Same(info) || until >= 0 && known.end > until {
		known = extent{end: first}
	}
	known.info = info
	if err := known.measure(ctx, f, info.Size, until); err != nil {
		return part{}, err
	}
	r.mu.Lock()
	r.extents[first] = known
	r.mu.Unlock()
	p := part{
		first: first, size: known.size, end: max(known.end, until), more: info.Size > known.size,
		short: until >= 0 && known.end < until,
	}
	if until < 0 && known.misfit {
		tail, err := auditlog.InspectTail(io.NewSectionReader(f, known.size, info.Size-known.size), known.size, known.end, r.keys)
		if err != nil {
			return part{}, err
		}
		p.short = tail.Damage != "" || tail.Head != nil && !tail.Zeros
	}
	return p, nil
}

// measure goes on from where a segment is known to be good.
func (x *extent) measure(ctx context.Context, f io.ReaderAt, size, until int64) error {
	leaves := int64(0)
	x.misfit = false
	for l, err := range forward(f, x.size, size) {
		if errors.Is(err, errLongLine) {
			break
		}
		if err != nil {
			return err
		}
		if !auditlog.IsCommit(l.bytes) {
			if leaves++; leaves%1024 == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			continue
		}
		head, err := auditlog.CommitHead(l.bytes)
		if x.last > 0 && err == nil && head.Size >= x.last {
			break
		}
		if err == nil && leaves > 0 && head.Size == x.end+leaves {
			x.end, x.size, leaves = head.Size, l.end(), 0
		} else {
			x.misfit = true
		}
		if until >= 0 && x.end >= until {
			break
		}
	}
	return nil
}
