package watermillaudit

import (
	"bytes"
	"fmt"
	"log/slog"
	"syscall"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
)

// TestTheDefaultLogIsToldTheKindsOfErrorsAlone: what a client's error quotes of inputs is
// not for the log that everything goes to.
func TestTheDefaultLogIsToldTheKindsOfErrorsAlone(t *testing.T) {
	before := slog.Default()
	defer slog.SetDefault(before)
	var said bytes.Buffer
	slog.SetDefault(slog.New(slog.NewTextHandler(&said, nil)))
	id := uuid.New()
	New(nil, nil).opts.OnError(t.Context(), &jobaudit.AuditError{Op: "submit", JobID: id, Err: fmt.Errorf("enqueue canary-input: %w", syscall.ENOSPC)})
	require.NotContains(t, said.String(), "canary-input")
	require.Contains(t, said.String(), "submit job "+id.String())
	require.Contains(t, said.String(), "no space left on device")
}
