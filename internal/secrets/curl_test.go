package secrets_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAPasswordIsFoundAmongArgumentsInAList: as programs, JSON and YAML write them.
func TestAPasswordIsFoundAmongArgumentsInAList(t *testing.T) {
	s := newScanner(t, nil)
	m := newMaker()
	found := func(t *testing.T, text string) { t.Helper(); requireFound(t, s, text) }
	variants := 0
	for _, line := range [][]string{
		{"sshpass", "-p", "%s", "ssh", "h"}, {"mysql", "-uroot", "-p%s"}, {"mysqldump", "-u", "app", "-p%s", "shop"}, {"redis-cli", "-a", "%s"}, {"docker", "login", "-u", "a", "-p", "%s"}, {"curl", "-u", "admin:%s", "https://example.org"}, {"curl", "-sS", "--user", "admin:%s"},
		{"mongosh", "-p", "%s"}, {"ldapsearch", "-w", "%s"}, {"unzip", "-P", "%s", "a.zip"}, {"app", "--password", "%s"}, {"app", "serve", "--db-password", "%s", "--now"},
	} {
		for _, password := range []string{"S3cretPass9x!K", "Summer-2026!", "9fK2mZ7qLw4RtY8uVb3N", m.of('w', 12) + "9z8Y"} {
			argv := strings.Split(strings.ReplaceAll(strings.Join(line, "\x00"), "%s", password), "\x00")
			double, single := `"`+strings.Join(argv, `","`)+`"`, "'"+strings.Join(argv, "', '")+"'"
			for _, text := range []string{
				"[" + double + "]", "CMD [" + strings.ReplaceAll(double, ",", ", ") + "]", "args: [" + double + "]", "exec.Command(" + strings.ReplaceAll(double, ",", ", ") + ")", "subprocess.run([" + single + "])", "[]string{" + strings.ReplaceAll(double, ",", ", ") + "}",
				"[" + strings.Join(argv, " ") + "]", strings.Join(argv, "\t"), "[\n  " + strings.ReplaceAll(double, ",", ",\n  ") + "\n]",
			} {
				if strings.Contains(text, "\n") && argv[0] != "app" {
					continue
				}
				variants += requireEverywhere(t, found, text)
			}
		}
	}
	for _, list := range []string{`["--token","%s"]`, `["--token", "%s"]`, `'--api-key', '%s'`, `args: ["--api-key","%s"]`, "args:\n- --token\n- %s", "args:\n  - --client-secret\n  - %s\n", `{"args":["--api-key","%s","-v"]}`} {
		for _, token := range m.values() {
			variants += requireEverywhere(t, found, fmt.Sprintf(list, token))
		}
	}
	require.Greater(t, variants, 1_500)
	for _, text := range []string{
		`["docker","run","-p","127.0.0.1:8080:80","web1"]`, `["mysql","-u","app","-p","shop_2026_11"]`, `["curl","-u","app","https://example.org"]`, `["--token","string"]`, `["--region","eu-central-1a2b3c"]`, `["sshpass","-p","$PASSWORD"]`, `["password","a1b2c3d4e5f6"]`, `["--token","--password"]`,
		"args:\n- --token\n- --password1x2y3\n", `["--password","${PASSWORD}"]`, `["--token-file","/run/secrets/t1"]`, `exec.Command("sshpass", "-f", "/run/k1_file")`, `("curl", "https://example.org/a:b1")`,
	} {
		requireOrdinary(t, text)
	}
}

// TestWhatCurlIsGivenIsFound: in each way in which it takes a login, though another one in
// the line is none.
func TestWhatCurlIsGivenIsFound(t *testing.T) {
	s := newScanner(t, nil)
	m := newMaker()
	variants := 0
	for _, before := range []string{
		"", "curl -u $USER https://a && ", "curl -u app https://a; ", "curl --user app https://a && ", "curl -u ${U}:${P} https://a && ", "curl -u \"$USER:$PASSWORD\" https://a | ", "curl -u app:*** https://a; ", "curl -u app:%PASSWORD% https://a & ", "curl -s https://a; ",
	} {
		for _, line := range []string{
			"curl -u admin:%s https://b", "curl -uadmin:%s https://b", "curl -su admin:%s https://b", "curl -sSu admin:%s https://b", "curl -Lku admin:%s https://b", "curl -fsSLuadmin:%s https://b", "curl --user admin:%s https://b", "curl --user=admin:%s https://b", "curl --user='admin:%s' https://b",
			"curl --user-agent foo --user admin:%s https://b", "curl -U proxy:%s https://b", "curl --proxy-user proxy:%s https://b", "curl https://b -u \"admin:%s\"", "curl https://b \\\n  -u admin:%s", "curl.exe -u admin:%s https://b", "curl\t-u\tadmin:%s", "curl -X POST -d '" + strings.Repeat("x", 700) + "' -u admin:%s https://b",
			"curl -H 'Accept: a' -d @- -o x -u admin:%s https://b", "curl -b session=%s https://b", "curl --cookie 'sid=%s' https://b",
		} {
			for _, password := range []string{"S3cretPass9x!K", "9fK2mZ7qLw4RtY8uVb3N", m.of('w', 12) + "9z8Y"} {
				if before == "" {
					variants += requireEverywhere(t, func(t *testing.T, text string) { t.Helper(); requireFound(t, s, text) }, fmt.Sprintf(line, password))
				} else {
					requireFound(t, s, before+fmt.Sprintf(line, password))
					variants++
				}
			}
		}
	}
	require.Greater(t, variants, 700)
	for _, text := range []string{
		"curl --user-agent a:b https://x", "curl -H X-A:b1c2d3e4f5 https://x", "curl -o a:b https://x", "curl -X a:b", "curl -du:a1b2c3d4 https://x", "curl -b cookies.txt https://x", "curl -u app: https://x", "curl -k https://a:8080/x -u", "curly -u a:b", "use curl -u <user>:<password>", "curl --url a:b1", "curl -b lang=de https://x",
	} {
		requireOrdinary(t, text)
	}
}
