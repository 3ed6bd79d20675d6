package secrets_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/secrets"
)

func newScanner(t testing.TB, config *secrets.Config) *secrets.Scanner {
	t.Helper()
	s, err := secrets.New(config)
	require.NoError(t, err)
	return s
}

func TestASecretNamesItsRule(t *testing.T) {
	s := newScanner(t, nil)
	rule, found := s.Find("the token is gh" + "p_" + strings.Repeat("aB3d", 9) + ", keep it")
	require.True(t, found)
	require.Equal(t, "github", rule)
	rule, found = s.Find("nothing to see")
	require.False(t, found)
	require.Empty(t, rule)
}

func TestProseIsPassedOverUnlessAPatternFitsIntoIt(t *testing.T) {
	require.True(t, newScanner(t, nil).Prose())
	short := newScanner(t, &secrets.Config{Patterns: []secrets.Pattern{{Rule: "own", Match: "acme-[a-z]{4}"}}})
	require.False(t, short.Prose())
	_, found := short.Find("the code is acme-abcd as before")
	require.True(t, found)
}

// What is told eight bytes at a time is what a look at each byte tells.
func TestPlainWordsAreToldAsByEachByte(t *testing.T) {
	each := func(text string) bool {
		word := 0
		for i := range len(text) {
			c := text[i]
			switch {
			case c == ' ':
				word = -1
			case c >= 0x80, c|0x20 >= 'a' && c|0x20 <= 'z', strings.IndexByte("!\"'(),-.", c) >= 0:
			default:
				return false
			}
			if word++; word >= 12 {
				return false
			}
		}
		return true
	}
	m := newMaker()
	for size := 8; size < 60; size++ { // no shorter text is asked about
		for _, alphabet := range []string{"abcxyzABZ  ", "ab \x80\xff,.'\"()-!", "ab#$ 0@[`{\x00\x7f", "aaaaaaaaaaaaaaa "} {
			for range 50 {
				text := make([]byte, size)
				for i := range text {
					text[i] = alphabet[m.IntN(len(alphabet))]
				}
				require.Equal(t, each(string(text)), secrets.PlainWords(string(text)), "%q", text)
			}
		}
	}
}

// FuzzParts holds what is told of several bytes at once to what a look at each of
// them tells.
func FuzzParts(f *testing.F) {
	s := newScanner(f, everything())
	m := newMaker()
	f.Add(m.of('w', 200), uint8(40))
	f.Add(m.of('h', 50)+"-"+m.of('s', 150)+"."+m.of('b', 50), uint8(40))
	for _, text := range []string{
		"", "abc", "a word, or 22", strings.Repeat("aZ09", 9) + "@", "\x80\xc3\xa4bc`{[/:@", "my_password", "ACCESS-TOKEN\"", "client_assertion' ", "k.e.y", "x=api-Key\\\" ",
		"aGVsbG8gd29ybGQgYWdhaW4=", "YWJj\nZGVm\r\nZ2hp", "YWJjZGVm*Z2hp", "a-_+/b", "\nYQ==", "YWJj\n    ZGVm", "YWJj\\nZGVm", "YWJj\\r\\n> ZGVm", "YW\\/j",
	} {
		f.Add(text, uint8(len(text)))
	}
	f.Fuzz(func(t *testing.T, text string, n uint8) {
		for i := range len(text) + 1 {
			require.Equal(t, i+endOfWord(text[i:]), secrets.WordEnd(text, i))
			known, ending := secrets.Named(text, i)
			require.True(t, ending || !known, "%q", text[:i])
		}
		counts, changes := mixOf(text)
		fast, fastChanges := secrets.Mix(text)
		require.Equal(t, counts, fast)
		require.Equal(t, changes, fastChanges)
		noted, plain := s.Ends(text)
		require.Equal(t, plain, noted)
		want, read := base64Of(text, int(n))
		got, gotRead := secrets.Decode(text, int(n))
		require.Equal(t, want, got)
		require.Equal(t, read, gotRead)
	})
}

// mixOf counts other bytes, small letters, capitals and digits, and changes from one of
// the last three to another.
func mixOf(text string) (counts [4]int, changes int) {
	last := 0
	for i := range len(text) {
		class := 0
		switch c := text[i]; {
		case 'a' <= c && c <= 'z':
			class = 1
		case 'A' <= c && c <= 'Z':
			class = 2
		case '0' <= c && c <= '9':
			class = 3
		}
		if last != 0 && class != 0 && class != last {
			changes++
		}
		counts[class]++
		last = class
	}
	return counts, changes
}

func endOfWord(text string) int {
	for i := range len(text) {
		if c := text[i]; (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return i
		}
	}
	return len(text)
}

// joints are what base64 is broken with.
var joints = regexp.MustCompile(`^(?:(?:\r|\n|\\{1,2}[nr])[ \t>]{0,16}|\\/)`)

// jointOf returns the size of the joint that a text begins with. A slash is no part of it.
func jointOf(text string) int {
	found := joints.FindString(text)
	if strings.HasSuffix(found, "/") {
		return 1
	}
	return len(found)
}

// base64Of decodes the digits one by one.
func base64Of(text string, size int) (bytes []byte, read int) {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	bytes = []byte{}
	have, value := 0, 0
	for ; read < len(text) && len(bytes) < size; read++ {
		c := text[read]
		if n := jointOf(text[read:]); n > 0 {
			read += n - 1
			continue
		}
		v := strings.IndexByte(digits, c)
		switch c {
		case '-':
			v = 62
		case '_':
			v = 63
		}
		if v < 0 {
			return bytes, read
		}
		value, have = value<<6|v, have+6
		if have >= 8 {
			have -= 8
			bytes = append(bytes, byte(value>>have))
			value &= 1<<have - 1
		}
	}
	return bytes, read
}
