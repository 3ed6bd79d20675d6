package auditlog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Verification is a pipeline of workers and the folder. The workers take turns
// to read: one at a time fills a job, a buffer of whole lines, and finds the
// line ends. Then it does the rest while the job is in its core's cache: it
// hashes the leaves, folds them as far as complete subtrees go, and checks the
// signatures of the commit lines; that is nearly all of the work and needs
// nothing from other jobs. The folder, in the caller's goroutine, takes the
// jobs in order.

const (
	bufSize = 128 << 10
	// maxHeld bounds the buffers kept while their commit line is not read.
	maxHeld = (64 << 20) / bufSize
	// quickJobs is how many jobs, or somewhat more, have one signature checked
	// when it is to be quick.
	quickJobs = 16
)

// A span is a line in a job.
type span struct {
	off        int64 // in the segment
	start, end int32 // in the job's buffer, without the line feed
	refused    string
}

// A part is a run of leaves in a job, with the commit line that ends it or,
// at the end of the job, without.
type part struct {
	lo, hi   int // in job.leaves and job.hashes
	first    int64
	refused  bool // some line of it is refused
	nodes    []node
	isCommit bool
	line     span
	commit   commit
}

// A commit is what a worker makes of a commit line.
type commit struct {
	head Head
	key  int // in Options.Keys
	err  error
	// unchecked: the signature is yet to be checked.
	unchecked bool
}

type job struct {
	segment int
	// buf[0] is left free, so that every line has a byte before it.
	buf    []byte
	leaves []span
	parts  []part
	hashes []tlog.Hash
	// notes are what Options.Inspect says of the leaves; notesEnd has where
	// those of each leaf end.
	notes    []byte
	notesEnd []int
	// check: a signature in it is to be checked even if it is to be quick.
	check bool
	// replaced: the reader has another buffer for this one; see scanner.hold.
	replaced bool
	// proven: all of its commit lines are good; see folder.foresee.
	proven bool
	// last marks the end of a segment that has size bytes.
	last bool
	size int64
	err  error
	done chan struct{}
	// nodes and scratch are reused memory.
	nodes   []node
	scratch []tlog.Hash
}

func (j *job) bytes(s span) []byte { return j.buf[s.start:s.end] }

// notesOf returns the notes about the leaf at i.
func (j *job) notesOf(i int) []byte {
	switch {
	case len(j.notesEnd) == 0:
		return nil
	case i == 0:
		return j.notes[:j.notesEnd[0]]
	}
	return j.notes[j.notesEnd[i-1]:j.notesEnd[i]]
}

type scanner struct {
	segments []Segment
	opts     *Options
	// free holds jobs to be filled; nil stands for one yet to be made.
	free, order chan *job
	// spare are jobs taken out of circulation; the folder's alone.
	spare []*job
}

func newScanner(segments []Segment, opts *Options, workers int) *scanner {
	n := 2*workers + 2
	s := &scanner{
		segments: segments,
		opts:     opts,
		free:     make(chan *job, n),
		order:    make(chan *job, n),
	}
	for range n {
		s.free <- nil
	}
	return s
}

// start reads and hashes until the end or until ctx is done. What it returns
// waits for the goroutines to be gone.
func (s *scanner) start(ctx context.Context, workers int) (wait func()) {
	var wg sync.WaitGroup
	r := &lineReader{scanner: s, ctx: ctx}
	for range workers {
		wg.Go(func() {
			for j := r.next(); j != nil; j = r.next() {
				if ctx.Err() == nil {
					j.hash(s.opts)
				}
				j.done <- struct{}{}
			}
		})
	}
	return wg.Wait
}

// hold lets the reader have another buffer in place of one that is kept, so
// that reading can go on.
func (s *scanner) hold(j *job) {
	if j.replaced {
		return
	}
	j.replaced = true
	if n := len(s.spare); n > 0 {
		s.free <- s.spare[n-1]
		s.spare = s.spare[:n-1]
		return
	}
	s.free <- nil
}

// release gives a job's buffer back to the reader or, where that has another
// one, keeps it for the next hold.
func (s *scanner) release(j *job) {
	if j.replaced {
		s.spare = append(s.spare, j)
		return
	}
	s.free <- j
}

// A lineReader cuts segments into jobs.
type lineReader struct {
	*scanner
	ctx context.Context

	// mu is held by the worker whose turn it is. It guards what follows.
	mu      sync.Mutex
	ended   bool
	segment int
	src     io.ReadCloser // nil before the segment's first job
	index   int64         // of the next leaf, if the log is sound
	off     int64         // of the job's buf[1] in the segment
	rest    []byte        // the line that the job before did not hold in whole
	job     *job
	part    part
	// commits: the job has commit lines. unchecked counts the jobs since the
	// last one to be checked.
	commits   bool
	unchecked int
	// A line longer than a job is skipped: long is where it begins.
	skipping bool
	long     int64
}

// next reads a job, hands it on to the folder and returns it to be hashed, or
// nil when there are no more: all was read, the context is done, or an error
// was handed on.
func (r *lineReader) next() *job {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return nil
	}
	if r.segment < len(r.segments) {
		if r.job = r.get(); r.job != nil {
			r.job.err = r.fill()
			if r.job.err != nil {
				r.job.leaves, r.job.parts = r.job.leaves[:0], r.job.parts[:0]
				r.job.err = fmt.Errorf("segment %s: %w", r.segments[r.segment].Name, r.job.err)
			}
			r.order <- r.job // which has room for all jobs there are
			if r.job.err != nil {
				r.end()
			}
			return r.job
		}
	}
	r.end()
	return nil
}

func (r *lineReader) end() {
	r.ended = true
	if r.src != nil {
		r.src.Close()
	}
	close(r.order)
}

