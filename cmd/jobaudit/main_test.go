package main_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink"
)

// program is the built binary.
var program string

func TestMain(m *testing.M) {
	// In the background of a shell an interrupt is ignored, and what is started from here
	// would ignore it, too: a handler is not inherited.
	if signal.Ignored(os.Interrupt) {
		signal.Notify(make(chan os.Signal, 1), os.Interrupt)
	}
	dir, err := os.MkdirTemp("", "jobaudit-cli-*")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(dir, "jobaudit")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		panic(fmt.Sprintf("%v: %s", err, out))
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// call is what a run of the program gave.
type call struct {
	code     int
	out, err string
}

func run(t testing.TB, args ...string) call {
	t.Helper()
	var out, stderr strings.Builder
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = t.TempDir()
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = nil
		require.Equal(t, cmd.ProcessState.ExitCode(), exit.ExitCode())
	}
	require.NoError(t, err)
	return call{cmd.ProcessState.ExitCode(), out.String(), stderr.String()}
}

// aLog is a real log with some jobs.
type aLog struct {
	dir, key string // key is the key file
	sink     *filesink.Sink
	recorder *jobaudit.Recorder
	parent   uuid.UUID
	child    uuid.UUID
	failed   uuid.UUID
}

const nasty = "red \x1b[31m and \u009b31m and \u202e turned"

func submission(action string) jobaudit.Submission {
	return jobaudit.Submission{
		Action:    action,
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "u-1", Name: "Ada Lovelace", Verified: true},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "the index is old", Ref: "OPS-12"},
	}
}

// newLog writes a parent with a child, and a job that fails.
func newLog(t testing.TB) *aLog {
	t.Helper()
	base := t.TempDir()
	l := &aLog{dir: filepath.Join(base, "log"), key: filepath.Join(base, "log.key")}
	key, err := filesink.LoadOrCreateKey(l.dir, l.key, "example.com/jobs")
	require.NoError(t, err)
	l.sink, err = filesink.Open(t.Context(), l.dir, key, nil)
	require.NoError(t, err)
	l.recorder, err = jobaudit.Open(t.Context(), l.sink, jobaudit.Source{System: "indexer", Environment: "test"}, nil)
	require.NoError(t, err)

	l.parent = l.job(t, t.Context(), "reindex", func(ctx context.Context, trail *jobaudit.Trail) error {
		l.child = l.job(t, ctx, "reindex-part", func(ctx context.Context, trail *jobaudit.Trail) error {
			trail.Log(ctx, nasty)
			return nil
		})
		return nil
	})
	l.failed = l.job(t, t.Context(), "delete", func(context.Context, *jobaudit.Trail) error { return errors.New("the disk is full") })
	return l
}

func (l *aLog) job(t testing.TB, ctx context.Context, action string, do func(context.Context, *jobaudit.Trail) error) (id uuid.UUID) {
	t.Helper()
	_ = l.recorder.Run(ctx, submission(action), func(ctx context.Context) error {
		trail, _ := jobaudit.FromContext(ctx)
		id = trail.JobID()
		return do(ctx, trail)
	})
	return id
}

// close closes the log and returns it.
func (l *aLog) close(t testing.TB) *aLog {
	t.Helper()
	require.NoError(t, l.recorder.Close(t.Context()))
	require.NoError(t, l.sink.Close())
	return l
}

func (l *aLog) anchor() string { return l.key + ".anchor" }

// events lists what list --json prints.
func (l *aLog) events(t testing.TB, filters ...string) []jobaudit.Record {
	t.Helper()
	c := run(t, append([]string{"list", l.dir, "--json"}, filters...)...)
	require.Zero(t, c.code, c.err)
	var records []jobaudit.Record
	for line := range strings.Lines(c.out) {
		r, err := jobaudit.ParseRecord([]byte(strings.TrimSuffix(line, "\n")))
		require.NoError(t, err)
		records = append(records, r)
	}
	return records
}

func (l *aLog) segment(t testing.TB) (path, text string) {
	t.Helper()
	path = filepath.Join(l.dir, "entries", "00000000000000000000.jsonl")
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return path, string(content)
}

// verdict is what verify --json prints.
type verdict struct {
	Verified bool
	Level    string
	Records  int
	Anchored int
	Findings []filesink.Finding
}

