package evidence_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/evidence"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/filesink"
)

// aLog is a log with a job that has a child, one that fails, and others.
type aLog struct {
	dir           string
	key           *filesink.Key
	sink          *filesink.Sink
	parent, child uuid.UUID
	failed        uuid.UUID
}

type input struct{ Month, Password string }

func newLog(t testing.TB, origin string) *aLog {
	t.Helper()
	base := t.TempDir()
	l := &aLog{dir: filepath.Join(base, "log")}
	var err error
	l.key, err = filesink.LoadOrCreateKey(l.dir, filepath.Join(base, "log.key"), origin)
	require.NoError(t, err)
	l.sink, err = filesink.Open(t.Context(), l.dir, l.key, nil)
	require.NoError(t, err)
	redactors, err := jobaudit.NewRegistry(nil, jobaudit.NewRedactor("reindex", "v7",
		jobaudit.Inputs(func(in input) (struct{ Month string }, error) { return struct{ Month string }{in.Month}, nil })))
	require.NoError(t, err)
	rec, err := jobaudit.Open(t.Context(), l.sink, jobaudit.Source{System: "indexer", Environment: "test"},
		&jobaudit.Options{Redactors: redactors, Heartbeat: -1})
	require.NoError(t, err)
	l.run(t.Context(), rec, "other", nil)
	l.parent = l.run(t.Context(), rec, "reindex", func(ctx context.Context, trail *jobaudit.Trail) error {
		trail.Log(ctx, "</script><script>alert(1)</script> & <b>bold</b>")
		l.child = l.run(ctx, rec, "reindex-part", nil)
		return nil
	})
	l.failed = l.run(t.Context(), rec, "delete", func(context.Context, *jobaudit.Trail) error { return errors.New("the disk is full") })
	require.NoError(t, rec.Act(t.Context(), jobaudit.Act{Type: jobaudit.AuditRead, Reason: "an audit",
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "eve", Verified: true}, Scope: jobaudit.Query{JobID: l.failed}}))
	require.NoError(t, rec.Close(t.Context()))
	require.NoError(t, l.sink.Close())
	return l
}

func (l *aLog) run(ctx context.Context, rec *jobaudit.Recorder, action string, do func(context.Context, *jobaudit.Trail) error) (id uuid.UUID) {
	_ = rec.Run(ctx, jobaudit.Submission{
		Action: action, Inputs: input{"March", "correct horse"},
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada", Verified: true},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "the index is old"},
	}, func(ctx context.Context) error {
		trail, _ := jobaudit.FromContext(ctx)
		id = trail.JobID()
		if do == nil {
			return nil
		}
		return do(ctx, trail)
	})
	return id
}

func (l *aLog) source(t testing.TB) evidence.Source {
	t.Helper()
	reader, err := filesink.OpenReader(l.dir)
	require.NoError(t, err)
	t.Cleanup(func() { _ = reader.Close() })
	head, err := reader.Checkpoint(t.Context(), l.key)
	require.NoError(t, err)
	segments, err := reader.Segments()
	require.NoError(t, err)
	return evidence.Source{Segments: segments, Head: head, Keys: l.keys(), VerifierKey: l.key.String()}
}

func (l *aLog) keys() []note.Verifier { return []note.Verifier{l.key.Verifier()} }

var made = &evidence.Options{Now: time.Date(2026, 2, 3, 9, 30, 0, 0, time.UTC), By: "a test"}

func (l *aLog) collect(t testing.TB, scope evidence.Scope) []byte {
	t.Helper()
	text, err := evidence.Collect(t.Context(), []evidence.Source{l.source(t)}, scope, made)
	require.NoError(t, err)
	return text
}

func types(b *evidence.Bundle) (list []string) {
	for _, l := range b.Logs {
		for _, r := range l.Records {
			list = append(list, string(r.Type()))
		}
	}
	return list
}

