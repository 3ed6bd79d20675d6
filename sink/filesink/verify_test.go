package filesink_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/filesink"
)

func TestAnUntouchedLogIsNeverAccused(t *testing.T) {
	list := recorded(t, 40)
	l := logOf(t, list)
	for _, opts := range []*filesink.VerifyOptions{nil, l.keys(), {Keys: l.keys().Keys, ParseAll: true}} {
		report, found := l.verify(opts)
		require.Empty(t, found)
		require.Empty(t, report.Notes)
		require.EqualValues(t, len(l.lines), report.Records)
		require.EqualValues(t, 40, report.Jobs)
		require.EqualValues(t, 40+10+1, report.Streams, "ten were resumed, one is the recorder's")
	}

	// Every commit is a log that a crash may have left behind.
	for _, file := range l.files() {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for at := 0; at < len(text); at += 1999 {
			require.NoError(t, os.WriteFile(file, text[:at], 0o644))
			if file == l.files()[len(l.files())-1] {
				_, found := l.verify(l.keys())
				require.Empty(t, found)
			}
		}
		require.NoError(t, os.WriteFile(file, text, 0o644))
	}
}

func TestTheLevelIsWhatWasProven(t *testing.T) {
	l := logOf(t, recorded(t, 5))
	report, _ := l.verify(nil)
	require.Equal(t, auditlog.Consistent, report.Level)
	report, _ = l.verify(l.keys())
	require.Equal(t, auditlog.Signed, report.Level)
	opts := l.keys()
	opts.Checkpoints = [][]byte{l.heads[3].Signed()}
	report, _ = l.verify(opts)
	require.Equal(t, auditlog.Anchored, report.Level)
	require.Equal(t, l.heads[3].Head().Size, report.Anchored)

	other := logOf(t, recorded(t, 1))
	opts.Checkpoints = [][]byte{other.head().Signed()}
	_, found := l.verify(opts)
	require.Equal(t, auditlog.KindKey, found[0].Kind, "an anchor that the key has not signed")
}

func TestEveryChangedRecordIsNamedWithItsJob(t *testing.T) {
	list, step := recorded(t, 6), size.Times(197, 1_597)
	if size.Race {
		step = max(step, 397)
	}
	for _, hints := range []bool{true, false} {
		l := logOf(t, list)
		if !hints {
			require.NoError(t, os.Remove(filepath.Join(l.dir, "tree")))
		}
		for index, line := range l.lines {
			if index%size.Times(1, 3) > 0 {
				continue
			}
			for at := index % 5; at < len(line); at += step {
				l.edit(index, func(line string) string { return line[:at] + string(line[at]^1) + line[at+1:] })
				_, found := l.verify(l.keys())
				require.LessOrEqual(t, found[0].First, int64(index))
				require.Greater(t, found[0].End, int64(index))
				if hints {
					require.Equal(t, auditlog.KindChanged, found[0].Kind)
					require.EqualValues(t, index, found[0].Index)
					require.Equal(t, jobOf(t, line), found[0].JobID, "byte %d of %s", at, line)
				}
				require.Len(t, found, 1, "what follows from the damage is no finding")
				l.restore(index, at)
			}
		}
	}
}

// restore takes back what TestEveryChangedRecordIsNamedWithItsJob changed.
func (l *testLog) restore(index, at int) {
	l.t.Helper()
	line := l.lines[index]
	changed := line[:at] + string(line[at]^1) + line[at+1:]
	for _, file := range l.files() {
		text, err := os.ReadFile(file)
		require.NoError(l.t, err)
		if strings.Contains(string(text), changed) {
			require.NoError(l.t, os.WriteFile(file, []byte(strings.Replace(string(text), changed, line, 1)), 0o644))
			return
		}
	}
	require.Fail(l.t, "nothing to restore")
}

func TestWhatIsMissingIsToldByItsStream(t *testing.T) {
	l := logOf(t, recorded(t, 6))
	for index, line := range l.lines {
		r, err := jobaudit.ParseRecord([]byte(line))
		require.NoError(t, err)
		if r.Type() != jobaudit.JobStarted {
			continue
		}
		l.edit(index, func(string) string { return "" })
		l.edit(index+1, func(line string) string { return strings.TrimPrefix(line, "\n") })
		_, found := l.verify(l.keys())
		require.Contains(t, []auditlog.Kind{auditlog.KindMissing, auditlog.KindLeaf}, found[0].Kind)
		require.EqualValues(t, index, found[0].Index)
		return
	}
}

