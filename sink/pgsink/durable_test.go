package pgsink_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/tools/pgserver"
	"github.com/jobaudit/jobaudit/sink/pgsink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
)

// hooked is an anchor whose Put does something more.
type hooked struct {
	mem
	put func(auditlog.Head) error
}

func (h *hooked) Put(ctx context.Context, c auditlog.Checkpoint) error {
	if err := h.mem.Put(ctx, c); err != nil {
		return err
	}
	return h.put(c.Head())
}

// committed returns the size of the newest commit.
func committed(t *testing.T, url string) (size int64) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	require.NoError(t, conn.QueryRow(t.Context(), `SELECT coalesce(max(size), 0) FROM jobaudit.commits`).Scan(&size))
	return size
}

// A session that does not wait for the disk may be the default of a database. A head that
// a crash took back would be signed again, with another root.
func TestAHeadIsAnchoredWhenACrashCannotTakeItBack(t *testing.T) {
	t.Parallel()
	needsServer(t)
	s, err := pgserver.Start(context.WithoutCancel(t.Context()), "fsync=on", "full_page_writes=on", "synchronous_commit=off", "wal_writer_delay=10s")
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Stop() })
	require.NoError(t, makeTemplate(s))
	url, k := s.URL("prepared"), newKey(t)
	crashed := make(chan error, 1)
	anchor := &hooked{put: func(auditlog.Head) error {
		err := s.Crash(context.Background())
		select {
		case crashed <- err:
		default:
		}
		return nil
	}}
	opts := k.options()
	opts.Anchor = anchor
	sink := open(t, url, &pgsink.Options{OnError: func(error) {}})
	require.NoError(t, sink.Append(t.Context(), sinktest.Records(3)))
	stop := run(t, url, opts)
	require.NoError(t, <-crashed)
	stop()
	signed, err := anchor.Latest(t.Context())
	require.NoError(t, err)
	head, err := auditlog.OpenCheckpoint(signed, k.Verifier)
	require.NoError(t, err)
	require.Equal(t, head.Head().Size, committed(t, url))
}

// A head that another process has committed, in a session that did not wait for the
// disk, is made durable before it is anchored.
func TestAHeadOfAnotherProcessIsMadeDurableBeforeItIsAnchored(t *testing.T) {
	t.Parallel()
	needsServer(t)
	s, err := pgserver.Start(context.WithoutCancel(t.Context()), "fsync=on", "full_page_writes=on", "synchronous_commit=off", "wal_writer_delay=10s")
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Stop() })
	require.NoError(t, makeTemplate(s))
	url, k := s.URL("prepared"), newKey(t)
	written(t, url, k)
	size := committed(t, url)
	// As one that did not wait: the newest commit is taken out and put in again.
	execute(t, url, `CREATE TABLE kept AS SELECT * FROM jobaudit.commits ORDER BY size DESC LIMIT 1`)
	tamper(t, url, `SET synchronous_commit = on; DELETE FROM jobaudit.commits WHERE size = $i; DELETE FROM jobaudit.inbox`, int(size))
	tamper(t, url, `INSERT INTO jobaudit.commits SELECT * FROM kept`, 0)
	crashed := make(chan error, 1)
	opts := k.options()
	opts.Anchor = &hooked{put: func(auditlog.Head) error {
		err := s.Crash(context.Background())
		select {
		case crashed <- err:
		default:
		}
		return nil
	}}
	stop := run(t, url, opts)
	require.NoError(t, <-crashed)
	stop()
	require.Equal(t, size, committed(t, url))
}

// Two that put heads at the same time could move the anchor back.
func TestOnlyTheLeaderPutsHeadsToTheAnchor(t *testing.T) {
	url, k := database(t), newKey(t)
	var free, back int
	var last int64
	anchor := &hooked{}
	anchor.put = func(h auditlog.Head) error {
		conn, err := pgx.Connect(context.Background(), url)
		if err != nil {
			return err
		}
		defer conn.Close(context.Background())
		tag, err := conn.Exec(context.Background(), `SELECT FROM jobaudit.lead FOR UPDATE SKIP LOCKED`)
		free += int(tag.RowsAffected())
		if h.Size < last {
			back++
		}
		last = h.Size
		return err
	}
	opts := k.options()
	opts.Anchor = anchor
	sink := open(t, url, nil)
	for range 3 {
		require.NoError(t, sink.Append(t.Context(), sinktest.Records(2)))
		stop := run(t, url, opts)
		require.NoError(t, sink.Sequenced(t.Context()))
		stop()
	}
	require.EqualValues(t, 6, last)
	require.Zero(t, free, "somebody else could lead while a head was put")
	require.Zero(t, back)
}

