package main_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/filesink"
)

// otherLog is a log of another origin, in which a job of the first goes on: its child
// is run there. It returns the log's directory, its key, and the child.
func (l *aLog) otherLog(t *testing.T) (dir, key string, child uuid.UUID) {
	t.Helper()
	base := t.TempDir()
	dir = filepath.Join(base, "log")
	owner, err := filesink.LoadOrCreateKey(dir, filepath.Join(base, "key"), "example.com/workers")
	require.NoError(t, err)
	sink, err := filesink.Open(t.Context(), dir, owner, nil)
	require.NoError(t, err)
	rec, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "worker", Environment: "test"}, nil)
	require.NoError(t, err)
	l.parent = l.job(t, t.Context(), "over-there", func(ctx context.Context, _ *jobaudit.Trail) error {
		return rec.Run(ctx, submission("here"), func(ctx context.Context) error {
			trail, _ := jobaudit.FromContext(ctx)
			child = trail.JobID()
			return nil
		})
	})
	require.NoError(t, rec.Close(t.Context()))
	require.NoError(t, sink.Close())
	key = filepath.Join(base, "vkey")
	require.NoError(t, os.WriteFile(key, []byte(run(t, "key", filepath.Join(base, "key")).out), 0o600))
	return dir, key, child
}

// TestSeveralLogsAndMirrorsAreOneView: a story that runs from one log into another
// shows no seam, wherever they lie.
func TestSeveralLogsAndMirrorsAreOneView(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	dir, otherKey, child := l.otherLog(t)
	l.close(t)
	key := l.verifier(t)
	first, second := filepath.Join(t.TempDir(), "m1"), filepath.Join(t.TempDir(), "m2")
	require.Zero(t, run(t, "mirror", l.dir, first, "--key", key, "--once", "--create").code)
	require.Zero(t, run(t, "mirror", dir, second, "--key", otherKey, "--once", "--create").code)
	for _, args := range [][]string{
		{"list", "--json"}, {"jobs", "--json"}, {"tail", "-n", "7", "--json"}, {"tail", "-n", "1000", "--json"}, {"show", l.parent.String()}, {"show", child.String()}, {"export", "--format", "csv"},
	} {
		of := func(a, b string) string {
			c := run(t, append([]string{args[0], a, b}, args[1:]...)...)
			require.Zero(t, c.code, "%v: %s", args, c.err)
			return c.out
		}
		want := of(l.dir, dir)
		require.NotEmpty(t, want)
		for _, pair := range [][2]string{{first, second}, {l.dir, second}, {first, dir}, {second, first}} {
			if (args[0] == "export" || args[0] == "show") && pair[0] == second {
				continue // one log after the other, as they are named; and events that are not of the first one name theirs
			}
			require.Equal(t, want, of(pair[0], pair[1]), args)
		}
	}
	require.Contains(t, run(t, "show", first, second, l.parent.String()).out, child.String())
	require.Equal(t, 2, run(t, "tail", "-f", first, second).code)
}

func TestSeveralLogsAreVerifiedEachWithItsKeysAndNoneIsMissing(t *testing.T) {
	l := newLog(t)
	dir, otherKey, _ := l.otherLog(t)
	l.close(t)
	key := l.verifier(t)
	second := filepath.Join(t.TempDir(), "m2")
	require.Zero(t, run(t, "mirror", dir, second, "--key", otherKey, "--once", "--create").code)
	both := []string{"--key", key, "--key", otherKey}
	c := run(t, append([]string{"verify", l.dir, dir, second, "--anchor", l.anchor()}, both...)...)
	require.Zero(t, c.code, c.out+c.err)
	require.Equal(t, 1, strings.Count(c.out, "verified L2"))
	require.Equal(t, 2, strings.Count(c.out, "verified L1"))
	c = run(t, append([]string{"verify", l.dir, dir, "--json"}, both...)...)
	require.Zero(t, c.code, c.err)
	require.Equal(t, 2, strings.Count(c.out, "\n"))

	// Another log in the place of one: its key is of no log then.
	c = run(t, append([]string{"verify", second, dir}, both...)...)
	require.Equal(t, 1, c.code)
	require.Contains(t, c.err, "example.com/jobs is given, and no source holds that log")
	require.Equal(t, 2, run(t, "verify", l.dir, dir, "--key", key).code)

	// One that is damaged is found, and the others are verified.
	segment := filepath.Join(dir, "entries", "00000000000000000000.jsonl")
	b, err := os.ReadFile(segment)
	require.NoError(t, err)
	b[200] ^= 1
	require.NoError(t, os.WriteFile(segment, b, 0o600))
	c = run(t, append([]string{"verify", dir, l.dir}, both...)...)
	require.Equal(t, 1, c.code)
	require.Equal(t, 1, strings.Count(c.out, "NOT VERIFIED"))
	require.Equal(t, 1, strings.Count(c.out, "verified L1"))
}

// TestALogThatCannotBeReadKeepsNoOtherFromBeingVerified: wherever it stands among them,
// and whatever is wrong with it.
func TestALogThatCannotBeReadKeepsNoOtherFromBeingVerified(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	dir, otherKey, _ := l.otherLog(t)
	l.close(t)
	base := t.TempDir()
	nothing, empty, file := filepath.Join(base, "nothing"), filepath.Join(base, "empty"), filepath.Join(base, "file")
	require.NoError(t, os.Mkdir(empty, 0o700))
	require.NoError(t, os.WriteFile(file, []byte("text"), 0o600))
	keys := []string{"--key", l.verifier(t), "--key", otherKey}
	verify := func(sources ...string) call {
		return run(t, append(append([]string{"verify"}, sources...), keys...)...)
	}
	for _, wrong := range []string{nothing, empty, file, "mirror:" + nothing} {
		for _, sources := range [][]string{{wrong, l.dir, dir}, {l.dir, wrong, dir}, {l.dir, dir, wrong}, {wrong, l.dir, nothing}} {
			c := verify(sources...)
			require.Equal(t, 3, c.code, "%v: %s%s", sources, c.out, c.err)
			good := 2
			if sources[0] == wrong && sources[2] == nothing {
				good = 1
			}
			require.Equal(t, good, strings.Count(c.out, "verified L1"), "%v: %s", sources, c.out)
			require.Contains(t, c.out, wrong)
			require.Contains(t, c.out, "NOT VERIFIED")
			c = verify(append(sources, "--json")...)
			require.Equal(t, 3, c.code)
			require.Equal(t, 3, strings.Count(c.out, "\n"), c.out)
			require.Equal(t, good, strings.Count(c.out, `"verified":true`))
		}
	}

	// That one has no key among those given hides nothing of that.
	for _, sources := range [][]string{{nothing, dir, l.dir}, {dir, nothing, l.dir}, {l.dir, dir, nothing}} {
		c := run(t, append(append([]string{"verify"}, sources...), keys[:2]...)...)
		require.Equal(t, 3, c.code, "%v: %s%s", sources, c.out, c.err)
		require.Contains(t, c.out, "none of the keys is of the log")
	}

	// What is found in one is found, whatever becomes of the others.
	segment := filepath.Join(dir, "entries", "00000000000000000000.jsonl")
	b, err := os.ReadFile(segment)
	require.NoError(t, err)
	b[200] ^= 1
	require.NoError(t, os.WriteFile(segment, b, 0o600))
	for _, sources := range [][]string{{nothing, dir, l.dir}, {dir, nothing, l.dir}, {dir, l.dir, nothing}} {
		require.Equal(t, 1, verify(sources...).code, sources)
	}
}
