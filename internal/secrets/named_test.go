package secrets_test

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/secrets"
	"github.com/jobaudit/jobaudit/internal/tools/size"
)

func requireFound(t *testing.T, s *secrets.Scanner, text string) {
	t.Helper()
	_, found := s.Find(text)
	require.True(t, found, "%q", text)
}

// Keys that Go makes, in every encoding that it has for them.
func TestPrivateKeysAreFoundWithoutTheirFirstLine(t *testing.T) {
	s := newScanner(t, nil)
	ders := map[string][]byte{}
	add := func(name string, der []byte, err error) {
		require.NoError(t, err, name)
		ders[name] = der
	}
	for _, bits := range []int{1024, 2048} {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		require.NoError(t, err)
		pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
		add(fmt.Sprint("PKCS #8 RSA ", bits), pkcs8, err)
		add(fmt.Sprint("PKCS #1 RSA ", bits), x509.MarshalPKCS1PrivateKey(key), nil)
		requireNone(t, s, base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(&key.PublicKey)))
		public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
		require.NoError(t, err)
		requireNone(t, s, base64.StdEncoding.EncodeToString(public))
	}
	for _, curve := range []elliptic.Curve{elliptic.P224(), elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		for n := range 10 {
			key, err := ecdsa.GenerateKey(curve, rand.Reader)
			require.NoError(t, err)
			sec1, err := x509.MarshalECPrivateKey(key)
			add(fmt.Sprint("SEC 1 ", curve.Params().Name, n), sec1, err)
			pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
			add(fmt.Sprint("PKCS #8 ", curve.Params().Name, n), pkcs8, err)
			public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
			require.NoError(t, err)
			requireNone(t, s, base64.StdEncoding.EncodeToString(public))
			signature, err := ecdsa.SignASN1(rand.Reader, key, public[:32])
			require.NoError(t, err)
			requireNone(t, s, base64.StdEncoding.EncodeToString(signature))
		}
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(edwards)
	add("Ed25519", pkcs8, err)
	x, err := ecdh.X25519().GenerateKey(rand.Reader)
	require.NoError(t, err)
	pkcs8, err = x509.MarshalPKCS8PrivateKey(x)
	add("X25519", pkcs8, err)
	// As OpenSSL encodes a DSA key, which Go does not write.
	big1 := new(big.Int).Lsh(big.NewInt(3), 1022)
	der, err := asn1.Marshal(struct{ Version, P, Q, G, Y, X *big.Int }{big.NewInt(0), big1, big1, big1, big1, big1})
	add("DSA", der, err)
	for name, der := range ders {
		encoded := base64.StdEncoding.EncodeToString(der)
		for _, around := range []string{"%s", "key %s", `{"key":"%s"}`, "KEY=%s", "key: %s\n"} {
			rule, found := s.Find(fmt.Sprintf(around, encoded))
			require.True(t, found, "%s: %q", name, encoded)
			require.Equal(t, "private-key", rule, name)
		}
	}
}

// Keys that OpenSSL and OpenSSH make.
func TestExtraPrivateKeysOfOtherProgramsAreFound(t *testing.T) {
	size.Extra(t)
	s := newScanner(t, nil)
	dir := t.TempDir()
	for _, args := range []string{
		"genrsa 2048", "genrsa -traditional 2048", "genrsa -aes256 -passout pass:xxxx 2048", "genpkey -algorithm ed25519", "genpkey -algorithm ed448",
		"genpkey -algorithm x25519", "ecparam -genkey -name prime256v1 -noout", "ecparam -genkey -name secp384r1 -noout", "ecparam -genkey -name secp521r1 -noout",
		"ecparam -genkey -name secp256k1 -noout", "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384", "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521",
	} {
		out, err := exec.CommandContext(t.Context(), "openssl", strings.Fields(args)...).Output()
		require.NoError(t, err, args)
		requireForms(t, s, args, string(out))
	}
	for _, kind := range []string{"rsa", "ecdsa", "ed25519"} {
		for _, format := range []string{"RFC4716", "PKCS8", "PEM"} {
			for _, password := range []string{"", "a passphrase"} {
				file := filepath.Join(dir, kind+format+strings.ReplaceAll(password, " ", ""))
				out, err := exec.CommandContext(t.Context(), "ssh-keygen", "-q", "-t", kind, "-m", format, "-N", password, "-f", file).CombinedOutput()
				require.NoError(t, err, string(out))
				key, err := os.ReadFile(file)
				require.NoError(t, err)
				requireForms(t, s, kind+" "+format, string(key))
				public, err := os.ReadFile(file + ".pub")
				require.NoError(t, err)
				requireNone(t, s, string(public))
			}
		}
	}
}

