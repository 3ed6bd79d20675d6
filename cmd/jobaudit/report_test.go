package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAReportIsCheckedWithoutItsScript(t *testing.T) {
	l := newLog(t).close(t)
	file := filepath.Join(t.TempDir(), "report.html")
	public := strings.TrimSpace(run(t, "key", l.key).out)
	c := run(t, "report", l.dir, "--html", file, "--root", l.parent.String())
	require.Zero(t, c.code, c.err)
	require.Contains(t, c.out, public)
	require.NoError(t, os.RemoveAll(l.dir))

	c = run(t, "check-report", file, "--key", public)
	require.Zero(t, c.code, c.err)
	require.Contains(t, c.out, "2 jobs, 2 streams")
	require.Contains(t, c.out, "reindex-part")
	require.NotContains(t, c.out, "\x1b")

	page, err := os.ReadFile(file)
	require.NoError(t, err)
	for old, text := range map[string]string{
		"may have changed its script":       "cannot have changed its script",     // its text
		`if (!good) throw`:                  `if (!good) return head; throw`,      // its script
		"default-src 'none'":                "default-src 'self'",                 // its policy
		"</html>":                           "</html><script>alert(1)</script>",   // behind it
		`<div id="report"></div>`:           `<div id="report">all is well</div>`, // a claim of its own
		`id="evidence">`:                    `id="evidence"  >`,                   // where the evidence is
		`<script type="text/plain" id="evi`: `<script type="text/plain" id="evil`, // no evidence
		"am9iYXVkaXQuZXZpZGVuY2UvdjEKeyJz":  "am9iYXVkaXQuZXZpZGVuY2UvdjEKeyJz ",  // in the evidence
	} {
		require.Contains(t, string(page), old)
		require.NoError(t, os.WriteFile(file, []byte(strings.Replace(string(page), old, text, 1)), 0o600))
		c = run(t, "check-report", file, "--key", public)
		require.Equal(t, 1, c.code, "%s: %s", old, c.err)
		require.Regexp(t, "CHANGED|NOT PROVEN", c.err)
	}
}

func TestAReportIsAboutOneThing(t *testing.T) {
	l := newLog(t).close(t)
	for _, tc := range []struct {
		args []string
		want string
	}{
		{nil, "say what the report is about"},
		{[]string{"--job", l.parent.String(), "--root", l.parent.String()}, "exclude each other"},
		{[]string{"--since", "2026-13-01"}, "--since"},
	} {
		c := run(t, append([]string{"report", l.dir, "--html", "-"}, tc.args...)...)
		require.Equal(t, 2, c.code, c.err)
		require.Contains(t, c.err, tc.want)
		require.Empty(t, c.out)
	}
	require.Contains(t, run(t, "report", l.dir, "--job", l.parent.String()).err, "--html is missing")
	c := run(t, "report", l.dir, "--html", "-", "--since", "1h", "--principal", "u-1")
	require.Zero(t, c.code, c.err)
	require.Contains(t, c.out, "</html>")
}