func TestAFileProvesAllEventsOfAJobAndWhatTheyReferTo(t *testing.T) {
	l := newLog(t, "example.com/jobs")
	b, err := evidence.Open(l.collect(t, evidence.Scope{JobID: l.parent}), l.keys())
	require.NoError(t, err)
	require.Equal(t, []string{"audit.opened", "audit.policy", "job.submitted", "job.authorized", "job.started", "job.logged", "job.succeeded"}, types(b))
	require.Len(t, b.Statement.Streams, 1)
	require.EqualValues(t, 5, b.Statement.Streams[0].Last)
	require.Equal(t, "example.com/jobs", b.Statement.Logs[0].Origin)
	require.Empty(t, b.Notes)

	b, err = evidence.Open(l.collect(t, evidence.Scope{JobID: l.failed}), l.keys())
	require.NoError(t, err)
	require.Contains(t, types(b), "audit.read", "who read the job's record belongs to it")
	job, err := jobaudit.Replay(b.Job(l.failed))
	require.NoError(t, err)
	require.Equal(t, jobaudit.Failed, job.State)
}

func TestAFamilyAndAPeriodHoldWholeJobs(t *testing.T) {
	l := newLog(t, "example.com/jobs")
	for name, tc := range map[string]struct {
		scope evidence.Scope
		jobs  int
	}{
		"family":      {evidence.Scope{RootID: l.parent}, 2},
		"correlation": {evidence.Scope{CorrelationID: l.parent}, 2},
		"action":      {evidence.Scope{Action: "delete"}, 1},
		"period":      {evidence.Scope{Since: time.Now().Add(-time.Hour)}, 4},
		"ada":         {evidence.Scope{ActingFor: "ada", Since: time.Now().Add(-time.Hour)}, 4},
	} {
		b, err := evidence.Open(l.collect(t, tc.scope), l.keys())
		require.NoError(t, err, name)
		require.Len(t, b.Statement.Streams, tc.jobs, name)
	}
	_, err := evidence.Collect(t.Context(), []evidence.Source{l.source(t)}, evidence.Scope{JobID: uuid.New()}, nil)
	require.ErrorContains(t, err, "no such job")
	_, err = evidence.Collect(t.Context(), []evidence.Source{l.source(t)}, evidence.Scope{}, nil)
	require.ErrorContains(t, err, "scope is empty")
}

// Every byte of a file counts, and a changed one is found, with the event where
// it is one of an event.
func TestOneChangedByteOfAFileIsFoundAndItsEventNamed(t *testing.T) {
	l := newLog(t, "example.com/jobs")
	text := l.collect(t, evidence.Scope{JobID: l.failed})
	good, err := evidence.Open(text, l.keys())
	require.NoError(t, err)
	blocks := strings.Split(string(text), "\n\n")
	block, inBlock, proof := 0, 0, 0
	for at := range text {
		if inBlock == len(blocks[block])+2 {
			block, inBlock = block+1, 0
			if strings.HasPrefix(blocks[block], "c2sp") {
				proof++
			}
		}
		inBlock++
		isProof := strings.HasPrefix(blocks[block], "c2sp") && inBlock <= len(blocks[block])
		if at%97 != 0 && isProof && inBlock > 60 || at%size.Times(1, 5) != 0 { // all places of another kind
			continue
		}
		{
			mask := []byte{0x01, 0x20, 0x80}[at%3]
			changed := append([]byte(nil), text...)
			changed[at] ^= mask
			_, err := evidence.Open(changed, l.keys())
			require.Error(t, err, "byte %d: %q", at, changed[max(0, at-20):min(len(text), at+20)])
			found, ok := errors.AsType[*evidence.Error](err)
			if !ok {
				require.ErrorIs(t, err, evidence.ErrFormat)
			} else if isProof {
				require.Equal(t, proof, found.Problems[0].Number, "byte %d: %v", at, err)
				if inBlock > 400 {
					require.Equal(t, good.Logs[0].Records[proof-1].ID(), found.Problems[0].EventID, "byte %d: %v", at, err)
				}
			}
		}
	}
}

// resum makes the hash at the end agree again, as somebody would who changes
// the file on purpose.
func resum(t testing.TB, text string) []byte {
	t.Helper()
	changed, err := evidence.Resum([]byte(text))
	require.NoError(t, err)
	return changed
}