// requireForms requires that a key in PEM is found, and without its first and
// last line.
func requireForms(t *testing.T, s *secrets.Scanner, name, key string) {
	t.Helper()
	requireRule(t, s, "private-key", key)
	lines := strings.Split(strings.TrimSpace(key), "\n")
	body := strings.Join(lines[1:len(lines)-1], "")
	if strings.Contains(body, ":") { // headers
		return
	}
	_, found := s.Find("key " + body)
	require.True(t, found, "%s: %q", name, body)
}

func TestPrivateJSONWebKeysAreFound(t *testing.T) {
	s := newScanner(t, nil)
	m := newMaker()
	for range 30 {
		for _, key := range []map[string]any{
			{"kty": "RSA", "n": m.of('s', 342), "e": "AQAB", "d": m.of('s', 342)}, {"kty": "EC", "crv": "P-256", "x": m.of('s', 43), "y": m.of('s', 43), "d": m.of('s', 43)},
			{"kty": "OKP", "crv": "Ed25519", "x": m.of('s', 43), "d": m.of('s', 43)}, {"kty": "oct", "k": m.of('s', 43)},
		} {
			raw, err := json.Marshal(key)
			require.NoError(t, err)
			requireFound(t, s, string(raw))
			quoted, err := json.Marshal(string(raw))
			require.NoError(t, err)
			requireFound(t, s, string(quoted))
			delete(key, "d")
			delete(key, "k")
			raw, err = json.Marshal(key)
			require.NoError(t, err)
			requireNone(t, s, string(raw))
		}
	}
}

// values are credentials without a form of their own.
func (m maker) values() []string {
	return []string{m.of('h', 32), m.of('w', 24), m.of('s', 43), m.of('a', 20) + "7x2", m.uuid(), m.of('w', 12) + "9z8Y"}
}

