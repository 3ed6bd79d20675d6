package export_test

import (
	"bytes"
	"encoding/csv"
	"errors"
	"flag"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/export"
	"github.com/jobaudit/jobaudit/internal/jsonscan"
	"github.com/jobaudit/jobaudit/internal/tools/canary"
)

var update = flag.Bool("update", false, "write the golden files in testdata")

// golden reads the golden events of the repository, in the order of their names.
func golden(t testing.TB) (records []jobaudit.Record) {
	t.Helper()
	files, err := filepath.Glob("../testdata/*/*.json")
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

// spoiled returns each golden event with each text in every field that may hold it.
func spoiled(t testing.TB) []jobaudit.Record {
	t.Helper()
	made.Do(func() {
		spoiler := canary.Spoiler{Accepted: isRecord}
		for i, r := range golden(t) {
			if testing.Short() && i%10 > 0 {
				continue
			}
			for k, text := range canary.Texts {
				line := spoiler.Spoil(r.Bytes(), text)
				last, err := jobaudit.ParseRecord(line)
				require.NoError(t, err)
				made.records = append(made.records, last)
				if k == i%len(canary.Texts) { // what was learned of others holds of this one
					require.Equal(t, string(canary.Spoil(r.Bytes(), text, isRecord)), string(line))
				}
			}
		}
	})
	return made.records
}

func isRecord(line []byte) bool {
	_, err := jobaudit.ParseRecord(line)
	return err == nil
}

// made is made once, as it takes a second.
var made struct {
	sync.Once
	records []jobaudit.Record
}

func each(records []jobaudit.Record) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		for _, r := range records {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func TestEveryTypeIsExportedAsItsGoldenFileSays(t *testing.T) {
	for _, format := range export.Formats() {
		var got bytes.Buffer
		last, err := export.Write(&got, format, each(golden(t)), nil)
		require.NoError(t, err)
		require.Equal(t, golden(t)[len(golden(t))-1].ID(), last)
		file := "testdata/" + string(format) + ".golden"
		if *update {
			require.NoError(t, os.MkdirAll("testdata", 0o755))
			require.NoError(t, os.WriteFile(file, got.Bytes(), 0o644))
		}
		want, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, string(want), got.String(), format)
	}
}

func TestJSONLinesAreTheStoredBytes(t *testing.T) {
	var got bytes.Buffer
	_, err := export.Write(&got, export.JSONL, each(golden(t)), nil)
	require.NoError(t, err)
	var want []byte
	for _, r := range golden(t) {
		want = append(r.AppendTo(want), '\n')
	}
	require.Equal(t, string(want), got.String())
}

// Two members of one name are what a table whose rows are in the wrong order would
// give.
func TestEveryJSONFormatIsOneObjectALineWithEachNameOnceWhateverTheTexts(t *testing.T) {
	for _, format := range []export.Format{export.JSONL, export.CloudEvents, export.OCSF, export.ECS, export.OTLP} {
		encoder, err := export.New(format, nil)
		require.NoError(t, err)
		for _, r := range spoiled(t) {
			line := encoder.Append(nil, r)
			require.Equal(t, 1, bytes.Count(line, []byte("\n")), "%s", line)
			require.NoError(t, jsonscan.Check(bytes.TrimSuffix(line, []byte("\n"))), "%s", line)
		}
	}
}

func TestNoTextEndsALineOrControlsATerminalInSyslogAndCEF(t *testing.T) {
	for _, format := range []export.Format{export.Syslog, export.CEF} {
		encoder, err := export.New(format, nil)
		require.NoError(t, err)
		for _, r := range spoiled(t) {
			line, ended := strings.CutSuffix(string(encoder.Append(nil, r)), "\n")
			require.True(t, ended)
			require.NotContains(t, line, "\u0085")
			require.NotContains(t, line, "\u2028")
			require.Negative(t, strings.IndexFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f }), "%q", line)
		}
	}
}