func TestRecordsThatDisagreeAreFoundThoughTheyAreSigned(t *testing.T) {
	lines := slices.Concat(recorded(t, 3)...)
	at := func(typ jobaudit.EventType) int {
		return slices.IndexFunc(lines, func(line string) bool { return strings.Contains(line, `"type":"`+string(typ)+`"`) })
	}
	without := func(i int) []string { return slices.Delete(slices.Clone(lines), i, i+1) }
	resume := slices.IndexFunc(lines, func(line string) bool { return strings.Contains(line, `"after":`) })
	for name, c := range map[string]struct {
		lines []string
		kind  auditlog.Kind
		index int
	}{
		"a record is left out":        {without(at(jobaudit.JobLogged)), filesink.KindStream, at(jobaudit.JobLogged)},
		"a stream begins late":        {without(0), filesink.KindStream, int(0)},
		"a record stands twice":       {append(slices.Clone(lines), lines[2]), filesink.KindDuplicate, len(lines)},
		"a line is no record":         {append(slices.Clone(lines), "hello"), filesink.KindRecord, len(lines)},
		"a record has another before": {swap(lines, at(jobaudit.JobStarted), "the index is old", "the index was old"), filesink.KindStream, at(jobaudit.JobStarted) + 1},
		"a stream resumes another":    {swap(swap(lines, resume, `},"what":`, `,"proof":{"carrier":"k"}},"what":`), resume, lines[resume][strings.Index(lines[resume], `"hash":"`)+8:][:4], "AAAA"), filesink.KindResume, resume},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLog(t)
			l.commit(c.lines[:5]...)
			l.commit(c.lines[5:]...)
			report, found := l.caches().verify(l.keys())
			i := slices.IndexFunc(found, func(f filesink.Finding) bool { return f.Kind == c.kind })
			require.GreaterOrEqual(t, i, 0, "%v", found)
			f := found[i]
			t.Log(f)
			if name == "a stream begins late" {
				require.Equal(t, uuid.Nil, f.JobID)
				require.Contains(t, f.Expected, "seq 1")
				return
			}
			require.EqualValues(t, c.index, f.Index)
			require.Contains(t, []int64{0, 5}, f.First)
			require.Contains(t, []int64{5, int64(len(c.lines))}, f.End)
			require.Equal(t, auditlog.Unverified, report.Level)
			if c.kind != filesink.KindRecord {
				require.Equal(t, jobOf(t, c.lines[f.Index]), f.JobID)
				require.NotEqual(t, uuid.Nil, f.EventID)
			}
		})
	}
}

func swap(lines []string, i int, from, to string) []string {
	lines = slices.Clone(lines)
	lines[i] = strings.Replace(lines[i], from, to, 1)
	return lines
}

func TestAMalformedRestOfARecordIsFoundWhenAllIsParsed(t *testing.T) {
	lines := slices.Concat(recorded(t, 2)...)
	lines[len(lines)-1] = strings.Replace(lines[len(lines)-1], `"where":{`, `"where":[`, 1)
	l := newLog(t)
	l.commit(lines...)
	opts := l.keys()
	_, found := l.verify(opts)
	require.Empty(t, found)
	opts.ParseAll = true
	_, found = l.verify(opts)
	require.Equal(t, filesink.KindRecord, found[0].Kind)
	require.EqualValues(t, len(lines)-1, found[0].Index)
}

func TestExecutionsWithoutAnEndAreNotes(t *testing.T) {
	sink := &batches{}
	r, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "s", Environment: "test"}, nil)
	require.NoError(t, err)
	trail, err := r.Submit(t.Context(), submission(1))
	require.NoError(t, err)
	require.NoError(t, trail.Start(t.Context(), jobaudit.Execution{}))
	report, found := logOf(t, sink.all()).verify(nil)
	require.Empty(t, found)
	require.EqualValues(t, 1, report.Ghosts)
	require.Equal(t, filesink.KindGhost, report.Notes[0].Kind)
	require.Equal(t, trail.JobID(), report.Notes[0].JobID)
}

