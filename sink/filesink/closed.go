package filesink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/google/uuid"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/disk"
)

// A closedSegment is written no more. It is immutable.
type closedSegment struct {
	first, end, size int64
	ids              keyRange
	// content is what its index file would hold, while there is none; else
	// index is what that file holds.
	content *content
	index   digest
	extra   int64 // bytes behind its end, as found at the open
	// rare are its IDs without a time, which its range of IDs does not tell from
	// others: verdicts'. They are not known of a segment that was there at the open,
	// or that has many.
	rare      []uuid.UUID
	rareKnown bool
}

// maxRare bounds the IDs that memory holds of each segment.
const maxRare = 1024

// noteRare takes note of the IDs without a time.
func (s *closedSegment) noteRare(entries []entry) {
	for i := range entries {
		if kind(entries[i].id) == 0 {
			continue
		}
		if len(s.rare) == maxRare {
			s.rare = nil
			return
		}
		s.rare = append(s.rare, entries[i].id)
	}
	s.rareKnown = true
}

func closedSegmentOf(x *indexFile) *closedSegment {
	return &closedSegment{first: x.First, end: x.End, size: x.Size, ids: x.Range, index: x.sum}
}

// unfiled is the segment of a content that has no index file yet.
func unfiled(c *content) *closedSegment {
	s := &closedSegment{first: c.first, end: c.end, size: c.size, content: c}
	for _, e := range c.entries {
		s.ids.add(e.id)
	}
	return s
}

// filed returns the segment once its index file is written.
func (s *closedSegment) filed(index digest) *closedSegment {
	f := *s
	f.content, f.index = nil, index
	return &f
}

// lean returns the segment without what only makes lookups fast: its index may not be
// written for long.
func (s *closedSegment) lean() *closedSegment {
	f, c := *s, *s.content
	c.leaves = nil
	f.content = &c
	return &f
}

// loadOne loads the n-th segment from its index or, if that does not read
// well, from its lines. The history is that before the segment; nil has it
// looked for.
func (o *opening) loadOne(n int, before *history) (*closedSegment, history, error) {
	first, until := o.firsts[n], o.until(n)
	if x, err := openIndex(o.dir, first, o.keys()); err == nil {
		defer x.close()
		h, err := x.history()
		if err == nil && (until < 0 || x.End == until) && x.agrees(o.dir) {
			return closedSegmentOf(x), h, nil
		}
	}
	var h history
	if before != nil {
		h = *before
	} else if n > 0 {
		var err error
		if _, h, err = o.loadOne(n-1, nil); err != nil {
			return nil, h, err
		}
	}
	c, err := o.reindex(first, until, h)
	if err != nil {
		return nil, h, err
	}
	return unfiled(c), c.history, nil
}

// until returns the size at which the n-th segment ends, -1 if nothing says so: what
// begins behind the log's end, and holds nothing of it, says nothing.
func (o *opening) until(n int) int64 {
	if n+1 == len(o.firsts) || o.dropped(o.firsts[n+1]) && o.firsts[n+1] > o.head.Head().Size && !o.head.IsZero() {
		return -1
	}
	return o.firsts[n+1]
}

// A gapError is about a segment that does not reach the next one.
type gapError struct{ first, end, until int64 }

func (e *gapError) Error() string {
	return fmt.Sprintf("%v: %s ends at size %d instead of %d, where the next segment begins", ErrDamaged, segmentPath(e.first), e.end, e.until)
}

func (e *gapError) Unwrap() error { return ErrDamaged }

// behindGap is the segment before which events are missing: with no commit line in it,
// nothing of it is the log's, and checkTails says what follows from its beginning there.
func (o *opening) behindGap(n int, gap *gapError, refusal error) (repair, error) {
	m := repair{first: o.firsts[n]}
	m.content = content{first: m.first, end: m.first}
	if gap.until > m.first {
		return m, refusal
	}
	f, err := o.dir.Open(segmentPath(m.first))
	if err != nil {
		return m, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return m, err
	}
	m.bytes = info.Size
	claimed, err := lastClaim(f)
	if err == nil && claimed.Origin != "" {
		err = refusal
	}
	return m, err
}

