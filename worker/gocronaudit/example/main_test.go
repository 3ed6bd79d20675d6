package main

import (
	"bytes"
	"context"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheRunItsChildAndTheSkippedTicksAreToldApart(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	var out bytes.Buffer
	require.NoError(t, run(ctx, &out))
	printed := regexp.MustCompile(`  [0-9.]+(µs|ms|s)  `).ReplaceAllString(out.String(), "  DURATION  ")
	printed = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`).ReplaceAllString(printed, "ID")
	require.Equal(t, `✓ clean-up  success  DURATION  ID
└─ ✓ delete-file  success  DURATION  ID
⊘ clean-up  cancelled  SKIPPED: its scheduler runs it once at a time; job ID was still running  ID
⊘ clean-up  cancelled  SKIPPED: its scheduler runs it once at a time; job ID was still running  ID
`, printed)
}
