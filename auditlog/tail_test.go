package auditlog_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
)

// text joins lines as a segment holds them.
func text(lines ...string) string {
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}

// zeroed sets [from, to) of a text to zero.
func zeroed(s string, from, to int) string {
	return s[:from] + strings.Repeat("\x00", to-from) + s[to:]
}

// verifySegments verifies texts as the segments of a log.
func (l *testLog) verifySegments(opts *auditlog.Options, texts ...string) (auditlog.Report, error) {
	l.t.Helper()
	var segments []auditlog.Segment
	for i, s := range texts {
		segments = append(segments, segment(fmt.Sprint("segment ", i), l.firsts[i], s))
	}
	return auditlog.Verify(l.t.Context(), segments, opts, nil)
}

func TestIgnoredBytesAreTheNextSegmentsFirstBatchOrAFinding(t *testing.T) {
	l := threeSegments(t, newKey(t, origin))
	first, second, third := text(l.segments[0]...), text(l.segments[1]...), text(l.segments[2]...)
	batch := 0
	for line := range strings.Lines(second) {
		batch += len(line)
		if auditlog.IsCommit([]byte(line)) {
			break
		}
	}
	check := func(ignored string, stray bool) {
		t.Helper()
		report, err := l.verifySegments(l.keys(), first+ignored, second, third)
		if !stray {
			require.NoError(t, err, "%.80q", ignored)
			require.Equal(t, l.head().Head(), report.Head)
			require.Equal(t, []auditlog.Ignored{{Segment: "segment 0", Offset: int64(len(first)), Bytes: int64(len(ignored))}}, report.Ignored)
			return
		}
		found := findings(t, err)
		require.Len(t, found, 1, "%.80q", ignored)
		require.Equal(t, auditlog.KindStray, found[0].Kind)
		require.EqualValues(t, len(first), found[0].Offset)
		require.Contains(t, found[0].Found, fmt.Sprint(len(ignored)))
		require.Empty(t, report.Ignored)
	}
	random := rand.New(rand.NewPCG(1, 1))
	for n := 1; n <= batch; n += 1 + random.IntN(size.Times(9, 60)) {
		check(second[:n], false)
		from := random.IntN(n)
		check(zeroed(second[:n], from, from+random.IntN(n-from)), false)
		changed := []byte(second[:n])
		changed[from] ^= 1 + byte(random.IntN(255))
		check(string(changed), changed[from] != 0)
	}
	check(strings.Repeat("\x00", batch), false)
	check(strings.Repeat("\x00", batch+1), true)
	for _, stray := range []string{"torn", "a leaf\n", "\n", l.leaves[0] + "\n", second[:batch] + "\x00", second, third, second[:batch] + l.leaves[1] + "\n", first} {
		check(stray, true)
	}
}

func TestAnUnfinishedRewriteIsCompared(t *testing.T) {
	l := threeSegments(t, newKey(t, origin))
	first, second, third := text(l.segments[0]...), text(l.segments[1]...), text(l.segments[2]...)
	commit := slices.IndexFunc(l.segments[2], func(line string) bool { return auditlog.IsCommit([]byte(line)) })
	batch := text(l.segments[2][:commit+1]...)
	for name, c := range map[string]struct {
		ignored, next string
		kind          auditlog.Kind
	}{
		"the second has lost what is under its torn head": {batch, zeroed(batch, 2, 22), ""},
		"both have lost something":                        {zeroed(batch, 10, 30), zeroed(batch, 2, 22), ""},
		"lost under a torn head, and more before it":      {batch + "x", zeroed(batch, 2, 22), auditlog.KindStray},
		"lost under a torn head, and they differ":         {"x" + batch[1:], zeroed(batch, 2, 22), auditlog.KindStray},
		"the file is there and empty":                     {third[:50], "", ""},
		"both are torn":                                   {zeroed(third[:120], 20, 80), third[:100], ""},
		"the second has lost what the first has":          {third[:120], zeroed(third[:120], 30, 90), ""},
		"they differ":                                     {"x" + third[1:90], third[:60], auditlog.KindStray},
		"the first was acknowledged, and went on":         {third + third, "", auditlog.KindStray},
	} {
		t.Run(name, func(t *testing.T) {
			report, err := l.verifySegments(l.keys(), first, second+c.ignored, c.next)
			if c.kind == "" {
				require.NoError(t, err)
				require.Equal(t, l.firsts[2], report.Head.Size)
				return
			}
			require.Equal(t, c.kind, findings(t, err)[0].Kind)
		})
	}
}

