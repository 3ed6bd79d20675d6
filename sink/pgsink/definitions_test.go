package pgsink_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What a table's definition does with a row is as good as a trigger.
func TestEveryChangedDefinitionIsTold(t *testing.T) {
	url, k := database(t), newKey(t)
	written(t, url, k)
	notes := func() []string {
		report, err := verify(url, k)
		require.NoError(t, err)
		return guardNotes(report)
	}
	require.Empty(t, notes())
	for _, c := range [][2]string{
		{`ALTER TABLE jobaudit.ids SET UNLOGGED`, `ALTER TABLE jobaudit.ids SET LOGGED`},
		{`ALTER TABLE jobaudit.events_00001 SET UNLOGGED`, `ALTER TABLE jobaudit.events_00001 SET LOGGED`},
		{`ALTER TABLE jobaudit.inbox ALTER accepted SET DEFAULT 'infinity'`, `ALTER TABLE jobaudit.inbox ALTER accepted SET DEFAULT clock_timestamp()`},
		{`ALTER TABLE jobaudit.inbox ALTER writer SET DEFAULT 'somebody'`, `ALTER TABLE jobaudit.inbox ALTER writer SET DEFAULT session_user`},
		{`ALTER TABLE jobaudit.inbox ALTER n SET CYCLE`, `ALTER TABLE jobaudit.inbox ALTER n SET NO CYCLE`},
		{`ALTER TABLE jobaudit.inbox ADD more int NOT NULL DEFAULT 1`, `ALTER TABLE jobaudit.inbox DROP more`},
		{`ALTER TABLE jobaudit.commits ALTER at DROP NOT NULL`, `ALTER TABLE jobaudit.commits ALTER at SET NOT NULL`},
		{`ALTER TABLE jobaudit.sequence DROP CONSTRAINT sequence_pkey`, `ALTER TABLE jobaudit.sequence ADD PRIMARY KEY (id)`},
		{`ALTER TABLE jobaudit.ids DROP CONSTRAINT ids_hash_check`, `ALTER TABLE jobaudit.ids ADD CHECK (octet_length(hash) = 32)`},
		{`ALTER TABLE jobaudit.commits ADD CONSTRAINT more CHECK (size < 1000)`, `ALTER TABLE jobaudit.commits DROP CONSTRAINT more`},
		{`ALTER TABLE jobaudit.events_00000 ADD CONSTRAINT more CHECK (idx < 1000) NOT VALID`, `ALTER TABLE jobaudit.events_00000 DROP CONSTRAINT more`},
		{`CREATE UNIQUE INDEX more ON jobaudit.commits ((size / 1000)) WHERE size > 1000`, `DROP INDEX jobaudit.more`},
		{`CREATE TABLE public.more () INHERITS (jobaudit.ids)`, `DROP TABLE public.more`},
		{`CREATE POLICY more ON jobaudit.events USING (false)`, `DROP POLICY more ON jobaudit.events`},
	} {
		execute(t, url, c[0])
		require.NotEmpty(t, notes(), c[0])
		execute(t, url, c[1])
	}
	require.Empty(t, notes())
}
