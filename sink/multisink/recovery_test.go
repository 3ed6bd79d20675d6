package multisink_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/sink/multisink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
)

// crashed is a log of a directory, and what an earlier process has left in it.
type crashed struct {
	dir  string
	key  *filesink.Key
	old  *filesink.Key // its predecessor's, if it has one
	opts filesink.Options
	lost []auditlog.Checkpoint // signed heads that it does not have: of its torn tail, or its predecessor
	name string                // of the file of the torn tail
}

func newCrashed(t *testing.T, n int, how string) *crashed {
	t.Helper()
	base := t.TempDir()
	c := &crashed{dir: filepath.Join(base, "log")}
	var err error
	c.key, err = filesink.LoadOrCreateKey(c.dir, filepath.Join(base, "key"), fmt.Sprintf("example.com/log%d", n))
	require.NoError(t, err)
	if how == "new" {
		return c
	}
	s := c.open(t)
	records := sinktest.Records(9 + n)
	require.NoError(t, s.Append(t.Context(), records[:3]))
	require.NoError(t, s.Append(t.Context(), records[3:6]))
	require.NoError(t, s.Append(t.Context(), records[6:]))
	require.NoError(t, s.Close())
	switch how {
	case "successor":
		c.restore(t, base, records[:3], n)
	case "torn":
		c.tear(t, filepath.Join(base, "key.anchor"))
	case "override":
		require.NoError(t, os.Remove(filepath.Join(base, "key.anchor")))
		c.opts.AllowMissingAnchor = true
	}
	return c
}

func (c *crashed) open(t *testing.T) *filesink.Sink {
	t.Helper()
	s, err := filesink.Open(t.Context(), c.dir, c.key, &c.opts)
	require.NoError(t, err)
	return s
}

// tear leaves of the last batch what a power cut leaves: a sector never came, and its
// commit line, which was signed, did.
func (c *crashed) tear(t *testing.T, anchor string) {
	t.Helper()
	require.NoError(t, os.RemoveAll(filepath.Join(c.dir, "index")))
	segments, err := filepath.Glob(filepath.Join(c.dir, "entries", "*.jsonl"))
	require.NoError(t, err)
	require.Len(t, segments, 1)
	b, err := os.ReadFile(segments[0])
	require.NoError(t, err)
	var commits []auditlog.Checkpoint
	var ends []int
	at := 0
	for line := range bytes.Lines(b) {
		at += len(line)
		if line = bytes.TrimSuffix(line, []byte("\n")); auditlog.IsCommit(line) {
			head, err := auditlog.OpenCommit(line, c.key.Verifier())
			require.NoError(t, err)
			commits, ends = append(commits, head), append(ends, at)
		}
	}
	last := len(commits) - 1
	copy(b[ends[last-1]+40:], make([]byte, 512))
	require.NoError(t, os.WriteFile(segments[0], b, 0o600))
	require.NoError(t, os.WriteFile(anchor, commits[last-1].Signed(), 0o600)) // the newer one was never put
	require.NoError(t, os.WriteFile(filepath.Join(c.dir, "checkpoint"), commits[last-1].Signed(), 0o600))
	c.lost = commits[last:]
	c.name = fmt.Sprintf("torn/%020d.1", commits[last-1].Head().Size)
}

// restore puts a backup in the log's place, which a new key goes on with.
func (c *crashed) restore(t *testing.T, base string, backup []jobaudit.Record, n int) {
	t.Helper()
	signed, err := os.ReadFile(filepath.Join(base, "key.anchor"))
	require.NoError(t, err)
	head, err := auditlog.OpenCheckpoint(signed, c.key.Verifier())
	require.NoError(t, err)
	c.lost = []auditlog.Checkpoint{head}
	require.NoError(t, os.RemoveAll(c.dir))
	require.NoError(t, os.Remove(filepath.Join(base, "key.anchor")))
	s := c.open(t)
	require.NoError(t, s.Append(t.Context(), backup))
	require.NoError(t, s.Close())
	require.NoError(t, os.WriteFile(filepath.Join(base, "key.anchor"), signed, 0o600))
	c.old, c.opts.Predecessor = c.key, c.key
	c.key, err = filesink.LoadOrCreateKey(c.dir, filepath.Join(base, "key2"), auditlog.SuccessorOrigin(c.old.Name()))
	require.NoError(t, err)
}

