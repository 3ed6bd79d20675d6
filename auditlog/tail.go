package auditlog

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"golang.org/x/mod/sumdb/note"
)

// sectorSize is the least that a disk writes as a whole. Of a write that a
// power cut interrupted, whole sectors are missing and read as zeros.
const sectorSize = 512

// longRun is how many zeros in a row no change of single bytes leaves.
const longRun = 16

// A TornTail is what follows a log's newest good commit line: one batch at
// most, in honest logs, that was being written when the writer ended.
type TornTail struct {
	// Bytes is its length; 0 bytes: no tail.
	Bytes int64
	// Leaves and Commits count the whole lines in it of either sort.
	Leaves, Commits int64
	// Head is the head that its commit line signs, the torn head: if that
	// batch was acknowledged, the leaves up to its size are lost. It is nil
	// when no commit line is whole and signed. Without keys it is what the
	// line claims.
	Head *Head
	// Zeros: part of it reads as zeros, as a power cut leaves sectors that were
	// being written. Without, the lines under a torn head were changed by
	// something else.
	Zeros bool
	// Damage says why an interrupted write cannot have left these bytes, so
	// that some of them were acknowledged. It is empty for what a crash leaves.
	Damage string
	// At is the offset in the segment of what shows the damage.
	At int64
}

// InspectTail judges the bytes of a log's last segment that follow its newest
// good commit line, which ends at offset off and has the given size. r gives
// them from off to the end.
//
// A writer writes a batch and its commit line at once, and nothing more before
// all of it is durable. So a crash leaves at most one commit line that is
// signed, the torn head; its size is over the log's, no other commit line
// stands before it, and no byte behind it. Any other tail was acknowledged in
// part.
//
// What else may be lost cannot be told from inside: a tail cut back to what a
// crash would have left looks like one. Compare with a head kept outside.
func InspectTail(r io.Reader, off, size int64, keys []note.Verifier) (TornTail, error) {
	t := tailScan{off: off, size: size, keys: keys, zeros: -1}
	b := bufio.NewReaderSize(r, maxLine+1)
	for {
		line, err := b.ReadSlice('\n')
		switch {
		case err == nil:
			t.line(line[:len(line)-1], true)
		case errors.Is(err, bufio.ErrBufferFull):
			t.line(line, false)
			for errors.Is(err, bufio.ErrBufferFull) {
				t.bytes(line)
				line, err = b.ReadSlice('\n')
			}
		case errors.Is(err, io.EOF):
			t.line(line, false)
		}
		t.bytes(line)
		if errors.Is(err, io.EOF) {
			return t.finish(), nil
		}
		if err != nil {
			return TornTail{}, fmt.Errorf("read the tail: %w", err)
		}
	}
}

// A tailScan is the state of InspectTail.
type tailScan struct {
	TornTail
	off, size int64
	keys      []note.Verifier
	zeros     int64 // where the zeros at hand begin, -1 outside of any
}

// line looks at the next line, or what of it there is.
func (t *tailScan) line(line []byte, whole bool) {
	at := t.off + t.Bytes
	if t.Head != nil && (whole || len(line) > 0) {
		t.damage(at, fmt.Sprintf("bytes follow the signed head of size %d, which the entries do not lead to", t.Head.Size))
	}
	switch {
	case !whole:
		return
	case !IsCommit(line):
		t.Leaves++
		return
	}
	t.Commits++
	c := readCommit(line, t.keys, true)
	switch {
	case c.err != nil:
	case t.Commits > 1:
		t.damage(at, fmt.Sprintf("a signed head of size %d follows a commit line that is not good", c.head.Size))
	case c.head.Size <= t.size:
		t.damage(at, fmt.Sprintf("a signed head of size %d stands behind one of size %d", c.head.Size, t.size))
	}
	if c.err == nil && t.Head == nil {
		t.Head = &c.head
	}
}

func (t *tailScan) damage(at int64, reason string) {
	if t.Damage == "" {
		t.Damage, t.At = reason, at
	}
}

// bytes looks for sectors of zeros.
func (t *tailScan) bytes(b []byte) {
	for i, c := range b {
		at := t.off + t.Bytes + int64(i)
		switch {
		case c == 0 && t.zeros < 0:
			t.zeros = at
		case c != 0 && t.zeros >= 0:
			t.endZeros(at, false)
		}
	}
	t.Bytes += int64(len(b))
}

// endZeros takes a run of zeros for lost sectors if it is long, or if it begins
// and ends where a sector or the tail does.
func (t *tailScan) endZeros(at int64, end bool) {
	begins := t.zeros == t.off || t.zeros%sectorSize == 0
	ends := end || at%sectorSize == 0
	t.Zeros = t.Zeros || begins && ends || at-t.zeros >= longRun
	t.zeros = -1
}

func (t *tailScan) finish() TornTail {
	if t.zeros >= 0 {
		t.endZeros(t.off+t.Bytes, true)
	}
	return t.TornTail
}

// A Rewrite says what bytes are that a segment holds behind the commit line at
// which the next segment begins.
type Rewrite int

const (
	// NoRewrite: an interrupted write has not left them.
	NoRewrite Rewrite = iota
	// Rewritten: a write failed, and the next segment begins with the same
	// batch. They are ignored.
	Rewritten
	// RewriteUnfinished: the next segment has no commit line yet and agrees as
	// far as it goes, or ends with one under which a power cut left zeros. They are
	// then as [InspectTail] says.
	RewriteUnfinished
)

// CompareRewrite compares the bytes that a segment holds behind the commit line
// at which the next segment begins with that segment, both from their
// beginning. A write that failed was made again there: so they are no more than
// the next segment's first batch, and each byte is the same or, as a failed
// write followed by a power cut leaves it, zero.
func CompareRewrite(ignored, next io.Reader) (Rewrite, error) {
	b := bufio.NewReaderSize(next, maxLine+1)
	buf := make([]byte, maxLine+1)
	begins, commit, torn := true, false, false
	for {
		piece, err := b.ReadSlice('\n')
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
			return NoRewrite, fmt.Errorf("read the next segment: %w", err)
		}
		commit = commit && !begins || begins && IsCommit(piece)
		begins = err == nil
		n, readErr := io.ReadFull(ignored, buf[:len(piece)])
		if readErr != nil && !errors.Is(readErr, io.EOF) && !errors.Is(readErr, io.ErrUnexpectedEOF) {
			return NoRewrite, fmt.Errorf("read the ignored bytes: %w", readErr)
		}
		last := err == nil && commit || errors.Is(err, io.EOF)
		for i, c := range buf[:n] {
			if c != piece[i] && c != 0 && piece[i] != 0 {
				return NoRewrite, nil
			}
			torn = torn || c != piece[i] && c != 0 // by the second write
		}
		if !last {
			continue
		}
		if errors.Is(err, io.EOF) {
			return RewriteUnfinished, nil
		}
		if m, err := ignored.Read(buf[:1]); m > 0 {
			return NoRewrite, nil
		} else if err != nil && !errors.Is(err, io.EOF) {
			return NoRewrite, fmt.Errorf("read the ignored bytes: %w", err)
		}
		if !torn {
			return Rewritten, nil
		}
		switch _, err := b.Peek(1); {
		case err == nil: // somebody has written on behind what was lost
			return NoRewrite, nil
		case !errors.Is(err, io.EOF):
			return NoRewrite, fmt.Errorf("read the next segment: %w", err)
		}
		return RewriteUnfinished, nil
	}
}
