package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRepairExplainsAsksDoesAndRecords(t *testing.T) {
	for _, tc := range []struct {
		name   string
		damage func(t *testing.T, l *aLog)
		flags  func(l *aLog) []string
		says   string
		record string // in the newest audit.opened
	}{
		{"a lost anchor", func(t *testing.T, l *aLog) { require.NoError(t, os.Remove(l.anchor())) }, nil, "The anchor", `"overrides"`},
		{"a lost key", func(t *testing.T, l *aLog) {
			require.NoError(t, os.WriteFile(l.key+".public", []byte(run(t, "key", l.key).out), 0o600))
			require.NoError(t, os.Remove(l.key))
		}, func(l *aLog) []string { return []string{"--old", l.key + ".public"} }, "The secret key is gone", `"predecessor":"example.com/jobs"`},
		{"a log that was cut short", func(t *testing.T, l *aLog) {
			path, text := l.segment(t)
			lines := strings.SplitAfter(text, "\n")
			require.NoError(t, os.WriteFile(path, []byte(strings.Join(lines[:len(lines)-3], "")), 0o600))
		}, nil, "Events that were acknowledged", `"predecessor":"example.com/jobs"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLog(t).close(t)
			tc.damage(t, l)
			args := []string{"repair", l.dir, "--key", l.key}
			if tc.flags != nil {
				args = append(args, tc.flags(l)...)
			}
			before := run(t, "list", l.dir, "--json").out
			c := run(t, args...)
			require.Equal(t, 1, c.code, c.err)
			require.Contains(t, c.out, "refused:")
			require.Contains(t, c.out, tc.says)
			require.Contains(t, c.out, "nothing was changed")
			require.Equal(t, before, run(t, "list", l.dir, "--json").out)

			c = run(t, append(args, "--yes")...)
			require.Zero(t, c.code, c.out+c.err)
			require.Contains(t, c.out, "done:")
			opened := events(t, l.dir, "--type", "audit.opened")
			require.Contains(t, string(opened[len(opened)-1].Data.Recovery), tc.record)
			require.True(t, strings.HasPrefix(run(t, "list", l.dir, "--json").out, before), "nothing was taken away")
		})
	}
}

func TestRepairLeavesAHealthyLogAsItIs(t *testing.T) {
	l := newLog(t)
	c := run(t, "repair", l.dir, "--key", l.key, "--yes")
	require.Equal(t, 1, c.code)
	require.Contains(t, c.out, "Another program writes to the log")
	l.close(t)
	before := run(t, "list", l.dir, "--json").out
	c = run(t, "repair", l.dir, "--key", l.key, "--yes")
	require.Zero(t, c.code, c.out+c.err)
	require.Contains(t, c.out, "nothing to repair")
	require.Equal(t, before, run(t, "list", l.dir, "--json").out)
	require.Equal(t, 3, run(t, "repair", filepath.Join(l.dir, "none"), "--key", l.key).code)
}
