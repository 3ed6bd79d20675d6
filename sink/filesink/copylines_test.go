package filesink_test

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
)

// linesOf are the lines of a log's files, as another store would have them,
// with an error behind so many; -1 for none.
func linesOf(t *testing.T, dir string, fail int) filesink.Lines {
	files := load(t, dir)
	var lines [][]byte
	for _, name := range files.entries() {
		lines = append(lines, bytes.SplitAfter(files[name], []byte("\n"))...)
	}
	return func(_ context.Context, from int64) iter.Seq2[[]byte, error] {
		return func(yield func([]byte, error) bool) {
			var index int64
			n := 0
			for _, line := range lines {
				line = bytes.TrimSuffix(line, []byte("\n"))
				if len(line) == 0 {
					continue
				}
				at := index
				if !auditlog.IsCommit(line) {
					index++
				}
				if at < from || auditlog.IsCommit(line) && at == from {
					continue
				}
				if n == fail {
					yield(nil, errCut)
					return
				}
				if n++; !yield(line, nil) {
					return
				}
			}
		}
	}
}

var errCut = errors.New("the connection is cut by the test")

func TestACopyOfLinesIsTheLog(t *testing.T) {
	p := newPlace(t)
	p.write(t, &filesink.Options{SegmentSize: 8 << 10}, 3, sinktest.Records(40)...)
	keys := []note.Verifier{p.key.Verifier()}
	for fail := 0; fail < 60; fail += size.Times(1, 7) {
		dir := filepath.Join(t.TempDir(), "copy")
		_, err := filesink.CopyLinesIn(t.Context(), linesOf(t, p.dir, fail), dir, keys, 6<<10)
		if err != nil {
			require.ErrorIs(t, err, errCut)
			_, err = filesink.CopyLinesIn(t.Context(), linesOf(t, p.dir, fail%3+2), dir, keys, 6<<10)
			require.True(t, err == nil || errors.Is(err, errCut), "cut again, at the first new lines: %v", err)
		}
		head, err := filesink.CopyLinesIn(t.Context(), linesOf(t, p.dir, -1), dir, keys, 6<<10)
		require.NoError(t, err)
		require.EqualValues(t, 40, head.Head().Size)
		requireRecords(t, read(t, openReader(t, p.dir), jobaudit.Query{}), read(t, openReader(t, dir), jobaudit.Query{}))
		require.Equal(t, p.newestCommit(t).Head(), head.Head())
	}
}

// What goes wrong with the lines is no word against a copy.
func TestACopyIsNotAccusedOfWhatItsSourceDoes(t *testing.T) {
	p := newPlace(t)
	p.write(t, &filesink.Options{SegmentSize: 8 << 10}, 3, sinktest.Records(20)...)
	keys := []note.Verifier{p.key.Verifier()}
	dir := filepath.Join(t.TempDir(), "copy")
	_, err := filesink.CopyLinesIn(t.Context(), linesOf(t, p.dir, -1), dir, keys, 6<<10)
	require.NoError(t, err)
	before := load(t, dir)
	var no *filesink.CopyError
	for fail := range 2 {
		_, err = filesink.CopyLinesIn(t.Context(), linesOf(t, p.dir, fail), dir, keys, 6<<10)
		require.ErrorIs(t, err, errCut)
		require.False(t, errors.As(err, &no), "%v", err)
		ends := func(ctx context.Context, from int64) iter.Seq2[[]byte, error] {
			return func(yield func([]byte, error) bool) {
				for line, err := range linesOf(t, p.dir, fail)(ctx, from) {
					if err != nil || !yield(line, nil) {
						return
					}
				}
			}
		}
		_, err = filesink.CopyLinesIn(t.Context(), ends, dir, keys, 6<<10)
		require.ErrorAs(t, err, &no)
		require.ErrorContains(t, err, "or the log has lost its end")
		require.Equal(t, before, load(t, dir))
	}
	head, err := filesink.CopyLinesIn(t.Context(), linesOf(t, p.dir, -1), dir, keys, 6<<10)
	require.NoError(t, err)
	require.EqualValues(t, 20, head.Head().Size)
}

