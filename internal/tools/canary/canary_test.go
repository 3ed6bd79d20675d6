package canary_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/tools/canary"
)

func TestATextIsPutWhereverItMayStand(t *testing.T) {
	line := `{"schemaVersion":"1","a":"x:\"y","b":["p","q"],"c":{"d":""}}`
	got := canary.Spoil([]byte(line), `]"`, func(line []byte) bool {
		return strings.HasPrefix(string(line), `{"schemaVersion":"1"`) && strings.Contains(string(line), `"p"`)
	})
	require.JSONEq(t, `{"schemaVersion":"1","a":"]\"","b":["p","]\""],"c":{"d":"]\""}}`, string(got))
}

func TestWhatWasLearnedOfOneLineSparesTheOthersTheirTries(t *testing.T) {
	tries := 0
	accepted := func(line []byte) bool {
		tries++
		return strings.HasPrefix(string(line), `{"schemaVersion":"1"`) && !strings.Contains(string(line), `"kind":"x"`)
	}
	s := canary.Spoiler{Accepted: accepted}
	for i, line := range []string{
		`{"schemaVersion":"1","a":"x:\"y","b":["p","q"],"c":{"d":""},"kind":"k"}`,
		`{"schemaVersion":"1","a":"other","b":["q"],"c":{"d":"e"},"kind":"l"}`,
		`{"schemaVersion":"1","a":"other","new":"","b":{"kind":"k"}}`,
	} {
		tries = 0
		got := s.Spoil([]byte(line), "x")
		require.Equal(t, []int{7, 1, 3}[i], tries)
		require.Equal(t, string(canary.Spoil([]byte(line), "x", accepted)), string(got))
	}
	// A field that one line needs as it is, though another does not.
	s.Accepted = func(line []byte) bool { return strings.Contains(string(line), `"q"`) }
	require.Equal(t, `{"a":"q","b":"x"}`, string(s.Spoil([]byte(`{"a":"q","b":"y"}`), "x")))
}
