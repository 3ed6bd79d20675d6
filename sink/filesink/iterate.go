package filesink

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/google/uuid"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/disk"
)

// A part is what an iteration sees of a segment.
type part struct {
	first, size int64 // size in bytes of what may be read
	end         int64 // index of the first event behind that
	more        bool  // the file goes on behind that
	short       bool  // and holds lines that were acknowledged and cannot be told apart
	// entries are those of a segment whose index is in memory; index is what an
	// index file holds that was verified. Otherwise the lines are gone through.
	entries []entry
	lives   []life // beside entries
	index   *digest
}

// parts lists what a view shows, in the order of the log.
func (v view) parts() []part {
	parts := make([]part, 0, len(v.closed)+1)
	for _, s := range v.closed {
		p := part{first: s.first, size: s.size, end: s.end}
		if s.content != nil {
			p.entries, p.lives = s.content.entries, s.content.lives
		} else {
			p.index = &s.index
		}
		parts = append(parts, p)
	}
	if live := v.live; live.size > 0 {
		live.end = live.first + int64(len(live.entries))
		parts = append(parts, live)
	}
	return parts
}

// An iteration goes once over the records that match a query.
type iteration struct {
	ctx   context.Context
	dir   disk.Dir
	parts []part
	query jobaudit.Query

	yield   func(jobaudit.Record, error) bool
	yielded int
	// reached is the index of the event at which reading goes on. That one is at
	// offset from in the segment whose first index is fromFirst, unless its batch was
	// written again in another one: then fromFirst is -1.
	reached, fromFirst, from int64
}

// Records iterates over the stored records that match, as
// [jobaudit.AuditReader] says. An iteration sees what was durable when it began; it
// reads the files and holds no lock, so its body may append, and it may go on
// after Close. Selecting by job, correlation or time uses the segments' indexes,
// the rest reads all lines from After on. A line that is no record is a
// [*jobaudit.UnreadableError], behind which reading goes on.
func (s *Sink) Records(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		p := iteration{ctx: ctx, dir: s.dir, parts: s.current().parts(), query: q, yield: yield}
		p.run()
	}
}

// Tail iterates over the stored records that match and then over those to come,
// as [jobaudit.AuditReader] says. After Close it yields what is stored and then
// [ErrClosed].
func (s *Sink) Tail(ctx context.Context, q jobaudit.Query) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		p := iteration{ctx: ctx, dir: s.dir, query: q, yield: yield}
		p.tail(func() ([]part, <-chan struct{}, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.changed == nil {
				s.changed = make(chan struct{})
			}
			if s.closed {
				return s.view.parts(), nil, nil
			}
			return s.view.parts(), s.changed, nil
		}, ErrClosed)
	}
}

// tail reads what there is, waits for more, and reads on. next gives what there
// is and a channel that signals more, nil if no more will come: then the
// iteration ends with the error last.
func (p *iteration) tail(next func() ([]part, <-chan struct{}, error), last error) {
	err := errNewestFirst
	if !p.query.NewestFirst {
		err = p.follow(next, last)
	}
	if err != errStop {
		p.yield(jobaudit.Record{}, err)
	}
}

var errNewestFirst = errors.New("filesink: records to come cannot be read newest first")

func (p *iteration) follow(next func() ([]part, <-chan struct{}, error), last error) error {
	for {
		parts, more, err := next()
		if err != nil {
			return err
		}
		p.parts = parts
		if p.reached > 0 && !slices.ContainsFunc(parts, func(x part) bool { return x.first == p.fromFirst && x.size >= p.from }) {
			p.fromFirst = -1
		}
		if err := p.read(); err != nil {
			return err
		}
		p.query.After = uuid.Nil
		if n := len(parts); n > 0 && parts[n-1].end >= p.reached {
			p.reached, p.fromFirst, p.from = parts[n-1].end, parts[n-1].first, parts[n-1].size
		}
		if more == nil {
			return last
		}
		select {
		case <-more:
		case <-p.ctx.Done():
			return p.ctx.Err()
		}
	}
}

// errShort means that a segment is damaged: lines were removed from it or added.
var errShort = errors.New("the lines from there on do not fit their commit lines; Verify says what is missing")

// errStop ends an iteration whose consumer wants no more.
var errStop = errors.New("stop")

func (p *iteration) run() {
	err := p.read()
	if err == nil {
		err = p.ctx.Err()
	}
	if err != nil && err != errStop {
		p.yield(jobaudit.Record{}, err)
	}
}

