package auditlog

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"golang.org/x/mod/sumdb/tlog"
)

// A comparer takes chunks in order and compares them with what was signed.
//
// With keys, a commit line with a good signature is the truth and leaves that
// do not agree with it are damaged. Without keys a commit line proves nothing
// by itself, so a disagreement is provisional: when a later commit line agrees
// with all leaves, the commit lines in between were damaged and not a leaf.
type comparer struct {
	segments []Segment
	opts     *Options
	each     func(Leaf) error

	// good is the tree at the newest good commit line; run goes on from there
	// over the leaves since. When lost is set their hashes are not those that
	// were signed for, and only their sizes count.
	good, run Tree
	lost      bool
	// origins are the origins of the good commit lines so far.
	origins []lineage
	key     int

	// waiting are the chunks not yet consumed, when it is to be quick.
	waiting []*chunk
	// held are the parts since good, heldChunks the earlier chunks they lie in.
	// When they became too many, overflowed is set and they are only counted.
	held       []heldPart
	heldEnds   []int // of each, where its leaves end; made when a leaf is looked for
	heldChunks []*chunk
	overflowed bool
	refused    bool
	// pending are findings that count once a good commit line follows them.
	pending     []Finding
	provisional []Finding

	// heads are those to be met by the leaves, by size; met counts those that
	// run has passed, and roots are run's roots there.
	heads  []outsideHead
	states []headState
	roots  []tlog.Hash
	met    int

	delivered int64 // index of the next leaf for each
	segment   int
	// open counts the leaves since the last commit line, good or bad.
	open   int
	ignore bool // the rest of this segment
	// deferred is a commit line in the last segment that does not agree with
	// the leaves, until more is found behind it or the log ends.
	deferred *heldPart
	report   Report
	findings []Finding
	more     int
}

type heldPart struct {
	*chunk
	part *part
}

// An outsideHead is one of Options.Heads or, if own is set, of Options.Own.
type outsideHead struct {
	Head
	own bool
}

type lineage struct {
	origin string
	size   int64
}

func newComparer(segments []Segment, opts *Options, each func(Leaf) error) *comparer {
	f := &comparer{segments: segments, opts: opts, each: each}
	for _, h := range opts.Heads {
		f.heads = append(f.heads, outsideHead{h, false})
	}
	for _, h := range opts.Own {
		f.heads = append(f.heads, outsideHead{h, true})
	}
	slices.SortStableFunc(f.heads, func(a, b outsideHead) int { return cmp.Compare(a.Size, b.Size) })
	f.states = make([]headState, len(f.heads))
	f.roots = make([]tlog.Hash, len(f.heads))
	f.passHeads()
	f.judgeEmpty()
	if len(segments) > 0 {
		f.report.Segments = 1
		f.report.Tail.Segment = segments[0].Name
		f.enter(segments[0].First)
	}
	return f
}

func (f *comparer) keyed() bool { return len(f.opts.Keys) > 0 }

// consume takes the next chunk. When it is to be quick, that waits for a chunk with a
// checked signature, which may cover it.
func (f *comparer) consume(s *scanner, ck *chunk) error {
	if !f.opts.Quick || !f.keyed() {
		return f.consumeChunk(s, ck)
	}
	f.waiting = append(f.waiting, ck)
	if !ck.check && len(f.waiting) < 4*quickChunks {
		s.hold(ck)
		return nil
	}
	return f.consumeWaiting(s)
}

// consumeWaiting consumes the chunks that wait.
func (f *comparer) consumeWaiting(s *scanner) error {
	proven := f.covered()
	for _, ck := range f.waiting {
		if ck.proven = proven; !proven {
			ck.checkAll(f.opts.Keys)
		}
	}
	for _, ck := range f.waiting {
		if err := f.consumeChunk(s, ck); err != nil {
			return err
		}
	}
	clear(f.waiting)
	f.waiting = f.waiting[:0]
	return nil
}