func TestACopyOfLinesGoesOnBehindItsOwnBeginningOnly(t *testing.T) {
	p := newPlace(t)
	p.write(t, nil, 3, sinktest.Records(9)...)
	keys := []note.Verifier{p.key.Verifier()}
	base := t.TempDir()
	copied := filepath.Join(base, "copy")
	_, err := filesink.CopyLines(t.Context(), linesOf(t, p.dir, -1), copied, keys)
	require.NoError(t, err)

	other := newPlace(t)
	other.write(t, nil, 3, sinktest.Records(12)...)
	for name, dir := range map[string]string{"a log": other.dir, "the log itself": p.dir} {
		before := load(t, dir)
		_, err = filesink.CopyLines(t.Context(), linesOf(t, p.dir, -1), dir, keys)
		var no *filesink.CopyError
		require.ErrorAs(t, err, &no, name)
		require.Equal(t, before, load(t, dir), name)
	}
	before := load(t, copied)
	_, err = filesink.CopyLines(t.Context(), linesOf(t, other.dir, -1), copied, []note.Verifier{other.key.Verifier()})
	var no *filesink.CopyError
	require.ErrorAs(t, err, &no, "another log's copy")
	require.Equal(t, before, load(t, copied))

	asLog := p
	asLog.dir = copied
	require.ErrorIs(t, asLog.refused(t, nil), filesink.ErrCopy)

	_, err = filesink.CopyLines(t.Context(), linesOf(t, p.dir, -1), filepath.Join(base, "none"), nil)
	require.Error(t, err, "nobody could prove it")
	_, err = filesink.CopyLines(t.Context(), linesOf(t, p.dir, 0), filepath.Join(base, "cut"), keys)
	require.ErrorIs(t, err, errCut)
	_, err = filesink.CopyLines(t.Context(), func(context.Context, int64) iter.Seq2[[]byte, error] {
		return func(func([]byte, error) bool) {}
	}, filepath.Join(base, "empty"), keys)
	require.ErrorIs(t, err, filesink.ErrNothingVerified)

	_, err = filesink.CopyLines(t.Context(), linesOf(t, p.dir, -1), filepath.Join(base, "unknown"), []note.Verifier{other.key.Verifier()})
	require.Error(t, err)
	damaged := load(t, p.dir).clone()
	damaged[damaged.entries()[0]][200] ^= 1
	damaged.store(t, p.dir)
	_, err = filesink.CopyLines(t.Context(), linesOf(t, p.dir, -1), filepath.Join(base, "damaged"), keys)
	var found *filesink.VerifyError
	require.ErrorAs(t, err, &found, "a copy of a damaged log is not proven")
	require.NoError(t, os.RemoveAll(base))
}

// A copy that lost its end, of a log that lost its own: "nothing was changed" is true.
func TestACopyWhoseLogDoesNotReachItsCheckpointIsNotWrittenTo(t *testing.T) {
	p := newPlace(t)
	records := sinktest.Records(9)
	p.write(t, nil, 3, records[:3]...)
	keys := []note.Verifier{p.key.Verifier()}
	copied := filepath.Join(t.TempDir(), "copy")
	_, err := filesink.CopyLines(t.Context(), linesOf(t, p.dir, -1), copied, keys)
	require.NoError(t, err)
	early := load(t, copied)
	p.write(t, nil, 3, records[3:6]...)
	shortened := filepath.Join(t.TempDir(), "shortened")
	copyDir(t, p.dir, shortened)
	p.write(t, nil, 3, records[6:]...)
	_, err = filesink.CopyLines(t.Context(), linesOf(t, p.dir, -1), copied, keys)
	require.NoError(t, err)
	for _, name := range early.entries() {
		require.NoError(t, os.WriteFile(filepath.Join(copied, name), early[name], 0o600))
	}
	before := load(t, copied)
	_, err = filesink.CopyLines(t.Context(), linesOf(t, shortened, -1), copied, keys)
	var no *filesink.CopyError
	require.ErrorAs(t, err, &no)
	require.ErrorContains(t, err, "nothing was changed")
	require.Equal(t, before, load(t, copied))
	_, err = filesink.CopyLines(t.Context(), linesOf(t, p.dir, -1), copied, keys)
	require.NoError(t, err)
}
