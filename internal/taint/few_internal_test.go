package taint

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Few needles are found one by one exactly where the automaton finds them, at
// heads that are cut short too.
func TestOneByOneFindsWhatTheAutomatonFinds(t *testing.T) {
	const alphabet = "aab+ x9"
	finds, notDone := 0, 0
	for seed := range uint64(20_000) {
		r := rand.New(rand.NewPCG(seed, 5))
		letters := func(n int) string {
			var b strings.Builder
			for range n {
				b.WriteByte(alphabet[r.IntN(len(alphabet))])
			}
			return b.String()
		}
		var e expander
		e.limit = few
		beginning := letters(r.IntN(12))
		for range 1 + r.IntN(few) {
			text := beginning + letters(4+r.IntN(14))
			if r.IntN(4) == 0 {
				text = beginning + letters(4) + "..." + letters(3)
			}
			e.put(text, r.IntN(2) == 0 || len(text) < minNeedle)
		}
		m := newMatcher(e.needles)
		var text strings.Builder
		for range 1 + r.IntN(6) {
			needle := m.needles[r.IntN(len(m.needles))].text
			text.WriteString(letters(r.IntN(6)))
			text.WriteString(needle[:r.IntN(len(needle)+1)])
			text.WriteString([]string{"...", "", "…", "[...", " "}[r.IntN(5)])
		}
		ask := func(find func(found func(uint32) bool) bool) (names []uint32) {
			find(func(n uint32) bool {
				names = append(names, n)
				return false
			})
			slices.Sort(names)
			return slices.Compact(names)
		}
		one := ask(func(found func(uint32) bool) bool {
			_, done := m.oneByOne([]byte(text.String()), found)
			if !done {
				notDone++
			}
			return false
		})
		if notDone > 0 {
			notDone = 0
			continue
		}
		m.automaton()
		all := ask(func(found func(uint32) bool) bool { return m.search([]byte(text.String()), found) })
		require.Equal(t, all, one, "seed %d: %q in %q", seed, m.needles, text.String())
		finds += len(all)
	}
	require.Greater(t, finds, 10_000)
}

// A text that is made of what the needles begin with costs no more than any other:
// it is left to the automaton.
func TestAHostileTextIsLeftToTheAutomaton(t *testing.T) {
	var s Set
	for i := range few {
		s.Add(strings.Repeat("a1", 50)+string(rune('b'+i)), true)
	}
	m := s.Matcher()
	require.Nil(t, m.made.Load())
	require.False(t, m.Match("nothing of the kind"))
	require.Nil(t, m.made.Load())
	require.False(t, m.Match(strings.Repeat("a1", 8<<10)))
	require.NotNil(t, m.made.Load())
	require.True(t, m.Match(strings.Repeat("a1", 50)+"b"))
}
