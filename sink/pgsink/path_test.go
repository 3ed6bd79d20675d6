package pgsink_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/pgsink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
)

// shadows makes functions, operators, types and views of PostgreSQL's names that raise an
// error where they are used: those of the same arguments, which count where their schema stands
// first in a path, and those of exact types beside functions of any type, which count also
// where it stands last.
const shadows = `
DO $do$
DECLARE f record; t text; n int; made int := 0;
BEGIN
	CREATE SCHEMA evil;
	GRANT USAGE ON SCHEMA evil TO PUBLIC;
	FOR f IN SELECT proname, pronargs, oidvectortypes(proargtypes) AS args,
		CASE WHEN proretset THEN 'SETOF ' ELSE '' END || format_type(prorettype, NULL) AS returns
		FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace
			AND proname NOT LIKE '%\_in' AND proname NOT LIKE 'RI\_%' AND proname NOT LIKE 'pg\_stat%' LOOP
		BEGIN
			EXECUTE format('CREATE FUNCTION evil.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L', f.proname, f.args, f.returns,
				format('BEGIN RAISE EXCEPTION ''shadow: the function %s was called''; END', f.proname));
			made := made + 1;
		EXCEPTION WHEN OTHERS THEN NULL; -- of a type that no function of ours can have
		END;
	END LOOP;
	FOREACH t IN ARRAY ARRAY['uuid', 'uuid[]', 'text', 'text[]', 'name', 'bytea', 'bytea[]', 'bigint', 'bigint[]', 'integer', 'integer[]', 'timestamptz', 'boolean'] LOOP
		FOR f IN SELECT * FROM (VALUES ('cardinality', '$', 'integer'), ('array_agg', '$', '$[]'), ('array_length', '$, integer', 'integer'), ('count', '$', 'bigint'),
				('max', '$', '$'), ('min', '$', '$'), ('format', 'text, $', 'text'), ('format', 'text, $, $', 'text'), ('format', 'text, $, $, $', 'text'),
				('unnest', '$', 'SETOF ' || replace(t, '[]', '')), ('lag', '$, integer, $', '$'), ('to_regclass', '$', 'regclass'),
				('pg_column_size', '$', 'integer'), ('coalesce', '$', '$'), ('array_to_string', '$, text', 'text')) v(name, args, returns) LOOP
			BEGIN
				EXECUTE format('CREATE FUNCTION evil.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L', f.name, replace(f.args, '$', t), replace(replace(f.returns, '$', t), '[][]', '[]'),
					format('BEGIN RAISE EXCEPTION ''shadow: the function %s was called''; END', f.name));
				made := made + 1;
			EXCEPTION WHEN OTHERS THEN NULL;
			END;
		END LOOP;
	END LOOP;
	FOR f IN SELECT oprname, format_type(oprleft, NULL) AS l, format_type(oprright, NULL) AS r, format_type(oprresult, NULL) AS returns, oid
		FROM pg_operator WHERE oprnamespace = 'pg_catalog'::regnamespace AND oprleft <> 0
		UNION ALL SELECT o, x, x, 'boolean', 0 FROM unnest(ARRAY['=', '<>', '&&', '@>']) o, unnest(ARRAY['uuid[]', 'text[]', 'bytea[]', 'bigint[]']) x LOOP
		BEGIN
			n := coalesce(n, 0) + 1;
			EXECUTE format('CREATE FUNCTION evil.op%s(%s, %s) RETURNS %s LANGUAGE plpgsql AS %L', n, f.l, f.r, f.returns,
				format('BEGIN RAISE EXCEPTION ''shadow: the operator %s of %s was called''; END', f.oprname, f.l));
			EXECUTE format('CREATE OPERATOR evil.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = evil.op%s)', f.oprname, f.l, f.r, n);
			made := made + 1;
		EXCEPTION WHEN OTHERS THEN NULL;
		END;
	END LOOP;
	IF made < 1500 THEN RAISE EXCEPTION 'only % shadows', made; END IF;
	FOREACH t IN ARRAY ARRAY['uuid', 'bytea', 'text', 'name', 'timestamptz', 'regclass', 'int4', 'int8', 'bool'] LOOP
		EXECUTE format('CREATE DOMAIN evil.%I AS pg_catalog.bool CHECK (value IS NULL)', t);
	END LOOP;
	FOREACH t IN ARRAY ARRAY['pg_class', 'pg_namespace', 'pg_proc', 'pg_trigger', 'pg_inherits', 'pg_attribute', 'pg_roles', 'pg_rewrite'] LOOP
		EXECUTE format('CREATE VIEW evil.%I AS SELECT 1 / (random() * 0) AS oid', t);
	END LOOP;
END $do$`

// shadowed makes a database without the tables whose users find the shadows before PostgreSQL's own.
func shadowed(t *testing.T, path string) string {
	t.Helper()
	s, name := server(t), fmt.Sprintf("d%d", databaseNo.Add(1))
	if err := execOn(t.Context(), s.URL("postgres"), `CREATE DATABASE shadowed ENCODING 'UTF8' TEMPLATE template0`); err == nil {
		require.NoError(t, execOn(t.Context(), s.URL("shadowed"), shadows))
	}
	require.NoError(t, execOn(t.Context(), s.URL("postgres"), `CREATE DATABASE `+name+` TEMPLATE shadowed`))
	require.NoError(t, execOn(t.Context(), s.URL("postgres"), `ALTER DATABASE `+name+` SET search_path = `+path))
	return s.URL(name)
}

