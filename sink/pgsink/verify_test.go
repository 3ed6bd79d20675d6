package pgsink_test

import (
	"context"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/pgsink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
)

// written makes a log of 40 events in 8 commits, with 2 events that wait, and
// returns its newest head.
func written(t *testing.T, url string, k key) auditlog.Head {
	t.Helper()
	sink := open(t, url, nil)
	stop := run(t, url, k.options())
	for range 8 {
		require.NoError(t, sink.Append(t.Context(), sinktest.Records(5)))
		require.NoError(t, sink.Sequenced(t.Context()))
	}
	stop()
	head, err := sink.Head(t.Context(), k.Verifier)
	require.NoError(t, err)
	require.NoError(t, sink.Append(t.Context(), sinktest.Records(2)))
	require.NoError(t, sink.Close())
	return head.Head()
}

// writtenOnce is what the database "written" holds, once there is one.
var writtenOnce struct {
	sync.Mutex
	made bool
	key  key
	head auditlog.Head
}

// writtenLog makes a database with a log that [written] made: each test that changes such a
// log has a copy of its own.
func writtenLog(t *testing.T) (url string, k key, head auditlog.Head) {
	t.Helper()
	w := &writtenOnce
	w.Lock()
	defer w.Unlock()
	if !w.made {
		s := server(t)
		execute(t, s.URL("postgres"), `CREATE DATABASE written TEMPLATE prepared`)
		w.key = newKey(t)
		w.head = written(t, s.URL("written"), w.key)
		w.made = true
	}
	return copyOf(t, "written"), w.key, w.head
}

func verify(url string, k key, heads ...auditlog.Head) (pgsink.Report, error) {
	return pgsink.Verify(context.Background(), url, &pgsink.VerifyOptions{Keys: []note.Verifier{k.Verifier}, Heads: heads})
}

func TestAnUntouchedLogIsNotAccused(t *testing.T) {
	url, k, head := writtenLog(t)
	report, err := verify(url, k, head)
	require.NoError(t, err)
	require.Equal(t, auditlog.Anchored, report.Level)
	require.EqualValues(t, 40, report.Records)
	require.EqualValues(t, 2, report.Waiting)
	require.Empty(t, report.Notes)

	_, err = pgsink.Verify(t.Context(), url, nil)
	require.NoError(t, err)
	empty := database(t)
	report, err = pgsink.Verify(t.Context(), empty, nil)
	require.ErrorIs(t, err, pgsink.ErrNothingVerified)
	require.Equal(t, auditlog.Unverified, report.Level, "nothing was compared")
}

