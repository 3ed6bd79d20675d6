package policy

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"strconv"
	"strings"
	"sync"
)

// Pseudonyms makes pseudonyms with one key: HMAC-SHA-256 (RFC 2104), cut to
// 128 bits, under a key derived by HKDF (RFC 5869) for each organization and
// class. Without the key it cannot be found out, not even by trying all candidates,
// which value a pseudonym stands for.
type Pseudonyms struct {
	key   []byte
	head  string // pseudonym:KEY:EPOCH:
	epoch string
}

// MinPseudonymKey is the fewest bytes that a key may have.
const MinPseudonymKey = 32

// NewPseudonyms returns what makes pseudonyms with a copy of the key, of at
// least [MinPseudonymKey] bytes.
func NewPseudonyms(key []byte, epoch int) *Pseudonyms {
	p := &Pseudonyms{key: append([]byte(nil), key...), epoch: strconv.Itoa(epoch)}
	p.head = "pseudonym:" + hex.EncodeToString(p.derive(4, "id")) + ":" + p.epoch + ":"
	return p
}

// derive returns n bytes for a purpose, of which no part can be taken for
// another.
func (p *Pseudonyms) derive(n int, purpose ...string) []byte {
	var info strings.Builder
	info.WriteString("jobaudit pseudonym")
	for _, part := range purpose {
		info.WriteString("\n" + strconv.Quote(part))
	}
	derived, err := hkdf.Key(sha256.New, p.key, nil, info.String(), n)
	if err != nil {
		panic(err) // only for lengths beyond what HKDF can give
	}
	return derived
}

// Of returns the pseudonym of a text. It is safe for concurrent use.
func (p *Pseudonyms) Of(org, class, text string) string {
	mac := hmac.New(sha256.New, p.derive(sha256.Size, "value", p.epoch, org, class))
	mac.Write([]byte(text))
	return p.head + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:16])
}

// Digest returns a MAC to write the state of a resource to, and what then gives
// its text: hmac-sha256, the key, the epoch and HMAC-SHA-256 in base64url, joined
// by colons.
func (p *Pseudonyms) Digest(org, resource string) (mac hash.Hash, text func() string) {
	mac = hmac.New(sha256.New, p.derive(sha256.Size, "digest", p.epoch, org, resource))
	return mac, func() string {
		return "hmac-sha256:" + strings.TrimPrefix(p.head, "pseudonym:") + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	}
}

// TrialPseudonyms are those of a key that ends with the process.
var TrialPseudonyms = sync.OnceValue(func() *Pseudonyms {
	key := make([]byte, MinPseudonymKey)
	_, _ = rand.Read(key) // it never fails
	return NewPseudonyms(key, 0)
})
