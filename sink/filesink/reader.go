package filesink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"sync"

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
// before it is durable. It is safe for concurrent use.
type Reader struct {
	dir disk.Dir

	mu      sync.Mutex
	extents map[int64]extent // of segments without an index, by first index
}

// An extent is how far a segment was found to be good.
type extent struct {
	end, size int64
	info      disk.Info
}

// OpenReader opens a log's directory for reading. The error is
// [io/fs.ErrNotExist] if there is none, and if it holds no log.
func OpenReader(dir string) (*Reader, error) {
	d, err := disk.OS{}.OpenDir(dir, false)
	if err != nil {
		return nil, fmt.Errorf("filesink: %w", err)
	}
	if _, err := d.Stat(entriesDir); err != nil {
		return nil, errors.Join(fmt.Errorf("filesink: %s holds no log: %w", dir, err), d.Close())
	}
	return &Reader{dir: d, extents: make(map[int64]extent)}, nil
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

// Checkpoint returns the newest head in the log, which the key has to have
// signed; [auditlog.ErrNoHead] if there is none. That the entries lead to it
// is for Verify to tell.
func (r *Reader) Checkpoint(ctx context.Context, key note.Verifier) (auditlog.Checkpoint, error) {
	parts, err := r.parts(ctx)
	if err != nil {
		return auditlog.Checkpoint{}, err
	}
	for i := len(parts) - 1; i >= 0; i-- {
		if parts[i].size > 0 {
			return commitOf(r.dir, parts[i], key)
		}
	}
	return auditlog.Checkpoint{}, fmt.Errorf("filesink: %w", auditlog.ErrNoHead)
}

// Prove is [Sink.Prove], against the newest head that the key signed.
func (r *Reader) Prove(ctx context.Context, id uuid.UUID, key note.Verifier) (auditlog.Proof, error) {
	p := prover{ctx: ctx, dir: r.dir, key: key, filed: r.Hashes()}
	var err error
	if p.parts, err = r.parts(ctx); err == nil && len(p.parts) > 0 {
		p.head, err = commitOf(r.dir, p.parts[len(p.parts)-1], key)
	}
	if err != nil {
		return auditlog.Proof{}, fmt.Errorf("filesink: prove %s: %w", id, err)
	}
	return p.prove(id)
}

// parts lists the segments, each as far as it may be read: up to the next
// one's first index, the last up to its newest commit line.
func (r *Reader) parts(ctx context.Context) ([]part, error) {
	firsts, err := listSegments(r.dir)
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
		if p.size > 0 {
			parts = append(parts, p)
		}
	}
	return parts, nil
}

func (r *Reader) part(ctx context.Context, first, until int64) (part, error) {
	f, err := r.dir.Open(segmentPath(first))
	if err != nil {
		return part{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return part{}, err
	}
	if x, err := openIndex(r.dir, first); err == nil {
		defer x.close()
		if until >= 0 && x.End == until || until < 0 && x.Size == info.Size {
			return part{first: first, size: x.Size, indexed: true}, nil
		}
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
	return part{first: first, size: known.size}, nil
}

// measure goes on from where a segment is known to be good.
func (x *extent) measure(ctx context.Context, f io.ReaderAt, size, until int64) error {
	leaves := int64(0)
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
		if head, err := auditlog.CommitHead(l.bytes); err == nil && head.Size == x.end+leaves {
			x.end, x.size, leaves = head.Size, l.end(), 0
		}
		if until >= 0 && x.end >= until {
			break
		}
	}
	return nil
}
