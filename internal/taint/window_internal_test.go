package taint

import (
	"encoding/base64"
	"encoding/hex"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/tools/size"
)

// all returns what a Matcher finds in a text, with what is decoded written out in parts
// or whole.
func (m *Matcher) all(text string, whole bool) (found []string) {
	m.sieve.off = m.sieve.off || whole
	m.match(text, func(n uint32) bool {
		found = append(found, m.needles[n].text)
		return false
	})
	slices.Sort(found)
	return slices.Compact(found)
}

// TestPartsOfWhatIsDecodedHoldAllThatIsFoundInTheWhole: needles, short ones that stand
// alone, and heads before a cut, with what is not seen between, at each place of a byte.
func TestPartsOfWhatIsDecodedHoldAllThatIsFoundInTheWhole(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	found := 0
	for range size.Times(400, 100) {
		m, text := drawn(r)
		for range r.IntN(3) {
			noise := make([]byte, r.IntN(12))
			for i := range noise {
				noise[i] = byte(r.IntN(256))
			}
			between := []string{"", "", "\u200b", "\u200b\u200b\u00ad", "\x00"}[r.IntN(5)]
			text = strings.Join(strings.Split(text, ""), between)
			text = string(noise) + text + string(noise)
			if r.IntN(3) == 0 {
				text = hex.EncodeToString([]byte(text))
			} else {
				text = base64.RawStdEncoding.EncodeToString([]byte(text))
			}
		}
		parts := m.all(text, false)
		require.Subset(t, parts, m.all(text, true), "%q", text)
		found += len(parts)
	}
	require.Positive(t, found)
}

// TestWhatStandsBesideANeedleIsWrittenOutWithIt: what tells that a text is cut, or that a
// short needle stands alone behind a flag, however much is not seen between.
func TestWhatStandsBesideANeedleIsWrittenOutWithIt(t *testing.T) {
	variants := 0
	for _, unseen := range []string{"", "\u200b", "\u200b\u2060\ufeff", strings.Repeat("\u200b", 9)} {
		for _, credential := range []string{"a1b2c3d4e5f6", "q7w8e"} {
			var s Set
			s.Add(credential, true)
			m := s.Matcher()
			texts := []string{"x -p" + credential + " y"}
			if len(credential) > minNeedle {
				for _, mark := range []string{"...", "…", "***", "[...", "[…"} {
					texts = append(texts, credential[:10]+mark+"\xff")
				}
			}
			for _, text := range texts {
				text = strings.Join(strings.Split(text, ""), unseen)
				for pad := range 6 {
					inner := strings.Repeat("\xfe", pad) + text + strings.Repeat("\xfe", 5-pad)
					for _, outer := range []string{base64.StdEncoding.EncodeToString([]byte(inner)), hex.EncodeToString([]byte(inner))} {
						require.True(t, m.Match(outer), "%q", inner)
						outer = strings.Repeat("\xfe", pad) + outer + "\xfe"
						require.True(t, m.Match(base64.StdEncoding.EncodeToString([]byte(outer))), "%q", inner)
						variants += 2
					}
				}
			}
		}
	}
	require.Greater(t, variants, 100)
}
