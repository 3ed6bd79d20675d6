package main_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/filesink"
)

// acts are the flags that say where an act goes, and whose it is.
func acts(t *testing.T) (dir, key string, flags []string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "acts")
	key = dir + ".key"
	return dir, key, []string{"--in", dir, "--key", key, "--by", "user:ada", "--reason", "the quarterly review"}
}

// events are what list prints with --json.
func events(t *testing.T, args ...string) (list []jobaudit.Event) {
	t.Helper()
	c := run(t, append([]string{"list", "--json"}, args...)...)
	require.Zero(t, c.code, c.err)
	for line := range strings.Lines(c.out) {
		r, err := jobaudit.ParseRecord([]byte(strings.TrimSpace(line)))
		require.NoError(t, err)
		list = append(list, r.Event())
	}
	return list
}

// What the scan takes for a secret is not kept: a decision must not be recorded as a marker.
func TestWhatWouldNotBeKeptOfAnActIsRefused(t *testing.T) {
	l := newLog(t).close(t)
	dir, _, flags := acts(t)
	secret := "known: ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a"
	for _, args := range [][]string{
		{"review", l.dir, "--since", "1h", "--decide", "job.failed=" + secret},
		{"act", "reviewed", l.dir, "--data", `{"decision":"` + secret + `"}`},
		{"correct", l.dir, l.events(t, "--type", "job.failed")[0].ID().String(), "--reason", secret},
	} {
		c := run(t, append(append([]string{args[0]}, flags...), args[1:]...)...)
		require.Equal(t, 2, c.code, "%v: %s", args, c.out)
		require.Contains(t, c.err, "nothing is recorded")
		require.NoDirExists(t, dir)
	}
}

func TestAnActIsRecordedInACompanionLogThatNamesTheLogsHead(t *testing.T) {
	l := newLog(t).close(t)
	dir, key, flags := acts(t)
	c := run(t, append([]string{"act", "reviewed", l.dir, "--action", "delete", "--data", `{"findings":2}`}, flags...)...)
	require.Zero(t, c.code, c.err)
	require.Contains(t, c.out, "recorded audit.reviewed")

	recorded := events(t, dir)
	size := len(events(t, l.dir))
	require.Equal(t, "example.com/jobs", recorded[0].Data.CompanionOf.Origin)
	require.EqualValues(t, size, recorded[0].Data.CompanionOf.Head.N)
	act := recorded[1]
	require.Equal(t, jobaudit.AuditReviewed, act.Type)
	require.Equal(t, "ada", act.Who.Principal.ID)
	require.False(t, act.Who.Principal.Verified, "a command line says who it is of")
	require.Equal(t, "the quarterly review", act.Why.Reason)
	require.Equal(t, "delete", act.Data.Act.Scope.Action)
	require.JSONEq(t, `{"findings":2}`, string(act.Data.Act.Data))
	require.Equal(t, "test", act.Where.Environment, "as in the log that it is about")
	require.Len(t, events(t, l.dir, dir), size+len(recorded), "the companion is one more source")

	with := []string{"verify", l.dir, "--key", l.key, "--companion", dir, "--companion-key", key}
	c = run(t, with...)
	require.Zero(t, c.code, c.out+c.err)
	require.Contains(t, c.out, "companion")
	require.Contains(t, c.out, "example.com/jobs/acts")
	c = run(t, "verify", dir, "--key", key, "--json")
	require.Zero(t, c.code, c.out+c.err)
	var report struct{ CompanionOf []struct{ Origin string } }
	require.NoError(t, json.Unmarshal([]byte(c.out), &report))
	require.Equal(t, "example.com/jobs", report.CompanionOf[0].Origin)

	other := newLog(t).close(t) // of the same name: the log was exchanged
	c = run(t, "verify", other.dir, "--key", other.key, "--companion", dir, "--companion-key", key)
	require.Equal(t, 1, c.code, c.out+c.err)
	require.Contains(t, c.out, "which the companion example.com/jobs/acts names")
}

