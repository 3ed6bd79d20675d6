package errtree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// endless unwraps to itself.
type endless struct{}

func (e *endless) Error() string { return "endless" }
func (e *endless) Unwrap() error { return e }

// bush unwraps to more errors than can be visited.
type bush struct{ depth int }

func (b *bush) Error() string { return "bush" }
func (b *bush) Unwrap() []error {
	if b.depth == 0 {
		return nil
	}
	return []error{&bush{b.depth - 1}, &bush{b.depth - 1}}
}

func TestOrdinaryErrorsAreFoundAsInPackageErrors(t *testing.T) {
	inner := &bush{0}
	err := fmt.Errorf("one: %w", errors.Join(io.EOF, fmt.Errorf("two: %w", inner)))
	found, ok := Find[*bush](err)
	require.True(t, ok)
	require.Same(t, inner, found)
	require.True(t, Is(err, io.EOF))
	require.False(t, Is(err, io.ErrUnexpectedEOF))
	require.Same(t, err, Bounded(err))
}

func TestATreeWithoutAnEndIsLeftInTime(t *testing.T) {
	for _, err := range []error{&endless{}, &bush{24}} {
		require.False(t, Is(err, io.EOF))
		visited := 0
		require.False(t, Visit(err, func(error) bool { visited++; return true }))
		require.Equal(t, Max, visited)
		bounded := Bounded(err)
		require.ErrorContains(t, bounded, err.Error())
		require.NoError(t, errors.Unwrap(bounded))
	}
}

// panicking is an error whose methods panic.
type panicking struct{}

func (panicking) Error() string { panic("no text") }
func (panicking) Unwrap() error { panic("no cause") }

func TestTheKindsOfAnErrorHoldNoTextOfUnknownOrigin(t *testing.T) {
	secret := errors.New("hunter2")
	for want, err := range map[string]error{
		"*errors.errorString":                               secret,
		"*fmt.wrapError: *errors.errorString":               fmt.Errorf("hunter2: %w", secret),
		"*fs.PathError: no space left on device":            &fs.PathError{Op: "write", Path: "/hunter2", Err: syscall.ENOSPC},
		"*fmt.wrapErrors: EOF: context canceled":            fmt.Errorf("%w hunter2 %w", io.EOF, context.Canceled),
		"errtree.panicking: an error whose methods panic":   panicking{},
		"*fmt.wrapError: known":                             fmt.Errorf("hunter2 %w", errKnown),
		"*fmt.wrapError: a function panicked with a string": fmt.Errorf("hunter2: %w", Panic("a function", "hunter2")),
		"": nil,
	} {
		require.Equal(t, want, Kinds(err, func(err error) string {
			if err == errKnown {
				return "known"
			}
			return ""
		}))
	}
	require.NotEmpty(t, Kinds(&endless{}, nil))
}

var errKnown = errors.New("known")