// consumeChunk consumes a chunk and, when it can, releases it.
func (f *comparer) consumeChunk(s *scanner, ck *chunk) error {
	for i := range ck.parts {
		if f.ignore {
			break
		}
		if err := f.consumePart(s, ck, &ck.parts[i]); err != nil {
			return err
		}
	}
	if ck.last {
		if err := f.leave(s, ck); err != nil {
			return err
		}
	}
	if len(f.held) == 0 || f.held[len(f.held)-1].chunk != ck {
		s.release(ck)
		return nil
	}
	f.heldChunks = append(f.heldChunks, ck)
	s.hold(ck)
	if len(f.heldChunks) <= maxHeld {
		return nil
	}
	f.overflowed = true
	return f.deliver(s)
}

// covered reports whether every commit line of the waiting chunks, which are of
// one segment, agrees with the leaves and the last has a good signature, which
// then covers what the others say.
func (f *comparer) covered() bool {
	if f.lost || f.ignore {
		return false
	}
	t, size, key := f.run, f.good.size, f.key
	var lastChunk *chunk
	var last *part
	for _, ck := range f.waiting {
		for i := range ck.parts {
			p := &ck.parts[i]
			if p.first != t.size || p.refused {
				return false
			}
			for _, n := range p.nodes {
				t.appendNode(n.level, n.hash)
			}
			if !p.isCommit {
				continue
			}
			c := p.commit
			if c.err != nil || c.key < key || c.head.Size <= size || c.head.Size != t.size || c.head.Root != t.Root() {
				return false
			}
			size, key = t.size, c.key
			lastChunk, last = ck, p
		}
	}
	if last == nil {
		return false
	}
	lastChunk.checkPart(last, f.opts.Keys)
	return last.commit.err == nil
}

func (f *comparer) consumePart(s *scanner, ck *chunk, p *part) error {
	if d := f.deferred; d != nil { // more follows it
		f.deferred = nil
		if err := f.judge(s, d.chunk, d.part); err != nil {
			return err
		}
	}
	if p.refused {
		f.refuse(ck, p)
	}
	f.append(ck, p)
	f.held = append(f.held, heldPart{ck, p})
	f.open += p.hi - p.lo
	if !p.isCommit {
		return nil
	}
	f.open = 0
	f.report.Commits++
	if p.commit.err == nil {
		p.commit.err = f.follow(p.commit)
	}
	if p.commit.err != nil {
		f.pend(f.badCommit(ck, p))
		return nil
	}
	return f.commit(s, ck, p)
}

// append brings run forward by the leaves of a part.
func (f *comparer) append(ck *chunk, p *part) {
	n := int64(p.hi - p.lo)
	if p.first == f.run.size && (f.met == len(f.heads) || f.heads[f.met].Size > f.run.size+n) {
		for _, node := range p.nodes {
			f.run.appendNode(node.level, node.hash)
		}
		return
	}
	f.appendHashes(&f.run, ck.hashes[p.lo:p.hi])
}

// appendHashes goes leaf by leaf, which takes note of the roots at the sizes
// of outside heads.
func (f *comparer) appendHashes(t *Tree, hashes []tlog.Hash) {
	for _, h := range hashes {
		t.appendNode(0, h)
		for f.met < len(f.heads) && f.heads[f.met].Size == t.size {
			f.roots[f.met] = t.Root()
			f.met++
		}
	}
}

// follow checks that a commit line's origin is that of the one before, or of a later log
// in its line: of one in between nothing may be left here.
func (f *comparer) follow(c commit) error {
	if f.keyed() {
		if c.key < f.key {
			return ErrOrigin
		}
		f.key = c.key
		return nil
	}
	if n := len(f.origins); n > 0 {
		if last := f.origins[n-1].origin; !speaksOf(c.head.Origin, last) {
			return ErrOrigin
		}
	}
	return nil
}

// commit compares the leaves since the last good commit line with this one.
func (f *comparer) commit(s *scanner, ck *chunk, p *part) error {
	if f.mayBeTorn(ck, p) {
		f.deferred = &heldPart{ck, p}
		return nil
	}
	return f.judge(s, ck, p)
}

