package secrets_test

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"html"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestACredentialInXMLIsFoundByItsElementOrTheOneBefore, with attributes or in the next
// cell, and in what HTML escapes.
func TestACredentialInXMLIsFoundByItsElementOrTheOneBefore(t *testing.T) {
	s := newScanner(t, nil)
	m := newMaker()
	variants := 0
	for _, name := range []string{"password", "Password", "dbPassword", "fs.s3a.secret.key", "api_key", "clientSecret"} {
		for _, form := range []string{
			`<wsse:%s Type="PasswordText">%s</wsse:%[1]s>`, `<%s encrypted="false">%s</%[1]s>`, `<%s xsi:type="xsd:string">%s</%[1]s>`, "<%s a=\"b\"\n  c='d'>\n  %s\n</%[1]s>", "<key>%s</key><string>%s</string>", "<key>%s</key>\n\t<string>%s</string>", "<name>%s</name><value>%s</value>",
			"<property>\n  <name>%s</name>\n  <value>%s</value>\n</property>", "<td>%s</td><td>%s</td>", "<dt>%s</dt><dd>%s</dd>", "<th scope=\"row\">%s</th><td class=\"x\">%s</td>", "<param><name>%s</name><value>%s</value></param>",
		} {
			for _, value := range []string{"S3cretPass9xzK", "9fK2mZ7qLw4RtY8uVb3N", m.of('w', 20) + "9z8Y"} {
				text := fmt.Sprintf(form, name, value)
				for _, place := range []string{text, "it is " + text, base64.StdEncoding.EncodeToString([]byte(text)), html.EscapeString(text), "x &amp; y " + text} {
					requireFound(t, s, place)
					variants++
				}
			}
		}
		for _, value := range []string{"S3cretPass9xzK", "9fK2mZ7qLw4RtY8uVb3N"} {
			raw, err := json.Marshal(map[string]string{name: value})
			require.NoError(t, err)
			for _, text := range []string{html.EscapeString(string(raw)), html.EscapeString(name + "=\"" + value + "\""), name + "&#61;" + value, name + "&#x3d;" + value, fmt.Sprintf(`<input value="%s" name="%s">`, value, name), fmt.Sprintf(`<input class="a" value="%s" name="%s" />`, value, name)} {
				if !strings.HasSuffix(text, "/>") {
					requireFound(t, s, text)
					variants++
				}
			}
		}
	}
	requireFound(t, s, `<input type="password" value="S3cretPass9xzK">`)
	require.Greater(t, variants, 1_000)
	for _, text := range []string{
		"<key>CFBundleIdentifier</key><string>org.example.app1</string>", "<key>password</key><string>changing</string>", "<key>password</key><true/>", "<li>password</li><li>a1b2c3d4e5</li>", "<name>token</name>\n<version>1.2.3-a1b2</version>", "<password type=\"text\">changing</password>", "<td>password</td><td>required</td>",
		"<input name=\"password\" value=\"\">", "<input value=\"changing\" name=\"password\">", "<password type=\"string\"/><id>a1b2c3d4e5f6</id>", "<b class=\"token\">12 items a1b2c3</b>", "a &lt; b &amp;&amp; c &gt; d1e2f3", "password=&lt;your password&gt;", "&#39;token&#39; is a string of 16 bytes",
	} {
		requireOrdinary(t, text)
	}
}

// TestBase64IsReadAcrossItsLines: indented, quoted or escaped.
func TestBase64IsReadAcrossItsLines(t *testing.T) {
	s := newScanner(t, nil)
	m := newMaker()
	key := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE " + "KEY", Bytes: []byte(m.of('s', 400))}))
	once := base64.StdEncoding.EncodeToString([]byte(key))
	variants := 0
	for _, text := range []string{once, base64.StdEncoding.EncodeToString([]byte(once)), base64.StdEncoding.EncodeToString([]byte(strings.Repeat("# settings\n", 20) + "password=S3cretPass9x!K\n"))} {
		for _, width := range []int{60, 64, 70, 72, 76} {
			for _, joint := range []string{"\n", "\r\n", "\n  ", "\n    ", "\n\t", "\n        ", "\n> ", "\n>> ", `\n`, `\r\n`, `\n  `, `\\n`, "\n\n"} {
				broken := strings.ReplaceAll(wrap(text, width), "\n", joint)
				for _, place := range []string{"%s", "data: |\n    %s\n", "  %s", "> %s", `{"key":"%s"}`} {
					requireFound(t, s, fmt.Sprintf(place, broken))
					variants++
				}
			}
		}
		requireFound(t, s, strings.ReplaceAll(text, "/", `\/`))
	}
	require.Greater(t, variants, 900)
}

