package pgsink_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/pgsink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
)

// complaints runs a sequencer and returns what it reports.
func complaints(t *testing.T, url string, opts pgsink.SequencerOptions) (reported func() []error, stop func()) {
	t.Helper()
	var mu sync.Mutex
	var all []error
	s, err := pgsink.NewSequencer(url, opts, &pgsink.Options{OnError: func(err error) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, err)
	}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Run(ctx) })
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(stop)
	return func() []error {
		mu.Lock()
		defer mu.Unlock()
		return all
	}, stop
}

// Stored hashes are a cache: wrong ones are made again from the events.
func TestWrongStoredHashesAreMadeAgain(t *testing.T) {
	for name, sql := range map[string]string{
		"every hash is changed": `UPDATE jobaudit.hashes SET h = (SELECT string_agg(sha256(h || i::text::bytea), '') FROM generate_series(1, octet_length(h) / 32) i)`,
		"a row is cut":          `UPDATE jobaudit.hashes SET h = substring(h FROM 1 FOR 40) WHERE first > 20`,
		"rows are gone":         `DELETE FROM jobaudit.hashes WHERE first > 10`,
		"all rows are gone":     `DELETE FROM jobaudit.hashes`,
	} {
		t.Run(name, func(t *testing.T) {
			url, k, head := writtenLog(t)
			anchor := filesink.FileAnchor(filepath.Join(t.TempDir(), "anchor"))
			opts := k.options()
			opts.Anchor = anchor
			sink := open(t, url, nil)
			run(t, url, opts)()
			tamper(t, url, sql, 0)
			noted, err := verify(url, k, head)
			require.NoError(t, err, "they are a cache")
			require.Contains(t, noted.Notes[len(noted.Notes)-1].Kind, pgsink.KindHashes)
			reported, stop := complaints(t, url, opts)
			require.NoError(t, sink.Append(t.Context(), sinktest.Records(5)))
			require.NoError(t, sink.Sequenced(t.Context()))
			stop()
			require.Len(t, reported(), 1)
			require.ErrorContains(t, reported()[0], "made again")
			report, err := verify(url, k, head)
			require.NoError(t, err)
			require.EqualValues(t, 47, report.Records)
			require.Empty(t, report.Notes)
			for r, err := range sink.Records(t.Context(), jobaudit.Query{}) {
				require.NoError(t, err)
				_, err := sink.Prove(t.Context(), r.ID(), k.Verifier)
				require.NoError(t, err)
			}
			reported, stop = complaints(t, url, opts)
			require.NoError(t, sink.Append(t.Context(), sinktest.Records(1)))
			require.NoError(t, sink.Sequenced(t.Context()))
			stop()
			require.Empty(t, reported(), "they are right again")
		})
	}
}

// Somebody who has the sequencer's password can add rows of hashes, under any number. The log
// goes on, and whatever they change is made again once, and not at each leadership.
func TestRowsThatAreAddedToTheStoredHashesCostAtMostOneRepair(t *testing.T) {
	url, k := database(t), newKey(t)
	users := logins(t, url)
	head := written(t, url, k)
	sink := open(t, url, nil)
	require.NoError(t, sink.Append(t.Context(), sinktest.Records(1)))
	run(t, url, k.options())()
	random := rand.New(rand.NewPCG(9, 9))
	events := 42
	for i := range 24 {
		// Of a commit, in the midst of one's, and still to come; in the place of what is
		// there, before and behind it.
		first := random.IntN(2*events + 40)
		n := []int32{0, 1, math.MaxInt32, math.MinInt32, math.MaxInt32 - 1}[random.IntN(5)]
		h := []string{"", "x", strings.Repeat("x", 32), strings.Repeat("y", 32*200)}[random.IntN(4)]
		name := fmt.Sprintf("%d: %d, %d, %d bytes", i, first, n, len(h))
		_ = execOn(t.Context(), users["sequencer"], `INSERT INTO jobaudit.hashes (first, n, h) VALUES ($1, $2, $3)`, first, n, []byte(h)) // or it is refused
		for round := range 2 {
			reported, stop := complaints(t, url, k.options())
			require.NoError(t, sink.Append(t.Context(), sinktest.Records(3)))
			require.NoError(t, sink.Sequenced(t.Context()))
			stop()
			events += 3
			if round == 0 {
				require.LessOrEqual(t, len(reported()), 1, name)
				continue
			}
			require.Empty(t, reported(), "%s: it is right again", name)
		}
		// A proof needs others of them than a head does: what it finds wrong waits for them.
		_, err := verify(url, k, head)
		require.NoError(t, err, name)
	}
}

