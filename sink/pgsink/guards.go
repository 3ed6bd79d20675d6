package pgsink

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// guards notes triggers that are missing or switched off, functions and grants that
// are not those of Migrate, and what keeps a sequencer from its work.
func (v *verification) guards() error {
	var errs []error
	for _, check := range []func() error{v.missing, v.versions, v.triggers, v.others, v.functions, v.definitions, v.grants, v.places, v.unfollowed} {
		errs = append(errs, check())
	}
	return errors.Join(errs...)
}

// missing notes tables that are not there.
func (v *verification) missing() error {
	rows, err := v.db.Query(v.ctx, `SELECT t FROM unnest($1::text[]) t WHERE to_regclass('jobaudit.' || t) IS NULL ORDER BY 1`, append(slices.Clone(tables), "events_rest"))
	if err != nil {
		return err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, name := range names {
		v.note(KindGuard, "the table %s is missing", name)
	}
	return err
}

// versions notes rows of migrations that no migration of ours has written: with one, writers
// or sequencers may stop.
func (v *verification) versions() error {
	rows, err := v.db.Query(v.ctx, `SELECT version, coalesce(min_writer, 0), coalesce(min_sequencer, 0) FROM jobaudit.migrations
		WHERE NOT coalesce(version BETWEEN 1 AND $1 AND min_writer BETWEEN 1 AND $2 AND min_sequencer BETWEEN 1 AND $3, false) ORDER BY version LIMIT 100`,
		schemaVersion, writerVersion, sequencerVersion)
	if hasCode(err, undefinedTable) {
		return nil // that it is missing is noted
	}
	if err != nil {
		return err
	}
	var version, writer, sequencer int
	_, err = pgx.ForEachRow(rows, []any{&version, &writer, &sequencer}, func() error {
		v.note(KindGuard, "the tables have a migration %d, which takes writers of version %d and sequencers of version %d and newer: this program knows those up to %d, %d and %d",
			version, writer, sequencer, schemaVersion, writerVersion, sequencerVersion)
		return nil
	})
	if hasCode(err, undefinedTable) {
		return nil
	}
	return err
}

// triggersOf returns the triggers that the migrations give a table, as PostgreSQL prints them.
func triggersOf(table string, partition bool) []string {
	growing := "DELETE OR UPDATE"
	if table == "inbox" {
		growing = "UPDATE" // the sequencer takes rows out
	}
	triggers := []string{
		"CREATE TRIGGER grows BEFORE " + growing + " ON jobaudit." + table + " FOR EACH ROW EXECUTE FUNCTION jobaudit.refuse()",
		"CREATE TRIGGER keeps BEFORE TRUNCATE ON jobaudit." + table + " FOR EACH STATEMENT EXECUTE FUNCTION jobaudit.refuse()",
	}
	if table == "hashes" && !partition {
		triggers = append(triggers, "CREATE TRIGGER numbers BEFORE INSERT ON jobaudit.hashes FOR EACH ROW EXECUTE FUNCTION jobaudit.number_v1()")
	}
	return triggers
}

// triggers compares whole definitions: one of the same name and function may fire for less.
func (v *verification) triggers() error {
	rows, err := v.db.Query(v.ctx, `
		SELECT c.relname::text, c.relispartition,
			(SELECT coalesce(array_agg(left(pg_get_triggerdef(t.oid), 1000)) FILTER (WHERE t.tgenabled IN ('O', 'A')), '{}') FROM pg_trigger t WHERE t.tgrelid = c.oid),
			(SELECT coalesce(array_agg(t.tgname || ': ' || left(pg_get_triggerdef(t.oid), 1000) ORDER BY t.oid), '{}') FROM (
				SELECT * FROM pg_trigger WHERE tgrelid = c.oid ORDER BY oid LIMIT 100) t)
		FROM pg_class c WHERE c.relnamespace = 'jobaudit'::regnamespace AND c.relkind IN ('r', 'p')
			AND (c.relname = ANY ($1) OR EXISTS (SELECT FROM pg_inherits WHERE inhrelid = c.oid AND inhparent = to_regclass('jobaudit.events'))) ORDER BY 1`, tables)
	if err != nil {
		return err
	}
	var table string
	var partition bool
	var enabled, all []string
	_, err = pgx.ForEachRow(rows, []any{&table, &partition, &enabled, &all}, func() error {
		ours := triggersOf(table, partition)
		there := 0
		for _, t := range ours {
			if slices.Contains(enabled, t) {
				there++
			}
		}
		if there < len(ours) {
			v.note(KindGuard, "the triggers that keep the table %s from being changed: %d of %d", table, there, len(ours))
		}
		for _, t := range all {
			if _, definition, _ := strings.Cut(t, ": "); !slices.Contains(ours, definition) {
				v.note(KindGuard, "the table %s has a trigger that is not as the migration made it: %s", table, shortened(t))
			}
		}
		return nil
	})
	return err
}

// others notes rules, by which a statement does something else, and owners, whom rights do
// not bind.
func (v *verification) others() error {
	rows, err := v.db.Query(v.ctx, `
		(SELECT format('the table %s has the rule %s', c.relname, r.rulename) FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
			WHERE c.relnamespace = 'jobaudit'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1 LIMIT 100)
		UNION ALL (SELECT format('the table %s is owned by %s, and the schema by %s', c.relname, pg_get_userbyid(c.relowner), pg_get_userbyid(n.nspowner))
			FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE n.nspname = 'jobaudit' AND c.relkind IN ('r', 'p') AND c.relowner <> n.nspowner ORDER BY 1 LIMIT 100)`)
	if err != nil {
		return err
	}
	notes, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, note := range notes {
		v.note(KindGuard, "%s", note)
	}
	return err
}

// undefinedTable is PostgreSQL's code.
const undefinedTable = "42P01"

// tables are those of the migrations, without partitions.
var tables = []string{"migrations", "ids", "inbox", "events", "acting", "sequence", "commits", "hashes", "refused", "lead"}

// functionText finds a function of a migration: its name, and what stands between its quotes.
var functionText = regexp.MustCompile(`(?s)CREATE FUNCTION jobaudit\.(\w+)\((.*?)\$\$(.*?)\$\$`)

// setting finds what a function sets while it runs.
var setting = regexp.MustCompile(`SET (\w+) = (.*?)( SET| AS|\n)`)

// function is what a function does, and as whom.
type function struct{ source, how string }

func (v *verification) functions() error {
	missing := make(map[string]function)
	for _, f := range functionText.FindAllStringSubmatch(migrationSQL(schemaVersion, "jobaudit"), -1) {
		var how strings.Builder
		how.WriteString(fmt.Sprint(strings.Contains(f[2], "SECURITY DEFINER"), true))
		for rest := f[2]; ; {
			at := setting.FindStringSubmatchIndex(rest)
			if at == nil {
				break
			}
			how.WriteString(" " + rest[at[2]:at[3]] + "=" + strings.Trim(rest[at[4]:at[5]], "'"))
			rest = rest[at[5]:]
		}
		missing[f[1]] = function{f[3], how.String()}
	}
	rows, err := v.db.Query(v.ctx, `
		SELECT proname::text, left(prosrc, 100000), format('%s %s %s', prosecdef::text, (proowner = nspowner)::text, left(array_to_string(proconfig, ' '), 1000))
		FROM pg_proc JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname = 'jobaudit' ORDER BY 1`)
	if err != nil {
		return err
	}
	var name string
	var found function
	_, err = pgx.ForEachRow(rows, []any{&name, &found.source, &found.how}, func() error {
		if known, ours := missing[name]; !ours || known != found {
			v.note(KindGuard, "the function %s is not as the migration made it", name)
		}
		delete(missing, name)
		return nil
	})
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		v.note(KindGuard, "the function %s is missing", name)
	}
	return nil
}

