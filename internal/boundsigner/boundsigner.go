// Package boundsigner bounds the calls on a signer, which may be somebody else's code: an HSM,
// a KMS, an agent. A sink that waited for one that hangs would stand still, and one that panics
// would end the process.
//
// Users have no use for it.
package boundsigner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/jobaudit/jobaudit/internal/errtree"
	"golang.org/x/mod/sumdb/note"
)

// ErrSigner means that there is no signature, or none that is valid.
var ErrSigner = errors.New("the signer gave no valid signature")

// most bounds the calls that have not come back.
const most = 4

// Signer makes signatures that are valid, or none.
type Signer struct {
	name     string
	hash     uint32
	signer   note.Signer
	verifier note.Verifier

	mu      sync.Mutex
	calls   map[string]*call // that were not waited for to their end, by what they sign
	running int              // that have not come back
}

// call is one call of the signer.
type call struct {
	ended     chan struct{}
	over      bool // guarded by the Signer's mu
	signature []byte
	err       error
}

// New bounds the calls on a signer, whose key the verifier is of.
func New(signer note.Signer, verifier note.Verifier) *Signer {
	return &Signer{name: signer.Name(), hash: signer.KeyHash(), signer: signer, verifier: verifier, calls: make(map[string]*call)}
}

// Within returns a signer whose calls return when ctx ends, and after so long. A signature that
// comes later serves the next call that asks for the same.
func (s *Signer) Within(ctx context.Context, limit time.Duration) note.Signer {
	return within{s, ctx, limit}
}

type within struct {
	s     *Signer
	ctx   context.Context
	limit time.Duration
}

func (w within) Name() string    { return w.s.name }
func (w within) KeyHash() uint32 { return w.s.hash }

// Sign implements [note.Signer].
func (w within) Sign(msg []byte) ([]byte, error) {
	c, err := w.s.start(msg)
	if err != nil {
		return nil, err
	}
	timer := time.NewTimer(w.limit)
	defer timer.Stop()
	select {
	case <-c.ended:
		w.s.mu.Lock()
		defer w.s.mu.Unlock()
		if w.s.calls[string(msg)] == c {
			delete(w.s.calls, string(msg))
		}
		return c.signature, c.err
	case <-timer.C:
		return nil, fmt.Errorf("%w within %v", ErrSigner, w.limit)
	case <-w.ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrSigner, w.ctx.Err())
	}
}

// start calls the signer, unless it is at work on this message already. Only calls that
// have not come back count against the bound. A signature that came too late is kept for
// the same message, until too many wait for somebody who may never come for them.
func (s *Signer) start(msg []byte) (*call, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.calls[string(msg)]; c != nil {
		return c, nil
	}
	if s.running >= most {
		return nil, fmt.Errorf("%w: %d calls have not come back", ErrSigner, s.running)
	}
	if len(s.calls) >= most {
		maps.DeleteFunc(s.calls, func(_ string, c *call) bool { return c.over })
	}
	c := &call{ended: make(chan struct{}), err: fmt.Errorf("%w: it ended its goroutine", ErrSigner)}
	s.calls[string(msg)] = c
	s.running++
	go s.sign(c, bytes.Clone(msg))
	return c, nil
}

func (s *Signer) sign(c *call, msg []byte) {
	defer close(c.ended)
	defer func() {
		if p := recover(); p != nil {
			c.err = fmt.Errorf("%w: it panicked with a %T", ErrSigner, p)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.running--
		c.over = true
	}()
	signature, err := s.signer.Sign(bytes.Clone(msg))
	if err != nil {
		c.err = fmt.Errorf("%w: %w", ErrSigner, errtree.Usable(err))
		return
	}
	signature = bytes.Clone(signature) // it is the signer's
	if !s.verifier.Verify(msg, signature) {
		c.err = fmt.Errorf("%w: the verifier key does not accept it", ErrSigner)
		return
	}
	c.signature, c.err = signature, nil
}
