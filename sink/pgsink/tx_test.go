package pgsink_test

import (
	"context"
	"database/sql"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/pgsink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
)

// transaction is a transaction of either API.
type transaction struct {
	sink             jobaudit.AuditSink
	commit, rollback func() error
	exec             func(sql string) error
}

func transactions(t *testing.T, url string) map[string]func() transaction {
	return map[string]func() transaction{
		"pgx": func() transaction {
			conn, err := pgx.Connect(t.Context(), url)
			require.NoError(t, err)
			t.Cleanup(func() { _ = conn.Close(context.Background()) })
			tx, err := conn.Begin(t.Context())
			require.NoError(t, err)
			return transaction{
				pgsink.Tx(tx),
				func() error { return tx.Commit(t.Context()) },
				func() error { return tx.Rollback(t.Context()) },
				func(sql string) error { _, err := tx.Exec(t.Context(), sql); return err },
			}
		},
		"database/sql": func() transaction {
			db, err := sql.Open("pgx", url)
			require.NoError(t, err)
			t.Cleanup(func() { _ = db.Close() })
			tx, err := db.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			return transaction{pgsink.SQLTx(tx), tx.Commit, tx.Rollback,
				func(sql string) error { _, err := tx.ExecContext(t.Context(), sql); return err }}
		},
	}
}

func open(t *testing.T, url string, opts *pgsink.Options) *pgsink.Sink {
	t.Helper()
	s, err := pgsink.Open(t.Context(), url, opts)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func read(t *testing.T, s jobaudit.AuditReader, q jobaudit.Query) []uuid.UUID {
	t.Helper()
	var ids []uuid.UUID
	for r, err := range s.Records(t.Context(), q) {
		if err != nil { // a call for each of many records takes longer than to read them
			require.NoError(t, err)
		}
		ids = append(ids, r.ID())
	}
	return ids
}

func idsOf(records []jobaudit.Record) []uuid.UUID {
	ids := make([]uuid.UUID, len(records))
	for i, r := range records {
		ids[i] = r.ID()
	}
	return ids
}

func TestARolledBackRecordLeavesNoTraceAndACommittedOneIsStored(t *testing.T) {
	url := database(t)
	sink := open(t, url, nil)
	var want []uuid.UUID
	for name, begin := range transactions(t, url) {
		t.Run(name, func(t *testing.T) {
			records := sinktest.Records(6)
			tx := begin()
			require.NoError(t, tx.sink.Append(t.Context(), records[:3]))
			require.NoError(t, tx.exec(`CREATE TEMP TABLE business()`))
			require.NoError(t, tx.rollback())
			require.Equal(t, want, read(t, sink, jobaudit.Query{}), "rolled back")

			tx = begin()
			require.NoError(t, tx.sink.Append(t.Context(), records[:3]))
			require.NoError(t, tx.exec(`SAVEPOINT s`))
			require.NoError(t, tx.sink.Append(t.Context(), records[3:4]))
			require.NoError(t, tx.exec(`ROLLBACK TO s`))
			require.NoError(t, tx.sink.Append(t.Context(), records[4:]))
			require.NoError(t, tx.commit())
			want = append(append(want, idsOf(records[:3])...), idsOf(records[4:])...)
			require.Equal(t, want, read(t, sink, jobaudit.Query{}), "committed")
		})
	}
}

func TestAConflictInATransactionIsErrConflict(t *testing.T) {
	url := database(t)
	sink := open(t, url, nil)
	for name, begin := range transactions(t, url) {
		t.Run(name, func(t *testing.T) {
			records := sinktest.Records(2)
			require.NoError(t, sink.Append(t.Context(), records[:1]))
			execute(t, url, `ALTER TABLE jobaudit.ids DISABLE TRIGGER ALL; UPDATE jobaudit.ids SET hash = sha256(hash); ALTER TABLE jobaudit.ids ENABLE TRIGGER ALL`)
			tx := begin()
			err := tx.sink.Append(t.Context(), records)
			require.ErrorIs(t, err, jobaudit.ErrConflict)
			var refusal *jobaudit.RecordError
			require.ErrorAs(t, err, &refusal)
			require.Equal(t, records[0].ID(), refusal.ID)
			require.NoError(t, tx.rollback())
		})
	}
}

// The story of a job whose submission was stored with the business change is
// one story, and one that was rolled back never was.
func TestASubmissionLivesAndDiesWithTheBusinessChange(t *testing.T) {
	url, k := database(t), newKey(t)
	opts := k.options()
	sink := open(t, url, &pgsink.Options{Sequencer: &opts})
	execute(t, url, `CREATE TABLE orders (id text)`)
	recorder, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "shop", Environment: "test"}, nil)
	require.NoError(t, err)
	submission := func() jobaudit.Submission {
		return jobaudit.Submission{
			ID: uuid.Must(uuid.NewV7()), Action: "ship-order",
			Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada"},
			Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "order placed"},
		}
	}
	for name, begin := range transactions(t, url) {
		t.Run(name, func(t *testing.T) {
			kept, dropped := submission(), submission()
			tx := begin()
			require.NoError(t, tx.exec(`INSERT INTO orders VALUES ('a')`))
			carriers, err := recorder.SubmitTx(t.Context(), tx.sink, kept, submission())
			require.NoError(t, err)
			require.NoError(t, tx.commit())

			tx = begin()
			require.NoError(t, tx.exec(`INSERT INTO orders VALUES ('b')`))
			_, err = recorder.SubmitTx(t.Context(), tx.sink, dropped)
			require.NoError(t, err)
			require.NoError(t, tx.rollback())

			trail, err := recorder.Resume(t.Context(), carriers[0], nil)
			require.NoError(t, err)
			require.NoError(t, trail.Run(t.Context(), jobaudit.Execution{Attempt: 1}, func(context.Context) error { return nil }))
			job, err := jobaudit.Replay(sink.Records(t.Context(), jobaudit.Query{JobID: kept.ID}))
			require.NoError(t, err)
			require.Equal(t, jobaudit.Success, job.State)
			require.Empty(t, job.Unapplied)
			_, err = jobaudit.Replay(sink.Records(t.Context(), jobaudit.Query{JobID: dropped.ID}))
			require.ErrorIs(t, err, jobaudit.ErrNotFound)
		})
	}
	require.NoError(t, recorder.Close(t.Context()))
	require.NoError(t, sink.Sequenced(t.Context()))
	verified(t, url, k)
}
