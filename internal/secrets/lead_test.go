package secrets_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestACredentialIsFoundBehindAnyGap: a tab, a line end, what YAML or a language puts
// between a name and its value.
func TestACredentialIsFoundBehindAnyGap(t *testing.T) {
	s := newScanner(t, nil)
	m := newMaker()
	missed := map[string]int{}
	variants := 0
	for _, name := range []string{"password", "Password", "DB_PASSWORD", "db-password", "token", "X-Api-Key", "clientSecret"} {
		for _, gap := range []string{
			"%s:\t%s", "%s =\t%s", "%s\t=\t%s", "{\"%s\":\t\"%s\"}", "{\n\t\"%s\":\t\"%s\",\n}", "%s :\t\"%s\"", "export %s=\t%s", "--%s\t%s", "--%s\t'%s'", "<%s>\t%s\t</%[1]s>", "\t%s:\t\t%s\n",
			"{\"%s\":\n\"%s\"}", "{\"%s\":\n  \"%s\"}", "{\"%s\":\r\n\t\"%s\"}", "%s:\n  %s\n", "%s:\n\t%s", "%s: |\n  %s\n", "%s: |-\n    %s\n", "%s: >\n  %s\n", "%s: >-\n  %s\nnext: 1\n", "%s: |2-\n    %s\n", "%s: !!str %s\n", "%s: !Sub %s", "%s: &x %s\n",
			"%s: &x !!str |\n  %s\n", "--%s \\\n  %s", "--%s \\\n\t'%s'", "%s = \\\n  \"%s\"", "args:\n- --%s\n- %s\n", "<%s>\n  %s\n</%[1]s>",
			"{'%s': u'%s'}", "{'%s': b'%s'}", "%s: Some(\"%s\")", "%s=Optional[%s]", "%s = Some(\"%s\"),", "%s: String(\"%s\")", "{\"%s\":{\"S\":\"%s\"}}", "{\"%s\": {\"stringValue\": \"%s\"}}", "{\"%s\":{\"value\":\"%s\"}}", "%s:(string) (len=14) \"%s\"", "%s: (string) (len=20) \"%s\",", "%s = @\"%s\"", "%s = N'%s'", "%s: r\"%s\"", "{\"%s\":[ \"%s\" ]}",
		} {
			for _, value := range []string{"S3cretPass9xzK", "9fK2mZ7qLw4RtY8uVb3N", m.of('w', 22) + "9z8Y", m.of('a', 20) + "7x2"} {
				text := fmt.Sprintf(gap, name, value)
				for _, place := range []string{text, "it is\n" + text + "\n"} {
					if _, found := s.Find(place); !found {
						missed[gap]++
					}
					variants++
				}
			}
		}
	}
	require.Empty(t, missed)
	require.Greater(t, variants, 2_000)
	for _, text := range []string{
		"password:\n  minLength: 8\n", "password:\n  rotateAfter90Days: true\n", "token:\n  description: of the day 1\n", "secrets:\n  token:\n    key: name1\n", "password:\nname: app1x2y3\n", "Password:\n2026-11-28T02:20:17Z started\n", "password: |\n  the password of the database\n",
		"flags: --token\n12 items a1b2c3d4\n", "token: Some(token1)", "password: getenv(\"DB_PASSWORD_2\")", "token = parse(\"a1b2c3d4e5\")", "{\"token\":{\"S\":\"string\"}}", "password: !Ref DatabasePassword", "password: !vault |\n  changing\n", "token:\n- name1\n- a1b2c3d4e5f6\n",
	} {
		requireNone(t, s, text)
	}
}

// TestAPasswordThatSQLSetsIsFound: in every dialect, however the statement is broken.
func TestAPasswordThatSQLSetsIsFound(t *testing.T) {
	s := newScanner(t, nil)
	m := newMaker()
	missed := map[string]int{}
	variants := 0
	for _, statement := range []string{
		"CREATE USER 'a'@'h' IDENTIFIED WITH mysql_native_password BY '%s'", "ALTER USER a IDENTIFIED WITH caching_sha2_password BY '%s'", "create user a identified with 'x' by '%s'", "CREATE USER a IDENTIFIED BY %s", "GRANT ALL ON *.* TO 'a' IDENTIFIED BY '%s'", "CREATE USER a IDENTIFIED BY \"%s\" REPLACE x",
		"IDENTIFIED  BY '%s'", "IDENTIFIED\nBY\n'%s'", "identified by\n  '%s'", "IDENTIFIED BY\t'%s'", "CREATE LOGIN a WITH PASSWORD = N'%s'", "ALTER LOGIN a WITH PASSWORD=N'%s' OLD_PASSWORD=N'x'", "SET PASSWORD FOR 'a'@'h' = PASSWORD('%s')", "SET PASSWORD FOR a = '%s'", "SET PASSWORD = PASSWORD('%s')",
		"ALTER ROLE a PASSWORD E'%s'", "ALTER ROLE a PASSWORD $$%s$$", "ALTER ROLE a WITH ENCRYPTED PASSWORD '%s' VALID UNTIL 'x'", "ALTER USER a WITH\nPASSWORD\n'%s'", "ALTER USER a PASSWORD  '%s'", "ALTER USER a PASSWORD\t'%s'", "UPDATE users SET password = '%s'",
		"UPDATE users SET password=crypt('%s', gen_salt('bf'))", "OPTIONS (user 'a', password '%s')", "ENCRYPTION BY PASSWORD = '%s'",
	} {
		for _, password := range append(m.values(), "S3cretPass9x!K", "Summer-2026!", m.of('w', 10)+"7x!") {
			for _, place := range []string{fmt.Sprintf(statement, password), "it is " + fmt.Sprintf(statement, password) + "\n"} {
				if _, found := s.Find(place); !found {
					missed[statement]++
				}
				variants++
			}
		}
	}
	require.Empty(t, missed)
	require.Greater(t, variants, 400)
	for _, text := range []string{
		"the users are identified by user_id2", "a record is identified by a1b2c3d4-e5f6", "IDENTIFIED BY 'password'", "IDENTIFIED WITH mysql_native_password", "IDENTIFIED BY", "PASSWORD EXPIRE NEVER", "SET PASSWORD FOR a = ?", "password for user app1: authentication failed", "PASSWORD $1", "PASSWORD  ''", "password $$ x",
	} {
		requireNone(t, s, text)
	}
}
