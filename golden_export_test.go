package jobaudit

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files in testdata anew")

// Golden compares got with a file in testdata, or writes it with -update.
func Golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", filepath.FromSlash(name))
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, got, 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
}

// goldenRecords reads the golden files, one for each type of event.
func goldenRecords(t testing.TB) map[EventType]Record {
	t.Helper()
	files, err := filepath.Glob("testdata/events/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	records := map[EventType]Record{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		record, err := ParseRecord(bytes.TrimSuffix(content, []byte("\n")))
		require.NoError(t, err, file)
		records[record.Type()] = record
	}
	return records
}

// GoldenRecords is goldenRecords for tests outside the package.
func GoldenRecords(t testing.TB) map[EventType]Record { return goldenRecords(t) }
