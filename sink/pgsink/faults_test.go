package pgsink_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/sink/pgsink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// onNetwork opens a sink whose connections the test breaks.
func onNetwork(t *testing.T, url string, n *network, opts pgsink.Options) *pgsink.Sink {
	t.Helper()
	opts.OnError = func(error) {}
	return open(t, url, pgsink.On(n.configure, opts))
}

// A connection that is cut when the commit was sent leaves an unknown outcome:
// the Append fails, the records are stored, and the retry stores none twice.
func TestACommitWhoseAnswerIsLostIsStoredOnce(t *testing.T) {
	url, k := database(t), newKey(t)
	n := newNetwork()
	sink := onNetwork(t, url, n, pgsink.Options{})
	require.NoError(t, sink.Append(t.Context(), sinktest.Records(1)), "the statement is prepared")
	var all []uuid.UUID
	for range 20 {
		records := sinktest.Records(3)
		heal := n.swallow()
		err := sink.Append(t.Context(), records)
		heal()
		require.Error(t, err)
		require.NotErrorIs(t, err, jobaudit.ErrConflict)
		require.Subset(t, read(t, sink, jobaudit.Query{JobID: records[0].JobID()}), idsOf(records), "it was committed")
		require.NoError(t, sink.Append(t.Context(), records))
		all = append(all, idsOf(records)...)
	}
	run(t, url, k.options())
	require.NoError(t, sink.Sequenced(t.Context()))
	require.Equal(t, all, read(t, sink, jobaudit.Query{})[1:])
	verified(t, url, k)
}

// Jobs go on while the database is down: what they record goes to the fallback,
// and from there into the log when it is back.
func TestJobsGoOnWhileTheDatabaseIsDown(t *testing.T) {
	t.Parallel()
	url, k := database(t), newKey(t)
	n := newNetwork()
	sink := onNetwork(t, url, n, pgsink.Options{})
	fallback := memsink.New(nil)
	recorder, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "test", Environment: "test"}, &jobaudit.Options{
		Fallback: fallback, OutcomeTimeout: time.Second, OnError: func(context.Context, *jobaudit.AuditError) {},
	})
	require.NoError(t, err)
	submission := jobaudit.Submission{
		ID: uuid.Must(uuid.NewV7()), Action: "ship-order", Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada"},
		Trigger: jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "order placed"},
	}
	var heal func()
	require.NoError(t, recorder.Run(t.Context(), submission, func(ctx context.Context) error {
		heal = n.fail(0)
		trail, _ := jobaudit.FromContext(ctx)
		trail.Log(ctx, "half of it")
		return nil
	}))
	require.NotZero(t, fallback.Len(), "the outcome is in the fallback")
	heal()
	require.NoError(t, recorder.Close(t.Context()))
	run(t, url, k.options())
	require.NoError(t, sink.Sequenced(t.Context()))
	logs := make([]jobaudit.Record, 0)
	for _, log := range []jobaudit.AuditReader{sink, fallback} {
		for r, err := range log.Records(t.Context(), jobaudit.Query{JobID: submission.ID}) {
			require.NoError(t, err)
			logs = append(logs, r)
		}
	}
	job, err := jobaudit.Replay(func(yield func(jobaudit.Record, error) bool) {
		for _, r := range logs {
			if !yield(r, nil) {
				return
			}
		}
	})
	require.NoError(t, err)
	require.Equal(t, jobaudit.Success, job.State)
	require.False(t, job.Incomplete)
	verified(t, url, k)
}