func TestATailIsANoteAndATailThatAnAnchorKnowsIsAFinding(t *testing.T) {
	l := logOf(t, recorded(t, 3))
	l.append(`{"schemaVersion":"1.0.0","id":"half of`)
	report, found := l.verify(l.keys())
	require.Empty(t, found)
	require.Equal(t, auditlog.Signed, report.Level)
	require.Equal(t, filesink.KindTail, report.Notes[0].Kind)

	cut := logOf(t, recorded(t, 3))
	last := cut.files()[len(cut.files())-1]
	text, err := os.ReadFile(last)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(last, text[:len(text)-20], 0o644))
	opts := cut.keys()
	opts.Checkpoints = [][]byte{cut.head().Signed()}
	_, found = cut.verify(opts)
	require.Equal(t, auditlog.KindTruncated, found[0].Kind)

	require.NoError(t, os.RemoveAll(filepath.Join(cut.dir, "entries")))
	_, found = cut.verify(opts)
	require.Equal(t, auditlog.KindTruncated, found[0].Kind, "the whole log is gone, and the anchor remembers")
	_, err = filesink.Verify(t.Context(), cut.dir, cut.keys())
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestAHeadThatARecoveryNamesIsExplained(t *testing.T) {
	// Two batches were signed as size 20; a reader saw the head of the one
	// that a crash tore, and the next recorder said so.
	lines := slices.Concat(recorded(t, 6)...)
	l := newLog(t)
	l.commit(lines[:10]...)
	torn := l.tree
	torn.Append(nil, auditlog.HashLeaf([]byte(lines[10])))
	head, err := torn.Sign(l.signer)
	require.NoError(t, err)
	opts := l.keys()
	opts.Checkpoints = [][]byte{head.Signed()}

	opened := slices.Concat(recorded(t, 0)...)[0]
	h := head.Head()
	recovery := `"recovery":{"closed":false,"torn":{"bytes":700,"sha256":"` + h.Root.String() +
		`","heads":[{"size":11,"root":"` + h.Root.String() + `"}]}}`
	if strings.Contains(opened, `"data":{`) { // with what the recorder says of its process
		opened = strings.Replace(opened, `"data":{`, `"data":{`+recovery+`,`, 1)
	} else {
		opened = strings.TrimSuffix(opened, "}") + `,"data":{` + recovery + `}}`
	}
	fork := newLog(t)
	fork.signer, fork.key = l.signer, l.key
	fork.commit(lines[:10]...)
	fork.commit(opened)
	_, found := fork.verify(opts)
	require.Len(t, found, 1, "the log says what became of the head, but does not hold it")
	require.Equal(t, auditlog.KindFork, found[0].Kind)
	require.Contains(t, found[0].Explained, "index 10")

	opts.AcceptLoss = []auditlog.Head{fork.heads[0].Head()}
	_, found = fork.verify(opts)
	require.Len(t, found, 1, "another head is accepted")
	opts.AcceptLoss = []auditlog.Head{h}
	report, found := fork.verify(opts)
	require.Empty(t, found)
	require.Equal(t, auditlog.Signed, report.Level)
	require.Equal(t, auditlog.KindFork, report.Notes[0].Kind)
	require.Contains(t, report.Notes[0].Explained, "index 10")
	with := *opts
	with.Heads = []auditlog.Head{fork.heads[0].Head()}
	report, found = fork.verify(&with)
	require.Empty(t, found)
	require.Equal(t, auditlog.Signed, report.Level, "not every given head agrees")
	require.Equal(t, filesink.KindRecovery, report.Notes[1].Kind)

	opts.AcceptLoss = append(opts.AcceptLoss, h)
	silent := newLog(t)
	silent.signer, silent.key = l.signer, l.key
	silent.commit(lines[:10]...)
	silent.commit(lines[11])
	_, found = silent.verify(opts)
	require.Equal(t, auditlog.KindFork, found[0].Kind)
}

func TestVerifyWritesNothingIntoTheDirectory(t *testing.T) {
	l := logOf(t, recorded(t, 3))
	require.NoError(t, os.Chmod(filepath.Join(l.dir, "entries"), 0o555))
	require.NoError(t, os.Chmod(l.dir, 0o555))
	t.Cleanup(func() {
		_ = os.Chmod(l.dir, 0o755)
		_ = os.Chmod(filepath.Join(l.dir, "entries"), 0o755)
	})
	before := tree(t, l.dir)
	_, found := l.verify(l.keys())
	require.Empty(t, found)
	require.Equal(t, before, tree(t, l.dir))
}

func tree(t *testing.T, dir string) (names []string) {
	t.Helper()
	require.NoError(t, filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		names = append(names, path+info.ModTime().String())
		return err
	}))
	return names
}