// reindex makes the content of an index from a segment's lines, and proves it where
// the log's head is known. A segment that does not reach the next one is damage.
func (o *opening) reindex(first, until int64, h history) (*content, error) {
	var notProven error
	if !o.base.IsZero() {
		c, err := o.readProven(first, until, h)
		if err == nil {
			return c, nil
		}
		unproven, ok := errors.AsType[*unprovenError](err)
		if !ok {
			return nil, err
		}
		notProven = unproven.err
	}
	c, err := readContent(o.ctx, o.dir, first, until, h)
	if errors.Is(err, ErrDamaged) {
		log := o.head.Head()
		if o.head.IsZero() {
			log, _ = claimedHead(o.dir, o.firsts[:slices.Index(o.firsts, first)+1]) // the error says enough
		}
		return nil, o.refuse(log, fmt.Errorf("%w. %s", err, putBack))
	}
	if err == nil {
		c.notProven, c.history.unproven = notProven, true
	}
	return c, err
}

// readContent makes the content of an index from a segment's lines.
func readContent(ctx context.Context, dir disk.Dir, first, until int64, h history) (*content, error) {
	f, err := dir.Open(segmentPath(first))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	found, err := scanSegment(ctx, f, first, h, scanner{until: until})
	if err != nil {
		return nil, err
	}
	if until >= 0 && found.end != until {
		return nil, &gapError{first, found.end, until}
	}
	return &found.content, nil
}

// loadClosed loads all segments that stay.
func (o *opening) loadClosed() error {
	var before history
	for n, first := range o.firsts {
		s, h, err := o.repaired(first), history{}, error(nil)
		if s == nil {
			if o.dropped(first) {
				continue
			}
			if s, h, err = o.loadOne(n, &before); err != nil {
				return err
			}
			if s.extra, err = o.measure(s); err != nil {
				return err
			}
		}
		o.closed = append(o.closed, s)
		before = h
	}
	return nil
}

// repaired returns the segment that is to be repaired, or nil.
func (o *opening) repaired(first int64) *closedSegment {
	for i := range o.repairs {
		if m := &o.repairs[i]; m.first == first && m.size > 0 {
			return unfiled(&m.content)
		}
	}
	return nil
}

// dropped reports whether a segment has no good commit line and will be removed.
func (o *opening) dropped(first int64) bool {
	return slices.ContainsFunc(o.repairs, func(m repair) bool { return m.first == first && m.size == 0 })
}

// measure returns how many bytes a segment has behind its end.
func (o *opening) measure(s *closedSegment) (extra int64, err error) {
	info, err := o.dir.Stat(segmentPath(s.first))
	if err != nil {
		return 0, err
	}
	if info.Size < s.size {
		return 0, o.refuse(o.head.Head(), fmt.Errorf("%w: %s has %d bytes, %d were written. %s", ErrDamaged, segmentPath(s.first), info.Size, s.size, putBack))
	}
	return info.Size - s.size, nil
}

// finishClosed cuts what interrupted writes left behind the segments' ends, and
// writes the indexes that are missing.
func (o *opening) finishClosed() error {
	synced := false
	for n, s := range o.closed {
		if s.extra > 0 {
			if err := o.cutExtra(n); err != nil {
				return fmt.Errorf("%s: %w", segmentPath(s.first), err)
			}
		}
		if s.content == nil {
			continue
		}
		if err := s.content.signable(); err != nil {
			o.opts.OnError(fmt.Errorf("filesink: %s has an index without a signature, for this process alone: %w; see Verify", segmentPath(s.first), err))
		}
		if !synced {
			if err := o.cache.sync(); err != nil {
				o.opts.OnError(fmt.Errorf("filesink: %w", err))
			}
			synced = true
		}
		sum, err := writeIndex(o.dir, s.content, o.key.signer, o.opts.OnError)
		if err != nil { // memory has what it would hold
			o.opts.OnError(fmt.Errorf("filesink: %w", err))
			continue
		}
		o.closed[n] = s.filed(sum)
	}
	return nil
}

