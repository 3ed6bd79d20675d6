package taint_test

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/taint"
)

// credential finds values that are named credentials.
func credential(values ...string) *taint.Matcher {
	var s taint.Set
	for _, v := range values {
		s.Add(v, true)
	}
	return s.Matcher()
}

// random returns n texts of the alphabet, the same in every run.
func random(n, size int, alphabet string) []string {
	r := rand.New(rand.NewPCG(11, uint64(size)))
	all := make([]string, n)
	for i := range all {
		text := make([]byte, size)
		for k := range text {
			text[k] = alphabet[r.IntN(len(alphabet))]
		}
		text[size/2], text[size/3] = '7', 'Q' // as almost all have by themselves
		all[i] = string(text)
	}
	return all
}

const alphanumeric = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// human are passwords as people choose them, which read like ordinary words.
var human = []string{
	"correct horse", "correct horse battery staple", "hunter2", "changeme", "Summer-2026", "letmein", "password", "qwerty", "4711", "123456",
	"dragon", "iloveyou", "Welcome1", "admin123", "sunshine!", "P@ssw0rd", "monkey", "trustno1", "Winter2025", "geheim", "müller-straße",
	"football", "mustang", "shadow", "superman", "0815", "liverpool", "passw0rd", "abc123", "baseball",
}

func TestANamedCredentialIsLookedForWhateverItLooksLike(t *testing.T) {
	around := []string{"%s", "login with %s refused", "pw=%s;", `{"p":"%s"}`, "'%s'", "(%s)", "-p %s", "x:%s@h", "\t%s\n", "%s."}
	for _, v := range human {
		m := credential(v)
		require.NotNil(t, m, v)
		for _, a := range around {
			require.True(t, m.Match(fmt.Sprintf(a, v)), "%q in %q", v, a)
			require.True(t, m.Match(fmt.Sprintf(a, strings.ToUpper(v))), "%q in %q", v, a)
		}
		require.True(t, m.Match("encoded "+base64.StdEncoding.EncodeToString([]byte("u:"+v))), v)
		require.False(t, m.Match("rebuilding the index of 12 documents for acme/site took 3.5 s"), v)
		if len(v) < 8 {
			require.False(t, m.Match("x"+v+"9"), "%q is short, so it has to stand alone", v)
		}
	}
	require.Nil(t, credential("abc"))
	for _, v := range human { // what is merely not kept may be a word
		if m := matcher([]string{v}); m != nil {
			require.False(t, m.Match("production in progress"))
		}
	}
}