func (l *aLog) verify(t testing.TB, args ...string) (call, verdict) {
	t.Helper()
	c := run(t, append([]string{"verify", l.dir, "--json"}, args...)...)
	var v verdict
	require.NoError(t, json.Unmarshal([]byte(c.out), &v), "%s%s", c.out, c.err)
	return c, v
}

func TestVerifySaysHowFarItCame(t *testing.T) {
	l := newLog(t).close(t)
	c := run(t, "verify", l.dir, "--key", l.key, "--anchor", l.anchor())
	require.Zero(t, c.code, c.err)
	require.Contains(t, c.out, "verified L2")
	require.Contains(t, c.out, "3 jobs")
	require.Empty(t, c.err, "no progress bar where nobody watches")
	require.NotContains(t, c.out, "\x1b", "no colours where nobody watches")

	c = run(t, "verify", l.dir, "--key", l.key)
	require.Zero(t, c.code)
	require.Contains(t, c.out, "verified L1")
	require.Contains(t, c.out, "Without --anchor")

	_, v := l.verify(t, "--key", strings.TrimSpace(run(t, "key", l.key).out), "--anchor", l.anchor(), "--quick", "--parse-all")
	require.True(t, v.Verified)
	require.Equal(t, "L2", v.Level)
	require.Equal(t, len(l.events(t)), v.Records)
	require.Equal(t, v.Records, v.Anchored)
}

func TestAfterAnyByteOfAnEntryIsChangedVerifyExits1AndNamesIndexAndJob(t *testing.T) {
	l := newLog(t).close(t)
	path, text := l.segment(t)
	records := l.events(t)
	step := 331
	if testing.Short() {
		step = 1999
	}
	at, index := 0, 0
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, `{"checkpoint":`) {
			at += len(line)
			continue
		}
		for i := (at / 7) % step; i < len(line)-1; i += step {
			changed := text[:at+i] + string(text[at+i]^1) + text[at+i+1:]
			require.NoError(t, os.WriteFile(path, []byte(changed), 0o644))
			c, v := l.verify(t, "--key", l.key)
			require.Equal(t, 1, c.code)
			require.False(t, v.Verified)
			require.Len(t, v.Findings, 1)
			require.EqualValues(t, index, v.Findings[0].Index)
			require.Equal(t, records[index].JobID(), v.Findings[0].JobID, "byte %d of %s", i, line)
		}
		at, index = at+len(line), index+1
	}
	require.Equal(t, len(records), index)

	c := run(t, "verify", l.dir, "--key", l.key)
	require.Equal(t, 1, c.code)
	require.Contains(t, c.out, "NOT VERIFIED 1 finding")
	require.Contains(t, c.out, "leaf_changed at index")
}

func TestAnothersKeyIsSaidInOneSentence(t *testing.T) {
	l, other, same := newLog(t).close(t), newNamedLog(t, "example.com/web").close(t), newLog(t).close(t)
	target := filepath.Join(t.TempDir(), "mirror")
	require.Zero(t, run(t, "mirror", l.dir, target, "--key", l.verifier(t), "--once", "--create").code)
	for _, source := range []string{l.dir, target} {
		for key, says := range map[string]string{other.key: "This is the log example.com/jobs, and what was given is the key of example.com/web", same.key: "Nothing in this log is signed by the key of example.com/jobs"} {
			c := run(t, "verify", source, "--key", key)
			require.Equal(t, 1, c.code)
			require.Equal(t, 1, strings.Count(c.out, "\n"), "%s", c.out)
			require.Contains(t, c.out, "NOT VERIFIED "+says)
		}
	}
	_, v := l.verify(t, "--key", other.key)
	require.False(t, v.Verified)
	require.Greater(t, len(v.Findings), 1, "programs get them all")

	// Where more is wrong, or one commit is signed by the key, the findings stand.
	path, text := l.segment(t)
	require.NoError(t, os.WriteFile(path, []byte(strings.Replace(text, "the disk is full", "the disk is FULL", 1)), 0o600))
	require.Contains(t, run(t, "verify", l.dir, "--key", l.key).out, "finding leaf_changed")
}

