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
// jobs in order. While it has none to take it is a worker too: there is one
// goroutine to a core, and none waits for another to be scheduled.

const (
	bufSize = 128 << 10
	// maxHeld bounds the buffers kept while their commit line is not read.
	maxHeld = (64 << 20) / bufSize
	// quickJobs is how many jobs, or somewhat more, have one signature checked
	// when it is to be quick.
	quickJobs = 16
)

// A span is a line in a job's buffer, without the line feed.
type span struct{ start, end int32 }

// A refusal is a line that cannot be a leaf, and why.
type refusal struct {
	leaf   int // in job.leaves
	off    int64
	reason string
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
	// buf[0] is left free, so that every line has a byte before it. off is
	// where buf[1] is in the segment.
	buf    []byte
	off    int64
	leaves []span
	parts  []part
	hashes []tlog.Hash
	// refused are the leaves that are none, in order.
	refused []refusal
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
	// desk is where the job goes when it is folded.
	desk desk
	// nodes and scratch are reused memory.
	nodes   []node
	scratch []tlog.Hash
}

func (j *job) bytes(s span) []byte { return j.buf[s.start:s.end] }

// offset returns where a line begins in the segment.
func (j *job) offset(s span) int64 { return j.off + int64(s.start-1) }

// offsetOf returns where the leaf at i begins in the segment.
func (j *job) offsetOf(i int) int64 {
	if r := j.refusal(i); r != nil {
		return r.off
	}
	return j.offset(j.leaves[i])
}

// refusal returns why the leaf at i is none, or nil.
func (j *job) refusal(i int) *refusal {
	n, found := slices.BinarySearchFunc(j.refused, i, func(r refusal, i int) int { return r.leaf - i })
	if !found {
		return nil
	}
	return &j.refused[n]
}

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
	reader   *lineReader
	// own are the jobs of the folder's goroutine, head is the first job in
	// order that it has not folded.
	own  desk
	head *job
	// order are the jobs that were read, in order.
	order chan *job
	// spare are jobs taken out of circulation; the folder's alone.
	spare []*job
}

// A desk holds a worker's jobs to be filled; nil stands for one yet to be made.
// Each worker keeps to its own, which are likely to be in its core's cache.
type desk chan *job

const deskSize = 4

func newDesk() desk {
	d := make(desk, deskSize)
	for range deskSize {
		d <- nil
	}
	return d
}

func newScanner(ctx context.Context, segments []Segment, opts *Options, workers int) *scanner {
	s := &scanner{segments: segments, opts: opts, own: newDesk(), order: make(chan *job, workers*deskSize)}
	s.reader = &lineReader{scanner: s, ctx: ctx}
	return s
}

// start begins to read and hash with workers beside the calling goroutine,
// until the end or until the context is done. What it returns waits for them
// to be gone.
func (s *scanner) start(workers int) (wait func()) {
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for own := newDesk(); ; {
				select {
				case j := <-own:
					if !s.work(j, own) {
						return
					}
				case <-s.reader.ctx.Done():
					return
				}
			}
		})
	}
	return wg.Wait
}

// work fills and hashes a job. It returns false when there is no more to read.
func (s *scanner) work(j *job, own desk) bool {
	if j == nil {
		j = &job{buf: make([]byte, bufSize), done: make(chan struct{}, 1)}
	}
	j.desk = own
	if !s.reader.read(j) {
		own <- j
		return false
	}
	if s.reader.ctx.Err() == nil {
		j.hash(s.opts)
	}
	j.done <- struct{}{}
	return true
}

// next returns the next job in order when it is done, or nil when there are no
// more. Until then the calling goroutine works as the others do.
func (s *scanner) next() *job {
	for {
		if j := s.ready(); j != nil {
			return j
		}
		select {
		case j := <-s.own:
			if s.work(j, s.own) {
				continue
			}
		default:
		}
		if s.head == nil {
			if s.head = <-s.order; s.head == nil {
				return nil
			}
		}
		j := s.head
		<-j.done
		s.head = nil
		return j
	}
}

// ready returns the next job in order if it is done.
func (s *scanner) ready() *job {
	if s.head == nil {
		select {
		case s.head = <-s.order:
		default:
		}
	}
	if j := s.head; j != nil {
		select {
		case <-j.done:
			s.head = nil
			return j
		default:
		}
	}
	return nil
}

// hold lets the reader have another buffer in place of one that is kept, so
// that reading can go on.
func (s *scanner) hold(j *job) {
	if j.replaced {
		return
	}
	j.replaced = true
	if n := len(s.spare); n > 0 {
		j.desk <- s.spare[n-1]
		s.spare = s.spare[:n-1]
		return
	}
	j.desk <- nil
}

// release gives a job's buffer back to the reader or, where that has another
// one, keeps it for the next hold.
func (s *scanner) release(j *job) {
	if j.replaced {
		s.spare = append(s.spare, j)
		return
	}
	j.desk <- j
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

// read fills a job and hands it on to the folder. It returns false when there
// are no more: all was read, the context is done, or an error was handed on.
func (r *lineReader) read(j *job) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return false
	}
	if r.segment == len(r.segments) || r.ctx.Err() != nil {
		r.end()
		return false
	}
	r.job = j
	j.clear(r.segment)
	if j.err = r.fill(); j.err != nil {
		j.leaves, j.parts = j.leaves[:0], j.parts[:0]
		j.err = fmt.Errorf("segment %s: %w", r.segments[r.segment].Name, j.err)
	}
	r.order <- j // which has room for all jobs there are
	if j.err != nil {
		r.end()
	}
	return true
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
	r.job.off = r.off
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
		r.refuse(r.long, "too long")
		r.leaf(span{int32(p), int32(p)})
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
	s := span{int32(start), int32(end)}
	switch {
	case start == end:
		r.refuse(r.job.offset(s), "empty")
	case end-start > maxLine:
		r.refuse(r.job.offset(s), "too long")
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
}

// refuse notes that the next leaf is none.
func (r *lineReader) refuse(off int64, reason string) {
	r.job.refused = append(r.job.refused, refusal{len(r.job.leaves), off, reason})
	r.part.refused = true
}

func (r *lineReader) closePart() {
	r.part.first = r.index
	r.index += int64(r.part.hi - r.part.lo)
	r.job.parts = append(r.job.parts, r.part)
	r.part = part{lo: r.part.hi, hi: r.part.hi}
}

// clear empties a job.
func (j *job) clear(segment int) {
	j.segment, j.last, j.size, j.err = segment, false, 0, nil
	j.check, j.replaced, j.proven = false, false, false
	j.leaves, j.parts, j.refused = j.leaves[:0], j.parts[:0], j.refused[:0]
}

// hash does the work on a job that needs no other job. When it is to be quick
// it checks at most the signature of the last commit line.
func (j *job) hash(opts *Options) {
	j.hashes, j.notes, j.notesEnd = j.hashes[:0], j.notes[:0], j.notesEnd[:0]
	for i, s := range j.leaves {
		// The byte before a line is a line feed that has done its duty; it
		// serves as the leaf prefix of RFC 6962 §2.1.
		j.buf[s.start-1] = 0x00
		j.hashes = append(j.hashes, sha256.Sum256(j.buf[s.start-1:s.end]))
		if opts.Inspect == nil {
			continue
		}
		if len(j.refused) == 0 || j.refusal(i) == nil {
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
