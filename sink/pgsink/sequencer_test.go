package pgsink_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/pgsink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
)

// run runs a sequencer until the test, or the returned function, ends it.
func run(t *testing.T, url string, opts pgsink.SequencerOptions) (stop func()) {
	t.Helper()
	s, err := pgsink.NewSequencer(url, opts, &pgsink.Options{OnError: func(error) {}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Run(ctx) })
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(stop)
	return stop
}

// verified verifies the whole log and returns its report.
func verified(t *testing.T, url string, k key) pgsink.Report {
	t.Helper()
	report, err := pgsink.Verify(t.Context(), url, &pgsink.VerifyOptions{Keys: []note.Verifier{k.Verifier}})
	require.NoError(t, err)
	require.Equal(t, auditlog.Signed, report.Level)
	return report
}

// complaint returns what a sequencer reports that must not give what waits a place.
func complaint(t *testing.T, sink *pgsink.Sink, reported <-chan error) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	placed := make(chan error, 1)
	go func() { placed <- sink.Sequenced(ctx) }()
	select {
	case err := <-reported:
		return err
	case err := <-placed:
		require.FailNow(t, "what waits has a place, and nothing was reported", "%v", err)
		return nil
	}
}

// requireOrder requires that the records of each Append stand together and in
// order, and that those of one writer stand in the order of its Appends.
func requireOrder(t *testing.T, log []uuid.UUID, writers ...[][]jobaudit.Record) {
	t.Helper()
	at := make(map[uuid.UUID]int, len(log))
	for i, id := range log {
		_, twice := at[id]
		require.False(t, twice, "%s stands twice", id)
		at[id] = i
	}
	n := 0
	for _, appends := range writers {
		last := -1
		for _, records := range appends {
			for i, r := range records {
				place, there := at[r.ID()]
				require.True(t, there, "%s is missing", r.ID())
				if i == 0 {
					require.Greater(t, place, last)
				} else {
					require.Equal(t, last+1, place)
				}
				last = place
				n++
			}
		}
	}
	require.Len(t, log, n)
}

func TestASequencerThatFailsAtAnyStepLosesNothing(t *testing.T) {
	for _, step := range []string{"locked", "read", "signed", "written", "committed"} {
		t.Run(step, func(t *testing.T) {
			url, k := database(t), newKey(t)
			sink := open(t, url, nil)
			var appends [][]jobaudit.Record
			var failures atomic.Int64
			stop := run(t, url, pgsink.AtSteps(func(at string) error {
				if at == step && failures.Add(1)%3 != 0 {
					return errors.New("failed by the test")
				}
				return nil
			}, k.options()))
			for range 30 {
				records := sinktest.Records(3)
				require.NoError(t, sink.Append(t.Context(), records))
				appends = append(appends, records)
				if failures.Load() < 6 {
					continue
				}
			}
			require.NoError(t, sink.Sequenced(t.Context()))
			stop()
			require.Positive(t, failures.Load())
			requireOrder(t, read(t, sink, jobaudit.Query{}), appends)
			require.EqualValues(t, 90, verified(t, url, k).Records)
		})
	}
}

// A server that ends a leader's connection gives the lock to another, while the first
// still believes that it leads.
func TestALeaderWhoseConnectionIsCutLosesNothing(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"locked", "read", "signed", "written"} {
		t.Run(step, func(t *testing.T) {
			url, k := database(t), newKey(t)
			sink := open(t, url, nil)
			var cuts atomic.Int64
			for range 2 {
				run(t, url+" application_name=leader", pgsink.AtSteps(func(at string) error {
					if at == step && cuts.Add(1)%3 == 1 {
						return execOn(context.Background(), url, `
							SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'leader' AND xact_start IS NOT NULL AND datname = current_database()`)
					}
					return nil
				}, k.options()))
			}
			var appends [][]jobaudit.Record
			for range 20 {
				records := sinktest.Records(2)
				require.NoError(t, sink.Append(t.Context(), records))
				appends = append(appends, records)
				require.NoError(t, sink.Sequenced(t.Context()))
			}
			require.Greater(t, cuts.Load(), int64(3))
			requireOrder(t, read(t, sink, jobaudit.Query{}), appends)
			verified(t, url, k)
		})
	}
}

