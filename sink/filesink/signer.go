package filesink

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// ErrSigner means that a key's signer gave no signature, or none that is valid.
// Nothing is acknowledged without one.
var ErrSigner = errors.New("the signer gave no valid signature")

// signTimeout bounds a call on a signer that is not in this process.
const signTimeout = 5 * time.Second

// maxSigning bounds the calls on a signer that have not come back.
const maxSigning = 4

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
	checked := &checkedSigner{Signer: signer, verifier: verifier, timeout: signTimeout, pending: map[string]*signing{}}
	return &Key{signer: checked, verifier: verifier, verifierKey: verifierKey}, nil
}

type signature struct {
	bytes []byte
	err   error
}

// A checkedSigner returns in time and gives valid signatures only.
type checkedSigner struct {
	note.Signer
	verifier note.Verifier
	timeout  time.Duration

	mu      sync.Mutex
	pending map[string]*signing // calls that were not waited for to their end, by what they sign
	running int                 // calls that have not come back
}

// A signing is one call on the signer.
type signing struct {
	coming chan signature
	over   bool // it has come back
}

// Sign implements [note.Signer].
func (s *checkedSigner) Sign(msg []byte) ([]byte, error) {
	call, err := s.start(msg)
	if err != nil {
		return nil, err
	}
	timer := time.NewTimer(s.timeout)
	defer timer.Stop()
	select {
	case sig := <-call.coming:
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.pending, string(msg))
		return sig.bytes, sig.err
	case <-timer.C:
		return nil, fmt.Errorf("%w within %v", ErrSigner, s.timeout)
	}
}

// start calls the signer, unless it is at work on this message already. Only calls that
// have not come back count against the bound. An answer that came too late is kept for
// the same message, until too many wait for somebody who may never come for them.
func (s *checkedSigner) start(msg []byte) (*signing, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if call := s.pending[string(msg)]; call != nil {
		return call, nil
	}
	if s.running >= maxSigning {
		return nil, fmt.Errorf("%w: %d calls have not come back", ErrSigner, s.running)
	}
	if len(s.pending) >= maxSigning {
		maps.DeleteFunc(s.pending, func(_ string, call *signing) bool { return call.over })
	}
	msg = bytes.Clone(msg)
	call := &signing{coming: make(chan signature, 1)}
	s.pending[string(msg)] = call
	s.running++
	go s.call(msg, call)
	return call, nil
}

// call has the signer sign. One that panics, or ends its goroutine, gives an error.
func (s *checkedSigner) call(msg []byte, call *signing) {
	answer := signature{nil, fmt.Errorf("%w: it ended its goroutine", ErrSigner)}
	defer func() {
		if p := recover(); p != nil {
			answer = signature{nil, fmt.Errorf("%w: it panicked with a %T", ErrSigner, p)}
		}
		s.mu.Lock()
		s.running--
		call.over = true
		s.mu.Unlock()
		call.coming <- answer
	}()
	sig, err := s.Signer.Sign(bytes.Clone(msg))
	switch {
	case err != nil:
		err = fmt.Errorf("%w: %w", ErrSigner, err)
	case !s.verifier.Verify(msg, sig):
		sig, err = nil, fmt.Errorf("%w: the verifier key does not accept it", ErrSigner)
	}
	answer = signature{sig, err}
}