// grants notes rights that no role of ours has.
func (v *verification) grants() error {
	rows, err := v.db.Query(v.ctx, `
		SELECT format('%s on %s to %s', privilege_type, relname, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee) END) FROM (
			SELECT c.relname, c.relowner, a.grantee, a.privilege_type, false AS part FROM pg_class c, aclexplode(c.relacl) a
			WHERE c.relnamespace = 'jobaudit'::regnamespace AND c.relkind IN ('r', 'p')
			UNION ALL SELECT c.relname, c.relowner, a.grantee, a.privilege_type, true FROM pg_class c
			JOIN pg_attribute t ON t.attrelid = c.oid, aclexplode(t.attacl) a WHERE c.relnamespace = 'jobaudit'::regnamespace AND c.relkind IN ('r', 'p')
		) g WHERE grantee <> relowner AND NOT (grantee <> 0 AND privilege_type = 'SELECT')
			AND NOT (grantee <> 0 AND privilege_type = 'INSERT' AND relname IN ('events', 'acting', 'sequence', 'commits', 'hashes', 'refused'))
			AND NOT (grantee <> 0 AND privilege_type = 'DELETE' AND relname = 'inbox')
			AND NOT (grantee <> 0 AND privilege_type = 'UPDATE' AND relname = 'lead' AND part)
		ORDER BY 1`)
	if err != nil {
		return err
	}
	grants, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if len(grants) > 0 {
		v.note(KindGuard, "rights that the migration does not give: %s", strings.Join(grants, ", "))
	}
	return err
}

// places notes what a sequencer could not do.
func (v *verification) places() error {
	var rest bool
	var leads int
	err := v.db.QueryRow(v.ctx, `SELECT EXISTS (SELECT FROM jobaudit.events_rest)`).Scan(&rest)
	if err != nil && !hasCode(err, undefinedTable) { // that it is missing is noted
		return fmt.Errorf("look for the default partition: %w", err)
	}
	err = v.db.QueryRow(v.ctx, `SELECT count(*) FROM jobaudit.lead`).Scan(&leads)
	if hasCode(err, undefinedTable) {
		leads, err = 1, nil
	}
	if err != nil {
		return fmt.Errorf("look for the lock: %w", err)
	}
	if rest {
		v.note(KindGuard, "events lie in the default partition: their own was not made in time")
	}
	if leads != 1 {
		v.note(KindGuard, "the table lead has %d rows and not one: no sequencer can work", leads)
	}
	return nil
}
