package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/stretchr/testify/require"
)

// printed are the lines that are recorded of what a program prints in pieces of any length.
func printed(random *rand.Rand, text string, lines int) (recorded []string) {
	o := &output{record: func(line string) { recorded = append(recorded, line) }, first: (lines + 1) / 2, last: lines / 2}
	for len(text) > 0 {
		n := 1 + random.IntN(64<<10)
		if random.IntN(4) == 0 {
			n = 1 + random.IntN(3)
		}
		n = min(n, len(text))
		o.take([]byte(text[:n]))
		if text = text[n:]; random.IntN(3) == 0 {
			o.flush()
		}
	}
	o.end()
	return recorded
}

// Whatever a line is made of, wherever it stands, and whether or not it has an end: its
// beginning is recorded, and how long it is.
func TestOfALongLineItIsSaidHowLongItIs(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	rounds := size.Times(40, 5)
	for _, character := range []string{"a", "é", "漢", "😀", "a\t漢"} {
		for _, end := range []string{"", "\n"} {
			for _, before := range []int{0, 7} { // among the first lines, and among the last
				for range rounds {
					size := longestLine - 20 + random.IntN(40)
					switch random.IntN(4) {
					case 0:
						size = 1 + random.IntN(longestLine)
					case 1:
						size = longestLine + random.IntN(400_000)
					}
					line := strings.Repeat("b", random.IntN(8)) + strings.Repeat(character, 1+size/len(character))
					all := printed(random, strings.Repeat("line\n", before)+line+end, 8)
					name := fmt.Sprintf("%q, end %q, %d lines before, %d bytes: %.100q", character, end, before, len(line), all)
					require.Greater(t, len(all), before, name)
					got := all[before:]
					if len(line) <= longestLine {
						require.Equal(t, []string{line}, got, name)
						continue
					}
					require.Len(t, got, 2, name)
					kept, marked := strings.CutSuffix(got[0], "…")
					require.True(t, marked && strings.HasPrefix(line, kept) && len(kept) > longestLine-4, name)
					require.Equal(t, "[that line has "+count(len(line), "byte")+"]", got[1], name)
				}
			}
		}
	}
}

func TestTheLinesThatAreLeftOutAreCounted(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 1))
	for range size.Times(300, 60) {
		n := random.IntN(30)
		text, lines := strings.Repeat("line\n", n), n
		if random.IntN(2) == 0 {
			text, lines = text+"last", n+1
		}
		if random.IntN(4) == 0 { // its beginning cannot be kept
			text, lines = strings.Repeat("line\n", 8)+strings.Repeat("a", 3<<20)+"\n"+text, lines+9
		}
		got, out := 0, 0
		for _, line := range printed(random, text, 8) {
			if _, err := fmt.Sscanf(line, "[%d line", &out); err != nil {
				require.Contains(t, []string{"line", "last"}, line, "no end of a line without its beginning")
				got++
			}
		}
		require.Equal(t, lines, got+out, "%d lines", n)
		require.LessOrEqual(t, got, 8)
	}
}
