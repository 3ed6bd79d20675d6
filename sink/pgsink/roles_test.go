package pgsink_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/pgsink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
)

// logins makes one login for each role and returns their connection strings.
func logins(t *testing.T, url string) map[string]string {
	t.Helper()
	urls := make(map[string]string)
	for _, role := range []string{"writer", "sequencer", "reader"} {
		execute(t, url, `DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'test_`+role+`') THEN
			CREATE ROLE test_`+role+` LOGIN IN ROLE jobaudit_`+role+`; END IF; END $$`)
		urls[role] = url + " user=test_" + role
	}
	return urls
}

func TestEachRoleCanDoItsWork(t *testing.T) {
	url, k := database(t), newKey(t)
	users := logins(t, url)
	writer, reader := open(t, users["writer"], nil), open(t, users["reader"], nil)
	records := sinktest.Records(3)
	require.NoError(t, writer.Append(t.Context(), records[:2]))
	require.NoError(t, writer.Append(t.Context(), records), "some of them again")
	require.Equal(t, idsOf(records), read(t, reader, jobaudit.Query{}))
	run(t, users["sequencer"], k.options())
	require.NoError(t, reader.Sequenced(t.Context()))
	require.Equal(t, idsOf(records), read(t, reader, jobaudit.Query{}))
	verified(t, users["reader"], k)
}

// A role has exactly what its work needs.
func TestNoRoleCanChangeOrForgetAnything(t *testing.T) {
	url, k, _ := writtenLog(t)
	users := logins(t, url)
	tables := []string{"migrations", "ids", "inbox", "events", "acting", "sequence", "commits", "hashes", "refused", "lead", "events_00000", "events_rest"}
	denied := func(user, url, sql string) {
		t.Helper()
		if user == "sequencer" && sql == `DELETE FROM jobaudit.inbox` {
			return // that is its work
		}
		err := execOn(t.Context(), url, sql)
		var pg *pgconn.PgError
		require.ErrorAs(t, err, &pg, "%s: %s", user, sql)
		require.Equal(t, "42501", pg.Code, "%s: %s: %v", user, sql, err)
	}
	columns := map[string]string{"migrations": "version", "ids": "id", "inbox": "keys", "acting": "idx", "sequence": "idx", "commits": "size",
		"hashes": "first", "refused": "n", "lead": "one", "events": "idx", "events_00000": "idx", "events_rest": "idx"}
	for _, table := range tables {
		name, column := "jobaudit."+table, columns[table]
		for user, url := range users {
			denied(user, url, `DELETE FROM `+name)
			denied(user, url, `TRUNCATE `+name)
			denied(user, url, `UPDATE `+name+` SET `+column+` = `+column)
			denied(user, url, `ALTER TABLE `+name+` DISABLE TRIGGER ALL`)
			denied(user, url, `DROP TABLE `+name)
		}
		denied("writer", users["writer"], `SELECT * FROM `+name)
		for _, user := range []string{"writer", "reader"} {
			denied(user, users[user], `INSERT INTO `+name+` DEFAULT VALUES`)
		}
		// The owner and a superuser meet the triggers.
		if table != "events_rest" { // which is empty
			require.Error(t, execOn(t.Context(), url, `TRUNCATE `+name+` CASCADE`))
		}
	}
	for _, table := range []string{"migrations", "ids", "events", "sequence", "commits", "hashes", "lead", "events_00000"} {
		require.ErrorContains(t, execOn(t.Context(), url, `DELETE FROM jobaudit.`+table), "the log only grows")
		require.ErrorContains(t, execOn(t.Context(), url, `UPDATE jobaudit.`+table+` SET `+columns[table]+` = `+columns[table]), "the log only grows")
	}
	require.ErrorContains(t, execOn(t.Context(), url, `UPDATE jobaudit.inbox SET keys = keys`), "the log only grows")
	denied("sequencer", users["sequencer"], `INSERT INTO jobaudit.ids VALUES (gen_random_uuid(), sha256('x'))`)
	denied("sequencer", users["sequencer"], `SELECT jobaudit.append_v1(ARRAY[gen_random_uuid()], ARRAY['x'::bytea], ARRAY[0], '{}')`)
	denied("reader", users["reader"], `SELECT jobaudit.append_v1(ARRAY[gen_random_uuid()], ARRAY['x'::bytea], ARRAY[0], '{}')`)
	denied("reader", users["reader"], `SELECT jobaudit.partition_v1(3)`)
	verified(t, url, k)
}

