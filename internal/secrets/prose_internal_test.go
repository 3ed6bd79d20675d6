package secrets

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// Find does not look at short texts of one word. A look at each finds nothing in
// them.
func TestAShortTextOfOneWordHoldsNothing(t *testing.T) {
	s, err := New(nil)
	require.NoError(t, err)
	require.Equal(t, minCard, s.least)
	r := rand.New(rand.NewPCG(3, 9))
	const alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01234567890123456789-./-"
	drawn := func(n int) []byte {
		text := make([]byte, n)
		for i := range text {
			text[i] = alphabet[r.IntN(len(alphabet))]
		}
		return text
	}
	words := 0
	look := func(text string) {
		if len(text) < minText || len(text) >= s.least || !oneWord(text) {
			return
		}
		words++
		c := scan{Scanner: s, text: text}
		require.False(t, c.run(), "%q", text)
		c.release()
	}
	for range 50_000 {
		look(string(drawn(minText + r.IntN(minCard-minText))))
	}
	for _, f := range builtin() { // what begins like a token
		for range 20 {
			look(f.prefix + string(drawn(1+r.IntN(minCard))))
		}
	}
	require.Greater(t, words, 52_000)
	for _, text := range []string{"a b-c-d-e", "a=b-c-d-e", "pass:b1c2", "a@b.c-d-e", "a+b-c-d-e", "a-b-c-d-é", "abcdefgh\x00"} {
		require.False(t, oneWord(text), "%q", text)
	}
	own, err := New(&Config{Patterns: []Pattern{{Rule: "own", Match: "ab-[0-9]{6}"}}})
	require.NoError(t, err)
	rule, found := own.Find("ab-123456")
	require.True(t, found)
	require.Equal(t, "own", rule)
	personal, err := New(&Config{Personal: []Class{IP}})
	require.NoError(t, err)
	_, found = personal.Find("192.0.2.17")
	require.True(t, found)
}