// travelling are the forms in which a removed value carries a credential, with
// a %s for it.
var travelling = map[string]string{
	"Go MySQL DSN":     "app:%s@tcp(db.internal:3306)/shop?parseTime=true",
	"unix socket DSN":  "app:%s@unix(/run/mysqld.sock)/shop",
	"libpq DSN":        "host=db user=app password=%s dbname=shop sslmode=disable",
	"quoted libpq DSN": "host=db user=app password='%s' dbname=shop",
	"ADO DSN":          "Server=db;Database=shop;User Id=app;Password=%s;Encrypt=true",
	"JDBC":             "jdbc:postgresql://db/shop?user=app&password=%s",
	"ODBC":             "Driver={SQL};UID=app;PWD=%s;",
	"Oracle":           "app/x@db password=%s",
	"URL":              "postgres://app:%s@db.internal:5432/shop",
	"URL, no user":     "redis://:%s@cache:6379/0",
	"query":            "https://api.example.org/v1?access_token=%s&page=2",
	"fragment":         "https://app.example.org/cb#token=%s",
	"flag=":            "mysqldump --password=%s --host=db",
	"flag ":            "mysql --password %s --host db",
	"short flag":       "mysqldump -p%s shop",
	"curl":             "curl -u app:%s https://api.example.org",
	"curl long":        "curl --user app:%s https://api.example.org",
	"header":           "X-Api-Key: %s",
	"bearer":           "Authorization: Bearer %s",
	"token scheme":     "Authorization: token %s",
	"header JSON":      `{"headers":{"X-Auth-Token":"%s"}}`,
	"cookie":           "Cookie: session=%s; theme=dark",
	"set-cookie":       "Set-Cookie: sid=%s; Path=/; HttpOnly",
	"env":              "DB_PASSWORD=%s",
	"export":           `export DB_PASSWORD="%s"`,
	"YAML":             "database:\n  user: app\n  password: %s\n",
	"YAML quoted":      "password: '%s'",
	"TOML":             "[database]\npassword = \"%s\"\n",
	"INI":              "[client]\npassword=%s\n",
	"XML element":      "<database><password>%s</password></database>",
	"XML attribute":    `<user name="app" password="%s"/>`,
	"JSON":             `{"user":"app","password":"%s","n":1}`,
	"JSON in JSON":     `{"config":"{\"password\":\"%s\"}"}`,
	"properties":       "spring.datasource.password=%s",
	"netrc":            "machine api.example.org login app password %s",
	"pgpass":           "db:5432:shop:app:%s",
	"SQL":              "CREATE USER app IDENTIFIED BY '%s'",
	"SQL, PostgreSQL":  "ALTER ROLE app WITH PASSWORD '%s'",
	"form":             "grant_type=password&username=app&password=%s",
	"multipart":        "Content-Disposition: form-data; name=\"password\"\r\n\r\n%s\r\n--x--",
	"npmrc":            "//registry.npmjs.org/:_authToken=%s",
	"Terraform":        `password = "%s"`,
	"Go struct":        `{User:app Password:%s}`,
	"git remote":       "https://oauth2:%s@git.example.org/acme/site.git",
	"sentence":         "The token is %s.",
	"question":         "is it %s?",
	"emphasis":         "use **%s** today",
	"underlines":       "use __%s__ today",
	"German quotes":    "Kennwort „%s“ gesetzt",
	"French quotes":    "mot de passe «%s» valable",
	"arrow":            "token→%s←",
	"backslash":        `token=%s\`,
	"shell default":    "${DB_PASSWORD:-%s}",
	"smbclient":        "smbclient //host/share -U app%%%s",
	"fragment behind":  "https://app.example.org/?token=%s#top",
	"path":             "https://hooks.example.org/T1/B2/%s/send",
	"Azure":            "DefaultEndpointsProtocol=https;AccountName=app;AccountKey=%s;EndpointSuffix=core",
}

func TestTheCredentialInARemovedTextIsFoundAlone(t *testing.T) {
	secrets := append(random(6, 24, alphanumeric), random(4, 12, alphanumeric+"!$*.-_")...)
	for _, bytes := range random(3, 19, alphanumeric) { // with padding
		secrets = append(secrets, base64.StdEncoding.EncodeToString([]byte(bytes)))
	}
	variants := 0
	for _, form := range slices.Sorted(maps.Keys(travelling)) {
		for _, secret := range secrets {
			if form == "multipart" && strings.HasPrefix(secret, "-") {
				continue
			}
			value := fmt.Sprintf(travelling[form], secret)
			for name, m := range map[string]*taint.Matcher{"not kept": matcher([]string{value}), "credential": credential(value)} {
				require.True(t, m.Match("refused: "+secret+" is bad"), "%s, %s: %q of %q", name, form, secret, value)
				require.False(t, m.Match("rebuilding the index: 12 documents, 3 shards, host ok"), "%s, %s", name, form)
				variants++
			}
		}
	}
	require.Greater(t, variants, 100)
}

// What a value encodes is found, too: of Basic credentials both the pair and the
// password.
func TestWhatARemovedTextEncodesIsFound(t *testing.T) {
	variants := 0
	for _, secret := range random(40, 16, alphanumeric) {
		basic := base64.StdEncoding.EncodeToString([]byte("app:" + secret))
		for _, value := range []string{
			"Authorization: Basic " + basic, "Basic " + basic, basic, `{"auth":"` + basic + `"}`, "password=" + url.QueryEscape(secret+"/+&"),
			url.QueryEscape(`{"password":"` + secret + `"}`), html.EscapeString(`<password>` + secret + `</password>`),
			base64.StdEncoding.EncodeToString([]byte(`{"auths":{"ghcr.io":{"auth":"` + basic + `"}}}`)), "key " + hex.EncodeToString([]byte(secret)),
			base64.RawURLEncoding.EncodeToString([]byte("password: " + secret + "\nuser: app\n")),
		} {
			require.True(t, matcher([]string{value}).Match("login with "+secret), "%q of %q", secret, value)
			variants++
		}
	}
	require.Greater(t, variants, 100)
	for _, password := range []string{"hunter2", "changeme", "correct-horse"} {
		basic := base64.StdEncoding.EncodeToString([]byte("app:" + password))
		require.True(t, credential("Authorization: Basic "+basic).Match("login with "+password), password)
		require.True(t, credential("app:"+password).Match("login with "+password), password)
		require.True(t, credential("host=db password="+password+" port=5432").Match("login with "+password), password)
	}
}

// decoders are the ways in which a later text may have encoded a value.
var writers = map[string]func(string) string{
	"base64":     func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"base64url":  func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) },
	"base64 ??":  func(s string) string { return base64.StdEncoding.EncodeToString([]byte("??" + s + "!")) },
	"hex":        func(s string) string { return hex.EncodeToString([]byte(s)) },
	"HEX":        func(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) },
	"hex colons": func(s string) string { return separated(s, "%02x", ":") },
	"hex spaces": func(s string) string { return separated(s, "%02X", " ") },
	"hex Go":     func(s string) string { return fmt.Sprintf("%#v", []byte(s)) },
	"decimals":   func(s string) string { return fmt.Sprint([]byte(s)) },
	"JSON bytes": func(s string) string { return "[" + separated(s, "%d", ",") + "]" },
	"query":      url.QueryEscape,
	"path":       url.PathEscape,
	"JSON": func(s string) string {
		b, _ := json.Marshal(map[string]string{"v": s})
		return string(b)
	},
	"Go":   strconv.Quote,
	"C":    func(s string) string { return "'" + separated(s, `\%03o`, "") + "'" },
	"HTML": html.EscapeString,
	"entities": func(s string) string {
		var b strings.Builder
		for _, r := range s {
			fmt.Fprintf(&b, "&#%d;", r)
		}
		return b.String()
	},
	"braces": func(s string) string {
		var b strings.Builder
		for _, r := range s {
			fmt.Fprintf(&b, `\u{%x}`, r)
		}
		return b.String()
	},
	"UTF-16": func(s string) string { return wide(s, binary.LittleEndian) },
	"UTF-16 big": func(s string) string {
		return wide(s, binary.BigEndian)
	},
	"zero width": func(s string) string { return strings.Join(strings.Split(s, ""), "\u200b") },
	"as it is":   func(s string) string { return s },
}

func separated(s, verb, separator string) string {
	parts := make([]string, len(s))
	for i := range len(s) {
		parts[i] = fmt.Sprintf(verb, s[i])
	}
	return strings.Join(parts, separator)
}

func wide(s string, order binary.ByteOrder) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		var pair [2]byte
		order.PutUint16(pair[:], u)
		b = append(b, pair[:]...)
	}
	return string(b)
}

func TestAValueIsFoundThroughTwoEncodings(t *testing.T) {
	variants := 0
	impossible := map[string]bool{ // UTF-16 of what is no text, and HTML without a zero
		"UTF-16 of zero width": true, "UTF-16 big of zero width": true, "entities of UTF-16": true, "entities of UTF-16 big": true,
	}
	for _, secret := range []string{"c4n4ry-v4lue", "s3cr3t/x+y=z&'7'", "T0pS3cret\"q\\u", "k8K2mQ9zL4vX7pR1"} {
		m := matcher([]string{secret})
		for one, inner := range writers {
			for two, outer := range writers {
				if impossible[two+" of "+one] {
					continue
				}
				text := outer(inner(secret))
				require.True(t, m.Match("bad: "+text+" <"), "%s of %s of %q: %q", two, one, secret, text)
				variants++
			}
		}
	}
	require.Greater(t, variants, 100)
}

func TestATextThatIsCutShortIsFound(t *testing.T) {
	for _, secret := range random(30, 32, alphanumeric) {
		m := matcher([]string{secret})
		for _, size := range []int{8, 9, 12, 20, 31} {
			for _, mark := range []string{"…", "...", "***", "[...]"} {
				require.True(t, m.Match("token "+secret[:size]+mark+" refused"), "%q %q", secret, mark)
			}
			require.False(t, m.Match("token "+secret[:size]+" refused"), "not cut, so it is another one")
		}
		require.False(t, m.Match("token "+secret[:7]+"..."), "too little of it")
	}
}

// binaries are formats in which jobs are queued, with a credential in them.
func binaries(secret string) map[string][]byte {
	pb := func(field int, s string) []byte {
		b := []byte{byte(field<<3 | 2)}
		b = binary.AppendUvarint(b, uint64(len(s)))
		return append(b, s...)
	}
	message := slices.Concat(pb(1, "acme/site"), []byte{0x10, 0x96, 0x01}, pb(6, secret), pb(8, "main"), pb(5, "x"))
	str := func(s string) []byte {
		if len(s) < 32 {
			return append([]byte{0xa0 | byte(len(s))}, s...)
		}
		return append([]byte{0xd9, byte(len(s))}, s...)
	}
	msgpack := slices.Concat([]byte{0x82}, str("repo"), str("acme/site"), str("pat"), str(secret))
	text := func(s string) []byte {
		if len(s) < 24 {
			return append([]byte{0x60 | byte(len(s))}, s...)
		}
		return append([]byte{0x78, byte(len(s))}, s...)
	}
	cbor := slices.Concat([]byte{0xa2}, text("repo"), text("acme/site"), text("pat"), text(secret))
	return map[string][]byte{
		"protobuf": message, "protobuf in protobuf": pb(2, string(message)), "msgpack": msgpack, "CBOR": cbor,
		"form": []byte("repo=acme%2Fsite&pat=" + url.QueryEscape(secret)), "YAML": []byte("repo: acme/site\npat: " + secret + "\n"),
		"a name twice": []byte(`{"pat":"` + secret + `","pat":"x"}`), "invalid UTF-8": []byte("{\"pat\":\"" + secret + "\",\"x\":\"\xff\xfe\"}"),
		"cut JSON": []byte(`{"repo":"acme/site","pat":"` + secret + `","re`), "CSV": []byte("acme/site;" + secret + ";1\n"),
		"tabs": []byte("acme/site\t" + secret + "\n"), "XML": []byte("<job><pat>" + secret + "</pat></job>"),
	}
}

