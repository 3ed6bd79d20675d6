package pgsink_test

import (
	"errors"
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

// Changed is as good as deleted: what is refused is not what was accepted, and its writer has that.
func TestWhatIsChangedBeforeItHasAPlaceIsSentAgain(t *testing.T) {
	url, k := database(t), newKey(t)
	told := make(chan error, 100)
	sink := open(t, logins(t, url)["writer"], &pgsink.Options{OnError: func(err error) { told <- err }})
	records := sinktest.Records(3)
	require.NoError(t, sink.Append(t.Context(), records))
	tamper(t, url, `UPDATE jobaudit.inbox SET lines[3] = lines[3] || ' '`, 0)
	run(t, url, k.options())
	require.NoError(t, sink.Sequenced(t.Context()))
	require.ErrorContains(t, <-told, "1 accepted events were gone from the database and were sent again")
	require.ElementsMatch(t, idsOf(records), read(t, open(t, url, nil), jobaudit.Query{}))
	_, err := pgsink.Verify(t.Context(), url, &pgsink.VerifyOptions{Keys: []note.Verifier{k.Verifier}})
	require.Equal(t, []auditlog.Kind{pgsink.KindRefused}, kinds(err), "that it was changed stays to be seen")
}

// Where nobody keeps it, it is lost, and another event under its ID in refused hides that not.
func TestAChangedEventWhoseWriterIsGoneIsLost(t *testing.T) {
	url, k := database(t), newKey(t)
	sink := open(t, url, nil)
	records := sinktest.Records(1)
	require.NoError(t, sink.Append(t.Context(), records))
	require.NoError(t, sink.Close())
	tamper(t, url, `UPDATE jobaudit.inbox SET lines[1] = lines[1] || ' '`, 0)
	other := open(t, url, nil)
	require.NoError(t, other.Append(t.Context(), sinktest.Records(1)))
	run(t, url, k.options())
	require.NoError(t, other.Sequenced(t.Context()))
	_, err := verify(url, k)
	require.Contains(t, kinds(err), pgsink.KindLost)
}

// A record of which this program knows more than the sequencer's, or less, is no event there.
func TestWhoStoredAnEventThatIsRefusedIsTold(t *testing.T) {
	url, k := database(t), newKey(t)
	told := make(chan error, 100)
	sink, other := open(t, url, &pgsink.Options{OnError: func(err error) { told <- err }}), open(t, url, nil)
	records := sinktest.Records(1)
	require.NoError(t, sink.Append(t.Context(), records))
	tamper(t, url, `INSERT INTO jobaudit.refused (n, position, id, line, writer, reason) SELECT n, 0, ids[1], lines[1], 'w', 'no event' FROM jobaudit.inbox;
		DELETE FROM jobaudit.inbox`, 0)
	run(t, url, k.options())
	require.NoError(t, other.Sequenced(t.Context()), "it has none of it")
	for range 2 { // it stays so
		err := sink.Sequenced(t.Context())
		require.ErrorIs(t, err, pgsink.ErrRefused)
		require.ErrorContains(t, err, uuid.UUID(records[0].ID()).String())
	}
	require.ErrorIs(t, <-told, pgsink.ErrRefused)
	require.Empty(t, told)
}

// What was refused by a sequencer that knew less, and waits again, is none of both.
func TestAnEventThatWasRefusedAndGetsItsPlaceAfterAllIsNotRefused(t *testing.T) {
	const refuse = `INSERT INTO jobaudit.refused (n, position, id, line, writer, reason) SELECT n, 0, ids[1], lines[1], 'w', 'no event' FROM jobaudit.inbox;`
	t.Run("which waits again before its writer looks", func(t *testing.T) {
		t.Parallel()
		url, k := database(t), newKey(t)
		sink := open(t, url, nil)
		records := sinktest.Records(1)
		require.NoError(t, sink.Append(t.Context(), records))
		tamper(t, url, refuse, 0)
		var refused, missing []uuid.UUID
		conn, err := pgx.Connect(t.Context(), url)
		require.NoError(t, err)
		defer conn.Close(t.Context())
		require.NoError(t, conn.QueryRow(t.Context(), `SELECT refused, missing FROM jobaudit.settled_v1($1)`, []uuid.UUID{uuid.UUID(records[0].ID())}).Scan(&refused, &missing))
		require.Empty(t, refused)
		require.Empty(t, missing)
		run(t, url, k.options())
		require.NoError(t, sink.Sequenced(t.Context()))
	})
	t.Run("which its writer was told of", func(t *testing.T) {
		t.Parallel()
		url, k := database(t), newKey(t)
		sink, other := open(t, url, nil), open(t, url, nil)
		records := sinktest.Records(1)
		require.NoError(t, sink.Append(t.Context(), records))
		tamper(t, url, refuse+`CREATE TABLE saved AS SELECT * FROM jobaudit.inbox; DELETE FROM jobaudit.inbox`, 0)
		run(t, url, k.options())
		require.NoError(t, other.Sequenced(t.Context()))
		require.ErrorIs(t, sink.Sequenced(t.Context()), pgsink.ErrRefused)
		tamper(t, url, `INSERT INTO jobaudit.inbox (ids, keys, lines) SELECT ids, keys, lines FROM saved`, 0)
		require.NoError(t, sink.Sequenced(t.Context()))
	})
}

// kinds are those of what Verify found.
func kinds(err error) (kinds []auditlog.Kind) {
	found, _ := errors.AsType[*pgsink.VerifyError](err)
	if found == nil {
		return nil
	}
	for _, f := range found.Findings {
		kinds = append(kinds, f.Kind)
	}
	return kinds
}