func TestSeveralSequencersAndWritersMakeOneLog(t *testing.T) {
	url, k := database(t), newKey(t)
	reader := open(t, url, nil)
	var calls atomic.Int64
	for range 3 {
		run(t, url, pgsink.AtSteps(func(string) error {
			if calls.Add(1)%17 == 0 {
				return errors.New("failed by the test")
			}
			return nil
		}, k.options()))
	}
	writers := make([][][]jobaudit.Record, 6)
	var wg sync.WaitGroup
	for w := range writers {
		network := newNetwork()
		sink := open(t, url, pgsink.On(network.configure, pgsink.Options{OnError: func(error) {}}))
		wg.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(w)))
			for range 40 {
				records := sinktest.Records(1 + random.IntN(5))
				heal := func() {}
				if random.IntN(6) == 0 {
					heal = network.fail(random.IntN(3))
				}
				// The same records again until they are acknowledged, as a
				// recorder does.
				for sink.Append(context.Background(), records) != nil {
					heal()
				}
				heal()
				writers[w] = append(writers[w], records)
			}
		})
	}
	wg.Wait()
	require.NoError(t, reader.Sequenced(t.Context()))
	requireOrder(t, read(t, reader, jobaudit.Query{}), writers...)
	verified(t, url, k)
}

// A first version read the inbox from a low-water mark, and events whose
// transactions were long stayed below it.
func TestALongTransactionStrandsNothing(t *testing.T) {
	url, k := database(t), newKey(t)
	sink := open(t, url, nil)
	run(t, url, k.options())
	var late [][]jobaudit.Record
	var commits []func() error
	for range 10 {
		conn, err := pgx.Connect(t.Context(), url)
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
		tx, err := conn.Begin(t.Context())
		require.NoError(t, err)
		records := sinktest.Records(2)
		require.NoError(t, pgsink.Tx(tx).Append(t.Context(), records))
		late = append(late, records)
		commits = append(commits, func() error { return tx.Commit(t.Context()) })

		require.NoError(t, sink.Append(t.Context(), sinktest.Records(2)))
		require.NoError(t, sink.Sequenced(t.Context()))
	}
	for _, i := range rand.Perm(len(commits)) {
		require.NoError(t, commits[i]())
		require.NoError(t, sink.Sequenced(t.Context()))
	}
	log := read(t, sink, jobaudit.Query{})
	require.Len(t, log, 40)
	for _, records := range late {
		require.Contains(t, log, records[0].ID())
	}
	verified(t, url, k)
}

func TestAPoisonedRowIsRefusedAndTheLogGoesOn(t *testing.T) {
	url, k := database(t), newKey(t)
	sink := open(t, url, nil)
	good := sinktest.Records(2)
	require.NoError(t, sink.Append(t.Context(), good[:1]))
	poison := map[string]string{
		"no JSON":              `boo`,
		"an event of other ID": string(sinktest.Records(1)[0].Bytes()),
		"a commit line":        `{"checkpoint":"x"}`,
		"a line feed":          "{\n}",
		"JSON":                 `{"schemaVersion":"1.0.0"}`,
		"bytes":                "\x00\xff",
	}
	for _, line := range poison {
		execute(t, url, `SELECT jobaudit.append_v1(ARRAY[gen_random_uuid()], ARRAY[$1::bytea], ARRAY[0], '{}')`, []byte(line))
	}
	require.NoError(t, sink.Append(t.Context(), good[1:]))
	run(t, url, k.options())
	require.NoError(t, sink.Sequenced(t.Context()))
	require.Equal(t, idsOf(good), read(t, sink, jobaudit.Query{}))

	report, err := pgsink.Verify(t.Context(), url, &pgsink.VerifyOptions{Keys: []note.Verifier{k.Verifier}})
	var found *pgsink.VerifyError
	require.ErrorAs(t, err, &found)
	require.Equal(t, auditlog.Unverified, report.Level)
	require.Len(t, found.Findings, len(poison))
	for _, f := range found.Findings {
		require.Equal(t, pgsink.KindRefused, f.Kind)
	}
}

