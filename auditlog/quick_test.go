package auditlog_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/auditlog"
)

// longLog is of several times as many bytes as have one signature checked when
// it is to be quick, in two segments.
func longLog(t *testing.T) *testLog {
	t.Helper()
	l := newLog(t, newKey(t, origin))
	filler := strings.Repeat("0123456789", 400)
	for batch := range 60 {
		if batch == 40 {
			l.segment()
		}
		lines := make([]string, 40)
		for i := range lines {
			lines[i] = fmt.Sprintf(`{"schemaVersion":"1.0.0","n":%d,"x":"%s"}`, l.tree.Size()+int64(i), filler)
		}
		l.commit(lines...)
	}
	return l
}

// commitAt is where the commit line of a batch stands in the first segment.
func commitAt(batch int) int { return batch*41 + 40 }

func TestQuickFindsTheSameInALongLog(t *testing.T) {
	l := longLog(t)
	report, found := l.verify(l.keys()) // compares the two
	require.Empty(t, found)
	require.Equal(t, auditlog.Signed, report.Level)

	first := l.segments[0]
	for _, at := range []int{0, 500, commitAt(20) + 1, commitAt(39) - 1} {
		if testing.Short() && at != 500 {
			continue
		}
		was := first[at]
		first[at] = was[:len(was)-1] + " "
		_, found = l.verify(l.keys())
		require.Len(t, found, 1, "line %d", at)
		require.Equal(t, auditlog.KindRoot, found[0].Kind)
		hints := l.keys()
		hints.Hints = l.hashes()
		_, found = l.verify(hints)
		require.Equal(t, auditlog.KindChanged, found[0].Kind)
		first[at] = was
	}
}

func TestQuickDoesNotSeeASignatureThatALaterOneCoversAndNoOther(t *testing.T) {
	l := longLog(t)
	opts := l.keys()
	opts.Quick = true
	damage := func(segment, at int) (restore func()) {
		line := &l.segments[segment][at]
		was := *line
		*line = was[:len(was)-12] + "AAAA" + was[len(was)-8:]
		return func() { *line = was }
	}
	restore := damage(0, commitAt(3))
	_, err := auditlog.Verify(t.Context(), l.source(), opts, nil)
	require.NoError(t, err, "covered")
	_, found := l.verify(l.keys())
	require.Equal(t, auditlog.KindSignature, found[0].Kind)
	restore()

	for segment, at := range []int{commitAt(39), commitAt(19)} { // the last of each segment
		restore := damage(segment, at)
		want, wantErr := auditlog.Verify(t.Context(), l.source(), l.keys(), nil)
		report, err := auditlog.Verify(t.Context(), l.source(), opts, nil)
		require.Equal(t, want, report)
		require.Equal(t, wantErr, err)
		restore()
	}
}

func TestQuickReportsWhatWasReadBeforeAnError(t *testing.T) {
	l := longLog(t)
	text := strings.Join(l.segments[0], "\n") + "\n"
	gone := errors.New("the disk is gone")
	segments := []auditlog.Segment{{Open: func() (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(strings.NewReader(text[:4_000_000]), iotest.ErrReader(gone))), nil
	}}}
	want, err := auditlog.Verify(t.Context(), segments, l.keys(), nil)
	require.ErrorIs(t, err, gone)
	require.NotZero(t, want.Head.Size)
	opts := l.keys()
	opts.Quick = true
	report, err := auditlog.Verify(t.Context(), segments, opts, nil)
	require.ErrorIs(t, err, gone)
	require.Equal(t, want, report)
}

func TestALeafComesWithItsOwnNotes(t *testing.T) {
	l := longLog(t)
	l.segments[0][7] = "" // no leaf
	for _, quick := range []bool{false, true} {
		opts := l.keys()
		opts.Quick = quick
		var inspected atomic.Int64
		opts.Inspect = func(notes, line []byte) []byte {
			if inspected.Add(1)%3 == 0 { // nothing to say
				return notes
			}
			return append(notes, line[:40]...)
		}
		var leaves, noted int64
		_, err := auditlog.Verify(t.Context(), l.source(), opts, func(leaf auditlog.Leaf) error {
			leaves++
			if len(leaf.Notes) > 0 {
				noted++
				require.Equal(t, string(leaf.Bytes[:40]), string(leaf.Notes))
			}
			return nil
		})
		require.Len(t, findings(t, err), 1)
		require.EqualValues(t, len(l.leaves)-1, leaves)
		require.EqualValues(t, leaves, inspected.Load())
		require.Equal(t, leaves-leaves/3, noted)
	}
}
