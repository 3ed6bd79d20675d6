package exporttest

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/export"
	"github.com/jobaudit/jobaudit/internal/tools/canary"
	"github.com/jobaudit/jobaudit/internal/tools/size"
)

// golden reads the golden events of the repository: every type, the acts and the
// verdicts.
func golden(t testing.TB) (records []jobaudit.Record) {
	t.Helper()
	files, err := filepath.Glob("../../../testdata/*/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		record, err := jobaudit.ParseRecord(bytes.TrimSuffix(content, []byte("\n")))
		require.NoError(t, err, file)
		records = append(records, record)
	}
	return records
}

// spoil returns an event with a text in every field that may hold it.
func spoil(t testing.TB, r jobaudit.Record, text string) jobaudit.Record {
	t.Helper()
	spoiled, err := jobaudit.ParseRecord(canary.Spoil(r.Bytes(), text, func(line []byte) bool {
		_, err := jobaudit.ParseRecord(line)
		return err == nil
	}))
	require.NoError(t, err)
	return spoiled
}

var made struct {
	sync.Once
	records []jobaudit.Record
}

// cases are the golden events, as they are, and with each canary, and nothing, in every field.
func cases(t testing.TB) []jobaudit.Record {
	t.Helper()
	made.Do(func() {
		made.records = golden(t)
		for _, r := range golden(t) {
			made.records = append(made.records, spoil(t, r, ""))
			for _, text := range canary.Texts {
				made.records = append(made.records, spoil(t, r, text))
			}
		}
	})
	return made.records
}

// encode returns an event in a format, without what ends it.
func encode(t testing.TB, format export.Format, r jobaudit.Record) []byte {
	t.Helper()
	encoder, err := export.New(format, nil)
	require.NoError(t, err)
	return bytes.TrimRight(encoder.Append(nil, r), "\r\n")
}

// fuzz runs a check on the golden events with texts of the fuzzer's in every field.
func fuzz(f *testing.F, check func(t *testing.T, r jobaudit.Record)) {
	size.Extra(f)
	records := golden(f)
	for i, text := range canary.Texts {
		f.Add(uint8(i), text)
	}
	f.Fuzz(func(t *testing.T, which uint8, text string) {
		if len(text) > 2000 {
			t.Skip("longer than a text may be")
		}
		check(t, spoil(t, records[int(which)%len(records)], strings.ToValidUTF8(text, "\ufffd")))
	})
}
