package pgsink_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jobaudit/jobaudit/sink/pgsink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
)

// remote is a signer that does something before it signs.
type remote struct {
	note.Signer
	before func() error
}

func (r remote) Sign(msg []byte) ([]byte, error) {
	if err := r.before(); err != nil {
		return nil, err
	}
	return r.Signer.Sign(msg)
}

// A KMS may never answer. The sink's Close, and Run, must: they are called when a process ends.
func TestASignerThatHangsHoldsUpNoEndAndNoOtherSequencer(t *testing.T) {
	url, k := database(t), newKey(t)
	asked, release := make(chan struct{}, 100), make(chan struct{})
	defer close(release)
	hanging := pgsink.SequencerOptions{Signer: remote{k.Signer, func() error { asked <- struct{}{}; <-release; return nil }}, Verifier: k.Verifier}
	own, err := pgsink.Open(t.Context(), url, &pgsink.Options{OnError: func(error) {}, Sequencer: &hanging})
	require.NoError(t, err)
	require.NoError(t, own.Append(t.Context(), sinktest.Records(3)))
	<-asked
	require.NoError(t, own.Close())

	s, err := pgsink.NewSequencer(url, hanging, &pgsink.Options{OnError: func(error) {}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	<-asked
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)

	// One that is not stopped lets another one lead.
	reported, stop := complaints(t, url, pgsink.LeadingFor(200*time.Millisecond, hanging))
	defer stop()
	sink := open(t, url, nil)
	<-asked
	run(t, url, k.options())
	require.NoError(t, sink.Sequenced(t.Context()))
	for _, err := range reported() {
		require.ErrorContains(t, err, "signer")
	}
	verified(t, url, k)
}

// What is not of this package may do anything, and must not take the process with it.
func TestNothingThatASequencerCallsEndsItsProcess(t *testing.T) {
	url, k := database(t), newKey(t)
	sink := open(t, url, nil)
	for name, misbehave := range map[string]func() error{
		"a panic": func() error { panic("no") },
		"Goexit":  func() error { runtime.Goexit(); return nil },
		"another": func() error { return errors.New("no") },
	} {
		var told atomic.Int64
		opts := k.options()
		for part, set := range map[string]func(o *pgsink.SequencerOptions, f func() error){
			"the signer":   func(o *pgsink.SequencerOptions, f func() error) { o.Signer = remote{k.Signer, f} },
			"the verifier": func(o *pgsink.SequencerOptions, f func() error) { o.Verifier = reluctant{k.Verifier, f} },
			"a cycle": func(o *pgsink.SequencerOptions, f func() error) {
				*o = pgsink.AtSteps(func(string) error { return f() }, *o)
			},
		} {
			failing := opts
			var failed sync.Once
			once := make(chan struct{})
			set(&failing, func() error {
				first := false
				failed.Do(func() { first = true })
				if !first {
					return nil
				}
				close(once)
				return misbehave()
			})
			s, err := pgsink.NewSequencer(url, failing, &pgsink.Options{OnError: func(error) { told.Add(1); _ = misbehave() }})
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(context.Background())
			ended := make(chan error, 1)
			go func() { ended <- s.Run(ctx) }()
			require.NoError(t, sink.Append(t.Context(), sinktest.Records(2)))
			<-once
			require.NoError(t, sink.Sequenced(t.Context()), "%s of %s", name, part)
			cancel()
			require.ErrorIs(t, <-ended, context.Canceled)
		}
		require.EqualValues(t, 3, told.Load(), name)
	}
	verified(t, url, k)
}

// reluctant is a verifier that does something before it verifies.
type reluctant struct {
	note.Verifier
	before func() error
}

func (r reluctant) Verify(msg, sig []byte) bool {
	return r.before() == nil && r.Verifier.Verify(msg, sig)
}