func TestBytesOfAnyFormatAreCutIntoTheirTexts(t *testing.T) {
	variants := 0
	for size := 10; size < 50; size++ {
		for _, secret := range random(2, size, alphanumeric) {
			for format, raw := range binaries(secret) {
				var s taint.Set
				s.AddBytes(raw, false)
				m := s.Matcher()
				require.False(t, s.Incomplete(), format)
				require.True(t, m.Match("refused: "+secret+" is bad"), "%s of %q: %q", format, secret, raw)
				variants++
			}
		}
	}
	require.Greater(t, variants, 100)
	noise := make([]byte, 4_000)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(noise)
	var s taint.Set
	s.AddBytes(noise, false)
	s.Matcher()
	require.True(t, s.Incomplete(), "compressed or encrypted: nothing can be made out")
}

func TestAWordAmongBytesIsFoundAlone(t *testing.T) {
	around := []string{"\xff\x00 no JSON %s", "%s\x00\xff", "\x01pw %s ok\x02", "\xffab=%s;\x01cd", "\x0bk%s\x00", "\x00%sx\x01", "\xfe\"%s\"", "\x00\x00(%s)\xc3"}
	variants := 0
	for _, secret := range append(random(20, 14, alphanumeric), "hunter2hunter2", "Summer-2026x9", "Tr0ub4dor&3", "s3cr3t7words") {
		if matcher([]string{secret}) == nil {
			continue // a word
		}
		for _, a := range around {
			var s taint.Set
			s.AddBytes(fmt.Appendf(nil, a, secret), false)
			require.True(t, s.Matcher().Match("login with "+secret+" failed"), "%q in %q", secret, a)
			variants++
		}
	}
	require.Greater(t, variants, 100)
}

