package pgsink

import (
	_ "embed"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// definitionsText is what definitionsSQL gives of tables that the migrations have made and
// nobody has changed, a line each: the table, a colon, and what it has. A partition has what events has.
//
//go:embed definitions.txt
var definitionsText string

// definitionsSQL lists of each table what decides which rows it takes, keeps and shows. The
// names of constraints and indexes do not matter. NOT NULL is a column's, though newer servers
// list it as a constraint, too.
const definitionsSQL = `
	SELECT c.relname::text, EXISTS (SELECT FROM pg_inherits WHERE inhrelid = c.oid AND inhparent = to_regclass('jobaudit.events')), ARRAY(
		SELECT left(d, 1000) FROM (
			SELECT format('persistence %s', c.relpersistence)
			UNION ALL SELECT format('column %s %s%s%s%s%s', a.attname, format_type(a.atttypid, a.atttypmod),
				CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END,
				(SELECT ' COLLATE ' || collname FROM pg_collation WHERE oid = a.attcollation AND collname <> 'default'),
				CASE WHEN a.attidentity <> '' OR a.attgenerated <> '' THEN ' generated ' || a.attidentity::text || a.attgenerated::text ELSE '' END,
				(SELECT ' DEFAULT ' || pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = c.oid AND adnum = a.attnum))
				FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
			UNION ALL SELECT format('numbers %s %s %s %s %s %s', seqstart, seqincrement, seqmin, seqmax, seqcache, seqcycle)
				FROM pg_sequence JOIN pg_depend ON objid = seqrelid AND deptype = 'i' WHERE refobjid = c.oid
			UNION ALL SELECT format('constraint %s%s', pg_get_constraintdef(oid), CASE WHEN convalidated THEN '' ELSE ' not valid' END)
				FROM pg_constraint WHERE conrelid = c.oid AND contype <> 'n'
			UNION ALL SELECT format('index %s%s', CASE WHEN indisunique THEN 'UNIQUE ' ELSE '' END, regexp_replace(pg_get_indexdef(indexrelid), '^.*? USING ', ''))
				FROM pg_index i WHERE indrelid = c.oid AND (indisunique OR indexprs IS NOT NULL OR indpred IS NOT NULL)
				AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid AND conrelid = c.oid)
			UNION ALL SELECT format('policy %s', polname) FROM pg_policy WHERE polrelid = c.oid
			UNION ALL SELECT 'row security' WHERE c.relrowsecurity
			UNION ALL SELECT format('a child %s', inhrelid::regclass) FROM pg_inherits WHERE inhparent = c.oid AND c.relkind = 'r'
			UNION ALL SELECT format('a parent %s', inhparent::regclass) FROM pg_inherits WHERE inhrelid = c.oid AND NOT c.relispartition
		) l(d) ORDER BY d COLLATE "C" LIMIT 1000)
	FROM pg_class c WHERE c.relnamespace = 'jobaudit'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1`

// definitions notes what the tables' definitions have more, or less, than the migrations give them.
func (v *verification) definitions() error {
	ours := make(map[string][]string)
	for line := range strings.Lines(definitionsText) {
		table, definition, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		ours[table] = append(ours[table], definition)
	}
	rows, err := v.db.Query(v.ctx, definitionsSQL)
	if err != nil {
		return err
	}
	var table string
	var partition bool
	var found []string
	_, err = pgx.ForEachRow(rows, []any{&table, &partition, &found}, func() error {
		want := ours[table]
		if partition {
			want = ours["events"]
		}
		for _, d := range without(found, want) {
			v.note(KindGuard, "the table %s has what the migration does not give it: %s", table, shortened(d))
		}
		for _, d := range without(want, found) {
			v.note(KindGuard, "the table %s lacks what the migration gives it: %s", table, d)
		}
		return nil
	})
	return err
}

// without returns the elements of all that are not among those others.
func without(all, others []string) (rest []string) {
	others = slices.Clone(others)
	for _, s := range all {
		if i := slices.Index(others, s); i >= 0 {
			others = slices.Delete(others, i, i+1)
			continue
		}
		rest = append(rest, s)
	}
	return rest
}
