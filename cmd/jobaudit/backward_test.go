package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What is left of a damaged log is seen, whatever way leads to it: an index
// must not hide what a reader of the lines would see.
func TestAnIndexHidesNothingOfADamagedLog(t *testing.T) {
	t.Parallel()
	l := newLog(t).close(t)
	path, text := l.segment(t)
	lines := strings.SplitAfter(text, "\n")
	for i, line := range lines {
		if line == "" || strings.HasPrefix(line, `{"checkpoint":`) {
			continue
		}
		without := strings.Join(append(append([]string{}, lines[:i]...), lines[i+1:]...), "")
		require.NoError(t, os.WriteFile(path, []byte(without), 0o644))
		for _, id := range []string{l.parent.String(), l.child.String(), l.failed.String()} {
			indexed := run(t, "list", l.dir, "--job", id, "--json")
			require.NoError(t, os.Rename(l.key, l.key+".kept"))
			scanned := run(t, "list", l.dir, "--job", id, "--json")
			require.NoError(t, os.Rename(l.key+".kept", l.key))
			require.Equal(t, scanned.out, indexed.out, "without line %d", i)
		}
	}
}

func TestTailEndsWhereTheNewestCommitDoes(t *testing.T) {
	l := newLog(t).close(t)
	all := strings.Split(strings.TrimSpace(run(t, "list", l.dir, "--json").out), "\n")
	path, text := l.segment(t)
	for _, behind := range []string{"", all[0] + "\n", "half a li", strings.Repeat("x", 100_000), strings.Repeat("x", 100_000) + "\n"} {
		require.NoError(t, os.WriteFile(path, []byte(text+behind), 0o644))
		for _, n := range []int{0, 1, 3, len(all), len(all) + 5} {
			got := strings.TrimSpace(run(t, "tail", l.dir, "--json", "-n", fmt.Sprint(n)).out)
			require.Equal(t, strings.Join(all[len(all)-min(n, len(all)):], "\n"), got, "%d of %.20q", n, behind)
		}
	}
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(l.dir, "entries", fmt.Sprintf("%020d.jsonl", len(all))), []byte(all[0]+"\n"), 0o644))
	require.Equal(t, all[len(all)-1]+"\n", run(t, "tail", l.dir, "--json", "-n", "1").out, "a file that was begun")
	require.Len(t, strings.Split(strings.TrimSpace(run(t, "tail", l.dir, "--json", "--type", "job.failed").out), "\n"), 1)
}
