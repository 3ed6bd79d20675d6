package taint_test

import (
	"bufio"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/taint"
)

func matcher(removed []string, kept ...string) *taint.Matcher {
	var s taint.Set
	for _, v := range removed {
		s.Add(v, false)
	}
	return s.Matcher().Without(slices.Values(kept))
}

// encodings are the forms in which a later text may hold a value.
func encodings(v string) map[string]string {
	all := map[string]string{
		"as it is": v, "upper case": strings.ToUpper(v), "lower case": strings.ToLower(v),
		"query": url.QueryEscape(v), "path": url.PathEscape(v), "query twice": url.QueryEscape(url.QueryEscape(v)),
		"Go quotes": fmt.Sprintf("%q", v), "ASCII quotes": fmt.Sprintf("%+q", v), "hex": hex.EncodeToString([]byte(v)), "upper hex": fmt.Sprintf("%X", v),
		"basic": base64.StdEncoding.EncodeToString([]byte("user:" + v)),
	}
	all["query, lower case"] = strings.ToLower(url.QueryEscape(v))
	once, _ := json.Marshal(map[string]string{"v": v})
	twice, _ := json.Marshal(string(once))
	all["JSON"], all["JSON in JSON"] = string(once), string(twice)
	all["base64 of JSON"] = base64.StdEncoding.EncodeToString(once)
	all["escaped base64"] = url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(v)))
	for name, e := range map[string]*base64.Encoding{"std": base64.StdEncoding, "raw std": base64.RawStdEncoding, "url": base64.URLEncoding, "raw url": base64.RawURLEncoding} {
		for before := range 3 {
			for after := range 3 {
				all[fmt.Sprintf("base64 %s %d %d", name, before, after)] = e.EncodeToString([]byte(strings.Repeat("?", before) + v + strings.Repeat(">", after)))
			}
		}
	}
	return all
}

func TestAValueIsFoundInEveryEncoding(t *testing.T) {
	for _, v := range []string{"c4n4ry-value", "p\u00e4ssw\u00f6rt <&\"+/%\\>", "12345678x", "\x00\x01\xfe\xffbinary\x80", "correct horse battery staple"} {
		m := matcher([]string{v})
		for name, text := range encodings(v) {
			if (strings.HasSuffix(name, "quotes") || strings.Contains(name, "JSON") || strings.HasSuffix(name, "case")) && strings.Contains(v, "\xff") {
				continue // these forms have lost it
			}
			for _, around := range []string{"%s", "connect: token=%s&x=1: refused", "%s%%zz\\u12", "a+b %s", "f%s", "fa%s", "fab%s", "f/%s"} {
				require.True(t, m.Match(fmt.Sprintf(around, text)), "%q %s in %q", v, name, around)
			}
		}
		require.False(t, m.Match("connect: the token was refused: 100% of \\w+ tokens\\"))
	}
}

func TestTheLinesAndPartsOfAValueAreFound(t *testing.T) {
	for value, parts := range map[string][]string{
		"first s3cr3t line\nshort\r\nsecond s3cr3t line":      {"first s3cr3t line", "second s3cr3t line"},
		"DB_PASSWORD=hunter2hunter2":                          {"hunter2hunter2"},
		"Bearer abcdef123456xyz":                              {"abcdef123456xyz"},
		"https://bob:x7!k2-p9@host/p?t=q8w7e6r5t4#a1b2c3d4e5": {"x7!k2-p9", "q8w7e6r5t4", "a1b2c3d4e5"},
		"session=a8b7c6d5e4; theme=dark":                      {"a8b7c6d5e4"},
		`{"a":[{"b":"n3st3d-value"}]}`:                        {"n3st3d-value"},
		"token=a%2Fb%2Fc1d2e3":                                {"a/b/c1d2e3"},
	} {
		m := matcher([]string{value})
		for _, part := range parts {
			require.True(t, m.Match("error: "+part+" is bad"), "%q of %q", part, value)
		}
		require.False(t, m.Match("theme dark short host"))
	}
}

func TestTheBeginningOfALongValueIsFound(t *testing.T) {
	long := strings.Repeat("0a1b2c3d", 1_000)
	require.True(t, matcher([]string{long}).Match("bad: "+long[:200]+"…"))
}

func TestWhatIsKeptElsewhereIsNotTainted(t *testing.T) {
	m := matcher([]string{"c4n4ry-value", "acme-s1te-x9z8"}, "https://host/acme-s1te-x9z8/a")
	require.True(t, m.Match("c4n4ry-value"))
	require.False(t, m.Match("building acme-s1te-x9z8"))
	require.Nil(t, matcher([]string{"acme-s1te-x9z8"}, "acme-s1te-x9z8"))
}

