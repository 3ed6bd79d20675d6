package auditlog

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"golang.org/x/mod/sumdb/tlog"
)

// maxCompared bounds the leaves of one batch that are compared one by one.
const maxCompared = 1 << 18

// headState says what became of an outside head.
type headState int

const (
	headOpen headState = iota
	headAgrees
	headForked
)

// confirm is called when run agrees with a commit line: commit lines that did
// not agree with the same leaves were damaged themselves.
func (f *comparer) confirm() {
	for _, fd := range f.provisional {
		fd.Kind, fd.Index = KindCommit, -1
		f.add(fd)
	}
	f.provisional = f.provisional[:0]
}

// reportProvisional is called when no commit line has agreed until the end.
// The first disagreement is where the damage is; the others follow from it.
func (f *comparer) reportProvisional() {
	if len(f.provisional) > 0 {
		f.add(f.provisional[0])
	}
	f.provisional = f.provisional[:0]
}

// provide keeps a disagreement with an unsigned commit line.
func (f *comparer) provide(ck *chunk, p *part) {
	if f.lost || f.refused {
		return
	}
	if len(f.provisional) < maxFindings {
		f.provisional = append(f.provisional, f.disagreement(ck, p))
	}
}

// disagree reports a batch that does not agree with its signed commit line.
// Once hashes are lost only the number of leaves can be compared.
func (f *comparer) disagree(ck *chunk, p *part) {
	if f.refused || f.lost && f.run.size == p.commit.head.Size {
		return
	}
	f.add(f.disagreement(ck, p))
}

func (f *comparer) disagreement(ck *chunk, p *part) Finding {
	h := p.commit.head
	fd := f.batchFinding(KindRoot, ck, p)
	switch {
	case h.Size <= f.good.size:
		fd.Kind, fd.End = KindOrder, f.good.size
		fd.Expected, fd.Found = fmt.Sprintf("a size over %d", f.good.size), strconv.FormatInt(h.Size, 10)
	case f.run.size != h.Size:
		fd.Kind = KindSize
		fd.Expected, fd.Found = fmt.Sprintf("size %d", h.Size), fmt.Sprintf("size %d", f.run.size)
	default:
		fd.Expected, fd.Found = h.Root.String(), f.run.Root().String()
	}
	return fd
}

func (f *comparer) batchFinding(kind Kind, ck *chunk, p *part) Finding {
	segment, offset := f.batchOffset(ck, p)
	return Finding{
		Kind: kind, Index: -1, First: f.good.size, End: p.commit.head.Size, Commit: f.report.Commits - 1,
		Segment: segment, Offset: offset,
	}
}

// repair uses the hints on a batch that does not agree, or that cannot be
// compared because an earlier one did not. It returns true when the hints gave
// the commit line's root: then run stands at its size again, with hashes that
// were signed for, and whatever differs was reported.
func (f *comparer) repair(ck *chunk, p *part) bool {
	h, from := p.commit.head, f.good.size
	if f.opts.Hints == nil || h.Size <= from {
		return false
	}
	base := f.good
	if f.lost {
		var err error
		if base, err = resume(from, f.opts.Hints); err != nil {
			return false
		}
	}
	actual, whole := f.actual()
	if whole && h.Size-from <= maxCompared {
		if expected, err := readLeaves(f.opts.Hints, from, h.Size); err == nil && f.rebuild(base, expected, h) {
			f.compare(ck, p, expected, actual)
			return true
		}
	}
	t, err := resume(h.Size, f.opts.Hints)
	if err != nil || t.Root() != h.Root {
		return false
	}
	if len(f.provisional) == 0 {
		f.disagree(ck, p)
	}
	f.rewindHeads()
	f.restart(t)
	return true
}

// actual returns the hashes of the leaves since the newest good commit line,
// unless some were let go of.
func (f *comparer) actual() (hashes []tlog.Hash, whole bool) {
	n := 0
	for _, h := range f.held {
		n += h.part.hi - h.part.lo
	}
	if f.overflowed || n > maxCompared {
		return nil, false
	}
	hashes = make([]tlog.Hash, 0, n)
	for _, h := range f.held {
		hashes = append(hashes, h.hashes[h.part.lo:h.part.hi]...)
	}
	return hashes, true
}

// rebuild sets run to base and these leaves, if that gives the head.
func (f *comparer) rebuild(base Tree, leaves []tlog.Hash, h Head) bool {
	t := base
	for _, leaf := range leaves {
		t.appendNode(0, leaf)
	}
	if t.size != h.Size || t.Root() != h.Root {
		return false
	}
	f.rewindHeads()
	t = base
	f.appendHashes(&t, leaves)
	f.restart(t)
	return true
}

