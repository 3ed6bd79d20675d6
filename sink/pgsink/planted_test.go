package pgsink_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/pgsink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
)

// nextRow makes of a row of each table one that could be added: under a number to come where
// there is one. $s is the size of the log.
var nextRow = map[string]map[string]string{
	"acting":     {"principal": "'u-1'", "idx": "$s"},
	"commits":    {"size": "$s + 1", "prev": "$s"},
	"events":     {"idx": "$s", "id": "gen_random_uuid()"},
	"hashes":     {"first": "2 * $s - length(replace($s::bit(64)::text, '0', ''))"},
	"ids":        {"id": "gen_random_uuid()"},
	"inbox":      {"n": "(SELECT max(n) + 20 FROM jobaudit.inbox)"},
	"migrations": {"version": "7"},
	"refused":    {"n": "(SELECT max(n) FROM jobaudit.inbox)", "position": "0"},
	"sequence":   {"id": "gen_random_uuid()"},
}

// hugeCells are more values of a type, which take much room.
var hugeCells = map[string][]string{
	"uuid[]":  {`array_fill(gen_random_uuid(), ARRAY[20000])`, `array_fill(NULL::uuid, ARRAY[20000])`},
	"bytea[]": {`array_fill('\x00'::bytea, ARRAY[20000])`, `ARRAY[decode(repeat('00', 20000000), 'hex')]`},
	"bytea":   {`decode(repeat('00', 20000000), 'hex')`},
}

// TestNoRowThatIsAddedStopsTheLogUnnamed: whatever a superuser or a backup that was put back
// leaves in a table, the log goes on, or the sequencer says why not; Verify ends and names the
// row; and without it the log goes on.
func TestNoRowThatIsAddedStopsTheLogUnnamed(t *testing.T) { plantedRows(t, 2) }

func TestExtraNoRowThatIsAddedStopsTheLogUnnamed(t *testing.T) {
	size.Extra(t)
	plantedRows(t, 100)
}

// column is one of a table.
type column struct {
	Table, Name, Type string
	NotNull           bool
}

// plantedRows tries so many values of each column.
func plantedRows(t *testing.T, most int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database(t))
	require.NoError(t, err)
	defer conn.Close(context.Background())
	rows, err := conn.Query(t.Context(), `SELECT relname::text, attname::text, format_type(atttypid, NULL), attnotnull
		FROM pg_attribute a JOIN pg_class r ON r.oid = attrelid
		WHERE relnamespace = 'jobaudit'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition AND attnum > 0 AND relname <> 'lead' ORDER BY 1, 2`)
	require.NoError(t, err)
	columns, err := pgx.CollectRows(rows, pgx.RowToStructByPos[column])
	require.NoError(t, err)
	tables := map[string][]column{}
	for _, c := range columns {
		tables[c.Table] = append(tables[c.Table], c)
	}
	require.ElementsMatch(t, slices.Collect(maps.Keys(nextRow)), slices.Collect(maps.Keys(tables)))
	for _, columns := range tables {
		plantedRowsOf(t, columns, most) // each in a log of its own: as it grows, it takes longer to verify
	}
}

func plantedRowsOf(t *testing.T, columns []column, most int) {
	t.Helper()
	url, k, _ := writtenLog(t)
	sink := open(t, url, nil)
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	_, err = conn.Exec(t.Context(), `SET session_replication_role = replica`)
	require.NoError(t, err)
	var names []string
	for _, c := range columns {
		names = append(names, c.Name)
	}
	tried := 0
	for _, c := range columns {
		values := hostileCells[c.Type]
		require.NotEmpty(t, values, c.Type)
		values = slices.Concat(values[:min(most, len(values))], hugeCells[c.Type])
		for _, value := range values {
			if c.NotNull && value == "NULL" {
				continue
			}
			// Something waits, whose number a row may have.
			require.NoError(t, sink.Append(t.Context(), sinktest.Records(1)))
			p := plant(t, conn, c.Table, names, c.Name, value)
			if p == nil {
				continue // the table refuses it
			}
			tried++
			what := fmt.Sprintf("%s.%s is %.60s", c.Table, c.Name, value)
			stopped := goesOn(t, url, k, sink)
			report, err := verify(url, k)
			found, isFinding := errors.AsType[*pgsink.VerifyError](err)
			if err != nil && !isFinding {
				t.Errorf("%s: %v", what, err)
			}
			if found != nil && len(found.Findings)+found.More == 0 {
				t.Errorf("%s: a finding of nothing", what)
			}
			noted := slices.ContainsFunc(report.Notes, func(f pgsink.Finding) bool { return f.Kind == pgsink.KindGuard || f.Kind == pgsink.KindHashes })
			// A row that counts nowhere, and one of the inbox that holds nothing.
			harmless := stopped == nil && (c.Table == "hashes" && !strings.Contains(value, "2147483647") || c.Table == "inbox" && c.Name == "ids" && strings.Trim(value, "'{}NUL") == "")
			if err == nil && !noted && !harmless {
				t.Errorf("%s: Verify does not name it; the sequencer: %v", what, stopped)
			}
			p.remove(t, conn)
			require.NoError(t, goesOn(t, url, k, sink), "%s, without it", what)
		}
	}
	t.Logf("%d rows of %s", tried, columns[0].Table)
	_, err = verify(url, k)
	require.NoError(t, err)
}