func TestASetThatIsFullSaysSo(t *testing.T) {
	var s taint.Set
	s.Add("short", false)
	s.Add("c4n4ry-value", false)
	require.False(t, s.Incomplete())
	m := s.Matcher()
	require.False(t, s.Incomplete())
	require.True(t, m.Match("c4n4ry-value"))
	for i := range 10_000 {
		s.Add(fmt.Sprintf("x1y2z3-%d", i), false)
	}
	s.Add("p1n-c4n4ry", true)
	m = s.Matcher()
	require.True(t, s.Incomplete())
	require.True(t, m.Match("p1n-c4n4ry"), "credentials come first")
}

// A removed value that is an ordinary word, identifier, number, path or host
// name taints nothing.
func TestAnOrdinaryWordIsNeverTainted(t *testing.T) {
	for _, v := range []string{
		"production", "rebuild-index", "in progress", "us-east-1", "db.internal.example.com", "/var/lib/postgresql/data",
		"accessToken", "HTTPServerError", "getUserByID", "12345678", "2026-11-21T20:45:33Z", "v1.22.333-beta", "refs/heads/main",
		"application/json", "utf8mb4_general", "true,false", "not found", "postgres:5432", "Mozilla", "kubernetes.io/hostname", "max_connections",
		"authentication", "internationalization", "SELECT", "localhost:8080", "sha256", "strengthening",
		"2026-11-21", "21/11/2026", "192.168.100.200", "10.0.0.0/16", "1,234,567,890",
	} {
		require.Nil(t, matcher([]string{v}), v)
	}
	for _, v := range []string{
		"hunter2hunter2", "correct horse battery staple", "Ann Example Smith", "ann@example.org", "4111111111111111",
		"4000-1234-5678-9010", "4000 1234 5678 9010", "078-05-1120", "030/901820-00",
		"0198f2a4-7c1e-7a6b-9d3e-5f0a1b2c3d4e", "xkqzjvwplmrt", "aGVsbG8gd29ybGQgdGhpcw", "Tr0ub4dor&3", "deadbeefcafe1234", "ghx_0123abcd4567",
		"S3cretValue!x", "pa$$word", "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMIbPxRfiCYEXAMPLEKEY",
	} {
		require.NotNil(t, matcher([]string{v}), v)
	}
}

// The words of this repository's own prose, and its identifiers, are ordinary.
func TestTheWordsOfProseAreOrdinary(t *testing.T) {
	files, err := filepath.Glob("../../*.md")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	sources, err := filepath.Glob("../../*.go")
	require.NoError(t, err)
	total, tainted := 0, []string{}
	for _, name := range append(files, sources...) {
		f, err := os.Open(name)
		require.NoError(t, err)
		words := bufio.NewScanner(f)
		words.Split(bufio.ScanWords)
		for words.Scan() {
			word := strings.Trim(words.Text(), "`\"'.,:;()[]{}*")
			plain := strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
			if strings.HasSuffix(name, "_test.go") || len(word) < 8 || !plain {
				continue
			}
			total++
			if matcher([]string{word}) != nil {
				tainted = append(tainted, word)
			}
		}
		require.NoError(t, f.Close())
	}
	require.Greater(t, total, 1_000)
	slices.Sort(tainted)
	require.Empty(t, slices.Compact(tainted), "of %d words", total)
}

func FuzzMatch(f *testing.F) {
	for _, s := range []string{"%c3%a4\\u00e4\\ud83d\\ude00", "\\x4g\\", "%", "%2", "+%2b+", "YWJjZGVmZ2hpamtsbW5vcA==", "6162636465666768"} {
		f.Add(s, "c4n4ry-value")
	}
	f.Fuzz(func(t *testing.T, text, secret string) {
		m := matcher([]string{secret})
		m.Match(text)
		if m == nil || strings.TrimSpace(secret) != secret || strings.ContainsAny(secret, "\r\n{[") {
			return
		}
		require.True(t, m.Match(text+secret))
		require.True(t, m.Match(hex.EncodeToString([]byte(secret))))
		require.True(t, m.Match(base64.StdEncoding.EncodeToString([]byte(secret))))
	})
}

// The matcher looks at every fourth place first. It finds what a search for each
// needle at each place finds.
func TestTheMatcherFindsWhatASearchForEachNeedleFinds(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	draw := func(size int) string {
		text := make([]byte, size)
		for i := range text {
			text[i] = "xyZ~ "[r.IntN(5)]
		}
		return string(text)
	}
	hits := 0
	for range 3_000 {
		var needles []string
		for range 1 + r.IntN(4) {
			if needle := strings.Trim(draw(8+r.IntN(6)), " "); len(needle) >= 8 && !strings.Contains(needle, " ") {
				needles = append(needles, needle)
			}
		}
		m := credential(needles...)
		text := draw(r.IntN(60))
		if len(needles) > 0 && r.IntN(2) == 0 {
			text += strings.ToUpper(needles[0]) + draw(r.IntN(20))
		}
		found := slices.ContainsFunc(needles, func(n string) bool { return strings.Contains(strings.ToLower(text), strings.ToLower(n)) })
		require.Equal(t, found, m.Match(text), "%q in %q", needles, text)
		if found {
			hits++
		}
	}
	require.Greater(t, hits, 300)
}
