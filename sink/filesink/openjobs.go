package filesink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/jobcheck"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/disk"
)

// OpenJobs iterates over the records of all jobs that have no outcome in the log,
// and of all executions without an end: submissions, starts, ends of attempts
// and the newest heartbeat of each, in the order of the log. It reads the
// segments' indexes, each once, and the records that it yields. A watchdog uses
// it (the interface OpenJobs of package watchdog) and need not read the rest. A
// line that is no record is a [*jobaudit.UnreadableError], behind which reading
// goes on; any other error ends the iteration.
func (s *Sink) OpenJobs(ctx context.Context) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		s.open.iterate(ctx, s.dir, s.current().parts(), (*jobcheck.Lives).Open, yield)
	}
}

// OpenRuns is [Sink.OpenJobs] without the jobs that have been submitted and of which
// this log holds nothing else, as it does of all jobs that run in another process
// with a log of its own.
func (s *Sink) OpenRuns(ctx context.Context) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		s.open.iterate(ctx, s.dir, s.current().parts(), (*jobcheck.Lives).OpenRuns, yield)
	}
}

// OpenJobs is [Sink.OpenJobs], for what the directory holds when an iteration
// begins. Without the log's verifier keys it reads all lines once.
func (r *Reader) OpenJobs(ctx context.Context) iter.Seq2[jobaudit.Record, error] {
	return r.openOf(ctx, (*jobcheck.Lives).Open)
}

// OpenRuns is [Sink.OpenRuns], as OpenJobs is.
func (r *Reader) OpenRuns(ctx context.Context) iter.Seq2[jobaudit.Record, error] {
	return r.openOf(ctx, (*jobcheck.Lives).OpenRuns)
}

func (r *Reader) openOf(ctx context.Context, of livesOf) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		parts, err := r.parts(ctx)
		if err != nil {
			yield(jobaudit.Record{}, err)
			return
		}
		r.open.iterate(ctx, r.dir, parts, of, yield)
	}
}

// openJobs knows the jobs that are open at the end of the parts that have been
// looked at and that are written no more.
type openJobs struct {
	mu   sync.Mutex
	seen []seenPart
	fold *jobcheck.Lives
}

// livesOf says which lives are wanted.
type livesOf func(*jobcheck.Lives) []jobcheck.PlacedLife

type seenPart struct{ first, size int64 }

func (o *openJobs) iterate(ctx context.Context, dir disk.Dir, parts []part, of livesOf, yield func(jobaudit.Record, error) bool) {
	lives, err := o.lives(ctx, dir, parts, of)
	if err == nil {
		p := iteration{ctx: ctx, dir: dir, parts: parts, yield: yield}
		err = p.readLives(lives)
	}
	if err != nil && err != errStop {
		yield(jobaudit.Record{}, fmt.Errorf("filesink: open jobs: %w", err))
	}
}

// lives returns what tells of open jobs, in the order of the log.
func (o *openJobs) lives(ctx context.Context, dir disk.Dir, parts []part, of livesOf) ([]jobcheck.PlacedLife, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.knows(parts) {
		o.seen, o.fold = nil, jobcheck.NewLives(false)
	}
	for i, p := range parts {
		if i < len(o.seen) {
			continue
		}
		lives, err := p.telling(ctx, dir)
		if err != nil {
			return nil, err
		}
		fold := o.fold
		if i == len(parts)-1 { // it may grow
			fold = fold.Clone()
		} else {
			o.seen = append(o.seen, seenPart{p.first, p.size})
		}
		for _, l := range lives {
			fold.Add(l.of(p.first))
		}
		if i == len(parts)-1 {
			return of(fold), nil
		}
	}
	return nil, nil
}

// knows reports whether the parts go on from those that have been seen.
func (o *openJobs) knows(parts []part) bool {
	return o.fold != nil && len(o.seen) < max(len(parts), 1) &&
		slices.EqualFunc(o.seen, parts[:len(o.seen)], func(s seenPart, p part) bool { return s.first == p.first && s.size == p.size })
}

// telling returns what of the part's lives matters at its end.
func (p part) telling(ctx context.Context, dir disk.Dir) ([]life, error) {
	if p.entries != nil {
		return p.lives, nil
	}
	if p.index != nil {
		if x, err := openKnown(dir, p.first, *p.index); err == nil {
			lives, ok, err := x.lives()
			if errors.Join(err, x.close()) == nil && ok {
				return lives, nil
			}
		}
	}
	f, err := dir.Open(segmentPath(p.first))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var lives []life
	n := 0
	for l, err := range forward(f, 0, p.size) {
		if n++; err != nil || n%1024 == 0 && ctx.Err() != nil {
			return nil, errors.Join(err, ctx.Err())
		}
		if auditlog.IsCommit(l.bytes) {
			continue
		}
		if one := lifeOf(l.bytes, uint32(l.off)); one.Kind != jobcheck.NotTelling {
			lives = append(lives, one)
		}
	}
	return lives, nil
}

// readLives yields the records that lives are of.
func (p *iteration) readLives(lives []jobcheck.PlacedLife) error {
	buf := make([]byte, 4<<10)
	for _, part := range p.parts {
		n := 0
		for n < len(lives) && lives[n].Part == part.first {
			n++
		}
		if n == 0 {
			continue
		}
		if err := p.readLivesOf(part, lives[:n], buf); err != nil {
			return err
		}
		lives = lives[n:]
	}
	return p.ctx.Err()
}

func (p *iteration) readLivesOf(part part, lives []jobcheck.PlacedLife, buf []byte) error {
	f, err := p.dir.Open(segmentPath(part.first))
	if err != nil {
		return err
	}
	defer f.Close()
	w := &window{f: f}
	for i, l := range lives {
		off := int64(l.Off)
		w.near = i+8 < len(lives) && int64(lives[i+8].Off)-off < windowSize
		text, err := readLine(w, buf, off, part.size)
		switch {
		case errors.Is(err, errNoLine):
		case err != nil:
			return fmt.Errorf("read %s at %d: %w", segmentPath(part.first), off, err)
		case jobcheck.LifeOf(text) != l.Life:
			err = errNotThere
		}
		if err != nil {
			if err := p.unreadable(part, off, err); err != nil {
				return err
			}
			continue
		}
		if err := p.offer(part, line{off, text}); err != nil {
			return err
		}
	}
	return nil
}

// windowSize is how much a window reads at once, in bytes.
const windowSize = 64 << 10

// A window reads ahead where what is wanted of a file lies near together.
type window struct {
	f    io.ReaderAt
	near bool
	off  int64
	held []byte
}

func (w *window) ReadAt(b []byte, off int64) (int, error) {
	end := off + int64(len(b))
	if off < w.off || end > w.off+int64(len(w.held)) {
		if !w.near {
			return w.f.ReadAt(b, off)
		}
		if cap(w.held) == 0 {
			w.held = make([]byte, windowSize)
		}
		n, err := w.f.ReadAt(w.held[:cap(w.held)], off)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		w.off, w.held = off, w.held[:n]
		if n < len(b) {
			return w.f.ReadAt(b, off)
		}
	}
	return copy(b, w.held[off-w.off:]), nil
}