func TestVerifyStopsWhenAsked(t *testing.T) {
	l := logOf(t, recorded(t, 3))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := filesink.Verify(ctx, l.dir, l.keys())
	require.ErrorIs(t, err, context.Canceled)
	_, err = filesink.Verify(t.Context(), filepath.Join(l.dir, "elsewhere"), nil)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestProgressEndsAtTheSize(t *testing.T) {
	l := logOf(t, recorded(t, 3))
	var last, size int64
	opts := l.keys()
	opts.Progress = func(done, total int64) {
		require.GreaterOrEqual(t, done, last)
		last, size = done, total
	}
	_, found := l.verify(opts)
	require.Empty(t, found)
	require.NotZero(t, size)
	require.Equal(t, size, last)
}

func TestALogThatIsBeingWrittenIsVerifiedAsFarAsItIsCommitted(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	key, err := filesink.LoadOrCreateKey(log, filepath.Join(dir, "log.key"), "example.com/jobs")
	require.NoError(t, err)
	sink, err := filesink.Open(t.Context(), log, key, nil)
	require.NoError(t, err)
	r, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "s", Environment: "test"}, nil)
	require.NoError(t, err)
	_, err = r.Submit(t.Context(), submission(1))
	require.NoError(t, err)

	file := filepath.Join(log, "entries", "00000000000000000000.jsonl")
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString("half a batch")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	opts := &filesink.VerifyOptions{Keys: []note.Verifier{key.Verifier()}}
	report, err := filesink.Verify(t.Context(), log, opts)
	require.NoError(t, err)
	require.Equal(t, auditlog.Signed, report.Level)
	require.EqualValues(t, 2, report.Records)
	if runtime.GOOS == "linux" {
		require.True(t, report.Writing)
		require.Empty(t, report.Notes, "what is in flight is not worth a note")
	}
	_ = r.Close(t.Context())
	require.NoError(t, sink.Close(), "somebody else's bytes do not stop the log")
	report, err = filesink.Verify(t.Context(), log, opts)
	found, ok := errors.AsType[*filesink.VerifyError](err)
	require.True(t, ok)
	require.Len(t, found.Findings, 1)
	require.Equal(t, auditlog.KindStray, found.Findings[0].Kind)
	require.False(t, report.Writing)
}

// record runs some jobs on a log and closes it.
func record(t *testing.T, dir string, key *filesink.Key, opts *filesink.Options, jobs int) {
	t.Helper()
	sink, err := filesink.Open(t.Context(), dir, key, opts)
	require.NoError(t, err)
	r, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "s", Environment: "test"}, nil)
	require.NoError(t, err)
	for i := range jobs {
		require.NoError(t, r.Run(t.Context(), submission(i), func(context.Context) error { return nil }))
	}
	require.NoError(t, r.Close(t.Context()))
	require.NoError(t, sink.Close())
}

func keyOf(t *testing.T, dir, path, name string) *filesink.Key {
	t.Helper()
	key, err := filesink.LoadOrCreateKey(dir, path, name)
	require.NoError(t, err)
	return key
}

