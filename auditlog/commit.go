package auditlog

import (
	"bytes"
	"fmt"

	"golang.org/x/mod/sumdb/note"
)

// A commit line is commitPrefix, one JSON string, commitSuffix.
const (
	commitPrefix = `{"checkpoint":`
	commitSuffix = `}`
)

// IsCommit reports whether a line is a commit line or claims to be one: that
// is decided by its first 14 bytes and nothing else.
func IsCommit(line []byte) bool {
	return len(line) >= len(commitPrefix) && string(line[:len(commitPrefix)]) == commitPrefix
}

// AppendCommit appends the commit line of a checkpoint, without a line feed.
func AppendCommit(dst []byte, c Checkpoint) []byte {
	return appendCommit(dst, c.signed)
}

func appendCommit[T string | []byte](dst []byte, signed T) []byte {
	dst = append(dst, commitPrefix...)
	dst = append(dst, '"')
	for i := range len(signed) {
		switch b := signed[i]; b {
		case '\n':
			dst = append(dst, '\\', 'n')
		case '"', '\\':
			dst = append(dst, '\\', b)
		default:
			dst = append(dst, b)
		}
	}
	dst = append(dst, '"')
	return append(dst, commitSuffix...)
}

// OpenCommit verifies and parses a commit line, given without its line feed.
// It accepts only bytes that [AppendCommit] could have written, with exactly
// one signature: one key signs one log. Errors are those of [OpenCheckpoint].
func OpenCommit(line []byte, key note.Verifier) (Checkpoint, error) {
	signed, _, err := parseCommit(line)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("commit line: %w", err)
	}
	c, err := OpenCheckpoint(signed, key)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("commit line: %w", err)
	}
	return c, nil
}

// CommitHead returns what a commit line, given without its line feed, claims.
// It verifies no signature, so the head proves nothing: it serves readers that
// have no key, and error texts. The error is [ErrFormat].
func CommitHead(line []byte) (Head, error) {
	_, head, err := parseCommit(line)
	if err != nil {
		return Head{}, fmt.Errorf("commit line: %w", err)
	}
	return head, nil
}

// parseCommit takes a commit line apart; it verifies no signature. A note has
// one encoding and a signature has one base64, so no byte of the line can
// change without either an error here or another head or signature.
func parseCommit(line []byte) (signed []byte, h Head, err error) {
	if len(line) > maxLine {
		return nil, Head{}, fmt.Errorf("%w: %d bytes", ErrFormat, len(line))
	}
	if signed, err = decodeCommit(line); err != nil {
		return nil, Head{}, err
	}
	h, sigs, err := parseNote(signed)
	if err != nil {
		return nil, Head{}, err
	}
	sig, rest, _ := bytes.Cut(sigs, []byte("\n"))
	if len(rest) != 0 {
		return nil, Head{}, fmt.Errorf("%w: more than one signature", ErrFormat)
	}
	_, b64, ok := bytes.Cut(sig[len(sigPrefix):], []byte(" "))
	if !ok {
		return nil, Head{}, fmt.Errorf("%w: signature line", ErrFormat)
	}
	if _, err := parseBase64(string(b64)); err != nil {
		return nil, Head{}, err
	}
	return signed, h, nil
}

// decodeCommit is the exact inverse of appendCommit.
func decodeCommit(line []byte) ([]byte, error) {
	const head = commitPrefix + `"`
	const tail = `"` + commitSuffix
	if len(line) < len(head)+len(tail) || string(line[:len(head)]) != head || string(line[len(line)-len(tail):]) != tail {
		return nil, fmt.Errorf("%w: not one JSON string", ErrFormat)
	}
	in := line[len(head) : len(line)-len(tail)]
	out := make([]byte, 0, len(in))
	for i := 0; i < len(in); i++ {
		c := in[i]
		switch {
		case c == '"' || c < 0x20:
			return nil, fmt.Errorf("%w: byte %#02x in the string", ErrFormat, c)
		case c == '\\':
			i++
			if i == len(in) {
				return nil, fmt.Errorf("%w: open escape", ErrFormat)
			}
			switch in[i] {
			case 'n':
				c = '\n'
			case '"', '\\':
				c = in[i]
			default:
				return nil, fmt.Errorf("%w: escape", ErrFormat)
			}
		}
		out = append(out, c)
	}
	return out, nil
}