func opened(t *testing.T, sinks ...jobaudit.AuditSink) (events []jobaudit.Event) {
	t.Helper()
	type in struct{ Repo string }
	policies, err := jobaudit.NewRegistry(nil, jobaudit.NewRedactor("index", "1", jobaudit.InputPaths[in](jobaudit.Keep("Repo"))))
	require.NoError(t, err)
	m, err := multisink.New(len(sinks), sinks...)
	require.NoError(t, err)
	r, err := jobaudit.Open(t.Context(), m, jobaudit.Source{System: "test", Environment: "test"}, &jobaudit.Options{Redactors: policies})
	require.NoError(t, err)
	require.NoError(t, r.Close(t.Context()))
	found := false
	for record, err := range m.Records(t.Context(), jobaudit.Query{}) {
		require.NoError(t, err)
		if record.Type() == jobaudit.AuditOpened {
			found, events = true, nil
		}
		if found {
			events = append(events, record.Event())
		}
	}
	require.NoError(t, m.Close())
	return events
}

// quiet is a directory's sink that has no warning of where it is: what tells of one log
// from what tells of another may not hang on that.
type quiet struct{ *filesink.Sink }

func (q quiet) Recovery() jobaudit.Recovery {
	r := q.Sink.Recovery()
	r.Warnings = nil
	return r
}

// TestWhatEachSinkFoundIsRecordedAndExplainsItsLostHeads opens two directories, each
// after each end that a process can have come to.
func TestWhatEachSinkFoundIsRecordedAndExplainsItsLostHeads(t *testing.T) {
	ways := []string{"new", "clean", "torn", "override", "successor"}
	for i, one := range ways {
		for k, two := range ways {
			if testing.Short() && (i+k)%2 > 0 { // half of them, each beside two others at least
				continue
			}
			t.Run(one+" "+two, func(t *testing.T) {
				t.Parallel() // it waits for disks
				logs := []*crashed{newCrashed(t, 1, one), newCrashed(t, 2, two)}
				events := opened(t, quiet{logs[0].open(t)}, quiet{logs[1].open(t)})
				var found struct {
					Torn *struct {
						Bytes int64
						Heads []struct{ Size int64 }
						Files []string
					}
					Overrides []string
					Warnings  []string
				}
				require.NoError(t, json.Unmarshal(events[0].Data.Recovery, &found))
				both := one + " " + two
				require.Equal(t, strings.Count(both, "override"), len(found.Overrides))
				told := 0 // signed heads of torn tails, and those of a second predecessor
				for i, l := range logs {
					if l.old == nil || i == 1 && one != "new" && one != "clean" {
						told += len(l.lost)
					}
				}
				require.Equal(t, told > 0, found.Torn != nil)
				if one == "override" && two == one {
					require.Equal(t, []string{"sink 1: allow-missing-anchor", "sink 2: allow-missing-anchor"}, found.Overrides)
				}
				if found.Torn != nil {
					require.Equal(t, strings.Contains(both, "torn"), found.Torn.Bytes > 0)
					require.Len(t, found.Torn.Heads, told)
					require.Len(t, found.Torn.Files, strings.Count(both, "torn"))
				}
				for i, l := range logs {
					opts := &filesink.VerifyOptions{Keys: []note.Verifier{l.key.Verifier()}}
					if l.old != nil {
						opts.Keys = []note.Verifier{l.old.Verifier(), l.key.Verifier()}
					}
					report, err := filesink.Verify(t.Context(), l.dir, opts)
					require.NoError(t, err, "log %d", i)
					for _, f := range report.Notes {
						if f.Kind == filesink.KindRecovery {
							require.Contains(t, f.Found, "opened together")
							require.NotContains(t, f.Found, "are lost", "the sizes may be of two logs")
						}
					}
					for _, head := range l.lost {
						opts.Checkpoints = [][]byte{head.Signed()}
						_, err := filesink.Verify(t.Context(), l.dir, opts)
						var wrong *filesink.VerifyError
						require.ErrorAs(t, err, &wrong)
						require.Contains(t, wrong.Findings[0].Explained, "names this head")
						opts.AcceptLoss = []auditlog.Head{head.Head()}
						_, err = filesink.Verify(t.Context(), l.dir, opts)
						require.NoError(t, err)
						if sink := fmt.Sprintf("sink %d: ", i+1); l.old == nil {
							require.Contains(t, found.Torn.Files, sink+l.name)
						} else {
							require.Contains(t, found.Warnings, sink+"continues "+l.old.Name())
						}
					}
				}
				for _, l := range logs {
					l.opts = filesink.Options{}
				}
				again := opened(t, logs[0].open(t), logs[1].open(t))
				for _, e := range again {
					require.NotEqual(t, jobaudit.AuditPolicy, e.Type, "both hold it")
				}
				third := newCrashed(t, 3, "new")
				stored := 0
				for _, e := range opened(t, logs[0].open(t), third.open(t)) {
					if e.Type == jobaudit.AuditPolicy {
						stored++
					}
				}
				require.Positive(t, stored, "one lacks it")
			})
		}
	}
}

