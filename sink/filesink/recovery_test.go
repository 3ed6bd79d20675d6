package filesink_test

import (
	"bytes"
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
)

// batchesOf splits a segment's bytes into its batches.
func batchesOf(b []byte) (batches [][]byte) {
	start, at := 0, 0
	for line := range bytes.Lines(b) {
		at += len(line)
		if auditlog.IsCommit(line) {
			batches, start = append(batches, b[start:at]), at
		}
	}
	return batches
}

// unclean writes records in batches of three as a process does that is killed:
// the newest segment has no index.
func unclean(t *testing.T, records []jobaudit.Record) (p place, segment string, batches [][]byte) {
	t.Helper()
	p = newPlace(t)
	p.write(t, nil, 3, records...)
	require.NoError(t, os.RemoveAll(filepath.Join(p.dir, "index")))
	segment = newestSegment(t, p.dir)
	b, err := os.ReadFile(segment)
	require.NoError(t, err)
	return p, segment, batchesOf(b)
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// anchorAt puts the anchor and the directory's checkpoint back to the head of a
// batch.
func (p place) anchorAt(t *testing.T, batch []byte) {
	t.Helper()
	lines := bytes.Split(bytes.TrimSuffix(batch, []byte("\n")), []byte("\n"))
	c, err := auditlog.OpenCommit(lines[len(lines)-1], p.key.Verifier())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(p.anchorPath(), c.Signed(), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, "checkpoint"), c.Signed(), 0o600))
}

func TestATornTailIsKeptAsideAndReported(t *testing.T) {
	records := sinktest.Records(12)
	p, segment, batches := unclean(t, records)
	p.anchorAt(t, batches[1])
	torn := bytes.Clone(batches[3])
	copy(torn[40:], make([]byte, 512)) // a sector that never came
	require.NoError(t, os.WriteFile(segment, join(batches[0], batches[1], batches[2], torn), 0o600))

	s := p.open(t, nil)
	r := s.Recovery()
	require.EqualValues(t, len(torn), r.TornBytes)
	require.Equal(t, jobaudit.Hash(sha256.Sum256(torn)), r.TornSHA256)
	require.Len(t, r.TornHeads, 1, "its commit line is whole")
	require.EqualValues(t, 12, r.TornHeads[0].N)
	require.EqualValues(t, 9, r.Head.N)
	require.EqualValues(t, 6, r.Anchor.N)
	require.Equal(t, []string{"torn/00000000000000000009.1"}, r.TornFiles)
	requireRecords(t, records[:9], read(t, s, jobaudit.Query{}))

	kept, err := filepath.Glob(filepath.Join(p.dir, "torn", "*"))
	require.NoError(t, err)
	require.Len(t, kept, 1)
	b, err := os.ReadFile(kept[0])
	require.NoError(t, err)
	require.Equal(t, torn, b, "nothing is thrown away")

	store(t, s, 3, records...)
	requireRecords(t, records, read(t, s, jobaudit.Query{}))
	require.NoError(t, s.Close())
	p.verify(t, s.Checkpoint().Head())
	require.Zero(t, p.open(t, nil).Recovery().TornBytes, "it is reported once")
}

func TestAWholeBatchThatWasNotAcknowledgedIsAdopted(t *testing.T) {
	records := sinktest.Records(12)
	p, _, batches := unclean(t, records)
	p.anchorAt(t, batches[1])
	before, err := os.Stat(newestSegment(t, p.dir))
	require.NoError(t, err)
	s := p.open(t, nil)
	requireRecords(t, records, read(t, s, jobaudit.Query{}))
	require.Zero(t, s.Recovery().TornBytes)
	after, err := os.Stat(segments(t, p.dir)[0])
	require.NoError(t, err)
	require.False(t, os.SameFile(before, after), "what a failed fsync may have lost is written again")
}

