package pgsink_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/pgsink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
)

// On a managed service nobody is a superuser.
func TestAUserWhoMayMakeRolesMigrates(t *testing.T) {
	s := server(t)
	// Other roles than those of the other tests, which a superuser has made.
	managed := fmt.Sprintf("managed%d", databaseNo.Add(1))
	execute(t, s.URL("postgres"), `CREATE ROLE `+managed+` LOGIN CREATEROLE CREATEDB`)
	execute(t, s.URL("postgres")+" user="+managed, `CREATE DATABASE `+managed+` ENCODING 'UTF8' TEMPLATE template0`)
	url := s.URL(managed) + " user=" + managed
	opts := &pgsink.MigrateOptions{RolePrefix: managed}
	for range 2 {
		conn, err := pgx.Connect(t.Context(), url)
		require.NoError(t, err)
		require.NoError(t, pgsink.Migrate(t.Context(), conn, opts))
		require.NoError(t, conn.Close(t.Context()))
	}
	// It has none of the roles, and sees all the same that there is nothing to do.
	holder, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer holder.Close(context.Background())
	_, err = holder.Exec(t.Context(), `SELECT pg_advisory_lock(1785684577)`)
	require.NoError(t, err)
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	require.NoError(t, pgsink.Migrate(t.Context(), conn, pgsink.WaitingFor(time.Millisecond, *opts)))
	require.NoError(t, conn.Close(t.Context()))
	execute(t, url, strings.ReplaceAll(`CREATE ROLE managed_user LOGIN IN ROLE managed_writer, managed_reader, managed_sequencer`, "managed", managed))
	user, k := s.URL(managed)+" user="+managed+"_user", newKey(t)
	sink := open(t, user, nil)
	require.NoError(t, sink.Append(t.Context(), sinktest.Records(2)))
	run(t, user, k.options())
	require.NoError(t, sink.Sequenced(t.Context()))
	require.EqualValues(t, 2, verified(t, user, k).Records)
}

// Every process that starts may call Migrate, with the rights of its own role.
func TestMigrateAsksForNoRightsWhereThereIsNothingToDo(t *testing.T) {
	url := database(t)
	for role, user := range logins(t, url) {
		conn, err := pgx.Connect(t.Context(), user)
		require.NoError(t, err)
		require.NoError(t, pgsink.Migrate(t.Context(), conn, nil), role)
		require.NoError(t, conn.Close(t.Context()))
	}
}

// Every user who may connect can hold the lock that Migrate takes.
func TestMigrateWaitsForNoLockWhereThereIsNothingToDo(t *testing.T) {
	s, url := server(t), database(t)
	empty := fmt.Sprintf("d%d", databaseNo.Add(1))
	require.NoError(t, execOn(t.Context(), s.URL("postgres"), `CREATE DATABASE `+empty+` ENCODING 'UTF8' TEMPLATE template0`))
	for url, there := range map[string]bool{url: true, s.URL(empty): false} {
		holder, err := pgx.Connect(t.Context(), url)
		require.NoError(t, err)
		_, err = holder.Exec(t.Context(), `SELECT pg_advisory_lock(1785684577)`)
		require.NoError(t, err)
		conn, err := pgx.Connect(t.Context(), url)
		require.NoError(t, err)
		err = pgsink.Migrate(t.Context(), conn, pgsink.WaitingFor(time.Millisecond, pgsink.MigrateOptions{}))
		if there {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, "somebody holds the advisory lock")
		}
		require.NoError(t, conn.Close(t.Context()))
		require.NoError(t, holder.Close(t.Context()))
	}
}

