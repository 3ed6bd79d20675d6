package secrets_test

import (
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// setting is how a program's settings hold a password: what stands around it, and how
// it is written there. An empty one cannot be written.
type setting struct {
	around string
	write  func(password string) string
}

func doubled(quote string) func(string) string {
	return func(s string) string { return strings.ReplaceAll(s, quote, quote+quote) }
}

func slashed(quote string) func(string) string {
	return strings.NewReplacer(`\`, `\\`, quote, `\`+quote).Replace
}

// without returns a writer for a place that cannot hold some bytes.
func without(bytes string) func(string) string {
	return func(s string) string {
		if strings.ContainsAny(s, bytes) {
			return ""
		}
		return s
	}
}

func inXML(s string) string {
	var b strings.Builder
	if err := xml.EscapeText(&b, []byte(s)); err != nil {
		panic(err)
	}
	return b.String()
}

func inJSON(s string) string {
	raw, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(raw[1 : len(raw)-1])
}

func inGo(s string) string {
	quoted := strconv.Quote(s)
	return quoted[1 : len(quoted)-1]
}

func twice(s string) string { return inJSON(inJSON(s)) }

// settings have %[1]s for the name.
var settings = []setting{
	{`%[1]s = "%[2]s"`, slashed(`"`)}, {`%[1]s="%[2]s"`, slashed(`"`)}, {`%[1]s: "%[2]s"`, slashed(`"`)}, {"  %[1]s: '%[2]s'\n", doubled("'")},
	{`export %[1]s='%[2]s'`, without("'")}, {`%[1]s='%[2]s' ./run`, without("'")}, {`%[1]s = '''%[2]s'''`, without("'")}, {"%[1]s = `%[2]s`", without("`")},
	{`{"%[1]s":"%[2]s"}`, inJSON}, {`{"user": "app", "%[1]s": "%[2]s", "port": 5432}`, slashed(`"`)}, {`{"body":"{\"%[1]s\":\"%[2]s\"}"}`, twice},
	{`<x user="app" %[1]s="%[2]s"/>`, inXML}, {`<x %[1]s='%[2]s' />`, inXML}, {`<%[1]s>%[2]s</%[1]s>`, inXML}, {`<%[1]s><![CDATA[%[2]s]]></%[1]s>`, without("]")},
	{`<property name="%[1]s" value="%[2]s"/>`, inXML}, {`<entry key="%[1]s">%[2]s</entry>`, inXML}, {`{"name":"%[1]s","value":"%[2]s"}`, inJSON},
	{`host=db %[1]s='%[2]s' port=5432`, slashed("'")}, {`Server=db;%[1]s="%[2]s";Encrypt=true`, doubled(`"`)},
	{`define('%[1]s', '%[2]s');`, slashed("'")}, {`os.Setenv("%[1]s", "%[2]s")`, inGo}, {`'%[1]s' => '%[2]s',`, slashed("'")}, {`config.%[1]s = "%[2]s"`, inGo},
	{`deploy --%[1]s '%[2]s' --now`, without("'")}, {`deploy --%[1]s="%[2]s"`, slashed(`"`)}, {"variable \"%[1]s\" {\n  default = \"%[2]s\"\n}", inGo},
	{"form-data; name=\"%[1]s\"\r\n\r\n%[2]s\r\n--x1", without("\n")},
}

// passwordsWith are passwords that a generator made, with some signs among letters and
// digits.
func (m maker) passwordsWith(signs string, n int) (all []string) {
	letters := alphabets['w']
	for len(all) < n {
		out := make([]byte, 12+m.IntN(9))
		for i := range out {
			if m.IntN(4) == 0 {
				out[i] = signs[m.IntN(len(signs))]
			} else {
				out[i] = letters[m.IntN(len(letters))]
			}
		}
		password := string(out)
		if strings.ContainsAny(password, signs) && strings.TrimSpace(password) == password && strings.ContainsAny(password, "0123456789") {
			all = append(all, password)
		}
	}
	return all
}

// TestAPasswordIsFoundInSettingsWhateverItsSignsAre: of each sign, and in each kind of
// settings, 97 of 100, as a few passwords read as a template or a version.
func TestAPasswordIsFoundInSettingsWhateverItsSignsAre(t *testing.T) {
	s := newScanner(t, nil)
	m := newMaker()
	var all strings.Builder
	for b := byte(' '); b < 0x7f; b++ {
		if !strings.Contains(alphabets['w'], string(b)) {
			all.WriteString(string(b))
		}
	}
	const brackets = "(){}<> "
	type count struct{ found, of int }
	counts := map[string]*count{}
	note := func(what string, found bool) {
		c := counts[what]
		if c == nil {
			c = new(count)
			counts[what] = c
		}
		if c.of++; found {
			c.found++
		}
	}
	for _, signs := range append(strings.Split(all.String(), ""), all.String(), brackets, "() ", "[] ") {
		for _, set := range settings {
			for _, name := range []string{"password", "DB_PASSWORD", "dbPasswd", "spring.datasource.password", "pwd", "Passphrase"} {
				for _, password := range m.passwordsWith(signs, 3) {
					written := set.write(password)
					if written == "" {
						continue
					}
					text := fmt.Sprintf(set.around, name, written)
					for _, form := range []string{text, "# " + text + "\n", base64.StdEncoding.EncodeToString([]byte(text))} {
						_, found := s.Find(form)
						note("all", found)
						note("in "+set.around, found)
						note("with "+signs, found)
					}
				}
			}
		}
	}
	require.Greater(t, counts["all"].of, 40_000)
	require.Greater(t, counts["all"].found*1000, counts["all"].of*995)
	for what, c := range counts {
		require.GreaterOrEqual(t, c.found*100, c.of*97, "%d of %d %s", c.found, c.of, what)
	}
	t.Logf("%d of %d", counts["all"].found, counts["all"].of)
}

// TestWhatStandsForAPasswordInSettingsIsNone, and what only tells of one.
func TestWhatStandsForAPasswordInSettingsIsNone(t *testing.T) {
	s := newScanner(t, nil)
	for _, value := range []string{
		"must have at least 8 characters (A to Z)", "the password (of 2 or more) of the database", "<your password>", "<password-1>", "{password}", "{db.password1}", "prefix-{name}-{id2}", "{{ lookup('env', 'PW1') }}", "${{ secrets.PW_1 }}", "#{ENV['PW1']}",
		"<%= password1 %>", "$(cat /run/secrets/pw1)", "%(password1)s", "getPassword(user)", "os.Getenv(name)", "func(a int) (b string, err error)", "map[string]string{}", "^[a-zA-Z0-9]{8,64}$", "(?=.*[0-9]).{8,}",
		"correct horse battery staple", "Password of the user, see RFC 2617", "required (string)", "Enter your password", "is not set (use --password)", "a secret of 16 bytes or more", "at /etc/app/password.txt (mode 0600)", "MyPassword", "{0}", "[REDACTED]", "[2 of 3 shown]",
		"sha256 of it, in base64, with utf8", "since 2026-11-27 (Friday)", "version 1.2.3 (or 1.2.4)", "\" + config.pass(user1) + \"", "not found: user(id) has none", "*** (hidden) ***",
	} {
		for _, set := range settings {
			for _, name := range []string{"password", "DB_PASSWORD", "dbPasswd"} {
				if written := set.write(value); written != "" {
					requireNone(t, s, fmt.Sprintf(set.around, name, written))
				}
			}
		}
	}
	for _, text := range []string{
		`<x password="&lt;password-1&gt;"/>`, `{"signature":"func (r *Reader) ReadAt(p []byte, off int64) (n int, err error)"}`, `{"signature":"std::map<int, std::string>::insert(int&&, T1)"}`, `{"token":"Bearer {token1} or {token2}"}`, `sig = "(Ljava/lang/String;II)V"`,
		`throw("cannot pass " + toRType(etyp).string() + " to finalizer")`, `secret: "the name of the Secret (v1) to use"`, `"token": "a (short) JWT, base64url(header).base64url(claims)"`,
	} {
		requireNone(t, s, text)
	}
}

// TestAKeyOfSettingsIsFoundWhateverItsSignsAre: those that frameworks make.
func TestAKeyOfSettingsIsFoundWhateverItsSignsAre(t *testing.T) {
	s := newScanner(t, nil)
	m := newMaker()
	draw := func(alphabet string, n int) string {
		out := make([]byte, n)
		for i := range out {
			out[i] = alphabet[m.IntN(len(alphabet))]
		}
		return string(out)
	}
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	salts := strings.ToUpper(letters) + letters + "!@#$%^&*()-_ []{}<>~`+=,.;:/?|"
	variants := 0
	for range 50 {
		django := draw(letters+"!@#$%^&*(-_=+)", 50)
		for _, text := range []string{"SECRET_KEY = '" + django + "'", "DJANGO_SECRET_KEY=\"" + django + "\"", `{"secret_key":"` + inJSON(django) + `"}`, "SECRET_KEY = 'django-insecure-" + django + "'"} {
			requireEverywhere(t, func(t *testing.T, text string) { t.Helper(); requireFound(t, s, text) }, text)
			variants++
		}
		for _, name := range []string{"AUTH_KEY", "SECURE_AUTH_KEY", "LOGGED_IN_KEY", "NONCE_KEY", "AUTH_SALT", "SECURE_AUTH_SALT", "LOGGED_IN_SALT", "NONCE_SALT"} {
			for _, text := range []string{"define('%s', '%s');", "define( '%s',   '%s' );", "define(\"%s\", \"%s\");", "%s='%s'"} {
				requireEverywhere(t, func(t *testing.T, text string) { t.Helper(); requireFound(t, s, text) }, fmt.Sprintf(text, name, "x"+draw(salts, 62)+"y"))
				variants++
			}
		}
	}
	require.Greater(t, variants, 1_000)
	requireNone(t, s, "define('AUTH_KEY',         'put your unique phrase here');")
}
