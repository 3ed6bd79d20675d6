package auditlog_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const origin = "example.com/jobs"

// A testKey is a log's key with the verifier beside the signer.
type testKey struct {
	note.Signer
	note.Verifier
}

func (k testKey) Name() string    { return k.Signer.Name() }
func (k testKey) KeyHash() uint32 { return k.Signer.KeyHash() }

func newKey(t testing.TB, origin string) testKey {
	t.Helper()
	skey, vkey, err := auditlog.GenerateKey(origin)
	require.NoError(t, err)
	return parseKey(t, skey, vkey)
}

func parseKey(t testing.TB, skey, vkey string) testKey {
	t.Helper()
	signer, err := note.NewSigner(skey)
	require.NoError(t, err)
	verifier, err := note.NewVerifier(vkey)
	require.NoError(t, err)
	return testKey{signer, verifier}
}

// A testLog is a log in memory: lines by segment, with what an honest writer
// knows about them.
type testLog struct {
	t        testing.TB
	key      testKey
	tree     auditlog.Tree
	stored   []byte
	segments [][]string
	firsts   []int64
	heads    []auditlog.Checkpoint
	leaves   []string
}

func newLog(t testing.TB, key testKey) *testLog {
	t.Helper()
	l := &testLog{t: t, key: key}
	l.segment()
	return l
}

// segment begins a new segment.
func (l *testLog) segment() {
	l.segments = append(l.segments, nil)
	l.firsts = append(l.firsts, l.tree.Size())
}

// batch commits n leaves.
func (l *testLog) batch(n int) {
	l.t.Helper()
	lines := make([]string, n)
	for i := range lines {
		lines[i] = fmt.Sprintf(`{"schemaVersion":"1.0.0","n":%d}`, l.tree.Size()+int64(i))
	}
	l.commit(lines...)
}

func (l *testLog) commit(lines ...string) {
	l.t.Helper()
	last := len(l.segments) - 1
	for _, line := range lines {
		require.NoError(l.t, auditlog.CheckLeaf([]byte(line)))
		l.stored = l.tree.Append(l.stored, auditlog.HashLeaf([]byte(line)))
		l.segments[last] = append(l.segments[last], line)
		l.leaves = append(l.leaves, line)
	}
	head, err := l.tree.Sign(l.key.Signer)
	require.NoError(l.t, err)
	l.heads = append(l.heads, head)
	l.segments[last] = append(l.segments[last], string(auditlog.AppendCommit(nil, head)))
}

func (l *testLog) hashes() tlog.HashReader {
	return auditlog.StoredHashes(bytes.NewReader(l.stored))
}

func (l *testLog) head() auditlog.Checkpoint { return l.heads[len(l.heads)-1] }

// source gives the segments as they are now.
func (l *testLog) source() []auditlog.Segment {
	var segments []auditlog.Segment
	for i, lines := range l.segments {
		text := strings.Join(lines, "\n")
		if len(lines) > 0 {
			text += "\n"
		}
		segments = append(segments, segment(fmt.Sprintf("%020d.jsonl", l.firsts[i]), l.firsts[i], text))
	}
	return segments
}

func segment(name string, first int64, text string) auditlog.Segment {
	return auditlog.Segment{Name: name, First: first, Open: func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(text)), nil
	}}
}

// keys are options with the log's key and nothing else.
func (l *testLog) keys() *auditlog.Options {
	return &auditlog.Options{Keys: []note.Verifier{l.key.Verifier}}
}

// verify verifies and gives the findings.
func (l *testLog) verify(opts *auditlog.Options) (auditlog.Report, []auditlog.Finding) {
	l.t.Helper()
	report, err := auditlog.Verify(l.t.Context(), l.source(), opts, nil)
	found := findings(l.t, err)
	// Unless it is a signature alone that was damaged, quick is as good.
	if opts != nil && !slices.ContainsFunc(found, func(f auditlog.Finding) bool {
		return f.Kind == auditlog.KindSignature || f.Kind == auditlog.KindKey
	}) {
		quick := *opts
		quick.Quick = true
		again, err := auditlog.Verify(l.t.Context(), l.source(), &quick, nil)
		require.Equal(l.t, report, again)
		require.Equal(l.t, found, findings(l.t, err))
	}
	return report, found
}

func findings(t testing.TB, err error) []auditlog.Finding {
	t.Helper()
	if err == nil {
		return nil
	}
	found, ok := errors.AsType[*auditlog.VerifyError](err)
	require.True(t, ok, "%v", err)
	require.NotEmpty(t, found.Findings)
	return found.Findings
}
