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
