package auditlog

import (
	"bytes"
	"crypto/sha256"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// MaxLeaf is the greatest length of a leaf in bytes.
const MaxLeaf = 65_535

// maxLine bounds every line of a log, commit lines too.
const maxLine = MaxLeaf

// A LeafError says why a line cannot be a leaf. It never holds the line.
type LeafError struct {
	// Reason is "empty", "too long", "line feed" or "commit line".
	Reason string
	// Size is the length of the line in bytes.
	Size int
}

func (e *LeafError) Error() string {
	return fmt.Sprintf("leaf of %d bytes refused: %s", e.Size, e.Reason)
}

// CheckLeaf returns a [*LeafError] when the line, given without its line
// feed, cannot be a leaf: it is empty, longer than [MaxLeaf], holds a line
// feed or would be read as a commit line.
func CheckLeaf(line []byte) error {
	reason := ""
	switch {
	case len(line) == 0:
		reason = "empty"
	case len(line) > MaxLeaf:
		reason = "too long"
	case IsCommit(line):
		reason = "commit line"
	case bytes.IndexByte(line, '\n') >= 0:
		reason = "line feed"
	default:
		return nil
	}
	return &LeafError{Reason: reason, Size: len(line)}
}

// HashLeaf returns the RFC 6962 §2.1 hash of a leaf: SHA-256 over 0x00 and its
// bytes. It does not allocate for lines of up to 4 KiB.
func HashLeaf(line []byte) tlog.Hash {
	var buf [1 + 4096]byte
	if len(line) < len(buf) {
		return sha256.Sum256(buf[:1+copy(buf[1:], line)])
	}
	return tlog.RecordHash(line)
}