func TestOverlappingIDsInAnyOrderAreStoredOnce(t *testing.T) {
	url := database(t)
	records := sinktest.Records(60)
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for w := range errs {
		sink := open(t, url, nil)
		wg.Go(func() {
			for i := range 20 {
				mine := slices.Clone(records[i : i+30])
				rand.Shuffle(len(mine), func(a, b int) { mine[a], mine[b] = mine[b], mine[a] })
				errs[w] = errors.Join(errs[w], sink.Append(context.Background(), mine))
			}
		})
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	got := read(t, open(t, url, nil), jobaudit.Query{})
	require.ElementsMatch(t, idsOf(records[:49]), got)
}

// mem is an anchor in memory.
type mem struct {
	mu     sync.Mutex
	signed []byte
}

func (m *mem) Put(_ context.Context, c auditlog.Checkpoint) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.signed = c.Signed()
	return nil
}

func (m *mem) Latest(context.Context) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.signed == nil {
		return nil, auditlog.ErrNoHead
	}
	return m.signed, nil
}

func TestARolledBackDatabaseIsNotLed(t *testing.T) {
	url, k := database(t), newKey(t)
	anchor := &mem{}
	opts := k.options()
	opts.Anchor = anchor
	sink := open(t, url, nil)
	stop := run(t, url, opts)
	require.NoError(t, sink.Append(t.Context(), sinktest.Records(3)))
	require.NoError(t, sink.Sequenced(t.Context()))
	stop() // the newest head is put when a sequencer ends
	require.NotNil(t, anchor.signed)

	for name, damage := range map[string]string{
		"the newest commits are gone": `DELETE FROM jobaudit.commits; DELETE FROM jobaudit.hashes; DELETE FROM jobaudit.events; DELETE FROM jobaudit.sequence`,
	} {
		t.Run(name, func(t *testing.T) {
			execute(t, url, `SET session_replication_role = replica; `+damage)
			require.NoError(t, sink.Append(t.Context(), sinktest.Records(1)))
			reported := make(chan error, 100)
			s, err := pgsink.NewSequencer(url, opts, &pgsink.Options{OnError: func(err error) { reported <- err }})
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error)
			go func() { done <- s.Run(ctx) }()
			require.ErrorContains(t, complaint(t, sink, reported), "anchor")
			cancel()
			require.ErrorIs(t, <-done, context.Canceled)
			_, err = sink.Head(t.Context(), k.Verifier)
			require.ErrorIs(t, err, auditlog.ErrNoHead)
		})
	}
}

// Whatever a sequencer does when it is stopped, its anchor has the newest head in the end.
func TestASequencerThatIsStoppedAtAnyStepPutsTheNewestHead(t *testing.T) {
	for _, step := range []string{"locked", "read", "signed", "written"} {
		t.Run(step, func(t *testing.T) {
			url, k := database(t), newKey(t)
			anchor := &mem{}
			opts := k.options()
			opts.Anchor = anchor
			sink := open(t, url, nil)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			commits := 0
			s, err := pgsink.NewSequencer(url, pgsink.AtSteps(func(at string) error {
				switch {
				case at == "committed":
					commits++ // the first head is put at once, the second a while later
				case at == step && commits == 2:
					cancel()
					return ctx.Err()
				}
				return nil
			}, opts), nil)
			require.NoError(t, err)
			done := make(chan error)
			go func() { done <- s.Run(ctx) }()
			for range 2 {
				require.NoError(t, sink.Append(t.Context(), sinktest.Records(2)))
				require.NoError(t, sink.Sequenced(t.Context()))
			}
			require.NoError(t, sink.Append(t.Context(), sinktest.Records(2)))
			require.ErrorIs(t, <-done, context.Canceled)
			signed, err := anchor.Latest(t.Context())
			require.NoError(t, err)
			kept, err := auditlog.OpenCheckpoint(signed, k.Verifier)
			require.NoError(t, err)
			head, err := sink.Head(t.Context(), k.Verifier)
			require.NoError(t, err)
			require.Equal(t, head.Head().Size, kept.Head().Size)
		})
	}
}

func TestOnlyAFittingKeyIsTaken(t *testing.T) {
	a, b := newKey(t), newKey(t)
	for i, opts := range []pgsink.SequencerOptions{{}, {Signer: a.Signer}, {Verifier: a.Verifier}, {Signer: a.Signer, Verifier: b.Verifier}} {
		_, err := pgsink.NewSequencer("", opts, nil)
		require.Error(t, err, fmt.Sprint(i))
	}
}