// mayBeTorn reports whether a commit line that does not agree with the leaves
// may be the end of an interrupted write: that is known when the log ends with
// it, or goes on.
func (f *comparer) mayBeTorn(ck *chunk, p *part) bool {
	h := p.commit.head
	return ck.segment == len(f.segments)-1 && h.Size > f.good.size && !f.lost && !f.agrees(ck, h) &&
		!f.overflowed && len(f.heldChunks) < maxHeld
}

// agrees reports whether the leaves lead to a commit line's head.
func (f *comparer) agrees(ck *chunk, h Head) bool {
	return ck.proven || !f.lost && f.run.size == h.Size && f.run.Root() == h.Root && h.Size > f.good.size
}

// judge is commit for a line that is not the end of an interrupted write.
func (f *comparer) judge(s *scanner, ck *chunk, p *part) error {
	h := p.commit.head
	f.flushPending()
	switch {
	case f.keyed() && h.Size <= f.good.size:
		f.add(Finding{
			Kind: KindOrder, Index: -1, First: f.good.size, End: f.good.size,
			Commit: f.report.Commits - 1, Segment: f.segments[ck.segment].Name, Offset: ck.offset(p.line),
			Expected: fmt.Sprintf("a size over %d", f.good.size), Found: strconv.FormatInt(h.Size, 10),
		})
		f.reset()
		f.drop(s)
		f.endTail(ck, p)
		return nil
	case f.agrees(ck, h):
		f.confirm()
	case f.repair(ck, p):
	case f.keyed():
		f.disagree(ck, p)
		f.skipTo(h.Size)
	default:
		f.provide(ck, p)
		f.overflowed = true
		return f.deliver(s)
	}
	return f.accept(s, ck, p)
}

// accept makes a commit line the newest good one; run stands at its size.
func (f *comparer) accept(s *scanner, ck *chunk, p *part) error {
	h := p.commit.head
	if n := len(f.origins); n == 0 || f.origins[n-1].origin != h.Origin {
		f.origins = append(f.origins, lineage{origin: h.Origin})
	}
	f.origins[len(f.origins)-1].size = h.Size
	from := f.good.size
	if f.lost {
		f.judgeLost(from, h)
	} else {
		f.report.Durable = f.report.Head // this line follows it
		f.report.Head = h
		f.judgeHeads(h.Size, h.Origin)
	}
	f.good = f.run
	err := f.deliver(s)
	f.delivered = h.Size
	f.overflowed, f.refused = false, false
	f.endTail(ck, p)
	if next := ck.segment + 1; next < len(f.segments) && f.segments[next].First == h.Size {
		f.ignore = true
	}
	return err
}

// reset takes the leaves since the newest good commit line back.
func (f *comparer) reset() {
	f.run = f.good
	f.refused, f.overflowed, f.open = false, false, 0
	f.rewindHeads()
}

// skipTo goes on at a size, after leaves whose signed hashes are not known.
func (f *comparer) skipTo(size int64) {
	f.lost = true
	f.run = Tree{size: size}
	f.passHeads()
}

// deliver hands the held leaves to the callback and lets go of them.
func (f *comparer) deliver(s *scanner) error {
	if f.each != nil {
		for _, h := range f.held {
			name := f.segments[h.segment].Name
			for i := h.part.lo; i < h.part.hi; i++ {
				index := f.delivered
				f.delivered++
				if h.part.refused && h.refusal(i) != nil {
					continue
				}
				l := h.leaves[i]
				leaf := Leaf{Index: index, Bytes: h.bytes(l), Hash: h.hashes[i], Segment: name, Offset: h.offset(l), Notes: h.notesOf(i)}
				if err := f.each(leaf); err != nil {
					return err
				}
			}
		}
	}
	f.drop(s)
	return nil
}