// fill reads a job.
func (r *lineReader) fill() (err error) {
	if r.src == nil {
		if r.src, err = r.segments[r.segment].Open(); err != nil {
			r.src = nil
			return err
		}
		r.index, r.off, r.rest, r.skipping = r.segments[r.segment].First, 0, r.rest[:0], false
	}
	filled := 1 + copy(r.job.buf[1:], r.rest)
	n, err := io.ReadFull(r.src, r.job.buf[filled:])
	filled += n
	r.unchecked++
	eof := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	if err != nil && !eof {
		return err
	}
	rest := r.split(r.job.buf[:filled])
	if r.commits && r.unchecked >= quickJobs || eof {
		r.job.check, r.unchecked = true, 0
	}
	if eof {
		r.job.last = true
		r.job.size = r.off + int64(filled-1)
		r.src.Close()
		r.src = nil
		r.segment++
		return nil
	}
	r.off += int64(filled - 1 - len(rest))
	r.rest = append(r.rest[:0], rest...)
	return nil
}

// split finds the lines in the buffer and returns the unfinished one.
func (r *lineReader) split(buf []byte) []byte {
	p := 1
	r.part, r.commits = part{}, false
	if r.skipping {
		i := bytes.IndexByte(buf[p:], '\n')
		if i < 0 {
			return nil
		}
		r.skipping = false
		r.leaf(span{off: r.long, start: int32(p), end: int32(p), refused: "too long"})
		p += i + 1
	}
	for {
		i := bytes.IndexByte(buf[p:], '\n')
		if i < 0 {
			break
		}
		r.line(p, p+i)
		p += i + 1
	}
	rest := buf[p:]
	if len(rest) > maxLine {
		r.skipping, r.long = true, r.off+int64(p-1)
		rest = nil
	}
	if r.part.hi > r.part.lo {
		r.closePart()
	}
	return rest
}

func (r *lineReader) line(start, end int) {
	s := span{off: r.off + int64(start-1), start: int32(start), end: int32(end)}
	switch {
	case start == end:
		s.refused = "empty"
	case end-start > maxLine:
		s.refused = "too long"
	case IsCommit(r.job.buf[start:end]):
		r.part.isCommit, r.part.line, r.commits = true, s, true
		r.closePart()
		return
	}
	r.leaf(s)
}

func (r *lineReader) leaf(s span) {
	r.job.leaves = append(r.job.leaves, s)
	r.part.hi = len(r.job.leaves)
	r.part.refused = r.part.refused || s.refused != ""
}

func (r *lineReader) closePart() {
	r.part.first = r.index
	r.index += int64(r.part.hi - r.part.lo)
	r.job.parts = append(r.job.parts, r.part)
	r.part = part{lo: r.part.hi, hi: r.part.hi}
}

// get takes an empty job, or nil when the context is done.
func (r *lineReader) get() *job {
	if r.ctx.Err() != nil {
		return nil
	}
	select {
	case j := <-r.free:
		if j == nil {
			j = &job{buf: make([]byte, bufSize), done: make(chan struct{}, 1)}
		}
		j.segment, j.last, j.size, j.err = r.segment, false, 0, nil
		j.check, j.replaced, j.proven = false, false, false
		j.leaves, j.parts = j.leaves[:0], j.parts[:0]
		return j
	case <-r.ctx.Done():
		return nil
	}
}

// hash does the work on a job that needs no other job. When it is to be quick
// it checks at most the signature of the last commit line.
func (j *job) hash(opts *Options) {
	j.hashes, j.notes, j.notesEnd = j.hashes[:0], j.notes[:0], j.notesEnd[:0]
	for _, s := range j.leaves {
		// The byte before a line is a line feed that has done its duty; it
		// serves as the leaf prefix of RFC 6962 §2.1.
		j.buf[s.start-1] = 0x00
		j.hashes = append(j.hashes, sha256.Sum256(j.buf[s.start-1:s.end]))
		if opts.Inspect == nil {
			continue
		}
		if s.refused == "" {
			j.notes = opts.Inspect(j.notes, j.bytes(s))
		}
		j.notesEnd = append(j.notesEnd, len(j.notes))
	}
	j.nodes = j.nodes[:0]
	for i := range j.parts {
		p := &j.parts[i]
		from := len(j.nodes)
		j.nodes, j.scratch = appendNodes(j.nodes, j.scratch, j.hashes[p.lo:p.hi], p.first)
		p.nodes = j.nodes[from:len(j.nodes):len(j.nodes)]
	}
	check := j.check || !opts.Quick
	for i, p := range slices.Backward(j.parts) {
		if p.isCommit {
			j.parts[i].commit = readCommit(j.bytes(p.line), opts.Keys, check)
			check = check && !opts.Quick
		}
	}
}

// checkAll checks the signatures that were left out.
func (j *job) checkAll(keys []note.Verifier) {
	for i := range j.parts {
		j.checkPart(&j.parts[i], keys)
	}
}

func (j *job) checkPart(p *part, keys []note.Verifier) {
	if p.commit.unchecked {
		p.commit = readCommit(j.bytes(p.line), keys, true)
	}
}

// readCommit opens a commit line with the key of its origin or, without any
// keys, parses it. The signature is checked only on demand.
func readCommit(line []byte, keys []note.Verifier, check bool) commit {
	signed, head, err := parseCommit(line)
	c := commit{head: head, err: err}
	if err != nil || len(keys) == 0 {
		return c
	}
	c.err = ErrOrigin
	for i, key := range keys {
		if key.Name() != head.Origin {
			continue
		}
		c.key, c.err, c.unchecked = i, nil, !check
		if check {
			c.err = checkSignature(signed, key)
		}
		if c.err == nil {
			return c
		}
	}
	return c
}