func TestNoCellIsAFormulaAndEachTextComesBack(t *testing.T) {
	guarded, err := export.New(export.CSV, nil)
	require.NoError(t, err)
	raw, err := export.New(export.CSV, &export.Options{Raw: true})
	require.NoError(t, err)
	for _, r := range spoiled(t) {
		safe := cells(t, guarded.Append(guarded.Header(), r))
		plain := cells(t, raw.Append(raw.Header(), r))
		for column, cell := range safe {
			first := strings.TrimLeft(cell, " ")
			if first != "" && strings.ContainsRune("=+-@\t\r\n", rune(first[0])) {
				t.Fatalf("%s is %q", column, cell)
			}
			if strings.TrimPrefix(cell, "'") != plain[column] {
				t.Fatalf("%s is %q, and with --raw %q", column, cell, plain[column])
			}
		}
		// encoding/csv reads a line break in a text as \n, whatever it was.
		want := strings.ReplaceAll(strings.ReplaceAll(r.Event().Why.Reason, "\r\n", "\n"), "\x00", "\ufffd")
		require.Equal(t, want, plain["reason"])
	}
}

// cells reads a header and one record.
func cells(t *testing.T, content []byte) map[string]string {
	t.Helper()
	records, err := csv.NewReader(bytes.NewReader(content)).ReadAll()
	require.NoError(t, err)
	require.Len(t, records, 2)
	row := make(map[string]string)
	for i, name := range records[0] {
		row[name] = records[1][i]
	}
	require.Len(t, row, len(records[1]), "two columns have one name")
	return row
}

func TestAFormatThatIsNoneIsAnErrorThatNamesThoseThereAre(t *testing.T) {
	_, err := export.New("xml", nil)
	require.EqualError(t, err, `export: "xml" is no format; there are csv, jsonl, cloudevents, ocsf, ecs, syslog, cef, otlp`)
	_, err = export.Write(io.Discard, "", each(nil), nil)
	require.Error(t, err)
}

func TestTheZeroRecordIsNothing(t *testing.T) {
	for _, format := range export.Formats() {
		encoder, err := export.New(format, nil)
		require.NoError(t, err)
		require.Empty(t, encoder.Append(nil, jobaudit.Record{}))
	}
}

// limited is a writer that fails when it has taken n bytes.
type limited struct {
	bytes.Buffer
	n int
}

var errFull = errors.New("no space left on device")

func (w *limited) Write(p []byte) (int, error) {
	if w.Len()+len(p) > w.n {
		n, _ := w.Buffer.Write(p[:w.n-w.Len()])
		return n, errFull
	}
	return w.Buffer.Write(p)
}

func TestWhatWasNotWrittenAsAWholeIsWrittenWhenItIsResumed(t *testing.T) {
	var records []jobaudit.Record
	for range 20 {
		records = append(records, golden(t)...)
	}
	w := &limited{n: 300_000}
	last, err := export.Write(w, export.ECS, each(records), nil)
	require.ErrorIs(t, err, errFull)
	written := bytes.Count(w.Bytes(), []byte("\n"))
	require.NotZero(t, written)
	require.Contains(t, w.String(), `"id":"`+last.String()+`"`)
}

func TestAnErrorOfReadingEndsTheExportBehindWhatCameBeforeIt(t *testing.T) {
	errGone := errors.New("gone")
	var w bytes.Buffer
	records := golden(t)
	last, err := export.Write(&w, export.JSONL, func(yield func(jobaudit.Record, error) bool) {
		_ = yield(records[0], nil) && yield(jobaudit.Record{}, errGone)
	}, nil)
	require.ErrorIs(t, err, errGone)
	require.Equal(t, records[0].ID(), last)
	require.Equal(t, string(records[0].Bytes())+"\n", w.String())

	last, err = export.Write(&w, export.JSONL, each(nil), nil)
	require.NoError(t, err)
	require.Equal(t, uuid.Nil, last)
}
