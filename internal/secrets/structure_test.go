package secrets_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/secrets"
)

var encoding = base64.RawURLEncoding

func requireRule(t *testing.T, s *secrets.Scanner, want, text string) {
	t.Helper()
	rule, found := s.Find(text)
	require.True(t, found, "%q", text)
	require.Equal(t, want, rule, "%q", text)
}

func requireNone(t *testing.T, s *secrets.Scanner, text string) {
	t.Helper()
	rule, found := s.Find(text)
	require.False(t, found, "%s: %q", rule, text)
}

func TestPrivateKeysOfEveryTypeAreFound(t *testing.T) {
	s := newScanner(t, nil)
	m := newMaker()
	curve, err := ecdsa.GenerateKey(elliptic.P256(), nil)
	require.NoError(t, err)
	_, edwards, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	var blocks []string
	for _, key := range []any{curve, edwards} {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		require.NoError(t, err)
		blocks = append(blocks, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE " + "KEY", Bytes: der})))
		requireRule(t, s, "private-key", "key="+base64.StdEncoding.EncodeToString(der))
	}
	for _, kind := range []string{
		"RSA ", "EC ", "DSA ", "OPENSSH ", "ENCRYPTED ", "", "ANY ", "TSS2 ", "X25519 ", "ED25519 ", "ML-DSA-65 ",
	} {
		block := pem.Block{Type: kind + "PRIVATE " + "KEY", Bytes: []byte(m.of('s', 400))}
		if kind == "RSA " {
			block.Headers = map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC," + m.of('H', 32)}
		}
		blocks = append(blocks, string(pem.EncodeToMemory(&block)))
	}
	blocks = append(blocks,
		"-----BEGIN PGP PRIVATE "+"KEY BLOCK-----\nVersion: GnuPG v2\n\n"+m.of('b', 64)+"\n"+m.of('b', 64)+"\n-----END",
		"---- BEGIN SSH2 ENCRYPTED PRIVATE "+"KEY ----\nComment: \"me\"\n"+m.of('b', 70)+"\n---- END",
		"-----BEGIN OpenVPN Static "+"key V1-----\n"+m.of('h', 32)+"\n"+m.of('h', 32)+"\n",
		"PuTTY-User-Key-File-"+"3: ssh-ed25519\nEncryption: none\n",
	)
	for _, block := range blocks {
		requireRule(t, s, "private-key", block)
		requireRule(t, s, "private-key", "it is:\n"+block+"\nthere")
		requireRule(t, s, "private-key", strings.ReplaceAll(block, "\n", `\n`))
		requireRule(t, s, "private-key", strings.ReplaceAll(block, "\n", `\\n`))
		requireRule(t, s, "private-key", strings.ReplaceAll(block, "\n", " "))
		requireRule(t, s, "private-key", strings.ReplaceAll(block, "\n", "\r\n"))
		requireRule(t, s, "private-key", `{"private_key":"`+strings.ReplaceAll(block, "\n", `\n`)+`"}`)
		requireRule(t, s, "private-key", base64.StdEncoding.EncodeToString([]byte(block)))
	}
	requireRule(t, s, "private-key", strings.ReplaceAll(strings.ReplaceAll(blocks[0], " ", "%20"), "\n", "%0A"))
	requireNone(t, s, "expected -----BEGIN PRIVATE "+"KEY----- but found something else")
	requireNone(t, s, "-----BEGIN PUBLIC KEY-----\n"+m.of('b', 64)+"\n"+m.of('b', 64)+"\n-----END PUBLIC KEY-----\n")
	requireNone(t, s, "-----BEGIN CERTIFICATE-----\n"+m.of('b', 64)+"\n-----END CERTIFICATE-----\nand a PRIVATE "+"KEY")
}

func TestASignedTokenNeedsAHeaderWithAnAlgorithm(t *testing.T) {
	s := newScanner(t, nil)
	m := newMaker()
	token := func(header string) string {
		return encoding.EncodeToString([]byte(header)) + "." + encoding.EncodeToString([]byte(`{"sub":"1","iat":1700000000}`)) + "." + m.of('s', 43)
	}
	for _, header := range []string{
		`{"alg":"HS256","typ":"JWT"}`, `{"typ":"JWT","alg":"RS256","kid":"1"}`, `{ "alg" : "ES256" }`, "{\n \"alg\": \"none\"}",
		`{"alg":"PS256","x5c":["` + m.of('b', 3000) + `"]}`, `{"x5c":["` + m.of('b', 3000) + `"],"alg":"PS256"}`,
		`{"alg":"dir","enc":"A256GCM"}`,
	} {
		for _, around := range surroundings {
			requireRule(t, s, "jwt", fmt.Sprintf(around, token(header)))
		}
	}
	requireRule(t, s, "jwt", "session_"+token(`{"alg":"HS256"}`))
	requireRule(t, s, "jwt", token(`{"typ":"JWT"}`)) // two JSON objects are enough
	for _, header := range []string{`{"alg"}`, `{"alg":`, `{"typ":"JWT"}`, `["alg"]`} {
		requireNone(t, s, encoding.EncodeToString([]byte(header))+"."+m.of('s', 40)+"."+m.of('s', 43))
	}
	requireNone(t, s, encoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)))
}

