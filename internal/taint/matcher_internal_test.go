package taint

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Needles that have something of their own are compared where that stands; those that
// have every part in common with many others are left to the automaton, as comparing
// each would take a time that grows with their number.
func TestNeedlesWithEveryPartInCommonAreLeftToTheAutomaton(t *testing.T) {
	blocks := func(n int) string {
		var b strings.Builder
		for bit := range 11 {
			b.WriteString([]string{"a7b8c9d0", "e1f2g3h4"}[n>>bit&1])
		}
		return b.String()
	}
	var own, common Set
	for n := range 2_048 {
		own.Add(fmt.Sprintf("%s-%04d-%s", strings.Repeat("a1", 20), n, strings.Repeat("b2", 20)), true)
		common.Add(blocks(n), true)
	}
	m := own.Matcher()
	require.False(t, m.Match(strings.Repeat("a1", 8<<10)+strings.Repeat("b2", 8<<10)))
	require.True(t, m.Match(strings.Repeat("a1", 30)+"-0017-"+strings.Repeat("b2", 30)))
	require.Nil(t, m.made)

	m = common.Matcher()
	require.False(t, m.Match("nothing of the kind"))
	require.Nil(t, m.made)
	require.False(t, m.Match(strings.Repeat("a7b8c9d0", 10)+"."))
	require.NotNil(t, m.made)
	require.True(t, m.Match("x"+blocks(117)+"y"))
}
