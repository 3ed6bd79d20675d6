package main

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/tools/size"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	if os.Getenv(writerVariable) != "" {
		if run(context.Background(), os.Stdout, os.Args[1:]) != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func runs(t *testing.T, args ...string) {
	t.Helper()
	var out strings.Builder
	err := run(t.Context(), &out, args)
	t.Log(out.String())
	require.NoError(t, err)
	for _, node := range []string{"node-3", "node-4", "node-5", "node-7"} { // and no other
		require.Contains(t, out.String(), "named: example.com/"+node+": the log ")
	}
	require.Equal(t, 4, strings.Count(out.String(), "named: "))
	require.Equal(t, len(faults)+2, strings.Count(out.String(), "\n"))
}

// TestNothingThatWasMirroredIsLostAndEachManipulationIsNamed runs ten processes.
func TestNothingThatWasMirroredIsLostAndEachManipulationIsNamed(t *testing.T) {
	if testing.Short() {
		t.Skip("runs many processes")
	}
	runs(t)
}

func TestExtraNothingThatWasMirroredUnderLockIsLostAndEachManipulationIsNamed(t *testing.T) {
	size.Extra(t)
	for _, name := range []string{"AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		t.Setenv(name, "") // and put back behind the test
	}
	runs(t, "-lock")
}
