package auditlog

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"runtime"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// A Segment is a run of a log's lines: a file, or a range of rows. The lines
// end in line feeds. A log's segments follow one another without gaps, and a
// batch never spans two.
type Segment struct {
	// Name stands in findings.
	Name string
	// First is the index of the segment's first leaf, 0 to 2^53, and not less
	// than that of the segment before. What that one holds beyond the commit
	// line of this size is ignored if it is an interrupted write that was
	// written again here.
	First int64
	// Open gives the bytes, from the first to the last that are to be
	// verified. It is called when its turn comes, and again to look at bytes
	// that no commit line covers; what it returns is closed. If it is an
	// [io.Seeker], it need not be read from its beginning then.
	Open func() (io.ReadCloser, error)
}

// Options are what a verification knows from elsewhere. No key and no head may
// come from the log itself. The zero value, or nil, compares hashes only.
type Options struct {
	// Keys are the keys that may have signed the log, oldest first: one, or
	// one for each log of a line of successors that share a tree. Without
	// keys a log can be no more than [Consistent]. They are used concurrently.
	Keys []note.Verifier
	// Heads are newest heads kept outside the log, from an [Anchor], a
	// colleague, a printout. One with an empty Origin is of any origin.
	Heads []Head
	// Own are heads that the log's storage holds beside its lines, such as the
	// newest one that its writer knew to be durable. One that does not agree is
	// a finding; they count for no level.
	Own []Head
	// Hints may hold the log's stored hashes, as a sink's cache has them.
	// They are not trusted: they count only where they give a root that a
	// commit line has. They help to name the damaged leaf in a damaged
	// batch, and to go on with the batches after it.
	Hints tlog.HashReader
	// Quick checks the signature of a commit line only where it is needed:
	// not when the line agrees with the leaves and a later line, which agrees
	// too, has a good one. Every leaf is still under a good signature; what
	// goes unseen is a damaged signature on a line whose removal would go
	// unseen too. Logs of small batches verify many times as fast.
	Quick bool
	// Inspect, if not nil, is called for every line that can be a leaf, by
	// several goroutines at a time and in no order, before it is known whether
	// the line is what was signed. What it appends to notes, which it returns,
	// is what the callback finds in [Leaf.Notes]: work on a leaf that needs
	// no other leaf is done on all cores that way. It must neither change nor
	// keep the line, nor look at the notes that are there.
	Inspect func(notes, line []byte) []byte

	// steps, of tests, counts what looks for heads and for leaves of damaged batches.
	steps *int
}

// A Leaf is one line of a log, as [Verify] hands it over.
type Leaf struct {
	Index int64
	// Bytes is the line without its line feed. It is not to be changed, and
	// not to be kept after the callback returns.
	Bytes []byte
	// Hash is the line's RFC 6962 leaf hash.
	Hash tlog.Hash
	// Segment and Offset, in bytes, are where the line begins.
	Segment string
	Offset  int64
	// Notes are those of [Options.Inspect]. They are kept no longer than
	// Bytes.
	Notes []byte
}

// A Report says what was verified.
type Report struct {
	// Level is [Unverified] whenever there is a finding.
	Level Level
	// Head is the newest head in the log that its leaves agree with. It is
	// signed if Level is at least [Signed].
	Head Head
	// Durable is the newest such head that is known to be durable: bytes or
	// another segment follow its commit line, which a writer writes only then.
	// Another one may be lost in a crash, so it is not to be kept as evidence.
	Durable Head
	// Commits, Segments and Bytes count what was read: commit lines, good or
	// bad; segments; bytes of segments, ignored ones included.
	Commits  int64
	Segments int
	Bytes    int64
	// Anchored is the size of the newest outside head that agrees. Unless
	// there are findings, no leaf before it was changed, not even by the
	// key's holder, since that head was kept.
	Anchored int64
	// Tail is what follows the last good commit line.
	Tail Tail
	// Ignored are interrupted writes that were made again in the segment
	// behind; at most 1,000, the first.
	Ignored []Ignored
}

// Ignored is a run of bytes that are ignored.
type Ignored struct {
	Segment       string
	Offset, Bytes int64
}

