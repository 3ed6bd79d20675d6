package auditlog

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
)

// maxIgnored bounds the runs of ignored bytes that a report lists.
const maxIgnored = 1000

// leave ends a segment: what follows its last good commit line is the log's
// tail, or ignored because the next segment begins there, or damaged.
func (f *comparer) leave(s *scanner, ck *chunk) error {
	f.report.Bytes += ck.size
	next := ck.segment + 1
	if next == len(f.segments) {
		return f.leaveLast(s, ck)
	}
	first := f.segments[next].First
	if first == f.report.Head.Size {
		f.report.Durable = f.report.Head
	}
	if f.ignore || first == f.good.size {
		if err := f.compareIgnored(ck); err != nil {
			return err
		}
		f.pending = nil
		f.reset()
		f.drop(s)
	} else if first == f.run.size {
		if f.open > 0 {
			f.pend(Finding{
				Kind: KindCommit, Index: -1, First: f.good.size, End: first, Commit: -1,
				Segment: f.segments[ck.segment].Name, Offset: ck.size,
				Expected: "a commit line of size " + strconv.FormatInt(first, 10), Found: "the end of the segment",
			})
		}
	} else {
		f.drop(s)
		f.open = 0
	}
	f.segment, f.ignore = next, false
	f.report.Segments++
	f.report.Tail = Tail{Segment: f.segments[next].Name}
	f.enter(first)
	return nil
}

// leaveLast ends the log. What follows the last good commit line is a note if
// an interrupted write can have left it.
func (f *comparer) leaveLast(s *scanner, ck *chunk) error {
	tail := &f.report.Tail
	torn, err := f.inspectTail(ck.segment, tail.Offset, ck.size)
	if err != nil {
		return err
	}
	before := len(f.findings) + f.more
	crash := torn.Damage == "" && (torn.Head == nil || torn.Zeros)
	if d := f.deferred; d != nil && !crash {
		f.deferred = nil
		if err := f.judge(s, d.chunk, d.part); err != nil {
			return err
		}
	}
	if torn.Damage == "" {
		// No interrupted write leaves a well-formed line that another writer made.
		f.pending = slices.DeleteFunc(f.pending, func(fd Finding) bool {
			return fd.Kind != KindOrigin && fd.Kind != KindKey && fd.Kind != KindSignature
		})
	}
	f.flushPending()
	if torn.Damage != "" && len(f.findings)+f.more == before && len(f.provisional) == 0 && !f.lost {
		f.add(Finding{
			Kind: KindAcknowledged, Index: -1, First: f.good.size, End: f.good.size, Commit: -1,
			Segment: tail.Segment, Offset: torn.At,
			Expected: "at most one interrupted batch behind the last good commit line", Found: torn.Damage,
		})
	}
	if ck.size > tail.Offset {
		f.report.Durable = f.report.Head
	}
	*tail = Tail{Segment: tail.Segment, Offset: tail.Offset, Bytes: ck.size - tail.Offset, Leaves: torn.Leaves, Commits: torn.Commits}
	if crash {
		tail.Torn = torn.Head
	}
	if tail.Bytes == 0 {
		*tail = Tail{}
	}
	f.deferred = nil
	f.reset()
	f.drop(s)
	return nil
}

// inspectTail reads the end of a segment once more.
func (f *comparer) inspectTail(segment int, from, to int64) (TornTail, error) {
	if from == to {
		return TornTail{}, nil
	}
	r, err := f.section(segment, from, to)
	if err != nil {
		return TornTail{}, err
	}
	torn, err := InspectTail(r, from, f.good.size, f.opts.Keys)
	if err := errors.Join(err, r.Close()); err != nil {
		return TornTail{}, fmt.Errorf("segment %s: %w", f.segments[segment].Name, err)
	}
	return torn, nil
}

// section opens the bytes [from, to) of a segment, or what is left of them.
func (f *comparer) section(segment int, from, to int64) (io.ReadCloser, error) {
	src, err := f.segments[segment].Open()
	if err != nil {
		return nil, fmt.Errorf("segment %s: %w", f.segments[segment].Name, err)
	}
	if seeker, ok := src.(io.Seeker); ok {
		_, err = seeker.Seek(from, io.SeekStart)
	} else {
		_, err = io.CopyN(io.Discard, src, from)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("segment %s: %w", f.segments[segment].Name, errors.Join(err, src.Close()))
	}
	return sectionReader{io.LimitReader(src, to-from), src}, nil
}

type sectionReader struct {
	io.Reader
	io.Closer
}

// compareIgnored compares the bytes behind the commit line at which the next
// segment begins with what that begins with: the same batch, written again.
func (f *comparer) compareIgnored(ck *chunk) error {
	tail := f.report.Tail
	ignored := Ignored{Segment: tail.Segment, Offset: tail.Offset, Bytes: ck.size - tail.Offset}
	if ignored.Bytes <= 0 {
		return nil
	}
	a, err := f.section(ck.segment, tail.Offset, ck.size)
	if err != nil {
		return err
	}
	defer a.Close()
	b, err := f.segments[ck.segment+1].Open()
	if err != nil {
		return fmt.Errorf("segment %s: %w", f.segments[ck.segment+1].Name, err)
	}
	defer b.Close()
	state, err := CompareRewrite(a, b)
	if err != nil {
		return fmt.Errorf("segment %s: %w", tail.Segment, err)
	}
	if state == RewriteUnfinished {
		torn, err := f.inspectTail(ck.segment, tail.Offset, ck.size)
		if err != nil {
			return err
		}
		if torn.Damage != "" {
			state = NoRewrite
		}
	}
	if state != NoRewrite {
		if len(f.report.Ignored) < maxIgnored {
			f.report.Ignored = append(f.report.Ignored, ignored)
		}
		return nil
	}
	f.add(Finding{
		Kind: KindStray, Index: -1, First: f.good.size, End: f.good.size, Commit: -1,
		Segment: ignored.Segment, Offset: ignored.Offset,
		Expected: "nothing, or an interrupted write of the batch that begins the next segment",
		Found:    fmt.Sprintf("%d bytes that no commit line covers", ignored.Bytes),
	})
	return nil
}
