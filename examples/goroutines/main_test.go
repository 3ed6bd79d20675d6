package main

import (
	"bytes"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheTreeShowsWhichJobMadeWhich(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), &out))
	printed := regexp.MustCompile(`  [0-9.]+(µs|ms|s)  `).ReplaceAllString(out.String(), "  DURATION  ")
	printed = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`).ReplaceAllString(printed, "ID")
	require.Equal(t, `the report: the bank does not answer

✗ daily-report  failed  DURATION  ERROR: the bank does not answer [*errors.joinError]  ID
├─ ✓ fetch-prices  success  DURATION  ID
│  ├─ ✓ fetch-page-1  success  DURATION  ID
│  └─ ✓ fetch-page-2  success  DURATION  ID
├─ ✗ fetch-rates  failed  DURATION  ERROR: the bank does not answer [*errors.errorString]  ID
└─ ⊘ fetch-news  cancelled  DURATION  CANCELLED: the bank does not answer [*errors.errorString]  ID
✓ send-alert  success  DURATION  ID
`, printed)
}
