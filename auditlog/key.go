package auditlog

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"
)

// maxOrigin bounds an origin in bytes.
const maxOrigin = 256

// An OriginError says why a name cannot be the origin of a log.
type OriginError struct {
	Origin string
	Reason string
}

func (e *OriginError) Error() string {
	return fmt.Sprintf("origin %q: %s", e.Origin, e.Reason)
}

// CheckOrigin returns an [*OriginError] unless the name is fit to be a log's
// origin and its key's name: a URL without schema, query and fragment, such
// as example.com/jobs, of at most 256 bytes, without spaces, plus signs,
// quotes, backslashes and control characters (C2SP tlog-checkpoint,
// signed-note).
func CheckOrigin(origin string) error {
	if reason := badOrigin(origin); reason != "" {
		return &OriginError{Origin: origin, Reason: reason}
	}
	return nil
}

func badOrigin(origin string) string {
	switch {
	case origin == "":
		return "empty"
	case len(origin) > maxOrigin:
		return "too long"
	case !utf8.ValidString(origin):
		return "not UTF-8"
	case strings.Contains(origin, "://") || strings.HasPrefix(origin, "/"):
		return "not a URL without schema"
	case strings.ContainsAny(origin, `+"\?#@`):
		return "a character that origins may not hold"
	case strings.ContainsFunc(origin, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }):
		return "a space or control character"
	}
	if u, err := url.Parse("//" + origin); err != nil || u.Host == "" {
		return "not a URL without schema"
	}
	return ""
}

// SplitOrigin tells an origin from its place in a line of successors: the
// origin of the first log and the number of this one. example.com/jobs is
// number 1 of example.com/jobs, example.com/jobs/s2 is number 2.
func SplitOrigin(origin string) (first string, number int) {
	i := strings.LastIndex(origin, "/s")
	if i <= 0 {
		return origin, 1
	}
	digits := origin[i+2:]
	n, err := strconv.Atoi(digits)
	if err != nil || n < 2 || strconv.Itoa(n) != digits {
		return origin, 1
	}
	return origin[:i], n
}

// SuccessorOrigin returns the origin of the log that continues this one:
// /s2 is added, then /s3 in its place, and so on.
func SuccessorOrigin(origin string) string {
	first, n := SplitOrigin(origin)
	return fmt.Sprintf("%s/s%d", first, n+1)
}

// GenerateKey makes a new Ed25519 key for a log: the secret signer key for
// [note.NewSigner] and the verifier key for [note.NewVerifier], both as text.
func GenerateKey(origin string) (signerKey, verifierKey string, err error) {
	if err := CheckOrigin(origin); err != nil {
		return "", "", err
	}
	return note.GenerateKey(rand.Reader, origin)
}

// VerifierKey returns the verifier key that belongs to a signer key. The
// error, [ErrFormat], never holds a part of the key.
func VerifierKey(signerKey string) (string, error) {
	signer, err := note.NewSigner(signerKey)
	if err != nil {
		return "", fmt.Errorf("signer key: %w", ErrFormat)
	}
	// PRIVATE+KEY+<name>+<hash>+<base64 of the algorithm and the seed>
	secret, err := parseBase64(strings.SplitN(signerKey, "+", 5)[4])
	if err != nil || len(secret) != 1+ed25519.SeedSize {
		return "", fmt.Errorf("signer key: %w", ErrFormat)
	}
	public := ed25519.NewKeyFromSeed(secret[1:]).Public().(ed25519.PublicKey)
	return note.NewEd25519VerifierKey(signer.Name(), public)
}
