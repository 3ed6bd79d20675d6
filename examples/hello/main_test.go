package main

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// plain replaces what differs from run to run.
func plain(text string) string {
	for _, r := range [][2]string{
		{`\w+day, \d+ \w+ \d+, UTC`, "DAY"},
		{`\d\d:\d\d:\d\d\.\d{3}`, "TIME"},
		{` *\+\d+\.\d{6}s`, " OFFSET"},
		{`[0-9a-f]{8}-[0-9a-f-]{27}`, "ID"},
		{`host .*, instance`, "host HOST, version VERSION, instance"},
	} {
		text = regexp.MustCompile(r[0]).ReplaceAllString(text, r[1])
	}
	return text
}

func TestTheReadmeShowsTheOutput(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), &out))
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	_, shown, found := strings.Cut(string(readme), "```text\n")
	require.True(t, found)
	shown, _, _ = strings.Cut(shown, "```")
	require.Equal(t, plain(shown), plain(out.String()))
}
