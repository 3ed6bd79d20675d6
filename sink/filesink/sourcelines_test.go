package filesink_test

import (
	"context"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink"
)

// lineSource is what a log's mirror reads.
type lineSource interface {
	Size(context.Context) (int64, error)
	Lines(context.Context, int64) iter.Seq2[[]byte, error]
}

func linesFrom(t *testing.T, source lineSource, from int64) (lines []string) {
	t.Helper()
	for line, err := range source.Lines(t.Context(), from) {
		require.NoError(t, err)
		lines = append(lines, string(line))
	}
	return lines
}

// fileLines are the lines from an index on, as the files hold them.
func fileLines(t *testing.T, dir string, from int64) (lines []string) {
	t.Helper()
	for line, err := range linesOf(t, dir, -1)(t.Context(), from) {
		require.NoError(t, err)
		lines = append(lines, string(line))
	}
	return lines
}

func TestLinesAreThoseOfTheFilesFromEveryIndex(t *testing.T) {
	p := newPlace(t)
	s := p.open(t, &filesink.Options{SegmentSize: 4 << 10})
	store(t, s, 3, plain(t, 20)...)
	store(t, s, 1, plain(t, 5)...)
	r, err := filesink.OpenReader(p.dir, p.key.Verifier())
	require.NoError(t, err)
	defer r.Close()
	require.NoError(t, s.Close())
	reopened := p.open(t, nil)
	for name, source := range map[string]lineSource{"Reader": r, "Sink": reopened} {
		size, err := source.Size(t.Context())
		require.NoError(t, err, name)
		require.EqualValues(t, 25, size, name)
		for from := range int64(26) {
			require.Equal(t, fileLines(t, p.dir, from), linesFrom(t, source, from), "%s from %d", name, from)
		}
		for from := int64(25); from >= 0; from-- { // back, with what was remembered
			require.Equal(t, fileLines(t, p.dir, from), linesFrom(t, source, from), "%s from %d", name, from)
		}
	}
}

func TestLinesGoOnWithWhatIsAppended(t *testing.T) {
	p := newPlace(t)
	s := p.open(t, &filesink.Options{SegmentSize: 4 << 10})
	for i := range int64(30) {
		store(t, s, 1, plain(t, 1)...)
		lines := linesFrom(t, s, i)
		require.Len(t, lines, 2)
		head, err := auditlog.CommitHead([]byte(lines[1]))
		require.NoError(t, err)
		require.Equal(t, i+1, head.Size)
	}
}

func TestAReadersLinesEndWithADurableHead(t *testing.T) {
	p := newPlace(t)
	p.write(t, nil, 1, plain(t, 3)...)
	require.NoError(t, os.Remove(filepath.Join(p.dir, "checkpoint")))
	r, err := filesink.OpenReader(p.dir, p.key.Verifier())
	require.NoError(t, err)
	defer r.Close()
	// Nobody says of the newest commit that it is durable: a crash may take it back.
	size, err := r.Size(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 2, size)
	lines := linesFrom(t, r, 0)
	require.Len(t, lines, 4)
	require.True(t, strings.HasPrefix(lines[3], `{"checkpoint":`))
}

func TestAHeadThatIsKnownFromElsewhereToBeDurableIsNotHeldBack(t *testing.T) {
	p := newPlace(t)
	p.write(t, nil, 1, plain(t, 3)...)
	require.NoError(t, os.Remove(filepath.Join(p.dir, "checkpoint")))
	r, err := filesink.OpenReader(p.dir, p.key.Verifier())
	require.NoError(t, err)
	defer r.Close()
	r.KnownDurable(3) // the writer's own mirror has it
	r.KnownDurable(1)
	size, err := r.Size(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 3, size)
}
