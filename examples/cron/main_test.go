package main

import (
	"bytes"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTicksRunsAndSkipsAreToldApart(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), &out))
	printed := regexp.MustCompile(`  [0-9.]+(µs|ms|s)  `).ReplaceAllString(out.String(), "  DURATION  ")
	printed = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`).ReplaceAllString(printed, "ID")
	require.Equal(t, `✓ clean-up  success  DURATION  ID
⊘ clean-up  cancelled  SKIPPED: its scheduler passed it over; job ID was still running  ID
⊘ clean-up  cancelled  SKIPPED: its scheduler passed it over; job ID was still running  ID
`, printed)
}