func TestACredentialIsFoundByItsNameInItsPlace(t *testing.T) {
	s := newScanner(t, nil)
	m := newMaker()
	variants := 0
	for _, name := range []string{
		"access_token", "refresh_token", "id_token", "client_secret", "api_key", "apikey", "api-key", "sig", "signature", "X-Amz-Signature", "X-Amz-Security-Token",
		"password", "secret", "token", "private_token", "auth_token", "sessionToken", "clientSecret", "apiKey",
	} {
		for _, place := range []string{
			"GET https://api.example.org/v1?%s=%s&page=2: 403", "https://api.example.org/v1?page=2&%s=%s", "grant_type=x&%s=%s", "--%s=%s", "%s=%s", "MY_%s=%s", "%s: %s", `{"%s":"%s"}`, `{\"%s\":\"%s\"}`,
			`%s = "%s"`, "host=db %s=%s port=5432", "Server=db;%s=%s;Encrypt=true", `<x %s="%s"/>`, "%s='%s'",
		} {
			for _, value := range m.values() {
				requireFound(t, s, fmt.Sprintf(place, name, value))
				variants++
			}
		}
	}
	for _, value := range m.values() {
		for _, text := range []string{
			"--token %s", "deploy --api-key %s --force", "--client-secret '%s'", "export PGPASSWORD=%s", "ENV API_TOKEN %s", "SECRET_KEY_BASE=%s", "x-functions-key: %s",
			"<password>%s</password>", "<ns:ApiKey>%s</ns:ApiKey>", "ALTER USER app PASSWORD '%s'", "CREATE USER app IDENTIFIED BY '%s'", "CREATE USER app IDENTIFIED BY \"%s\"",
			"machine a login anonymous password guest\nmachine machine.example.org login app password %s", "this machine has\nmachine a\nlogin b # the machine " + strings.Repeat("x", 240) + "\nmachine api.example.org login app account x password %s",
			`{"key":"<password>%s</password>"}`, `{"code":"docker run --password %s"}`, "token=\"mysql --password %s\"", `{"credential":"ALTER USER a PASSWORD '%s'"}`, `{"secret":"a --token string and <password>string</password> and --api-key %s"}`,
			"machine api.example.org login app password %s", "machine api.example.org\n  login app\n  password %s\n", "os.environ['API_KEY'] = '%s'",
			`{"name":"DB_PASSWORD","value":"%s"}`, `{"key": "apiKey", "value": "%s", "enabled": true}`, "- name: API_TOKEN\n  value: %s\n", `<property name="password" value="%s"/>`, `<add key="ClientSecret" value='%s' />`,
			"map[Accept:[*/*] X-Api-Key:[%s]]", `http.Header{"X-Api-Key":[]string{"%s"}}`, `{"X-Auth-Token":["%s"]}`, "password:                 %s", "$password = '%s';",
		} {
			text = fmt.Sprintf(text, value)
			requireFound(t, s, text)
			requireFound(t, s, base64.StdEncoding.EncodeToString([]byte(text)))
			variants++
		}
		for _, text := range []string{"jdbc:mysql://db/shop?user=app&password=%s", "password => \"%s\"", "https://api.example.org/?a=1&access_token=%s"} {
			text = fmt.Sprintf(text, value)
			quoted, err := json.Marshal(map[string]string{"value": text}) // which escapes & and >
			require.NoError(t, err)
			requireFound(t, s, string(quoted))
			requireFound(t, s, base64.StdEncoding.EncodeToString([]byte("https://example.org/?q="+url.QueryEscape(text))))
			variants++
		}
		for _, header := range []string{
			"X-Api-Key: %s", "X-Auth-Token: %s", "Authorization: %s", "Authorization: Token %s", "authorization: ApiKey %s", `Authorization: Digest username="app", response="%s"`,
			"Authorization: AWS4-HMAC-SHA256 Credential=x/y, SignedHeaders=host, Signature=%s", "Cookie: theme=dark; session=%s", "Set-Cookie: sid=%s; Path=/; HttpOnly", `{"Cookie":["sid=%s"]}`,
			"PRIVATE-TOKEN: %s", "curl -H 'X-Api-Key: %s' https://example.org", "https://example.org/cb?code=%s&state=1", "https://maps.googleapis.com/maps/api/geocode/json?address=x&key=%s",
		} {
			requireFound(t, s, fmt.Sprintf(header, value))
			variants++
		}
	}
	require.Greater(t, variants, 100)
}

// Go quotes the address of a failed request, with its query, in the error.
func TestTheErrorOfAFailedRequestIsFound(t *testing.T) {
	s := newScanner(t, nil)
	m := newMaker()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	for _, value := range m.values() {
		for _, name := range []string{"access_token", "api_key", "sig", "password", "token"} {
			_, err := http.Get(server.URL + "/?page=1&" + url.Values{name: {value}}.Encode())
			require.Error(t, err)
			requireFound(t, s, err.Error())
		}
	}
}

func TestCredentialsInEveryDriversDataSourceAreFound(t *testing.T) {
	s := newScanner(t, nil)
	m := newMaker()
	variants := 0
	for _, password := range []string{"$ecret-2026", "%40bc%3Adef", "p@ss-w0rd!", "Tr0ub4dor&3", m.of('w', 16), m.of('w', 12) + "/x7", "hunter2-hunter2", "${x7y8z9"} {
		for _, form := range []string{
			"postgres://app:%s@db.internal:5432/shop", "mysql://app:%s@db/shop", "redis://:%s@cache:6379/0", "mongodb+srv://app:%s@c0.example.net/", "amqps://app:%s@mq/v", "https://app:%s@example.org/x.git",
			"sqlserver://app:%s@db:1433?database=x", "app:%s@tcp(db:3306)/shop", "app:%s@unix(/run/mysqld.sock)/shop", "dsn: app:%s@tcp(db:3306)/shop", "app:%s@db.example.org:5432", "DSN=app:%s@db.example.org/shop",
		} {
			requireFound(t, s, fmt.Sprintf(form, password))
			variants++
		}
		for _, form := range []string{"curl -u app:%s https://example.org", "curl --user 'app:%s' https://example.org", "curl https://example.org -uapp:%s", "curl -s -u app:%s x"} {
			requireFound(t, s, fmt.Sprintf(form, password))
			variants++
		}
	}
	require.GreaterOrEqual(t, variants, 100)
	basic := base64.StdEncoding.EncodeToString([]byte("jürgen:geheim-größe"))
	requireFound(t, s, "Authorization: Basic "+basic)
}

