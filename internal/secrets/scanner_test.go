package secrets_test

import (
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
	for size := range 60 {
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