// The owner's role passes the rights of all others, and is granted for the migration only.
func TestWhoMigratesDoesNotStayTheOwner(t *testing.T) {
	s := server(t)
	for kind, migrate := range map[string]func(url string, opts *pgsink.MigrateOptions) error{
		"Migrate": func(url string, opts *pgsink.MigrateOptions) error {
			conn, err := pgx.Connect(t.Context(), url)
			require.NoError(t, err)
			defer conn.Close(context.Background())
			return pgsink.Migrate(t.Context(), conn, opts)
		},
		"the SQL": func(url string, opts *pgsink.MigrateOptions) error {
			return execOn(t.Context(), url, pgsink.MigrationSQL(opts))
		},
	} {
		name := fmt.Sprintf("left%d", databaseNo.Add(1))
		execute(t, s.URL("postgres"), `CREATE ROLE `+name+` LOGIN CREATEROLE CREATEDB`)
		execute(t, s.URL("postgres")+" user="+name, `CREATE DATABASE `+name+` ENCODING 'UTF8' TEMPLATE template0`)
		url := s.URL(name) + " user=" + name
		require.NoError(t, migrate(url, &pgsink.MigrateOptions{RolePrefix: name}), kind)
		require.Error(t, execOn(t.Context(), url, `SET ROLE `+name+`_owner`), kind)
		require.Error(t, execOn(t.Context(), url, `SELECT FROM jobaudit.events`), kind)
	}
}

// A user may act as another role: that one is granted what the migration needs, and keeps none of it.
func TestMigrateLeavesTheRolesOfASessionAsTheyWere(t *testing.T) {
	s := server(t)
	name := fmt.Sprintf("acts%d", databaseNo.Add(1))
	execute(t, s.URL("postgres"), strings.ReplaceAll(`CREATE ROLE name_admin CREATEROLE; CREATE ROLE name LOGIN IN ROLE name_admin`, "name", name))
	execute(t, s.URL("postgres"), `CREATE DATABASE `+name+` ENCODING 'UTF8' TEMPLATE template0 OWNER `+name+`_admin`)
	execute(t, s.URL("postgres"), `ALTER DATABASE `+name+` SET jobaudit.granted = 'true'`)
	conn, err := pgx.Connect(t.Context(), s.URL(name)+" user="+name)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	_, err = conn.Exec(t.Context(), `SET ROLE `+name+`_admin`)
	require.NoError(t, err)
	require.NoError(t, pgsink.Migrate(t.Context(), conn, &pgsink.MigrateOptions{RolePrefix: name}))
	var user string
	var member, admin bool
	// From version 16 on who makes a role is its member without being allowed to act as it.
	require.NoError(t, conn.QueryRow(t.Context(), `SELECT current_user::text, pg_has_role($1, $3, mode), pg_has_role($2, $3, mode)
		FROM (SELECT CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET' END) AS version(mode)`,
		name, name+"_admin", name+"_owner").Scan(&user, &member, &admin))
	require.Equal(t, name+"_admin", user)
	require.False(t, member)
	require.False(t, admin)
}

