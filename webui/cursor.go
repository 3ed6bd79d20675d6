package webui

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"github.com/google/uuid"
)

// A cursor is where a page of the list ends: for each log, the last event that was
// taken. That may be one of another organization: so viewers who may not know of all
// get it sealed, for their organization, and none of them can ask whether an event exists.

// minSecret is how long a secret is at least, in bytes.
const minSecret = 32

// sealer seals cursors. The same cursor gets the same seal, so that a page which is asked
// for again is the same.
type sealer struct {
	aead cipher.AEAD
	mac  []byte
}

func newSealer(secret []byte) (sealer, error) {
	if len(secret) == 0 {
		secret = make([]byte, minSecret)
		_, _ = rand.Read(secret) // it never fails
	}
	block, err := aes.NewCipher(derive(secret, "webui cursor"))
	if err != nil {
		return sealer{}, err
	}
	aead, err := cipher.NewGCM(block)
	return sealer{aead, derive(secret, "webui nonce")}, err
}

func derive(secret []byte, parts ...string) []byte {
	h := hmac.New(sha256.New, secret)
	for _, part := range parts {
		_, _ = h.Write([]byte(part)) // to memory
	}
	return h.Sum(nil)
}

// write writes a cursor for the viewer.
func (s sealer) write(v *Viewer, marks []uuid.UUID) string {
	if v.AllOrgs {
		var texts []string
		for _, id := range marks {
			if id == uuid.Nil {
				texts = append(texts, "")
			} else {
				texts = append(texts, id.String())
			}
		}
		return strings.Join(texts, ".")
	}
	var plain []byte
	for _, id := range marks {
		plain = append(plain, id[:]...)
	}
	nonce := derive(s.mac, string(plain), v.OrgID)[:s.aead.NonceSize()]
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nonce, nonce, plain, []byte(v.OrgID)))
}

// read reads a cursor of so many logs.
func (s sealer) read(v *Viewer, cursor string, logs int) (marks []uuid.UUID, ok bool) {
	if v.AllOrgs {
		texts := strings.Split(cursor, ".")
		marks = make([]uuid.UUID, len(texts))
		for i, text := range texts {
			if text != "" && !parseID(&marks[i], text) {
				return nil, false
			}
		}
		return marks, len(marks) == logs
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if n := s.aead.NonceSize(); err == nil && len(sealed) > n {
		plain, err := s.aead.Open(nil, sealed[:n], sealed[n:], []byte(v.OrgID))
		if err == nil && len(plain) == 16*logs {
			for i := range logs {
				marks = append(marks, uuid.UUID(plain[16*i:16*i+16]))
			}
			return marks, true
		}
	}
	return nil, false
}