// Who can create functions in a schema, or set the path of a database or a role, must not be
// called by the sequencer, by the auditor or by an administrator who migrates.
func TestNothingOfOursCallsWhatTheSearchPathFindsFirst(t *testing.T) {
	for name, c := range map[string]struct {
		path   string
		pooled bool
	}{
		"first":         {"evil, pg_catalog", false},
		"last":          {"pg_catalog, evil", false},
		"first, pooled": {"evil, pg_catalog", true},
		"last, pooled":  {"pg_catalog, evil", true},
	} {
		t.Run(name, func(t *testing.T) {
			url, k := shadowed(t, c.path), newKey(t)
			conn, err := pgx.Connect(t.Context(), url)
			require.NoError(t, err)
			if c.pooled {
				execute(t, url, pgsink.MigrationSQL(nil))
			} else {
				require.NoError(t, pgsink.Migrate(t.Context(), conn, nil))
			}
			require.NoError(t, pgsink.Migrate(t.Context(), conn, nil), "again")
			require.NoError(t, conn.Close(t.Context()))

			reported := make(chan error, 100)
			options := &pgsink.Options{Pooled: c.pooled, OnError: func(err error) { reported <- err }}
			sink := open(t, url, options)
			opts := pgsink.PartitionsOf(4, k.options())
			opts.Anchor = &mem{}
			sequencer, err := pgsink.NewSequencer(url, opts, options)
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(context.Background())
			ended := make(chan error, 1)
			go func() { ended <- sequencer.Run(ctx) }()
			records := sinktest.Records(20)
			require.NoError(t, sink.Append(t.Context(), records[:10]))
			require.NoError(t, sink.Append(t.Context(), records[5:15]))
			sequenced := make(chan error, 1)
			go func() { sequenced <- sink.Sequenced(t.Context()) }()
			select {
			case err := <-sequenced:
				require.NoError(t, err)
			case err := <-reported:
				require.NoError(t, err)
			}
			submitInTransactions(t, url, records[15:])
			require.NoError(t, sink.Sequenced(t.Context()))
			requireReadable(t, sink, k, records)
			require.NoError(t, sink.Restore(t.Context()))
			cancel()
			require.ErrorIs(t, <-ended, context.Canceled)
			report, err := pgsink.Verify(t.Context(), url, &pgsink.VerifyOptions{Keys: []note.Verifier{k.Verifier}})
			require.NoError(t, err)
			require.Equal(t, auditlog.Signed, report.Level)
			require.EqualValues(t, 20, report.Records)
			require.Empty(t, reported)
		})
	}
}

// submitInTransactions stores records in transactions of a caller, whose path is the caller's.
func submitInTransactions(t *testing.T, url string, records []jobaudit.Record) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	tx, err := conn.Begin(t.Context())
	require.NoError(t, err)
	require.NoError(t, pgsink.Tx(tx).Append(t.Context(), records[:2]))
	require.NoError(t, tx.Commit(t.Context()))
	db, err := sql.Open("pgx", url)
	require.NoError(t, err)
	defer db.Close()
	sqlTx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	require.NoError(t, pgsink.SQLTx(sqlTx).Append(t.Context(), records[2:]))
	require.NoError(t, sqlTx.Commit())
}

// requireReadable reads by all that a sink can be asked.
func requireReadable(t *testing.T, sink *pgsink.Sink, k key, records []jobaudit.Record) {
	t.Helper()
	e := records[0].Event()
	for _, q := range []jobaudit.Query{
		{}, {Limit: 3}, {NewestFirst: true}, {JobID: records[0].JobID()}, {CorrelationID: e.CorrelationID}, {RootID: e.Job.RootID}, {After: records[3].ID()},
		{OrgID: "acme"}, {Action: "reindex"}, {PrincipalID: "u-1"}, {ActingFor: "u-1"}, {Resource: "r"}, {ErrorCode: "e"}, {State: e.Job.State},
		{Types: []jobaudit.EventType{e.Type, "x"}}, {Since: e.Time, Until: e.Time.AddDate(1, 0, 0)}, {OrgID: "acme", Types: []jobaudit.EventType{e.Type, "x"}, Since: e.Time},
	} {
		for _, err := range sink.Records(t.Context(), q) {
			require.NoError(t, err, "%+v", q)
		}
	}
	require.Len(t, read(t, sink, jobaudit.Query{}), len(records))
	for _, err := range sink.Jobs(t.Context(), jobaudit.Query{}) {
		require.NoError(t, err)
	}
	for _, err := range sink.OpenJobs(t.Context()) {
		require.NoError(t, err)
	}
	for _, err := range sink.Lines(t.Context(), 0) {
		require.NoError(t, err)
	}
	_, err := sink.Prove(t.Context(), records[0].ID(), k.Verifier)
	require.NoError(t, err)
	_, err = sink.Waiting(t.Context())
	require.NoError(t, err)
}