// Jobs that hold every connection of their own pool, in open transactions, do
// not keep the log from taking what they record.
func TestJobsThatHoldEveryConnectionStillRecord(t *testing.T) {
	url := database(t)
	config, err := pgxpool.ParseConfig(url)
	require.NoError(t, err)
	config.MaxConns = 3
	business, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	defer business.Close()
	sink := open(t, url, &pgsink.Options{Conns: 1})
	var held, done sync.WaitGroup
	held.Add(int(config.MaxConns))
	for range config.MaxConns {
		done.Go(func() {
			err := pgx.BeginFunc(context.Background(), business, func(tx pgx.Tx) error {
				held.Done()
				held.Wait() // now all are taken
				if err := sink.Append(context.Background(), sinktest.Records(2)); err != nil {
					return err
				}
				for _, err := range sink.Records(context.Background(), jobaudit.Query{}) {
					if err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
	require.Len(t, read(t, sink, jobaudit.Query{}), 2*int(config.MaxConns))
}

// A transaction with an uncommitted record of the same ID holds an Append up, for as
// long as the timeouts of its session let it.
func TestTimeoutsEndAnAppendThatIsHeldUp(t *testing.T) {
	for name, setting := range map[string]string{"lock": "lock_timeout", "statement": "statement_timeout"} {
		t.Run(name, func(t *testing.T) {
			url := database(t)
			records := sinktest.Records(2)
			conn, err := pgx.Connect(t.Context(), url)
			require.NoError(t, err)
			defer conn.Close(context.Background())
			tx, err := conn.Begin(t.Context())
			require.NoError(t, err)
			require.NoError(t, pgsink.Tx(tx).Append(t.Context(), records[:1]))

			var sink *pgsink.Sink
			for sink == nil { // a slow machine takes longer than that to open it
				sink, _ = pgsink.Open(t.Context(), url+" options='-c "+setting+"=50'", &pgsink.Options{OnError: func(error) {}})
			}
			t.Cleanup(func() { _ = sink.Close() })
			err = sink.Append(t.Context(), records)
			var refused *pgconn.PgError
			require.ErrorAs(t, err, &refused)
			require.NotErrorIs(t, err, jobaudit.ErrConflict)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			require.ErrorIs(t, sink.Append(ctx, records), context.Canceled)
			patient := open(t, url, nil)
			require.Empty(t, read(t, patient, jobaudit.Query{}), "nothing of it is stored")
			require.NoError(t, tx.Rollback(t.Context()))
			for err = errors.New("not yet"); err != nil; err = sink.Append(t.Context(), records) {
			}
			require.Equal(t, idsOf(records), read(t, patient, jobaudit.Query{}))
		})
	}
}

// Verdicts have IDs that everybody can compute: a writer's transaction may have one of
// them, and stay open. What other callers record does not wait for that, although it
// shares a transaction.
func TestAnIDThatIsHeldUpHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	url := database(t)
	held := sinktest.Records(1)
	tx := begin(t, url, pgx.ReadCommitted)
	require.NoError(t, pgsink.Tx(tx).Append(t.Context(), held))
	sink := open(t, url, &pgsink.Options{Timeout: time.Hour})
	victims := make(chan error, 3)
	for range cap(victims) { // on all connections
		go func() { victims <- sink.Append(context.Background(), held) }()
	}
	for range 20 {
		require.NoError(t, sink.Append(t.Context(), sinktest.Records(1)))
	}
	for range cap(victims) {
		require.Equal(t, "55P03", code(<-victims))
	}
	require.NoError(t, tx.Commit(t.Context()))
	require.NoError(t, sink.Append(t.Context(), held))
	require.Len(t, read(t, sink, jobaudit.Query{}), 21)
}

// A backup holds up the making of a partition, and that holds up reads: they wait for
// longer than an Append does for an ID.
func TestAReadOutwaitsAnAppendsLockTimeout(t *testing.T) {
	t.Parallel()
	url := database(t)
	sink := open(t, url, nil)
	require.NoError(t, sink.Append(t.Context(), sinktest.Records(1)))
	tx := begin(t, url, pgx.ReadCommitted)
	_, err := tx.Exec(t.Context(), `LOCK TABLE jobaudit.events`)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		for _, err := range sink.Records(context.Background(), jobaudit.Query{}) {
			done <- err
			return
		}
		done <- errors.New("no record")
	}()
	awaitBlocked(t, url)
	// One that waits behind it gives up later than an Append would.
	require.Equal(t, "55P03", code(execOn(t.Context(), url+" options='-c lock_timeout=2500'", `SELECT FROM jobaudit.events`)))
	require.NoError(t, tx.Rollback(t.Context()))
	require.NoError(t, <-done)
}

func begin(t *testing.T, url string, level pgx.TxIsoLevel) pgx.Tx {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	tx, err := conn.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: level})
	require.NoError(t, err)
	return tx
}

func code(err error) string {
	var state *pgconn.PgError
	if !errors.As(err, &state) {
		return ""
	}
	return state.Code
}

func TestASavepointThatIsRolledBackLeavesNoTrace(t *testing.T) {
	url := database(t)
	kept, dropped := sinktest.Records(2), sinktest.Records(2)
	tx := begin(t, url, pgx.ReadCommitted)
	require.NoError(t, pgsink.Tx(tx).Append(t.Context(), kept))
	savepoint, err := tx.Begin(t.Context())
	require.NoError(t, err)
	require.NoError(t, pgsink.Tx(savepoint).Append(t.Context(), dropped))
	require.NoError(t, savepoint.Rollback(t.Context()))
	require.NoError(t, tx.Commit(t.Context()))
	sink := open(t, url, nil)
	require.Equal(t, idsOf(kept), read(t, sink, jobaudit.Query{}))
	require.NoError(t, sink.Append(t.Context(), dropped), "it is as if it had never been")
}

// A transaction that cannot see what another has committed is told, and never
// takes it for new or for stored.
func TestASerializationFailureIsRetriedAsAWhole(t *testing.T) {
	for _, level := range []pgx.TxIsoLevel{pgx.RepeatableRead, pgx.Serializable} {
		t.Run(string(level), func(t *testing.T) {
			url := database(t)
			sink := open(t, url, nil)
			records := sinktest.Records(2)
			tx := begin(t, url, level)
			_, err := tx.Exec(t.Context(), `SELECT 1`) // the snapshot
			require.NoError(t, err)
			require.NoError(t, sink.Append(t.Context(), records))
			require.Equal(t, "40001", code(pgsink.Tx(tx).Append(t.Context(), records)))
			require.NoError(t, tx.Rollback(t.Context()))
			tx = begin(t, url, level)
			require.NoError(t, pgsink.Tx(tx).Append(t.Context(), records))
			require.NoError(t, tx.Commit(t.Context()))
			require.Equal(t, idsOf(records), read(t, sink, jobaudit.Query{}))
		})
	}
}

func TestTransactionsWithCrossingIDsDeadlockAndOneIsRetried(t *testing.T) {
	t.Parallel()
	url := database(t)
	a, b := sinktest.Records(1), sinktest.Records(1)
	one, two := begin(t, url, pgx.ReadCommitted), begin(t, url, pgx.ReadCommitted)
	require.NoError(t, pgsink.Tx(one).Append(t.Context(), a))
	require.NoError(t, pgsink.Tx(two).Append(t.Context(), b))
	errs := make(chan error, 2)
	for tx, records := range map[pgx.Tx][]jobaudit.Record{one: b, two: a} {
		go func() {
			err := pgsink.Tx(tx).Append(context.Background(), records)
			if err != nil {
				_ = tx.Rollback(context.Background())
			} else {
				err = tx.Commit(context.Background())
			}
			errs <- err
		}()
	}
	codes := []string{code(<-errs), code(<-errs)}
	require.ElementsMatch(t, []string{"40P01", ""}, codes)
	sink := open(t, url, nil)
	require.NoError(t, sink.Append(t.Context(), append(a, b...)))
	require.Len(t, read(t, sink, jobaudit.Query{}), 2)
}

// What the clocks of processes say changes neither the order of the log nor
// whether it is good.
func TestClocksThatDifferByYearsChangeNothing(t *testing.T) {
	url, k := database(t), newKey(t)
	run(t, url, k.options())
	sink := open(t, url, nil)
	var want []uuid.UUID
	for _, skew := range []time.Duration{0, -30 * 365 * 24 * time.Hour, 30 * 365 * 24 * time.Hour, -time.Second} {
		recorder, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "test", Environment: "test"},
			&jobaudit.Options{Now: func() time.Time { return time.Now().Add(skew) }})
		require.NoError(t, err)
		id := uuid.Must(uuid.NewV7())
		require.NoError(t, recorder.Run(t.Context(), jobaudit.Submission{
			ID: id, Action: "ship-order", Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada"},
			Trigger: jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "order placed"},
		}, func(context.Context) error { return nil }))
		require.NoError(t, recorder.Close(t.Context()))
		want = append(want, id)
	}
	require.NoError(t, sink.Sequenced(t.Context()))
	var got []uuid.UUID
	for r, err := range sink.Records(t.Context(), jobaudit.Query{Types: []jobaudit.EventType{jobaudit.JobSubmitted}}) {
		require.NoError(t, err)
		got = append(got, r.JobID())
	}
	require.Equal(t, want, got)
	require.Empty(t, verified(t, url, k).Notes)
}

