package secrets_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// passwords are as people and programs choose them.
func (m maker) passwords() []string {
	return append(m.values(), "Tr0ub4dor&3", "hunter2hunter2", "Summer-2026!", "pa$$w0rd1x", "correct7horse9", m.of('w', 10)+"!", m.of('d', 12))
}

// requireEverywhere requires that a text is found as it is, in other text, in a JSON
// string and in base64.
func requireEverywhere(t *testing.T, find func(t *testing.T, text string), text string) (variants int) {
	t.Helper()
	quoted, err := json.Marshal(map[string]string{"run": text})
	require.NoError(t, err)
	for _, place := range []string{text, "+ " + text + "\nexit status 1", "failed: `" + text + "`", string(quoted), base64.StdEncoding.EncodeToString([]byte(text + "\n"))} {
		find(t, place)
		variants++
	}
	return variants
}

func TestAPasswordIsFoundByTheSyntaxOfAProgram(t *testing.T) {
	s := newScanner(t, nil)
	variants := 0
	for _, line := range []string{
		"sshpass -p %s ssh app@host", "sshpass -p '%s' scp a b:", "sshpass -p%s ssh app@host", "sshpass -v -p \"%s\" ssh host", "mysql -uapp -p%s shop", "mysqldump -h db -u app -p'%s' shop",
		"mariadb -p%s", "redis-cli -h cache -a %s ping", "mongosh -u app -p %s shop", "mongodump --host db -u app -p '%s'", "ldapsearch -x -D cn=app -w %s -b dc=x", "sqlcmd -S db -U sa -P %s -Q x",
		"docker login -u app -p %s ghcr.io", "docker login -p %s", "unzip -P %s a.zip", "zip -r -P%s a.zip a", "smbclient //h/s -U app%%%s", "openssl rsa -in k -passin pass:%s", "openssl enc -k %s",
		"http -a app:%s example.org/a", "https -v --auth=app:%s POST example.org", "http --auth 'app:%s' example.org", "xh -a app:%s example.org", "http -aapp:%s example.org",
	} {
		for _, password := range newMaker().passwords() {
			variants += requireEverywhere(t, func(t *testing.T, text string) { t.Helper(); requireFound(t, s, text) }, fmt.Sprintf(line, password))
		}
	}
	require.Greater(t, variants, 100)
	for _, text := range []string{
		"sshpass -p password ssh host", "sshpass -p $PASSWORD ssh host", "sshpass -p \"${SSH_PASS}\" ssh", "sshpass -f /run/secrets/k1_file ssh host", "sshpass -e ssh host", "mysql -u app -p shop_2026_11", "mysql -P 3306 -p shop",
		"docker run -p 8080:80 nginx", "docker run -p 127.0.0.1:8080:80 --name web1", "docker login -p changeme", "redis-cli -a <password>", "http -a user:password example.org", "https -v example.org/a:b1c2d3e4", "over http -auto and a:b",
		"ldapsearch -x -W", "unzip -P xxxxxxxx a.zip", "openssl rsa -passin env:KEY_PASS1", "openssl rsa -passin file:/run/k1.txt", "openssl rsa -passin stdin", "zip -9 a1b2c3d4e5.zip x", "mongo db1.example.org:27017 -p", "smbclient -U guest%",
		"http -a token example.org", "ldap -w is a flag of 12345678ab programs", "mysqldump -pPASSWORD", "mysql -p*** shop", "sshpass -p %s ssh", "sshpass -p '{{ ssh_pass }}' ssh",
	} {
		requireNone(t, s, text)
	}
}

func TestAPasswordIsFoundAsTheArgumentBehindItsName(t *testing.T) {
	s := newScanner(t, nil)
	variants := 0
	find := func(t *testing.T, text string) { t.Helper(); requireFound(t, s, text) }
	m := newMaker()
	for _, line := range []string{"define('DB_PASSWORD', '%s');", "define( 'DB_PASSWORD', '%s' );", `define("DB_PASSWORD","%s")`, `System.setProperty("db.password", "%s");`, `setenv("PGPASSWORD", "%s", 1)`, `config.set('database.password', '%s')`} {
		for _, password := range m.passwords() {
			variants += requireEverywhere(t, find, fmt.Sprintf(line, password))
		}
	}
	for _, line := range []string{`os.Setenv("API_TOKEN", "%s")`, `os.environ.setdefault("CLIENT_SECRET", "%s")`, `ENV.fetch("SECRET_KEY_BASE", "%s")`} {
		for _, token := range m.values() {
			variants += requireEverywhere(t, find, fmt.Sprintf(line, token))
		}
	}
	require.Greater(t, variants, 100)
	for _, text := range []string{
		"define('DB_PASSWORD', getenv('DB_PASSWORD_2'));", "define('DB_PASSWORD', 'password_here');", "define('DB_PASSWORD', '');", "define('AUTH_KEY', 'put your unique phrase here');", `os.Setenv("API_TOKEN", token1)`, `["password","a1b2c3d4e5f6"]`,
		`{"type":"password","name":"a1b2c3d4e5f6"}`, `("password", "%s")`, `setenv("TOKEN", "${TOKEN}")`, `foo('region', 'eu-central-1a2b3c')`, `label("password", "Your password")`, `get("token", "optional")`,
	} {
		requireNone(t, s, text)
	}
}

