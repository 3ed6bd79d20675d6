package filesink_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/filesink"
)

// A reader of a log from which a line was removed says so, before all else,
// rather than show a shorter log.
func TestAReaderSaysThatLinesWereRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	key, err := filesink.LoadOrCreateKey(dir, dir+".key", "example.com/jobs")
	require.NoError(t, err)
	sink, err := filesink.Open(t.Context(), dir, key, nil)
	require.NoError(t, err)
	r, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "s", Environment: "e"}, nil)
	require.NoError(t, err)
	require.NoError(t, r.Close(t.Context()))
	require.NoError(t, sink.Close())
	reads := func() error {
		reader, err := filesink.OpenReader(dir, key)
		require.NoError(t, err)
		defer reader.Close()
		for _, err := range reader.Records(t.Context(), jobaudit.Query{}) {
			return err
		}
		return errors.New("no record")
	}
	require.NoError(t, reads())
	path := filepath.Join(dir, "entries", "00000000000000000000.jsonl")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	_, without, _ := strings.Cut(string(text), "\n")
	require.NoError(t, os.WriteFile(path, []byte(without), 0o600))
	_, unreadable := errors.AsType[*jobaudit.UnreadableError](reads())
	require.True(t, unreadable)
}
