package erasure

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/jobaudit/jobaudit"
)

var (
	// ErrErased means that there is no key, because it was deleted or because
	// it is in another store.
	ErrErased = errors.New("erasure: there is no such key")

	// ErrCredential means that a text is or holds a secret that gives itself
	// away, which is dropped and never sealed.
	ErrCredential = errors.New("erasure: credentials are not sealed")

	// ErrSubject means that no subject was named. A key without a subject would
	// be shared by all subjects.
	ErrSubject = errors.New("erasure: a subject is required")

	// ErrTooLong means that the sealed form of a text would not fit where texts
	// are stored, and would be cut there.
	ErrTooLong = errors.New("erasure: the text is too long to be sealed")

	// ErrMalformed means that a text is not a sealed value, or was changed.
	ErrMalformed = errors.New("erasure: not a sealed value")
)

// Key is a key of a subject: 32 random bytes, and a random ID by which a sealed
// value names it.
type Key struct {
	ID     string // lower-case hexadecimal, 16 bytes
	Secret [32]byte
}

// NewKey returns a new key.
func NewKey() Key {
	var k Key
	var id [16]byte
	_, _ = rand.Read(id[:]) // it never fails
	_, _ = rand.Read(k.Secret[:])
	k.ID = fmt.Sprintf("%x", id)
	return k
}

// KeyStore holds the keys of subjects: of persons, say, by their stable IDs. It
// is safe for concurrent use. [MemoryKeys] and [FileKeys] are two, package
// pgkeys keeps keys in PostgreSQL, and others may keep them in a vault or a key
// management service.
type KeyStore interface {
	// SubjectKey returns the subject's key, and makes one, durably, if there is
	// none.
	SubjectKey(subject string) (Key, error)
	// KeyByID returns a key, or an error that wraps [ErrErased].
	KeyByID(id string) (Key, error)
	// Erase deletes all keys of the subject, durably, and returns their IDs. It
	// is no error if there is none. After an error it may be called again.
	Erase(subject string) (ids []string, err error)
}

// Sealed is a text that only who has its subject's key can read. Its text form,
// in JSON a string, is sealed:1:KEY:VALUE. The zero Sealed is empty.
type Sealed struct{ text string }

// String returns the text form.
func (s Sealed) String() string { return s.text }

// MarshalText returns the text form.
func (s Sealed) MarshalText() ([]byte, error) { return []byte(s.text), nil }

const sealedPrefix = "sealed:1:"

// maxSealed is the most bytes of a text form: those of a principal's name, and of
// any other text of a record.
const maxSealed = 1_024

// Seal encrypts a text with the subject's key: AES-256-GCM (NIST SP 800-38D)
// with a random nonce of 96 bits, which is for at most 2^32 texts of one
// subject. The key's ID is authenticated with it. The length of the text, plus
// 28 bytes, shows. The text form has at most 1,024 bytes, so that no record cuts
// it: the text has at most 708. The error wraps [ErrCredential] if the text may
// not be stored even so, [ErrSubject], or [ErrTooLong]; otherwise it is the
// store's. With an error the Sealed is empty.
func Seal(keys KeyStore, subject, text string) (Sealed, error) {
	if rule := (*jobaudit.Registry)(nil).Scan(text); rule != "" {
		return Sealed{}, fmt.Errorf("%w: %s", ErrCredential, rule)
	}
	if subject == "" {
		return Sealed{}, ErrSubject
	}
	if size := len(sealedPrefix) + 33 + base64.RawURLEncoding.EncodedLen(len(text)+28); size > maxSealed {
		return Sealed{}, fmt.Errorf("%w: its sealed form has %d bytes, of which %d fit", ErrTooLong, size, maxSealed)
	}
	key, err := keys.SubjectKey(subject)
	if err != nil {
		return Sealed{}, fmt.Errorf("seal: %w", err)
	}
	aead, err := key.aead()
	if err != nil {
		return Sealed{}, err
	}
	head := sealedPrefix + key.ID + ":"
	return Sealed{head + base64.RawURLEncoding.EncodeToString(aead.Seal(nil, nil, []byte(text), []byte(head)))}, nil
}

// aead returns the cipher, which puts a random nonce before what it seals.
func (k *Key) aead() (cipher.AEAD, error) {
	block, err := aes.NewCipher(k.Secret[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// Open returns the text that was sealed. The error wraps [ErrErased] if its key
// is gone, and [ErrMalformed] if it is no sealed value or was changed.
func Open(keys KeyStore, sealed string) (string, error) {
	rest, ok := strings.CutPrefix(sealed, sealedPrefix)
	id, value, found := strings.Cut(rest, ":")
	raw, err := base64.RawURLEncoding.Strict().DecodeString(value)
	if !ok || !found || err != nil || !isKeyID(id) {
		return "", ErrMalformed
	}
	key, err := keys.KeyByID(id)
	if err != nil {
		return "", fmt.Errorf("open: %w", err)
	}
	aead, err := key.aead()
	if err != nil {
		return "", err
	}
	text, err := aead.Open(nil, nil, raw, []byte(sealedPrefix+id+":"))
	if err != nil {
		return "", ErrMalformed
	}
	return string(text), nil
}

func isKeyID(id string) bool {
	return len(id) == 32 && strings.Trim(id, "0123456789abcdef") == ""
}