// restart goes on from a tree that gives a commit line's root.
func (f *comparer) restart(t Tree) {
	f.run, f.lost = t, false
	f.passHeads()
	f.reportProvisional()
}

// readLeaves reads the leaf hashes [from, to) from stored hashes.
func readLeaves(r tlog.HashReader, from, to int64) ([]tlog.Hash, error) {
	indexes := make([]int64, 0, to-from)
	for i := from; i < to; i++ {
		indexes = append(indexes, tlog.StoredHashIndex(0, i))
	}
	return readHashes(r, indexes)
}

// compare reports how the leaves that are there differ from those that were
// signed for.
func (f *comparer) compare(ck *chunk, p *part, expected, actual []tlog.Hash) {
	f.countHeld()
	from := f.good.size
	start := 0
	for start < len(expected) && start < len(actual) && expected[start] == actual[start] {
		start++
	}
	e, a := expected[start:], actual[start:]
	for len(e) > 0 && len(a) > 0 && e[len(e)-1] == a[len(a)-1] {
		e, a = e[:len(e)-1], a[:len(a)-1]
	}
	if len(e) == 0 && len(a) == 0 {
		return
	}
	fd := f.batchFinding(KindChanged, ck, p)
	fd.Index = from + int64(start)
	f.place(&fd, start)
	switch {
	case len(a) == 0:
		fd.Kind = KindMissing
	case len(e) == 0:
		if f.refusedAll(start, len(a)) {
			return
		}
		fd.Kind = KindInserted
	case len(e) == len(a) && samePieces(e, a):
		fd.Kind = KindReordered
	case len(e) == len(a):
		f.compareEach(fd, start, e, a)
		return
	}
	fd.Expected, fd.Found = countLeaves(len(e)), countLeaves(len(a))
	f.add(fd)
}

// compareEach reports each changed leaf, unless it was refused before.
func (f *comparer) compareEach(fd Finding, start int, expected, actual []tlog.Hash) {
	first := fd.Index
	for i := range expected {
		if expected[i] == actual[i] || f.refusedAt(start+i) {
			continue
		}
		fd.Index = first + int64(i)
		f.place(&fd, start+i)
		fd.Expected, fd.Found = expected[i].String(), actual[i].String()
		f.add(fd)
	}
}

// countHeld notes where the held parts end. Bad commit lines, which anybody can write,
// make as many parts as there are leaves: no part may be looked at for each leaf.
func (f *comparer) countHeld() {
	f.heldEnds = f.heldEnds[:0]
	end := 0
	for _, h := range f.held {
		f.step()
		end += h.part.hi - h.part.lo
		f.heldEnds = append(f.heldEnds, end)
	}
}

// heldLeaf finds the n-th leaf since the newest good commit line, after countHeld.
func (f *comparer) heldLeaf(n int) (h heldPart, i int, ok bool) {
	at, _ := slices.BinarySearchFunc(f.heldEnds, n, func(end, n int) int {
		f.step()
		return cmp.Or(cmp.Compare(end, n), -1) // the end is no leaf of it
	})
	if at == len(f.held) {
		return heldPart{}, 0, false
	}
	h = f.held[at]
	return h, h.part.hi - (f.heldEnds[at] - n), true
}

func (f *comparer) refusedAt(n int) bool {
	h, i, ok := f.heldLeaf(n)
	return ok && h.refusal(i) != nil
}

func (f *comparer) refusedAll(n, count int) bool {
	for i := range count {
		if !f.refusedAt(n + i) {
			return false
		}
	}
	return true
}

// place points a finding to the n-th leaf since the newest good commit line.
func (f *comparer) place(fd *Finding, n int) {
	if h, i, ok := f.heldLeaf(n); ok {
		fd.Segment, fd.Offset = f.segments[h.segment].Name, h.offsetOf(i)
	}
}

func countLeaves(n int) string {
	if n == 1 {
		return "1 leaf"
	}
	return strconv.Itoa(n) + " leaves"
}

// samePieces reports whether b is a in some other order.
func samePieces(a, b []tlog.Hash) bool {
	count := make(map[tlog.Hash]int, len(a))
	for _, h := range a {
		count[h]++
	}
	for _, h := range b {
		count[h]--
		if count[h] < 0 {
			return false
		}
	}
	return true
}

// passHeads counts as met the heads up to run's size. Those in between that
// were not passed leaf by leaf stay open.
func (f *comparer) passHeads() {
	for f.met < len(f.heads) && f.heads[f.met].Size <= f.run.size {
		f.roots[f.met] = tlog.Hash{}
		if f.heads[f.met].Size == f.run.size && !f.lost {
			f.roots[f.met] = f.run.Root()
		}
		f.met++
	}
}

