package pgsink_test

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/pgsink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
)

// extremes gives every setting that a user can change, of a database here, its $1-th value: the
// bounds of numbers, each word of a choice. What only limits or plans is left at its best.
const extremes = `
DO $do$
DECLARE s record; v text; made int := 0; round int := $round;
	words jsonb := '{"client_encoding": ["LATIN1", "WIN1252", "SQL_ASCII", "EUC_JP"],
		"DateStyle": ["German, DMY", "SQL, DMY", "Postgres, MDY", "ISO, YMD"], "TimeZone": ["Asia/Kathmandu", "America/St_Johns"],
		"lc_time": ["C"], "lc_numeric": ["C"], "lc_monetary": ["C"], "plpgsql.extra_errors": ["all", "none"],
		"plpgsql.extra_warnings": ["all", "none"]}';
BEGIN
	LOAD 'plpgsql';
	FOR s IN SELECT * FROM pg_settings WHERE context = 'user' AND name NOT LIKE 'jit%' AND name NOT LIKE 'debug_print%' AND category NOT LIKE 'Query Tuning%'
			AND name NOT IN ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout',
				'exit_on_error') LOOP
		v := CASE s.vartype WHEN 'bool' THEN (ARRAY['on', 'off'])[1 + round % 2]
			WHEN 'enum' THEN s.enumvals[1 + round % cardinality(s.enumvals)]
			WHEN 'string' THEN words -> s.name ->> (round % coalesce(jsonb_array_length(words -> s.name), 1))
			ELSE (ARRAY[s.min_val, s.max_val])[1 + round % 2] END;
		BEGIN
			IF v IS NOT NULL THEN
				EXECUTE format('ALTER DATABASE %I SET %s = %L', current_database(), s.name, v);
				made := made + 1;
			END IF;
		EXCEPTION WHEN OTHERS THEN NULL; -- not of a database
		END;
	END LOOP;
	IF made < 45 THEN RAISE EXCEPTION 'only % settings', made; END IF;
END $do$`

var principal = regexp.MustCompile(`("principal":\{"kind":"[^"]*","id":")[^"]*"`)

// by makes a record of this principal.
func by(t *testing.T, who string) jobaudit.Record {
	t.Helper()
	line := principal.ReplaceAll(sinktest.Records(1)[0].Bytes(), []byte("${1}"+who+`"`))
	r, err := jobaudit.ParseRecord(line)
	require.NoError(t, err)
	return r
}

// An administrator may set what is to hold for all users of a database, and knows nothing of
// this log.
func TestNoSettingOfADatabaseChangesWhatTheLogSaysOrStopsIt(t *testing.T) {
	url, k := database(t), newKey(t)
	users := logins(t, url)
	plain := url + " options='-c default_transaction_read_only=off -c standard_conforming_strings=on -c client_encoding=UTF8'"
	for round := range 4 {
		for _, pooled := range []bool{false, true} {
			if pooled && (round == 1 || round == 2) {
				continue // once with each setting on, and once off
			}
			name := fmt.Sprintf("round %d, pooled %v", round, pooled)
			execute(t, plain, regexp.MustCompile(`\$round`).ReplaceAllString(extremes, fmt.Sprint(round)))
			s := settled{t, name, url, plain, users, k, pooled}
			s.all(round)
			report, err := pgsink.Verify(t.Context(), users["reader"], &pgsink.VerifyOptions{Keys: []note.Verifier{k.Verifier}})
			require.NoError(t, err, name)
			require.Empty(t, guardNotes(report), name)
			execute(t, plain, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RESET ALL', current_database()); END $$`)
			require.Empty(t, guardNotes(verified(t, users["reader"], k)), name)
		}
	}
}

func guardNotes(r pgsink.Report) (notes []string) {
	for _, n := range r.Notes {
		if n.Kind == pgsink.KindGuard {
			notes = append(notes, n.String())
		}
	}
	return notes
}

// settled does all that is done with a log, under the settings of its database.
type settled struct {
	*testing.T
	name, url, plain string
	users            map[string]string
	k                key
	pooled           bool
}

func (s settled) all(round int) {
	t := s.T
	var mu sync.Mutex
	var told []error
	options := &pgsink.Options{Pooled: s.pooled, OnError: func(err error) { mu.Lock(); defer mu.Unlock(); told = append(told, err) }}
	writer, reader := open(t, s.users["writer"], options), open(t, s.users["reader"], options)
	names := []string{fmt.Sprintf("José Ångström %d %v", round, s.pooled), fmt.Sprintf("日本語 \U0001F600 %d %v", round, s.pooled)}
	gone := by(t, names[0])
	require.NoError(t, writer.Append(t.Context(), []jobaudit.Record{gone}), s.name)
	tamper(t, s.plain, `DELETE FROM jobaudit.inbox`, 0)
	require.NoError(t, writer.Restore(t.Context()), s.name)
	require.NoError(t, writer.Append(t.Context(), []jobaudit.Record{by(t, names[1]), gone}), s.name)
	s.inTransactions(by(t, names[0]), by(t, names[0]))
	require.Len(t, read(t, reader, jobaudit.Query{PrincipalID: names[0]}), 3, s.name)
	mu.Lock()
	require.Len(t, told, 1, s.name) // of what was sent again
	mu.Unlock()
	sequencer, err := pgsink.NewSequencer(s.users["sequencer"], s.k.options(), options)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- sequencer.Run(ctx) }()
	require.NoError(t, waiting(t, writer), s.name)
	cancel()
	<-ended
	for i, n := range []int{3, 1} {
		require.Len(t, read(t, reader, jobaudit.Query{PrincipalID: names[i]}), n, s.name)
	}
	conn, err := pgx.Connect(t.Context(), s.url)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	require.NoError(t, pgsink.Migrate(t.Context(), conn, nil), s.name)
	mu.Lock()
	defer mu.Unlock()
	require.Len(t, told, 1, s.name)
}

// waiting is Sequenced, and fails where nothing comes.
func waiting(t *testing.T, sink *pgsink.Sink) error {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return sink.Sequenced(ctx)
}

// inTransactions stores a record in a caller's transaction of each kind.
func (s settled) inTransactions(a, b jobaudit.Record) {
	t := s.T
	conn, err := pgx.Connect(t.Context(), s.users["writer"])
	require.NoError(t, err)
	defer conn.Close(context.Background())
	tx, err := conn.BeginTx(t.Context(), pgx.TxOptions{AccessMode: pgx.ReadWrite})
	require.NoError(t, err)
	require.NoError(t, pgsink.Tx(tx).Append(t.Context(), []jobaudit.Record{a}), s.name)
	require.NoError(t, tx.Commit(t.Context()))
	db, err := sql.Open("pgx", s.users["writer"]+" options='-c default_transaction_read_only=off'")
	require.NoError(t, err)
	defer db.Close()
	other, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	require.NoError(t, pgsink.SQLTx(other).Append(t.Context(), []jobaudit.Record{b}), s.name)
	require.NoError(t, other.Commit())
}