// What is in the midst of a commit's numbers, and no commit's, is nobody's: proofs and
// Verify do not look at it.
func TestStrayRowsOfHashesAreNotLookedAt(t *testing.T) {
	url, k := database(t), newKey(t)
	users := logins(t, url)
	head := written(t, url, k)
	sink := open(t, url, nil)
	execute(t, users["sequencer"], `INSERT INTO jobaudit.hashes (first, h)
		SELECT i, 'x' FROM generate_series(0, 300) i WHERE i NOT IN (SELECT 2 * s - length(replace(s::bit(64)::text, '0', ''))
			FROM (SELECT prev AS s FROM jobaudit.commits UNION ALL SELECT max(size) FROM jobaudit.commits) c)`)
	report, err := verify(url, k, head)
	require.NoError(t, err)
	require.Empty(t, report.Notes)
	reported, stop := complaints(t, url, k.options())
	require.NoError(t, sink.Sequenced(t.Context()))
	require.NoError(t, sink.Append(t.Context(), sinktest.Records(30)))
	require.NoError(t, sink.Sequenced(t.Context()))
	stop()
	require.Empty(t, reported())
	report, err = verify(url, k, head)
	require.NoError(t, err)
	require.Empty(t, report.Notes)
	for r, err := range sink.Records(t.Context(), jobaudit.Query{}) {
		require.NoError(t, err)
		_, err := sink.Prove(t.Context(), r.ID(), k.Verifier)
		require.NoError(t, err)
	}
}

// Somebody who has the sequencer's password can write a commit that nobody signed between two
// of the log's. Verify reports it. The anchor goes on, and proofs work again, after one repair.
func TestACommitInTheMidstOfTheLogHoldsUpNoAnchor(t *testing.T) {
	for _, at := range []int{2, 13, 24, 39} {
		url, k := database(t), newKey(t)
		users := logins(t, url)
		written(t, url, k)
		execute(t, users["sequencer"], `INSERT INTO jobaudit.commits (size, prev, line) VALUES ($1::bigint, $1::bigint - 1, 'x')`, at)
		dir := t.TempDir()
		opts := k.options()
		opts.Anchor = filesink.FileAnchor(filepath.Join(dir, "anchor"))
		sink := open(t, url, nil)
		for round := range 2 {
			reported, stop := complaints(t, url, opts)
			for range 3 {
				require.NoError(t, sink.Append(t.Context(), sinktest.Records(7)))
				require.NoError(t, sink.Sequenced(t.Context()))
			}
			stop() // it puts its head
			require.LessOrEqual(t, len(reported()), 1-round, "%d: %v", at, reported())
			head, err := sink.Head(t.Context(), k.Verifier)
			require.NoError(t, err)
			kept, err := opts.Anchor.Latest(t.Context())
			require.NoError(t, err)
			anchored, err := auditlog.OpenCheckpoint(kept, k.Verifier)
			require.NoError(t, err)
			require.Equal(t, head.Head(), anchored.Head(), at)
		}
		_, err := verify(url, k)
		require.ErrorAs(t, err, new(*pgsink.VerifyError))
	}
}

// A log that was cut back without its stored hashes goes on: those that are left are of
// other events.
func TestStoredHashesOfALostStateAreNoObstacle(t *testing.T) {

	for cut := 1; cut <= 3; cut++ {
		url, k, _ := writtenLog(t)
		execute(t, url, fmt.Sprintf(`SET session_replication_role = replica; CREATE TEMP TABLE cut AS SELECT prev AS size FROM jobaudit.commits ORDER BY size DESC OFFSET %d LIMIT 1;
			DELETE FROM jobaudit.ids WHERE id IN (SELECT id FROM jobaudit.events WHERE idx >= (SELECT size FROM cut));
			DELETE FROM jobaudit.sequence WHERE idx >= (SELECT size FROM cut); DELETE FROM jobaudit.events WHERE idx >= (SELECT size FROM cut);
			DELETE FROM jobaudit.commits WHERE size > (SELECT size FROM cut)`, cut-1))
		sink := open(t, url, nil)
		for range 3 {
			require.NoError(t, sink.Append(t.Context(), sinktest.Records(9)))
			_, stop := complaints(t, url, k.options())
			require.NoError(t, sink.Sequenced(t.Context()))
			stop()
		}
		_, err := verify(url, k)
		require.NoError(t, err)
		for r, err := range sink.Records(t.Context(), jobaudit.Query{}) {
			require.NoError(t, err)
			_, err := sink.Prove(t.Context(), r.ID(), k.Verifier)
			require.NoError(t, err)
		}
	}
}

// Where the events are not those of the head, nothing more is signed.
func TestASequencerSignsNothingOverChangedEvents(t *testing.T) {
	url, k, head := writtenLog(t)
	tamper(t, url, `DELETE FROM jobaudit.hashes; UPDATE jobaudit.events SET line = line || ' ' WHERE idx = $i`, 7)
	errs := make(chan error, 10)
	s, err := pgsink.NewSequencer(url, k.options(), &pgsink.Options{OnError: func(err error) { errs <- err }})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Run(ctx) })
	sink := open(t, url, nil)
	require.ErrorContains(t, complaint(t, sink, errs), "made again")
	require.ErrorContains(t, complaint(t, sink, errs), "the events are not those of the newest head")
	cancel()
	wg.Wait()
	kept, err := sink.Head(t.Context(), k.Verifier)
	require.NoError(t, err)
	require.Equal(t, head, kept.Head())
}
