package exporttest

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/export"
	"github.com/jobaudit/jobaudit/internal/tools/size"
)

// checkCEF has liblognorm, which rsyslog normalizes logs with, read events.
func checkCEF(t *testing.T, records []jobaudit.Record) {
	rules := filepath.Join(t.TempDir(), "cef.rulebase")
	require.NoError(t, os.WriteFile(rules, []byte("version=2\nrule=:%f:cef%\n"), 0o600))
	var content []byte
	for _, r := range records {
		content = append(append(content, encode(t, export.CEF, r)...), '\n')
	}
	lines := bytes.Split(bytes.TrimSuffix(program(t, content, "lognormalizer", "-r", rules, "-e", "json"), []byte("\n")), []byte("\n"))
	require.Len(t, lines, len(records))
	for i, r := range records {
		var parsed struct {
			F struct {
				DeviceVendor, SignatureID, Name, Severity string
				Extensions                                map[string]string
			} `json:"f"`
		}
		require.NoError(t, json.Unmarshal(lines[i], &parsed), "%s", lines[i])
		e := r.Event()
		require.Equal(t, "jobaudit", parsed.F.DeviceVendor, "%s", content)
		require.Equal(t, visible(string(e.Type)), parsed.F.SignatureID)
		for name, want := range map[string]string{
			"externalId": e.ID.String(), "suid": e.Who.Principal.ID, "cs4": e.Why.Reason, "cs5": e.Where.Environment,
		} {
			require.Equal(t, strings.TrimSpace(inCEF(want)), strings.TrimSpace(parsed.F.Extensions[name]), "%s of %s", name, lines[i])
		}
	}
}

// inCEF is a text as docs/exports.md says that CEF holds it.
func inCEF(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\r' && (r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029) {
			return ' '
		}
		return r
	}, s)
}

func TestExtraLiblognormReadsEveryEvent(t *testing.T) {
	size.Extra(t)
	checkCEF(t, cases(t))
}

func FuzzExtraCEF(f *testing.F) {
	fuzz(f, func(t *testing.T, r jobaudit.Record) { checkCEF(t, []jobaudit.Record{r}) })
}