func TestReadsThatHoldEveryConnectionStopNoAppend(t *testing.T) {
	url := database(t)
	sink := open(t, url, nil)
	tx := begin(t, url, pgx.ReadCommitted)
	_, err := tx.Exec(t.Context(), `LOCK TABLE jobaudit.events`)
	require.NoError(t, err)
	const reads = 8
	done := make(chan error, reads)
	for range reads {
		go func() {
			for _, err := range sink.Records(context.Background(), jobaudit.Query{}) {
				if err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	awaitBlocked(t, url)
	for range 5 {
		require.NoError(t, sink.Append(t.Context(), sinktest.Records(1)))
	}
	require.NoError(t, tx.Rollback(t.Context()))
	for range reads {
		require.NoError(t, <-done)
	}
}

// Somebody who reads keeps a partition from being made, and others who read would wait
// behind the one who asks for it.
func TestAPartitionIsMadeWhenNobodyReads(t *testing.T) {
	url, k := database(t), newKey(t)
	sink := open(t, url, nil)
	reading := begin(t, url, pgx.RepeatableRead)
	_, err := reading.Exec(t.Context(), `SELECT FROM jobaudit.events`)
	require.NoError(t, err)
	reported, stop := complaints(t, url, pgsink.PartitionsOf(4, k.options()))
	for range 10 {
		require.NoError(t, sink.Append(t.Context(), sinktest.Records(1)))
		require.NoError(t, sink.Sequenced(t.Context()))
	}
	stop()
	require.Len(t, reported(), 1)
	require.ErrorContains(t, reported()[0], "make partition 2")
	require.Equal(t, "55P03", code(reported()[0]))
	require.NoError(t, reading.Rollback(t.Context()))

	// On a slow machine the sink's own reads may be in the way once more.
	_, stop = complaints(t, url, pgsink.PartitionsOf(4, k.options()))
	require.NoError(t, sink.Append(t.Context(), sinktest.Records(1)))
	require.NoError(t, sink.Sequenced(t.Context()))
	awaitTable(t, url, "events_00004")
	stop()
	verified(t, url, k)
}

// An event that has come into the default partition keeps its own from being made, and
// not those behind it.
func TestOnePartitionThatCannotBeMadeStopsNoOther(t *testing.T) {
	url, k, _ := writtenLog(t)
	tamper(t, url, `INSERT INTO jobaudit.events (idx, id, writer, line, type, time) SELECT 20000007, id, writer, line, type, time FROM jobaudit.events WHERE idx = 1`, 0)
	reported, stop := complaints(t, url, pgsink.PartitionsOf(16, k.options()))
	awaitTable(t, url, "events_00003")
	stop()
	require.Len(t, reported(), 1)
	require.ErrorContains(t, reported()[0], "make partition 2")
}

// awaitTable waits until a table is there.
func awaitTable(t *testing.T, url, name string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	for there := false; !there; {
		require.NoError(t, conn.QueryRow(t.Context(), `SELECT to_regclass('jobaudit.' || $1::text) IS NOT NULL`, name).Scan(&there))
	}
}

// The sequencer's password makes no thousands of tables.
func TestThereIsNoPartitionFarBehindTheLog(t *testing.T) {
	url := database(t)
	sequencer := logins(t, url)["sequencer"]
	execute(t, sequencer, `SELECT jobaudit.partition_v1(8)`)
	require.Equal(t, "22023", code(execOn(t.Context(), sequencer, `SELECT jobaudit.partition_v1(9)`)))
}

// Somebody who has the sequencer's password can write numbers that no log reaches.
func TestNumbersThatNoLogReachesEndInTime(t *testing.T) {
	for name, sql := range map[string]string{
		"a commit":                `INSERT INTO jobaudit.commits (size, prev, line) VALUES ($n, $n - 1, 'x')`,
		"a commit and its event":  `INSERT INTO jobaudit.commits (size, prev, line) VALUES ($n, $n - 1, 'x'); INSERT INTO jobaudit.events (idx, id, writer, line, type, time) VALUES ($n - 1, gen_random_uuid(), 'w', 'x', 'x', now())`,
		"a commit and an event":   `INSERT INTO jobaudit.commits (size, prev, line) VALUES ($n, $n - 1, 'x'); INSERT INTO jobaudit.events (idx, id, writer, line, type, time) VALUES (1 + $n / 2, gen_random_uuid(), 'w', 'x', 'x', now())`,
		"many commits":            `INSERT INTO jobaudit.commits (size, prev, line) SELECT i * ($n / 100), i * ($n / 100) - 1, 'x' FROM generate_series(1, 100) i`,
		"an event without commit": `INSERT INTO jobaudit.events (idx, id, writer, line, type, time) VALUES ($n - 1, gen_random_uuid(), 'w', 'x', 'x', now())`,
	} {
		for _, n := range []int64{1 << 53, math.MaxInt64} {
			t.Run(fmt.Sprintf("%s of size %d", name, n), func(t *testing.T) {
				url, k, head := writtenLog(t)
				execute(t, logins(t, url)["sequencer"], strings.ReplaceAll(sql, "$n", fmt.Sprintf("%d::bigint", n)))
				_, err := verify(url, k, head)
				var found *pgsink.VerifyError
				require.ErrorAs(t, err, &found)
				sink := open(t, url, nil)
				events := 0
				for line, err := range sink.Lines(t.Context(), 0) {
					require.NoError(t, err)
					if strings.HasPrefix(string(line), `{"schemaVersion"`) {
						events++
					}
				}
				require.GreaterOrEqual(t, events, 40)
				length, err := sink.Size(t.Context())
				require.NoError(t, err)
				if !strings.Contains(name, "its event") {
					require.Equal(t, head.Size, length)
				}
				if name != "a commit" {
					return
				}
				// Once it is taken out, who has read meanwhile hears what comes.
				var seen []uuid.UUID
				var late []jobaudit.Record
				for r, err := range sink.Tail(t.Context(), jobaudit.Query{}) {
					require.NoError(t, err)
					seen = append(seen, r.ID())
					if len(seen) == 40 {
						tamper(t, url, `DELETE FROM jobaudit.commits WHERE size > 40`, 0)
						late = sinktest.Records(1)
						require.NoError(t, sink.Append(t.Context(), late))
						run(t, url, k.options())
					}
					if late != nil && r.ID() == late[0].ID() {
						break
					}
				}
			})
		}
	}
}

// hostileCells are values of each type that no program of ours writes.
var hostileCells = map[string][]string{
	"bigint":                   {"-9223372036854775808", "9223372036854775807", "-1", "NULL"},
	"integer":                  {"-2147483648", "2147483647", "NULL"},
	"bytea":                    {`''`, `'\x0102030405'`, `decode(repeat('00', 70000), 'hex')`, "NULL"},
	"uuid":                     {`'00000000-0000-0000-0000-000000000000'`, `'ffffffff-ffff-ffff-ffff-ffffffffffff'`, "NULL"},
	"text":                     {`''`, `repeat('x', 2000)`, "NULL"},
	"name":                     {`''`, "NULL"},
	"timestamp with time zone": {`'infinity'`, `'-infinity'`, `'294276-12-31'`, `'4713-01-01 BC'`, "NULL"},
	"uuid[]":                   {`'{}'`, `'{NULL}'`, `ARRAY[ARRAY[gen_random_uuid()], ARRAY[gen_random_uuid()]]`, "NULL"},
	"bytea[]":                  {`'{}'`, `ARRAY[NULL::bytea]`, `ARRAY[ARRAY['\x01'::bytea], ARRAY['\x02'::bytea]]`, "NULL"},
}

// Whatever a cell holds, a verification ends with what is wrong, and does not say that the
// log cannot be read.
func TestWhateverACellHoldsVerifyReadsTheLog(t *testing.T) { hostileTables(t, 2) }

func TestExtraEveryHostileCell(t *testing.T) {
	size.Extra(t)
	hostileTables(t, math.MaxInt)
}

// hostileTables tries so many values of each cell.
func hostileTables(t *testing.T, most int) {
	t.Helper()
	url, k, head := writtenLog(t)
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	_, err = conn.Exec(t.Context(), `SET session_replication_role = replica;
		INSERT INTO jobaudit.acting VALUES ('x', 3); INSERT INTO jobaudit.refused SELECT 1, 1, id, line, 'w', 'r' FROM jobaudit.events WHERE idx = 3;
		DO $$ DECLARE c record; BEGIN
			FOR c IN SELECT conrelid::regclass AS t, conname FROM pg_constraint WHERE connamespace = 'jobaudit'::regnamespace AND contype IN ('c', 'p', 'u') AND conparentid = 0 LOOP
				EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', c.t, c.conname);
			END LOOP;
			FOR c IN SELECT attrelid::regclass AS t, attname FROM pg_attribute a JOIN pg_class r ON r.oid = attrelid
				WHERE relnamespace = 'jobaudit'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition AND attnum > 0 AND attnotnull AND attidentity = '' LOOP
				EXECUTE format('ALTER TABLE %s ALTER %I DROP NOT NULL', c.t, c.attname);
			END LOOP;
		END $$`)
	require.NoError(t, err)
	rows, err := conn.Query(t.Context(), `SELECT relname::text, attname::text, format_type(atttypid, NULL), attnotnull
		FROM pg_attribute a JOIN pg_class r ON r.oid = attrelid
		WHERE relnamespace = 'jobaudit'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition AND attnum > 0 AND relname <> 'migrations' AND attname <> 'one' ORDER BY 1, 2`)
	require.NoError(t, err)
	columns, err := pgx.CollectRows(rows, pgx.RowToStructByPos[column])
	require.NoError(t, err)
	tried := 0
	for _, c := range columns {
		require.Contains(t, hostileCells, c.Type)
		values := hostileCells[c.Type]
		for _, value := range values[:min(most, len(values))] {
			if c.NotNull && (value == "NULL" || c.Name == "n") || c.Type == "bigint" && c.Name == "idx" && c.Table == "events" && value == "NULL" {
				continue
			}
			// One row, somewhere in the middle, and back.
			_, err := conn.Exec(t.Context(), fmt.Sprintf(`CREATE TEMP TABLE one AS SELECT t.*, random() AS r FROM jobaudit.%[1]s t ORDER BY r LIMIT 1;
				ALTER TABLE one DROP COLUMN r; CREATE TEMP TABLE before AS TABLE jobaudit.%[1]s;
				UPDATE jobaudit.%[1]s t SET %[2]s = %[3]s WHERE t = (SELECT o::text::jobaudit.%[1]s FROM one o)`, c.Table, c.Name, value))
			require.NoError(t, err, "%v %s", c, value)
			_, err = verify(url, k, head)
			if err != nil {
				var found *pgsink.VerifyError
				if !errors.As(err, &found) {
					t.Errorf("%v %s: %v", c, value, err)
				}
				_, both := errors.AsType[interface {
					error
					Unwrap() []error
				}](err)
				if both {
					t.Errorf("%v %s: %v", c, value, err)
				}
			}
			tried++
			override := ""
			if c.Table == "inbox" {
				override = "OVERRIDING SYSTEM VALUE"
			}
			_, err = conn.Exec(t.Context(), fmt.Sprintf(`DELETE FROM jobaudit.%[1]s; INSERT INTO jobaudit.%[1]s %[2]s TABLE before; DROP TABLE one, before`, c.Table, override))
			require.NoError(t, err)
		}
	}
	t.Logf("%d cells", tried)
}

func TestAMissingTableHidesNothing(t *testing.T) {
	for _, table := range []string{"events_rest", "lead", "acting", "refused", "hashes", "inbox", "migrations", "sequence", "ids"} {
		t.Run(table, func(t *testing.T) {
			url, k, head := writtenLog(t)
			tamper(t, url, `UPDATE jobaudit.events SET principal = 'nobody' WHERE idx = 7; UPDATE jobaudit.commits SET prev = 1 WHERE size = 40; DROP TABLE jobaudit.`+table, 0)
			report, err := verify(url, k, head)
			var found *pgsink.VerifyError
			require.ErrorAs(t, err, &found)
			require.Contains(t, fmt.Sprint(report.Notes), "the table "+table+" is missing")
		})
	}
}

// A row of the inbox that no program of ours writes stops no sequencer.
func TestAMalformedRowOfTheInboxIsRefused(t *testing.T) {
	url, k := database(t), newKey(t)
	good := sinktest.Records(3)
	sink := open(t, url, nil)
	for i, columns := range []string{
		`ARRAY[gen_random_uuid(), gen_random_uuid()], '{}', ARRAY['x'::bytea]`,
		`ARRAY[gen_random_uuid()], '{}', '{}'`,
		`ARRAY[gen_random_uuid()], '{}', ARRAY[NULL::bytea]`,
		`ARRAY[NULL::uuid], '{}', ARRAY['x'::bytea]`,
		`'{}', '{}', ARRAY['x'::bytea]`,
		`ARRAY[ARRAY[gen_random_uuid()], ARRAY[gen_random_uuid()]], '{}', ARRAY['x'::bytea]`,
		`'{}', '{}', '{}'`,
	} {
		if i < len(good) {
			require.NoError(t, sink.Append(t.Context(), good[i:i+1]))
		}
		execute(t, url, `INSERT INTO jobaudit.inbox (ids, keys, lines) VALUES (`+columns+`)`)
	}
	run(t, url, k.options())
	require.NoError(t, sink.Sequenced(t.Context()))
	require.Equal(t, idsOf(good), read(t, sink, jobaudit.Query{}))
	_, err := verify(url, k)
	var found *pgsink.VerifyError
	require.ErrorAs(t, err, &found)
	for _, f := range found.Findings {
		require.Equal(t, pgsink.KindRefused, f.Kind, "%v", f)
	}
}

// What cannot be rebuilt is not read again in each cycle, and is told once.
func TestALogThatCannotBeRebuiltIsReadOnce(t *testing.T) {
	url, k, _ := writtenLog(t)
	tamper(t, url, `DELETE FROM jobaudit.hashes; UPDATE jobaudit.events SET line = line || ' ' WHERE idx = $i`, 7)
	cycles := make(chan struct{})
	reported, stop := complaints(t, url, pgsink.AtSteps(func(at string) error {
		if at == "locked" {
			cycles <- struct{}{}
		}
		return nil
	}, k.options()))
	for range 10 {
		<-cycles
	}
	go func() {
		for range cycles {
		}
	}()
	stop()
	close(cycles)
	require.Len(t, reported(), 2, "%v", reported())
}

// manyRecords are more than one Append takes.
var manyRecords = sync.OnceValue(func() []jobaudit.Record { return sinktest.Records(16_384 + 16) })

func TestATransactionTakesMoreThanOneAppend(t *testing.T) {
	if testing.Short() {
		t.Skip("it stores 33,000 events")
	}
	url := database(t)
	records := manyRecords() // one call of append_v1 takes all but 16
	kinds := transactions(t, url)
	tx := kinds["database/sql"]()
	require.NoError(t, tx.sink.Append(t.Context(), records))
	require.NoError(t, tx.rollback())
	tx = kinds["pgx"]()
	require.NoError(t, tx.sink.Append(t.Context(), records))
	require.NoError(t, tx.commit())
	require.Equal(t, idsOf(records), read(t, open(t, url, nil), jobaudit.Query{}))
}

// Of events that are as long as can be, a transaction takes more than one call, too.
func TestATransactionTakesMoreBytesThanOneAppend(t *testing.T) {
	if testing.Short() {
		t.Skip("it stores 64 MiB")
	}
	url := database(t)
	records := slices.Clone(manyRecords()[:16_384])
	all := 0
	for _, r := range records {
		all += r.Len()
	}
	// As many as can be are as long as can be, until all are 64 MiB, and no byte less.
	for i, r := range records {
		length := min(48_000, 64<<20-all+r.Len())
		if length < r.Len()+len(`,"x":""`) {
			break
		}
		records[i] = lengthened(t, r, length)
		all += length - r.Len()
	}
	require.Equal(t, 64<<20, all)
	require.Equal(t, 48_000, records[1000].Len())
	sink := open(t, url, &pgsink.Options{Timeout: time.Hour})
	more := slices.Clone(records[:16_300]) // fewer, of more bytes
	for _, r := range manyRecords()[16_384:16_390] {
		more = append(more, lengthened(t, r, 48_000))
	}
	require.ErrorContains(t, sink.Append(t.Context(), more), "bytes in one Append")
	for kind, begin := range transactions(t, url) {
		tx := begin()
		require.NoError(t, tx.sink.Append(t.Context(), more), kind)
		require.NoError(t, tx.rollback(), kind)
	}
	// What Append says it takes, the database takes.
	require.NoError(t, sink.Append(t.Context(), records))
}

// lengthened returns a record of that length, whose line is otherwise that of r.
func lengthened(t *testing.T, r jobaudit.Record, length int) jobaudit.Record {
	t.Helper()
	line := strings.TrimSuffix(string(r.Bytes()), "}") + `,"x":"`
	long, err := jobaudit.ParseRecord([]byte(line + strings.Repeat("x", length-len(line)-len(`"}`)) + `"}`))
	require.NoError(t, err)
	require.Equal(t, length, long.Len())
	return long
}

func TestASelectionThatIsNoTextFindsNothing(t *testing.T) {
	sink := open(t, database(t), nil)
	require.NoError(t, sink.Append(t.Context(), sinktest.Records(1)))
	const bad = "a\xff\xfe"
	for _, q := range []jobaudit.Query{{PrincipalID: bad}, {ActingFor: bad}, {OrgID: bad}, {Action: bad}, {State: bad}, {Resource: bad}, {ErrorCode: bad}, {Types: []jobaudit.EventType{bad}}} {
		require.Empty(t, read(t, sink, q))
	}
}

// A failover that lost the end of the log gives its places to other events: a tail that went
// on would leave them out.
func TestATailEndsWhereTheLogWasPutBack(t *testing.T) {
	for _, more := range []int{0, 2, 5} {
		url, k, _ := writtenLog(t)
		sink := open(t, url, nil)
		seen := 0
		var end error
		for _, err := range sink.Tail(t.Context(), jobaudit.Query{}) {
			if err != nil {
				end = err
				break
			}
			if seen++; seen == 40 {
				tamper(t, url, `DELETE FROM jobaudit.commits WHERE size > 35; DELETE FROM jobaudit.events WHERE idx >= 35;
					DELETE FROM jobaudit.sequence WHERE idx >= 35; DELETE FROM jobaudit.hashes; DELETE FROM jobaudit.inbox`, 0)
				if more > 0 {
					require.NoError(t, sink.Append(t.Context(), sinktest.Records(5+more)))
					stop := run(t, url, k.options())
					require.NoError(t, sink.Sequenced(t.Context()))
					stop()
				}
			}
			require.LessOrEqual(t, seen, 40)
		}
		require.ErrorContains(t, end, "earlier state")
	}
}

// Events that came while a tail read a page are handed out once it knows that the log
// still has what it handed out before.
func TestATailHandsOutNothingThatItCannotTellApartLater(t *testing.T) {
	url, k := database(t), newKey(t)
	sink := open(t, url, nil)
	add := func(n int) {
		require.NoError(t, sink.Append(t.Context(), sinktest.Records(n)))
		stop := run(t, url, k.options())
		require.NoError(t, sink.Sequenced(t.Context()))
		stop()
	}
	add(300) // more than one page
	var seen []uuid.UUID
	for r, err := range sink.Tail(t.Context(), jobaudit.Query{}) {
		require.NoError(t, err)
		switch seen = append(seen, r.ID()); len(seen) {
		case 1:
			add(44)
		case 300:
			tamper(t, url, `DELETE FROM jobaudit.commits WHERE size > 300; DELETE FROM jobaudit.events WHERE idx >= 300;
				DELETE FROM jobaudit.sequence WHERE idx >= 300; DELETE FROM jobaudit.hashes; DELETE FROM jobaudit.inbox`, 0)
			add(50)
		}
		if len(seen) == 350 {
			break
		}
	}
	var log []uuid.UUID
	for r, err := range sink.Records(t.Context(), jobaudit.Query{}) {
		require.NoError(t, err)
		log = append(log, r.ID())
	}
	require.Equal(t, log, seen)
}
