package pgsink_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/pgsink"
	"github.com/stretchr/testify/require"
)

// Each variant of a trigger has its name and its function, and lets something through; the
// others change what a statement does without touching those.
func TestEveryChangedTriggerRuleAndOwnerIsTold(t *testing.T) {
	url, k, _ := writtenLog(t)
	columns := map[string]string{"ids": "hash", "inbox": "lines", "events": "line", "commits": "line", "hashes": "h", "refused": "line",
		"acting": "idx", "sequence": "idx", "lead": "one", "migrations": "version"}
	type change struct{ do, undo string }
	changes := make(map[string]change)
	for table, column := range columns {
		grows := `CREATE TRIGGER grows BEFORE UPDATE OR DELETE ON jobaudit.%[1]s FOR EACH ROW EXECUTE FUNCTION jobaudit.refuse()`
		if table == "inbox" {
			grows = `CREATE TRIGGER grows BEFORE UPDATE ON jobaudit.%[1]s FOR EACH ROW EXECUTE FUNCTION jobaudit.refuse()`
		}
		keeps := `CREATE TRIGGER keeps BEFORE TRUNCATE ON jobaudit.%[1]s FOR EACH STATEMENT EXECUTE FUNCTION jobaudit.refuse()`
		for name, events := range map[string]string{
			"a statement's":        `BEFORE UPDATE OR DELETE ON jobaudit.%[1]s FOR EACH STATEMENT`,
			"only of deletes":      `BEFORE DELETE ON jobaudit.%[1]s FOR EACH STATEMENT`,
			"only of inserts":      `BEFORE INSERT ON jobaudit.%[1]s FOR EACH ROW`,
			"only of one column":   `BEFORE UPDATE OF %[2]s OR DELETE ON jobaudit.%[1]s FOR EACH ROW`,
			"only of some updates": `BEFORE UPDATE ON jobaudit.%[1]s FOR EACH ROW WHEN (OLD.%[2]s IS NULL)`,
			"too late":             `AFTER UPDATE OR DELETE ON jobaudit.%[1]s FOR EACH ROW`,
		} {
			changes[table+": grows "+name] = change{
				fmt.Sprintf(`DROP TRIGGER grows ON jobaudit.%[1]s; CREATE TRIGGER grows `+events+` EXECUTE FUNCTION jobaudit.refuse()`, table, column),
				fmt.Sprintf(`DROP TRIGGER grows ON jobaudit.%[1]s; `+grows, table)}
		}
		changes[table+": keeps too late"] = change{fmt.Sprintf(`DROP TRIGGER keeps ON jobaudit.%[1]s; `+strings.Replace(keeps, "BEFORE", "AFTER", 1), table),
			fmt.Sprintf(`DROP TRIGGER keeps ON jobaudit.%[1]s; `+keeps, table)}
		changes[table+": another trigger"] = change{fmt.Sprintf(`CREATE TRIGGER other BEFORE INSERT ON jobaudit.%s FOR EACH ROW EXECUTE FUNCTION jobaudit.refuse()`, table),
			fmt.Sprintf(`DROP TRIGGER other ON jobaudit.%s`, table)}
		for _, event := range []string{"INSERT", "UPDATE", "DELETE"} {
			changes[table+": a rule on "+event] = change{fmt.Sprintf(`CREATE RULE other AS ON %s TO jobaudit.%s DO INSTEAD NOTHING`, event, table),
				fmt.Sprintf(`DROP RULE other ON jobaudit.%s`, table)}
		}
		changes[table+": an owner"] = change{fmt.Sprintf(`ALTER TABLE jobaudit.%s OWNER TO jobaudit_writer`, table), fmt.Sprintf(`ALTER TABLE jobaudit.%s OWNER TO jobaudit_owner`, table)}
	}
	changes["a partition's trigger"] = change{`CREATE TRIGGER other BEFORE INSERT ON jobaudit.events_00001 FOR EACH ROW EXECUTE FUNCTION jobaudit.refuse()`, `DROP TRIGGER other ON jobaudit.events_00001`}
	changes["a partition's owner"] = change{`ALTER TABLE jobaudit.events_00001 OWNER TO jobaudit_writer`, `ALTER TABLE jobaudit.events_00001 OWNER TO jobaudit_owner`}
	changes["a reference"] = change{`ALTER TABLE jobaudit.refused ADD CONSTRAINT other FOREIGN KEY (id) REFERENCES jobaudit.ids ON DELETE CASCADE`, `ALTER TABLE jobaudit.refused DROP CONSTRAINT other`}
	notes := func() (guards []pgsink.Finding) {
		report, err := verify(url, k)
		require.NoError(t, err)
		for _, n := range report.Notes {
			if n.Kind == pgsink.KindGuard {
				guards = append(guards, n)
			}
		}
		return guards
	}
	require.Empty(t, notes())
	tried := 0
	for name, c := range changes { // in any order
		if tried++; size.Race && tried > 30 {
			break
		}
		execute(t, url, c.do)
		require.NotEmpty(t, notes(), name)
		execute(t, url, c.undo)
	}
	require.Empty(t, notes())
}