// drop lets go of the held leaves. The chunk at hand is not among heldChunks.
func (f *comparer) drop(s *scanner) {
	clear(f.held)
	f.held = f.held[:0]
	for _, ck := range f.heldChunks {
		s.release(ck)
	}
	clear(f.heldChunks)
	f.heldChunks = f.heldChunks[:0]
}

// enter begins a segment whose first leaf has this index.
func (f *comparer) enter(first int64) {
	if first == f.run.size {
		return
	}
	if len(f.provisional) > 0 {
		// Without a key, that a segment begins elsewhere follows from that.
		f.reportProvisional()
		f.flushPending()
	} else {
		f.flushPending()
		from := min(f.good.size, first)
		f.add(Finding{
			Kind: KindGap, Index: from, First: from, End: max(f.good.size, first), Commit: -1,
			Segment: f.segments[f.segment].Name, Offset: 0,
			Expected: fmt.Sprintf("a segment from index %d", f.good.size), Found: strconv.FormatInt(first, 10),
		})
	}
	f.skipTo(first)
	f.good = f.run
	f.delivered = first
}

// endTail notes that there is no tail up to here.
func (f *comparer) endTail(ck *chunk, p *part) {
	f.report.Tail = Tail{Segment: f.segments[ck.segment].Name, Offset: ck.off + int64(p.line.end)}
}

// badCommit is the finding about a commit line that cannot be used.
func (f *comparer) badCommit(ck *chunk, p *part) Finding {
	c := p.commit
	fd := Finding{
		Kind: KindCommit, Index: -1, First: f.good.size, End: f.run.size, Commit: f.report.Commits - 1,
		Segment: f.segments[ck.segment].Name, Offset: ck.offset(p.line), Found: c.err.Error(),
	}
	switch {
	case errors.Is(c.err, ErrOrigin):
		fd.Kind, fd.Found = KindOrigin, c.head.Origin
		if f.keyed() {
			fd.Expected = f.opts.Keys[f.key].Name()
		} else {
			fd.Expected = f.origins[len(f.origins)-1].origin
		}
	case errors.Is(c.err, ErrUnknownKey):
		fd.Kind = KindKey
	case errors.Is(c.err, ErrSignature):
		fd.Kind = KindSignature
	}
	return fd
}

// refuse makes a finding of each line in a part that cannot be a leaf.
func (f *comparer) refuse(ck *chunk, p *part) {
	f.refused = true
	from, _ := slices.BinarySearchFunc(ck.refused, p.lo, func(r refusal, leaf int) int { return r.leaf - leaf })
	for _, r := range ck.refused[from:] {
		if f.step(); r.leaf >= p.hi {
			break
		}
		index := f.run.size + int64(r.leaf-p.lo)
		f.pend(Finding{
			Kind: KindLeaf, Index: index, First: f.good.size, End: index + 1, Commit: -1,
			Segment: f.segments[ck.segment].Name, Offset: r.off,
			Expected: "a leaf", Found: "a line that is " + r.reason,
		})
	}
}

func (f *comparer) step() {
	if f.opts.steps != nil {
		*f.opts.steps++
	}
}

func (f *comparer) add(fd Finding) {
	if len(f.findings) == maxFindings {
		f.more++
		return
	}
	f.findings = append(f.findings, fd)
}

// pend keeps a finding until a good commit line shows that it is not about
// the tail.
func (f *comparer) pend(fd Finding) {
	if len(f.pending) < maxFindings {
		f.pending = append(f.pending, fd)
	}
}

func (f *comparer) flushPending() {
	for _, fd := range f.pending {
		f.add(fd)
	}
	f.pending = f.pending[:0]
}

// batchOffset is where the leaves since the newest good commit line begin.
func (f *comparer) batchOffset(ck *chunk, p *part) (segment string, offset int64) {
	for _, h := range f.held {
		if h.part.hi > h.part.lo && !f.overflowed {
			return f.segments[h.segment].Name, h.offsetOf(h.part.lo)
		}
	}
	return f.segments[ck.segment].Name, f.report.Tail.Offset
}