// During a rollout old and new programs meet old and new tables.
func TestProgramsAndTablesOfDifferentVersionsMeet(t *testing.T) {
	url := database(t)
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(context.Background())

	execute(t, url, `INSERT INTO jobaudit.migrations (version, min_writer, min_sequencer) VALUES (2, 1, 1)`)
	old := open(t, url, nil)
	require.NoError(t, old.Append(t.Context(), sinktest.Records(1)), "newer tables keep what older programs call")
	require.NoError(t, pgsink.Migrate(t.Context(), conn, nil), "and an older program leaves them as they are")

	execute(t, url, `INSERT INTO jobaudit.migrations (version, min_writer, min_sequencer) VALUES (3, 2, 1)`)
	_, err = pgsink.Open(t.Context(), url, nil)
	require.ErrorContains(t, err, "update the program")
	require.NoError(t, old.Append(t.Context(), sinktest.Records(1)), "one that is open goes on")
}

// An old sequencer would leave what a newer one fills, and Verify accuse an honest log.
func TestASequencerThatIsTooOldForTheTablesPlacesNothing(t *testing.T) {
	for name, connected := range map[string]bool{"a new connection": false, "one that is open": true} {
		t.Run(name, func(t *testing.T) {
			url, k := database(t), newKey(t)
			sink := open(t, url, nil)
			errs := make(chan error, 10)
			s, err := pgsink.NewSequencer(url, k.options(), &pgsink.Options{OnError: func(err error) { errs <- err }})
			require.NoError(t, err)
			start := func() {
				ctx, cancel := context.WithCancel(context.Background())
				var wg sync.WaitGroup
				wg.Go(func() { _ = s.Run(ctx) })
				t.Cleanup(func() { cancel(); wg.Wait() })
			}
			if connected {
				start()
				require.NoError(t, sink.Append(t.Context(), sinktest.Records(3)))
				require.NoError(t, sink.Sequenced(t.Context()))
			}
			before, err := sink.Size(t.Context())
			require.NoError(t, err)
			execute(t, url, `BEGIN; SELECT FROM jobaudit.lead FOR UPDATE;
				INSERT INTO jobaudit.migrations (version, min_writer, min_sequencer) VALUES (2, 1, 2); COMMIT`)
			require.NoError(t, sink.Append(t.Context(), sinktest.Records(3)), "events are accepted meanwhile")
			if !connected {
				start()
			}
			require.ErrorContains(t, complaint(t, sink, errs), "update the program")
			after, err := sink.Size(t.Context())
			require.NoError(t, err)
			require.Equal(t, before, after)
		})
	}
}

// A server or a pooler that starts again breaks connections that stand idle: no
// caller notices, though one that has to know before its work begins has one try.
func TestAConnectionThatBrokeWhileItStoodIdleIsReplaced(t *testing.T) {
	t.Parallel()
	url, k := database(t), newKey(t)
	sink := open(t, url, nil)
	run(t, url+" application_name=sequencer", k.options())
	var all []uuid.UUID
	for range 20 {
		var calls sync.WaitGroup
		for range 4 { // on all connections
			records := sinktest.Records(1)
			all = append(all, idsOf(records)...)
			calls.Go(func() { assert.NoError(t, sink.Append(t.Context(), records)) })
		}
		calls.Wait()
		execute(t, url, `SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE application_name = 'jobaudit' AND datname = current_database()`)
		require.NoError(t, sink.Sequenced(t.Context()))
		execute(t, url, `SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE application_name = 'jobaudit' AND datname = current_database()`)
	}
	require.NoError(t, sink.Sequenced(t.Context()))
	require.ElementsMatch(t, all, read(t, sink, jobaudit.Query{}))
	verified(t, url, k)
}