// Each row is what a superuser may do, whom no trigger stops. $i stands for an
// index in the log.
func TestEveryChangeOfTheTablesIsFound(t *testing.T) {
	tests := []struct {
		name, sql string
		kinds     []auditlog.Kind // one of them
		head      bool            // needs a head from outside
	}{
		{name: "a line's last byte", sql: `UPDATE jobaudit.events SET line = set_byte(line, octet_length(line) - 3, get_byte(line, octet_length(line) - 3) # 1) WHERE idx = $i`,
			kinds: []auditlog.Kind{auditlog.KindChanged, auditlog.KindRoot}},
		{name: "a line and its hash in ids", sql: `WITH e AS (UPDATE jobaudit.events SET line = line || ' ' WHERE idx = $i RETURNING id, line)
			UPDATE jobaudit.ids i SET hash = sha256('\x00'::bytea || e.line) FROM e WHERE i.id = e.id`,
			kinds: []auditlog.Kind{auditlog.KindChanged, auditlog.KindRoot}},
		{name: "an event is deleted", sql: `DELETE FROM jobaudit.events WHERE idx = $i`, kinds: []auditlog.Kind{auditlog.KindMissing, auditlog.KindSize}},
		{name: "an event is deleted everywhere", sql: `WITH e AS (DELETE FROM jobaudit.events WHERE idx = $i RETURNING id), s AS (DELETE FROM jobaudit.sequence WHERE idx = $i)
			DELETE FROM jobaudit.ids WHERE id IN (SELECT id FROM e)`, kinds: []auditlog.Kind{auditlog.KindMissing, auditlog.KindSize}},
		{name: "two events are swapped", sql: `UPDATE jobaudit.events SET idx = -1 WHERE idx = $i; UPDATE jobaudit.events SET idx = $i WHERE idx = ($i + 1) % 40;
			UPDATE jobaudit.events SET idx = ($i + 1) % 40 WHERE idx = -1`, kinds: []auditlog.Kind{auditlog.KindReordered, auditlog.KindChanged, auditlog.KindRoot}},
		{name: "an event is taken for another", sql: `UPDATE jobaudit.events SET line = (SELECT line FROM jobaudit.events WHERE idx = ($i + 1) % 40) WHERE idx = $i`,
			kinds: []auditlog.Kind{auditlog.KindChanged, auditlog.KindRoot}},
		{name: "job", sql: `UPDATE jobaudit.events SET job = gen_random_uuid() WHERE idx = $i`, kinds: []auditlog.Kind{pgsink.KindColumns}},
		{name: "correlation", sql: `UPDATE jobaudit.events SET corr = NULL WHERE idx = $i`, kinds: []auditlog.Kind{pgsink.KindColumns}},
		{name: "root", sql: `UPDATE jobaudit.events SET root = gen_random_uuid() WHERE idx = $i`, kinds: []auditlog.Kind{pgsink.KindColumns}},
		{name: "principal", sql: `UPDATE jobaudit.events SET principal = 'nobody' WHERE idx = $i`, kinds: []auditlog.Kind{pgsink.KindColumns}},
		{name: "org", sql: `UPDATE jobaudit.events SET org = 'x' WHERE idx = $i`, kinds: []auditlog.Kind{pgsink.KindColumns}},
		{name: "action", sql: `UPDATE jobaudit.events SET action = 'x' WHERE idx = $i`, kinds: []auditlog.Kind{pgsink.KindColumns}},
		{name: "type", sql: `UPDATE jobaudit.events SET type = 'x' WHERE idx = $i`, kinds: []auditlog.Kind{pgsink.KindColumns}},
		{name: "state", sql: `UPDATE jobaudit.events SET state = 'x' WHERE idx = $i`, kinds: []auditlog.Kind{pgsink.KindColumns}},
		{name: "resource", sql: `UPDATE jobaudit.events SET resource = 'x' WHERE idx = $i`, kinds: []auditlog.Kind{pgsink.KindColumns}},
		{name: "error", sql: `UPDATE jobaudit.events SET error = 'x' WHERE idx = $i`, kinds: []auditlog.Kind{pgsink.KindColumns}},
		{name: "time", sql: `UPDATE jobaudit.events SET time = time + interval '1 microsecond' WHERE idx = $i`, kinds: []auditlog.Kind{pgsink.KindColumns}},
		{name: "id", sql: `UPDATE jobaudit.events SET id = gen_random_uuid() WHERE idx = $i`, kinds: []auditlog.Kind{pgsink.KindColumns, pgsink.KindPlanted}},
		{name: "acting for somebody", sql: `INSERT INTO jobaudit.acting VALUES ('x', $i)`, kinds: []auditlog.Kind{pgsink.KindColumns}},
		{name: "acting behind the log", sql: `INSERT INTO jobaudit.acting VALUES ('x', 1000 + $i)`, kinds: []auditlog.Kind{pgsink.KindColumns}},
		{name: "a place is gone", sql: `DELETE FROM jobaudit.sequence WHERE idx = $i`, kinds: []auditlog.Kind{pgsink.KindSequence, pgsink.KindLost}},
		{name: "a place is moved", sql: `UPDATE jobaudit.sequence SET idx = 99 WHERE idx = $i`, kinds: []auditlog.Kind{pgsink.KindSequence}},
		{name: "a place is added", sql: `INSERT INTO jobaudit.sequence VALUES (gen_random_uuid(), $i)`, kinds: []auditlog.Kind{pgsink.KindSequence}},
		{name: "an accepted hash", sql: `UPDATE jobaudit.ids SET hash = sha256(hash) WHERE id = (SELECT id FROM jobaudit.events WHERE idx = $i)`, kinds: []auditlog.Kind{pgsink.KindPlanted}},
		{name: "an accepted ID is gone", sql: `DELETE FROM jobaudit.ids WHERE id = (SELECT id FROM jobaudit.events WHERE idx = $i)`, kinds: []auditlog.Kind{pgsink.KindPlanted}},
		{name: "an accepted ID is added", sql: `INSERT INTO jobaudit.ids VALUES (gen_random_uuid(), sha256('$i'))`, kinds: []auditlog.Kind{pgsink.KindLost}},
		{name: "what waits is gone", sql: `DELETE FROM jobaudit.inbox`, kinds: []auditlog.Kind{pgsink.KindLost}},
		{name: "what waits is changed", sql: `UPDATE jobaudit.inbox SET lines[2] = lines[2] || ' '`, kinds: []auditlog.Kind{pgsink.KindInbox}},
		{name: "something waits that was not accepted", sql: `UPDATE jobaudit.inbox SET ids[1] = gen_random_uuid()`, kinds: []auditlog.Kind{pgsink.KindInbox, pgsink.KindLost}},
		{name: "an event behind the log", sql: `INSERT INTO jobaudit.events (idx, id, writer, line, type, time) SELECT 40, id, writer, line, type, time FROM jobaudit.events WHERE idx = $i`,
			kinds: []auditlog.Kind{pgsink.KindPlanted}},
		{name: "an event before the log", sql: `INSERT INTO jobaudit.events (idx, id, writer, line, type, time) SELECT -1, id, writer, line, type, time FROM jobaudit.events WHERE idx = $i`,
			kinds: []auditlog.Kind{pgsink.KindPlanted}},
		{name: "an event of the log waits again", sql: `INSERT INTO jobaudit.inbox (ids, keys, lines) SELECT ARRAY[id], '{}', ARRAY[line] FROM jobaudit.events WHERE idx = $i`,
			kinds: []auditlog.Kind{pgsink.KindInbox}},
		{name: "a partition is taken out", sql: `ALTER TABLE jobaudit.events DETACH PARTITION jobaudit.events_00000`, kinds: []auditlog.Kind{auditlog.KindMissing, auditlog.KindSize}},
		{name: "something was refused", sql: `INSERT INTO jobaudit.refused SELECT 1, 1, id, line, 'w', 'r' FROM jobaudit.events WHERE idx = $i`, kinds: []auditlog.Kind{pgsink.KindRefused}},
		{name: "a commit that later ones cover", sql: `DELETE FROM jobaudit.commits WHERE size = 5 * (1 + $i / 6)`, kinds: []auditlog.Kind{pgsink.KindChain}},
		{name: "a commit's signature", sql: `UPDATE jobaudit.commits SET line = set_byte(line, octet_length(line) - 9, get_byte(line, octet_length(line) - 9) # 1) WHERE size = 5 * (1 + $i / 6)`,
			kinds: []auditlog.Kind{auditlog.KindSignature, auditlog.KindCommit, auditlog.KindKey}},
		{name: "a commit of another size", sql: `UPDATE jobaudit.commits SET size = size + 1 WHERE size = 5 * (1 + $i / 6)`, kinds: []auditlog.Kind{auditlog.KindSize, auditlog.KindRoot, pgsink.KindChain}},
		{name: "a commit of nothing that nobody signed", sql: `INSERT INTO jobaudit.commits (size, prev, line) VALUES (41 + $i, 40, 'x')`, kinds: []auditlog.Kind{auditlog.KindCommit}},
		{name: "a commit of nothing that is an older one", sql: `INSERT INTO jobaudit.commits (size, prev, line) SELECT 41 + $i, 40, line FROM jobaudit.commits WHERE size = 40`, kinds: []auditlog.Kind{auditlog.KindOrder}},
		{name: "an empty commit", sql: `INSERT INTO jobaudit.commits (size, prev, line) VALUES (41 + $i, 40, '')`, kinds: []auditlog.Kind{auditlog.KindCommit}},
		{name: "an event and its commit that nobody signed", sql: `INSERT INTO jobaudit.events (idx, id, writer, line, type, time) VALUES (40, gen_random_uuid(), 'w', '{}', 't', now()); INSERT INTO jobaudit.commits (size, prev, line) VALUES (41, 40, 'x')`, kinds: []auditlog.Kind{auditlog.KindCommit}},
		{name: "the log is cut", head: true, sql: `DELETE FROM jobaudit.commits WHERE size > 5 * (1 + $i / 6);
			WITH e AS (DELETE FROM jobaudit.events WHERE idx >= 5 * (1 + $i / 6) RETURNING id), s AS (DELETE FROM jobaudit.sequence WHERE idx >= 5 * (1 + $i / 6))
			DELETE FROM jobaudit.ids WHERE id IN (SELECT id FROM e)`, kinds: []auditlog.Kind{auditlog.KindTruncated}},
		{name: "everything is gone", head: true, sql: `TRUNCATE jobaudit.commits, jobaudit.events, jobaudit.sequence, jobaudit.ids, jobaudit.inbox, jobaudit.hashes`, kinds: []auditlog.Kind{auditlog.KindTruncated}},
	}
	random := rand.New(rand.NewPCG(7, 7))
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			url, k, head := writtenLog(t)
			i := random.IntN(39)
			tamper(t, url, test.sql, i)
			heads := []auditlog.Head{head}
			if !test.head {
				heads = nil
			}
			report, err := verify(url, k, heads...)
			var found *pgsink.VerifyError
			require.ErrorAs(t, err, &found, "index %d", i)
			require.Equal(t, auditlog.Unverified, report.Level)
			var kinds []auditlog.Kind
			for _, f := range found.Findings {
				kinds = append(kinds, f.Kind)
			}
			require.NotEmpty(t, intersect(kinds, test.kinds), "found %v at index %d", found.Findings, i)
		})
	}
}