// An unprovenError says why a segment's entries are not those that were signed.
type unprovenError struct{ err error }

func (e *unprovenError) Error() string { return e.err.Error() }
func (e *unprovenError) Unwrap() error { return e.err }

// readProven makes the content of an index from a segment's lines, and proves that
// the very bytes it read are under the log's head. Otherwise an attacker who removes
// an index, or has the segment continued, could have this program sign what he wrote
// into the entries. The error is an [*unprovenError] if they are not.
func (o *opening) readProven(first, until int64, h history) (*content, error) {
	if until < 0 {
		until = o.base.Head().Size
	}
	tree, err := o.treeAt(first)
	if err != nil {
		return nil, err
	}
	f, err := o.dir.Open(segmentPath(first))
	if err != nil {
		return nil, err
	}
	found, err := scanSegment(o.ctx, f, first, h, scanner{fold: true, tree: tree, until: until})
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if found.end != until || found.behind {
		return nil, &unprovenError{errors.New("a commit line does not agree with the entries before it")}
	}
	right, err := o.treeAt(until)
	if err != nil {
		return nil, err
	}
	if root := right.Root(); found.root != root {
		return nil, &unprovenError{&auditlog.HeadError{
			Log:     auditlog.Head{Origin: o.base.Head().Origin, Size: until, Root: found.root},
			Outside: auditlog.Head{Origin: o.base.Head().Origin, Size: until, Root: root},
		}}
	}
	found.content.proven = true
	return &found.content, nil
}

// treeAt returns the log's tree at an earlier size. The hashes are a cache: if they
// do not lead to the head they are made again, once.
func (o *opening) treeAt(size int64) (auditlog.Tree, error) {
	tree, err := auditlog.ResumeTreeAt(o.base, size, o.cache.hashes())
	if err != nil && !o.rebuilt {
		if err := o.rebuild(o.base); err != nil {
			return tree, err
		}
		tree, err = auditlog.ResumeTreeAt(o.base, size, o.cache.hashes())
	}
	if err != nil {
		return tree, &unprovenError{err}
	}
	return tree, nil
}

// continueBelow is the size in bytes up to which the last segment is continued:
// programs that run for a moment and often would make a file each time.
const continueBelow = 256 << 10

// loadLast reads the last segment if it will be continued: if it is small, and its
// entries are those that were signed. What is written behind them is signed together
// with them.
func (o *opening) loadLast() error {
	n := len(o.closed) - 1
	if n < 0 || o.head.Head().Origin != o.key.Name() {
		return nil
	}
	s := o.closed[n]
	if s.size > continueBelow || s.size >= o.opts.SegmentSize {
		return nil
	}
	if o.last = s.content; o.last != nil {
		return nil
	}
	var err error
	o.last, err = o.readProven(s.first, s.end, history{})
	if _, unproven := errors.AsType[*unprovenError](err); unproven {
		o.last = &content{notProven: err}
		return nil
	}
	return err
}

// continueLast makes the last segment the live one if it is small. Its index
// goes first: while there is one, nothing may follow.
func (o *opening) continueLast() error {
	c, n := o.last, len(o.closed)-1
	if c == nil {
		return nil
	}
	s := o.closed[n]
	if !c.proven {
		o.opts.OnError(fmt.Errorf("filesink: %s is not continued: its entries are not those that were signed: see Verify: %w", segmentPath(s.first), c.notProven))
		return nil
	}
	if err := o.removeIndex(s.first); err != nil {
		o.opts.OnError(fmt.Errorf("filesink: %s is not continued: %w", segmentPath(s.first), err))
		return nil
	}
	l := &live{first: s.first, size: s.size, entries: c.entries, lives: c.lives, ids: s.ids}
	var err error
	if l.file, err = o.dir.Edit(segmentPath(s.first)); err != nil {
		return err
	}
	if l.info, err = l.file.Stat(); err != nil {
		return errors.Join(err, l.file.Close())
	}
	o.live, o.closed = l, o.closed[:n]
	return nil
}