func TestAMaskIsAWholeTemplate(t *testing.T) {
	s := newScanner(t, nil)
	for _, mask := range []string{
		"${PASSWORD}", "${db.password}", "$PASSWORD", "$DB_PASSWORD", "$(cat secret)", "<password>", "<your password>", "{{password}}", "{{ .Values.password }}", "{password}",
		"%s", "%v", "%q", "%[1]s", "%(password)s", "%PASSWORD%", "***", "xxxxx", "XXXXXXXX", "--------", "........", "[REDACTED]", "[secret]", "REDACTED", "redacted", "•••••", "…",
	} {
		for _, form := range []string{"postgres://app:%s@db/shop", "password=%s", "?token=%s&x=1", "app:%s@tcp(db)/x", "Authorization: Bearer %s", "curl -u app:%s x", "password: %s", `{"password":"%s"}`} {
			requireNone(t, s, strings.Replace(form, "%s", mask, 1))
		}
	}
	for _, password := range []string{"$ecret123", "$PassWord1x", "%73ecret12", "%abc123xy", "{abc123xy", "***a1b2c3", "xxxxxa1b2c3"} {
		requireFound(t, s, "postgres://app:"+password+"@db/shop")
	}
}

// What only looks like a place for credentials.
func TestOrdinaryAssignmentsAreNoCredentials(t *testing.T) {
	s := newScanner(t, nil)
	for _, text := range []string{
		"password=changing", "password: must be at least 8 characters", "token = parseToken(input)", "token: string", "secret=os.Getenv", "the token expired", "code=404", "exit code: 137",
		"?code=ENOENT&x=1", "key=value", "?key=orderNumber", "sort_key=createdAt", "password=password", "signature=unsigned", `{"token":"string"}`, `{"password":"required"}`, "Authorization: Bearer", "Authorization: none",
		"Cookie: theme=dark; lang=en-US", "Set-Cookie: lang=de; Path=/", "npm:left-pad@^1.3.0", "registry.example.org/app:1.22.3@sha256:" + strings.Repeat("ab", 32), "image:v1.2.3-beta2@sha256:0f", "mailto:bob@example.com",
		"sip:alice@example.org", "git@github.com:acme/site.git", "actions/checkout@v4", "org/repo@v1.2.3", "12:30@noon", "patch:lodash@npm:4.17.21", "curl -u app https://example.org", "curl -s https://example.org/a:b", "user: ann@example.org",
		"pkg:npm/%40scope/name@1.0.0", "token=${TOKEN}", "password_hash=unset", "tokens=1234567", "max_tokens=4096", "author=ann-example", "design=12345678", "assign=12345678ab", "apiKey: process.env.API_KEY",
		"--token string", "--password string   the password of the database", "the password 'changing'", "<token>string</token>", "<key>CFBundleIdentifier</key><string>org.example.app1</string>", "machine learning: login and password policies",
		"password: [a-zA-Z0-9]{8,}", "token: [REDACTED]", "token: [a-f0-9]{32}", "X-Api-Key:[***]", "map[password:[hidden]]", "ENV API_TOKEN changeme", "IDENTIFIED BY 'password'", "--key-file /etc/ssl/k1.pem", "items->token > 12345678ab", "a <token> b12345678",
		`{"name":"digest","value":"0a1b2c3d4e5f60718293"}`, `{"name":"token","value":"required"}`, "key: region\nvalue: eu-central-1a2", `{"value":"0a1b2c3d4e5f60718293","name":"token"}`,
		"keyboard=1a2b3c4d5e", "monkey=1a2b3c4d5e", "encode=1a2b3c4d5e", "zipcode=1a2b3c4d5e",
	} {
		requireNone(t, s, text)
	}
}

// TestATextMayBeginWithAnySigns: what is looked for before a sign may not be there.
func TestATextMayBeginWithAnySigns(t *testing.T) {
	s := newScanner(t, everything())
	signs := []string{"'", `"`, "`", `\`, ",", "(", ")", "=", ":", ">", "<", " ", "+", "-", "@", "%", "~", "$", "/", "[", "]", "{", ".", "\n", "a", "1"}
	for _, one := range signs {
		for _, two := range signs {
			for _, three := range signs {
				for _, times := range []int{1, 3, 4, 13} {
					s.Find(strings.Repeat(one, times) + two + three + "abcd, efgh")
				}
			}
		}
	}
}
