// Package carriertext is the text form of a Carrier: its content in base64url,
// with a checksum that finds damage and, where there is a key, a MAC that proves
// who made it. docs/format.md describes it.
package carriertext

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"strings"

	"github.com/jobaudit/jobaudit/internal/fields"
)

// The forms of a Carrier: parts joined by dots, the first of which says which
// form it is. The first form has no checksum and is only read.
const (
	unsealedPrefix = "ja1"
	sealedPrefix   = "ja2"
)

const (
	checkSize = 9  // bytes of the checksum: no bit of its text is spare
	macSize   = 16 // bytes of the MAC
	maxKeyID  = 32
	minSecret = 32
)

// Signature is what a text says of who made it.
type Signature struct {
	KeyID  string // of the key that made mac; empty if the text is not signed
	signed string // what mac is over
	mac    []byte
}

// Key signs and checks texts: HMAC-SHA-256 (RFC 2104), cut to 128 bits, under a
// key derived from a secret by HKDF (RFC 5869).
type Key struct {
	id  string
	key []byte
}

func newKey(id string, secret []byte) (*Key, error) {
	const field = "Options.CarrierKeys"
	switch {
	case id == "" || len(id) > maxKeyID || strings.Trim(id, keyLetters) != "":
		return nil, &fields.Error{Path: field, Problem: "has an ID that is not 1 to 32 letters, digits, - and _"}
	case len(secret) < minSecret:
		return nil, &fields.Error{Path: field, Problem: "has a secret shorter than 32 bytes"}
	}
	key, err := hkdf.Key(sha256.New, secret, nil, "jobaudit carrier\n"+id, sha256.Size)
	return &Key{id: id, key: key}, err
}

const keyLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

func (k *Key) mac(signed string) []byte {
	h := hmac.New(sha256.New, k.key)
	_, _ = h.Write([]byte(signed))
	return h.Sum(nil)[:macSize]
}

func checksum(text string) string {
	sum := sha256.Sum256([]byte("jobaudit carrier\n" + text))
	return base64.RawURLEncoding.EncodeToString(sum[:checkSize])
}

// Seal returns the text of a content: form, content and, if signer is not nil,
// the key's ID and the MAC over all before it; at last the checksum of all
// before it.
func Seal(content []byte, signer *Key) string {
	text := sealedPrefix + "." + base64.RawURLEncoding.EncodeToString(content)
	if signer != nil {
		text += "." + signer.id
		text += "." + base64.RawURLEncoding.EncodeToString(signer.mac(text))
	}
	return text + "." + checksum(text)
}

// Open returns the content of a text, or what is wrong with the text. It does
// not check the MAC, for which it takes a key: see [Keys.Prove].
func Open(text string) (content []byte, s Signature, problem string) {
	parts := strings.Split(text, ".")
	switch {
	case parts[0] == unsealedPrefix && len(parts) == 2:
	case parts[0] != sealedPrefix:
		return nil, Signature{}, "does not begin with " + unsealedPrefix + ". or " + sealedPrefix + "."
	case len(parts) != 3 && len(parts) != 5:
		return nil, Signature{}, "has another number of parts than its form has"
	default:
		last := strings.LastIndexByte(text, '.')
		if subtle.ConstantTimeCompare([]byte(checksum(text[:last])), []byte(text[last+1:])) != 1 {
			return nil, Signature{}, "is damaged: its checksum is another"
		}
	}
	content, ok := decodePart(parts[1])
	if !ok {
		return nil, Signature{}, "is not unpadded base64url"
	}
	if len(parts) == 5 {
		mac, ok := decodePart(parts[3])
		if !ok || len(mac) != macSize || parts[2] == "" || len(parts[2]) > maxKeyID {
			return nil, Signature{}, "has a malformed signature"
		}
		s = Signature{KeyID: parts[2], signed: strings.Join(parts[:3], "."), mac: mac}
	}
	return content, s, ""
}

func decodePart(part string) ([]byte, bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(part)
	return raw, err == nil && !strings.ContainsAny(part, "\r\n")
}

// Keys are the keys of a recorder. The zero value has none.
type Keys struct {
	byID   map[string]*Key
	Signer *Key // signs what is sealed here; nil without keys
}

// NewKeys returns the keys that are made of the secrets, by their IDs. signer is
// the ID of the one that signs, which may be empty where there is one only. The
// error may be a [*fields.Error].
func NewKeys(secrets map[string][]byte, signer string) (Keys, error) {
	keys := Keys{byID: make(map[string]*Key, len(secrets))}
	for id, secret := range secrets {
		key, err := newKey(id, secret)
		if err != nil {
			return Keys{}, err
		}
		keys.byID[id] = key
		if id == signer || len(secrets) == 1 && signer == "" {
			keys.Signer = key
		}
	}
	if keys.Signer == nil && (signer != "" || len(secrets) > 0) {
		return Keys{}, &fields.Error{Path: "Options.CarrierKey", Problem: "is none of CarrierKeys"}
	}
	return keys, nil
}

// Prove checks a signature, or says what is wrong with it. A signature by a key
// that is not known proves nothing, which is a problem only where a proof is
// required.
func (k Keys) Prove(s Signature, required bool) (proven bool, problem string) {
	key := k.byID[s.KeyID]
	switch {
	case s.KeyID != "" && key != nil:
		if !hmac.Equal(key.mac(s.signed), s.mac) {
			return false, "has a signature that its key did not make"
		}
		return true, ""
	case !required:
		return false, ""
	case s.KeyID == "":
		return false, "is not signed, and RequireCarrierProof is set"
	}
	return false, "is signed with a key that is not known here, and RequireCarrierProof is set"
}
