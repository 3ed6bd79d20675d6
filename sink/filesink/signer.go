package filesink

import (
	"context"
	"fmt"
	"time"

	"github.com/jobaudit/jobaudit/internal/boundsigner"
	"golang.org/x/mod/sumdb/note"
)

// ErrSigner means that a key's signer gave no signature, or none that is valid.
// Nothing is acknowledged without one.
var ErrSigner = boundsigner.ErrSigner

// signTimeout bounds a call on a signer that is not in this process.
const signTimeout = 5 * time.Second

// NewKey returns the key of a log whose secret lies elsewhere: in an HSM, a KMS,
// an agent. signer signs with it; verifierKey is its public half, as
// [note.NewVerifier] reads it, whose name is the log's origin. [Options.AnchorPath]
// has to be set with it, as there is no key file for the anchor to lie beside.
//
// A slow signer makes batches larger, as Appends gather meanwhile. Each signature
// is verified before it is written. One that does not come within 5 s makes Append
// fail with [ErrSigner], with an unknown outcome; when it comes late it serves the
// same head, which is stored before anything else. Sign is called by several
// goroutines at a time. The error is a [*KeyError].
func NewKey(signer note.Signer, verifierKey string) (*Key, error) {
	return newKey(signer, verifierKey, signTimeout)
}

func newKey(signer note.Signer, verifierKey string, timeout time.Duration) (*Key, error) {
	verifier, err := note.NewVerifier(verifierKey)
	switch {
	case err != nil:
		return nil, &KeyError{"", "no verifier key: " + err.Error(), nil}
	case signer == nil:
		return nil, &KeyError{"", "no signer was given", nil}
	case signer.Name() != verifier.Name() || signer.KeyHash() != verifier.KeyHash():
		return nil, &KeyError{"", fmt.Sprintf("the signer is of %q (%08x), the verifier key of %q (%08x)",
			signer.Name(), signer.KeyHash(), verifier.Name(), verifier.KeyHash()), nil}
	}
	// Many Appends share a signature: the end of one of them does not end the call.
	bounded := boundsigner.New(signer, verifier).Within(context.Background(), timeout)
	return &Key{signer: bounded, verifier: verifier, verifierKey: verifierKey}, nil
}