// TestOfSinksThatFindNothingNothingIsRecorded: nobody is told of an open that none made.
func TestOfSinksThatFindNothingNothingIsRecorded(t *testing.T) {
	require.Empty(t, opened(t, memsink.New(nil), memsink.New(nil))[0].Data.Recovery)
	inner, err := multisink.New(1, memsink.New(nil))
	require.NoError(t, err)
	require.Empty(t, opened(t, inner, memsink.New(nil))[0].Data.Recovery)

	l := newCrashed(t, 1, "torn")
	inner, err = multisink.New(1, memsink.New(nil), l.open(t))
	require.NoError(t, err)
	require.Contains(t, string(opened(t, memsink.New(nil), inner)[0].Data.Recovery), l.name)
}

// reporting is a sink with a report of its own.
type reporting struct {
	jobaudit.AuditSink
	report jobaudit.Recovery
}

func (s reporting) Recovery() jobaudit.Recovery { return s.report }

// TestThatALogWasClosedIsSaidOnlyIfEachWas, but for those that are new.
func TestThatALogWasClosedIsSaidOnlyIfEachWas(t *testing.T) {
	closed, open, fresh := jobaudit.Recovery{Closed: true, Head: &tlog.Tree{N: 7}}, jobaudit.Recovery{Head: &tlog.Tree{N: 9}}, jobaudit.Recovery{}
	overridden := jobaudit.Recovery{Overrides: []string{"allow-missing-anchor"}}
	torn := jobaudit.Recovery{TornBytes: 1, TornFiles: []string{"torn/0.1"}} // before its first commit
	for _, c := range []struct {
		reports []jobaudit.Recovery
		want    bool
	}{
		{[]jobaudit.Recovery{closed, closed}, true},
		{[]jobaudit.Recovery{closed, fresh}, true},
		{[]jobaudit.Recovery{fresh, closed}, true},
		{[]jobaudit.Recovery{overridden, closed}, true},
		{[]jobaudit.Recovery{fresh, closed, fresh}, true},
		{[]jobaudit.Recovery{fresh, open}, false},
		{[]jobaudit.Recovery{torn, closed}, false},
		{[]jobaudit.Recovery{closed, torn}, false},
		{[]jobaudit.Recovery{fresh, fresh}, false},
		{[]jobaudit.Recovery{closed, open}, false},
		{[]jobaudit.Recovery{open, closed}, false},
	} {
		var sinks []jobaudit.AuditSink
		for _, r := range c.reports {
			sinks = append(sinks, reporting{memsink.New(nil), r})
		}
		m, err := multisink.New(len(sinks), sinks...)
		require.NoError(t, err)
		r, ok := m.Recovery()
		require.True(t, ok)
		require.Equal(t, c.want, r.Closed, "%v", c.reports)
		heads := slices.ContainsFunc(c.reports, func(r jobaudit.Recovery) bool { return r.Head != nil })
		require.Equal(t, heads, r.Head != nil, "%v", c.reports)
		require.NoError(t, m.Close())
	}
}

// TestAReportOfEarlierVersionsAccusesNoOtherLog: it had no names of the first sink's.
func TestAReportOfEarlierVersionsAccusesNoOtherLog(t *testing.T) {
	torn, clean := newCrashed(t, 1, "torn"), newCrashed(t, 2, "clean")
	sinks := []*filesink.Sink{torn.open(t), clean.open(t)}
	report := sinks[0].Recovery()
	report.Warnings = nil
	require.NotEmpty(t, report.TornHeads)
	policies, err := jobaudit.NewRegistry(nil)
	require.NoError(t, err)
	for i, l := range []*crashed{torn, clean} {
		r, err := jobaudit.Open(t.Context(), reporting{sinks[i], report}, jobaudit.Source{System: "test", Environment: "test"}, &jobaudit.Options{Redactors: policies})
		require.NoError(t, err)
		require.NoError(t, r.Close(t.Context()))
		require.NoError(t, sinks[i].Close())
		verified, err := filesink.Verify(t.Context(), l.dir, &filesink.VerifyOptions{Keys: []note.Verifier{l.key.Verifier()}})
		require.NoError(t, err)
		told := 0
		for _, f := range verified.Notes {
			if f.Kind == filesink.KindRecovery {
				told++
				require.Equal(t, i == 0, strings.Contains(f.Found, "are lost"), f.Found)
				require.Equal(t, i == 1, strings.Contains(f.Found, "opened together"), f.Found)
			}
		}
		require.Equal(t, 1, told)
	}
}