// cutExtra removes what a segment holds behind its end. Only an interrupted
// write that was made again in the next segment is thrown away: anything else
// may be evidence, and is kept aside.
func (o *opening) cutExtra(n int) error {
	s := o.closed[n]
	f, err := o.dir.Open(segmentPath(s.first))
	if err != nil {
		return err
	}
	defer f.Close()
	again := false
	if n+1 < len(o.closed) {
		if again, err = rewritten(o.dir, s, s.extra); err != nil {
			return err
		}
	}
	if !again {
		if err := o.saveTorn(s.end, f, s.size, s.size+s.extra); err != nil {
			return err
		}
		o.opts.OnError(fmt.Errorf("filesink: %s: %d bytes behind its end were not written by this log; they are in %s now", segmentPath(s.first), s.extra, tornDir))
	}
	return cut(o.dir, s.first, s.size)
}

// rewritten reports whether the bytes behind a segment's end are an interrupted write
// that was made again in the next segment.
func rewritten(dir disk.Dir, s *closedSegment, extra int64) (bool, error) {
	f, err := dir.Open(segmentPath(s.first))
	if err != nil {
		return false, err
	}
	defer f.Close()
	next, err := dir.Open(segmentPath(s.end))
	if err != nil {
		return false, err
	}
	defer next.Close()
	info, err := next.Stat()
	if err != nil {
		return false, err
	}
	again, err := auditlog.CompareRewrite(io.NewSectionReader(f, s.size, extra), io.NewSectionReader(next, 0, info.Size))
	return again == auditlog.Rewritten, err
}

// cut makes a segment end where its last commit line does.
func cut(dir disk.Dir, first, size int64) error {
	f, err := dir.Edit(segmentPath(first))
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && info.Size > size {
		if err = f.Truncate(size); err == nil {
			err = f.Sync()
		}
	}
	return errors.Join(err, f.Close())
}

// A place is where an event's line lies.
type place struct {
	leaf int64 // its index in the log
	off  int64 // in the segment
}

// errNotThere means that an index leads to another line.
var errNotThere = errors.New("the index leads to a line of another event")

// find looks for an event's line in the segment and hands it to seen. An
// index that does not read well is an error.
func (s *closedSegment) find(dir disk.Dir, id uuid.UUID, seen func(place, []byte)) (bool, error) {
	if !s.ids.has(id) || s.rareKnown && kind(id) == 1 && !slices.Contains(s.rare, id) {
		return false, nil
	}
	rows, err := s.rows(dir, id)
	if err != nil || len(rows) == 0 {
		return false, err
	}
	f, err := dir.Open(segmentPath(s.first))
	if err != nil {
		return false, err
	}
	defer f.Close()
	at := place{s.first + int64(rows[0].leaf), int64(rows[0].off)}
	text, err := readLine(f, nil, at.off, s.size)
	if err != nil {
		return false, err
	}
	if readLineHeader(text).id != id {
		return false, errNotThere
	}
	if seen != nil {
		seen(at, text)
	}
	return true, nil
}

func (s *closedSegment) rows(dir disk.Dir, id uuid.UUID) ([]row, error) {
	if s.content != nil && s.content.leaves != nil {
		leaf, ok := s.content.leaves[id]
		if !ok || leaf >= s.end {
			return nil, nil
		}
		i := leaf - s.first
		return []row{{id, uint32(i), s.content.entries[i].off}}, nil
	}
	if s.content != nil {
		for i, e := range s.content.entries {
			if e.id == id {
				return []row{{id, uint32(i), e.off}}, nil
			}
		}
		return nil, nil
	}
	x, err := openKnown(dir, s.first, s.index)
	if err != nil {
		return nil, err
	}
	defer x.close()
	return x.ids().find(id)
}
