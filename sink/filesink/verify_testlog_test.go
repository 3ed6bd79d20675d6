package filesink_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink"
)

// batches is a sink that keeps what it is given.
type batches struct {
	mu   sync.Mutex
	list [][]string
}

func (b *batches) Append(_ context.Context, records []jobaudit.Record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var lines []string
	for _, r := range records {
		lines = append(lines, string(r.Bytes()))
	}
	b.list = append(b.list, lines)
	return nil
}

// all returns what it has been given; a recorder that is open may give it more.
func (b *batches) all() [][]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.list)
}

// recorded returns what a recorder writes of some jobs of different ends, in
// batches.
func recorded(t testing.TB, jobs int) [][]string {
	t.Helper()
	sink := &batches{}
	r, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "indexer", Environment: "test"}, nil)
	require.NoError(t, err)
	for i := range jobs {
		ctx := t.Context()
		trail, err := r.Submit(ctx, submission(i))
		require.NoError(t, err)
		if i%4 == 1 { // a worker takes over
			trail, err = r.Resume(ctx, trail.Carrier(), nil)
			require.NoError(t, err)
		}
		require.NoError(t, trail.Start(ctx, jobaudit.Execution{}))
		trail.Log(ctx, "a line of the job's log")
		if i%4 == 2 {
			trail.Retrying(ctx, errors.New("not yet"))
			require.NoError(t, trail.Start(ctx, jobaudit.Execution{}))
		}
		if i%8 == 3 {
			require.NoError(t, trail.Fail(ctx, errors.New("the index is gone")))
			continue
		}
		require.NoError(t, trail.Succeed(ctx))
	}
	require.NoError(t, r.Close(t.Context()))
	return sink.all()
}

func submission(i int) jobaudit.Submission {
	return jobaudit.Submission{
		Action: "reindex", Resource: fmt.Sprint("index ", i),
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "u-1", Verified: true},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "the index is old", Ref: "OPS-12"},
	}
}

// testLog writes a log as docs/format.md, F6 says.
type testLog struct {
	t      testing.TB
	dir    string
	signer note.Signer
	key    note.Verifier
	tree   auditlog.Tree
	stored []byte
	file   string
	heads  []auditlog.Checkpoint
	lines  []string
}

func newLog(t testing.TB) *testLog {
	t.Helper()
	skey, vkey, err := auditlog.GenerateKey(origin)
	require.NoError(t, err)
	l := &testLog{t: t, dir: t.TempDir()}
	l.signer, err = note.NewSigner(skey)
	require.NoError(t, err)
	l.key, err = note.NewVerifier(vkey)
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(l.dir, "entries"), 0o755))
	l.segment()
	return l
}

func (l *testLog) segment() {
	l.file = filepath.Join(l.dir, "entries", fmt.Sprintf("%020d.jsonl", l.tree.Size()))
	l.append("")
}

func (l *testLog) append(text string) {
	l.t.Helper()
	f, err := os.OpenFile(l.file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	require.NoError(l.t, err)
	_, err = f.WriteString(text)
	require.NoError(l.t, errors.Join(err, f.Close()))
}

// commit writes a batch.
func (l *testLog) commit(lines ...string) {
	l.t.Helper()
	var text strings.Builder
	for _, line := range lines {
		l.stored = l.tree.Append(l.stored, auditlog.HashLeaf([]byte(line)))
		text.WriteString(line + "\n")
	}
	l.lines = append(l.lines, lines...)
	head, err := l.tree.Sign(l.signer)
	require.NoError(l.t, err)
	l.heads = append(l.heads, head)
	text.Write(auditlog.AppendCommit(nil, head))
	l.append(text.String() + "\n")
}

// caches writes the tree cache.
func (l *testLog) caches() *testLog {
	l.t.Helper()
	require.NoError(l.t, os.WriteFile(filepath.Join(l.dir, "tree"), l.stored, 0o644))
	return l
}

// logOf writes batches, a third of them to a segment.
func logOf(t testing.TB, list [][]string) *testLog {
	t.Helper()
	l := newLog(t)
	for i, batch := range list {
		if i > 0 && i%max(1, len(list)/3) == 0 {
			l.segment()
		}
		l.commit(batch...)
	}
	return l.caches()
}

func (l *testLog) keys() *filesink.VerifyOptions {
	return &filesink.VerifyOptions{Keys: []note.Verifier{l.key}}
}

func (l *testLog) head() auditlog.Checkpoint { return l.heads[len(l.heads)-1] }

// verify returns what is found.
func (l *testLog) verify(opts *filesink.VerifyOptions) (filesink.Report, []filesink.Finding) {
	l.t.Helper()
	report, err := filesink.Verify(l.t.Context(), l.dir, opts)
	if err == nil {
		return report, nil
	}
	found, ok := errors.AsType[*filesink.VerifyError](err)
	require.True(l.t, ok, "%v", err)
	require.NotEmpty(l.t, found.Findings)
	require.Equal(l.t, auditlog.Unverified, report.Level)
	return report, found.Findings
}

// files returns the segments' paths in order.
func (l *testLog) files() []string {
	l.t.Helper()
	files, err := filepath.Glob(filepath.Join(l.dir, "entries", "*.jsonl"))
	require.NoError(l.t, err)
	slices.Sort(files)
	return files
}

// edit changes the text of the segment that holds the line of an index.
func (l *testLog) edit(index int, change func(line string) string) {
	l.t.Helper()
	for _, file := range l.files() {
		text, err := os.ReadFile(file)
		require.NoError(l.t, err)
		if before, after, ok := strings.Cut(string(text), l.lines[index]); ok {
			require.NoError(l.t, os.WriteFile(file, []byte(before+change(l.lines[index])+after), 0o644))
			return
		}
	}
	require.Fail(l.t, "no such line")
}

// jobOf returns the job of a line.
func jobOf(t testing.TB, line string) uuid.UUID {
	t.Helper()
	r, err := jobaudit.ParseRecord([]byte(line))
	require.NoError(t, err)
	return r.JobID()
}