func TestALogThatWasCutShortIsFoundByItsAnchor(t *testing.T) {
	l := newLog(t).close(t)
	path, text := l.segment(t)
	cut := text[:strings.LastIndex(strings.TrimSuffix(text, "\n"), "\n")+1]
	cut = cut[:strings.LastIndex(strings.TrimSuffix(cut, "\n"), "\n")+1]
	require.NoError(t, os.WriteFile(path, []byte(cut), 0o644))
	c, _ := l.verify(t, "--key", l.key)
	require.Equal(t, 1, c.code, "the checkpoint in the directory remembers")
	require.NoError(t, os.Remove(filepath.Join(l.dir, "checkpoint")))
	c, _ = l.verify(t, "--key", l.key)
	require.Zero(t, c.code, "what is left of the log cannot tell")
	c, v := l.verify(t, "--key", l.key, "--anchor", l.anchor())
	require.Equal(t, 1, c.code)
	require.Equal(t, "truncated", string(v.Findings[0].Kind))
}

func TestExitCodesTellWrongCallsFromWhatCannotBeRead(t *testing.T) {
	l := newLog(t).close(t)
	other := newLog(t).close(t)
	empty := t.TempDir()
	for _, tc := range []struct {
		code int
		args []string
	}{
		{0, []string{"--help"}},
		{0, []string{"completion", "bash"}},
		{2, nil},
		{2, []string{"frobnicate"}},
		{2, []string{"version", "v1"}},
		{2, []string{"verify"}},
		{2, []string{"verify", l.dir}},
		{2, []string{"verify", l.dir, "--frobnicate"}},
		{2, []string{"verify", l.dir, "--key", "a+b+c"}},
		{2, []string{"list", l.dir, "--job", "1"}},
		{2, []string{"list", l.dir, "--state", "asleep"}},
		{2, []string{"list", l.dir, "--since", "the other day"}},
		{2, []string{"show", l.dir, "1"}},
		{3, []string{"verify", l.dir, "--key", "no-such-file"}},
		{3, []string{"verify", l.dir, "--key", l.key, "--anchor", "no-such-file"}},
		{3, []string{"verify", empty, "--key", l.key}},
		{3, []string{"verify", filepath.Join(empty, "log"), "--key", l.key}},
		{3, []string{"list", empty}},
		{3, []string{"tail", empty}},
		{3, []string{"show", l.dir, uuid.NewString()}},
		{3, []string{"prove", l.dir, uuid.NewString()}},
		{3, []string{"checkpoint", empty}},
		{3, []string{"key", filepath.Join(empty, "key")}},
		{3, []string{"check-proof", "no-such-file", "--key", l.key}},
		{1, []string{"verify", l.dir, "--key", other.key}},
		{1, []string{"verify", l.dir, "--key", l.key, "--anchor", other.anchor()}},
		{1, []string{"checkpoint", l.dir, "--key", other.key}},
	} {
		c := run(t, tc.args...)
		require.Equal(t, tc.code, c.code, "%v: %s%s", tc.args, c.out, c.err)
		if tc.code >= 2 {
			require.Empty(t, c.out, "%v", tc.args)
			require.Contains(t, c.err, "jobaudit: ", "%v", tc.args)
		}
	}
}

func TestListSelectsAndPrintsTheStoredBytes(t *testing.T) {
	t.Parallel()
	l := newLog(t).close(t)
	_, text := l.segment(t)
	all := run(t, "list", l.dir, "--json")
	for line := range strings.Lines(all.out) {
		require.Contains(t, text, line)
	}
	total := len(l.events(t))
	for _, tc := range []struct {
		filters []string
		check   func(jobaudit.Event) bool
	}{
		{[]string{"--job", l.child.String()}, func(e jobaudit.Event) bool { return e.Job.ID == l.child }},
		{[]string{"--root", l.parent.String()}, func(e jobaudit.Event) bool { return e.Job.RootID == l.parent }},
		{[]string{"--correlation", l.parent.String()}, func(e jobaudit.Event) bool { return e.CorrelationID == l.parent }},
		{[]string{"--principal", "u-1"}, func(e jobaudit.Event) bool { return e.Who.Principal.ID == "u-1" }},
		{[]string{"--principal", "indexer"}, func(e jobaudit.Event) bool { return e.Who.Principal.ID == "indexer" }},
		{[]string{"--action", "delete"}, func(e jobaudit.Event) bool { return e.What.Action == "delete" }},
		{[]string{"--type", "job.failed,job.started"}, func(e jobaudit.Event) bool {
			return e.Type == jobaudit.JobFailed || e.Type == jobaudit.JobStarted
		}},
		{[]string{"--state", "failed"}, func(e jobaudit.Event) bool { return e.Job.State == jobaudit.Failed }},
		{[]string{"--since", "1h"}, func(jobaudit.Event) bool { return true }},
		{[]string{"--org", "nobody's"}, func(jobaudit.Event) bool { return false }},
		{[]string{"--until", "2020-01-02"}, func(jobaudit.Event) bool { return false }},
	} {
		want := 0
		for _, r := range l.events(t) {
			if tc.check(r.Event()) {
				want++
			}
		}
		require.Len(t, l.events(t, tc.filters...), want, "%v", tc.filters)
	}
	require.Len(t, l.events(t, "-n", "2"), 2)
	require.Equal(t, total, strings.Count(run(t, "list", l.dir).out, "\n"))
}