// TestACredentialIsFoundByMoreOfItsNames: with a number or a word behind, in two words, in
// files of npm and Docker.
func TestACredentialIsFoundByMoreOfItsNames(t *testing.T) {
	s := newScanner(t, nil)
	m := newMaker()
	variants := 0
	for _, form := range []string{"%s=%s", "%s: %s", `{"%s":"%s"}`, "%s = '%s'", "export %s=%s", "page=1&%s=%s"} {
		for _, name := range []string{
			"API key", "api key", "Secret key", "private key", "access key", "password1", "password2", "new_password1", "password_confirmation", "passwordConfirmation", "passwordConfirm", "token_1", "TOKEN2", "api_key_2", "api-key-1", "dbpass", "dbpasswd", "dbpwd", "storepass", "keypass", "userpass", "smtppass", "bindpw", "rootpw", "passcode", "wpapsk", "identitytoken", "PresharedKey",
		} {
			for _, value := range []string{"9fK2mZ7qLw4RtY8uVb3N", m.of('w', 20) + "9z8Y", m.of('a', 20) + "7x2"} {
				requireFound(t, s, fmt.Sprintf(form, name, value))
				variants++
			}
		}
	}
	for _, password := range m.passwords() {
		login := base64.StdEncoding.EncodeToString([]byte("app:" + password))
		for _, text := range []string{`{"auths":{"r.example.org":{"auth":"%s"}}}`, "_auth=%s", "//r.example.org/:_auth=%s", "auth: %s", `{"auth": "%s"}`} {
			variants += requireEverywhere(t, func(t *testing.T, text string) { t.Helper(); requireFound(t, s, text) }, fmt.Sprintf(text, login))
		}
	}
	private := `{"kty":"EC","crv":"P-256","x":"` + m.of('s', 43) + `","d":"` + m.of('s', 43) + `"}`
	public := `{"kty":"EC","crv":"P-256","x":"` + m.of('s', 43) + `","y":"` + m.of('s', 43) + `"}`
	for _, n := range []int{0, 7, 8, 12, 40, 200} {
		requireFound(t, s, `{"keys":[`+strings.Repeat(public+",", n)+private+`]}`)
		requireNone(t, s, `{"keys":[`+strings.Repeat(public+",", n)+public+`]}`)
	}
	for _, form := range []string{strings.ReplaceAll(private, `"`, "'"), strings.ReplaceAll(private, `":"`, `" : "`), html.EscapeString(private), "kty: EC\ncrv: P-256\nd: " + m.of('s', 43) + "\n", "map[crv:P-256 d:" + m.of('s', 43) + " kty:EC x:" + m.of('s', 43) + "]", "map[k:" + m.of('s', 43) + " kty:oct]", "key:\n  kty: oct\n  k: " + m.of('s', 43) + "\n"} {
		requireFound(t, s, form)
		requireFound(t, s, base64.StdEncoding.EncodeToString([]byte(form)))
	}
	for _, text := range []string{"4242424242424242.00 EUR", "4242424242424242.0", "4242424242424242.00", "4242424242424242."} {
		requireFound(t, s, text)
	}
	require.Greater(t, variants, 800)
	for _, text := range []string{
		"next_page_token=CAUQAA1b2c", "page_token: abc123def456", "nextPageToken: a1b2c3d4e5f6", "continuation-token: 1a2b3c4d5e", "NextToken=a1b2c3d4e5f6", "sort key: a1b2c3d4e5f6", "primary key: order1a2b3c", "auth: a1b2c3d4e5f6", "auth=YWJjZGVmZ2hpamtsbW5v", `{"auth":"` + base64.StdEncoding.EncodeToString([]byte("just text")) + `"}`,
		"oauth: a1b2c3d4e5f6", "passed1: 12345678ab", "4242424242424242.5", "4242424242424242.001", "4242424242424242.00.1", "kty: EC\ncrv: P-256\nx: " + m.of('s', 43), "tokens2: a1b2c3d4",
	} {
		requireOrdinary(t, text)
	}
}