func TestTheDefaultOfAVariableIsFoundByItsName(t *testing.T) {
	s := newScanner(t, nil)
	variants := 0
	for _, block := range []string{
		"variable \"db_password\" {\n  default = \"%s\"\n}", "variable \"db_password\" {\n  description = \"Of the database\"\n  type        = string\n  sensitive   = true\n  default     = \"%s\"\n}\n", "variable \"admin_passwd\" { default = \"%s\" }",
	} {
		for _, password := range newMaker().passwords() {
			variants += requireEverywhere(t, func(t *testing.T, text string) { t.Helper(); requireFound(t, s, text) }, fmt.Sprintf(block, password))
		}
	}
	require.Greater(t, variants, 100)
	for _, text := range []string{
		"variable \"db_password\" {\n  type = string\n  sensitive = true\n}\nvariable \"region\" {\n  default = \"eu-central-1a\"\n}", "variable \"db_password\" {\n  default = \"\"\n}", "variable \"db_password\" { default = \"changeme\" }", "variable \"db_password\" { default = null }",
		"variable \"api_token\" { default = var.api_token_2 }", "variable \"image\" {\n  default = \"sha-a1b2c3d4e5f6\"\n}", "the variable \"password\" has no default = sign", "variable \"db_password\" { default = \"${var.db_password}\" }",
	} {
		requireNone(t, s, text)
	}
}

// What carries a credential may have its own signs escaped, or a plus sign for a
// space.
func TestACredentialIsFoundInWhatCarriesIt(t *testing.T) {
	s := newScanner(t, nil)
	m := newMaker()
	asJSON := func(s string) string {
		raw, err := json.Marshal(map[string]string{"body": s})
		require.NoError(t, err)
		return string(raw)
	}
	asQuery := func(s string) string { return "https://h.example.org/?q=" + url.QueryEscape(s) + "&z=1" }
	inBase64 := func(write func(string) string) func(string) string {
		return func(s string) string { return base64.StdEncoding.EncodeToString([]byte(write(s))) }
	}
	asIs := func(s string) string { return s }
	red := func(s string) string { return "\x1b[31m" + s + "\x1b[0m" }
	variants := 0
	for form, writers := range map[string][]func(string) string{
		"<password>%s</password>":                {asIs, asJSON, asQuery, red, inBase64(asJSON)},
		"<db-password>%s</db-password>":          {asIs, asJSON, asQuery, inBase64(asJSON)},
		`<entry key="password">%s</entry>`:       {asIs, asJSON, asQuery, inBase64(asIs)},
		"- name: password\n  value: %s":          {asIs, asJSON, strconv.Quote, asQuery},
		"name=password&value=%s":                 {asIs, red},
		"deploy --password %s --now":             {asIs, asJSON, asQuery, red, inBase64(asQuery)},
		"--password %s":                          {asQuery, red, inBase64(asQuery)},
		"deploy -password %s":                    {asIs, asJSON, red},
		"java -Dapi.key=%s -jar a.jar":           {asIs, asJSON, asQuery, inBase64(asIs)},
		"setx API_KEY %s":                        {asIs, asJSON, red},
		"curl -u u:%s h":                         {asIs, asJSON, asQuery, red, inBase64(asQuery)},
		"CREATE USER a IDENTIFIED BY '%s'":       {asIs, asJSON, asQuery, inBase64(asQuery)},
		"Authorization: token %s":                {asIs, asJSON, asQuery, inBase64(asQuery)},
		"u:%s@tcp(h:3306)/shop":                  {asIs, asJSON, asQuery, inBase64(asQuery)},
		"password=`%s`":                          {asIs, asJSON, inBase64(asIs)},
		"AWS_SECRETACCESSKEY=%s":                 {asIs, asJSON, asQuery},
		"form-data; name=\"password\"\r\n\r\n%s": {asIs, asJSON, asQuery, inBase64(asIs)},
	} {
		for _, value := range m.values() {
			for _, write := range writers {
				requireFound(t, s, write(fmt.Sprintf(form, value)))
				variants++
			}
		}
	}
	require.Greater(t, variants, 100)
	for _, text := range []string{
		"<entry key=\"region\">eu-central-1a2b</entry>", "<entry key=\"password\">changing</entry>", "<a title=\"the secret\">a1b2c3d4e5 is a version</a>", "go test -token string", "ls -secret *.k1x", "form-data; name=\"file\"\r\n\r\na1b2c3d4e5f6",
		"form-data; name=\"password\"\r\n\r\n\r\n--x1y2z3a4b5", "https://h.example.org/a+b+c?token+x1", "a=1&sort=token+desc%20x1y2z3", "- name: region\n  value: eu-central-1a", `{"name":"token"}\n{"value":"x"}`, "\\u003cpassword\\u003estring\\u003c/password\\u003e",
		"-Dfile.encoding=utf8x1y2z3", "setx PATH c:\\a1b2c3d4", "12 items-key a1b2c3d4e5",
	} {
		requireNone(t, s, text)
	}
}