func TestDamageIsNotTakenForATornTail(t *testing.T) {
	records := sinktest.Records(12)
	for name, harm := range map[string]func(batches [][]byte) []byte{
		"an event before a good commit line is changed": func(b [][]byte) []byte {
			changed := bytes.Replace(b[1], []byte("acme"), []byte("acne"), 1)
			return join(b[0], changed, b[2], b[3])
		},
		"a commit line with good ones behind it is changed": func(b [][]byte) []byte {
			changed := bytes.Replace(b[1], []byte(`\n6\n`), []byte(`\n7\n`), 1)
			return join(b[0], changed, b[2], b[3])
		},
		"a batch is taken out":  func(b [][]byte) []byte { return join(b[0], b[2], b[3]) },
		"batches change places": func(b [][]byte) []byte { return join(b[0], b[2], b[1], b[3]) },
	} {
		t.Run(name, func(t *testing.T) {
			p, segment, batches := unclean(t, records)
			p.anchorAt(t, batches[0])
			require.NoError(t, os.WriteFile(segment, harm(batches), 0o600))
			refusal := p.refused(t, nil)
			require.ErrorIs(t, refusal, filesink.ErrDamaged)
		})
	}
}

func TestATailThatAnAnchorVouchesForIsNotTorn(t *testing.T) {
	p, segment, batches := unclean(t, sinktest.Records(12))
	require.NoError(t, os.WriteFile(segment, join(batches[0], batches[1], batches[2], batches[3][:50]), 0o600))
	refusal := p.refused(t, nil) // the anchor has the fourth batch
	var headErr *auditlog.HeadError
	require.ErrorAs(t, refusal, &headErr)
	require.True(t, headErr.Ahead())
}

func TestRecoveryTellsTheRecorderOfItsPredecessor(t *testing.T) {
	p := newPlace(t)
	where := jobaudit.Source{System: "test", Environment: "test"}
	registry, err := jobaudit.NewRegistry(nil)
	require.NoError(t, err)
	s := p.open(t, nil)
	report := s.Recovery()
	report.Warnings = nil // of where the log is
	require.Equal(t, jobaudit.Recovery{}, report, "a new log has no past")
	recorder, err := jobaudit.Open(t.Context(), s, where, &jobaudit.Options{Redactors: registry, OutcomeTimeout: time.Millisecond})
	require.NoError(t, err)
	incarnation := read(t, s, jobaudit.Query{})[0].Event().Stream.ID
	require.NoError(t, s.Close()) // the sink, and not the recorder
	_ = recorder.Close(t.Context())

	s = p.open(t, nil)
	require.Equal(t, incarnation, s.Recovery().Incarnation)
	require.False(t, s.Recovery().Closed)
	recorder, err = jobaudit.Open(t.Context(), s, where, nil)
	require.NoError(t, err)
	require.NoError(t, recorder.Close(t.Context()))
	require.NoError(t, s.Close())

	s = p.open(t, nil)
	require.NotEqual(t, incarnation, s.Recovery().Incarnation)
	require.True(t, s.Recovery().Closed)
	require.NoError(t, s.Close())
	require.NoError(t, os.RemoveAll(filepath.Join(p.dir, "index")))
	recovered := p.open(t, nil).Recovery()
	require.Equal(t, s.Recovery().Incarnation, recovered.Incarnation, "from the lines too")
}

func TestAnAnchorElsewhereIsCompared(t *testing.T) {
	p := newPlace(t)
	extra := filesink.FileAnchor(filepath.Join(t.TempDir(), "other", "disk"))
	opts := &filesink.Options{Anchor: extra}
	p.write(t, opts, 3, sinktest.Records(9)...)
	copyDir(t, p.dir, p.dir+".old")
	anchor, err := os.ReadFile(p.anchorPath())
	require.NoError(t, err)
	p.write(t, opts, 3, sinktest.Records(9)...)

	copyDir(t, p.dir+".old", p.dir) // and the anchor beside the key with it
	require.NoError(t, os.WriteFile(p.anchorPath(), anchor, 0o600))
	refusal := p.refused(t, opts)
	require.Equal(t, "Options.Anchor", refusal.Anchor)
	require.EqualValues(t, 18, refusal.Outside.Size)
	p.open(t, nil) // without it nobody can tell
}