func TestCredentialsInURLsAreFound(t *testing.T) {
	s := newScanner(t, nil)
	m := newMaker()
	for _, text := range []string{
		"postgres://app:s3cr3t@db.internal:5432/app?sslmode=disable", "redis://:hunter2@cache:6379/0",
		"see https://bob:pa55@example.com/x, please", "mongodb+srv://u:p@cluster0.example.net", "amqp://guest:guest@mq//",
		"https://" + m.of('h', 40) + "@github.com/o/r.git", "https://" + m.of('w', 24) + ":@api.example.com/v1",
		"https://" + m.of('w', 24) + ":x-oauth-basic@github.com/o/r", `{"dsn":"mysql:\/\/u:pw\/x@h\/db"}`,
		"postgres://app:pa/ss@db/app", "postgres://app:p?a#ss@db/app", "ftp://u:p@ss@host/", "u:pw@tcp(127.0.0.1:3306)/app",
		"https://u:pa%40ss@host", "smtp://me@example.com:pw@mail.example.com:587", "cloudinary://" + m.of('d', 15) + ":" + m.of('s', 27) + "@demo",
	} {
		requireRule(t, s, "url-credentials", text)
	}
	for _, text := range []string{
		"https://example.com", "https://example.com:8080/a@b", "https://example.com/@scope/pkg", "ssh://git@github.com/o/r.git",
		"git@github.com:o/r.git", "https://user@example.com/", "postgres://app@db/app", "https://user:@example.com/",
		"http://[::1]:8080/x@y", "mailto:bob@example.com", "see https://a.example, or mail a@b.example", "https://example.com?to=a:b@c",
		"://u:p@h", "time: //x:y@z", "https://example.com:443/a?mail=x@y.example", "bob@tcp(localhost)/db",
		"https://first-part-of-a-name@example.com", "if !s.ReadASN1ObjectIdentifier(&oid) {",
	} {
		requireNone(t, s, text)
	}
}

func TestAuthorizationIsFound(t *testing.T) {
	s := newScanner(t, nil)
	m := newMaker()
	basic := base64.StdEncoding.EncodeToString([]byte("aladdin:open sesame"))
	for _, around := range []string{
		"Authorization: Basic %s", "authorization: basic %s", `{"Authorization":"Basic %s"}`, `"Basic %s"`, "Basic%%20%s", "BASIC %s",
	} {
		requireRule(t, s, "basic-auth", fmt.Sprintf(around, basic))
	}
	for _, token := range []string{m.of('s', 40), m.uuid(), m.of('h', 32), m.of('w', 20) + "." + m.of('w', 20), m.of('b', 42) + "=="} {
		for _, around := range []string{"Authorization: Bearer %s", "bearer %s", `\"Bearer %s\"`, "BEARER %s", "Bearer%%20%s", "Bearer:%s"} {
			requireRule(t, s, "bearer", fmt.Sprintf(around, token))
		}
	}
	for _, text := range []string{
		"Bearer of bad news", "the bearer authentication-scheme-of-the-server", "Bearer token", "bearer certificateAuthorityData",
		"Basic usage examples", "basic authentication", "Basic YWJjZGVmZ2hpamtsbW5vcA==", "basics", "BasicAuth(user)", "Bearer", "Basic ",
	} {
		requireNone(t, s, text)
	}
}