// A leader that hangs loses the lock, behind a pooler too, where the session is not its own.
func TestALeaderThatHangsBehindAPoolerIsRemoved(t *testing.T) {
	t.Parallel()
	url, k := database(t), newKey(t)
	sink := open(t, url, nil)
	require.NoError(t, sink.Append(t.Context(), sinktest.Records(2)))
	hangs, end := make(chan struct{}), make(chan struct{})
	first := true
	hung, err := pgsink.NewSequencer(url, pgsink.LeadingFor(2*time.Second, pgsink.AtSteps(func(at string) error {
		if at == "read" && first {
			first = false
			close(hangs)
			<-end
		}
		return nil
	}, k.options())), &pgsink.Options{Pooled: true, OnError: func(error) {}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- hung.Run(ctx) }()
	<-hangs
	run(t, url, k.options())
	require.NoError(t, sink.Sequenced(t.Context()))
	cancel()
	close(end)
	<-done
	verified(t, url, k)
}

// The commit of a head whose wait for the standby somebody cancels is here, and perhaps not
// there: after a failover another head of that size could be signed. So it is reported, and no
// anchor has it before a standby does.
func TestAHeadWhoseWaitForTheStandbyWasCancelledIsNotAnchored(t *testing.T) {
	t.Parallel()
	needsServer(t)
	s, err := pgserver.Start(context.WithoutCancel(t.Context()))
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Stop() })
	require.NoError(t, makeTemplate(s))
	url, k := s.URL("prepared"), newKey(t)
	sink := open(t, url, &pgsink.Options{OnError: func(error) {}})
	require.NoError(t, sink.Append(t.Context(), sinktest.Records(3)))
	awaitNobody(t, url)

	anchored := make(chan auditlog.Head, 10)
	opts := k.options()
	opts.Anchor = &hooked{put: func(h auditlog.Head) error { anchored <- h; return nil }}
	reported := make(chan error, 100)
	sequencer, err := pgsink.NewSequencer(url, opts, &pgsink.Options{OnError: func(err error) { reported <- err }})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- sequencer.Run(ctx) }()
	complained := func() error {
		select {
		case err := <-reported:
			return err
		case h := <-anchored:
			require.FailNow(t, "a head is anchored that no standby has", "%v", h)
			return nil
		}
	}
	cancelWaiting(t, url)
	require.ErrorContains(t, complained(), "the wait for the synchronous standby was cancelled")
	require.EqualValues(t, 3, committed(t, url), "it is committed here")
	cancelWaiting(t, url) // what makes it certain, before it is anchored
	require.ErrorContains(t, complained(), "the wait for the synchronous standby was cancelled")
	require.Empty(t, anchored)

	execute(t, url, `ALTER SYSTEM RESET synchronous_standby_names`)
	execute(t, url, `SELECT pg_reload_conf()`)
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	require.EqualValues(t, 3, (<-anchored).Size, "it is anchored once it is certain")
}

// Nor is an Append that was cancelled there a success.
func TestAnAppendWhoseWaitForTheStandbyWasCancelledIsNoSuccess(t *testing.T) {
	t.Parallel()
	needsServer(t)
	s, err := pgserver.Start(context.WithoutCancel(t.Context()))
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Stop() })
	require.NoError(t, makeTemplate(s))
	url := s.URL("prepared")
	awaitNobody(t, url)
	for _, pooled := range []bool{false, true} {
		sink := open(t, url, &pgsink.Options{Pooled: pooled, Timeout: time.Hour, OnError: func(error) {}})
		records := sinktest.Records(2)
		for range 2 { // a retry that finds the records stored waits for the standby too
			done := make(chan error, 1)
			go func() { done <- sink.Append(context.Background(), records) }()
			cancelWaiting(t, url)
			require.ErrorContains(t, <-done, "the wait for the synchronous standby was cancelled")
		}
	}
	execute(t, url, `ALTER SYSTEM RESET synchronous_standby_names`)
	execute(t, url, `SELECT pg_reload_conf()`)
}

// awaitNobody has the server wait for a standby that never comes, and sends its users no
// warnings.
func awaitNobody(t *testing.T, url string) {
	t.Helper()
	execute(t, url, `ALTER ROLE CURRENT_USER SET client_min_messages = 'error'`)
	execute(t, url, `ALTER SYSTEM SET synchronous_standby_names = 'nobody'`)
	execute(t, url, `SELECT pg_reload_conf()`)
	awaitSetting(t, url, "nobody")
}

// awaitSetting waits until the server has this for synchronous_standby_names.
func awaitSetting(t *testing.T, url, value string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	for now := ""; now != value; {
		require.NoError(t, conn.QueryRow(t.Context(), `SHOW synchronous_standby_names`).Scan(&now))
	}
}