func TestLeavingOutAnEventIsFound(t *testing.T) {
	l := newLog(t, "example.com/jobs")
	text := string(l.collect(t, evidence.Scope{JobID: l.parent}))
	blocks := strings.Split(text, "\n\n")
	for at := 3; at < len(blocks)-1; at++ {
		less := append(append([]string(nil), blocks[:at]...), blocks[at+1:]...)
		_, err := evidence.Open(resum(t, strings.Join(less, "\n\n")), l.keys())
		if at < 5 { // the opening and the policy are there for completeness only
			require.NoError(t, err)
			continue
		}
		require.Error(t, err, blocks[at])
	}
	swapped := append([]string(nil), blocks...)
	swapped[5], swapped[6] = swapped[6], swapped[5]
	_, err := evidence.Open(resum(t, strings.Join(swapped, "\n\n")), l.keys())
	require.ErrorContains(t, err, "stands behind index")
}

func TestAFileIsOfTheJobsThatItSaysAndOfTheGivenKey(t *testing.T) {
	l, other := newLog(t, "example.com/jobs"), newLog(t, "example.com/jobs")
	text := string(l.collect(t, evidence.Scope{JobID: l.parent}))
	_, err := evidence.Open([]byte(text), other.keys())
	require.ErrorContains(t, err, "not signed by the given key")
	_, err = evidence.Open([]byte(text), newLog(t, "example.com/more").keys())
	require.ErrorContains(t, err, "not signed by the given key")
	_, err = evidence.Open(resum(t, strings.Replace(text, l.parent.String(), l.failed.String(), 1)), l.keys())
	require.ErrorContains(t, err, "is not one that the statement is about")
	_, err = evidence.Open(resum(t, strings.Replace(text, `"last":5`, `"last":6`, 1)), l.keys())
	require.ErrorContains(t, err, "ends with number 5 here, and with 6")
	_, err = evidence.Open(resum(t, strings.Replace(text, `"scope"`, `"Scope"`, 1)), l.keys())
	require.ErrorContains(t, err, "not in the form")
}

// The log's key does not vouch for what its lines say of each other.
func TestAnEventThatFollowsAnotherOneIsFoundInASignedLog(t *testing.T) {
	l := newLog(t, "example.com/jobs")
	b, err := evidence.Open(l.collect(t, evidence.Scope{JobID: l.parent}), l.keys())
	require.NoError(t, err)
	secret, public, err := auditlog.GenerateKey("example.com/forged")
	require.NoError(t, err)
	signer, err := note.NewSigner(secret)
	require.NoError(t, err)
	verifier, err := note.NewVerifier(public)
	require.NoError(t, err)
	records := b.Logs[0].Records
	last := records[len(records)-1]
	prev, other := last.Event().Stream.Prev.String(), records[0].Hash().String()
	for _, tc := range []struct{ old, new, want string }{
		{prev, prev, ""},
		{prev, other, "follows another event than the one that is here"},
		{`"seq":5`, `"seq":6`, "number 6 of stream"},
	} {
		var tree auditlog.Tree
		var lines []byte
		for _, r := range records {
			line := r.Bytes()
			if r.ID() == last.ID() {
				line = []byte(strings.Replace(string(line), tc.old, tc.new, 1))
			}
			tree.Append(nil, auditlog.HashLeaf(line))
			lines = append(append(lines, line...), '\n')
		}
		head, err := tree.Sign(signer)
		require.NoError(t, err)
		lines = append(auditlog.AppendCommit(lines, head), '\n')
		source := evidence.Source{Head: head, Keys: []note.Verifier{verifier}, VerifierKey: public, Segments: []auditlog.Segment{{
			Name: "forged", Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(lines)), nil },
		}}}
		_, err = evidence.Collect(t.Context(), []evidence.Source{source}, evidence.Scope{JobID: l.parent}, made)
		if tc.want == "" {
			require.NoError(t, err)
			continue
		}
		found, ok := errors.AsType[*evidence.Error](err)
		require.True(t, ok, "%v", err)
		require.Contains(t, found.Problems[0].What, tc.want)
		require.Equal(t, last.ID(), found.Problems[0].EventID)
	}
}

