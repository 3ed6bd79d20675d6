package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAnEmptyFilterSelectsNothingAndSaysSo(t *testing.T) {
	t.Parallel()
	l := newLog(t).close(t)
	id := l.failed.String()
	for _, call := range [][]string{
		{"list", l.dir}, {"jobs", l.dir}, {"tail", l.dir}, {"export", l.dir, "--format", "csv"}, {"report", l.dir, "--html", "-", "--job", id},
	} {
		help := run(t, call[0], "-h").out
		for _, flag := range []string{"--action", "--principal", "--acting", "--org", "--resource", "--error-code", "--state", "--type", "--job", "--root", "--correlation", "--since", "--until", "--after", "--out", "--to"} {
			if !strings.Contains(help, flag+" ") || call[0] == "report" && flag == "--job" {
				continue
			}
			for _, nothing := range []string{"", " "} {
				c := run(t, append(call[:len(call):len(call)], flag, nothing)...)
				require.Equal(t, 2, c.code, "%v %s", call, flag)
				require.Contains(t, c.err, flag+" is empty", "%v", call)
				require.Empty(t, c.out)
			}
		}
	}
	for _, negative := range [][]string{{"list", l.dir, "-n", "-1"}, {"tail", l.dir, "-n", "-1"}, {"jobs", l.dir, "--longer", "-1s"}, {"jobs", l.dir, "--failures", "-1"}} {
		require.Equal(t, 2, run(t, negative...).code, "%v", negative)
	}
	require.Zero(t, run(t, "exec", "--dir", filepath.Join(t.TempDir(), "log"), "--action", "a", "--reason", "b", "--ref", "", "--", "true").code, "a job may have no reference")
}

func TestWhatIsNoLogIsSaidToBeWhatItIs(t *testing.T) {
	t.Parallel()
	l := newLog(t).close(t)
	base := filepath.Dir(l.dir)
	file := filepath.Join(base, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	id := l.failed.String()
	for source, says := range map[string]string{
		l.dir + "s": "there is no " + l.dir + "s: did you mean " + l.dir + "?",
		file:        "is no log, but a file", base: "did you mean " + l.dir, filepath.Join(l.dir, "entries"): "did you mean " + l.dir,
		t.TempDir(): "has no directory entries", "": "the name of a source is empty",
	} {
		for _, call := range [][]string{{"list", source}, {"jobs", source}, {"show", source, id}, {"tail", source}, {"verify", source, "--key", l.key},
			{"export", source, "--format", "csv"}, {"prove", source, id, "--key", l.key}, {"checkpoint", source}, {"report", source, "--html", "-", "--job", id, "--key", l.key}} {
			c := run(t, call...)
			require.Contains(t, []int{2, 3}, c.code, "%v: %s", call, c.err)
			require.Contains(t, c.err, says, "%v", call)
		}
	}
}

func TestMessagesSayWhatWasMeantAndRepeatNoLongArgument(t *testing.T) {
	l := newLog(t).close(t)
	id := l.failed.String()
	for says, args := range map[string][]string{
		"did you mean list?":                                      {"lst"},
		"did you mean --json?":                                    {"list", l.dir, "--jsno"},
		"it is a whole number":                                    {"list", l.dir, "-n", "ten"},
		"it is written as 90s":                                    {"jobs", l.dir, "--longer", "ten"},
		"it is called jobaudit show SOURCE... JOB-ID":             {"show", l.dir},
		"the ID comes last: jobaudit show " + l.dir + " " + id:    {"show", id, l.dir},
		"is a job, and no event: prove it with --job " + id:       {"prove", l.dir, id, "-o", "-"},
		"no event matches":                                        {"tail", l.dir, "--job", id, "--type", "job.denied"},
		"it has 36 characters":                                    {"show", l.dir, id[:8]},
		"'2026-02-03 15:04 Europe/Berlin'":                        {"list", l.dir, "--since", "2026-02-03 15:04 Mars/Olympus"},
		"not verified: jobaudit verify " + l.dir + " --key KEY t": {"tail", l.dir},
	} {
		c := run(t, args...)
		require.Contains(t, c.err, says, "%v", args)
	}
	long := strings.Repeat("x", 100_000)
	for _, args := range [][]string{{long}, {"list", long}, {"list", l.dir, "--type", long}, {"list", l.dir, "--org", long}, {"show", l.dir, long}, {"list", l.dir, "--since", long}, {"verify", l.dir, "--key", long}, {"list", l.dir, "--" + long}} {
		c := run(t, args...)
		require.Less(t, len(c.err), 5_000, "%.100s", args)
	}
}
