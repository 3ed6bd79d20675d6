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

// Verification is a pipeline of workers and the comparer. The workers take turns
// to read: one at a time fills a chunk, a buffer of whole lines, and finds the
// line ends. Then it does the rest while the chunk is in its core's cache: it
// hashes the leaves, consumes them as far as complete subtrees go, and checks the
// signatures of the commit lines; that is nearly all of the work and needs
// nothing from other chunks. The comparer, in the caller's goroutine, takes the
// chunks in order. While it has none to take it is a worker too: there is one
// goroutine to a core, and none waits for another to be scheduled.

const (
	bufSize = 128 << 10
	// maxHeld bounds the buffers kept while their commit line is not read.
	maxHeld = (64 << 20) / bufSize
	// quickChunks is how many chunks, or somewhat more, have one signature checked
	// when it is to be quick.
	quickChunks = 16
)

// A span is a line in a chunk's buffer, without the line feed.
type span struct{ start, end int32 }

// A refusal is a line that cannot be a leaf, and why.
type refusal struct {
	leaf   int // in chunk.leaves
	off    int64
	reason string
}

// A part is a run of leaves in a chunk, with the commit line that ends it or,
// at the end of the chunk, without.
type part struct {
	lo, hi   int // in chunk.leaves and chunk.hashes
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

type chunk struct {
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
	// proven: all of its commit lines are good; see comparer.covered.
	proven bool
	// last marks the end of a segment that has size bytes.
	last bool
	size int64
	err  error
	done chan struct{}
	// freeList is where the chunk goes when it is consumed.
	freeList freeList
	// nodes and scratch are reused memory.
	nodes   []node
	scratch []tlog.Hash
}

func (ck *chunk) bytes(s span) []byte { return ck.buf[s.start:s.end] }

// offset returns where a line begins in the segment.
func (ck *chunk) offset(s span) int64 { return ck.off + int64(s.start-1) }

// offsetOf returns where the leaf at i begins in the segment.
func (ck *chunk) offsetOf(i int) int64 {
	if r := ck.refusal(i); r != nil {
		return r.off
	}
	return ck.offset(ck.leaves[i])
}

// refusal returns why the leaf at i is none, or nil.
func (ck *chunk) refusal(i int) *refusal {
	n, found := slices.BinarySearchFunc(ck.refused, i, func(r refusal, i int) int { return r.leaf - i })
	if !found {
		return nil
	}
	return &ck.refused[n]
}

// notesOf returns the notes about the leaf at i.
func (ck *chunk) notesOf(i int) []byte {
	switch {
	case len(ck.notesEnd) == 0:
		return nil
	case i == 0:
		return ck.notes[:ck.notesEnd[0]]
	}
	return ck.notes[ck.notesEnd[i-1]:ck.notesEnd[i]]
}

type scanner struct {
	segments []Segment
	opts     *Options
	reader   *lineReader
	// own are the chunks of the comparer's goroutine, head is the first chunk in
	// order that it has not consumed.
	own  freeList
	head *chunk
	// order are the chunks that were read, in order.
	order chan *chunk
	// spare are chunks taken out of circulation; the comparer's alone.
	spare []*chunk
}

// A freeList holds a worker's chunks to be filled; nil stands for one yet to be made.
// Each worker keeps to its own, which are likely to be in its core's cache.
type freeList chan *chunk

const freeSize = 4

func newFreeList() freeList {
	d := make(freeList, freeSize)
	for range freeSize {
		d <- nil
	}
	return d
}

func newScanner(ctx context.Context, segments []Segment, opts *Options, workers int) *scanner {
	s := &scanner{segments: segments, opts: opts, own: newFreeList(), order: make(chan *chunk, workers*freeSize)}
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
			for own := newFreeList(); ; {
				select {
				case ck := <-own:
					if !s.work(ck, own) {
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

// work fills and hashes a chunk. It returns false when there is no more to read.
func (s *scanner) work(ck *chunk, own freeList) bool {
	if ck == nil {
		ck = &chunk{buf: make([]byte, bufSize), done: make(chan struct{}, 1)}
	}
	ck.freeList = own
	if !s.reader.read(ck) {
		own <- ck
		return false
	}
	if s.reader.ctx.Err() == nil {
		ck.hash(s.opts)
	}
	ck.done <- struct{}{}
	return true
}

// next returns the next chunk in order when it is done, or nil when there are no
// more. Until then the calling goroutine works as the others do.
func (s *scanner) next() *chunk {
	for {
		if ck := s.ready(); ck != nil {
			return ck
		}
		select {
		case ck := <-s.own:
			if s.work(ck, s.own) {
				continue
			}
		default:
		}
		if s.head == nil {
			if s.head = <-s.order; s.head == nil {
				return nil
			}
		}
		ck := s.head
		<-ck.done
		s.head = nil
		return ck
	}
}

// ready returns the next chunk in order if it is done.
func (s *scanner) ready() *chunk {
	if s.head == nil {
		select {
		case s.head = <-s.order:
		default:
		}
	}
	if ck := s.head; ck != nil {
		select {
		case <-ck.done:
			s.head = nil
			return ck
		default:
		}
	}
	return nil
}

// hold lets the reader have another buffer in place of one that is kept, so
// that reading can go on.
func (s *scanner) hold(ck *chunk) {
	if ck.replaced {
		return
	}
	ck.replaced = true
	if n := len(s.spare); n > 0 {
		ck.freeList <- s.spare[n-1]
		s.spare = s.spare[:n-1]
		return
	}
	ck.freeList <- nil
}

// release gives a chunk's buffer back to the reader or, where that has another
// one, keeps it for the next hold.
func (s *scanner) release(ck *chunk) {
	if ck.replaced {
		s.spare = append(s.spare, ck)
		return
	}
	ck.freeList <- ck
}

// A lineReader cuts segments into chunks.
type lineReader struct {
	*scanner
	ctx context.Context

	// mu is held by the worker whose turn it is. It guards what follows.
	mu      sync.Mutex
	ended   bool
	segment int
	src     io.ReadCloser // nil before the segment's first chunk
	index   int64         // of the next leaf, if the log is sound
	off     int64         // of the chunk's buf[1] in the segment
	rest    []byte        // the line that the chunk before did not hold in whole
	chunk   *chunk
	part    part
	// commits: the chunk has commit lines. unchecked counts the chunks since the
	// last one to be checked.
	commits   bool
	unchecked int
	// A line longer than a chunk is skipped: long is where it begins.
	skipping bool
	long     int64
}

// read fills a chunk and hands it on to the comparer. It returns false when there
// are no more: all was read, the context is done, or an error was handed on.
func (r *lineReader) read(ck *chunk) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return false
	}
	if r.segment == len(r.segments) || r.ctx.Err() != nil {
		r.end()
		return false
	}
	r.chunk = ck
	ck.clear(r.segment)
	if ck.err = r.fill(); ck.err != nil {
		ck.leaves, ck.parts = ck.leaves[:0], ck.parts[:0]
		ck.err = fmt.Errorf("segment %s: %w", r.segments[r.segment].Name, ck.err)
	}
	r.order <- ck // which has room for all chunks there are
	if ck.err != nil {
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

// fill reads a chunk.
func (r *lineReader) fill() (err error) {
	if r.src == nil {
		if r.src, err = r.segments[r.segment].Open(); err != nil {
			r.src = nil
			return err
		}
		r.index, r.off, r.rest, r.skipping = r.segments[r.segment].First, 0, r.rest[:0], false
	}
	filled := 1 + copy(r.chunk.buf[1:], r.rest)
	n, err := io.ReadFull(r.src, r.chunk.buf[filled:])
	filled += n
	r.unchecked++
	eof := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	if err != nil && !eof {
		return err
	}
	r.chunk.off = r.off
	rest := r.split(r.chunk.buf[:filled])
	if r.commits && r.unchecked >= quickChunks || eof {
		r.chunk.check, r.unchecked = true, 0
	}
	if eof {
		r.chunk.last = true
		r.chunk.size = r.off + int64(filled-1)
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
		r.refuse(r.chunk.offset(s), "empty")
	case end-start > maxLine:
		r.refuse(r.chunk.offset(s), "too long")
	case IsCommit(r.chunk.buf[start:end]):
		r.part.isCommit, r.part.line, r.commits = true, s, true
		r.closePart()
		return
	}
	r.leaf(s)
}

func (r *lineReader) leaf(s span) {
	r.chunk.leaves = append(r.chunk.leaves, s)
	r.part.hi = len(r.chunk.leaves)
}

// refuse notes that the next leaf is none.
func (r *lineReader) refuse(off int64, reason string) {
	r.chunk.refused = append(r.chunk.refused, refusal{len(r.chunk.leaves), off, reason})
	r.part.refused = true
}

func (r *lineReader) closePart() {
	r.part.first = r.index
	r.index += int64(r.part.hi - r.part.lo)
	r.chunk.parts = append(r.chunk.parts, r.part)
	r.part = part{lo: r.part.hi, hi: r.part.hi}
}

// clear empties a chunk.
func (ck *chunk) clear(segment int) {
	ck.segment, ck.last, ck.size, ck.err = segment, false, 0, nil
	ck.check, ck.replaced, ck.proven = false, false, false
	ck.leaves, ck.parts, ck.refused = ck.leaves[:0], ck.parts[:0], ck.refused[:0]
}

// hash does the work on a chunk that needs no other chunk. When it is to be quick
// it checks at most the signature of the last commit line.
func (ck *chunk) hash(opts *Options) {
	ck.hashes, ck.notes, ck.notesEnd = ck.hashes[:0], ck.notes[:0], ck.notesEnd[:0]
	for i, s := range ck.leaves {
		// The byte before a line is a line feed that has done its duty; it
		// serves as the leaf prefix of RFC 6962 §2.1.
		ck.buf[s.start-1] = 0x00
		ck.hashes = append(ck.hashes, sha256.Sum256(ck.buf[s.start-1:s.end]))
		if opts.Inspect == nil {
			continue
		}
		if len(ck.refused) == 0 || ck.refusal(i) == nil {
			ck.notes = opts.Inspect(ck.notes, ck.bytes(s))
		}
		ck.notesEnd = append(ck.notesEnd, len(ck.notes))
	}
	ck.nodes = ck.nodes[:0]
	for i := range ck.parts {
		p := &ck.parts[i]
		from := len(ck.nodes)
		ck.nodes, ck.scratch = appendNodes(ck.nodes, ck.scratch, ck.hashes[p.lo:p.hi], p.first)
		p.nodes = ck.nodes[from:len(ck.nodes):len(ck.nodes)]
	}
	check := ck.check || !opts.Quick
	for i, p := range slices.Backward(ck.parts) {
		if p.isCommit {
			ck.parts[i].commit = readCommit(ck.bytes(p.line), opts.Keys, check)
			check = check && !opts.Quick
		}
	}
}

// checkAll checks the signatures that were left out.
func (ck *chunk) checkAll(keys []note.Verifier) {
	for i := range ck.parts {
		ck.checkPart(&ck.parts[i], keys)
	}
}

func (ck *chunk) checkPart(p *part, keys []note.Verifier) {
	if p.commit.unchecked {
		p.commit = readCommit(ck.bytes(p.line), keys, true)
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
