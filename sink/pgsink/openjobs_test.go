package pgsink_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/pgsink"
	"github.com/jobaudit/jobaudit/watchdog"
	"github.com/stretchr/testify/require"
)

var _ watchdog.OpenJobs = (*pgsink.Sink)(nil)

// lifeStories has the recorder write n steps of jobs that begin, go on and end, mixed
// with each other.
type lifeStories struct {
	random   *rand.Rand
	recorder *jobaudit.Recorder
	trails   []*jobaudit.Trail
}

func (l *lifeStories) step(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	if len(l.trails) == 0 || l.random.IntN(4) == 0 {
		trail, err := l.recorder.Submit(ctx, jobaudit.Submission{
			ID: uuid.Must(uuid.NewV7()), Action: "ship-order", Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada"},
			Trigger: jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "order placed"},
		})
		require.NoError(t, err)
		l.trails = append(l.trails, trail)
		return
	}
	trail := l.trails[l.random.IntN(len(l.trails))]
	switch l.random.IntN(9) {
	case 0, 1, 2:
		_ = trail.Start(ctx, jobaudit.Execution{})
	case 3:
		_ = trail.Succeed(ctx)
	case 4:
		_ = trail.Fail(ctx, errors.New("it is broken"))
	case 5:
		trail.Retrying(ctx, errors.New("not yet"))
	case 6:
		trail.Log(ctx, "a line")
	default: // another worker starts it again
		if again, err := l.recorder.Resume(ctx, trail.Carrier(), nil); err == nil {
			_ = again.Start(ctx, jobaudit.Execution{})
		}
	}
}

// openOf lists what a log says is open, as texts.
func openOf(t *testing.T, log watchdog.OpenJobs) (list []string) {
	t.Helper()
	for r, err := range log.OpenJobs(t.Context()) {
		list = append(list, fmt.Sprintf("%v %v", r, err))
	}
	return list
}

// sameAsFiles requires that the jobs of the database that are open are those of a file log
// of the same records.
func sameAsFiles(t *testing.T, sink *pgsink.Sink) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "log")
	key, err := filesink.LoadOrCreateKey(dir, dir+".key", origin)
	require.NoError(t, err)
	file, err := filesink.Open(t.Context(), dir, key, &filesink.Options{OnError: func(error) {}})
	require.NoError(t, err)
	var records []jobaudit.Record
	for r, err := range sink.Records(t.Context(), jobaudit.Query{}) {
		require.NoError(t, err)
		records = append(records, r)
	}
	require.NoError(t, file.Append(t.Context(), records))
	require.Equal(t, openOf(t, file), openOf(t, sink))
	require.NoError(t, file.Close())
}

func TestOpenJobsAreThoseOfAFileLog(t *testing.T) {
	url, k := database(t), newKey(t)
	sink := open(t, url, nil)
	require.Empty(t, openOf(t, sink))
	recorder, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "test", Environment: "test"},
		&jobaudit.Options{OnError: func(context.Context, *jobaudit.AuditError) {}}) // what is not possible any more
	require.NoError(t, err)
	stories := &lifeStories{random: rand.New(rand.NewPCG(4, 4)), recorder: recorder}
	for range 6 {
		for range 40 {
			stories.step(t)
		}
		for _, trail := range stories.trails { // what is told in the background
			require.NoError(t, trail.Flush(t.Context()))
		}
		sameAsFiles(t, sink) // of which some have their places, and the rest waits
		stop := run(t, url, k.options())
		require.NoError(t, sink.Sequenced(t.Context()))
		stop()
		sameAsFiles(t, sink)
		require.Equal(t, openOf(t, open(t, url, nil)), openOf(t, sink), "one that begins")
	}
	require.NotEmpty(t, openOf(t, sink))
	require.NoError(t, recorder.Close(t.Context()))
}

// A database that was put back to an earlier state holds another log, of which
// nothing that was known counts.
func TestOpenJobsOfARestoredDatabaseAreReadAgain(t *testing.T) {
	url, _, _ := writtenLog(t)
	sink := open(t, url, nil)
	before := openOf(t, sink)
	tamper(t, url, `DELETE FROM jobaudit.events WHERE idx >= 22`, 0)
	after := openOf(t, sink)
	require.NotEqual(t, before, after)
	require.Equal(t, openOf(t, open(t, url, nil)), after)
	tamper(t, url, `UPDATE jobaudit.events SET line = 'no event' WHERE idx = (SELECT max(idx) FROM jobaudit.events)`, 0)
	require.Equal(t, openOf(t, open(t, url, nil)), openOf(t, sink))
	tamper(t, url, `DELETE FROM jobaudit.events`, 0)
	require.Equal(t, openOf(t, open(t, url, nil)), openOf(t, sink))
}

// After a failover that took cycles back, events have other places, and the last
// may have its own again: what was known of a place is compared with what is there.
func TestOpenJobsOfALogThatWasSequencedInAnotherOrderAreReadAgain(t *testing.T) {
	url, k := database(t), newKey(t)
	sink := open(t, url, nil)
	recorder, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "test", Environment: "test"}, nil)
	require.NoError(t, err)
	var trails []*jobaudit.Trail
	for range 3 {
		trail, err := recorder.Submit(t.Context(), jobaudit.Submission{
			ID: uuid.Must(uuid.NewV7()), Action: "ship-order", Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada"},
			Trigger: jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "order placed"},
		})
		require.NoError(t, err)
		trails = append(trails, trail)
	}
	require.NoError(t, trails[1].Start(t.Context(), jobaudit.Execution{}))
	require.NoError(t, trails[1].Succeed(t.Context()))
	require.NoError(t, trails[2].Start(t.Context(), jobaudit.Execution{}))
	run(t, url, k.options())
	require.NoError(t, sink.Sequenced(t.Context()))
	before := openOf(t, sink)
	require.NotEmpty(t, before)
	tamper(t, url, `UPDATE jobaudit.events a SET line = b.line, type = b.type FROM jobaudit.events b
		WHERE a.idx < (SELECT max(idx) FROM jobaudit.events) AND b.idx = (SELECT max(idx) FROM jobaudit.events) - 1 - a.idx`, 0)
	after := openOf(t, sink)
	require.Equal(t, openOf(t, open(t, url, nil)), after)
	require.NotEqual(t, before, after)
	require.NoError(t, recorder.Close(t.Context()))
}

// A call waits for another one no longer than its context lets it.
func TestOpenJobsEndsWithItsContextWhileAnotherCallReads(t *testing.T) {
	url := database(t)
	sink := open(t, url, nil)
	tx := begin(t, url, pgx.ReadCommitted)
	_, err := tx.Exec(t.Context(), `LOCK TABLE jobaudit.events`)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		for _, err := range sink.OpenJobs(context.Background()) {
			done <- err
			return
		}
		done <- nil
	}()
	awaitBlocked(t, url)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range sink.OpenJobs(ctx) {
		require.ErrorIs(t, err, context.Canceled)
	}
	require.NoError(t, tx.Rollback(t.Context()))
	require.NoError(t, <-done)
}

// awaitBlocked returns when somebody waits for the lock of the events.
func awaitBlocked(t *testing.T, url string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	for blocked := false; !blocked; {
		require.NoError(t, conn.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_locks
			WHERE NOT granted AND relation = 'jobaudit.events'::regclass AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))`).Scan(&blocked))
	}
}
