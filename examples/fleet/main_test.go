package main

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	if os.Getenv(writerVariable) != "" {
		if run(context.Background(), os.Stdout, os.Args[1:]) != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestNothingThatWasMirroredIsLostAndEachManipulationIsNamed runs ten processes.
func TestNothingThatWasMirroredIsLostAndEachManipulationIsNamed(t *testing.T) {
	if testing.Short() {
		t.Skip("runs many processes")
	}
	var out strings.Builder
	require.NoError(t, run(t.Context(), &out, nil))
	require.Equal(t, 11, strings.Count(out.String(), "\n"), out.String())
	require.Equal(t, 4, strings.Count(out.String(), "named: "), out.String())
}
