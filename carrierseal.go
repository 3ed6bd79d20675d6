package jobaudit

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"strings"
)

// The forms of a Carrier: parts joined by dots, the first of which says which
// form it is. The first form has no checksum and is only read.
const (
	unsealedPrefix = "ja1"
	sealedPrefix   = "ja2"
)

const (
	checkSize        = 9  // bytes of the checksum: no bit of its text is spare
	macSize          = 16 // bytes of the MAC
	maxCarrierKeyID  = 32
	minCarrierSecret = 32
)

// seal is what a Carrier's text says of itself beside its content.
type seal struct {
	keyID  string // of the key that made mac; empty if it is not signed
	signed string // what mac is over
	mac    []byte
}

// carrierKey signs and checks Carriers: HMAC-SHA-256 (RFC 2104), cut to 128
// bits, under a key derived from a secret by HKDF (RFC 5869).
type carrierKey struct {
	id  string
	key []byte
}

func newCarrierKey(id string, secret []byte) (*carrierKey, error) {
	field := "Options.CarrierKeys"
	switch {
	case id == "" || len(id) > maxCarrierKeyID || strings.Trim(id, carrierKeyLetters) != "":
		return nil, &FieldError{Field: field, Problem: "has an ID that is not 1 to 32 letters, digits, - and _"}
	case len(secret) < minCarrierSecret:
		return nil, &FieldError{Field: field, Problem: "has a secret shorter than 32 bytes"}
	}
	key, err := hkdf.Key(sha256.New, secret, nil, "jobaudit carrier\n"+id, sha256.Size)
	return &carrierKey{id: id, key: key}, err
}

const carrierKeyLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

func (k *carrierKey) mac(signed string) []byte {
	h := hmac.New(sha256.New, k.key)
	_, _ = h.Write([]byte(signed))
	return h.Sum(nil)[:macSize]
}

func checksum(text string) string {
	sum := sha256.Sum256([]byte("jobaudit carrier\n" + text))
	return base64.RawURLEncoding.EncodeToString(sum[:checkSize])
}

// sealCarrier returns the text of a Carrier: form, content and, if it is signed,
// the key's ID and the MAC over all before it; at last the checksum of all
// before it.
func sealCarrier(content []byte, signer *carrierKey) string {
	text := sealedPrefix + "." + base64.RawURLEncoding.EncodeToString(content)
	if signer != nil {
		text += "." + signer.id
		text += "." + base64.RawURLEncoding.EncodeToString(signer.mac(text))
	}
	return text + "." + checksum(text)
}

// openSeal returns what a Carrier's text holds, or what is wrong with it. It
// does not check the MAC, for which it takes a key.
func openSeal(text string) (content []byte, s seal, problem string) {
	parts := strings.Split(text, ".")
	switch {
	case parts[0] == unsealedPrefix && len(parts) == 2:
	case parts[0] != sealedPrefix:
		return nil, seal{}, "does not begin with " + unsealedPrefix + ". or " + sealedPrefix + "."
	case len(parts) != 3 && len(parts) != 5:
		return nil, seal{}, "has another number of parts than its form has"
	default:
		last := strings.LastIndexByte(text, '.')
		if subtle.ConstantTimeCompare([]byte(checksum(text[:last])), []byte(text[last+1:])) != 1 {
			return nil, seal{}, "is damaged: its checksum is another"
		}
	}
	content, ok := decodePart(parts[1])
	if !ok {
		return nil, seal{}, "is not unpadded base64url"
	}
	if len(parts) == 5 {
		mac, ok := decodePart(parts[3])
		if !ok || len(mac) != macSize || parts[2] == "" || len(parts[2]) > maxCarrierKeyID {
			return nil, seal{}, "has a malformed signature"
		}
		s = seal{keyID: parts[2], signed: strings.Join(parts[:3], "."), mac: mac}
	}
	return content, s, ""
}

func decodePart(part string) ([]byte, bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(part)
	return raw, err == nil && !strings.ContainsAny(part, "\r\n")
}

// carrierKeys are the keys of a recorder.
type carrierKeys struct {
	byID   map[string]*carrierKey
	signer *carrierKey // nil without keys
}

func (o *Options) carrierKeys() (carrierKeys, error) {
	keys := carrierKeys{byID: make(map[string]*carrierKey, len(o.CarrierKeys))}
	for id, secret := range o.CarrierKeys {
		key, err := newCarrierKey(id, secret)
		if err != nil {
			return carrierKeys{}, err
		}
		keys.byID[id] = key
		if id == o.CarrierKey || len(o.CarrierKeys) == 1 && o.CarrierKey == "" {
			keys.signer = key
		}
	}
	switch {
	case keys.signer == nil && (o.CarrierKey != "" || len(keys.byID) > 0):
		return carrierKeys{}, &FieldError{Field: "Options.CarrierKey", Problem: "is none of CarrierKeys"}
	case o.RequireCarrierProof && len(keys.byID) == 0:
		return carrierKeys{}, &FieldError{Field: "Options.RequireCarrierProof", Problem: "needs CarrierKeys"}
	}
	return keys, nil
}

// prove checks a Carrier's signature. A signature by a key that is not known
// proves nothing; one that is wrong is an error.
func (k carrierKeys) prove(g *carrierData, required bool) (proven bool, err error) {
	problem := func(text string) error { return &FieldError{Field: "carrier", Problem: text} }
	key := k.byID[g.seal.keyID]
	switch {
	case g.seal.keyID != "" && key != nil:
		if !hmac.Equal(key.mac(g.seal.signed), g.seal.mac) {
			return false, problem("has a signature that its key did not make")
		}
		return true, nil
	case !required || g.logged:
		return false, nil
	case g.seal.keyID == "":
		return false, problem("is not signed, and RequireCarrierProof is set")
	}
	return false, problem("is signed with a key that is not known here, and RequireCarrierProof is set")
}
