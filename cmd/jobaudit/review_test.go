package main_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
)

func TestAReviewRecordsWhatWasFoundAndWhatWasDecided(t *testing.T) {
	l := newLog(t).close(t)
	c := run(t, "review", l.dir, "--since", "1h")
	require.Zero(t, c.code, c.err)
	require.Contains(t, c.out, "job.failed")
	require.Contains(t, c.out, "the disk is full")
	require.Contains(t, c.out, "1 finding in the period")
	event := c.out[:36]

	dir, key, flags := acts(t)
	with := func(more ...string) call {
		return run(t, append(append([]string{"review", l.dir, "--since", "1h"}, flags...), more...)...)
	}
	c = with()
	require.Equal(t, 2, c.code)
	require.Contains(t, c.err, "1 finding has no decision, the first "+event)
	c = with("--decide", event+"=OPS-77", "--decide", "job.denied=known")
	require.Equal(t, 2, c.code)
	require.Contains(t, c.err, "job.denied is about nothing")
	require.NoDirExists(t, dir, "nothing is made")

	c = with("--decide", "job.failed=a larger disk was ordered")
	require.Zero(t, c.code, c.err)
	require.Contains(t, c.out, "recorded audit.reviewed of 1 finding")
	act := events(t, dir)[1]
	require.Equal(t, jobaudit.AuditReviewed, act.Type)
	require.Equal(t, "ada", act.Who.Principal.ID)
	require.False(t, act.Data.Act.Scope.Since.IsZero())
	var data struct {
		Size, Found int
		Decisions   []struct {
			Kind, Decision string
			Events         []string
		}
	}
	require.NoError(t, json.Unmarshal(act.Data.Act.Data, &data))
	require.Equal(t, 1, data.Found)
	require.Equal(t, len(events(t, l.dir)), data.Size)
	require.Equal(t, "a larger disk was ordered", data.Decisions[0].Decision)
	require.Equal(t, []string{event}, data.Decisions[0].Events)
	require.Zero(t, run(t, "verify", l.dir, "--key", l.key, "--companion", dir, "--companion-key", key).code)
}

func TestAReviewFindsAStartWithoutAnEnd(t *testing.T) {
	l := newLog(t)
	trail, err := l.recorder.Submit(t.Context(), submission("forever"))
	require.NoError(t, err)
	require.NoError(t, trail.Start(t.Context(), jobaudit.Execution{}))
	denied, err := l.recorder.Submit(t.Context(), submission("secret"))
	require.NoError(t, err)
	require.NoError(t, denied.Deny(t.Context(), jobaudit.Decision{By: "opa", Reason: "not yours"}))
	l.job(t, t.Context(), "fine", func(context.Context, *jobaudit.Trail) error { return nil })
	l.close(t)
	c := run(t, "review", l.dir, "--since", "1h", "--json")
	require.Zero(t, c.code, c.err)
	kinds := map[string]int{}
	for line := range strings.Lines(c.out) {
		var f struct{ Kind string }
		require.NoError(t, json.Unmarshal([]byte(line), &f))
		kinds[f.Kind]++
	}
	require.Equal(t, 1, kinds["no-end"])
	require.Equal(t, 1, kinds["job.denied"])
	require.Equal(t, 1, kinds["job.failed"])
	require.Len(t, kinds, 3)
}

// TestAForgedEndHidesNoStartFromAReview: who writes to a queue can have the end of a job
// recorded that contradicts its submission.
func TestAForgedEndHidesNoStartFromAReview(t *testing.T) {
	l := newLog(t)
	trail, err := l.recorder.Submit(t.Context(), submission("forever"))
	require.NoError(t, err)
	require.NoError(t, trail.Start(t.Context(), jobaudit.Execution{}))
	forged := submission("other")
	forged.ID = trail.JobID()
	other, err := l.recorder.Submit(t.Context(), forged)
	require.NoError(t, err)
	require.NoError(t, other.Start(t.Context(), jobaudit.Execution{}))
	require.NoError(t, other.Succeed(t.Context()))
	l.close(t)
	c := run(t, "review", l.dir, "--since", "1h")
	require.Zero(t, c.code, c.err)
	require.Equal(t, 1, strings.Count(c.out, "no-end"), c.out)
	require.Contains(t, c.out, "forever by ")
	file := filepath.Join(t.TempDir(), "evidence")
	require.Zero(t, run(t, "prove", l.dir, "--job", trail.JobID().String(), "--key", l.key, "-o", file).code)
	c = run(t, "check-proof", file, "--key", l.key)
	require.Zero(t, c.code, c.err)
	require.Contains(t, c.out+c.err, "has no end here")
}

func TestAReviewThatLacksSomethingIsRefused(t *testing.T) {
	l := newLog(t).close(t)
	_, _, flags := acts(t)
	file := filepath.Join(t.TempDir(), "decisions")
	require.NoError(t, os.WriteFile(file, []byte("job.failed=known\n\nnonsense\n"), 0o600))
	for want, args := range map[string][]string{
		"--since is missing":                nil,
		"is no decision":                    append([]string{"--since", "1h", "--decisions", file}, flags...),
		"there are two decisions":           append([]string{"--since", "1h", "--decide", "a=b", "--decide", "a=c"}, flags...),
		"--in is missing":                   {"--since", "1h", "--decide", "job.failed=known"},
		"--by is missing":                   {"--since", "1h", "--in", "x", "--key", "y"},
		"more than 1,024 bytes":             {"--since", "1h", "--decide", "a=" + strings.Repeat("b", 1025)},
		"is about nothing that was found":   append([]string{"--since", "1h", "--decide", "job.failed=known", "--decide", "modified=ok"}, flags...),
		"is not before --until 2020-01-01T": append([]string{"--since", "1h", "--until", "2020-01-01"}, flags...),
	} {
		c := run(t, append([]string{"review", l.dir}, args...)...)
		require.Equal(t, 2, c.code, "%s: %s", want, c.err)
		require.Contains(t, c.err, want)
	}
}
