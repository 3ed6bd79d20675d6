package exporttest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/export"
	"github.com/jobaudit/jobaudit/internal/tools/size"
)

// readCSV is a program that reads CSV as its users do: after each length, a text of so
// many bytes. It answers a line of JSON.
const readCSV = `
import csv, io, json, sys
csv.field_size_limit(1 << 30)
for length in sys.stdin.buffer:
    text = sys.stdin.buffer.read(int(length)).decode("utf-8")
    print(json.dumps(list(csv.DictReader(io.StringIO(text, newline=""), strict=True))), flush=True)
`

// python runs readCSV for as long as the tests run: starting it costs more than any text.
var python = sync.OnceValues(func() (func([]byte) ([]byte, error), error) {
	command := exec.Command("python3", "-c", readCSV) // it ends when our end of its input does
	command.Stderr = os.Stderr
	in, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewReader(out)
	var mu sync.Mutex
	return func(text []byte) ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		if _, err := fmt.Fprintf(in, "%d\n%s", len(text), text); err != nil {
			return nil, err
		}
		return lines.ReadBytes('\n')
	}, nil
})

// program runs a program that make test-extra installs.
func program(t *testing.T, input []byte, name string, args ...string) []byte {
	t.Helper()
	command := exec.CommandContext(t.Context(), name, args...)
	command.Stdin = bytes.NewReader(input)
	command.Stderr = os.Stderr
	out, err := command.Output()
	require.NoError(t, err, name)
	return out
}

// checkCSV has Python read events, and compares texts, with the apostrophe of the
// guard taken off.
func checkCSV(t *testing.T, records []jobaudit.Record, opts *export.Options) {
	encoder, err := export.New(export.CSV, opts)
	require.NoError(t, err)
	content := encoder.Header()
	for _, r := range records {
		content = encoder.Append(content, r)
	}
	read, err := python()
	require.NoError(t, err)
	answer, err := read(content)
	require.NoError(t, err, "Python has ended: it says why above")
	var rows []map[string]string
	require.NoError(t, json.Unmarshal(answer, &rows))
	require.Len(t, rows, len(records))
	for i, r := range records {
		e := r.Event()
		for column, want := range map[string]string{
			"event_id": e.ID.String(), "reason": e.Why.Reason, "action": e.What.Action, "line": e.Data.Line,
			"principal_id": e.Who.Principal.ID, "principal_name": e.Who.Principal.Name, "inputs": string(e.What.Inputs),
			"impact": e.Data.Impact, "host": e.Where.Host, "type": string(e.Type), "org_id": e.Who.OrgID,
		} {
			cell := rows[i][column]
			if opts == nil {
				first := strings.TrimLeft(cell, " ")
				require.False(t, first != "" && strings.ContainsRune("=+-@\t\r\n", rune(first[0])), cell)
				cell = strings.TrimPrefix(cell, "'")
			}
			require.Equal(t, strings.ReplaceAll(want, "\x00", "\ufffd"), cell, column)
		}
	}
}

func TestExtraPythonReadsEveryEvent(t *testing.T) {
	size.Extra(t)
	checkCSV(t, cases(t), nil)
	checkCSV(t, cases(t), &export.Options{Raw: true})
}

func FuzzExtraCSV(f *testing.F) {
	fuzz(f, func(t *testing.T, r jobaudit.Record) { checkCSV(t, []jobaudit.Record{r}, nil) })
}
