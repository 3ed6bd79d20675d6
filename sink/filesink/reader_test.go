package filesink_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
)

func openReader(t testing.TB, dir string) *filesink.Reader {
	t.Helper()
	r, err := filesink.OpenReader(dir)
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func TestAReaderReadsWhileTheWriterWrites(t *testing.T) {
	p := newPlace(t)
	records := sinktest.Records(200)
	s := p.open(t, &filesink.Options{SegmentSize: 8 << 10})
	var r *filesink.Reader
	for n := 0; n < len(records); n += 10 {
		store(t, s, 3, records[n:n+10]...)
		if r == nil {
			r = openReader(t, p.dir)
		}
		requireRecords(t, records[:n+10], read(t, r, jobaudit.Query{}))
		// The newest commit may not be durable yet, as far as a reader can tell;
		// the one before it is. Batches are of 3, 3, 3 and 1.
		c, err := r.Checkpoint(t.Context(), p.key.Verifier())
		require.NoError(t, err)
		require.Contains(t, []int64{int64(n + 9), int64(n + 10)}, c.Head().Size)
		durable := records[n+8]
		proof, err := r.Prove(t.Context(), durable.ID(), p.key.Verifier())
		require.NoError(t, err)
		require.Equal(t, durable.Bytes(), proof.Leaf())
		// The checkpoint may follow at any moment.
		require.GreaterOrEqual(t, proof.Checkpoint().Head().Size, c.Head().Size)
		if _, err = r.Prove(t.Context(), records[n+9].ID(), p.key.Verifier()); err != nil {
			require.ErrorIs(t, err, filesink.ErrNotDurable)
			require.EqualValues(t, n+9, c.Head().Size)
		}
	}
	require.NoError(t, s.Close())
	c, err := r.Checkpoint(t.Context(), p.key.Verifier())
	require.NoError(t, err)
	require.Equal(t, s.Checkpoint().Head(), c.Head())
	requireRecords(t, records, read(t, r, jobaudit.Query{}))
	for i, record := range records {
		proof, err := r.Prove(t.Context(), record.ID(), p.key.Verifier())
		require.NoError(t, err)
		require.EqualValues(t, i, proof.Index())
	}
}

func TestAReaderGivesTheSameAnswersWithoutCaches(t *testing.T) {
	p := newPlace(t)
	records := sinktest.Records(100)
	p.write(t, &filesink.Options{SegmentSize: 8 << 10}, 3, records...)
	with := openReader(t, p.dir)
	queries := []jobaudit.Query{
		{}, {NewestFirst: true}, {JobID: records[42].JobID()}, {JobID: records[42].JobID(), NewestFirst: true},
		{CorrelationID: records[61].Event().CorrelationID}, {After: records[50].ID()}, {After: records[50].ID(), NewestFirst: true, Limit: 7},
	}
	var want [][]jobaudit.Record
	for _, q := range queries {
		want = append(want, read(t, with, q))
		require.NotEmpty(t, want[len(want)-1])
	}
	require.NoError(t, os.RemoveAll(filepath.Join(p.dir, "index")))
	require.NoError(t, os.Remove(filepath.Join(p.dir, "tree")))
	without := openReader(t, p.dir)
	for i, q := range queries {
		requireRecords(t, want[i], read(t, without, q))
	}
	_, err := without.Prove(t.Context(), records[7].ID(), p.key.Verifier())
	require.NoError(t, err)
	_, err = without.Prove(t.Context(), uuid.New(), p.key.Verifier())
	require.Error(t, err)
}

func TestAReaderShowsNothingBehindTheNewestCommit(t *testing.T) {
	p := newPlace(t)
	records := sinktest.Records(10)
	p.write(t, nil, 5, records[:5]...)
	name := newestSegment(t, p.dir)
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.Write(append(records[5].Bytes(), "\n{\"checkpoint\":\"half"...))
	require.NoError(t, err)
	require.NoError(t, f.Close())
	requireRecords(t, records[:5], read(t, openReader(t, p.dir), jobaudit.Query{}))
	requireRecords(t, []jobaudit.Record{records[4]}, read(t, openReader(t, p.dir), jobaudit.Query{NewestFirst: true, Limit: 1}))
}

func TestAReaderWritesNothing(t *testing.T) {
	p := newPlace(t)
	p.write(t, nil, 5, sinktest.Records(10)...)
	require.NoError(t, os.RemoveAll(filepath.Join(p.dir, "index")))
	before := names(t, p.dir)
	r := openReader(t, p.dir)
	read(t, r, jobaudit.Query{})
	require.Equal(t, before, names(t, p.dir))

	_, err := filesink.OpenReader(t.TempDir())
	require.ErrorIs(t, err, fs.ErrNotExist, "a directory without a log")
	_, err = filesink.OpenReader(filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestAnEmptyLogCanBeRead(t *testing.T) {
	p := newPlace(t)
	p.open(t, nil)
	r := openReader(t, p.dir)
	require.Empty(t, read(t, r, jobaudit.Query{}))
	_, err := r.Checkpoint(t.Context(), p.key.Verifier())
	require.ErrorIs(t, err, auditlog.ErrNoHead)
}

// names lists all files below a directory.
func names(t testing.TB, dir string) []string {
	t.Helper()
	var all []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		all = append(all, path)
		return err
	}))
	return all
}

func segments(t testing.TB, dir string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "entries", "*.jsonl"))
	require.NoError(t, err)
	return all
}

func newestSegment(t testing.TB, dir string) string {
	t.Helper()
	all := segments(t, dir)
	require.NotEmpty(t, all)
	return all[len(all)-1]
}