// A text that is kept may be quoted later, with the escapes that it has.
func TestWhatQuotesAKeptTextIsNoHit(t *testing.T) {
	for i, secret := range random(120, 14, alphanumeric) {
		kept := []string{
			"https://example.org/a%2Fb/" + secret + "?q=x+y%20z", "https://example.org/?q=" + secret + "+" + secret + "x",
			"name=" + url.QueryEscape(secret+" ü/"), `C:\dir\` + secret, base64.StdEncoding.EncodeToString([]byte("a " + secret)), hex.EncodeToString([]byte(secret)),
			"a &amp; " + secret,
		}[i%7]
		m := matcher([]string{kept, "c4n4ry-v4lue"}, kept)
		for _, around := range []string{"%s", "GET %s: 404", "(%s)", "reading %s, then more"} {
			require.False(t, m.Match(fmt.Sprintf(around, kept)), "%q", kept)
		}
		require.True(t, m.Match(kept+" c4n4ry-v4lue"))
	}
}

// What is kept does not strike a credential.
func TestACredentialIsLookedForThoughItIsKeptElsewhere(t *testing.T) {
	m := credential("c4n4ry-v4lue").Without(slices.Values([]string{"mysqldump -pc4n4ry-v4lue", "c4n4ry-v4lue"}))
	require.True(t, m.Match("c4n4ry-v4lue"))
	require.True(t, m.MatchCredential("mysqldump -pc4n4ry-v4lue"))
	require.False(t, matcher([]string{"s3cr3t-x7y8"}).MatchCredential("s3cr3t-x7y8"))
}

// Removed prose is not looked for word by word.
func TestTheWordsOfARemovedTextAreNoNeedles(t *testing.T) {
	m := matcher([]string{
		"Dear support team, the password that you sent me does not work any more: the token expired yesterday, so please send another one. key: value, status: pending",
		`{"error":"invalid token","next":"retry","code":"expired","session":"production","message":"connection refused by host db.internal:5432"}`,
	})
	for _, line := range []string{
		"the password was changed", "retry in 5 s", "session expired", "production is up", "connection refused", "value of status is pending", "host db.internal:5432",
	} {
		require.False(t, m.Match(line), line)
	}
}

// An escape may end where an encoding begins, and once more take its first digit: the
// encoding is looked at as it stands first.
func TestAnEncodingBehindAnEscapedBackslashIsFound(t *testing.T) {
	for _, secret := range random(200, 24, alphanumeric) {
		m := credential(secret)
		for _, encoded := range []string{
			base64.StdEncoding.EncodeToString([]byte(secret)), base64.RawURLEncoding.EncodeToString([]byte("h" + secret)), hex.EncodeToString([]byte(secret)),
		} {
			for _, first := range []string{"", "a", "b", "f", "n", "r", "t", "v", "31"} {
				text := `open "C:\\spool\\` + first + encoded + `"`
				require.True(t, m.Match(text), "%s in %s", secret, text)
			}
		}
	}
}

// Where many values have a part in common, the head of another one that is cut long
// before it is looked for all the same.
func TestACutHeadIsFoundHoweverManyValuesShareWhatFollows(t *testing.T) {
	var s taint.Set
	token := "tOk3n-9f8A7c6B5d4E3-q2W1"
	s.Add(token, true)
	long := strings.Repeat("https://intern.example.org/rows/", 4)
	for i := range 40 {
		row := []byte(long)
		for at := 8; at < len(row); at += 15 {
			copy(row[at:], fmt.Sprintf("%06d", i))
		}
		s.Add(string(row), true)
	}
	m := s.Matcher()
	for gap := 0; gap < 400; gap += 7 {
		text := "auth failed for " + token[:12] + "..." + strings.Repeat(" .", gap/2) + long
		require.True(t, m.Match(text), gap)
	}
}

// The head of a value that holds the mark of a cut is found behind any number of cuts.
func TestAHeadThatReachesOverACutIsFoundBehindManyCuts(t *testing.T) {
	value := "Please wait... your PIN is 48213771"
	m := credential(value)
	for cuts := range 20 {
		text := strings.Repeat("a line of text...\n", cuts) + value[:len(value)-4] + "…"
		require.True(t, m.Match(text), cuts)
	}
}

// What one run of digits seems to encode takes nothing from the next one.
func TestARunThatEncodesMuchHidesNoOther(t *testing.T) {
	secret := random(1, 24, alphanumeric)[0]
	m := credential(secret)
	twice := base64.StdEncoding.EncodeToString([]byte(base64.StdEncoding.EncodeToString([]byte(secret))))
	for _, digit := range "VUQxj" {
		for n := 16; n < 3000; n += 131 {
			require.True(t, m.Match(strings.Repeat(string(digit), n)+" "+twice), "%c %d", digit, n)
		}
	}
}

// TestABackslashAtTheEndOfWhatWasDecodedIsItsOwn: it escapes nothing that stands elsewhere.
func TestABackslashAtTheEndOfWhatWasDecodedIsItsOwn(t *testing.T) {
	for i, value := range random(120, 12, alphanumeric) {
		value = value[:4+i%9] + `\`
		var s taint.Set
		s.Add(value, true)
		m := s.Matcher()
		inner := fmt.Sprintf(`\x%02x%s`, value[0], value[1:])
		for _, text := range []string{
			base64.StdEncoding.EncodeToString([]byte(inner)), hex.EncodeToString([]byte(inner)),
		} {
			require.True(t, m.Match(text), "%q in %q", value, text)
		}
	}
}

// TestAValueAmongCharactersOfOtherScriptsIsFoundInWhatEncodesIt: wherever these stand in
// what was decoded, and however many there are in a row.
func TestAValueAmongCharactersOfOtherScriptsIsFoundInWhatEncodesIt(t *testing.T) {
	for between := range 8 {
		for pad := range 20 {
			value, escaped := "", strings.Repeat("ü", pad/2)+strings.Repeat("x", pad%2)
			for _, letter := range "abcdefghijkl" {
				value += string(letter) + strings.Repeat("é", between)
				escaped += fmt.Sprintf(`\x%02x`, letter) + strings.Repeat("é", between)
			}
			m := credential(value)
			require.True(t, m.Match(fmt.Sprint([]byte(escaped))), escaped)
			require.True(t, m.Match(base64.StdEncoding.EncodeToString([]byte(escaped))), escaped)
			require.True(t, m.Match(hex.EncodeToString([]byte(escaped))), escaped)
		}
	}
}
