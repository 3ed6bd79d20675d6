package pgsink_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/pgsink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
)

// handedOver makes a log of 40 events by one key and ten by its successor, whose anchor has the
// newest head, and puts the database back to the first 20.
func handedOver(t *testing.T) (url string, before key, successor pgsink.SequencerOptions) {
	t.Helper()
	url, before = database(t), newKey(t)
	k2 := newKeyNamed(t, origin+"/s2")
	sink := open(t, url, nil)
	sequence := func(n int, opts pgsink.SequencerOptions) {
		t.Helper()
		stop := run(t, url, opts)
		require.NoError(t, sink.Append(t.Context(), sinktest.Records(n)))
		require.NoError(t, sink.Sequenced(t.Context()))
		stop()
	}
	sequence(20, before.options())
	sequence(20, before.options())
	successor = k2.options()
	successor.Predecessor, successor.Anchor = before.Verifier, &mem{}
	sequence(10, successor)
	require.EqualValues(t, 50, committed(t, url))
	tamper(t, url, `DELETE FROM jobaudit.commits WHERE size > $i; DELETE FROM jobaudit.events WHERE idx >= $i; DELETE FROM jobaudit.sequence WHERE idx >= $i;
		DELETE FROM jobaudit.acting WHERE idx >= $i; DELETE FROM jobaudit.hashes WHERE first >= 2 * $i`, 20)
	require.EqualValues(t, 20, committed(t, url))
	return url, before, successor
}

// requireRefused requires that a sequencer signs nothing, because of its anchor.
func requireRefused(t *testing.T, url string, opts pgsink.SequencerOptions) {
	t.Helper()
	size := committed(t, url)
	sink := open(t, url, &pgsink.Options{OnError: func(error) {}})
	require.NoError(t, sink.Append(t.Context(), sinktest.Records(2)))
	reported := make(chan error, 100)
	s, err := pgsink.NewSequencer(url, opts, &pgsink.Options{OnError: func(err error) { reported <- err }})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	for !isHeadError(complaint(t, sink, reported)) {
	}
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	require.Equal(t, size, committed(t, url))
}

// A successor's anchor holds what its key has signed, also where the database was put back to
// before the handover: two heads of one size by one key would be a fork.
func TestASuccessorSignsNothingBehindItsOwnAnchor(t *testing.T) {
	url, _, successor := handedOver(t)
	requireRefused(t, url, successor)
}

// Nor beside it: the predecessor went on from there with other events.
func TestASuccessorSignsNothingBesideItsOwnAnchor(t *testing.T) {
	url, before, successor := handedOver(t)
	sink := open(t, url, nil)
	stop := run(t, url, before.options())
	require.NoError(t, sink.Append(t.Context(), sinktest.Records(40)))
	require.NoError(t, sink.Sequenced(t.Context()))
	stop()
	requireRefused(t, url, successor)
}

// That the stored hashes have to be made again does not make the anchor count for less.
func TestASequencerThatRepairsHashesSignsNothingBehindItsAnchor(t *testing.T) {
	url, _, successor := handedOver(t)
	tamper(t, url, `UPDATE jobaudit.hashes SET h = sha256(h) WHERE first <= $i`, 40)
	requireRefused(t, url, successor)
}

// A leader whose anchor somebody else has moved on leads no more.
func TestALeaderWhoseAnchorIsAheadSignsNothing(t *testing.T) {
	url, k := database(t), newKey(t)
	other := database(t)
	anchor := &mem{}
	opts := k.options()
	opts.Anchor = anchor
	longer := open(t, other, nil)
	stop := run(t, other, opts)
	require.NoError(t, longer.Append(t.Context(), sinktest.Records(30)))
	require.NoError(t, longer.Sequenced(t.Context()))
	stop()
	ahead, err := anchor.Latest(t.Context())
	require.NoError(t, err)

	anchor.signed = nil
	sink := open(t, url, nil)
	reported := make(chan error, 100)
	leads, err := pgsink.NewSequencer(url, opts, &pgsink.Options{OnError: func(err error) { reported <- err }})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- leads.Run(ctx) }()
	require.NoError(t, sink.Append(t.Context(), sinktest.Records(3)))
	require.NoError(t, sink.Sequenced(t.Context()))
	anchor.mu.Lock()
	anchor.signed = ahead
	anchor.mu.Unlock()
	for told := false; !told; { // until it puts its next head there
		require.NoError(t, sink.Append(t.Context(), sinktest.Records(1)))
		placing, stop := context.WithCancel(t.Context())
		placed := make(chan error, 1)
		go func() { placed <- sink.Sequenced(placing) }()
		select {
		case err := <-reported:
			require.True(t, isHeadError(err), "%v", err)
			told = true
		case err := <-placed:
			require.NoError(t, err)
		}
		stop()
	}
	require.NoError(t, sink.Append(t.Context(), sinktest.Records(1)))
	for !isHeadError(complaint(t, sink, reported)) {
	}
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
}

func isHeadError(err error) bool {
	_, ok := errors.AsType[*auditlog.HeadError](err)
	return ok
}

// deaf is an anchor that does not look at its context.
type deaf struct {
	mem
	puts, reads chan struct{} // nil: it answers
}

func (d *deaf) Put(ctx context.Context, c auditlog.Checkpoint) error {
	if d.puts != nil {
		<-d.puts
	}
	return d.mem.Put(ctx, c)
}

func (d *deaf) Latest(ctx context.Context) ([]byte, error) {
	if d.reads != nil {
		<-d.reads
	}
	return d.mem.Latest(ctx)
}