func TestAppendRefusesWhatBreaksItsLimits(t *testing.T) {
	url := database(t)
	for name, call := range map[string]string{
		"no events":            `'{}', '{}', '{}', '{}'`,
		"null":                 `NULL, NULL, NULL, NULL`,
		"the zero ID":          `ARRAY['00000000-0000-0000-0000-000000000000'::uuid], ARRAY['x'::bytea], ARRAY[0], '{}'`,
		"null inside":          `ARRAY[gen_random_uuid()], ARRAY[NULL::bytea], ARRAY[0], '{}'`,
		"an ID missing":        `ARRAY[NULL::uuid], ARRAY['x'::bytea], ARRAY[0], '{}'`,
		"a line missing":       `ARRAY[gen_random_uuid(), gen_random_uuid()], ARRAY['x'::bytea], ARRAY[0, 1], '{}'`,
		"an empty line":        `ARRAY[gen_random_uuid()], ARRAY[''::bytea], ARRAY[0], '{}'`,
		"a long line":          `ARRAY[gen_random_uuid()], ARRAY[convert_to(repeat('x', 65536), 'UTF8')], ARRAY[0], '{}'`,
		"too many events":      `(SELECT array_agg(gen_random_uuid()) FROM generate_series(1, 16385)), (SELECT array_agg('x'::bytea) FROM generate_series(1, 16385)), (SELECT array_agg(i) FROM generate_series(1, 16385) i), '{}'`,
		"too many keys":        `ARRAY[gen_random_uuid()], ARRAY['x'::bytea], ARRAY[0], (SELECT array_agg(gen_random_uuid()) FROM generate_series(1, 4))`,
		"the same event twice": `ARRAY['00000000-0000-7000-8000-000000000001'::uuid, '00000000-0000-7000-8000-000000000001'], ARRAY['x'::bytea, 'x'], ARRAY[0, 1], '{}'`,
		"the same ID twice":    `ARRAY['00000000-0000-7000-8000-000000000001'::uuid, '00000000-0000-7000-8000-000000000001'], ARRAY['x'::bytea, 'y'], ARRAY[0, 1], '{}'`,
	} {
		require.Error(t, execOn(t.Context(), url, `SELECT jobaudit.append_v1(`+call+`)`), name)
	}
	require.Empty(t, read(t, open(t, url, nil), jobaudit.Query{}))
}

func TestManyProcessesMigrateAtOnce(t *testing.T) {
	s := server(t)
	require.NoError(t, execOn(t.Context(), s.URL("postgres"), `CREATE DATABASE unprepared ENCODING 'UTF8' TEMPLATE template0`))
	url := s.URL("unprepared")
	_, err := pgsink.Open(t.Context(), url, nil)
	require.ErrorContains(t, err, "jobaudit migrate")
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() {
			conn, err := pgx.Connect(context.Background(), url)
			if err != nil {
				errs[i] = err
				return
			}
			errs[i] = errors.Join(pgsink.Migrate(context.Background(), conn, nil), conn.Close(context.Background()))
		})
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	sink := open(t, url, nil)
	require.NoError(t, sink.Append(t.Context(), sinktest.Records(1)))
}