// TestAPlusSignIsASpaceInAQuery, also where nothing else is escaped.
func TestAPlusSignIsASpaceInAQuery(t *testing.T) {
	s := newScanner(t, nil)
	variants := 0
	for _, line := range []string{
		"sshpass -p %s ssh host", "run sshpass -p%s ssh host", "redis-cli -h cache -a %s ping", "mysqldump -uapp -p%s shop", "docker login -u app -p %s", "unzip -P %s a.zip", "openssl enc -k %s", "mongosh -u app -p %s shop",
		"ENV API_TOKEN %s", "setx API_TOKEN %s", "deploy --password %s --now", "deploy -password %s", "machine api.example.org login app password %s",
	} {
		for _, password := range []string{"hunter2hunter2", "Summer-2026.x9", "Tr0ub4dor_3xyz"} {
			for _, query := range []string{"https://h.example.org/?q=%s", "https://h.example.org/a+b?x=1&cmd=%s&z=1", "cmd=%s", "a=b&run=%s", "POST /x 200 page=1&cmd=%s"} {
				text := fmt.Sprintf(query, url.QueryEscape(fmt.Sprintf(line, password)))
				require.NotContains(t, text, "%")
				requireFound(t, s, text)
				requireFound(t, s, base64.StdEncoding.EncodeToString([]byte(text)))
				variants += 2
			}
		}
	}
	require.Greater(t, variants, 100)
	for _, text := range []string{
		"https://h.example.org/?q=sshpass+-p+password+ssh+host", "q=how+to+set+a+password+of+12345678+digits", "q=c%2B%2B+token+a1b2c3", "a1+--b2=c3+d4", "x=1+2+3", "sum=a1b2c3d4+--e5f6a7b8", "version=1.2.3+build.5&os=linux",
	} {
		requireNone(t, s, text)
	}
}

// TestACredentialInElementsOfXMLIsFoundInsideJSON, and that inside JSON, with the signs
// of XML escaped each time or not.
func TestACredentialInElementsOfXMLIsFoundInsideJSON(t *testing.T) {
	s := newScanner(t, nil)
	plain := func(v string) string {
		return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(v)
	}
	variants := 0
	for _, form := range []string{"<password>%s</password>", "<a>\n<ns:Passphrase>%s</ns:Passphrase></a>", `<x password="%s"/>`, `<property name="password" value="%s"/>`, `<entry key="password">%s</entry>`, "<db-password>%s</db-password>", "<password><![CDATA[%s]]></password>"} {
		for _, value := range newMaker().passwords() {
			if strings.ContainsAny(value, "&<") {
				continue
			}
			for _, writers := range [][]func(string) string{{inJSON}, {plain}, {inJSON, inJSON}, {plain, plain}, {inJSON, plain}, {plain, inJSON}, {inJSON, inJSON, inJSON}, {plain, plain, plain}} {
				text := fmt.Sprintf(form, value)
				for _, write := range writers {
					text = `{"body":"` + write(text) + `"}`
				}
				requireFound(t, s, text)
				variants++
			}
		}
	}
	require.Greater(t, variants, 100)
}