func TestStoredTextCannotActOnATerminal(t *testing.T) {
	l := newLog(t).close(t)
	for _, args := range [][]string{{"list", l.dir}, {"show", l.dir, l.child.String()}, {"tail", l.dir}, {"list", l.dir, "--type", "job.logged"}} {
		c := run(t, args...)
		require.Zero(t, c.code)
		require.Contains(t, c.out, "turned")
		for _, r := range nasty {
			if r != ' ' && (r < ' ' || r > '~') {
				require.NotContains(t, c.out, string(r), "%v", args)
			}
		}
	}
}

func TestShowTellsTheFiveWsAndTheFamily(t *testing.T) {
	l := newLog(t).close(t)
	c := run(t, "show", l.dir, l.parent.String())
	require.Zero(t, c.code, c.err)
	for _, want := range []string{"Ada Lovelace", "reindex", "the index is old", "OPS-12", "indexer", "job.succeeded", "2 jobs", l.child.String()[:8]} {
		require.Contains(t, c.out, want)
	}
	c = run(t, "show", l.dir, l.failed.String(), "--json")
	var job struct {
		ID    uuid.UUID
		State string
		Error struct{ Message string }
	}
	require.NoError(t, json.Unmarshal([]byte(c.out), &job))
	require.Equal(t, l.failed, job.ID)
	require.Equal(t, "failed", job.State)
	require.Contains(t, job.Error.Message, "full")
}

func TestAProofIsCheckedWithoutTheLogAndATamperedOneIsNot(t *testing.T) {
	t.Parallel()
	l := newLog(t).close(t)
	public := strings.TrimSpace(run(t, "key", l.dir).out)
	require.Equal(t, public, strings.TrimSpace(run(t, "key", l.key).out))
	event := l.events(t, "--job", l.failed.String(), "--type", "job.failed")[0]
	file := filepath.Join(t.TempDir(), "event.tlog-proof")
	c := run(t, "prove", l.dir, event.ID().String(), "-o", file, "--key", public)
	require.Zero(t, c.code, c.err)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(text), run(t, "prove", l.dir, event.ID().String(), "-o", "-").out, "the key beside the log")

	require.NoError(t, os.RemoveAll(l.dir))
	c = run(t, "check-proof", file, "--key", public)
	require.Zero(t, c.code, c.err)
	require.Contains(t, c.out, "proven")
	require.Contains(t, c.out, l.failed.String())
	c = run(t, "check-proof", file, "--key", public, "--json")
	require.Equal(t, string(event.Bytes())+"\n", c.out)

	other := newLog(t).close(t)
	require.Equal(t, 1, run(t, "check-proof", file, "--key", other.key).code)
	for at := 0; at < len(text); at += max(1, len(text)/40) {
		tampered := slices.Clone(text)
		tampered[at] ^= 1
		require.NoError(t, os.WriteFile(file, tampered, 0o644))
		c := run(t, "check-proof", file, "--key", public)
		require.Equal(t, 1, c.code, "byte %d", at)
		require.Empty(t, c.out)
		require.Contains(t, c.err, "NOT PROVEN")
	}
}

func TestACheckpointServesAsAnAnchor(t *testing.T) {
	l := newLog(t)
	c := run(t, "checkpoint", l.dir, "--key", l.key)
	require.Zero(t, c.code, c.err)
	kept := filepath.Join(t.TempDir(), "kept")
	require.NoError(t, os.WriteFile(kept, []byte(c.out), 0o644))
	require.Equal(t, c.out, run(t, "checkpoint", l.dir).out)
	l.close(t)
	_, v := l.verify(t, "--key", l.key, "--anchor", kept)
	require.Equal(t, "L2", v.Level)
	require.Less(t, v.Anchored, v.Records)
}

