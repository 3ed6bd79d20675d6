// Package boundanchor bounds the calls on an anchor, which is somebody else's code, or a disk of
// another host: a sink that waits for one that hangs would stand still.
//
// It knows logs, so it is a library, and users have no use for it.
package boundanchor

import (
	"context"
	"errors"
	"fmt"

	"github.com/jobaudit/jobaudit/auditlog"
	"golang.org/x/mod/sumdb/tlog"
)

// errBusy means that an earlier call has not come back.
var errBusy = errors.New("an earlier call on it has not come back yet")

// errGoexit is the answer of an anchor that gave none.
var errGoexit = errors.New("it ended its goroutine")

// anchor is one whose calls return when their context ends, whatever the
// anchor does. One call at a time is under way.
type anchor struct {
	auditlog.Anchor
	busy chan struct{}
}

// New bounds the calls on an anchor.
func New(a auditlog.Anchor) auditlog.Checker { return anchor{a, make(chan struct{}, 1)} }

func (b anchor) Put(ctx context.Context, c auditlog.Checkpoint) error {
	_, err := b.do(ctx, func() ([]byte, error) { return nil, b.Anchor.Put(ctx, c) })
	return err
}

func (b anchor) Latest(ctx context.Context) ([]byte, error) {
	return b.do(ctx, func() ([]byte, error) { return b.Anchor.Latest(ctx) })
}

// Check has the anchor check, if it can. The proofs that it asks for are made by the
// caller: an anchor that hangs, and asks later, gets none.
func (b anchor) Check(ctx context.Context, head auditlog.Checkpoint, prove func(int64) (tlog.TreeProof, error)) ([]byte, error) {
	checker, ok := b.Anchor.(auditlog.Checker)
	if !ok {
		signed, err := b.Latest(ctx)
		if err != nil {
			return nil, err
		}
		return signed, auditlog.CompareKept(signed, head, prove)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	proofs := proofServer{ctx: ctx, sizes: make(chan int64), given: make(chan givenProof), prove: prove}
	return b.serve(ctx, proofs, func() ([]byte, error) { return checker.Check(ctx, head, proofs.ask) })
}

// proofServer has proofs made by the goroutine that waits for an anchor.
type proofServer struct {
	ctx   context.Context
	sizes chan int64
	given chan givenProof
	prove func(int64) (tlog.TreeProof, error)
}

type givenProof struct {
	proof tlog.TreeProof
	err   error
}

// ask is called by the anchor.
func (p proofServer) ask(size int64) (tlog.TreeProof, error) {
	select {
	case p.sizes <- size:
		g := <-p.given
		return g.proof, g.err
	case <-p.ctx.Done():
		return nil, p.ctx.Err()
	}
}

func (b anchor) do(ctx context.Context, call func() ([]byte, error)) ([]byte, error) {
	return b.serve(ctx, proofServer{}, call)
}

// serve calls an anchor, and makes the proofs that it asks for. An anchor that panics, or
// ends its goroutine, gives an error: the process and its jobs go on.
func (b anchor) serve(ctx context.Context, proofs proofServer, call func() ([]byte, error)) ([]byte, error) {
	select {
	case b.busy <- struct{}{}:
	default:
		return nil, errBusy
	}
	type answer struct {
		signed []byte
		err    error
	}
	answers := make(chan answer, 1)
	go func() {
		a := answer{nil, errGoexit}
		defer func() {
			if p := recover(); p != nil {
				a = answer{nil, fmt.Errorf("it panicked with a %T", p)}
			}
			<-b.busy // before the answer, behind which comes the next call
			answers <- a
		}()
		signed, err := call()
		a = answer{signed, err}
	}()
	for {
		select {
		case a := <-answers:
			return a.signed, a.err
		case size := <-proofs.sizes:
			proof, err := proofs.prove(size)
			proofs.given <- givenProof{proof, err}
		case <-ctx.Done():
			return nil, fmt.Errorf("no answer: %w", ctx.Err())
		}
	}
}