func (p *iteration) read() error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	n, after, err := p.start()
	if err != nil {
		return err
	}
	for _, part := range p.parts {
		// First of all: what reads on may want to look at the lines themselves.
		if part.short && part.first >= p.fromFirst && (p.fromFirst >= 0 || !p.passed(part)) {
			if err := p.unreadable(part, part.size, errShort); err != nil {
				return err
			}
		}
	}
	step := 1
	if p.query.NewestFirst {
		step = -1
	}
	for ; n >= 0 && n < len(p.parts); n += step {
		if p.parts[n].first < p.fromFirst {
			continue
		}
		if err := p.readPart(p.parts[n], after); err != nil {
			return err
		}
		after = -1
	}
	return nil
}

// start finds where reading begins: a part, and the offset there of the line
// to read on from, -1 for none.
func (p *iteration) start() (n int, after int64, err error) {
	if p.query.After == uuid.Nil {
		if p.query.NewestFirst {
			return len(p.parts) - 1, -1, nil
		}
		return 0, -1, nil
	}
	for n := len(p.parts) - 1; n >= 0; n-- {
		at, found, err := p.parts[n].find(p.ctx, p.dir, p.query.After)
		if err != nil {
			return 0, 0, err
		}
		if found {
			return n, at.off, nil
		}
	}
	return 0, 0, fmt.Errorf("filesink: no record %s is stored to read on from", p.query.After)
}

// passed reports whether all of a segment was read before.
func (p *iteration) passed(part part) bool { return p.reached > 0 && part.end <= p.reached }

// readPart yields what matches in one segment.
func (p *iteration) readPart(part part, after int64) error {
	from := int64(0)
	if part.first == p.fromFirst {
		from = p.from
	}
	if from >= part.size || p.passed(part) {
		return nil
	}
	f, err := p.dir.Open(segmentPath(part.first))
	if err != nil {
		return fmt.Errorf("filesink: read: %w", err)
	}
	defer f.Close()
	if part.first != p.fromFirst && part.first < p.reached {
		if from, err = part.offset(f, p.reached); err != nil {
			return fmt.Errorf("filesink: read %s: %w", segmentPath(part.first), err)
		}
	}
	if offsets, ok := part.offsets(p.dir, p.query); ok {
		return p.readOffsets(f, part, offsets, from, after)
	}
	spans := part.spans(p.dir, p.query)
	if p.query.NewestFirst {
		slices.Reverse(spans)
	}
	for _, s := range spans {
		s.from = max(s.from, from)
		if err := p.readSpan(f, part, s, after); err != nil {
			return err
		}
	}
	return nil
}

// offset returns where the line of an index begins.
func (p part) offset(f disk.File, index int64) (int64, error) {
	if p.entries != nil {
		return int64(p.entries[index-p.first].off), nil
	}
	at := p.first
	for l, err := range forward(f, 0, p.size) {
		if err != nil && !errors.Is(err, errLongLine) {
			return 0, err
		}
		if auditlog.IsCommit(l.bytes) {
			continue
		}
		if at == index {
			return l.off, nil
		}
		at++
	}
	return p.size, nil
}

// readSpan yields what matches of the lines in a span of a segment.
func (p *iteration) readSpan(f disk.File, part part, s span, after int64) error {
	lines := forward
	switch {
	case p.query.NewestFirst && after >= 0:
		s.to, lines = min(s.to, after), backward
	case p.query.NewestFirst:
		lines = backward
	case after >= 0:
		s.from = max(s.from, after)
	}
	for l, err := range lines(f, s.from, s.to) {
		if errors.Is(err, errLongLine) {
			if err := p.unreadable(part, l.off, err); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("filesink: read %s: %w", segmentPath(part.first), err)
		}
		if l.off == after || auditlog.IsCommit(l.bytes) {
			continue
		}
		if err := p.offer(part, l); err != nil {
			return err
		}
	}
	return nil
}

// readOffsets yields what matches of the lines that an index leads to.
func (p *iteration) readOffsets(f disk.File, part part, offsets []int64, from, after int64) error {
	if p.query.NewestFirst {
		slices.Reverse(offsets)
	}
	buf := make([]byte, 4<<10)
	for _, off := range offsets {
		if off < from || after >= 0 && (p.query.NewestFirst && off >= after || !p.query.NewestFirst && off <= after) {
			continue
		}
		text, err := readLine(f, buf, off, part.size)
		if errors.Is(err, errNoLine) {
			if err := p.unreadable(part, off, err); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("filesink: read %s at %d: %w", segmentPath(part.first), off, err)
		}
		if err := p.offer(part, line{off, text}); err != nil {
			return err
		}
	}
	return nil
}

