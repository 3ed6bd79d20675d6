package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/jobaudit/jobaudit/internal/tools/pgserver"
	"github.com/jobaudit/jobaudit/sink/pgsink"
)

// logins are the processes' users. Nobody but the sequencer can write to the
// log's tables; web and worker can only add events, and the keeper reads them.
const logins = `
	CREATE TABLE orders (what text PRIMARY KEY);
	CREATE ROLE web LOGIN IN ROLE jobaudit_writer;
	CREATE ROLE worker LOGIN IN ROLE jobaudit_writer, jobaudit_reader;
	CREATE ROLE keeper LOGIN IN ROLE jobaudit_writer, jobaudit_reader;
	CREATE ROLE sequencer LOGIN IN ROLE jobaudit_sequencer;
	GRANT ALL ON ALL TABLES IN SCHEMA public TO web, worker, keeper;
	GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO web, worker, keeper;`

// prepare makes River's tables, the log's and the logins, and returns the URL of
// each login.
func prepare(ctx context.Context, server *pgserver.Server) (map[string]string, error) {
	pool, err := pgxpool.New(ctx, server.URL("postgres"))
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, err
	}
	err = pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error { return pgsink.Migrate(ctx, conn.Conn(), nil) })
	if err != nil {
		return nil, err
	}
	if _, err := pool.Exec(ctx, logins); err != nil {
		return nil, err
	}
	config, err := pgx.ParseConfig(server.URL("postgres"))
	if err != nil {
		return nil, err
	}
	urls := make(map[string]string)
	for _, user := range []string{"web", "worker", "keeper", "sequencer"} {
		urls[user] = "postgres://" + user + "@/postgres?host=" + config.Host
	}
	return urls, nil
}

// forgetLeader has River's next worker lead at once, so that nobody has to wait: a leader
// that was killed counts as one for 15 s more.
func forgetLeader(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, `DELETE FROM river_leader`)
	return errors.Join(err, conn.Close(ctx))
}
