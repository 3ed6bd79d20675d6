package filesink_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
)

const origin = "example.com/jobs"

// every is how many of a test's cases one is run of: all in a plain run, fewer
// under the race detector, for which one is like the other, and least in a short one.
func every(race int) int {
	switch {
	case testing.Short():
		return 8 * race
	case size.Race:
		return race
	}
	return 1
}

// place is where a test's log and its key lie.
type place struct {
	base, dir string
	key       *filesink.Key
}

func newPlace(t testing.TB) place {
	t.Helper()
	base := t.TempDir()
	p := place{base: base, dir: filepath.Join(base, "log")}
	var err error
	p.key, err = filesink.LoadOrCreateKey(p.dir, p.keyPath(), origin)
	require.NoError(t, err)
	return p
}

func (p place) keyPath() string    { return filepath.Join(p.base, "key") }
func (p place) anchorPath() string { return p.keyPath() + ".anchor" }

// open opens the log; the test closes it at its end if it has not.
func (p place) open(t testing.TB, opts *filesink.Options) *filesink.Sink {
	t.Helper()
	s, err := filesink.Open(t.Context(), p.dir, p.key, opts)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// write opens the log, stores records in batches of this size, and closes it.
func (p place) write(t testing.TB, opts *filesink.Options, batch int, records ...jobaudit.Record) {
	t.Helper()
	s := p.open(t, opts)
	store(t, s, batch, records...)
	require.NoError(t, s.Close())
}

func store(t testing.TB, s *filesink.Sink, batch int, records ...jobaudit.Record) {
	t.Helper()
	for len(records) > 0 {
		n := min(batch, len(records))
		require.NoError(t, s.Append(t.Context(), records[:n]))
		records = records[n:]
	}
}

func read(t testing.TB, r jobaudit.AuditReader, q jobaudit.Query) []jobaudit.Record {
	t.Helper()
	var all []jobaudit.Record
	for record, err := range r.Records(t.Context(), q) {
		require.NoError(t, err)
		all = append(all, record)
	}
	return all
}

func requireRecords(t testing.TB, want, got []jobaudit.Record) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		require.Equal(t, string(want[i].Bytes()), string(got[i].Bytes()), "record %d", i)
	}
}

// verify verifies the directory with the key alone, and heads from outside.
func (p place) verify(t testing.TB, heads ...auditlog.Head) auditlog.Report {
	t.Helper()
	return verify(t, p.dir, []note.Verifier{p.key.Verifier()}, heads...)
}

func verify(t testing.TB, dir string, keys []note.Verifier, heads ...auditlog.Head) auditlog.Report {
	t.Helper()
	r, err := filesink.OpenReader(dir)
	require.NoError(t, err)
	defer r.Close()
	segments, err := r.Segments()
	require.NoError(t, err)
	report, err := auditlog.Verify(context.WithoutCancel(t.Context()), segments, &auditlog.Options{Keys: keys, Heads: heads}, nil)
	require.NoError(t, err)
	return report
}

// newestCommit returns the newest commit in the log's files, durable or not.
func (p place) newestCommit(t testing.TB) auditlog.Checkpoint {
	t.Helper()
	b, err := os.ReadFile(newestSegment(t, p.dir))
	require.NoError(t, err)
	var newest auditlog.Checkpoint
	for line := range bytes.Lines(b) {
		if c, err := auditlog.OpenCommit(bytes.TrimSuffix(line, []byte("\n")), p.key.Verifier()); err == nil {
			newest = c
		}
	}
	require.False(t, newest.IsZero())
	return newest
}

// plain returns n records that differ in their ID and their stream only. They
// are cheaper than sinktest's.
func plain(t testing.TB, n int) []jobaudit.Record {
	t.Helper()
	line := sinktest.Records(1)[0].Bytes()
	id := bytes.Index(line, []byte(`"id":"`)) + len(`"id":"`)
	records := make([]jobaudit.Record, n)
	for i := range records {
		copy(line[id:], uuid.Must(uuid.NewV7()).String())
		var err error
		records[i], err = jobaudit.ParseRecord(line)
		require.NoError(t, err)
	}
	return records
}
