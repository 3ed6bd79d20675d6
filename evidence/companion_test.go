package evidence_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/evidence"
	"github.com/jobaudit/jobaudit/internal/tools/chromium"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/filesink"
)

// forged is a companion of a log, in which its key recorded, with a recorder that does not
// say so, that the job which failed was a success.
func (l *aLog) forged(t testing.TB) *aLog {
	t.Helper()
	base := t.TempDir()
	c := &aLog{dir: filepath.Join(base, "remarks")}
	var err error
	c.key, err = filesink.LoadOrCreateKey(c.dir, filepath.Join(base, "remarks.key"), "example.com/remarks")
	require.NoError(t, err)
	c.sink, err = filesink.Open(t.Context(), c.dir, c.key, nil)
	require.NoError(t, err)
	n := byte(0)
	opts := &jobaudit.Options{NewID: func() uuid.UUID { n++; return uuid.UUID{6: 0x70, 8: 0x80, 15: n} }} // before the log's
	source := jobaudit.Source{System: "jobs", Environment: "test"}
	b, err := evidence.Open(l.collect(t, evidence.Scope{JobID: l.failed}), l.keys())
	require.NoError(t, err)
	head := b.Logs[0].Checkpoint.Head()
	honest := *opts
	honest.CompanionOf.Origin, honest.CompanionOf.Head = head.Origin, tlog.Tree{N: head.Size, Hash: head.Root}
	rec, err := jobaudit.Open(t.Context(), c.sink, source, &honest)
	require.NoError(t, err)
	require.NoError(t, rec.Close(t.Context()))

	rec, err = jobaudit.Open(t.Context(), c.sink, source, opts)
	require.NoError(t, err)
	for r := range b.Job(l.failed) {
		job, err := rec.Resume(t.Context(), r.Carrier(), nil)
		require.NoError(t, err)
		require.NoError(t, job.Start(t.Context(), jobaudit.Execution{}))
		require.NoError(t, job.Succeed(t.Context()))
		break
	}
	require.NoError(t, rec.Close(t.Context()))
	require.NoError(t, c.sink.Close())
	return c
}

// bothOrders are files of the logs, as either is named first.
func bothOrders(t testing.TB, scope evidence.Scope, l, c *aLog) (files [][]byte, keys []note.Verifier) {
	t.Helper()
	for _, sources := range [][]evidence.Source{{l.source(t), c.source(t)}, {c.source(t), l.source(t)}} {
		text, err := evidence.Collect(t.Context(), sources, scope, made)
		require.NoError(t, err)
		files = append(files, text)
	}
	return files, append(l.keys(), c.keys()...)
}

// withoutFirst leaves the event of index 0 out of each log, as older files do.
func withoutFirst(t testing.TB, text []byte) []byte {
	t.Helper()
	var left []string
	for block := range strings.SplitSeq(string(text), "\n\n") {
		if !strings.Contains(block+"\n", "\nindex 0\n") {
			left = append(left, block)
		}
	}
	return resum(t, strings.Join(left, "\n\n"))
}

func TestACompanionsKeySaysNotInAFileHowAJobEnded(t *testing.T) {
	l := newLog(t, "example.com/jobs")
	c := l.forged(t)
	for _, scope := range []evidence.Scope{{JobID: l.failed}, {RootID: l.failed}, {CorrelationID: l.failed}, {Since: made.Now.AddDate(0, -1, 0)}} {
		files, keys := bothOrders(t, scope, l, c)
		for _, text := range files {
			b, err := evidence.Open(text, keys)
			require.NoError(t, err)
			for _, log := range b.Logs {
				require.Zero(t, log.Proofs[0].Index(), "what tells whether it is a companion")
			}
			job, err := jobaudit.Replay(b.Job(l.failed))
			require.NoError(t, err)
			require.Equal(t, jobaudit.Failed, job.State)
			require.Contains(t, strings.Join(b.Notes, "\n"), "3 events of jobs in the log example.com/remarks do not count")

			b, err = evidence.Open(withoutFirst(t, text), keys)
			require.NoError(t, err, "an older file")
			_, err = jobaudit.Replay(b.Job(l.failed))
			require.Error(t, err, "nothing tells which of them is the companion")
		}
	}
}

func TestExtraAPageTakesNoEndOfAJobFromACompanion(t *testing.T) {
	size.Extra(t)
	l := newLog(t, "example.com/jobs")
	c := l.forged(t)
	b := chromium.Start(t)
	file := filepath.Join(t.TempDir(), "report.html")
	state := func(text []byte) string {
		page, err := evidence.Page(text)
		require.NoError(t, err)
		verdict, status := shown(t, b, file, page)
		require.Equal(t, "own", verdict, status)
		return b.Eval(fmt.Sprintf(`[...document.querySelectorAll("td")].find(e => e.innerText.includes("%s")).parentElement.innerText`, l.failed))
	}
	files, _ := bothOrders(t, evidence.Scope{RootID: l.failed}, l, c)
	for _, text := range files {
		require.Regexp(t, `\bfailed\b`, state(text))
		require.Regexp(t, `\bunknown\b`, state(withoutFirst(t, text)))
	}
	require.Contains(t, b.Eval(`document.body.innerText`), "in the log example.com/remarks, which only corrects")
}
