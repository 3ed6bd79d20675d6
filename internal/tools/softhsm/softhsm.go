//go:build cgo

package softhsm

import (
	"crypto/ed25519"
	"encoding/asn1"
	"errors"
	"fmt"
	"sync"

	"github.com/miekg/pkcs11"
	"golang.org/x/mod/sumdb/note"
)

// The EdDSA mechanisms of PKCS #11 version 3.0, §2.3.14.
const (
	mechanismKeyPair = 0x1055 // CKM_EC_EDWARDS_KEY_PAIR_GEN
	mechanismEdDSA   = 0x1057 // CKM_EDDSA
	keyTypeEdwards   = 0x40   // CKK_EC_EDWARDS
)

// Signer is a [note.Signer] whose key lies in a token. It is safe for concurrent
// use; a session signs one thing at a time.
type Signer struct {
	ctx     *pkcs11.Ctx
	session pkcs11.SessionHandle
	key     pkcs11.ObjectHandle
	name    string
	hash    uint32
	public  string

	mu sync.Mutex
}

// Generate makes an Ed25519 key in the token of a session that is logged in. It
// cannot be extracted. name is the log's origin.
func Generate(ctx *pkcs11.Ctx, session pkcs11.SessionHandle, name string) (*Signer, error) {
	curve, err := asn1.MarshalWithParams("edwards25519", "printable")
	if err != nil {
		return nil, err
	}
	public := []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PUBLIC_KEY),
		pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, keyTypeEdwards),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
		pkcs11.NewAttribute(pkcs11.CKA_VERIFY, true),
		pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, curve),
	}
	private := []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY),
		pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, keyTypeEdwards),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
		pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true),
		pkcs11.NewAttribute(pkcs11.CKA_SIGN, true),
		pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true),
		pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false),
	}
	pub, priv, err := ctx.GenerateKeyPair(session, []*pkcs11.Mechanism{pkcs11.NewMechanism(mechanismKeyPair, nil)}, public, private)
	if err != nil {
		return nil, fmt.Errorf("generate a key: %w", err)
	}
	got, err := ctx.GetAttributeValue(session, pub, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_EC_POINT, nil)})
	if err != nil {
		return nil, fmt.Errorf("read the public key: %w", err)
	}
	point, err := Point(got[0].Value)
	if err != nil {
		return nil, err
	}
	s := &Signer{ctx: ctx, session: session, key: priv, name: name}
	if s.public, err = note.NewEd25519VerifierKey(name, point); err != nil {
		return nil, err
	}
	verifier, err := note.NewVerifier(s.public)
	if err != nil {
		return nil, err
	}
	s.hash = verifier.KeyHash()
	return s, nil
}

// Point reads an Ed25519 public key as tokens give it: 32 bytes, wrapped in a DER
// OCTET STRING by those that follow the standard's version 2.40, or not.
func Point(value []byte) (ed25519.PublicKey, error) {
	if len(value) == ed25519.PublicKeySize {
		return value, nil
	}
	var point []byte
	rest, err := asn1.Unmarshal(value, &point)
	if err != nil || len(rest) > 0 || len(point) != ed25519.PublicKeySize {
		return nil, errors.New("the token's public key is no Ed25519 point")
	}
	return point, nil
}

// Name implements [note.Signer].
func (s *Signer) Name() string { return s.name }

// KeyHash implements [note.Signer].
func (s *Signer) KeyHash() uint32 { return s.hash }

// VerifierKey returns the public half.
func (s *Signer) VerifierKey() string { return s.public }

// Sign implements [note.Signer].
func (s *Signer) Sign(msg []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ctx.SignInit(s.session, []*pkcs11.Mechanism{pkcs11.NewMechanism(mechanismEdDSA, nil)}, s.key); err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return s.ctx.Sign(s.session, msg)
}
