package boundsigner_test

import (
	"context"
	"crypto/rand"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobaudit/jobaudit/internal/boundsigner"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
)

// signer does something before it signs.
type signer struct {
	note.Signer
	before func(msg []byte) error
	calls  atomic.Int64
}

func (s *signer) Sign(msg []byte) ([]byte, error) {
	s.calls.Add(1)
	if err := s.before(msg); err != nil {
		return nil, err
	}
	return s.Signer.Sign(msg)
}

func bounded(t *testing.T, before func(msg []byte) error) (*boundsigner.Signer, *signer, note.Verifier) {
	t.Helper()
	secret, public, err := note.GenerateKey(rand.Reader, "example.com/log")
	require.NoError(t, err)
	inner, err := note.NewSigner(secret)
	require.NoError(t, err)
	verifier, err := note.NewVerifier(public)
	require.NoError(t, err)
	s := &signer{Signer: inner, before: before}
	return boundsigner.New(s, verifier), s, verifier
}

type panics struct{}

func (panics) Error() string { panic("by its error") }

func TestWhateverASignerDoesIsAnError(t *testing.T) {
	for name, before := range map[string]func([]byte) error{
		"an error":                func([]byte) error { return errors.New("no") },
		"a panic":                 func([]byte) error { panic("no") },
		"Goexit":                  func([]byte) error { runtime.Goexit(); return nil },
		"an error that panics":    func([]byte) error { return panics{} },
		"a signature of another":  func(msg []byte) error { msg[0]++; return nil },
		"a nil dereference in it": func([]byte) error { var s *signer; s.calls.Add(1); return nil },
	} {
		s, _, _ := bounded(t, before)
		for range 10 { // what has come back is no obstacle to the next
			sig, err := s.Within(t.Context(), time.Minute).Sign([]byte("head"))
			require.ErrorIs(t, err, boundsigner.ErrSigner, name)
			require.NotContains(t, err.Error(), "have not come back", name)
			require.Empty(t, sig, name)
		}
	}
}

func TestASignerThatHangsHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s, inner, verifier := bounded(t, func([]byte) error { <-release; return nil })
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := s.Within(ctx, time.Minute).Sign([]byte("0"))
		require.ErrorIs(t, err, context.Canceled)
		for _, msg := range []string{"0", "1", "2", "3", "4", "5"} {
			_, err = s.Within(t.Context(), time.Minute).Sign([]byte(msg))
			require.ErrorIs(t, err, boundsigner.ErrSigner)
		}
		require.EqualValues(t, 4, inner.calls.Load())
		close(release)
		synctest.Wait()
		sig, err := s.Within(t.Context(), time.Minute).Sign([]byte("3")) // it came late
		require.NoError(t, err)
		require.True(t, verifier.Verify([]byte("3"), sig))
		require.EqualValues(t, 4, inner.calls.Load())
		for range 3 { // those that nothing asked for again are forgotten
			sig, err = s.Within(t.Context(), time.Minute).Sign([]byte("new"))
			require.NoError(t, err)
			require.True(t, verifier.Verify([]byte("new"), sig))
		}
	})
}

// A signer that takes longer than every call waits serves them all the same, however
// many other messages it is given meanwhile: a log's indexes are signed beside its heads.
func TestWhatComesLateServesTheSameMessageThoughOthersAreSignedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, inner, _ := bounded(t, func(msg []byte) error {
			if string(msg) == "head" {
				time.Sleep(time.Minute)
			}
			return nil
		})
		_, err := s.Within(t.Context(), time.Second).Sign([]byte("head"))
		require.ErrorIs(t, err, boundsigner.ErrSigner)
		time.Sleep(time.Hour)
		for _, other := range []string{"an index", "another"} {
			_, err = s.Within(t.Context(), time.Second).Sign([]byte(other))
			require.NoError(t, err)
		}
		_, err = s.Within(t.Context(), time.Second).Sign([]byte("head"))
		require.NoError(t, err)
		require.EqualValues(t, 3, inner.calls.Load())
	})
}