func TestACorrectionInACompanionLogIsShownWithItsJob(t *testing.T) {
	l := newLog(t).close(t)
	dir, key, flags := acts(t)
	failed := events(t, l.dir, "--job", l.failed.String(), "--type", "job.failed")[0]
	c := run(t, append([]string{"correct", l.dir, failed.ID.String(), "--reversal"}, flags...)...)
	require.Zero(t, c.code, c.err)

	correction := events(t, dir, "--type", "job.corrected")[0]
	require.Equal(t, l.failed, correction.Job.ID)
	require.Equal(t, jobaudit.Failed, correction.Job.State)
	require.Equal(t, "ada", correction.Who.Principal.ID)
	require.Equal(t, failed.ID, correction.Data.Correction.Of)
	require.True(t, correction.Data.Correction.Reversal)
	c = run(t, "show", l.dir, dir, l.failed.String())
	require.Zero(t, c.code, c.err)
	require.Contains(t, c.out, "job.corrected")
	require.Contains(t, c.out, "the quarterly review")
	require.Zero(t, run(t, "verify", l.dir, "--key", l.key, "--companion", dir, "--companion-key", key).code)

	opened := events(t, l.dir, "--type", "audit.opened")[0]
	require.Equal(t, 3, run(t, append([]string{"correct", l.dir, opened.ID.String()}, flags...)...).code, "an event of no job")
	require.Equal(t, 3, run(t, append([]string{"correct", l.dir, l.failed.String()}, flags...)...).code, "no event")
}

func TestAnActThatLacksSomethingIsRefusedAndNothingIsMade(t *testing.T) {
	l := newLog(t).close(t)
	dir, key, flags := acts(t)
	without := func(i int) []string {
		left := append([]string{"act", "read", l.dir}, flags[:i]...)
		return append(left, flags[i+2:]...)
	}
	calls := map[string][]string{
		"a reserved act":  append([]string{"act", "held", l.dir}, flags...),
		"no such act":     append([]string{"act", "x", l.dir}, flags...),
		"nobody":          append([]string{"act", "read", l.dir}, "--in", dir, "--key", key, "--reason", "x", "--by", "ada"),
		"a robot":         append([]string{"act", "read", l.dir}, "--in", dir, "--key", key, "--reason", "x", "--by", "robot:r2"),
		"the log itself":  append([]string{"act", "read", l.dir}, "--in", l.dir, "--key", key, "--reason", "x", "--by", "user:ada"),
		"no JSON":         append([]string{"act", "read", l.dir, "--data", "{"}, flags...),
		"no companion":    without(0),
		"no key":          without(2),
		"no principal":    without(4),
		"no reason":       without(6),
		"half a verifier": {"verify", l.dir, "--key", l.key, "--companion", dir},
	}
	for name, args := range calls {
		c := run(t, args...)
		require.Equal(t, 2, c.code, "%s: %s", name, c.err)
		require.NoDirExists(t, dir, name)
		require.NoFileExists(t, key, name)
	}
	before, err := os.ReadDir(filepath.Join(l.dir, "entries"))
	require.NoError(t, err)
	require.Len(t, before, 1)
	require.Zero(t, run(t, "verify", l.dir, "--key", l.key, "--anchor", l.anchor()).code, "the log is untouched")
}

// The key of a companion is there to say something about a job, and not to say how it ended.
func TestACompanionSaysNotHowAJobEnded(t *testing.T) {
	l := newLog(t).close(t)
	dir, key, flags := acts(t)
	require.Zero(t, run(t, append([]string{"act", "reviewed", l.dir}, flags...)...).code)
	signer, err := filesink.LoadOrCreateKey(dir, key, "example.com/jobs/acts")
	require.NoError(t, err)
	sink, err := filesink.Open(t.Context(), dir, signer, nil)
	require.NoError(t, err)
	n := byte(0)
	low := func() uuid.UUID { n++; return uuid.UUID{6: 0x70, 8: 0x80, 15: n} } // they stand before those of the log
	recorder, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "jobs", Environment: "test"}, &jobaudit.Options{NewID: low})
	require.NoError(t, err)
	forged, err := recorder.Resume(t.Context(), l.events(t, "--job", l.failed.String())[0].Carrier(), nil)
	require.NoError(t, err)
	require.NoError(t, forged.Start(t.Context(), jobaudit.Execution{}))
	require.NoError(t, forged.Succeed(t.Context()))
	require.NoError(t, recorder.Close(t.Context()))
	require.NoError(t, sink.Close())

	require.Equal(t, []uuid.UUID{l.failed}, jobIDs(t, l.dir, dir, "--state", "failed"))
	require.Contains(t, run(t, "show", l.dir, dir, l.failed.String(), "--json").out, `"state":"failed"`)
	require.Regexp(t, `job\.succeeded .*\n +in the log example.com/jobs/acts\n`, run(t, "show", l.dir, dir, l.failed.String()).out)
	file := filepath.Join(t.TempDir(), "job.evidence")
	require.Zero(t, run(t, "prove", l.dir, dir, "--job", l.failed.String(), "--key", l.key, "--key", key, "-o", file).code)
	c := run(t, "check-proof", file, "--key", l.key, "--key", key)
	require.Regexp(t, `job\.succeeded .*\n +in the log example.com/jobs/acts\n`, c.out)
}