// An anchor on a disk of another host may never answer. That is reported, and ends with the
// sequencer, whose log goes on if it has led.
func TestAnAnchorThatHangsDoesNotHoldUpASequencer(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	defer close(hang)
	for name, anchor := range map[string]*deaf{"put": {puts: hang}, "read": {reads: hang}} {
		t.Run(name, func(t *testing.T) {
			url, k := database(t), newKey(t)
			opts := pgsink.LeadingFor(time.Second, k.options())
			opts.Anchor = anchor
			sink := open(t, url, &pgsink.Options{OnError: func(error) {}})
			reported := make(chan error, 100)
			s, err := pgsink.NewSequencer(url, opts, &pgsink.Options{OnError: func(err error) { reported <- err }})
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(context.Background())
			ended := make(chan error, 1)
			require.NoError(t, sink.Append(t.Context(), sinktest.Records(3)))
			go func() { ended <- s.Run(ctx) }()
			require.ErrorContains(t, <-reported, "anchor")
			if anchor.reads == nil {
				require.NoError(t, sink.Append(t.Context(), sinktest.Records(3)))
				require.NoError(t, sink.Sequenced(t.Context()))
			}
			cancel()
			require.ErrorIs(t, <-ended, context.Canceled)
		})
	}
}

// A successor is given what its predecessor had, the anchor too.
func TestASuccessorGoesOnWithItsPredecessorsAnchor(t *testing.T) {
	for kind, anchor := range map[string]auditlog.Anchor{"memory": &mem{}, "file": filesink.FileAnchor(filepath.Join(t.TempDir(), "head"))} {
		t.Run(kind, func(t *testing.T) {
			url := database(t)
			sink := open(t, url, nil)
			var before note.Verifier
			for i, name := range []string{origin, origin + "/s2", origin + "/s3"} {
				k := newKeyNamed(t, name)
				opts := k.options()
				opts.Anchor, opts.Predecessor = anchor, before
				for again := range 3 { // it leads again each time
					stop := run(t, url, opts)
					require.NoError(t, sink.Append(t.Context(), sinktest.Records(3)))
					require.NoError(t, sink.Sequenced(t.Context()))
					stop()
					signed, err := anchor.Latest(t.Context())
					require.NoError(t, err)
					kept, err := auditlog.OpenCheckpoint(signed, k.Verifier)
					require.NoError(t, err)
					require.EqualValues(t, 9*i+3*again+3, kept.Head().Size)
				}
				before = k.Verifier
			}
		})
	}
}

// With a head of the predecessor that the database lost, it is not for the successor to say
// that nothing is missing.
func TestASuccessorSignsNothingBehindItsPredecessorsAnchor(t *testing.T) {
	url, k := database(t), newKey(t)
	sink, anchor := open(t, url, nil), &mem{}
	opts := k.options()
	opts.Anchor = anchor
	for range 2 {
		stop := run(t, url, opts)
		require.NoError(t, sink.Append(t.Context(), sinktest.Records(20)))
		require.NoError(t, sink.Sequenced(t.Context()))
		stop()
	}
	tamper(t, url, `DELETE FROM jobaudit.commits WHERE size > $i; DELETE FROM jobaudit.events WHERE idx >= $i; DELETE FROM jobaudit.sequence WHERE idx >= $i;
		DELETE FROM jobaudit.acting WHERE idx >= $i; DELETE FROM jobaudit.hashes WHERE first >= 2 * $i`, 20)
	successor := newKeyNamed(t, origin+"/s2").options()
	successor.Predecessor, successor.Anchor = k.Verifier, anchor
	requireRefused(t, url, successor)
	successor.Anchor = &mem{} // the loss is accepted
	run(t, url, successor)
	require.NoError(t, sink.Sequenced(t.Context()))
}

// fleeting is an anchor that answers for so many more reads, once it is told.
type fleeting struct {
	mem
	told atomic.Bool
	left atomic.Int64
}

func (f *fleeting) Latest(ctx context.Context) ([]byte, error) {
	if f.told.Load() && f.left.Add(-1) < 0 {
		return nil, errors.New("the anchor does not answer")
	}
	return f.mem.Latest(ctx)
}

// That the anchor does not answer while stored hashes are made again says nothing about the log.
func TestAnAnchorThatFailsInARepairDoesNotStopTheLog(t *testing.T) {
	url, k := database(t), newKey(t)
	anchor := &fleeting{}
	anchor.left.Store(1)
	opts := k.options()
	opts.Anchor = anchor
	sink := open(t, url, nil)
	stop := run(t, url, opts)
	require.NoError(t, sink.Append(t.Context(), sinktest.Records(20)))
	require.NoError(t, sink.Sequenced(t.Context()))
	stop()

	reported := make(chan error, 100)
	s, err := pgsink.NewSequencer(url, opts, &pgsink.Options{OnError: func(err error) { reported <- err }})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	require.NoError(t, sink.Append(t.Context(), sinktest.Records(1)))
	require.NoError(t, sink.Sequenced(t.Context())) // it leads
	tamper(t, url, `UPDATE jobaudit.hashes SET h = sha256(h) WHERE first < $i`, 40)
	anchor.told.Store(true)
	for told := false; !told; {
		require.NoError(t, sink.Append(t.Context(), sinktest.Records(1)))
		require.NoError(t, sink.Sequenced(t.Context()))
		select {
		case err := <-reported:
			require.ErrorContains(t, err, "does not answer")
			told = true
		default:
		}
	}
	require.NoError(t, sink.Append(t.Context(), sinktest.Records(1)))
	require.NoError(t, sink.Sequenced(t.Context()))
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
}