// tails are what may stand behind a good commit line: of what crashes leave,
// no damage is said.
func tails(t testing.TB, l *testLog) map[string]struct {
	tail   string
	damage bool
} {
	lines := l.segments[len(l.segments)-1]
	at := len(lines) - 1
	for at > 0 && !auditlog.IsCommit([]byte(lines[at-1])) {
		at--
	}
	batch, commit := text(lines[at:]...), lines[len(lines)-1]
	other := newLog(t, l.key)
	other.batch(int(l.tree.Size()) + 3)
	older := string(auditlog.AppendCommit(nil, l.heads[0]))
	half := len(batch) / 3
	return map[string]struct {
		tail   string
		damage bool
	}{
		"cut":                             {batch[:half], false},
		"zeros":                           {strings.Repeat("\x00", len(batch)), false},
		"lost sectors under a torn head":  {zeroed(batch, 2, 22), false},
		"a commit line that lost sectors": {zeroed(batch, len(batch)-60, len(batch)-20), false},
		"a line of somebody else":         {"hello\n", false},

		"two torn heads":                        {zeroed(batch, 2, 22) + text("x", string(auditlog.AppendCommit(nil, other.head()))), true},
		"the same torn head twice":              {zeroed(batch, 2, 22) + commit + "\n", true},
		"a byte behind a torn head":             {zeroed(batch, 2, 22) + "x", true},
		"a line feed behind a torn head":        {zeroed(batch, 2, 22) + "\n", true},
		"zeros behind a torn head":              {zeroed(batch, 2, 22) + strings.Repeat("\x00", 512), true},
		"a signed head that the log had passed": {text("x", older), true},
		"a signed head behind a bad one":        {text("x", commit[:len(commit)-4], "y") + batch, true},
	}
}

func TestATailShowsThatItWasAcknowledged(t *testing.T) {
	l := threeSegments(t, newKey(t, origin))
	good := l.heads[len(l.heads)-2].Head()
	for name, c := range tails(t, l) {
		t.Run(name, func(t *testing.T) {
			whole := text(l.segments[2]...)
			last := l.segments[2]
			at := len(last) - 1
			for at > 0 && !auditlog.IsCommit([]byte(last[at-1])) {
				at--
			}
			before := whole[:len(whole)-len(text(last[at:]...))]
			torn, err := auditlog.InspectTail(strings.NewReader(c.tail), int64(len(before)), good.Size, []note.Verifier{l.key.Verifier})
			require.NoError(t, err)
			require.Equal(t, c.damage, torn.Damage != "", "%s", torn.Damage)
			require.EqualValues(t, len(c.tail), torn.Bytes)

			report, err := l.verifySegments(l.keys(), text(l.segments[0]...), text(l.segments[1]...), before+c.tail)
			if c.damage {
				require.NotEmpty(t, findings(t, err))
				return
			}
			require.NoError(t, err)
			require.Equal(t, good, report.Head)
			require.EqualValues(t, len(c.tail), report.Tail.Bytes)
			require.Equal(t, torn.Head, report.Tail.Torn)
			opts := l.keys()
			opts.Heads = []auditlog.Head{l.head().Head(), l.heads[0].Head()}
			report, err = l.verifySegments(opts, text(l.segments[0]...), text(l.segments[1]...), before+c.tail)
			found := findings(t, err)
			require.Equal(t, auditlog.KindTruncated, found[len(found)-1].Kind, "a torn head does not hold what it signs")
			require.Equal(t, auditlog.Unverified, report.Level)
		})
	}
}

func TestSegmentsAreChecked(t *testing.T) {
	l := threeSegments(t, newKey(t, origin))
	for _, firsts := range [][]int64{{-1}, {0, -3}, {1<<53 + 1}, {5, 3}} {
		var segments []auditlog.Segment
		for _, first := range firsts {
			segments = append(segments, segment("s", first, ""))
		}
		_, err := auditlog.Verify(t.Context(), segments, l.keys(), nil)
		var wrong *auditlog.SegmentError
		require.ErrorAs(t, err, &wrong, "%v", firsts)
	}
	_, err := auditlog.Verify(t.Context(), []auditlog.Segment{{}}, l.keys(), nil)
	require.Error(t, err)
}

// FuzzInspectTail: whatever the bytes, they are counted and judged alike by
// InspectTail and by Verify.
func FuzzInspectTail(f *testing.F) {
	l := threeSegments(f, newKey(f, origin))
	for _, c := range tails(f, l) {
		f.Add([]byte(c.tail))
	}
	f.Fuzz(func(t *testing.T, tail []byte) {
		l := *l
		l.t = t
		size := l.tree.Size()
		before := text(l.segments[2]...)
		torn, err := auditlog.InspectTail(bytes.NewReader(tail), int64(len(before)), size, []note.Verifier{l.key.Verifier})
		require.NoError(t, err)
		require.EqualValues(t, len(tail), torn.Bytes)
		report, err := l.verifySegments(l.keys(), text(l.segments[0]...), text(l.segments[1]...), before+string(tail))
		if torn.Damage != "" {
			require.NotEmpty(t, findings(t, err))
		} else if torn.Commits == 0 {
			require.NoError(t, err)
			require.Equal(t, torn.Leaves, report.Tail.Leaves)
		}
	})
}