func TestASuccessorVerifiesAcrossTheSeamAndExplainsTheLostHead(t *testing.T) {
	dir := t.TempDir()
	log, copied := filepath.Join(dir, "log"), filepath.Join(dir, "copy")
	oldKey := keyOf(t, log, filepath.Join(dir, "old.key"), origin)
	record(t, log, oldKey, nil, 2)
	require.NoError(t, os.CopyFS(copied, os.DirFS(log)))
	record(t, log, oldKey, nil, 2)
	lost, err := os.ReadFile(filepath.Join(dir, "old.key.anchor"))
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(log))
	require.NoError(t, os.Rename(copied, log))

	opts := &filesink.VerifyOptions{Keys: []note.Verifier{oldKey.Verifier()}, Checkpoints: [][]byte{lost}}
	_, err = filesink.Verify(t.Context(), log, opts)
	found, ok := errors.AsType[*filesink.VerifyError](err)
	require.True(t, ok)
	require.Equal(t, auditlog.KindTruncated, found.Findings[0].Kind, "rolled back, and nothing says why")

	newKey := keyOf(t, log, filepath.Join(dir, "new.key"), auditlog.SuccessorOrigin(origin))
	record(t, log, newKey, &filesink.Options{Predecessor: oldKey}, 2)
	kept, err := os.ReadFile(filepath.Join(dir, "new.key.anchor"))
	require.NoError(t, err)
	opts.Keys = append(opts.Keys, newKey.Verifier())
	opts.Checkpoints = append(opts.Checkpoints, kept)
	_, err = filesink.Verify(t.Context(), log, opts)
	found, ok = errors.AsType[*filesink.VerifyError](err)
	require.True(t, ok, "a head that the predecessor had is missing, whatever the log says of it")
	require.Contains(t, found.Findings[0].Explained, "after a restore")

	head, err := auditlog.OpenCheckpoint(lost, oldKey.Verifier())
	require.NoError(t, err)
	accepted := *opts
	accepted.AcceptLoss = []auditlog.Head{head.Head()}
	report, err := filesink.Verify(t.Context(), log, &accepted)
	require.NoError(t, err)
	require.Equal(t, auditlog.Signed, report.Level)
	require.Equal(t, report.Head.Size, report.Anchored)
	require.Len(t, report.Notes, 2)
	require.Equal(t, auditlog.KindTruncated, report.Notes[0].Kind)
	require.Contains(t, report.Notes[0].Explained, "after a restore")
	require.Equal(t, filesink.KindRecovery, report.Notes[1].Kind)

	for _, other := range []auditlog.Head{
		{Origin: head.Head().Origin, Size: head.Head().Size, Root: tlog.Hash{1}},
		{Size: head.Head().Size + 1000, Root: head.Head().Root},
	} {
		accepted.Heads = []auditlog.Head{other}
		_, err = filesink.Verify(t.Context(), log, &accepted)
		found, ok = errors.AsType[*filesink.VerifyError](err)
		require.True(t, ok, "%v is another head", other)
		require.Len(t, found.Findings, 1)
		require.Equal(t, other, found.Findings[0].Head)
	}
}

func TestATailThatWasSetAsideIsTold(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	key := keyOf(t, log, filepath.Join(dir, "log.key"), origin)
	record(t, log, key, nil, 1)
	files, err := filepath.Glob(filepath.Join(log, "entries", "*.jsonl"))
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(filepath.Join(log, "index")))
	f, err := os.OpenFile(files[0], os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString("half a batch")
	require.NoError(t, errors.Join(err, f.Close()))

	opts := &filesink.VerifyOptions{Keys: []note.Verifier{key.Verifier()}}
	report, err := filesink.Verify(t.Context(), log, opts)
	require.NoError(t, err)
	require.Equal(t, filesink.KindTail, report.Notes[0].Kind)

	record(t, log, key, nil, 1)
	report, err = filesink.Verify(t.Context(), log, opts)
	require.NoError(t, err)
	require.Len(t, report.Notes, 1)
	require.Equal(t, filesink.KindRecovery, report.Notes[0].Kind)
	require.Contains(t, report.Notes[0].Found, "12 bytes")
}

func TestADamagedJobIDIsToldByWhatIsLeft(t *testing.T) {
	sink := &batches{}
	r, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "s", Environment: "test"}, nil)
	require.NoError(t, err)
	nothing := func(context.Context) error { return nil }
	require.NoError(t, r.Run(t.Context(), submission(1), func(ctx context.Context) error {
		return r.Run(ctx, submission(2), nothing) // a child, whose root is another job
	}))
	_, err = r.Submit(t.Context(), submission(3)) // alone in its stream
	require.NoError(t, err)
	require.NoError(t, r.Close(t.Context()))

	l := logOf(t, sink.all())
	for index, line := range l.lines {
		for _, before := range []string{`"job":{"id":"`, `"stream":{"id":"`, `"rootId":"`} {
			at := strings.Index(line, before) + len(before) + 30
			if at < len(before)+30 {
				continue // the recorder's own
			}
			l.edit(index, func(line string) string { return line[:at] + string(line[at]^1) + line[at+1:] })
			_, found := l.verify(l.keys())
			require.Len(t, found, 1)
			require.Equal(t, jobOf(t, line), found[0].JobID, "%s of %s", before, line)
			l.restore(index, at)
		}
	}
}

func TestWhatIsWrittenMeanwhileIsNotOfTheLog(t *testing.T) {
	l := logOf(t, recorded(t, 3))
	opts := l.keys()
	written := false
	opts.Progress = func(done, total int64) {
		if done == total && !written {
			written = true
			l.append("the next batch")
		}
	}
	report, found := l.verify(opts)
	require.Empty(t, found)
	require.Empty(t, report.Notes)
	require.True(t, written)
}
