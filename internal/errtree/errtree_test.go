package errtree

import (
	"errors"
	"fmt"
	"io"
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
