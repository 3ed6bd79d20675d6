package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// examples are the programs in examples/ that write the events they recorded,
// one a line, to the file that -events names.
var examples = []string{"quickstart"}

func TestTheExamplesRecordValidEvents(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the example programs")
	}
	for _, name := range examples {
		t.Run(name, func(t *testing.T) {
			if _, err := os.Stat(filepath.Join("../../examples", name)); errors.Is(err, fs.ErrNotExist) {
				t.Skip("there is no such example yet")
			}
			file := filepath.Join(t.TempDir(), "events.jsonl")
			cmd := exec.CommandContext(t.Context(), "go", "run", "./examples/"+name, "-events", file)
			cmd.Dir = "../.."
			cmd.Env = append(os.Environ(), "GOWORK=off")
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)

			events, err := os.Open(file)
			require.NoError(t, err)
			defer events.Close()
			_, err = check(schemas, eventKind, events)
			require.NoError(t, err)
		})
	}
}