func TestTheSQLForAnAdministratorDoesWhatMigrateDoes(t *testing.T) {
	s := server(t)
	require.NoError(t, execOn(t.Context(), s.URL("postgres"), `CREATE DATABASE by_hand ENCODING 'UTF8' TEMPLATE template0`))
	conn, err := pgx.Connect(t.Context(), s.URL("by_hand"))
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), pgsink.MigrationSQL(&pgsink.MigrateOptions{RolePrefix: `o"dd`}))
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))
	sink := open(t, s.URL("by_hand"), nil)
	require.NoError(t, sink.Append(t.Context(), sinktest.Records(1)))
}

func TestADatabaseOfAnotherEncodingIsRefused(t *testing.T) {
	s := server(t)
	require.NoError(t, execOn(t.Context(), s.URL("postgres"), `CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'`))
	conn, err := pgx.Connect(t.Context(), s.URL("latin"))
	require.NoError(t, err)
	defer conn.Close(t.Context())
	require.ErrorContains(t, pgsink.Migrate(t.Context(), conn, nil), "UTF8")
}

// Somebody who has the sequencer's password can take a number to come. The log stops there,
// accepts on, says where, and goes on when a superuser has taken the row out: docs/postgresql.md.
func TestARowUnderANumberToComeStopsTheLogAndNothingElse(t *testing.T) {
	for table, sql := range map[string]string{
		"refused":  `INSERT INTO jobaudit.refused (n, position, id, line, writer, reason) SELECT n, 0, gen_random_uuid(), 'x', 'w', 'r' FROM generate_series(1, 30) n`,
		"events":   `INSERT INTO jobaudit.events (idx, id, writer, line, type, time) VALUES (41, gen_random_uuid(), 'w', 'x', 't', now())`,
		"acting":   `INSERT INTO jobaudit.acting (principal, idx) SELECT 'svc', n FROM generate_series(40, 60) n`,
		"sequence": `INSERT INTO jobaudit.sequence SELECT unnest(ids), 41 FROM jobaudit.inbox`,
		"commits":  `INSERT INTO jobaudit.commits (size, prev, line) VALUES (41, 40, 'x')`,
	} {
		t.Run(table, func(t *testing.T) {
			url, k, _ := writtenLog(t)
			users := logins(t, url)
			execute(t, users["sequencer"], sql)
			sink := open(t, users["writer"], nil)
			// No event: what is in its row is refused.
			execute(t, users["writer"], `SELECT jobaudit.append_v1(ARRAY[gen_random_uuid()], ARRAY['x'::bytea], ARRAY[0], '{}')`)
			records := sinktest.Records(3)
			line, _ := fields["acting for"](string(records[0].Bytes()), `"svc"`)
			require.Contains(t, line, "svc")
			var err error
			records[0], err = jobaudit.ParseRecord([]byte(line))
			require.NoError(t, err)
			require.NoError(t, sink.Append(t.Context(), records), "it accepts on")
			errs := make(chan error, 10)
			s, err := pgsink.NewSequencer(users["sequencer"], k.options(), &pgsink.Options{OnError: func(err error) { errs <- err }})
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(context.Background())
			var wg sync.WaitGroup
			wg.Go(func() { _ = s.Run(ctx) })
			defer wg.Wait()
			defer cancel()
			if table != "sequence" { // these are refused a place, which Verify reports
				require.ErrorContains(t, complaint(t, sink, errs), map[string]string{"refused": "refused_pkey", "acting": "acting_pkey", "events": "_pkey", "commits": "the newest commit"}[table])
			}
			_, err = verify(url, k)
			require.ErrorAs(t, err, new(*pgsink.VerifyError))
			tamper(t, url, map[string]string{
				"refused":  `DELETE FROM jobaudit.refused WHERE writer = 'w' AND reason = 'r'`,
				"events":   `DELETE FROM jobaudit.events WHERE idx = 41 AND line = 'x'`,
				"commits":  `DELETE FROM jobaudit.commits WHERE size = 41`,
				"acting":   `DELETE FROM jobaudit.acting WHERE principal = 'svc'`,
				"sequence": `SELECT`,
			}[table], 0)
			require.NoError(t, sink.Sequenced(t.Context()))
		})
	}
}