func intersect(a, b []auditlog.Kind) (both []auditlog.Kind) {
	for _, x := range a {
		for _, y := range b {
			if x == y {
				both = append(both, x)
			}
		}
	}
	return both
}

// tamper runs statements as a superuser who has switched the triggers off.
func tamper(t *testing.T, url, sql string, i int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	_, err = conn.Exec(t.Context(), `SET session_replication_role = replica`)
	require.NoError(t, err)
	sql = strings.ReplaceAll(sql, "$i", strconv.Itoa(i))
	_, err = conn.Exec(t.Context(), sql)
	require.NoError(t, err, sql)
}

func TestAChangedGuardIsToldOfAndIsNoFinding(t *testing.T) {
	for name, sql := range map[string]string{
		"a trigger switched off":                   `ALTER TABLE jobaudit.events DISABLE TRIGGER grows`,
		"rows that are not numbered":               `DROP TRIGGER numbers ON jobaudit.hashes`,
		"a trigger dropped":                        `DROP TRIGGER keeps ON jobaudit.ids`,
		"one of a partition":                       `ALTER TABLE jobaudit.events_00000 DISABLE TRIGGER ALL`,
		"a function emptied":                       `CREATE OR REPLACE FUNCTION jobaudit.waiting_v1(p_upto bigint, OUT newest bigint, OUT oldest interval, OUT upto bool, OUT size bigint) LANGUAGE plpgsql AS 'BEGIN END'`,
		"a function dropped":                       `DROP FUNCTION jobaudit.restore_v1`,
		"a function added":                         `CREATE FUNCTION jobaudit.other() RETURNS int LANGUAGE sql AS 'SELECT 1'`,
		"a trigger that never fires":               `DROP TRIGGER keeps ON jobaudit.ids; CREATE TRIGGER keeps BEFORE TRUNCATE ON jobaudit.ids FOR EACH STATEMENT WHEN (false) EXECUTE FUNCTION jobaudit.refuse()`,
		"a trigger that does something else":       `DROP TRIGGER grows ON jobaudit.ids; CREATE TRIGGER grows BEFORE UPDATE OR DELETE ON jobaudit.ids FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()`,
		"the inbox granted to everybody":           `GRANT DELETE ON jobaudit.inbox TO PUBLIC`,
		"a sequencer's right granted to everybody": `GRANT INSERT ON jobaudit.sequence TO PUBLIC`,
		"a table granted":                          `GRANT DELETE ON jobaudit.ids TO jobaudit_sequencer`,
		"a column granted":                         `GRANT UPDATE (hash) ON jobaudit.ids TO PUBLIC`,
		"nothing to lock":                          `DELETE FROM jobaudit.lead`,
		"what everybody may read":                  `GRANT SELECT ON jobaudit.events TO PUBLIC`,
		"a function of its caller":                 `ALTER FUNCTION jobaudit.append_v1 SECURITY INVOKER`,
		"a function's path":                        `ALTER FUNCTION jobaudit.append_v1 SET search_path = public`,
		"a function that sets more":                `ALTER FUNCTION jobaudit.append_v1 SET session_replication_role = replica`,
		"a function of somebody else":              `ALTER FUNCTION jobaudit.append_v1 OWNER TO postgres`,
		"a function changed":                       `CREATE OR REPLACE FUNCTION jobaudit.refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`,
	} {
		t.Run(name, func(t *testing.T) {
			url, k, _ := writtenLog(t)
			tamper(t, url, sql, 0)
			report, err := verify(url, k)
			require.NoError(t, err)
			require.NotEmpty(t, report.Notes)
			for _, n := range report.Notes { // a trigger of a table is one of each partition
				require.Equal(t, pgsink.KindGuard, n.Kind)
			}
		})
	}
}

func TestVerifyRefusesWhereRowsMayBeHidden(t *testing.T) {
	url, k, _ := writtenLog(t)
	execute(t, url, `DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'auditor') THEN CREATE ROLE auditor LOGIN IN ROLE jobaudit_reader; END IF; END $$;
		ALTER TABLE jobaudit.events ENABLE ROW LEVEL SECURITY`)
	_, err := verify(url+" user=auditor", k)
	require.ErrorIs(t, err, pgsink.ErrFiltered)
}

func TestAReaderSkipsARecordThatItCannotRead(t *testing.T) {
	url, _, _ := writtenLog(t)
	tamper(t, url, `UPDATE jobaudit.events SET line = 'no event' WHERE idx = $i`, 17)
	sink := open(t, url, nil)
	var records int
	var unreadable []error
	for _, err := range sink.Records(t.Context(), jobaudit.Query{}) {
		if err != nil {
			unreadable = append(unreadable, err)
			continue
		}
		records++
	}
	require.Equal(t, 41, records)
	require.Len(t, unreadable, 1)
	var one *jobaudit.UnreadableError
	require.ErrorAs(t, unreadable[0], &one)
	require.Equal(t, "event 17", one.Place)
}