// plantedRow is one row, and where it is.
type plantedRow struct{ table, part, place string }

// plant adds a row, nil if the table refuses it.
func plant(t *testing.T, conn *pgx.Conn, table string, names []string, column, value string) *plantedRow {
	t.Helper()
	var cells []string
	for _, name := range names {
		cell := "t." + name
		if next := nextRow[table][name]; next != "" {
			cell = strings.ReplaceAll(next, "$s", "(SELECT max(size) FROM jobaudit.commits)")
		}
		if name == column {
			cell = value
		}
		cells = append(cells, cell)
	}
	from := "jobaudit." + table + " t"
	switch table {
	case "refused":
		from = `(SELECT 0 AS n, 0 AS position, id, line, writer, 'r' AS reason, now() AS at FROM jobaudit.events LIMIT 1) t`
	case "acting":
		from = `(SELECT 'u-1' AS principal, 0 AS idx) t`
	}
	override := ""
	if table == "inbox" {
		override = "OVERRIDING SYSTEM VALUE"
	}
	p := &plantedRow{table: table}
	err := conn.QueryRow(t.Context(), fmt.Sprintf(`INSERT INTO jobaudit.%[1]s AS i (%[2]s) %[3]s SELECT %[4]s FROM %[5]s LIMIT 1 RETURNING tableoid::regclass::text, ctid::text`,
		table, strings.Join(names, ", "), override, strings.Join(cells, ", "), from)).Scan(&p.part, &p.place)
	switch code(err) {
	case "23502", "23505", "23514": // its constraints
		return nil
	}
	require.NoError(t, err, "%s.%s is %.60s", table, column, value)
	return p
}

// remove takes the row out again, and what a sequencer has made of it.
func (p *plantedRow) remove(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	_, err := conn.Exec(t.Context(), `DELETE FROM jobaudit.refused`)
	require.NoError(t, err)
	if p.table == "inbox" {
		_, err = conn.Exec(t.Context(), `DELETE FROM jobaudit.inbox b WHERE NOT EXISTS (SELECT FROM jobaudit.ids WHERE id = ANY (b.ids)) OR cardinality(ids) = 0`)
	} else {
		_, err = conn.Exec(t.Context(), fmt.Sprintf(`DELETE FROM %s WHERE ctid = $1::text::tid`, p.part), p.place)
	}
	require.NoError(t, err)
}

// goesOn runs a sequencer until what waits has a place, or until it says why it has none.
func goesOn(t *testing.T, url string, k key, sink *pgsink.Sink) error {
	t.Helper()
	errs := make(chan error, 10)
	s, err := pgsink.NewSequencer(url, k.options(), &pgsink.Options{OnError: func(err error) {
		if !strings.Contains(err.Error(), "made again") {
			errs <- err
		}
	}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Run(ctx) })
	defer wg.Wait()
	defer cancel()
	placed := make(chan error, 1)
	wg.Go(func() { placed <- sink.Sequenced(ctx) })
	select {
	case err := <-errs:
		return err
	case err := <-placed:
		return err
	}
}

// A row of acting that holds the texts of two would be found by neither.
func TestTwoRowsOfActingAreNotOneWithBothTexts(t *testing.T) {
	url, k := database(t), newKey(t)
	r := sinktest.Records(1)[0]
	of := `{"kind":"user","id":"%s","assurance":"claimed"}`
	line := strings.Replace(string(r.Bytes()), `"orgId":"acme"`, fmt.Sprintf(`"orgId":"acme","onBehalfOf":[`+of+`,`+of+`]`, "a", "b"), 1)
	execute(t, url, `SELECT jobaudit.append_v1(ARRAY[$1::uuid], ARRAY[$2::bytea], ARRAY[0], '{}')`, r.ID().String(), []byte(line))
	run(t, url, k.options())
	require.NoError(t, open(t, url, nil).Sequenced(t.Context()))
	_, err := verify(url, k)
	require.NoError(t, err)
	tamper(t, url, `DELETE FROM jobaudit.acting WHERE principal = 'b'; UPDATE jobaudit.acting SET principal = 'a b'`, 0)
	_, err = verify(url, k)
	found, ok := errors.AsType[*pgsink.VerifyError](err)
	require.True(t, ok, err)
	require.Equal(t, pgsink.KindColumns, found.Findings[0].Kind)
}
