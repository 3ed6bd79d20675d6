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
