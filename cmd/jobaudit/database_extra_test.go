package main_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/pgserver"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/pgsink"
)

// Writer, sequencer and probe behind a pooler that gives each transaction another
// connection; and a loss that the verifier knows of, after a restore.
func TestExtraASequencerBehindAPoolerAndALossThatIsAccepted(t *testing.T) {
	size.Extra(t)
	server, err := pgserver.Start(context.WithoutCancel(t.Context()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	pooled, stopPooler, err := server.Pooler(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, stopPooler()) })
	config, err := pgx.ParseConfig(pooled("postgres"))
	require.NoError(t, err)
	direct := "postgres://postgres@/postgres?host=" + config.Host
	behind := direct + "&port=6432"
	require.Zero(t, run(t, "migrate", direct).code)

	base := t.TempDir()
	key, next, anchor := filepath.Join(base, "key"), filepath.Join(base, "next"), filepath.Join(base, "anchor")
	public := strings.TrimSpace(run(t, "key", key, "--create", "example.com/jobs").out)
	nextPublic := strings.TrimSpace(run(t, "key", next, "--create", "example.com/jobs/s2").out)
	sink, err := pgsink.Open(t.Context(), behind, &pgsink.Options{Pooled: true})
	require.NoError(t, err)
	recorder, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "indexer", Environment: "test"}, nil)
	require.NoError(t, err)
	l := &aLog{key: key, dir: direct, recorder: recorder}
	stop := sequencer(t, behind, key, "--pooled", "--anchor", anchor)
	for range 5 {
		l.job(t, t.Context(), "reindex", func(context.Context, *jobaudit.Trail) error { return nil })
		require.NoError(t, sink.Sequenced(t.Context()))
	}
	require.Zero(t, run(t, "sequence", behind, "--pooled", "--probe").code)
	stop()
	c, v := l.verify(t, "--key", public, "--anchor", anchor)
	require.Zero(t, c.code, "%s%s", c.out, c.err)
	require.Equal(t, "L2", v.Level)

	execute(t, direct, `SET session_replication_role = replica; CREATE TEMP TABLE cut AS SELECT prev AS size FROM jobaudit.commits ORDER BY size DESC LIMIT 1;
		DELETE FROM jobaudit.ids WHERE id IN (SELECT id FROM jobaudit.events WHERE idx >= (SELECT size FROM cut));
		DELETE FROM jobaudit.sequence WHERE idx >= (SELECT size FROM cut); DELETE FROM jobaudit.events WHERE idx >= (SELECT size FROM cut);
		DELETE FROM jobaudit.commits WHERE size > (SELECT size FROM cut)`)
	c, _ = l.verify(t, "--key", public, "--anchor", anchor, "--accept-loss", anchor)
	require.Equal(t, 1, c.code, "no successor goes on")
	stop = sequencer(t, behind, next, "--pooled", "--predecessor", public)
	l.job(t, t.Context(), "reindex", func(context.Context, *jobaudit.Trail) error { return nil })
	require.NoError(t, sink.Sequenced(t.Context()))
	stop()
	both := []string{"--key", public, "--key", nextPublic, "--anchor", anchor}
	c, _ = l.verify(t, both...)
	require.Equal(t, 1, c.code, "it stays a finding for those who do not list it")
	c, v = l.verify(t, append(both, "--accept-loss", anchor)...)
	require.Zero(t, c.code, "%s%s", c.out, c.err)
	require.Equal(t, "L1", v.Level)
	require.NoError(t, recorder.Close(t.Context()))
	require.NoError(t, sink.Close())
	require.NoError(t, os.Remove(anchor))
}
