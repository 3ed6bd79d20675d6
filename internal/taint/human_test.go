package taint_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/taint"
)

// What people choose looks like a word: only its place tells.
func TestAPasswordThatAPersonChoseIsFoundByItsPlace(t *testing.T) {
	other := map[string]bool{ // where tokens are, or a name that says nothing
		"query": true, "fragment": true, "header": true, "bearer": true, "token scheme": true, "header JSON": true, "cookie": true, "set-cookie": true, "pgpass": true, "npmrc": true, "sentence": true, "question": true, "emphasis": true, "underlines": true,
		"German quotes": true, "French quotes": true, "arrow": true, "backslash": true, "smbclient": true, "fragment behind": true, "path": true, "Azure": true, "multipart": true, "shell default": true,
	}
	variants := 0
	for name, form := range travelling {
		for _, password := range []string{"hunter2", "dragon", "changeme", "Summer-2026", "monkey1", "letmein", "Passw0rd", "qwertz", "471108"} {
			if other[name] || name == "short flag" && (password == "dragon" || password == "letmein" || password == "changeme" || password == "qwertz" || password == "471108") {
				continue
			}
			text := fmt.Sprintf(form, password)
			for _, only := range []bool{false, true} {
				var s taint.Set
				if only {
					s.CredentialsOnly(func(string) bool { return false })
				}
				s.Add(text, false)
				m := s.Matcher()
				require.True(t, m.Match("login with "+password), "%s: %q", name, text)
				require.True(t, m.MatchCredential("x="+password+"&y"), "%s: %q", name, text)
				variants++
			}
		}
	}
	require.Greater(t, variants, 100)
}

// A sentence about a password holds none, nor does what stands for one.
func TestWhatStandsForAPasswordIsNoNeedle(t *testing.T) {
	var s taint.Set
	for _, text := range []string{
		"I forgot my password: could someone help me, please", "password: required", "password=true", "--password-file from stdin", `{"password":null,"secret":"none"}`, "the secret: keep calm and carry on",
		"mailto:alice@example.org", "acct:alice@example.org", "-print -path x -prune", "password: ****", "Password: incorrect", "user:password@host/x", "postgres://user:password@host/db", "find -p8080:80",
	} {
		s.Add(text, false)
	}
	m := s.Matcher()
	for _, line := range []string{
		"could be true", "someone is required", "none from stdin", "keep calm", "alice has logged in", "print the path", "incorrect", "the password was rotated", "null", "help me", "at 8080:80",
	} {
		require.False(t, m.Match(line), line)
	}
}