// rewindHeads takes back what was noted past the newest good commit line.
func (f *comparer) rewindHeads() {
	f.met = f.firstHead(f.good.size + 1)
}

// firstHead returns the number of the first head of a size or more.
func (f *comparer) firstHead(size int64) int {
	i, _ := slices.BinarySearchFunc(f.heads, size, func(h outsideHead, size int64) int {
		f.step()
		return cmp.Compare(h.Size, size)
	})
	return i
}

// judgeHeads compares the open heads behind the newest good commit line, up to this one's
// size, with what the leaves gave there. Those before are done: there may be as many as
// commit lines.
func (f *comparer) judgeHeads(size int64, origin string) {
	for i := f.firstHead(f.good.size + 1); i < len(f.heads) && f.heads[i].Size <= size; i++ {
		f.step()
		h := f.heads[i]
		if f.states[i] != headOpen || !speaksOf(h.Origin, origin) {
			continue
		}
		if f.roots[i] != (tlog.Hash{}) {
			f.judgeHead(i, f.roots[i])
		}
	}
}

// judgeEmpty compares the heads of an empty log, which every log begins with.
func (f *comparer) judgeEmpty() {
	for i := f.firstHead(0); i < len(f.heads) && f.heads[i].Size == 0; i++ {
		f.judgeHead(i, f.roots[i])
	}
}

// judgeLost compares heads when leaves cannot be: with the commit line itself.
func (f *comparer) judgeLost(from int64, c Head) {
	for i := f.firstHead(max(c.Size, from+1)); i < len(f.heads) && f.heads[i].Size == c.Size; i++ {
		f.step()
		if h := f.heads[i]; f.states[i] == headOpen && speaksOf(h.Origin, c.Origin) {
			f.judgeHead(i, c.Root)
		}
	}
}

func (f *comparer) judgeHead(i int, root tlog.Hash) {
	h := f.heads[i]
	if root == h.Root {
		f.states[i] = headAgrees
		if !h.own {
			f.report.Anchored = max(f.report.Anchored, h.Size)
		}
		return
	}
	f.states[i] = headForked
	f.add(Finding{
		Kind: KindFork, Index: -1, First: f.good.size, End: h.Size, Commit: f.report.Commits - 1,
		Offset: -1, Expected: h.Root.String(), Found: root.String(), Head: h.Head,
	})
}

// finishHeads reports the heads that the log does not reach, and returns
// whether it agrees with all.
func (f *comparer) finishHeads() bool {
	agreed := true
	ends := make(map[string]int64, len(f.origins)) // without keys there may be as many as commit lines
	for _, l := range f.origins {
		ends[l.origin] = max(ends[l.origin], l.size)
	}
	for i, h := range f.heads {
		if f.states[i] == headAgrees {
			continue
		}
		agreed = agreed && h.own
		if f.states[i] == headForked {
			continue
		}
		size, known := f.reach(h.Origin, ends)
		fd := Finding{Index: -1, First: size, End: h.Size, Commit: -1, Offset: -1, Head: h.Head}
		switch {
		case !known:
			fd.Kind, fd.First, fd.End = KindOrigin, 0, 0
			fd.Expected, fd.Found = h.Origin, f.origins[len(f.origins)-1].origin
		case h.Size > size:
			fd.Kind, fd.Index = KindTruncated, size
			fd.Expected, fd.Found = fmt.Sprintf("size %d", h.Size), fmt.Sprintf("size %d", size)
		case h.Size < 0:
			fd.Kind, fd.First, fd.End = KindFork, 0, 0
			fd.Expected = "a head of size 0 or more"
			fd.Found = fmt.Sprintf("size %d", h.Size)
		default:
			continue // in leaves that are damaged and reported
		}
		f.add(fd)
	}
	return agreed
}

// reach returns how far the log goes under an origin.
func (f *comparer) reach(origin string, ends map[string]int64) (size int64, known bool) {
	if n := len(f.origins); n == 0 {
		return 0, true
	} else if origin == "" {
		return f.origins[n-1].size, true
	}
	end, known := ends[origin]
	last := f.origins[len(f.origins)-1]
	switch {
	case known:
		return end, true
	case speaksOf(origin, last.origin): // a successor that has not committed anything here
		return last.size, true
	}
	return 0, false
}

// speaksOf reports whether a head of one origin says what the log of another
// holds: they are one, or it is of a later log of the same line, whose tree
// begins with that one's.
func speaksOf(head, log string) bool {
	if head == "" || head == log {
		return true
	}
	first, number := SplitOrigin(head)
	of, before := SplitOrigin(log)
	return first == of && number > before
}
