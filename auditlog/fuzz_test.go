package auditlog_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/tools/size"
)

func FuzzOpenCheckpoint(f *testing.F) {
	l := goldenLog(f)
	f.Add(l.head().Head().Origin + "\n7\n" + someRoot + "\n")
	f.Add("o\n0\n" + someRoot + "\next\n")
	f.Add("\n\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		_, _ = auditlog.OpenCheckpoint([]byte(text), l.key.Verifier)
		signed, err := note.Sign(&note.Note{Text: text}, l.key.Signer)
		if err != nil {
			return
		}
		c, err := auditlog.OpenCheckpoint(signed, l.key.Verifier)
		if err != nil {
			return
		}
		require.Equal(t, signed, c.Signed())
		h := c.Head()
		require.True(t, strings.HasPrefix(text, fmt.Sprintf("%s\n%d\n%s\n", h.Origin, h.Size, h.Root)), "one form")
	})
}

func FuzzOpenCommit(f *testing.F) {
	l := goldenLog(f)
	for _, line := range l.segments[0] {
		f.Add([]byte(line))
	}
	f.Add([]byte(`{"checkpoint":"\"\\\n"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		c, err := auditlog.OpenCommit(line, l.key.Verifier)
		if err != nil {
			require.True(t, c.IsZero())
			return
		}
		require.Equal(t, string(line), string(auditlog.AppendCommit(nil, c)), "one form")
	})
}

func FuzzOpenProof(f *testing.F) {
	l := goldenLog(f)
	for i, leaf := range l.leaves {
		proof, err := auditlog.Prove(l.head(), int64(i), []byte(leaf), l.hashes())
		require.NoError(f, err)
		text, err := proof.MarshalText()
		require.NoError(f, err)
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		proof, err := auditlog.OpenProof(text, l.key.Verifier)
		if err != nil {
			return
		}
		require.Equal(t, l.leaves[proof.Index()], string(proof.Leaf()), "only what was logged")
		again, err := proof.MarshalText()
		require.NoError(t, err)
		// The checkpoint may carry signatures of others; the rest has one form.
		require.Equal(t, text, again)
	})
}

// FuzzVerify replaces some bytes of a log. Its coverage varies from run to run
// with the goroutines, so it fuzzes best with -fuzzminimizetime=1x.
func FuzzVerify(f *testing.F) {
	l := goldenLog(f)
	text := strings.Join(l.segments[0], "\n") + "\n"
	f.Add(uint16(0), uint16(1), []byte("x"))
	f.Add(uint16(40), uint16(0), []byte("\n"))
	f.Add(uint16(40), uint16(300), []byte(nil))
	f.Add(uint16(10), uint16(9000), []byte(text))
	f.Fuzz(func(t *testing.T, at, n uint16, with []byte) {
		from := min(int(at), len(text))
		to := min(from+int(n), len(text))
		changed := text[:from] + string(with) + text[to:]
		segments := []auditlog.Segment{segment("s", 0, changed)}
		for _, opts := range []*auditlog.Options{
			{},
			{Hints: l.hashes()},
			{Keys: l.keys().Keys},
			{Keys: l.keys().Keys, Hints: l.hashes()},
			{Keys: l.keys().Keys, Heads: []auditlog.Head{l.head().Head()}},
		} {
			var got []string
			report, err := auditlog.Verify(t.Context(), segments, opts, func(leaf auditlog.Leaf) error {
				got = append(got, string(leaf.Bytes))
				return nil
			})
			if err != nil {
				findings(t, err)
				require.Equal(t, auditlog.Unverified, report.Level)
				continue
			}
			if len(opts.Keys) > 0 {
				require.True(t, len(got) <= len(l.leaves) && slices.Equal(l.leaves[:len(got)], got), "only what was signed for")
			}
			if len(opts.Heads) > 0 {
				require.Equal(t, l.leaves, got, "all of what the head covers")
			}
		}
	})
}

// A byte of an entry that is followed by a commit line is never changed
// unseen, and the batches around it are not accused.
func TestEveryFlippedBitOfACommittedEntryIsFound(t *testing.T) {
	l := goldenLog(t)
	text := []byte(strings.Join(l.segments[0], "\n") + "\n")
	batches := [][2]int64{{0, 1}, {1, 4}, {4, 7}}
	batch, at := 0, 0
	for line := range bytes.Lines(bytes.Clone(text)) {
		if auditlog.IsCommit(line) {
			batch, at = batch+1, at+len(line)
			continue
		}
		for i := range line {
			for bit := range 8 {
				if i < len(line)-1 && (testing.Short() && bit != i%8 || size.Race && bit%4 != i%4) {
					continue // the others of neighbours
				}
				text[at+i] ^= 1 << bit
				segments := []auditlog.Segment{segment("s", 0, string(text))}
				for _, opts := range []*auditlog.Options{nil, l.keys(), {Keys: l.keys().Keys, Hints: l.hashes()}} {
					if batch == 2 && i == len(line)-1 {
						// The last commit line goes with it: the log is cut short.
						opts = &auditlog.Options{Heads: []auditlog.Head{l.head().Head()}}
					}
					_, err := auditlog.Verify(t.Context(), segments, opts, nil)
					found := findings(t, err)
					require.NotEmpty(t, found)
					end := batches[batch][1]
					if i == len(line)-1 {
						// With the line feed the commit line behind it may go.
						end = batches[min(batch+1, 2)][1]
					}
					for _, f := range found {
						require.GreaterOrEqual(t, f.First, batches[batch][0], "%v", f)
						require.LessOrEqual(t, f.End, end, "%v", f)
					}
				}
				text[at+i] ^= 1 << bit
			}
		}
		at += len(line)
	}
	require.Equal(t, 3, batch)
}