func TestSeveralLogsAreProvenInOneFile(t *testing.T) {
	l, other := newLog(t, "example.com/jobs"), newLog(t, "example.com/web")
	scope := evidence.Scope{ActingFor: "ada", Since: time.Now().Add(-time.Hour)}
	text, err := evidence.Collect(t.Context(), []evidence.Source{l.source(t), other.source(t)}, scope, made)
	require.NoError(t, err)
	b, err := evidence.Open(text, append(l.keys(), other.keys()...))
	require.NoError(t, err)
	require.Len(t, b.Logs, 2)
	require.Len(t, b.Statement.Streams, 8)
	_, err = evidence.Open(text, l.keys())
	require.ErrorContains(t, err, "example.com/web")
	_, err = evidence.Collect(t.Context(), []evidence.Source{l.source(t), l.source(t)}, scope, made)
	require.ErrorContains(t, err, "given twice")
}

func TestAnEventIsCutOutAsATlogProof(t *testing.T) {
	l := newLog(t, "example.com/jobs")
	b, err := evidence.Open(l.collect(t, evidence.Scope{JobID: l.failed}), l.keys())
	require.NoError(t, err)
	last := b.Logs[0].Records[len(b.Logs[0].Records)-1]
	p, ok := b.Proof(last.ID())
	require.True(t, ok)
	text, err := p.MarshalText()
	require.NoError(t, err)
	again, err := auditlog.OpenProof(text, l.key.Verifier())
	require.NoError(t, err)
	require.Equal(t, last.Bytes(), again.Leaf())
	_, ok = b.Proof(uuid.New())
	require.False(t, ok)
}

func TestAPeriodWithTooManyEventsIsSummarizedAndOtherScopesAreRefused(t *testing.T) {
	l := newLog(t, "example.com/jobs")
	opts := *made
	opts.MaxEvents = 7
	period := evidence.Scope{Since: time.Now().Add(-time.Hour)}
	sources := []evidence.Source{l.source(t)}
	_, err := evidence.Collect(t.Context(), sources, period, &opts)
	_, large := errors.AsType[*evidence.TooLargeError](err)
	require.True(t, large, "%v", err)

	opts.Summarize = true
	text, err := evidence.Collect(t.Context(), sources, period, &opts)
	require.NoError(t, err)
	b, err := evidence.Open(text, l.keys())
	require.NoError(t, err)
	s := b.Statement.Summary
	require.EqualValues(t, 4, s.Jobs)
	require.Zero(t, s.Unended)
	require.Zero(t, s.Gaps)
	require.EqualValues(t, 1, s.Types[jobaudit.JobFailed])
	require.Contains(t, s.Who, evidence.Count{Name: "user ada: delete", N: 1})
	require.Contains(t, s.Withheld, evidence.Count{Name: "reindex v7", N: 1})
	require.Equal(t, []string{"job.failed", "audit.read"}, types(b), "what a reviewer looks for is proven")

	opts.MaxEvents = 1 // not even those fit
	text, err = evidence.Collect(t.Context(), sources, period, &opts)
	require.NoError(t, err)
	b, err = evidence.Open(text, l.keys())
	require.NoError(t, err)
	require.Equal(t, []string{"job.failed"}, types(b))
	require.EqualValues(t, 1, b.Statement.Summary.Left, "the act had no room, and is counted")

	opts.MaxEvents = 7
	_, err = evidence.Collect(t.Context(), sources, evidence.Scope{RootID: l.parent}, &opts)
	_, large = errors.AsType[*evidence.TooLargeError](err)
	require.True(t, large, "%v", err)
}

func FuzzOpenHoldsNothingUnproven(f *testing.F) {
	l := newLog(f, "example.com/jobs")
	text := l.collect(f, evidence.Scope{JobID: l.failed})
	f.Add(text)
	f.Add([]byte("jobaudit.evidence/v1\n{}\n\n— a\n\nsha256 \n"))
	f.Fuzz(func(t *testing.T, changed []byte) {
		b, err := evidence.Open(changed, l.keys())
		require.Equal(t, err == nil, b != nil)
		if err == nil {
			require.Equal(t, text, changed)
		}
	})
}
