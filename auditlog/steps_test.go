package auditlog_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit/auditlog"
)

// TestTheWorkOfVerifyGrowsWithTheLogAndNoFaster counts steps at a size and at twice that size.
func TestTheWorkOfVerifyGrowsWithTheLogAndNoFaster(t *testing.T) {
	key := newKey(t, origin)
	for name, work := range map[string]func(t *testing.T, n int, opts *auditlog.Options) (l *testLog, wrong bool){
		"changed leaves between bad commit lines": func(_ *testing.T, n int, opts *auditlog.Options) (*testLog, bool) {
			l := newLog(t, key)
			l.batch(n)
			lines := l.segments[0]
			var forged []string
			for i := range n {
				forged = append(forged, fmt.Sprint("x", i), `{"checkpoint":`)
			}
			l.segments[0] = append(forged, lines[len(lines)-1])
			opts.Hints = l.hashes()
			return l, true
		},
		"lines that are no leaves between bad commit lines": func(_ *testing.T, n int, opts *auditlog.Options) (*testLog, bool) {
			l := newLog(t, key)
			l.batch(n)
			lines := l.segments[0]
			var forged []string
			for range n {
				forged = append(forged, "", `{"checkpoint":`)
			}
			l.segments[0] = append(forged, lines[len(lines)-1])
			opts.Hints = l.hashes()
			return l, true
		},
		"a head of each commit": func(_ *testing.T, n int, opts *auditlog.Options) (*testLog, bool) {
			l := newLog(t, key)
			for range n {
				l.batch(1)
			}
			for _, c := range l.heads {
				opts.Own = append(opts.Own, c.Head())
			}
			return l, false
		},
		"heads of an empty log": func(_ *testing.T, n int, opts *auditlog.Options) (*testLog, bool) {
			l := newLog(t, key)
			for range n {
				l.batch(1)
				opts.Own = append(opts.Own, auditlog.Head{Origin: "example.com/other"})
			}
			return l, true
		},
	} {
		t.Run(name, func(t *testing.T) {
			count := func(n int) (steps int) {
				opts := &auditlog.Options{Keys: []note.Verifier{key.Verifier}}
				l, wrong := work(t, n, opts)
				auditlog.CountSteps(opts, &steps)
				_, err := auditlog.Verify(t.Context(), l.source(), opts, nil)
				require.Equal(t, wrong, err != nil, err)
				return steps
			}
			one, two := count(500), count(1000)
			require.Positive(t, one)
			require.Less(t, two, 3*one, "%d and %d steps", one, two)
		})
	}
}
