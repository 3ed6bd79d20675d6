package auditlog

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// What can be wrong with signed text. Test with [errors.Is].
var (
	// ErrFormat: the bytes are not in the format that they claim.
	ErrFormat = errors.New("malformed")
	// ErrOrigin: the text speaks of another log.
	ErrOrigin = errors.New("wrong origin")
	// ErrUnknownKey: the text is not signed by the key that was given.
	ErrUnknownKey = errors.New("not signed by the given key")
	// ErrSignature: the text has a signature of the given key that is not
	// valid.
	ErrSignature = errors.New("bad signature")
	// ErrProof: leaf, index and hashes do not lead to the signed root.
	ErrProof = errors.New("does not lead to the signed root")
)

// maxSize bounds the number of leaves that is accepted in any text. x/mod's
// index arithmetic overflows past 2^62; no log comes near 2^53.
const maxSize = 1 << 53

// A Head is a tree head: how many leaves a log has and what they hash to.
// A Head is a plain value and proves nothing; a [Checkpoint] is a Head with a
// signature.
type Head struct {
	// Origin identifies the log and is the name of its key.
	Origin string
	// Size is the number of leaves, 0 to 2^53.
	Size int64
	// Root is the RFC 6962 §2.1 Merkle tree hash of these leaves.
	Root tlog.Hash
}

// String returns the head in one line, for people.
func (h Head) String() string {
	return fmt.Sprintf("%s %d %s", h.Origin, h.Size, h.Root)
}

// A Checkpoint is a signed tree head (C2SP tlog-checkpoint). The only ways to
// hold one that is not the zero value are to sign it ([Tree.Sign]) and to open
// it with a key, so it is never unverified. It is immutable and safe for
// concurrent use.
type Checkpoint struct {
	head   Head
	signed string
}

// Head returns what the checkpoint says.
func (c Checkpoint) Head() Head { return c.head }

// Signed returns the signed note, to be stored or published.
func (c Checkpoint) Signed() []byte { return []byte(c.signed) }

// IsZero reports whether c is the zero value, which is no checkpoint.
func (c Checkpoint) IsZero() bool { return c.signed == "" }

// OpenCheckpoint verifies and parses a signed checkpoint in one step. The
// origin has to be the name of the key. Signatures of other keys (witnesses)
// and extension lines are allowed. The error is [ErrFormat], [ErrOrigin],
// [ErrUnknownKey] or [ErrSignature].
func OpenCheckpoint(signed []byte, key note.Verifier) (Checkpoint, error) {
	head, _, err := parseNote(signed)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint: %w", err)
	}
	if head.Origin != key.Name() {
		return Checkpoint{}, fmt.Errorf("checkpoint: %w: %q, the key is %q", ErrOrigin, head.Origin, key.Name())
	}
	if err := checkSignature(signed, key); err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint: %w", err)
	}
	return Checkpoint{head: head, signed: string(signed)}, nil
}

// checkSignature finds a good signature of the key, or says why there is none.
func checkSignature(signed []byte, key note.Verifier) error {
	_, err := note.Open(signed, note.VerifierList(key))
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*note.UnverifiedNoteError](err); ok {
		return ErrUnknownKey
	}
	if _, ok := errors.AsType[*note.InvalidSignatureError](err); ok {
		return ErrSignature
	}
	return fmt.Errorf("%w: %v", ErrFormat, err)
}

// signHead signs a head under the origin that the signer's name gives.
func signHead(size int64, root tlog.Hash, signer note.Signer) (Checkpoint, error) {
	head := Head{Origin: signer.Name(), Size: size, Root: root}
	signed, err := note.Sign(&note.Note{Text: head.body()}, signer)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("sign checkpoint: %w", err)
	}
	return Checkpoint{head: head, signed: string(signed)}, nil
}

// body returns the note text of the head, without extension lines.
func (h Head) body() string {
	b := make([]byte, 0, len(h.Origin)+80)
	b = append(b, h.Origin...)
	b = append(b, '\n')
	b = strconv.AppendInt(b, h.Size, 10)
	b = append(b, '\n')
	b = base64.StdEncoding.AppendEncode(b, h.Root[:])
	return string(append(b, '\n'))
}

// parseBody parses note text: at least three lines, none empty, each ended.
func parseBody(text string) (Head, error) {
	origin, rest, ok1 := strings.Cut(text, "\n")
	size, rest, ok2 := strings.Cut(rest, "\n")
	root, rest, ok3 := strings.Cut(rest, "\n")
	if !ok1 || !ok2 || !ok3 || origin == "" {
		return Head{}, fmt.Errorf("%w: body needs three lines", ErrFormat)
	}
	h := Head{Origin: origin}
	var err error
	if h.Size, err = parseDecimal(size); err != nil {
		return Head{}, fmt.Errorf("%w: size", err)
	}
	if h.Root, err = parseHash(root); err != nil {
		return Head{}, fmt.Errorf("%w: root", err)
	}
	if h.Size == 0 && h.Root != emptyRoot() {
		return Head{}, fmt.Errorf("%w: root of an empty tree", ErrFormat)
	}
	if rest != "" && (rest[0] == '\n' || rest[len(rest)-1] != '\n' || strings.Contains(rest, "\n\n")) {
		return Head{}, fmt.Errorf("%w: extension lines", ErrFormat)
	}
	return h, nil
}

var (
	noteSplit = []byte("\n\n")
	sigPrefix = []byte("— ")
)

// parseNote parses a signed note's head and gives its signature lines; it
// verifies no signature.
func parseNote(signed []byte) (h Head, sigs []byte, err error) {
	if !utf8.Valid(signed) {
		return Head{}, nil, fmt.Errorf("%w: not UTF-8", ErrFormat)
	}
	for _, c := range signed {
		if c < 0x20 && c != '\n' {
			return Head{}, nil, fmt.Errorf("%w: control character", ErrFormat)
		}
	}
	i := bytes.LastIndex(signed, noteSplit)
	if i < 0 {
		return Head{}, nil, fmt.Errorf("%w: no signatures", ErrFormat)
	}
	sigs = signed[i+len(noteSplit):]
	if !bytes.HasPrefix(sigs, sigPrefix) || sigs[len(sigs)-1] != '\n' {
		return Head{}, nil, fmt.Errorf("%w: signature lines", ErrFormat)
	}
	h, err = parseBody(string(signed[:i+1]))
	return h, sigs, err
}

// emptyRoot is the root of the tree without leaves, RFC 6962 §2.1.
func emptyRoot() tlog.Hash { return sha256.Sum256(nil) }

// parseDecimal accepts the one way to write a size or an index.
func parseDecimal(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > maxSize || strconv.FormatInt(n, 10) != s {
		return 0, fmt.Errorf("%w: number", ErrFormat)
	}
	return n, nil
}

// parseHash accepts the one way to write a hash in base64.
func parseHash(s string) (tlog.Hash, error) {
	var h tlog.Hash
	b, err := parseBase64(s)
	if err != nil || len(b) != len(h) {
		return h, fmt.Errorf("%w: hash", ErrFormat)
	}
	copy(h[:], b)
	return h, nil
}

// parseBase64 accepts the one way to write bytes in standard base64:
// trailing bits are zero, and there are no line breaks inside.
func parseBase64(s string) ([]byte, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || base64.StdEncoding.EncodedLen(len(b)) != len(s) {
		return nil, fmt.Errorf("%w: base64", ErrFormat)
	}
	return b, nil
}