func TestTailFollowsTheLogAcrossSegments(t *testing.T) {
	t.Parallel() // it waits most of the time
	l := newLog(t)
	require.Len(t, strings.Split(strings.TrimSpace(run(t, "tail", l.dir, "-n", "3").out), "\n"), 3)

	cmd := exec.CommandContext(t.Context(), program, "tail", "-f", "-n", "1", "--json", l.dir)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewReader(out)
	next := func() jobaudit.Record {
		line, err := lines.ReadBytes('\n')
		require.NoError(t, err)
		r, err := jobaudit.ParseRecord(line[:len(line)-1])
		require.NoError(t, err)
		return r
	}
	require.Equal(t, l.failed, next().JobID(), "the newest, and then it follows")

	first := l.job(t, t.Context(), "more", func(context.Context, *jobaudit.Trail) error { return nil })
	for r := next(); r.Type() != jobaudit.JobSucceeded; r = next() {
		require.Equal(t, first, r.JobID())
	}
	l.close(t)
	require.Equal(t, jobaudit.AuditClosed, next().Type())
	l.reopen(t)
	require.Equal(t, jobaudit.AuditOpened, next().Type(), "in the next segment")
	l.close(t)
	require.Equal(t, jobaudit.AuditClosed, next().Type())
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.NoError(t, cmd.Wait(), "an interrupt is how it ends")
}

func (l *aLog) reopen(t testing.TB) {
	t.Helper()
	key, err := filesink.LoadOrCreateKey(l.dir, l.key, "example.com/jobs")
	require.NoError(t, err)
	l.sink, err = filesink.Open(t.Context(), l.dir, key, nil)
	require.NoError(t, err)
	l.recorder, err = jobaudit.Open(t.Context(), l.sink, jobaudit.Source{System: "indexer", Environment: "test"}, nil)
	require.NoError(t, err)
}

func TestListGoesOnBehindADamagedLine(t *testing.T) {
	l := newLog(t).close(t)
	path, text := l.segment(t)
	total := len(l.events(t))
	require.NoError(t, os.WriteFile(path, []byte(strings.Replace(text, `"type":"job.failed"`, `"type":"job failed"`, 1)), 0o644))
	c := run(t, "list", l.dir)
	require.Zero(t, c.code)
	require.Equal(t, total-1, strings.Count(c.out, "\n"))
	require.Contains(t, c.err, "1 line left out")
}

// rewrite writes the last batch again, in a new segment, with another behind
// it, as after a write that failed. It returns the new record.
func (l *aLog) rewrite(t testing.TB) jobaudit.Record {
	t.Helper()
	secret, err := os.ReadFile(l.key)
	require.NoError(t, err)
	signer, err := note.NewSigner(strings.TrimSpace(string(secret)))
	require.NoError(t, err)
	_, text := l.segment(t)
	var tree auditlog.Tree
	var last, again string
	first := int64(0)
	for line := range strings.Lines(text) {
		last += line
		if leaf := []byte(strings.TrimSuffix(line, "\n")); !auditlog.IsCommit(leaf) {
			tree.Append(nil, auditlog.HashLeaf(leaf))
			continue
		}
		first, again, last = tree.Size()-int64(strings.Count(last, "\n"))+1, last, ""
	}
	other := newLog(t).close(t)
	r := other.events(t)[0]
	tree.Append(nil, r.Hash())
	head, err := tree.Sign(signer)
	require.NoError(t, err)
	again += string(r.Bytes()) + "\n" + string(auditlog.AppendCommit(nil, head)) + "\n"
	next := filepath.Join(l.dir, "entries", fmt.Sprintf("%020d.jsonl", first))
	require.NoError(t, os.WriteFile(next+".tmp", []byte(again), 0o644))
	require.NoError(t, os.Rename(next+".tmp", next))
	return r
}

func TestWhatWasWrittenAgainIsPrintedOnce(t *testing.T) {
	l := newLog(t).close(t)
	before := l.events(t)
	cmd := exec.CommandContext(t.Context(), program, "tail", "-f", "-n", "1", "--json", l.dir)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, string(before[len(before)-1].Bytes())+"\n", line)

	added := l.rewrite(t)
	line, err = lines.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, string(added.Bytes())+"\n", line)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.NoError(t, cmd.Wait())

	after := l.events(t)
	require.Len(t, after, len(before)+1)
	for i := range before {
		require.Equal(t, before[i].ID(), after[i].ID())
	}
	c, _ := l.verify(t, "--key", l.key)
	require.Zero(t, c.code)
}