// offer yields a record if it matches.
func (p *iteration) offer(part part, l line) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	r, err := jobaudit.ParseRecord(l.bytes)
	if err != nil {
		return p.unreadable(part, l.off, err)
	}
	if !p.query.Match(r) {
		return nil
	}
	if !p.yield(r, nil) {
		return errStop
	}
	if p.yielded++; p.yielded == p.query.Limit {
		return errStop
	}
	return nil
}

// offsets returns where the lines of a query's job or correlation are,
// ascending. It reports false if that has to be found by reading all lines.
func (p part) offsets(dir disk.Dir, q jobaudit.Query) ([]int64, bool) {
	key, job := q.JobID, true
	if key == uuid.Nil {
		key, job = q.CorrelationID, false
	}
	if key == uuid.Nil || p.entries == nil && p.index == nil {
		return nil, false
	}
	var offsets []int64
	for _, e := range p.entries {
		if job && e.job == key || !job && e.correlation == key {
			offsets = append(offsets, int64(e.off))
		}
	}
	if p.entries != nil {
		return offsets, true
	}
	x, err := openKnown(dir, p.first, *p.index)
	if err != nil {
		return nil, false
	}
	defer x.close()
	t := x.correlated()
	if job {
		t = x.jobs()
	}
	rows, err := t.find(key)
	if err != nil {
		return nil, false
	}
	for _, r := range rows {
		offsets = append(offsets, int64(r.off))
	}
	return offsets, true
}

// A span is a run of whole lines of a segment, in bytes.
type span struct{ from, to int64 }

// unreadable yields that a line is no record, and reading goes on behind it.
func (p *iteration) unreadable(part part, off int64, err error) error {
	place := fmt.Sprintf("byte %d of %s", off, segmentPath(part.first))
	if !p.yield(jobaudit.Record{}, fmt.Errorf("filesink: %w", &jobaudit.UnreadableError{Place: place, Err: err})) {
		return errStop
	}
	return nil
}

// spans returns where the lines of a query's times may be, ascending.
func (p part) spans(dir disk.Dir, q jobaudit.Query) []span {
	all := []span{{0, p.size}}
	if q.Since.IsZero() && q.Until.IsZero() || p.index == nil {
		return all
	}
	x, err := openKnown(dir, p.first, *p.index)
	if err != nil {
		return all
	}
	defer x.close()
	var spans []span
	t := x.blocks()
	for page := range (t.rows + rowsPerPage - 1) / rowsPerPage {
		rows, err := t.read(page)
		if err != nil {
			return all
		}
		for _, r := range rows {
			low, high := int64(binary.LittleEndian.Uint64(r.key[:])), int64(binary.LittleEndian.Uint64(r.key[8:]))
			if !q.Since.IsZero() && high < q.Since.UnixMicro() || !q.Until.IsZero() && low > q.Until.UnixMicro() {
				continue
			}
			if n := len(spans); n > 0 && spans[n-1].to == int64(r.leaf) {
				spans[n-1].to = int64(r.off)
				continue
			}
			spans = append(spans, span{int64(r.leaf), int64(r.off)})
		}
	}
	return spans
}

// find looks for an event in the part.
func (p part) find(ctx context.Context, dir disk.Dir, id uuid.UUID) (place, bool, error) {
	for i, e := range p.entries {
		if e.id == id {
			return place{p.first + int64(i), int64(e.off)}, true, nil
		}
	}
	if p.entries != nil {
		return place{}, false, nil
	}
	if p.index != nil {
		if x, err := openKnown(dir, p.first, *p.index); err == nil {
			defer x.close()
			if x.Range.has(id) {
				s := closedSegmentOf(x)
				var at place
				found, err := s.find(dir, id, func(p place, _ []byte) { at = p })
				if err == nil {
					return at, found, nil
				}
			} else {
				return place{}, false, nil
			}
		}
	}
	return p.search(ctx, dir, id)
}

// search looks for an event by reading all lines.
func (p part) search(ctx context.Context, dir disk.Dir, id uuid.UUID) (at place, found bool, err error) {
	f, err := dir.Open(segmentPath(p.first))
	if err != nil {
		return at, false, err
	}
	defer f.Close()
	leaf := p.first
	for l, err := range forward(f, 0, p.size) {
		if err != nil || ctx.Err() != nil {
			return at, false, errors.Join(err, ctx.Err())
		}
		if auditlog.IsCommit(l.bytes) {
			continue
		}
		if readLineHeader(l.bytes).id == id {
			return place{leaf, l.off}, true, nil
		}
		leaf++
	}
	return at, false, nil
}