// withLuhn completes a card number of n digits.
func (m maker) withLuhn(head string, n int) string {
	number := head + m.of('d', n-1-len(head))
	sum := 0
	for i := range number {
		d := int(number[len(number)-1-i] - '0')
		if i%2 == 0 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return number + fmt.Sprint((10-sum%10)%10)
}

func grouped(number, separator string, lengths ...int) string {
	var parts []string
	for _, n := range lengths {
		parts = append(parts, number[:n])
		number = number[n:]
	}
	return strings.Join(parts, separator)
}

func TestPaymentCardsAreFound(t *testing.T) {
	s := newScanner(t, nil)
	m := newMaker()
	for _, issuer := range []struct {
		head   string
		digits int
	}{
		{"4", 16}, {"51", 16}, {"55", 16}, {"2221", 16}, {"2720", 16}, {"34", 15}, {"37", 15}, {"6011", 16}, {"65", 16}, {"644", 16},
		{"36", 14}, {"300", 14}, {"3528", 16}, {"3589", 16}, {"62", 16}, {"62", 19}, {"6759", 16}, {"2200", 16}, {"508", 16}, {"9792", 16},
	} {
		number := m.withLuhn(issuer.head, issuer.digits)
		forms := []string{number}
		switch issuer.digits {
		case 16:
			forms = append(forms, grouped(number, " ", 4, 4, 4, 4), grouped(number, "-", 4, 4, 4, 4))
		case 15:
			forms = append(forms, grouped(number, " ", 4, 6, 5), grouped(number, "-", 4, 6, 5))
		case 14:
			forms = append(forms, grouped(number, " ", 4, 6, 4))
		case 19:
			forms = append(forms, grouped(number, " ", 4, 4, 4, 4, 3))
		}
		for _, form := range forms {
			for _, around := range surroundings {
				requireRule(t, s, "payment-card", fmt.Sprintf(around, form))
			}
			last := (form[len(form)-1]-'0'+1)%10 + '0'
			requireNone(t, s, form[:len(form)-1]+string(last))
			requireNone(t, s, "x"+number)
			requireNone(t, s, number+"0000")
		}
		requireNone(t, s, "0."+number)
		requireNone(t, s, number+".5")
	}
	requireNone(t, s, m.withLuhn("17", 16)) // microseconds
	requireNone(t, s, m.withLuhn("17", 19)) // nanoseconds
	requireNone(t, s, m.withLuhn("0", 16))
}

func TestSecretsInBase64AreFound(t *testing.T) {
	s := newScanner(t, nil)
	m := newMaker()
	made := m.samples(1)
	for _, plain := range []string{
		made["github"][0], `{"auths":{"ghcr.io":{"auth":"x","token":"` + made["github"][0] + `"}}}`,
		"AWS_ACCESS_KEY_ID=" + made["aws"][0] + "\nREGION=eu\n", "postgres://app:s3cr3t@db/app", strings.Repeat("x = 1\n", 2000) + made["npm"][0],
		"\ufeffToken " + made["stripe"][0], "card " + m.withLuhn("4", 16),
	} {
		for name, encode := range map[string]func([]byte) string{
			"std": base64.StdEncoding.EncodeToString, "raw std": base64.RawStdEncoding.EncodeToString,
			"url": base64.URLEncoding.EncodeToString, "raw url": base64.RawURLEncoding.EncodeToString,
		} {
			encoded := encode([]byte(plain))
			for _, around := range append(surroundings, "secret/%s", "v1_%s", "a-b-%s", "data:text/plain;base64,%s") {
				_, found := s.Find(fmt.Sprintf(around, encoded))
				require.True(t, found, "%s: %q", name, fmt.Sprintf(around, encoded))
			}
		}
		wrapped := wrap(base64.StdEncoding.EncodeToString([]byte(strings.Repeat("-", 20)+plain)), 76)
		_, found := s.Find(wrapped)
		require.True(t, found, "%q", wrapped)
	}
	var wide []byte
	for _, unit := range utf16.Encode([]rune("$token = '" + made["github"][1] + "'")) {
		wide = append(wide, byte(unit), byte(unit>>8))
	}
	requireRule(t, s, "github", "powershell -EncodedCommand "+base64.StdEncoding.EncodeToString(wide))

	twice := base64.StdEncoding.EncodeToString([]byte(base64.StdEncoding.EncodeToString([]byte(made["github"][0]))))
	requireRule(t, s, "github", twice)
	thrice := base64.StdEncoding.EncodeToString([]byte(twice))
	requireNone(t, s, thrice)
}

func TestASecretAcrossTwoPiecesOfBase64IsFound(t *testing.T) {
	s := newScanner(t, nil)
	sample := newMaker().samples(1)["github"][0]
	for at := 3000; at < 3100; at += 7 {
		text := strings.Repeat("x ", at/2) + sample + strings.Repeat(" y", 2000)
		requireRule(t, s, "github", base64.StdEncoding.EncodeToString([]byte(text)))
	}
}

func TestAShortPrefixAmidBase64IsChance(t *testing.T) {
	s := newScanner(t, nil)
	m := newMaker()
	requireNone(t, s, m.of('w', 100)+m.fill("/AKIA<t16>+")+m.of('w', 100))
	requireRule(t, s, "aws", m.fill("https://example.com/keys/AKIA<t16>"))
}

func TestWhatLooksLikeAnEscapeMayBeAPath(t *testing.T) {
	s := newScanner(t, nil)
	requireRule(t, s, "npm", `C:\`[:3]+newMaker().samples(1)["npm"][0])
}

func wrap(text string, width int) string {
	var lines []string
	for len(text) > width {
		lines, text = append(lines, text[:width]), text[width:]
	}
	return strings.Join(append(lines, text), "\n")
}

func TestPersonalDataIsFoundOnlyWhenAskedFor(t *testing.T) {
	classes := map[secrets.Class]struct{ yes, no []string }{
		secrets.Email: {
			[]string{"bob@example.com", "mail <a.b+c@mail.example.co.uk> now", "é@exämple.org", "x='o'neil@example.org'", "bob@example.com."},
			[]string{"@example.com", "bob@", "bob@localhost", "a@b.c", "user@1.2.3.4", "pkg@v1.2.3", "uuid@v1.6.0", "x@y@"},
		},
		secrets.Phone: {
			[]string{"+14155552671", "call +44 20 7946 0958 now", "+49 (30) 901820", "+1-415-555-2671", "tel:+33.1.23.45.67.89"},
			[]string{"+1", "+1234567", "1+14155552671", "+0123456789", "+12345678901234567", "a + 100", "++14155552671"},
		},
		secrets.IBAN: {
			[]string{"DE89370400440532013000", "GB29 NWBK 6016 1331 9268 19", "to FR1420041010050500013M02606, please", "no9386011117947"},
			[]string{"DE89370400440532013001", "GB29 NWBK 6016 1331 9268 18", "AB12", "xDE89370400440532013000", "DE89370400440532013000x"},
		},
		secrets.IP: {
			[]string{"from 203.0.113.7:443", "203.0.113.7", "2001:db8::1", "[2001:db8::8a2e:370:7334]:80", "at fe80::1%eth0", "::ffff:203.0.113.7"},
			[]string{"127.0.0.1", "0.0.0.0", "::1", "1.2.3", "1.2.3.4.5", "v1.2.3", "256.1.1.1", "12:34:56", "std::string", "cafe::add", "00:1a:2b:3c:4d:5e"},
		},
	}
	none := newScanner(t, nil)
	for class, texts := range classes {
		s := newScanner(t, &secrets.Config{Personal: []secrets.Class{class}})
		for _, text := range texts.yes {
			requireRule(t, s, string(class), text)
			requireNone(t, none, text)
		}
		for _, text := range texts.no {
			requireNone(t, s, text)
		}
	}
}
