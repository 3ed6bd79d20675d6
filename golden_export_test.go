package jobaudit

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/environ"
)

var update = flag.Bool("update", false, "write the golden files in testdata")

// stored is where records are that every version must read.
var stored = flag.String("stored", "testdata", "read the records in the directories of this one")

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

// WithoutEnvironment lets recorders say nothing of their process, which is
// another on each machine.
func WithoutEnvironment(t testing.TB) {
	t.Helper()
	before := process
	t.Cleanup(func() { process = before })
	process = func() *environ.Process { return nil }
}

// WithFixedEnvironment lets recorders say of their process all that can be said.
func WithFixedEnvironment(t testing.TB) {
	t.Helper()
	before := process
	t.Cleanup(func() { process = before })
	process = func() *environ.Process {
		return &environ.Process{
			Program: environ.Program{
				Go: "go1.26.0", OS: "linux", Arch: "amd64", Path: "example.com/deployer", Version: "v1.2.3",
				Revision: "0123456789abcdef0123456789abcdef01234567", Time: "2026-01-02T03:04:05Z", Modified: true,
				Dependencies: &[32]byte{1, 2, 3},
			},
			Clock: &environ.Clock{Synchronized: true, ErrorMicros: 1_234, Source: "tsc"},
		}
	}
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