// A Tail is the end of the last segment, after its last good commit line:
// unacknowledged by its writer, or being written right now, or damaged. It is a
// finding, of [KindAcknowledged] or about a commit line, when no interrupted
// write can have left it (see [InspectTail]). Where one can have, a log alone
// cannot tell: a newer outside head makes it one of [KindTruncated].
type Tail struct {
	Segment string
	// Offset is where the tail begins, Bytes its length. 0 bytes: no tail.
	Offset, Bytes int64
	// Leaves and Commits count the lines in it of either sort; these commit
	// lines are all bad.
	Leaves, Commits int64
	// Torn is the head that its commit line signs, if there is one: if that
	// was acknowledged, the leaves from [Report.Head] on up to its size are
	// lost.
	Torn *Head
}

// Verify proves a whole log: that each line is what the commit line after it
// signs for, that each commit line is signed by a given key, that the log
// agrees with the given heads. It streams, in memory that does not depend on
// the log's length, on all cores; the context is looked at between buffers.
//
// If each is not nil it is called, from the calling goroutine, for every leaf
// that a good commit line covers, in order, after the leaf's batch was
// compared. Of a damaged batch it gets the lines that are there, except those
// that cannot be leaves; lines before a commit line out of order are left out. A batch of more than
// 64 MiB is handed over while it is read, before its commit line. An error from
// each ends the verification and is returned unchanged.
//
// The error is a [*VerifyError] when the log was read to its end and something
// in it is wrong: findings are located at least to the signed batch, and
// leaves outside of that are not accused. With [Options.Hints] they name the
// leaf. Without them, batches after a damaged one can only be checked for
// their number of leaves, for their signatures and their form, because each
// root covers all leaves before it. Any other error means that the log could
// not be read. The report holds what was found so far in either case.
func Verify(ctx context.Context, segments []Segment, opts *Options, each func(Leaf) error) (Report, error) {
	if opts == nil {
		opts = &Options{}
	}
	if err := checkSegments(segments); err != nil {
		return Report{}, fmt.Errorf("verify: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	workers := runtime.GOMAXPROCS(0)
	s := newScanner(ctx, segments, opts, workers)
	wait := s.start(workers - 1)
	defer wait()
	defer cancel()

	f := newComparer(segments, opts, each)
	for ck := s.next(); ck != nil; ck = s.next() {
		if err := ctx.Err(); err != nil {
			return f.report, fmt.Errorf("verify: %w", err)
		}
		if ck.err != nil {
			return f.report, cmp.Or(f.consumeWaiting(s), ck.err)
		}
		if err := f.consume(s, ck); err != nil {
			return f.report, err
		}
	}
	if err := ctx.Err(); err != nil {
		return f.report, fmt.Errorf("verify: %w", err)
	}
	return f.finish()
}

// A SegmentError says why a list of segments is no log's.
type SegmentError struct {
	Name   string
	First  int64
	Reason string
}

func (e *SegmentError) Error() string {
	return fmt.Sprintf("segment %s from index %d: %s", e.Name, e.First, e.Reason)
}

// checkSegments checks what the caller says of the segments.
func checkSegments(segments []Segment) error {
	last := int64(0)
	for _, s := range segments {
		switch {
		case s.First < 0 || s.First > maxSize:
			return &SegmentError{s.Name, s.First, "out of range, 0 to 2^53"}
		case s.First < last:
			return &SegmentError{s.Name, s.First, fmt.Sprintf("behind one from index %d", last)}
		case s.Open == nil:
			return &SegmentError{s.Name, s.First, "cannot be opened"}
		}
		last = s.First
	}
	return nil
}

// finish compares what only the end can tell and gives the result.
func (f *comparer) finish() (Report, error) {
	f.reportProvisional()
	agreed := f.finishHeads()
	if len(f.findings) > 0 {
		return f.report, &VerifyError{Findings: f.findings, More: f.more}
	}
	switch {
	case f.report.Head.Size == 0:
		// An empty log agrees with everything and proves nothing.
	case len(f.opts.Keys) == 0:
		f.report.Level = Consistent
	case agreed && f.report.Anchored > 0:
		f.report.Level = Anchored
	default:
		f.report.Level = Signed
	}
	return f.report, nil
}
