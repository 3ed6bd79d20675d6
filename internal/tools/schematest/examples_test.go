package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// examples are the programs in examples/ that write the events they recorded,
// one a line, to the file that -events names, and how many JobStatuses each
// prints, which begin with a line that is an opening brace.
var examples = map[string]int{"quickstart": 1, "github-workflow": 1}

var printedStatus = regexp.MustCompile(`(?ms)^\{\n.*?^\}\n`)

func TestTheExamplesRecordValidEventsAndPrintValidStatuses(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the example programs")
	}
	for name, statuses := range examples {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "events.jsonl")
			cmd := exec.CommandContext(t.Context(), "go", "run", "./examples/"+name, "-events", file)
			cmd.Dir = "../../.."
			cmd.Env = append(os.Environ(), "GOWORK=off", "TMPDIR="+t.TempDir())
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			require.NoError(t, err, "%s", &stderr)

			count, err := check(schemas, jobStatusKind, bytes.NewReader(bytes.Join(printedStatus.FindAll(out, -1), nil)))
			require.NoError(t, err)
			require.Equal(t, statuses, count)

			events, err := os.Open(file)
			require.NoError(t, err)
			defer events.Close()
			_, err = check(schemas, eventKind, events)
			require.NoError(t, err)
		})
	}
}
